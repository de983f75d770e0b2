//! What is in flight on one connection.

use std::time::Instant;

use super::groups::GroupRequest;
use super::offsets::OffsetsRequest;
use crate::mend::FetchRequest;
use crate::wire::api::ApiKey;

#[derive(Debug)]
pub enum Kind {
    /// The client's request went upstream; its answer goes to the client.
    Forwarded,
    /// kmend's own request; its answer goes to this mender.
    Injected { mender: usize, token: u64, deadline: Instant, abandoned: bool },
    /// A request of kmend's own login.
    Login,
    /// An answer that was made here.
    Local(Vec<u8>),
    /// A SASL token after SaslHandshake v0: a frame without header.
    Raw,
}

#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    pub api: ApiKey,
    pub version: i16,
    pub correlation: i32,
    pub seq: u64,
    /// When the request's head had been read, and when it was let go.
    pub arrived: Instant,
    pub sent: Instant,
    /// What a Fetch response is read against.
    pub fetch: Option<FetchRequest>,
    /// What the response to a group's member is read against, once.
    pub group: Option<Box<GroupRequest>>,
    /// What the response to a commit, or to a question for offsets, is read against, once.
    pub offsets: Option<Box<OffsetsRequest>>,
    /// About what `group` and `offsets` take.
    pub kept: usize,
    /// The menders' time on the way back is counted from here.
    pub answered: Option<Instant>,
}

impl Entry {
    pub fn new(kind: Kind, api: ApiKey, version: i16, correlation: i32, seq: u64, now: Instant) -> Entry {
        Entry {
            kind,
            api,
            version,
            correlation,
            seq,
            arrived: now,
            sent: now,
            fetch: None,
            group: None,
            offsets: None,
            kept: 0,
            answered: None,
        }
    }

    /// What it holds beyond itself.
    pub fn weight(&self) -> usize {
        match &self.kind {
            Kind::Local(answer) => answer.len() + self.kept,
            _ => self.kept,
        }
    }

    pub fn is_local(&self) -> bool {
        matches!(self.kind, Kind::Local(_))
    }
}
