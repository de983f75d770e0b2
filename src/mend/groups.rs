//! The members of groups, as the passing requests and the broker's own answers show them (rule M8).
//!
//! A member is known by its group and member id, wherever its requests arrive. A sidecar sees the
//! members behind it, not the whole group. Only what the broker accepted changes anything.

mod rebalance;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::catalog::TopicId;
use super::peers::ClientKey;
use state::State;

/// A member that was not heard of for so long is not alive; longer than heartbeat intervals.
const ALIVE: Duration = Duration::from_secs(30);

/// What a successful JoinGroup response says of its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    /// It was chosen to compute the assignment.
    pub is_leader: bool,
    /// `consumer`, `connect`, ...; empty where neither request nor response told.
    pub protocol_type: Arc<str>,
    /// The assignor: `range`, `cooperative-sticky`, `stream`, ...
    pub protocol: Arc<str>,
}

impl Joined {
    /// A classic group of plain consumers: Connect and Streams have assignments of their own kind.
    pub fn is_of_consumers(&self) -> bool {
        *self.protocol_type == *"consumer" && *self.protocol != *"stream"
    }

    /// By its name, the assignor leaves members what they have (KIP-429).
    pub fn is_cooperative(&self) -> bool {
        self.protocol.contains("cooperative")
    }
}

/// How a group is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupKind {
    /// JoinGroup, SyncGroup, Heartbeat.
    #[default]
    Classic,
    /// KIP-848: ConsumerGroupHeartbeat; the generation is the member's epoch.
    Consumer,
}

/// How far a member has come in its present generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// JoinGroup has been answered, SyncGroup has not.
    Joined,
    /// SyncGroup has been answered: the assignment is the one of this generation.
    Stable,
    /// Known only from requests that the broker accepted: it joined before kmend saw it.
    #[default]
    Heard,
}

/// What a member was assigned. A topic is known by its name (classic) or its id (KIP-848).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    pub by_name: HashMap<Arc<str>, Vec<i32>>,
    pub by_id: HashMap<TopicId, Vec<i32>>,
}

impl Assignment {
    pub fn owns(&self, topic: &str, id: TopicId, partition: i32) -> bool {
        let listed = |p: Option<&Vec<i32>>| p.is_some_and(|p| p.contains(&partition));
        listed(self.by_name.get(topic)) || (id != TopicId::default() && listed(self.by_id.get(&id)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub client: ClientKey,
    /// Of a member that was only [`Heard`](Phase::Heard) of, no more than the generation is known.
    pub joined: Joined,
    pub kind: GroupKind,
    pub phase: Phase,
    /// The id of a static member (KIP-345).
    pub instance: Option<Arc<str>>,
    /// `None`: not seen, or more than is kept.
    pub assignment: Option<Arc<Assignment>>,
    /// When the present generation's assignment came; of a member that was only heard of, when that was.
    pub since: Instant,
    /// What it said, when it last joined, that it still held (KIP-429; cooperative assignors only).
    /// `None`: it did not say, or it joined before kmend saw it. Of a member of KIP-848 that joined
    /// before kmend saw it: what it was first seen to be assigned.
    pub owned: Option<Arc<Assignment>>,
    /// The id that the same consumer had before the broker forgot it (rule C3).
    pub previous: Option<Arc<str>>,
    /// From its JoinGroup; zero where it was not seen.
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// When the broker last accepted something of it.
    pub seen: Instant,
}

impl Member {
    fn new(who: &Who<'_>, joined: Joined, kind: GroupKind, phase: Phase) -> Member {
        Member {
            client: who.client.clone(),
            joined,
            kind,
            phase,
            instance: None,
            assignment: None,
            since: who.now,
            owned: None,
            previous: None,
            session_timeout: Duration::ZERO,
            rebalance_timeout: Duration::ZERO,
            seen: who.now,
        }
    }

    /// Whether its client lives, as far as the broker's answers tell.
    pub fn is_alive(&self, now: Instant) -> bool {
        now < self.seen + ALIVE.max(self.session_timeout)
    }

    /// A classic member that was seen to join: all of [`joined`](Self::joined) is known.
    pub fn has_joined(&self) -> bool {
        self.kind == GroupKind::Classic && self.phase != Phase::Heard
    }
}

/// Whose message it was, and when the broker's answer came.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub client: &'a ClientKey,
    pub group: &'a str,
    pub member: &'a str,
    pub now: Instant,
}

/// What a member asked for when it joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    pub instance: Option<Arc<str>>,
    /// The id that it had before, where its connection showed it.
    pub previous: Option<Arc<str>>,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// What it said that it still owned, to the assignor that was chosen.
    pub owned: Option<Assignment>,
}

/// What an accepted ConsumerGroupHeartbeat says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beat {
    pub epoch: i32,
    /// It asked to join (epoch 0): what it was assigned before is void.
    pub joins: bool,
    /// `None` for these: unchanged.
    pub instance: Option<Arc<str>>,
    pub rebalance_timeout: Option<Duration>,
    pub assignment: Option<Assignment>,
}

/// Why a group rebalanced, as far as the connections behind this kmend show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A new member behind this kmend joined.
    Join,
    /// A member behind this kmend left.
    Leave,
    /// The broker had forgotten a member behind this kmend, or its generation.
    Expiry,
    /// A member behind this kmend joined again by itself: its metadata or subscription had changed.
    Metadata,
    /// A mender made a member rejoin.
    Repair,
    /// Nothing here began it.
    Elsewhere,
}

impl Cause {
    pub fn label(self) -> &'static str {
        match self {
            Cause::Join => "join",
            Cause::Leave => "leave",
            Cause::Expiry => "expiry",
            Cause::Metadata => "metadata",
            Cause::Repair => "repair",
            Cause::Elsewhere => "elsewhere",
        }
    }
}

/// A rebalance that has ended for all members behind this kmend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance {
    pub group: Arc<str>,
    pub cause: Cause,
    /// From its first sign here to the last assignment.
    pub took: Duration,
}

#[derive(Debug, Default)]
pub struct Groups {
    state: Mutex<State>,
}

impl Groups {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A JoinGroup was answered with success.
    pub fn joined(&self, who: &Who<'_>, joined: Joined, terms: Terms) {
        let mut state = self.state();
        let mut member = Member::new(who, joined, GroupKind::Classic, Phase::Joined);
        member.previous = state.follow(who, terms.instance.as_deref(), terms.previous);
        member.instance = terms.instance;
        member.session_timeout = terms.session_timeout;
        member.rebalance_timeout = terms.rebalance_timeout;
        member.owned = terms.owned.map(Arc::new);
        state.put(who, member.clone());
        state.has_joined(who, &member);
    }

    /// A SyncGroup was answered with success. What it says of the protocol, and of who leads, is
    /// taken only where the JoinGroup was not seen.
    pub fn synced(&self, who: &Who<'_>, said: Joined, instance: Option<Arc<str>>, assignment: Option<Assignment>) {
        let mut state = self.state();
        let known = state.get(who.group, who.member).filter(|m| m.kind == GroupKind::Classic);
        if known.is_some_and(|m| m.joined.generation > said.generation) {
            return;
        }
        let said_generation = said.generation;
        let mut member = match known {
            Some(m) if m.has_joined() && m.joined.generation == said.generation => m.clone(),
            Some(m) => {
                let other = |said: Arc<str>, known: &Arc<str>| if said.is_empty() { known.clone() } else { said };
                let protocol_type = other(said.protocol_type, &m.joined.protocol_type);
                let protocol = other(said.protocol, &m.joined.protocol);
                Member { joined: Joined { protocol_type, protocol, ..said }, owned: None, ..m.clone() }
            }
            None => Member::new(who, said, GroupKind::Classic, Phase::Stable),
        };
        let assignment = assignment.map(Arc::new);
        // A SyncGroup that was asked again says the same again.
        let is_known = known.is_some_and(|m| {
            m.phase == Phase::Stable && m.joined.generation == said_generation && m.assignment == assignment
        });
        if !is_known {
            member.since = who.now;
        }
        member.client = who.client.clone();
        member.phase = Phase::Stable;
        member.instance = instance.or(member.instance);
        member.assignment = assignment;
        member.seen = who.now;
        state.put(who, member.clone());
        state.has_synced(who, &member);
    }

    /// The broker accepted a Heartbeat or an OffsetCommit of this generation (or epoch).
    pub fn heard(&self, who: &Who<'_>, generation: i32, instance: Option<Arc<str>>) {
        let mut state = self.state();
        if let Some(known) = state.touch(who.group, who.member) {
            // Heartbeats and commits tell it from different versions on.
            if known.kind == GroupKind::Classic {
                known.instance = instance.or(known.instance.take());
            }
            let is_newer = known.kind == GroupKind::Classic && known.joined.generation < generation;
            if !is_newer {
                // An older one was answered before what is known came about.
                known.seen = known.seen.max(who.now);
                return;
            }
            // How it came to this generation was not seen.
            let mut member = known.clone();
            member.joined.generation = generation;
            member.phase = Phase::Heard;
            member.assignment = None;
            member.owned = None;
            (member.since, member.seen) = (who.now, who.now);
            state.put(who, member);
            return state.is_heard(who, generation);
        }
        let empty: Arc<str> = Arc::default();
        let joined = Joined { generation, is_leader: false, protocol_type: empty.clone(), protocol: empty };
        let mut member = Member::new(who, joined, GroupKind::Classic, Phase::Heard);
        member.instance = instance;
        state.put(who, member);
        state.is_heard(who, generation);
    }

    /// A ConsumerGroupHeartbeat was accepted.
    pub fn beat(&self, who: &Who<'_>, beat: Beat) {
        let mut state = self.state();
        let joined = Joined {
            generation: beat.epoch,
            is_leader: false,
            protocol_type: Arc::from("consumer"),
            protocol: Arc::default(),
        };
        let fresh = || Member::new(who, joined.clone(), GroupKind::Consumer, Phase::Heard);
        let known = state.get(who.group, who.member).filter(|m| m.kind == GroupKind::Consumer);
        let before = known.cloned();
        let mut member = before.clone().unwrap_or_else(fresh);
        member.client = who.client.clone();
        member.joined.generation = beat.epoch;
        member.instance = beat.instance.or(member.instance);
        member.rebalance_timeout = beat.rebalance_timeout.unwrap_or(member.rebalance_timeout);
        if beat.joins {
            member.assignment = None;
            member.owned = None;
            member.phase = Phase::Joined;
            member.previous = state.follow(who, member.instance.as_deref(), None);
        }
        if let Some(assignment) = beat.assignment {
            if member.assignment.as_deref() != Some(&assignment) {
                member.since = who.now;
            }
            let assignment = Arc::new(assignment);
            if member.phase == Phase::Heard {
                // It joined before kmend saw it, and may have had all of it since.
                member.owned = Some(assignment.clone());
            }
            member.assignment = Some(assignment);
            member.phase = Phase::Stable;
        }
        member.seen = who.now;
        state.put(who, member.clone());
        state.has_beaten(who, before.as_ref(), &member, beat.joins);
    }

    /// The broker does not know this id any more: it owns nothing. It is kept until its successor
    /// shows, or its client goes.
    pub fn forgotten(&self, group: &str, member: &str) {
        let mut state = self.state();
        state.disown(group, member);
        state.settle(group);
    }

    pub fn left(&self, group: &str, member: &str) {
        let mut state = self.state();
        state.remove(group, member);
        state.tidy(group);
    }

    pub fn member(&self, group: &str, member: &str) -> Option<Member> {
        self.state().get(group, member).cloned()
    }

    /// The members of a group behind this kmend: member id, member.
    pub fn members_of(&self, group: &str) -> Vec<(Arc<str>, Member)> {
        self.state().of_group(group).map(|(id, m)| (id.clone(), m.clone())).collect()
    }

    /// Every member behind this kmend: group, member id, member.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<str>, Member)> {
        let state = self.state();
        state.all().map(|(group, id, member)| (group.clone(), id.clone(), member.clone())).collect()
    }

    /// The members of a group that are one client's: member id, member.
    pub fn of_client_in(&self, group: &str, client: &ClientKey) -> Vec<(Arc<str>, Member)> {
        let state = self.state();
        let of = state.of_group(group).filter(|(_, m)| m.client == *client);
        of.map(|(id, m)| (id.clone(), m.clone())).collect()
    }

    /// The members behind one client: group, member id, member.
    pub fn of_client(&self, client: &ClientKey) -> Vec<(Arc<str>, Arc<str>, Member)> {
        let state = self.state();
        let of = state.all().filter(|(_, _, m)| m.client == *client);
        of.map(|(group, id, member)| (group.clone(), id.clone(), member.clone())).collect()
    }

    /// The members behind this kmend whose present assignment has the partition. `id`: zeros where
    /// it is not known.
    pub fn owners(&self, group: &str, topic: &str, id: TopicId, partition: i32) -> Vec<(Arc<str>, ClientKey)> {
        let state = self.state();
        let owns = |m: &Member| m.assignment.as_ref().is_some_and(|a| a.owns(topic, id, partition));
        let owners = state.of_group(group).filter(|(_, m)| owns(m));
        owners.map(|(id, m)| (id.clone(), m.client.clone())).collect()
    }

    /// The newest id of the consumer that had the id `old` (rule C3). `None`: it has joined under no
    /// other since, or nobody can tell.
    pub fn successor(&self, group: &str, old: &str) -> Option<Arc<str>> {
        self.state().successor(group, old)
    }

    /// The client's last connection has gone.
    pub fn forget_client(&self, client: &ClientKey) {
        self.state().forget_client(client);
    }
}

#[cfg(any(test, fuzzing))]
impl Groups {
    /// Fails where the counts are wrong. How many members there are.
    pub fn check(&self) -> usize {
        self.state().size().0
    }

    /// Groups of which something is kept beside their members.
    pub fn watched(&self) -> usize {
        self.state().watches.len()
    }
}
