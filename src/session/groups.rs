//! Who is a member of which group: learnt from the frames that pass whole (rule M8).

use std::sync::Arc;

use super::core::Core;
use super::response::Head;
use crate::mend::{ClientKey, Joined};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry;
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// What a JoinGroup request says that its response does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    group: Arc<str>,
    protocol_type: Arc<str>,
}

impl Core {
    /// A whole request goes upstream; it is the newest in the queue.
    pub(super) fn group_request(&mut self, head: &RequestHead, frame: &mut [u8]) {
        if !matches!(head.api, ApiKey::JOIN_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT | ApiKey::LEAVE_GROUP) {
            return;
        }
        let mut said = Said::default();
        let Some(layout) = layout::request(head.api, head.version) else {
            return;
        };
        if walk::whole(layout, frame, head.body, &mut said).is_err() || said.group.is_empty() {
            return;
        }
        let shared = &self.env.shared;
        match head.api {
            ApiKey::LEAVE_GROUP => {
                for member in said.members.iter().filter(|m| !m.is_empty()) {
                    shared.groups.left(&said.group, member);
                }
            }
            ApiKey::JOIN_GROUP => {
                if *said.protocol_type == *"consumer" {
                    shared.peers.join(&self.conn.client(), &said.group);
                }
                if let Some(entry) = self.queue.back_mut() {
                    entry.joining = Some(Joining { group: said.group, protocol_type: said.protocol_type });
                }
            }
            // Of KIP-848 there are only consumers.
            _ => shared.peers.join(&self.conn.client(), &said.group),
        }
    }

    /// A whole response is about to go to the client.
    pub(super) fn group_response(&mut self, head: Head, frame: &mut [u8]) {
        let Some(Joining { group, protocol_type }) = self.queue.front_mut().and_then(|e| e.joining.take()) else {
            return;
        };
        let mut told = Told { error: -1, protocol_type, ..Told::default() };
        let Some(layout) = layout::response(head.api, head.version) else {
            return;
        };
        if walk::whole(layout, frame, head.body, &mut told).is_err() || told.error != 0 || told.member.is_empty() {
            return;
        }
        let joined = Joined {
            generation: told.generation,
            is_leader: told.leader == told.member,
            protocol_type: told.protocol_type,
            protocol: told.protocol,
        };
        self.env.shared.groups.joined(&self.conn.client(), &group, &told.member, joined);
    }

    /// A client's last connection has gone.
    pub(super) fn forget(&self, client: Option<ClientKey>) {
        if let Some(client) = client {
            self.env.shared.groups.forget_client(&client);
        }
    }
}

fn text(value: Option<&[u8]>) -> Arc<str> {
    String::from_utf8_lossy(value.unwrap_or_default()).into()
}

#[derive(Default)]
struct Said {
    group: Arc<str>,
    protocol_type: Arc<str>,
    members: Vec<Arc<str>>,
}

impl Visitor for Said {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        match mark {
            mark::GROUP => self.group = text(value),
            mark::PROTOCOL_TYPE => self.protocol_type = text(value),
            mark::MEMBER => self.members.push(text(value)),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Told {
    error: i16,
    generation: i32,
    protocol_type: Arc<str>,
    protocol: Arc<str>,
    leader: Arc<str>,
    member: Arc<str>,
}

impl Visitor for Told {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        match mark {
            // Null where there is none: then the request's stands.
            mark::PROTOCOL_TYPE if value.is_some() => self.protocol_type = text(value),
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
            _ => {}
        }
    }
}
