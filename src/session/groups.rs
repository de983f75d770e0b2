//! Who is a member of which group: learnt from the frames that pass whole (rule M8). A request
//! counts once it goes upstream, a response as the broker wrote it, before a mender sees it.

mod links;
mod read;

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::response::Head;
use crate::mend::groups::{Beat, Terms, Who};
use crate::mend::{Assignment, ClientKey, Joined, Shared};
use crate::wire::api::ApiKey;
use crate::wire::head::RequestHead;
use crate::wire::layout;
use crate::wire::walk;
pub(super) use links::Links;
use read::{Said, Told};

const UNKNOWN_MEMBER_ID: i16 = 25;
const MEMBER_ID_REQUIRED: i16 = 79;

/// What a request of a group's member says that its response does not.
#[derive(Debug, Default)]
pub struct GroupRequest {
    group: Arc<str>,
    /// Empty: it has none yet.
    member: Arc<str>,
    /// Or the member's epoch.
    generation: i32,
    instance: Option<Arc<str>>,
    protocol_type: Arc<str>,
    protocol: Arc<str>,
    /// Milliseconds; negative: not told, or unchanged.
    session_timeout: i32,
    rebalance_timeout: i32,
    /// SyncGroup: it brings the others' assignments.
    leads: bool,
    /// JoinGroup: the id that the same consumer had before.
    previous: Option<Arc<str>>,
    /// JoinGroup: what a consumer says to each assignor that it still owns.
    owned: Vec<(Arc<str>, Assignment)>,
    /// JoinGroup, SyncGroup: it is on its way.
    asked: Option<Asked>,
}

/// A JoinGroup or SyncGroup on its way, however that ends.
#[derive(Debug)]
struct Asked {
    shared: Arc<Shared>,
    group: Arc<str>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.groups.ask_ended(&self.group);
    }
}

impl Core {
    /// A whole request goes upstream; it is the newest in the queue.
    pub(super) fn group_request(&mut self, head: &RequestHead, frame: &mut [u8]) {
        let is_answered = match head.api {
            ApiKey::LEAVE_GROUP => false,
            ApiKey::JOIN_GROUP
            | ApiKey::SYNC_GROUP
            | ApiKey::HEARTBEAT
            | ApiKey::OFFSET_COMMIT
            | ApiKey::CONSUMER_GROUP_HEARTBEAT => true,
            _ => return,
        };
        let Some(layout) = layout::request(head.api, head.version) else {
            return;
        };
        let mut said = Said::default();
        if walk::whole(layout, frame, head.body, &mut said).is_err() || said.request.group.is_empty() {
            return;
        }
        let shared = &self.env.shared;
        let client = self.conn.client();
        let is_of_consumers = *said.request.protocol_type == *"consumer";
        let owned = if is_of_consumers { said.owned(frame) } else { Vec::new() };
        let Said { mut request, members, .. } = said;
        let who = Who { client: &client, group: &request.group, member: &request.member, now: self.now };
        let asked = || Asked { shared: shared.clone(), group: request.group.clone() };
        match head.api {
            ApiKey::LEAVE_GROUP => {
                for member in members.iter().filter(|m| !m.is_empty()) {
                    shared.groups.leaves(&Who { member, ..who });
                }
            }
            ApiKey::JOIN_GROUP => {
                if is_of_consumers {
                    shared.peers.join(&client, &request.group);
                }
                request.asked = shared.groups.join_asked(&who).then(asked);
                request.previous = self.links.joins(&request.group, &request.member);
                request.owned = owned;
            }
            ApiKey::SYNC_GROUP => request.asked = shared.groups.sync_asked(&request.group).then(asked),
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                // Of KIP-848 there are only consumers.
                shared.peers.join(&client, &request.group);
                // A static member that goes for a while has epoch -2.
                if request.generation == -1 {
                    shared.groups.left(&request.group, &request.member);
                }
            }
            _ => {}
        }
        if let (true, Some(entry)) = (is_answered, self.queue.back_mut()) {
            entry.group = Some(Box::new(request));
        }
    }

    /// A whole response has come; no mender has seen it. Of what comes again later nothing is taken.
    pub(super) fn group_response(&mut self, head: Head, frame: &mut [u8]) {
        let Some(mut asked) = self.queue.front_mut().and_then(|e| e.group.take()) else {
            return;
        };
        let Some(layout) = layout::response(head.api, head.version) else {
            return;
        };
        let mut told = Told::default();
        if walk::whole(layout, frame, head.body, &mut told).is_err() {
            return;
        }
        let client = self.conn.client();
        let owned = std::mem::take(&mut asked.owned);
        let who = Who { client: &client, group: &asked.group, member: &asked.member, now: self.now };
        let error = if head.api == ApiKey::OFFSET_COMMIT && !told.accepted { told.refused } else { told.error };
        let is_refused = error != 0 && !who.member.is_empty() && asked.generation >= 0;
        if is_refused && matches!(head.api, ApiKey::SYNC_GROUP | ApiKey::HEARTBEAT | ApiKey::OFFSET_COMMIT) {
            self.env.shared.groups.refused(&who, asked.generation, error);
        }
        match head.api {
            ApiKey::JOIN_GROUP => self.joined(&who, &asked, told, owned),
            ApiKey::SYNC_GROUP if told.error == 0 && !who.member.is_empty() => self.synced(&who, &asked, told, frame),
            // It asks for a new id next, as after a JoinGroup that was answered so.
            ApiKey::SYNC_GROUP if told.error == UNKNOWN_MEMBER_ID && !who.member.is_empty() => {
                self.env.shared.groups.forgotten(who.group, who.member);
                self.links.forgotten(&asked.group, &asked.member);
            }
            ApiKey::HEARTBEAT if told.error == 0 => self.heard(&who, &asked),
            ApiKey::OFFSET_COMMIT if told.accepted => self.heard(&who, &asked),
            ApiKey::CONSUMER_GROUP_HEARTBEAT if told.error == 0 => self.beat(&who, &asked, told),
            _ => {}
        }
    }

    fn joined(&mut self, who: &Who<'_>, asked: &GroupRequest, told: Told, owned: Vec<(Arc<str>, Assignment)>) {
        let groups = &self.env.shared.groups;
        if told.error != 0 {
            groups.join_refused(who, told.error);
        }
        match told.error {
            0 if !told.member.is_empty() => {
                self.links.joined(who.group, &told.member);
                let owned = owned.into_iter().find(|(protocol, _)| *protocol == told.protocol).map(|(_, owned)| owned);
                let joined = Joined {
                    generation: told.generation,
                    is_leader: told.leader == told.member,
                    protocol_type: told.protocol_type.unwrap_or_else(|| asked.protocol_type.clone()),
                    protocol: told.protocol,
                };
                let session_timeout = millis(asked.session_timeout).unwrap_or_default();
                let terms = Terms {
                    instance: asked.instance.clone(),
                    previous: asked.previous.clone(),
                    session_timeout,
                    // Version 0 has one timeout for both.
                    rebalance_timeout: millis(asked.rebalance_timeout).unwrap_or(session_timeout),
                    owned,
                };
                groups.joined(&Who { member: &told.member, ..*who }, joined, terms);
            }
            UNKNOWN_MEMBER_ID if !who.member.is_empty() => {
                groups.forgotten(who.group, who.member);
                self.links.forgotten(&asked.group, &asked.member);
            }
            MEMBER_ID_REQUIRED if !told.member.is_empty() => {
                if let Some(old) = &asked.previous {
                    self.links.named(&asked.group, &told.member, old);
                }
            }
            // It will ask again.
            _ if who.member.is_empty() => {
                if let Some(old) = &asked.previous {
                    self.links.forgotten(&asked.group, old);
                }
            }
            _ => {}
        }
    }

    fn synced(&self, who: &Who<'_>, asked: &GroupRequest, told: Told, frame: &[u8]) {
        let groups = &self.env.shared.groups;
        let known = || groups.member(who.group, who.member).map(|m| m.joined.protocol_type);
        let said = told.protocol_type.or_else(|| Some(asked.protocol_type.clone()).filter(|t| !t.is_empty()));
        let protocol_type = said.or_else(known).unwrap_or_default();
        // Others than consumers have bytes of their own there.
        let assignment =
            if *protocol_type == *"consumer" { frame.get(told.assignment).and_then(read::assignment) } else { None };
        let protocol = if told.protocol.is_empty() { asked.protocol.clone() } else { told.protocol };
        let said = Joined { generation: asked.generation, is_leader: asked.leads, protocol_type, protocol };
        groups.synced(who, said, asked.instance.clone(), assignment);
    }

    /// Commits without a generation are no member's.
    fn heard(&self, who: &Who<'_>, asked: &GroupRequest) {
        if !who.member.is_empty() && asked.generation >= 0 {
            self.env.shared.groups.heard(who, asked.generation, asked.instance.clone());
        }
    }

    fn beat(&self, who: &Who<'_>, asked: &GroupRequest, told: Told) {
        let member = if told.member.is_empty() { who.member } else { &told.member };
        // It left, or goes for a while.
        if member.is_empty() || asked.generation < 0 || told.generation < 0 {
            return;
        }
        let beat = Beat {
            epoch: told.generation,
            joins: asked.generation == 0,
            instance: asked.instance.clone(),
            rebalance_timeout: millis(asked.rebalance_timeout),
            assignment: told.assigned,
        };
        self.env.shared.groups.beat(&Who { member, ..*who }, beat);
    }

    /// A client's last connection has gone.
    pub(super) fn forget(&self, client: Option<ClientKey>) {
        if let Some(client) = client {
            let shared = &self.env.shared;
            shared.groups.forget_client(&client);
            shared.progress.forget_client(&client);
            shared.findings.forget_client(&client);
        }
    }
}

fn millis(ms: i32) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}
