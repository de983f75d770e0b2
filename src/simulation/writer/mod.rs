//! A model of a producer: a client library and an app that has something to write again and again. It
//! knows only what it is told on its connections.

mod answers;
mod spec;

use std::collections::{BTreeMap, VecDeque};

use super::check::Life;
use super::dice::Dice;
use super::member::{Act, Acts, Asked, BACKOFF, Slot, What};
use super::writes::{self, Batch, Line};
use super::{At, MS, wire};
use crate::wire::api::ApiKey;

pub use spec::{Software, Spec};

/// The connection to the leader, with the records.
pub const RECORDS: usize = 0;
pub const SPARE: usize = 1;

/// The pause between the records of who is never idle.
const BUSY: At = 4 * MS;

/// A batch that is not acknowledged.
#[derive(Debug, Clone)]
struct Pending {
    sequence: i32,
    records: i32,
    /// The connection that it is on its way on.
    sent: Option<u64>,
    again: bool,
}

/// One life of a producer.
pub struct Writer {
    pub spec: Spec,
    pub life: Life,
    pub is_up: bool,
    pub slots: [Slot; 2],
    /// The node at the other end of each.
    pub nodes: [i32; 2],
    pub leader: i32,
    producer: Option<i64>,
    /// Which topic of that name, and who leads its partitions.
    pub number: u8,
    pub leaders: Vec<i32>,
    pending: BTreeMap<i32, VecDeque<Pending>>,
    next: BTreeMap<i32, i32>,
    in_flight: usize,
    /// Metadata is on its way.
    looking: bool,
    looked: Option<At>,
    wants_look: bool,
    not_before: At,
    turn: usize,
    dice: Dice,
}

impl Writer {
    pub fn new(spec: Spec, life: Life, dice: Dice) -> Writer {
        Writer {
            spec,
            life,
            is_up: false,
            slots: Default::default(),
            nodes: [0; 2],
            leader: 0,
            producer: None,
            number: 0,
            leaders: Vec::new(),
            pending: BTreeMap::new(),
            next: BTreeMap::new(),
            in_flight: 0,
            looking: false,
            looked: None,
            wants_look: false,
            not_before: 0,
            turn: 0,
            dice,
        }
    }

    pub fn start(&mut self, acts: &mut Acts) {
        self.is_up = true;
        acts.push(Act::Open(RECORDS));
        if self.spec.spare {
            acts.push(Act::Open(SPARE));
        }
        acts.push(Act::Timer(self.dice.range(0, self.spec.every), What::Work));
        acts.push(Act::Timer(self.spec.max_age, What::Look));
    }

    /// What is written and not acknowledged.
    pub fn unwritten(&self) -> usize {
        self.pending.values().map(VecDeque::len).sum()
    }

    /// Something that was refused has not been written yet.
    pub fn is_refused_already(&self) -> bool {
        self.pending.values().flatten().any(|p| p.again)
    }

    /// It writes enough for a nudge of some kind.
    pub fn has_sequences(&self) -> bool {
        self.next.values().any(|next| *next > 0)
    }

    /// A connection is there, to this node, or could not be made.
    pub fn opened(&mut self, slot: usize, conn: Option<(u64, i32)>, acts: &mut Acts) {
        let Some((conn, node)) = conn else {
            return acts.push(Act::Timer(self.dice.range(50, 300) * MS, What::Reopen(slot)));
        };
        self.slots[slot] = Slot { conn: Some(conn), ready: false };
        self.nodes[slot] = node;
        let body = wire::api_versions(3, self.spec.software.name());
        acts.push(Act::Send { conn, api: ApiKey::API_VERSIONS, version: 3, body, asked: Asked::Versions });
    }

    pub fn closed(&mut self, conn: u64, acts: &mut Acts) {
        let Some(slot) = self.slots.iter().position(|s| s.conn == Some(conn)) else { return };
        self.slots[slot] = Slot::default();
        acts.push(Act::Timer(self.dice.range(20, 200) * MS, What::Reopen(slot)));
        self.looking = false;
        if slot == RECORDS {
            self.in_flight = 0;
            for pending in self.pending.values_mut().flatten().filter(|p| p.sent.is_some()) {
                (pending.sent, pending.again) = (None, true);
            }
        }
    }

    fn reopen(&mut self, acts: &mut Acts) {
        if let Some(conn) = self.slots[RECORDS].conn {
            acts.push(Act::Close(conn));
            self.closed(conn, acts);
        }
    }

    pub fn end(&mut self, acts: &mut Acts) {
        for slot in &mut self.slots {
            acts.extend(std::mem::take(slot).conn.map(Act::Close));
        }
        self.is_up = false;
    }

    pub fn timer(&mut self, now: At, what: What, acts: &mut Acts) {
        match what {
            What::Work => {
                let busy = (self.spec.busy.0..self.spec.busy.1).contains(&now);
                acts.push(Act::Timer(if busy { BUSY } else { self.spec.every }, what));
                if now < self.spec.works_until {
                    self.write();
                }
            }
            What::Look => {
                self.wants_look = true;
                acts.push(Act::Timer(self.spec.max_age, what));
            }
            What::Reopen(slot) if self.slots[slot].conn.is_none() => acts.push(Act::Open(slot)),
            _ => {}
        }
        self.go_on(now, acts);
    }

    /// The app has something; a partition is chosen.
    fn write(&mut self) {
        let led: Vec<i32> = (0..self.leaders.len()).filter(|p| self.leaders[*p] >= 0).map(|p| p as i32).collect();
        // Its memory is full, or there is no topic.
        if led.is_empty() || self.unwritten() >= 200 {
            return;
        }
        self.turn += 1;
        let partition = led[self.turn % led.len()];
        let records = self.dice.range(1, 4) as i32;
        let next = self.next.entry(partition).or_default();
        let pending = Pending { sequence: *next, records, sent: None, again: false };
        *next += records;
        self.pending.entry(partition).or_default().push_back(pending);
    }

    fn go_on(&mut self, now: At, acts: &mut Acts) {
        self.look(now, acts);
        let slot = self.slots[RECORDS];
        let Some(conn) = slot.conn.filter(|_| slot.ready && now >= self.not_before) else { return };
        if self.nodes[RECORDS] != self.leader {
            if self.in_flight == 0 {
                self.reopen(acts);
            }
            return;
        }
        if self.spec.idempotent && self.producer.is_none() {
            return;
        }
        while self.in_flight < self.spec.in_flight {
            let batches = self.take(conn);
            if batches.is_empty() {
                return;
            }
            let Spec { version, acks, .. } = self.spec;
            let body = writes::ask(version, acks, super::broker::id(self.number), &batches);
            let asked = Asked::Written(batches);
            acts.push(Act::Send { conn, api: ApiKey::PRODUCE, version, body, asked });
            if acks != 0 {
                self.in_flight += 1;
            }
        }
    }

    /// What the next request has in it.
    fn take(&mut self, conn: u64) -> Vec<(i32, Batch)> {
        let (life, producer, idempotent) = (self.life, self.producer, self.spec.idempotent);
        let mut batches = Vec::new();
        for (partition, queue) in &mut self.pending {
            let Some(at) = queue.iter().position(|p| p.sent.is_none()) else { continue };
            // Something behind it is still on its way: it comes back first.
            let is_overtaken = queue.iter().skip(at).any(|p| p.sent.is_some());
            let waits = queue[at].again && self.spec.one_by_one && at > 0;
            if batches.len() == 2 || (is_overtaken && !self.spec.one_by_one) || waits {
                continue;
            }
            let pending = &mut queue[at];
            if pending.again && self.spec.waits && (self.wants_look || self.looking) {
                continue;
            }
            pending.sent = Some(conn);
            let lines = (0..pending.records).map(|n| Line { life, number: pending.sequence + n }).collect();
            let batch = match producer.filter(|_| idempotent) {
                Some(producer) => Batch { producer, epoch: 0, sequence: pending.sequence, lines },
                None => Batch { producer: -1, epoch: -1, sequence: -1, lines },
            };
            batches.push((*partition, batch));
            if self.spec.acks == 0 {
                queue.remove(at);
            }
        }
        batches
    }

    fn look(&mut self, now: At, acts: &mut Acts) {
        let is_soon = self.looked.is_some_and(|at| at + self.spec.least > now);
        if !self.wants_look || self.looking || is_soon {
            return;
        }
        let ready = [SPARE, RECORDS].into_iter().map(|s| self.slots[s]).find(|s| s.ready);
        let Some(conn) = ready.and_then(|s| s.conn) else { return };
        (self.wants_look, self.looking) = (false, true);
        self.ask(conn, acts);
    }

    fn ask(&mut self, conn: u64, acts: &mut Acts) {
        let version = self.spec.metadata;
        let body = wire::metadata(version);
        acts.push(Act::Send { conn, api: ApiKey::METADATA, version, body, asked: Asked::Metadata });
    }
}
