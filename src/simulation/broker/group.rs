//! A classic group: who is in it, and what each request gets.

use std::collections::BTreeMap;

use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

use super::*;
use crate::simulation::{MS, SECOND};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub session: At,
    pub rebalance: At,
    pub instance: Option<String>,
    /// Name and metadata of each that it can, the one it wants first.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// When the session ends; `None` while it waits for an answer.
    pub deadline: Option<At>,
    pub join: Option<ReplyTo>,
    pub sync: Option<ReplyTo>,
    pub assignment: Vec<u8>,
}

impl Member {
    pub(super) fn metadata_for(&self, protocol: &str) -> Vec<u8> {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

pub struct Group {
    pub state: State,
    pub generation: i32,
    pub members: BTreeMap<String, Member>,
    pub leader: Option<String>,
    pub protocol: String,
    pub offsets: BTreeMap<i32, i64>,
    pub news: Vec<News>,
    /// Ids that were given and have not come back, and until when.
    pub(super) promised: BTreeMap<String, At>,
    /// Those who have joined and not asked for their assignment.
    pub(super) unsynced: Vec<String>,
    pub(super) timer: Option<At>,
    /// The first round of an empty group waits for its timer, whoever has joined.
    pub(super) is_first: bool,
    /// What is on disk: generation and members as of the last stable or empty moment.
    pub(super) saved: (i32, BTreeMap<String, Member>, Option<String>),
    dice: Dice,
}

/// `group.initial.rebalance.delay.ms`.
pub(super) const FIRST_DELAY: At = 300 * MS;

impl Group {
    pub fn new(dice: Dice) -> Group {
        Group {
            state: State::Empty,
            generation: 0,
            members: BTreeMap::new(),
            leader: None,
            protocol: String::new(),
            offsets: BTreeMap::new(),
            news: Vec::new(),
            promised: BTreeMap::new(),
            unsynced: Vec::new(),
            timer: None,
            is_first: false,
            saved: (0, BTreeMap::new(), None),
            dice,
        }
    }

    /// 25 for one that is not known, 82 for one whose instance has been taken over.
    fn check(&self, id: &str, instance: Option<&str>) -> i16 {
        if let Some(instance) = instance.filter(|_| !id.is_empty())
            && let Some(owner) = self.by_instance(instance)
            && owner != id
        {
            return FENCED_INSTANCE_ID;
        }
        if self.members.contains_key(id) { 0 } else { UNKNOWN_MEMBER_ID }
    }

    pub(super) fn by_instance(&self, instance: &str) -> Option<String> {
        let found = self.members.iter().find(|(_, m)| m.instance.as_deref() == Some(instance));
        found.map(|(id, _)| id.clone())
    }

    pub(super) fn renew(&mut self, id: &str, now: At) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = match member.join.is_some() || member.sync.is_some() {
                true => None,
                false => Some(now + member.session),
            };
        }
    }

    pub fn join(&mut self, now: At, to: ReplyTo, request: &JoinGroupRequest, out: &mut Vec<(ReplyTo, Reply)>) {
        let id = request.member_id.to_string();
        let instance = request.group_instance_id.as_deref().map(str::to_owned);
        let protocols = request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.to_vec())).collect();
        let made = Member {
            session: request.session_timeout_ms as At * MS,
            rebalance: request.rebalance_timeout_ms.max(1) as At * MS,
            instance: instance.clone(),
            protocols,
            deadline: None,
            join: Some(to),
            sync: None,
            assignment: Vec::new(),
        };
        if id.is_empty() {
            let new = format!("m-{:08x}", self.dice.range(0, 0xffff_ffff));
            let known = instance.as_deref().and_then(|i| self.by_instance(i));
            return match (instance, known) {
                (None, _) if to.version >= 4 => {
                    self.promised.insert(new.clone(), now + made.session);
                    out.push((to, refused(MEMBER_ID_REQUIRED, &new)));
                }
                (Some(_), Some(old)) => self.take_over(now, &old, new, made, out),
                _ => self.add(now, new, made, out),
            };
        }
        if self.promised.remove(&id).is_some() {
            return self.add(now, id, made, out);
        }
        let error = self.check(&id, instance.as_deref());
        if error != 0 {
            self.news.push(News::Refused { member: id.clone(), api: to.api, error });
            return out.push((to, refused(error, &id)));
        }
        let is_same = self.members.get(&id).is_some_and(|m| m.protocols == made.protocols);
        let leads = self.leader.as_deref() == Some(&id);
        match self.state {
            State::Stable if is_same && !leads => self.tell_round(now, &id, to, out),
            State::Completing if is_same => self.tell_round(now, &id, to, out),
            State::Preparing => {
                self.update(&id, made);
                self.try_complete(now, out);
            }
            _ => {
                self.update(&id, made);
                self.prepare(now, out);
            }
        }
    }

    fn update(&mut self, id: &str, made: Member) {
        if let Some(member) = self.members.get_mut(id) {
            let assignment = std::mem::take(&mut member.assignment);
            *member = Member { assignment, sync: member.sync, ..made };
        }
    }

    fn add(&mut self, now: At, id: String, made: Member, out: &mut Vec<(ReplyTo, Reply)>) {
        self.members.insert(id, made);
        match self.state {
            State::Preparing => self.try_complete(now, out),
            _ => self.prepare(now, out),
        }
    }

    /// A static member comes back under its instance id: it gets a new member id, and what it had.
    fn take_over(&mut self, now: At, old: &str, new: String, made: Member, out: &mut Vec<(ReplyTo, Reply)>) {
        let Some(before) = self.members.remove(old) else {
            return;
        };
        for waiting in [before.join, before.sync].into_iter().flatten() {
            out.push((waiting, error_for(waiting, FENCED_INSTANCE_ID)));
        }
        let leads = self.leader.as_deref() == Some(old);
        let to = made.join;
        self.members.insert(new.clone(), Member { assignment: before.assignment, ..made });
        if leads {
            self.leader = Some(new.clone());
        }
        match (self.state, to) {
            // It speaks other protocols than before, and the group would choose another.
            (State::Stable, Some(to)) if self.chosen() == self.protocol => {
                // It is told of the old leader, so that it does not compute an assignment.
                let leader = if leads { old.to_owned() } else { self.leader.clone().unwrap_or_default() };
                if let Some(member) = self.members.get_mut(&new) {
                    member.join = None;
                }
                self.renew(&new, now);
                self.save();
                self.news.push(News::Stable(self.generation));
                let protocol = self.protocol.clone();
                let generation = self.generation;
                let reply = Reply::Join { error: 0, generation, leader, member: new, protocol, members: Vec::new() };
                out.push((to, reply));
            }
            (State::Preparing, _) => self.try_complete(now, out),
            _ => self.prepare(now, out),
        }
    }

    pub fn sync(&mut self, now: At, to: ReplyTo, request: &SyncGroupRequest, out: &mut Vec<(ReplyTo, Reply)>) {
        let id = request.member_id.to_string();
        let mut error = self.check(&id, request.group_instance_id.as_deref());
        if error == 0 && request.generation_id != self.generation {
            error = ILLEGAL_GENERATION;
        }
        if error == 0 {
            error = match self.state {
                State::Empty => UNKNOWN_MEMBER_ID,
                State::Preparing => REBALANCE_IN_PROGRESS,
                State::Completing | State::Stable => 0,
            };
        }
        if error != 0 {
            return out.push((to, error_for(to, error)));
        }
        self.unsynced.retain(|m| *m != id);
        if self.state == State::Completing {
            if let Some(member) = self.members.get_mut(&id) {
                member.sync = Some(to);
                member.deadline = None;
            }
            if self.leader.as_deref() == Some(&id) {
                self.members.values_mut().for_each(|m| m.assignment.clear());
                for assigned in &request.assignments {
                    if let Some(member) = self.members.get_mut(assigned.member_id.as_str()) {
                        member.assignment = assigned.assignment.to_vec();
                    }
                }
                self.become_stable(now, out);
            }
        } else {
            let assignment = self.members.get(&id).map(|m| m.assignment.clone()).unwrap_or_default();
            self.renew(&id, now);
            let protocol = self.protocol.clone();
            out.push((to, Reply::Sync { error: 0, protocol, assignment }));
        }
    }

    pub fn heartbeat(&mut self, now: At, request: &HeartbeatRequest) -> i16 {
        let id = request.member_id.as_str();
        let error = self.check(id, request.group_instance_id.as_deref());
        if error != 0 {
            return error;
        }
        if request.generation_id != self.generation {
            return ILLEGAL_GENERATION;
        }
        match self.state {
            State::Empty => UNKNOWN_MEMBER_ID,
            State::Preparing => {
                self.renew(id, now);
                REBALANCE_IN_PROGRESS
            }
            State::Completing | State::Stable => {
                self.renew(id, now);
                0
            }
        }
    }

    pub fn leave(&mut self, now: At, request: &LeaveGroupRequest, out: &mut Vec<(ReplyTo, Reply)>) -> i16 {
        let named = request.members.iter().map(|m| (m.member_id.to_string(), m.group_instance_id.as_deref()));
        let mut leaving: Vec<_> = named.collect();
        if leaving.is_empty() {
            leaving.push((request.member_id.to_string(), None));
        }
        let mut result = 0;
        for (id, instance) in leaving {
            if self.promised.remove(&id).is_some() {
                continue;
            }
            let error = self.check(&id, instance);
            if error == 0 {
                self.remove(now, &id, out);
            } else {
                result = error;
            }
        }
        result
    }

    /// What an OffsetCommit is answered with.
    pub fn may_commit(&mut self, now: At, id: &str, generation: i32, instance: Option<&str>) -> i16 {
        if generation < 0 && id.is_empty() {
            return if self.state == State::Empty { 0 } else { UNKNOWN_MEMBER_ID };
        }
        let error = self.check(id, instance);
        if error != 0 {
            return error;
        }
        if generation != self.generation {
            return ILLEGAL_GENERATION;
        }
        self.renew(id, now);
        if self.state == State::Completing { REBALANCE_IN_PROGRESS } else { 0 }
    }

    /// Who owns what: the assignment that was last given out and is still in force.
    pub fn owners(&self) -> BTreeMap<i32, String> {
        let each = self.members.iter();
        each.flat_map(|(id, m)| wire::assigned(&m.assignment).into_iter().map(|p| (p, id.clone()))).collect()
    }

    pub fn deadline(&self) -> Option<At> {
        let sessions = self.members.values().filter_map(|m| m.deadline);
        sessions.chain(self.promised.values().copied()).chain(self.timer).min()
    }

    /// The coordinator has moved; what was not on disk is gone. Whoever waits is told.
    pub fn unload(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        for member in self.members.values() {
            for waiting in [member.join, member.sync].into_iter().flatten() {
                out.push((waiting, error_for(waiting, NOT_COORDINATOR)));
            }
        }
        let (generation, members, leader) = self.saved.clone();
        (self.generation, self.members, self.leader) = (generation, members, leader);
        for member in self.members.values_mut() {
            (member.join, member.sync) = (None, None);
            member.deadline = Some(now + member.session);
        }
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
        self.promised.clear();
        self.unsynced.clear();
        self.timer = None;
        self.news.push(if self.members.is_empty() { News::Empty } else { News::Stable(self.generation) });
    }

    pub(super) fn patience(&self) -> At {
        self.members.values().map(|m| m.rebalance).max().unwrap_or(SECOND)
    }
}

pub(super) fn refused(error: i16, member: &str) -> Reply {
    super::refused_join(error, member)
}

/// The refusal of a JoinGroup or SyncGroup that waits.
pub(super) fn error_for(to: ReplyTo, error: i16) -> Reply {
    match to.api {
        ApiKey::JOIN_GROUP => refused(error, ""),
        _ => Reply::Sync { error, protocol: String::new(), assignment: Vec::new() },
    }
}
