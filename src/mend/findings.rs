//! What was found of members that do not consume what they were assigned: written by the mender
//! that looks, read by the metrics, the admin server and the status page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::peers::ClientKey;
use super::progress::Place;

/// A partition that is assigned, behind the log end, and that nobody fetches (rule D1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetched {
    pub place: Place,
    /// When it was assigned.
    pub since: Instant,
    /// `None`: the log end, or what is committed, is not known.
    pub lag: Option<i64>,
}

/// Why a member is taken for stalled (rule D4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its last commit was refused with this error, and nothing came after.
    CommitRefused(i16),
    /// Its last Fetch was answered with this error, and nothing came after.
    FetchRefused(i16),
    /// It only does nothing, as a paused or a slow one does; `stalled_scope: any` reports it.
    Quiet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    pub reason: Reason,
    /// When its client last fetched or committed.
    pub since: Instant,
    pub lag: i64,
}

/// What was found of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub client: ClientKey,
    pub unfetched: Vec<Unfetched>,
    /// Assigned and known to its client, which does not fetch them now: paused, most likely.
    pub paused: Vec<Place>,
    pub stalled: Option<Stalled>,
}

/// Group and member id.
type Key = (Arc<str>, Arc<str>);

/// One entry for each member with something to be said; what is fine has none.
#[derive(Debug, Default)]
pub struct Findings {
    state: Mutex<HashMap<Key, Finding>>,
}

impl Findings {
    fn state(&self) -> MutexGuard<'_, HashMap<Key, Finding>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds now of a member; an empty finding takes it away.
    pub fn set(&self, group: &Arc<str>, member: &Arc<str>, finding: Finding) {
        let key = (group.clone(), member.clone());
        let empty = finding.unfetched.is_empty() && finding.paused.is_empty() && finding.stalled.is_none();
        if empty {
            self.state().remove(&key)
        } else {
            self.state().insert(key, finding)
        };
    }

    pub fn get(&self, group: &Arc<str>, member: &Arc<str>) -> Option<Finding> {
        self.state().get(&(group.clone(), member.clone())).cloned()
    }

    /// Members that are gone, or were assigned something else.
    pub fn drop(&self, group: &Arc<str>, member: &Arc<str>) {
        self.state().remove(&(group.clone(), member.clone()));
    }

    pub fn forget_client(&self, client: &ClientKey) {
        self.state().retain(|_, finding| finding.client != *client);
    }

    /// Nobody looks any more.
    pub fn clear(&self) {
        self.state().clear();
    }

    /// Group, member id, finding.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<str>, Finding)> {
        self.state().iter().map(|((group, member), f)| (group.clone(), member.clone(), f.clone())).collect()
    }
}
