//! What the session reads of requests and responses of groups.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::GroupRequest;
use crate::mend::Assignment;
use crate::mend::catalog::TopicId;
use crate::wire::codec::{assignment, entry, subscription};
use crate::wire::layout::mark;
use crate::wire::walk::{Action, Mark, Visitor};

fn text(value: Option<&[u8]>) -> Arc<str> {
    String::from_utf8_lossy(value.unwrap_or_default()).into()
}

/// A request.
pub(super) struct Said {
    pub request: GroupRequest,
    /// LeaveGroup: who leaves.
    pub members: Vec<Arc<str>>,
    /// JoinGroup: the protocols that it lists, and where in the frame stands what it tells each.
    pub protocols: Vec<(Arc<str>, Range<usize>)>,
}

/// More protocols than any member lists.
const MAX_PROTOCOLS: usize = 32;
/// Partitions and topics that a JoinGroup may say that it owns; more are not kept.
const MAX_OWNED: usize = 100_000;

impl Said {
    /// What a consumer says to each assignor that it still owns.
    pub fn owned(&self, frame: &[u8]) -> Vec<(Arc<str>, Assignment)> {
        let mut room = MAX_OWNED;
        let mut all = Vec::new();
        for (protocol, at) in &self.protocols {
            let read = frame.get(at.clone()).and_then(|bytes| subscription::owned(bytes, room));
            let Some(topics) = read else { continue };
            room = room.saturating_sub(topics.iter().map(|(_, p)| 1 + p.len()).sum());
            all.push((protocol.clone(), by_name(topics)));
        }
        all
    }
}

fn by_name(topics: Vec<(&str, Vec<i32>)>) -> Assignment {
    let mut by_name: HashMap<Arc<str>, Vec<i32>> = HashMap::new();
    for (topic, partitions) in topics {
        by_name.entry(topic.into()).or_default().extend(partitions);
    }
    Assignment { by_name, by_id: HashMap::new() }
}

impl Default for Said {
    fn default() -> Said {
        let request = GroupRequest { session_timeout: -1, rebalance_timeout: -1, ..GroupRequest::default() };
        Said { request, members: Vec::new(), protocols: Vec::new() }
    }
}

impl Visitor for Said {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let request = &mut self.request;
        match mark {
            mark::GROUP => request.group = text(value),
            mark::MEMBER => {
                request.member = text(value);
                self.members.push(request.member.clone());
            }
            mark::GROUP_INSTANCE => request.instance = value.map(|v| text(Some(v))),
            mark::PROTOCOL_TYPE => request.protocol_type = text(value),
            // A JoinGroup lists several: which one it becomes, its response says.
            mark::PROTOCOL => request.protocol = text(value),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        let request = &mut self.request;
        match mark {
            mark::GENERATION => request.generation = entry::int32(bytes),
            mark::SESSION_TIMEOUT => request.session_timeout = entry::int32(bytes),
            mark::REBALANCE_TIMEOUT => request.rebalance_timeout = entry::int32(bytes),
            _ => {}
        }
    }

    fn blob(&mut self, mark: Mark, at: usize, len: Option<usize>, length: &mut [u8], _peek: &[u8]) {
        if mark == mark::SUBSCRIPTION && self.protocols.len() < MAX_PROTOCOLS {
            let from = at + length.len();
            self.protocols.push((self.request.protocol.clone(), from..from + len.unwrap_or(0)));
        }
    }

    fn array(&mut self, mark: Mark, _at: usize, count: Option<usize>) -> Action {
        self.request.leads |= mark == mark::MEMBERS && count.is_some_and(|n| n > 0);
        Action::Keep
    }
}

/// A response.
#[derive(Default)]
pub(super) struct Told {
    pub error: i16,
    pub generation: i32,
    /// `None` where it names none: then the request's stands.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Arc<str>,
    pub leader: Arc<str>,
    pub member: Arc<str>,
    /// OffsetCommit: a partition was taken. What is wrong with a member, all of them say.
    pub accepted: bool,
    /// OffsetCommit: the first partition's error.
    pub refused: i16,
    /// SyncGroup: where in the frame the assignment is.
    pub assignment: Range<usize>,
    /// ConsumerGroupHeartbeat: `None` where nothing has changed.
    pub assigned: Option<Assignment>,
    topic: TopicId,
}

impl Visitor for Told {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        match mark {
            mark::PROTOCOL_TYPE => self.protocol_type = value.map(|v| text(Some(v))),
            mark::PROTOCOL => self.protocol = text(value),
            mark::LEADER => self.leader = text(value),
            mark::MEMBER => self.member = text(value),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::ERROR => self.error = entry::int16(bytes),
            mark::GENERATION => self.generation = entry::int32(bytes),
            mark::TOPIC_ID => self.topic = bytes.first_chunk().copied().unwrap_or_default(),
            mark::PARTITION => match &mut self.assigned {
                Some(assigned) => assigned.by_id.entry(self.topic).or_default().push(entry::int32(bytes)),
                None => {
                    let error = entry::committed(bytes);
                    self.accepted |= error == 0;
                    self.refused = if self.refused == 0 { error } else { self.refused };
                }
            },
            _ => {}
        }
    }

    fn blob(&mut self, mark: Mark, at: usize, len: Option<usize>, length: &mut [u8], _peek: &[u8]) {
        if mark == mark::ASSIGNMENT {
            let from = at + length.len();
            self.assignment = from..from + len.unwrap_or(0);
        }
    }

    fn array(&mut self, mark: Mark, _at: usize, count: Option<usize>) -> Action {
        if mark == mark::ASSIGNMENT && count.is_some() {
            self.assigned = Some(Assignment::default());
        }
        Action::Keep
    }
}

/// A consumer's assignment; `None`: it is none.
pub(super) fn assignment(bytes: &[u8]) -> Option<Assignment> {
    assignment::partitions(bytes).map(by_name)
}
