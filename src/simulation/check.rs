//! What every run must hold.
//!
//! | rule | |
//! |---|---|
//! | I1 | A committed offset goes back only where its own consumer went back, or an operator set it; every value was asked for by one of them. |
//! | I2 | Whoever starts on a partition starts at or below what has been handled without a gap, or is gone. |
//! | I3 | What was acknowledged to the consumer that still owns the partition is not lost: it starts there again, and in the end the broker has it. |
//! | I4 | kmend commits nothing for a partition that somebody else owns. |
//! | I5 | Answers come in order, one for each request, in time; in the end everybody is a member. |
//! | I6 | Where no mender repairs, not a byte is changed. |

use std::collections::{BTreeMap, BTreeSet};

use super::At;
use super::broker::Judged;
use super::evicted::Evicted;
use super::grown::Grown;
use super::plan::{MOST_PARTITIONS, ms};
use super::told::Told;

/// A member and which of its lives.
pub type Life = (usize, u32);

const NOBODY: Life = (usize::MAX, 0);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
    pub at: At,
}

#[derive(Debug, Clone)]
struct Ack {
    at: At,
    life: Life,
    partition: i32,
    offset: i64,
    /// How the broker knew the consumer then.
    id: String,
}

/// From then on, what was sent before and is above that does not count.
#[derive(Debug)]
struct Void {
    at: At,
    life: Option<Life>,
    partition: i32,
    above: i64,
}

impl Void {
    fn covers(&self, ack: &Ack, sent: At) -> bool {
        let its = self.partition == ack.partition && self.life.is_none_or(|l| l == ack.life);
        its && sent <= self.at && ack.offset > self.above
    }
}

/// Counts of what occurred.
pub type Coverage = BTreeMap<&'static str, u64>;

#[derive(Default)]
pub struct Truth {
    handled: BTreeMap<i32, i64>,
    /// Connection and correlation id of each commit of a member.
    sent: BTreeMap<(u64, i32), Life>,
    /// What was asked for at all, and by whom.
    asked: BTreeSet<(i32, i64)>,
    asked_by: BTreeSet<(Life, i32, i64)>,
    /// Who went back on purpose on which partition, whether or not it could commit that.
    went_back: BTreeSet<(Life, i32)>,
    ids: BTreeMap<String, Life>,
    /// Under which id each consumer was last known, and when a connection of it last broke.
    names: BTreeMap<Life, String>,
    breaks: BTreeMap<Life, At>,
    /// Owners since when.
    owners: BTreeMap<i32, Vec<(At, Option<Life>)>>,
    /// When each consumer last heard from the broker where a partition stands, and the operator's
    /// last word on it.
    heard: BTreeMap<(Life, i32), At>,
    resets: BTreeMap<i32, At>,
    /// When a connection was last told of committed offsets.
    told: BTreeMap<u64, At>,
    acks: Vec<Ack>,
    voids: Vec<Void>,
    pub told_to_rejoin: Told,
    pub evicted: Evicted,
    pub grown: Grown,
    pub violation: Option<Violation>,
    pub coverage: Coverage,
}

impl Truth {
    pub fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    pub fn broken(&mut self, rule: &'static str, at: At, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { rule, what, at });
        }
    }

    pub fn processed(&mut self, partition: i32, from: i64, to: i64) {
        let handled = self.handled.entry(partition).or_default();
        if from <= *handled {
            *handled = to.max(*handled);
        }
    }

    /// It has handled what is before, and what is between is gone.
    pub fn skipped(&mut self, partition: i32, from: i64, to: i64) {
        self.count("gaps in what was handled");
        self.processed(partition, from, to);
    }

    /// A consumer goes, of itself, where ListOffsets told it to.
    pub fn went(&mut self, at: At, life: Life, partition: i32, from: i64, to: i64) {
        self.count(if to < from { "resets backwards" } else { "resets forwards" });
        let handled = self.handled.entry(partition).or_default();
        *handled = to.max(*handled);
        self.rewound(at, life, partition, to);
    }

    /// The broker knows this consumer by this id.
    pub fn named(&mut self, id: &str, life: Life) {
        if !id.is_empty() {
            self.ids.insert(id.to_owned(), life);
            self.names.insert(life, id.to_owned());
        }
    }

    /// A member sends a commit.
    pub fn sends(&mut self, at: At, conn: u64, correlation: i32, life: Life, offsets: &[(i32, i64)]) {
        self.sent.insert((conn, correlation), life);
        for (partition, offset) in offsets {
            self.asked.insert((*partition, *offset));
            self.asked_by.insert((life, *partition, *offset));
            // Exception to I3: the same consumer has committed less since (rule C4: a rewind).
            self.void(at, Some(life), *partition, *offset);
        }
    }

    /// Exception to I3: a rewind or an operator takes back what was acknowledged, and what will be
    /// to commits that were sent before.
    fn void(&mut self, at: At, life: Option<Life>, partition: i32, above: i64) {
        let void = Void { at, life, partition, above };
        self.acks.retain(|a| !void.covers(a, at));
        self.voids.push(void);
    }

    pub fn rewound(&mut self, at: At, life: Life, partition: i32, to: i64) {
        self.went_back.insert((life, partition));
        self.void(at, None, partition, to);
    }

    pub fn reset(&mut self, at: At, partition: i32, to: i64) {
        self.asked.insert((partition, to));
        self.void(at, None, partition, -1);
        self.resets.insert(partition, at);
        let handled = self.handled.entry(partition).or_default();
        *handled = to.max(*handled);
    }

    /// A commit that was sent at `sent` is acknowledged.
    pub fn acked(&mut self, at: At, sent: At, life: Life, partition: i32, offset: i64) {
        self.count("acknowledged");
        let id = self.names.get(&life).cloned().unwrap_or_default();
        let ack = Ack { at, life, partition, offset, id };
        // Exception to I3: an operator has set the offset, and the broker has not taken a commit of
        // this consumer since (rule C4: what the broker holds is below what it was known to hold).
        let heard = self.heard.get(&(life, partition));
        if self.resets.get(&partition).is_some_and(|reset| heard.is_none_or(|heard| heard <= reset)) {
            return;
        }
        if !self.voids.iter().any(|v| v.covers(&ack, sent)) {
            self.acks.push(ack);
        }
    }

    /// The group has settled on owners, or is empty.
    pub fn owned(&mut self, at: At, owners: &BTreeMap<i32, String>) {
        for partition in 0..MOST_PARTITIONS {
            let owner = owners.get(&partition).and_then(|id| self.ids.get(id)).copied();
            // A round that leaves it to nobody (cooperative: its owner has to give it up first) ends
            // what its owner had; a group without members ends nothing.
            let owner = owner.or((!owners.is_empty()).then_some(NOBODY));
            let log = self.owners.entry(partition).or_default();
            if log.last().map(|(_, o)| *o) != Some(owner) {
                log.push((at, owner));
            }
        }
    }

    fn owner(&self, partition: i32) -> Option<Life> {
        self.owners.get(&partition).and_then(|log| log.last()).and_then(|(_, o)| *o)
    }

    /// Whether `life` has owned the partition since then, and nobody else in between.
    fn owns_since(&self, life: Life, partition: i32, since: At) -> bool {
        let log = self.owners.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let first = log.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
        // A time without any owner does not end it: nobody else can have gone on from there.
        let before = log[..(first + 1).min(log.len())].iter().rev().find_map(|(_, o)| *o);
        before == Some(life) && log.iter().skip(first).all(|(_, o)| o.is_none_or(|o| o == life))
    }

    /// A connection of that consumer has ended without its doing, or it was told that it is forgotten.
    pub fn broke(&mut self, at: At, life: Life) {
        self.breaks.insert(life, at);
    }

    /// Exception to I3: the broker had forgotten the consumer, and a connection broke before it had
    /// come back, or it was told so by another answer than JoinGroup's (the journal took no more): nothing links the new member id to the old one (rule C3: unlinked is superseded).
    fn is_linked(&self, ack: &Ack) -> bool {
        let same = self.names.get(&ack.life).is_none_or(|id| *id == ack.id);
        same || self.breaks.get(&ack.life).is_none_or(|broke| *broke < ack.at)
    }

    /// What was acknowledged to that consumer, which has owned the partition ever since.
    fn due(&self, life: Life, partition: i32, before: At) -> Option<(At, i64)> {
        let mine = self.acks.iter().filter(|a| a.life == life && a.partition == partition && a.at < before);
        mine.filter(|a| self.is_linked(a) && self.owns_since(life, partition, a.at))
            .map(|a| (a.at, a.offset))
            .max_by_key(|a| a.1)
    }

    /// A consumer starts on a partition where OffsetFetch, sent at `asked`, told it to; what is before
    /// `log_start` is gone.
    pub fn started(&mut self, now: At, asked: At, life: Life, partition: i32, at: i64, log_start: i64) {
        self.count("starts");
        let handled = self.handled.entry(partition).or_default();
        if at > *handled && at <= log_start {
            *handled = at;
            self.count("starts behind what is gone");
        }
        let handled = self.handled.get(&partition).copied().unwrap_or_default();
        if at > handled {
            let what = format!("member {} starts on partition {partition} at {at}; handled up to {handled}", life.0);
            self.broken("I2", now, what);
        }
        let due = self.due(life, partition, asked);
        self.heard.insert((life, partition), asked);
        if let Some((when, offset)) = due
            && offset > at
        {
            let what = format!(
                "member {} starts on partition {partition} at {at}; {offset} was acknowledged to it at {}",
                life.0,
                ms(when)
            );
            self.broken("I3", now, what);
        }
    }

    pub fn told(&mut self, now: At, conn: u64) {
        self.told.insert(conn, now);
    }

    /// The broker has judged a commit. `owner`: of that partition, as the group has it now.
    pub fn judged(&mut self, now: At, commit: &Judged, owner: Option<&String>) {
        let sender = self.sent.get(&(commit.to.conn, commit.to.correlation)).copied();
        self.count(match (sender.is_some(), commit.error) {
            (true, 0) => "commits accepted",
            (true, 14 | 16) => "commits while the coordinator moves",
            (true, 22) => "commits refused with 22",
            (true, 25) => "commits refused with 25",
            (true, 27) => "commits refused with 27",
            (true, _) => "commits refused otherwise",
            (false, 0) => "replays accepted",
            (false, _) => "replays refused",
        });
        let Judged { partition, before, offset, .. } = *commit;
        if sender.is_some_and(|life| self.owner(partition).is_some_and(|owner| owner != life)) {
            self.count("zombies that commit");
        }
        if commit.error != 0 {
            return;
        }
        if let Some(life) = sender {
            self.heard.insert((life, partition), now);
        }
        let by = sender.map_or("kmend".to_owned(), |l| format!("member {}", l.0));
        if !self.asked.contains(&(partition, offset)) {
            self.broken("I1", now, format!("{by} commits {partition}:{offset}, which nobody has asked for"));
        }
        if offset < before {
            // A consumer may commit less than it has asked for itself before: it went back, or asked
            // twice because a connection broke.
            let own = sender.is_some_and(|l| {
                self.went_back.contains(&(l, partition)) || self.asked_by.contains(&(l, partition, before))
            });
            // Exception: between kmend's question and its commit an operator sets the offset. Kafka has
            // no commit that compares.
            let told = self.told.get(&commit.to.conn).copied().unwrap_or_default();
            let raced = sender.is_none() && self.resets.get(&partition).is_some_and(|reset| *reset >= told);
            if raced {
                self.count("replays that raced an operator");
            }
            if !own && !raced {
                self.broken("I1", now, format!("{by} moves partition {partition} back from {before} to {offset}"));
            }
            self.void(now, None, partition, offset);
        }
        if sender.is_none()
            && let Some(owner) = owner
            && *owner != commit.member
        {
            let what = format!(
                "kmend commits {partition}:{offset} as {:?}, generation {}; {owner} owns it",
                commit.member, commit.generation
            );
            self.broken("I4", now, what);
        }
    }

    /// Everything has settled.
    pub fn at_the_end(&mut self, now: At, committed: &BTreeMap<i32, i64>) {
        for partition in 0..MOST_PARTITIONS {
            let Some((when, offset)) = self.owner(partition).and_then(|life| self.due(life, partition, now)) else {
                continue;
            };
            let has = committed.get(&partition).copied().unwrap_or(-1);
            if has < offset {
                let what = format!(
                    "partition {partition} ends at {has}; {offset} was acknowledged to its owner at {}",
                    ms(when)
                );
                self.broken("I3", now, what);
            }
        }
    }
}
