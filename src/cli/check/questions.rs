//! What a broker is asked, in old and fixed versions that every broker since 0.11 knows.

use std::time::{Duration, Instant};

use super::reader::{Garbled, Reader};
use crate::config::units::HostPort;
use crate::upstream::own::{Own, OwnError, Versions};
use crate::wire::api::ApiKey;

/// The first with the cluster's id.
const METADATA: i16 = 2;
/// The first that names the mechanisms without ending the connection's hopes.
const HANDSHAKE: i16 = 1;
/// The newest without compact types.
const DESCRIBE_CONFIGS: i16 = 1;
/// No mechanism: a broker refuses it, and names those that it knows.
const NO_MECHANISM: [u8; 3] = [0, 1, b'?'];
/// Resource type BROKER.
const BROKER: i8 = 4;
/// The one key that is asked for: its value does not matter, but the answer stays short.
const KEY: &str = "broker.id";
/// INVALID_REQUEST: the configuration of another broker.
const INVALID_REQUEST: i16 = 42;

/// Far more than any of these answers needs.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    Own(OwnError),
    /// It does not have this version.
    Unknown,
    Garbled,
}

impl From<OwnError> for Unanswered {
    fn from(error: OwnError) -> Self {
        match error {
            OwnError::Unreadable => Self::Garbled,
            error => Self::Own(error),
        }
    }
}

impl From<Garbled> for Unanswered {
    fn from(_: Garbled) -> Self {
        Self::Garbled
    }
}

/// What the cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    pub id: Option<String>,
    pub controller: i32,
    /// By node id.
    pub brokers: Vec<(i32, HostPort)>,
}

/// A connection on which questions can be asked.
pub(super) struct Asked {
    pub own: Own,
    pub versions: Versions,
    pub limit: Duration,
}

impl Asked {
    async fn ask(&mut self, api: ApiKey, version: i16, body: &[u8]) -> Result<(Vec<u8>, usize), Unanswered> {
        if self.versions.newest(api, (version, version)).is_none() {
            return Err(Unanswered::Unknown);
        }
        let answer = self.own.ask(api, version, body, Instant::now() + self.limit).await?;
        Ok((answer.frame, answer.body))
    }

    /// The brokers; one that wants a login first hangs up.
    pub(super) async fn cluster(&mut self) -> Result<Cluster, Unanswered> {
        // No topics: an empty list, not a null one.
        let (frame, body) = self.ask(ApiKey::METADATA, METADATA, &0_i32.to_be_bytes()).await?;
        let mut reader = Reader::new(frame.get(body..).unwrap_or_default());
        let count = reader.count(12)?;
        let mut brokers = Vec::new();
        for _ in 0..count {
            let id = reader.i32()?;
            let host = reader.text()?;
            let port = u16::try_from(reader.i32()?).map_err(|_| Unanswered::Garbled)?;
            let _rack = reader.nullable_text()?;
            brokers.push((id, HostPort::new(host, port)));
        }
        brokers.sort_by_key(|(id, _)| *id);
        Ok(Cluster { id: reader.nullable_text()?, controller: reader.i32()?, brokers })
    }

    /// The mechanisms of this listener. The broker hangs up behind its answer.
    pub(super) async fn mechanisms(&mut self) -> Result<Vec<String>, Unanswered> {
        let (frame, body) = self.ask(ApiKey::SASL_HANDSHAKE, HANDSHAKE, &NO_MECHANISM).await?;
        let mut reader = Reader::new(frame.get(body..).unwrap_or_default());
        let _refused = reader.i16()?;
        let count = reader.count(2)?;
        (0..count).map(|_| Ok(reader.text()?)).collect()
    }

    /// Whether this broker is the node: only that one tells its configuration, any other says who it is.
    pub(super) async fn is_node(&mut self, node: i32) -> Result<Identity, Unanswered> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        body.extend(BROKER.to_be_bytes());
        text(&mut body, &node.to_string());
        body.extend(1_i32.to_be_bytes());
        text(&mut body, KEY);
        // No synonyms.
        body.push(0);
        let (frame, at) = self.ask(ApiKey::DESCRIBE_CONFIGS, DESCRIBE_CONFIGS, &body).await?;
        let mut reader = Reader::new(frame.get(at..).unwrap_or_default());
        let _throttle = reader.i32()?;
        if reader.count(2)? == 0 {
            return Err(Unanswered::Garbled);
        }
        let error = reader.i16()?;
        let words = reader.nullable_text()?.unwrap_or_default();
        Ok(match error {
            0 => Identity::Right,
            INVALID_REQUEST => Identity::Wrong(words),
            error => Identity::Unknown(error),
        })
    }
}

/// A short literal or a number: its length fits.
fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as i16).to_be_bytes());
    body.extend(text.as_bytes());
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Right,
    /// In the broker's words.
    Wrong(String),
    /// It does not say, with this error.
    Unknown(i16),
}
