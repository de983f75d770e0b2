//! Two requests by hand: ApiVersions v0, which every broker answers before a login, and
//! Metadata v1, which names the brokers where no login is needed.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reader::{Garbled, Reader};
use crate::config::units::HostPort;
use crate::tls::{Transport, looks_like_tls};
use crate::upstream::{DialError, Dialer};

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
/// No mechanism: a broker refuses it, and names those that it knows.
const NO_MECHANISM: [u8; 3] = [0, 1, b'?'];
const CLIENT_ID: &str = "kmend-check";

/// Far more than either answer needs without topics.
const LONGEST_ANSWER: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("connected, but it speaks TLS: set upstream.tls.enabled: true")]
    SpeaksTls,
    #[error("connected, but it hung up on the request")]
    HungUp,
    #[error("connected, but no answer within {0:?}")]
    Silent(Duration),
    #[error("connected, but the connection broke")]
    Broke(#[source] io::Error),
    #[error("connected, but the answer is not Kafka's: is this a broker?")]
    NotKafka,
    #[error("the broker answered with the error code {0}")]
    Refused(i16),
}

impl From<Garbled> for ProbeError {
    fn from(_: Garbled) -> Self {
        Self::NotKafka
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub id: i32,
    pub address: HostPort,
}

/// A connection on which the broker has said which requests it knows.
pub(super) struct Probe {
    transport: Transport,
    limit: Duration,
    apis: usize,
    correlation: i32,
}

impl Probe {
    pub(super) async fn connect(dialer: &Dialer, address: &HostPort, limit: Duration) -> Result<Self, ProbeError> {
        let transport = dialer.dial(address).await?.transport;
        let mut probe = Self { transport, limit, apis: 0, correlation: 0 };
        let answer = probe.ask(API_VERSIONS, 0, &[]).await?;
        let mut reader = Reader::new(&answer);
        match reader.i16()? {
            0 => {}
            code => return Err(ProbeError::Refused(code)),
        }
        probe.apis = reader.count(6)?;
        Ok(probe)
    }

    pub(super) fn summary(&self) -> String {
        let tls = if self.transport.is_tls() { "TLS, " } else { "" };
        let address = self.transport.peer_addr();
        let at = address.map(|a| format!(" at {a}")).unwrap_or_default();
        format!("{tls}{} APIs{at}", self.apis)
    }

    /// All brokers; a broker that wants a login first hangs up.
    pub(super) async fn brokers(&mut self) -> Result<Vec<Broker>, ProbeError> {
        // No topics: an empty list, not a null one.
        let answer = self.ask(METADATA, 1, &0_i32.to_be_bytes()).await?;
        let mut reader = Reader::new(&answer);
        let count = reader.count(12)?;
        let mut brokers = Vec::new();
        for _ in 0..count {
            let id = reader.i32()?;
            let host = reader.text()?;
            let port = u16::try_from(reader.i32()?).map_err(|_| ProbeError::NotKafka)?;
            let _rack = reader.nullable_text()?;
            let address = HostPort::new(host, port);
            brokers.push(Broker { id, address });
        }
        brokers.sort_by_key(|broker| broker.id);
        Ok(brokers)
    }

    /// The mechanisms of this listener. The broker hangs up behind its answer.
    pub(super) async fn mechanisms(&mut self) -> Result<Vec<String>, ProbeError> {
        let answer = self.ask(SASL_HANDSHAKE, 1, &NO_MECHANISM).await?;
        let mut reader = Reader::new(&answer);
        let _refused = reader.i16()?;
        let count = reader.count(2)?;
        (0..count).map(|_| Ok(reader.text()?)).collect()
    }

    /// Sends a request and reads its answer, without the head.
    async fn ask(&mut self, api: i16, version: i16, body: &[u8]) -> Result<Vec<u8>, ProbeError> {
        let limit = self.limit;
        tokio::time::timeout(limit, self.exchange(api, version, body)).await.map_err(|_| ProbeError::Silent(limit))?
    }

    async fn exchange(&mut self, api: i16, version: i16, body: &[u8]) -> Result<Vec<u8>, ProbeError> {
        self.correlation += 1;
        let request = request(api, version, self.correlation, body);
        self.transport.write_all(&request).await.map_err(broke)?;
        self.transport.flush().await.map_err(broke)?;
        let mut head = [0; 4];
        self.transport.read_exact(&mut head).await.map_err(broke)?;
        if looks_like_tls(&head) {
            return Err(ProbeError::SpeaksTls);
        }
        let length = usize::try_from(i32::from_be_bytes(head)).unwrap_or(0);
        if !(4..=LONGEST_ANSWER).contains(&length) {
            return Err(ProbeError::NotKafka);
        }
        let mut frame = Vec::new();
        let mut limited = (&mut self.transport).take(length as u64);
        limited.read_to_end(&mut frame).await.map_err(broke)?;
        if frame.len() < length {
            return Err(ProbeError::HungUp);
        }
        if Reader::new(&frame).i32()? != self.correlation {
            return Err(ProbeError::NotKafka);
        }
        frame.drain(..4);
        Ok(frame)
    }
}

fn broke(error: io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ProbeError::HungUp,
        _ => ProbeError::Broke(error),
    }
}

fn request(api: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    // A short literal: its length fits.
    frame.extend((CLIENT_ID.len() as i16).to_be_bytes());
    frame.extend(CLIENT_ID.as_bytes());
    frame.extend(body);
    let mut framed = (frame.len() as i32).to_be_bytes().to_vec();
    framed.append(&mut frame);
    framed
}
