//! A connection of kmend's own to a broker: one request after the other.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::tls::Transport;
use crate::wire::api::ApiKey;
use crate::wire::codec::{entry, local};
use crate::wire::frame::{self, FrameError, PREFIX};
use crate::wire::head::{self, RESPONSE_FIXED};
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

const CLIENT_ID: &[u8] = b"kmend";

#[derive(Debug, Error)]
pub enum OwnError {
    /// Also a broker that closes: without a login it does so on the first real request.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the broker does not answer")]
    Late,
    #[error("the answer cannot be read")]
    Unreadable,
    /// It does not even begin like one of Kafka's.
    #[error("the answer cannot be read: {0}")]
    NotKafka(FrameError),
}

/// A complete response frame.
#[derive(Debug)]
pub struct Answer {
    pub frame: Vec<u8>,
    /// Where its body starts.
    pub body: usize,
}

#[derive(Debug)]
pub struct Own {
    transport: Transport,
    correlation: i32,
    /// The longest answer that is read.
    longest: usize,
}

impl Own {
    pub fn new(transport: Transport, longest: usize) -> Own {
        Own { transport, correlation: 0, longest }
    }

    pub fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }

    /// The connection, for whoever comes next. Nothing is on its way.
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Sends a request and waits for its answer. After an error the connection is of no more use.
    pub async fn ask(&mut self, api: ApiKey, version: i16, body: &[u8], deadline: Instant) -> Result<Answer, OwnError> {
        let asked = tokio::time::timeout_at(deadline.into(), self.exchange(api, version, body));
        asked.await.unwrap_or(Err(OwnError::Late))
    }

    async fn exchange(&mut self, api: ApiKey, version: i16, body: &[u8]) -> Result<Answer, OwnError> {
        self.correlation = self.correlation.wrapping_add(1);
        self.transport.write_all(&local::request(api, version, self.correlation, CLIENT_ID, body)).await?;
        self.transport.flush().await?;
        let mut prefix = [0; PREFIX];
        self.transport.read_exact(&mut prefix).await?;
        let size = frame::check_response(prefix, 4).map_err(OwnError::NotKafka)?;
        let total = PREFIX + size as usize;
        if total > self.longest {
            return Err(OwnError::Unreadable);
        }
        // Grows with what arrives, not with what was declared.
        let mut frame = Vec::with_capacity(total.min(4096));
        frame.extend_from_slice(&prefix);
        (&mut self.transport).take(u64::from(size)).read_to_end(&mut frame).await?;
        if frame.len() < total {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let is_ours = total >= RESPONSE_FIXED && head::correlation(&frame) == Some(self.correlation);
        let body = head::response_body(&frame, total, api, version).map_err(|_| OwnError::Unreadable)?;
        is_ours.then_some(Answer { frame, body }).ok_or(OwnError::Unreadable)
    }

    /// What the broker speaks.
    pub async fn versions(&mut self, deadline: Instant) -> Result<Versions, OwnError> {
        // Version 0: every broker knows it, and its request is empty.
        let mut answer = self.ask(ApiKey::API_VERSIONS, 0, &[], deadline).await?;
        let layout = layout::response(ApiKey::API_VERSIONS, 0).ok_or(OwnError::Unreadable)?;
        let mut versions = Versions::default();
        walk::whole(layout, &mut answer.frame, answer.body, &mut versions).map_err(|_| OwnError::Unreadable)?;
        Ok(versions)
    }
}

/// The lowest and the highest version of each API.
#[derive(Debug, Default)]
pub struct Versions(HashMap<ApiKey, (i16, i16)>);

impl Versions {
    /// The newest within these bounds.
    pub fn newest(&self, api: ApiKey, want: (i16, i16)) -> Option<i16> {
        let (min, max) = *self.0.get(&api)?;
        let newest = max.min(want.1);
        (newest >= min.max(want.0)).then_some(newest)
    }

    /// How many APIs the broker has.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Visitor for Versions {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::API_RANGE {
            let (key, min, max) = entry::api_range(bytes);
            self.0.insert(ApiKey(key), (min, max));
        }
    }
}
