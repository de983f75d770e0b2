//! Requests that menders want sent when no client's connection can carry them: on connections of
//! kmend's own, where the upstream lets them in without a client's login (rule C7).

use std::sync::Arc;
use std::time::Instant;

use super::Injected;
use crate::wire::api::ApiKey;

/// A request for the coordinator of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    pub token: u64,
    pub api: ApiKey,
    pub version: i16,
    pub body: Vec<u8>,
}

/// The newest version of an API within these bounds that the broker at the other end speaks.
pub type Version<'a> = &'a dyn Fn(ApiKey, (i16, i16)) -> Option<i16>;

pub trait Errands: Send + Sync {
    /// The groups whose coordinator is wanted now. Asked some times a second.
    fn wanted(&self, now: Instant) -> Vec<Arc<str>>;
    /// The next request for that group's coordinator; asked until there is none.
    fn take(&self, group: &str, version: Version<'_>, now: Instant) -> Option<Errand>;
    /// What came of it.
    fn done(&self, token: u64, outcome: Injected<'_>, now: Instant);
}
