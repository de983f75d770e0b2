//! A model of a consumer: a client library and the app on it. It knows only what it is told on its
//! connections; what it does is in [`Act`]s.

mod answers;
mod finds;
mod reading;
mod rounds;
mod spec;

use std::collections::{BTreeMap, BTreeSet};

use super::dice::Dice;
use super::reads::Got;
use super::wire::{self, Identity};
use super::writes::Batch;
use super::{At, MS};
use crate::wire::api::ApiKey;

pub use finds::Finds;
use reading::Reading;
pub use reading::{OUT_OF_RANGE, READS};
pub use spec::{Habit, Protocols, Reset, Spec};

/// What it wants done.
#[derive(Debug)]
pub enum Act {
    Open(usize),
    Close(u64),
    Send {
        conn: u64,
        api: ApiKey,
        version: i16,
        body: Vec<u8>,
        asked: Asked,
    },
    Timer(At, What),
    Processed {
        partition: i32,
        from: i64,
        to: i64,
    },
    Started {
        partition: i32,
        at: i64,
    },
    Acked {
        partition: i32,
        offset: i64,
    },
    Rewound {
        partition: i32,
        to: i64,
    },
    /// It was told that the broker has forgotten it, other than by JoinGroup: what it had promised before
    /// cannot be linked to its next id (rule C3).
    Unlinked,
    /// What it takes for its own and does not read.
    Dangles(BTreeSet<i32>),
    Paused,
    /// It is answered from a position of its own: an error, or records.
    Got {
        at: i64,
        got: Got,
    },
    /// The records before were handled, and it goes on behind a gap.
    Skipped {
        partition: i32,
        from: i64,
        to: i64,
    },
    /// It goes, of itself, where ListOffsets told it to.
    Reset {
        partition: i32,
        from: i64,
        to: i64,
    },
    Died(&'static str),
    Said(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Work,
    Read,
    Pause(bool),
    /// Metadata is asked for.
    Look,
    Commit,
    Beat,
    Reopen(usize),
    Rejoin(u32),
    Refetch(u32),
    Left,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Versions,
    Metadata,
    Join(u32),
    Sync(u32),
    Fetch(u32),
    Read {
        wanted: BTreeMap<i32, i64>,
    },
    /// Partition and timestamp.
    Ends(Vec<(i32, i64)>),
    Beat(i32),
    Commit {
        who: Identity,
        offsets: Vec<(i32, i64)>,
    },
    Leave,
    /// Of a producer: its id.
    Producer,
    Written(Vec<(i32, Batch)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Down,
    /// It joins as soon as it can.
    Wanting,
    /// It commits before it joins.
    Revoking,
    Joining,
    Syncing,
    Fetching,
    Running,
    Leaving,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Slot {
    pub conn: Option<u64>,
    /// ApiVersions and Metadata have been answered.
    pub ready: bool,
}

/// One life of a consumer.
pub struct Member {
    pub spec: Spec,
    pub phase: Phase,
    /// For JoinGroup and SyncGroup, for the rest of the group's, and to the leader.
    pub slots: [Slot; 3],
    pub who: Identity,
    /// What it may fetch and commit, and as whom it got that.
    pub positions: BTreeMap<i32, i64>,
    pub owns_as: Identity,
    acked: BTreeMap<i32, i64>,
    assigned: Vec<i32>,
    /// The group's protocol, and whether this client gives up only what it has to.
    protocol: String,
    pub cooperative: bool,
    /// As it was when it was last assigned something.
    was_cooperative: bool,
    /// Of the assignment before, as a client with the fault has it in mind.
    kept: BTreeSet<i32>,
    pub dangling: BTreeSet<i32>,
    reading: Reading,
    pub finds: Finds,
    round: u32,
    commit_busy: bool,
    /// A commit that the app had in hand when it was stopped.
    hand: Option<(Identity, Vec<(i32, i64)>)>,
    /// The app's handler does not come back.
    pub stuck: bool,
    wants_rejoin: bool,
    dice: Dice,
}

pub const BACKOFF: At = 100 * MS;

pub type Acts = Vec<Act>;

impl Member {
    pub fn new(spec: Spec, dice: Dice) -> Member {
        Member {
            who: Identity { id: String::new(), generation: -1, instance: spec.instance.clone() },
            cooperative: spec.protocols == Protocols::Cooperative,
            was_cooperative: false,
            spec,
            phase: Phase::Down,
            slots: Default::default(),
            positions: BTreeMap::new(),
            owns_as: Identity::default(),
            acked: BTreeMap::new(),
            assigned: Vec::new(),
            protocol: String::new(),
            kept: BTreeSet::new(),
            dangling: BTreeSet::new(),
            reading: Reading::default(),
            finds: Finds::default(),
            round: 0,
            commit_busy: false,
            hand: None,
            stuck: false,
            wants_rejoin: false,
            dice,
        }
    }

    fn slots_used(&self) -> usize {
        if self.spec.split { 2 } else { 1 }
    }

    /// The connection for JoinGroup and SyncGroup, or for the rest.
    fn conn(&self, join: bool) -> Option<u64> {
        let slot = self.slots[if join { 0 } else { self.slots_used() - 1 }];
        slot.conn.filter(|_| slot.ready)
    }

    pub fn is_up(&self) -> bool {
        self.phase != Phase::Down
    }

    pub fn start(&mut self, acts: &mut Acts) {
        self.phase = Phase::Wanting;
        acts.extend((0..self.slots_used()).map(Act::Open));
        match self.spec.habit {
            Habit::Usual | Habit::Slow | Habit::OnlyCommits => {}
            Habit::PausesFirst { until } => {
                self.reading.pauses = true;
                acts.extend(until.map(|after| Act::Timer(after, What::Pause(false))));
            }
            Habit::PausesLater { after, time } => {
                acts.push(Act::Timer(after, What::Pause(true)));
                acts.push(Act::Timer(after + time, What::Pause(false)));
            }
        }
        if self.spec.habit != Habit::OnlyCommits {
            acts.push(Act::Open(READS));
            acts.push(Act::Timer(self.dice.range(0, self.spec.read_every), What::Read));
        }
        acts.extend(self.spec.grows.map(|every| Act::Timer(every, What::Look)));
        for (what, every) in
            [(What::Work, self.spec.work_every), (What::Commit, self.spec.commit_every), (What::Beat, self.spec.beat)]
        {
            acts.push(Act::Timer(self.dice.range(0, every), what));
        }
    }

    /// A connection is there, or could not be made.
    pub fn opened(&mut self, slot: usize, conn: Option<(u64, i32)>, acts: &mut Acts) {
        let Some((conn, node)) = conn else {
            return acts.push(Act::Timer(self.dice.range(50, 300) * MS, What::Reopen(slot)));
        };
        self.slots[slot] = Slot { conn: Some(conn), ready: false };
        if slot == READS {
            self.finds.reads_from = node;
        }
        let body = wire::api_versions(3, self.spec.software.name());
        acts.push(Act::Send { conn, api: ApiKey::API_VERSIONS, version: 3, body, asked: Asked::Versions });
    }

    pub fn closed(&mut self, conn: u64, acts: &mut Acts) {
        let Some(slot) = self.slots.iter().position(|s| s.conn == Some(conn)) else {
            return;
        };
        self.slots[slot] = Slot::default();
        self.finds.looking = false;
        if slot == READS {
            self.reading_broke();
            if self.phase != Phase::Leaving {
                acts.push(Act::Timer(self.dice.range(20, 200) * MS, What::Reopen(slot)));
            }
            return;
        }
        if slot == self.slots_used() - 1 {
            self.commit_busy = false;
        }
        if self.phase == Phase::Leaving {
            return self.end(acts);
        }
        acts.push(Act::Timer(self.dice.range(20, 200) * MS, What::Reopen(slot)));
        if slot == 0 && matches!(self.phase, Phase::Joining | Phase::Syncing) {
            self.phase = Phase::Wanting;
        }
        if slot == self.slots_used() - 1 {
            match self.phase {
                Phase::Revoking => self.phase = Phase::Wanting,
                Phase::Fetching => acts.push(Act::Timer(BACKOFF * 4, What::Refetch(self.round))),
                _ => {}
            }
        }
    }

    /// The coordinator is elsewhere: it is looked up, and connected to.
    fn reconnect(&mut self, acts: &mut Acts) {
        for conn in self.slots[..READS].iter().filter_map(|s| s.conn).collect::<Vec<_>>() {
            acts.push(Act::Close(conn));
            self.closed(conn, acts);
        }
    }

    pub fn end(&mut self, acts: &mut Acts) {
        for slot in &mut self.slots {
            if let Some(conn) = std::mem::take(slot).conn {
                acts.push(Act::Close(conn));
            }
        }
        self.phase = Phase::Down;
    }

    fn die(&mut self, why: &'static str, acts: &mut Acts) {
        acts.push(Act::Died(why));
        self.end(acts);
    }

    pub fn timer(&mut self, now: At, what: What, acts: &mut Acts) {
        if !self.is_up() {
            return;
        }
        match what {
            What::Work => {
                self.work(now, acts);
                acts.push(Act::Timer(self.spec.work_every, what));
            }
            What::Read => {
                self.read(acts);
                acts.push(Act::Timer(self.spec.read_every, what));
            }
            What::Pause(pauses) => {
                self.reading.pauses = pauses;
                acts.extend(pauses.then_some(Act::Paused));
            }
            What::Commit => {
                if !self.stuck && now < self.spec.works_until {
                    self.commit(acts);
                }
                acts.push(Act::Timer(self.spec.commit_every, what));
            }
            What::Look => {
                self.look(acts);
                acts.extend(self.spec.grows.map(|every| Act::Timer(every, what)));
            }
            What::Beat => {
                self.notices(acts);
                self.beat(acts);
                acts.push(Act::Timer(self.spec.beat, what));
            }
            What::Reopen(slot) if self.slots[slot].conn.is_none() && (slot < self.slots_used() || slot == READS) => {
                acts.push(Act::Open(slot));
            }
            What::Rejoin(round) if round == self.round && self.phase == Phase::Wanting => self.ask_to_join(acts),
            What::Refetch(round) if round == self.round && self.phase == Phase::Fetching => self.fetch(acts),
            What::Left => self.end(acts),
            _ => {}
        }
    }

    /// It holds partitions that it may work on, as far as it knows.
    fn is_at_work(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Revoking => true,
            Phase::Wanting | Phase::Joining | Phase::Syncing => self.spec.background || self.cooperative,
            Phase::Fetching => self.cooperative,
            Phase::Down | Phase::Leaving => false,
        }
    }

    fn work(&mut self, now: At, acts: &mut Acts) {
        if !self.is_at_work() || self.stuck || now >= self.spec.works_until {
            return;
        }
        for partition in self.positions.keys().copied().collect::<Vec<_>>() {
            let records = self.dice.range(0, 3) as i64;
            self.handle(partition, records, acts);
        }
    }

    /// So many records of a partition, if it has read them.
    fn handle(&mut self, partition: i32, records: i64, acts: &mut Acts) {
        let most = self.has_read(partition);
        let Some(position) = self.positions.get_mut(&partition) else { return };
        if let Some((from, to)) = self.reading.gap(partition, *position) {
            acts.push(Act::Skipped { partition, from, to });
            *position = to;
        }
        let to = self.reading.before_gap(partition).unwrap_or(i64::MAX).min(most).min(*position + records);
        if to > *position {
            acts.push(Act::Processed { partition, from: *position, to });
            *position = to;
        }
    }

    fn dirty(&self) -> Vec<(i32, i64)> {
        let all = self.positions.iter().filter(|(p, o)| self.acked.get(p) != Some(o));
        all.map(|(p, o)| (*p, *o)).collect()
    }

    /// Commits what is new; whether there was anything.
    fn commit(&mut self, acts: &mut Acts) -> bool {
        let offsets = self.dirty();
        if offsets.is_empty() || self.commit_busy || !self.is_at_work() {
            return false;
        }
        self.send_commit(self.commits_as(), offsets, acts)
    }

    /// What stays with its owner through a round is committed in its new generation as soon as that
    /// is known; other consumers commit as they got it.
    fn commits_as(&self) -> Identity {
        let goes_on = self.cooperative && self.was_cooperative && self.who.generation == self.owns_as.generation + 1;
        if goes_on && self.who.id == self.owns_as.id { self.who.clone() } else { self.owns_as.clone() }
    }

    fn send_commit(&mut self, who: Identity, offsets: Vec<(i32, i64)>, acts: &mut Acts) -> bool {
        let Some(conn) = self.conn(false) else {
            return false;
        };
        self.commit_busy = true;
        let version = self.spec.commit_version;
        let body = wire::commit(version, &who, &offsets);
        let asked = Asked::Commit { who, offsets };
        acts.push(Act::Send { conn, api: ApiKey::OFFSET_COMMIT, version, body, asked });
        true
    }

    fn beat(&mut self, acts: &mut Acts) {
        // On a connection of its own the heartbeat goes on while JoinGroup waits.
        let beats = match self.phase {
            Phase::Fetching | Phase::Running => true,
            Phase::Joining => self.spec.split && self.owns_as.generation > 0,
            _ => false,
        };
        if let (true, Some(conn)) = (beats, self.conn(false)) {
            let version = 3;
            let who = if self.phase == Phase::Joining { &self.owns_as } else { &self.who };
            let body = wire::heartbeat(version, who);
            let asked = Asked::Beat(who.generation);
            acts.push(Act::Send { conn, api: ApiKey::HEARTBEAT, version, body, asked });
        }
    }

    /// The app is about to be stopped, with one more record handled and not committed.
    pub fn take_in_hand(&mut self, now: At, acts: &mut Acts) {
        if self.phase == Phase::Running && now < self.spec.works_until {
            for partition in self.positions.keys().copied().collect::<Vec<_>>() {
                self.handle(partition, 1, acts);
            }
            self.hand = Some((self.owns_as.clone(), self.dirty()));
        }
    }

    /// It goes on: first of all with the commit that it had in hand.
    pub fn go_on(&mut self, acts: &mut Acts) {
        self.stuck = false;
        if let Some((who, offsets)) = self.hand.take()
            && self.is_up()
            && !offsets.is_empty()
        {
            acts.push(Act::Said(format!("goes on with a commit in hand as {who:?}")));
            self.send_commit(who, offsets, acts);
        }
        if std::mem::take(&mut self.wants_rejoin) && self.phase == Phase::Wanting {
            self.ask_to_join(acts);
        }
    }

    /// The app goes back on purpose, and commits that.
    pub fn rewind(&mut self, acts: &mut Acts) {
        if self.phase != Phase::Running || self.commit_busy || self.conn(false).is_none() {
            return;
        }
        let Some((partition, to)) = self.positions.iter().map(|(p, o)| (*p, *o / 2)).next() else {
            return;
        };
        self.positions.insert(partition, to);
        self.seek(partition, to);
        acts.push(Act::Rewound { partition, to });
        self.send_commit(self.owns_as.clone(), vec![(partition, to)], acts);
    }

    pub fn leave(&mut self, acts: &mut Acts) {
        if !self.is_up() {
            return;
        }
        self.commit(acts);
        self.phase = Phase::Leaving;
        acts.push(Act::Timer(2000 * MS, What::Left));
        match self.conn(true) {
            Some(conn) if !self.who.id.is_empty() && self.spec.instance.is_none() => {
                let version = 4;
                let body = wire::leave(version, &self.who);
                acts.push(Act::Send { conn, api: ApiKey::LEAVE_GROUP, version, body, asked: Asked::Leave });
            }
            _ => self.end(acts),
        }
    }
}
