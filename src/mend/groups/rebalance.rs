//! When groups rebalance, why, and with which kind of assignor, as the members behind this kmend
//! show it (rule D2).
//!
//! A rebalance begins with its first sign here and ends when every member here that took part knows
//! its assignment. It counts where the generation has risen.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{Members, State};
use super::{Cause, GroupKind, Groups, Member, Phase, Rebalance, Who};

/// Groups that are watched at one time; as many as there may be members.
const MAX_GROUPS: usize = 20_000;
/// Rebalances that nobody has taken; the oldest are dropped.
const MAX_EVENTS: usize = 1000;
/// A sign that nothing has followed for so long was none.
const STALE: Duration = Duration::from_secs(60);

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

#[derive(Debug)]
struct Round {
    since: Instant,
    /// When something last showed that it goes on.
    seen: Instant,
    cause: Cause,
    /// Whose request or answer was the first sign.
    by: Arc<str>,
    /// The generation that a member here has been assigned in, and when the last one was.
    assigned: Option<(i32, Instant)>,
}

impl Round {
    fn new(now: Instant, cause: Cause, by: &str) -> Round {
        Round { since: now, seen: now, cause, by: Arc::from(by), assigned: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assignor {
    Eager,
    Cooperative,
}

/// What is known of one group beside its members.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// JoinGroup and SyncGroup requests that are on their way.
    asked: usize,
    /// Who was told of a rebalance and has not been assigned since, and in which generation it was.
    told: HashMap<Arc<str>, i32>,
    /// Whom a mender has told to rejoin.
    repaired: HashSet<Arc<str>>,
    round: Option<Round>,
    /// The next one has begun before all members were assigned in this one.
    next: Option<Round>,
    /// The newest generation that a member here was assigned in.
    newest: Option<i32>,
    /// The newest generation (or epoch) whose rebalance is over.
    counted: Option<i32>,
    assignor: Option<Assignor>,
    /// The generation that showed it.
    shown: Option<i32>,
    has_switched: bool,
    /// KIP-848: a member here has given up partitions on its way to the next epoch.
    has_lost: bool,
}

impl Watch {
    fn is_busy(&self, members: Option<&Members>) -> bool {
        !self.told.is_empty() || self.is_joining(members)
    }

    fn is_joining(&self, members: Option<&Members>) -> bool {
        let joins = |m: &Member| {
            // One that others have left behind has no part in what happens now.
            m.phase == Phase::Joined && (m.kind == GroupKind::Consumer || Some(m.joined.generation) >= self.newest)
        };
        self.asked > 0 || members.is_some_and(|all| all.values().any(joins))
    }

    fn sign(&mut self, now: Instant, cause: Cause, by: &str, is_busy: bool) {
        match &mut self.round {
            None => self.round = Some(Round::new(now, cause, by)),
            Some(round) if round.assigned.is_some() => {
                self.next.get_or_insert_with(|| Round::new(now, cause, by));
            }
            Some(round) if !is_busy && round.seen + STALE < now => *round = Round::new(now, cause, by),
            Some(round) => round.seen = round.seen.max(now),
        }
    }

    /// The round is over. `None`: no generation came of it that is new.
    fn finish(&mut self) -> Option<(Cause, Duration)> {
        let round = std::mem::replace(&mut self.round, self.next.take())?;
        let (generation, at) = round.assigned?;
        let is_new = self.counted < Some(generation);
        self.counted = self.counted.max(Some(generation));
        is_new.then(|| (round.cause, at.saturating_duration_since(round.since)))
    }

    /// A member here has been assigned. What has ended by that, if any.
    fn assigned(&mut self, member: &str, generation: i32, now: Instant) -> Option<(Cause, Duration)> {
        // Who was told in an older generation and is not in this one was left behind.
        self.told.retain(|id, told| *told >= generation && **id != *member);
        self.newest = self.newest.max(Some(generation));
        let Some(round) = &mut self.round else {
            // Nobody saw how it began.
            self.counted = self.counted.max(Some(generation));
            return None;
        };
        match &mut round.assigned {
            Some((known, _)) if *known > generation => None,
            Some((known, at)) if *known == generation => {
                *at = now;
                None
            }
            None => {
                round.assigned = Some((generation, now));
                None
            }
            Some(_) => {
                let over = self.finish();
                let round = self.round.get_or_insert_with(|| Round::new(now, Cause::Elsewhere, member));
                round.assigned = Some((generation, now));
                over
            }
        }
    }

    /// The group chose this assignor. Connect and Streams have others of their own.
    fn chose(&mut self, member: &Member) {
        let joined = &member.joined;
        if member.kind != GroupKind::Classic || !joined.is_of_consumers() || joined.protocol.is_empty() {
            return;
        }
        if self.shown > Some(joined.generation) {
            return;
        }
        self.shown = Some(joined.generation);
        if joined.is_cooperative() {
            self.has_switched |= self.assignor == Some(Assignor::Eager);
            self.assignor = Some(Assignor::Cooperative);
        } else {
            self.has_switched = false;
            self.assignor = Some(Assignor::Eager);
        }
    }

    /// A lower generation than before, and nobody here is in a higher one: the group began anew.
    fn begins_anew(&mut self, who: &Who<'_>, generation: i32, members: Option<&Members>) {
        let newest = self.newest.max(self.counted).max(self.shown);
        let holds = |(id, m): (&Arc<str>, &Member)| {
            **id != *who.member && m.joined.generation > generation && m.assignment.is_some()
        };
        if newest > Some(generation) && !members.is_some_and(|all| all.iter().any(holds)) {
            (self.newest, self.counted, self.shown) = (None, None, None);
            self.told.clear();
        }
    }

    pub fn forget(&mut self, member: &str) {
        self.told.remove(member);
        self.repaired.remove(member);
    }

    /// Its group has no members here any more. `false`: nothing is left to be known.
    pub fn empty(&mut self) -> bool {
        *self = Watch { asked: self.asked, round: self.round.take(), ..Watch::default() };
        self.asked > 0
    }
}

impl State {
    fn watched(&mut self, group: &str) -> Option<(Option<&Members>, &mut Watch)> {
        Some((self.groups.get(group), self.watches.get_mut(group)?))
    }

    /// As [`watched`](Self::watched), new or known. `None`: there is no room.
    fn watch(&mut self, group: &str) -> Option<(Option<&Members>, &mut Watch)> {
        if !self.watches.contains_key(group) {
            if self.watches.len() >= MAX_GROUPS {
                let groups = &self.groups;
                self.watches.retain(|name, watch| watch.asked > 0 || groups.contains_key(name));
            }
            if self.watches.len() >= MAX_GROUPS {
                return None;
            }
            self.watches.insert(Arc::from(group), Watch::default());
        }
        self.watched(group)
    }

    fn sign(&mut self, who: &Who<'_>, cause: Cause) {
        if let Some((members, watch)) = self.watch(who.group) {
            let is_busy = watch.is_busy(members);
            watch.sign(who.now, cause, who.member, is_busy);
        }
    }

    fn asks(&mut self, group: &str) -> bool {
        let Some((_, watch)) = self.watch(group) else {
            return false;
        };
        watch.asked += 1;
        true
    }

    fn ended(&mut self, group: &str, ended: Option<(Cause, Duration)>) {
        let Some((cause, took)) = ended else { return };
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Rebalance { group: Arc::from(group), cause, took });
    }

    /// Ends the group's round, if all members here have come to its end.
    pub fn settle(&mut self, group: &str) {
        let Some((members, watch)) = self.watched(group) else {
            return;
        };
        if watch.round.as_ref().is_some_and(|r| r.assigned.is_some()) && !watch.is_busy(members) {
            let over = watch.finish();
            self.ended(group, over);
        }
    }

    /// A JoinGroup was answered with success, and the member is kept.
    pub fn has_joined(&mut self, who: &Who<'_>, member: &Member) {
        let Some((members, watch)) = self.watch(who.group) else {
            return;
        };
        watch.begins_anew(who, member.joined.generation, members);
        watch.chose(member);
        watch.repaired.remove(who.member);
        if let Some(round) = &mut watch.round {
            round.seen = round.seen.max(who.now);
        }
    }

    /// A SyncGroup was answered with success, and the member is kept.
    pub fn has_synced(&mut self, who: &Who<'_>, member: &Member) {
        let Some((_, watch)) = self.watch(who.group) else {
            return;
        };
        watch.chose(member);
        let over = watch.assigned(who.member, member.joined.generation, who.now);
        self.ended(who.group, over);
        self.settle(who.group);
    }

    /// A member is in this generation, and how it came there was not seen.
    pub fn is_heard(&mut self, who: &Who<'_>, generation: i32) {
        let Some((_, watch)) = self.watch(who.group) else {
            return;
        };
        watch.newest = watch.newest.max(Some(generation));
        if watch.round.is_none() {
            watch.counted = watch.counted.max(Some(generation));
        }
    }

    /// A member of KIP-848 is in this epoch. `before`: what it was assigned.
    pub fn has_beaten(&mut self, who: &Who<'_>, before: Option<&Member>, after: &Member, joins: bool) {
        let Some((members, watch)) = self.watch(who.group) else {
            return;
        };
        let epoch = after.joined.generation;
        if joins {
            watch.begins_anew(who, epoch, members);
            watch.sign(who.now, Cause::Join, who.member, false);
        }
        let old = before.filter(|_| !joins).and_then(|m| m.assignment.as_deref());
        let new = after.assignment.as_deref();
        let has_changed = new.is_some() && new != old;
        let has_lost = |a: &super::Assignment| {
            let lacks = |(id, p): (_, &Vec<i32>)| p.iter().any(|p| !new.is_some_and(|n| n.owns("", id, *p)));
            a.by_id.iter().any(|(id, p)| lacks((*id, p)))
        };
        if watch.counted < Some(epoch) && (has_changed || watch.has_lost) {
            watch.counted = Some(epoch);
            watch.has_lost = false;
            let round = watch.round.take();
            let over = round.map(|r| (r.cause, who.now.saturating_duration_since(r.since)));
            self.ended(who.group, Some(over.unwrap_or((Cause::Elsewhere, Duration::ZERO))));
        } else {
            watch.has_lost |= has_changed && old.is_some_and(has_lost);
            if has_changed && watch.round.as_ref().is_some_and(|r| *r.by == *who.member) {
                // It came back to what the group had for it.
                watch.round = None;
            }
        }
    }
}

impl Groups {
    /// A JoinGroup goes upstream. `true`: [`ask_ended`](Self::ask_ended) must be told of its end.
    pub fn join_asked(&self, who: &Who<'_>) -> bool {
        let mut state = self.state();
        let known = state.get(who.group, who.member).is_some();
        let is_repaired = state.watched(who.group).is_some_and(|(members, watch)| {
            let is_its = |id: &Arc<str>| {
                // Some ask for a new id after ILLEGAL_GENERATION.
                let of_client = members.and_then(|all| all.get(id)).is_some_and(|m| m.client == *who.client);
                **id == *who.member || who.member.is_empty() && of_client
            };
            watch.repaired.iter().any(is_its)
        });
        let cause = match (is_repaired, known) {
            (true, _) => Cause::Repair,
            (_, true) => Cause::Metadata,
            _ => Cause::Join,
        };
        state.sign(who, cause);
        state.asks(who.group)
    }

    /// A SyncGroup goes upstream. `true`: [`ask_ended`](Self::ask_ended) must be told of its end.
    pub fn sync_asked(&self, group: &str) -> bool {
        self.state().asks(group)
    }

    /// Such a request was answered, and what the answer says has been told; or its connection ended.
    pub fn ask_ended(&self, group: &str) {
        let mut state = self.state();
        if let Some((_, watch)) = state.watched(group) {
            watch.asked = watch.asked.saturating_sub(1);
        }
        state.settle(group);
    }

    /// The broker answered a JoinGroup with this error; it counts as asked still.
    pub fn join_refused(&self, who: &Who<'_>, error: i16) {
        let mut state = self.state();
        let Some((members, watch)) = state.watched(who.group) else {
            return;
        };
        let joins = members.is_some_and(|all| all.values().any(|m| m.phase == Phase::Joined));
        let is_quiet = watch.asked <= 1 && watch.told.is_empty() && !joins;
        let Some(round) = watch.round.as_mut().filter(|r| r.assigned.is_none()) else {
            return;
        };
        let is_by_join = matches!(round.cause, Cause::Join | Cause::Metadata | Cause::Repair);
        match error {
            // The same join goes on under the id that it was given.
            MEMBER_ID_REQUIRED => round.seen = round.seen.max(who.now),
            // It had been forgotten before it asked.
            ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID if *round.by == *who.member && is_by_join => {
                round.cause = Cause::Expiry
            }
            ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => {}
            // It comes to nothing.
            _ if is_quiet && matches!(round.cause, Cause::Join | Cause::Metadata) => watch.round = None,
            _ => {}
        }
    }

    /// The broker refused a Heartbeat, OffsetCommit or SyncGroup of this generation.
    pub fn refused(&self, who: &Who<'_>, generation: i32, error: i16) {
        let mut state = self.state();
        let known = state.groups.get(who.group).and_then(|all| all.get_key_value(who.member));
        let is_present = |m: &Member| m.kind == GroupKind::Classic && m.joined.generation <= generation;
        let Some(id) = known.filter(|(_, m)| is_present(m)).map(|(id, _)| id.clone()) else {
            return;
        };
        match error {
            REBALANCE_IN_PROGRESS => {
                state.sign(who, Cause::Elsewhere);
                if let Some((_, watch)) = state.watched(who.group) {
                    watch.told.insert(id, generation);
                }
            }
            ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => {
                state.sign(who, Cause::Expiry);
                if let Some((_, watch)) = state.watched(who.group) {
                    watch.told.remove(&id);
                }
                state.settle(who.group);
            }
            _ => {}
        }
    }

    /// A member says that it leaves.
    pub fn leaves(&self, who: &Who<'_>) {
        let mut state = self.state();
        if state.get(who.group, who.member).is_some_and(|m| m.kind == GroupKind::Classic) {
            state.sign(who, Cause::Leave);
        }
        state.remove(who.group, who.member);
        state.tidy(who.group);
    }

    /// The group's protocol was eager before and is cooperative now, as members behind this kmend
    /// showed it (rule D2). Ends with its last member here, and when it turns eager again.
    pub fn has_switched(&self, group: &str) -> bool {
        self.state().watched(group).is_some_and(|(_, watch)| watch.has_switched)
    }

    /// A rebalance is under way, as far as members behind this kmend show it.
    pub fn is_rebalancing(&self, group: &str) -> bool {
        self.state().watched(group).is_some_and(|(members, watch)| watch.is_busy(members))
    }

    /// Members behind this kmend have asked to join, and wait for their assignments.
    pub fn is_joining(&self, group: &str) -> bool {
        self.state().watched(group).is_some_and(|(members, watch)| watch.is_joining(members))
    }

    /// A mender has told a member to rejoin: what follows is its doing.
    pub fn repaired(&self, group: &str, member: &str) {
        let mut state = self.state();
        let known = state.groups.get(group).and_then(|all| all.get_key_value(member)).map(|(id, _)| id.clone());
        let Some(id) = known else { return };
        if let Some((_, watch)) = state.watch(group) {
            watch.repaired.insert(id);
        }
    }

    /// Rebalances that have ended since the last call, the newest 1000.
    pub fn take_rebalances(&self) -> Vec<Rebalance> {
        self.state().events.drain(..).collect()
    }
}
