//! What must not be in a [`History`]. The list is that of Jepsen's tests for Kafka, without its search for cycles among
//! transactions, and with what kmend could do besides: to committed offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::harness::client::Event;
use crate::history::{End, History, Life};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Anomaly {
    /// Acknowledged to the producer, and not in the log.
    Lost,
    /// Twice in the log, though sent exactly once.
    Duplicated,
    /// In the log in another order than they were sent.
    Reordered,
    /// Read or acknowledged at an offset where the log has something else.
    Phantom,
    /// Read, and its transaction did not commit.
    AbortedRead,
    /// A consumer went on behind a record that nobody had handled.
    Skipped,
    /// A consumer went back within an assignment.
    WentBack,
    /// A committed offset is lower than before.
    CommitBack,
    /// A committed offset covers a record that nobody had handled.
    CommitAhead,
    /// A consumer starts below what was acknowledged to be committed.
    CommitLost,
    /// In the end somebody does not go on.
    Blocked,
    /// An app ended by an error.
    Died,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Anomaly::Lost => "lost",
            Anomaly::Duplicated => "duplicated",
            Anomaly::Reordered => "reordered",
            Anomaly::Phantom => "phantom",
            Anomaly::AbortedRead => "aborted read",
            Anomaly::Skipped => "skipped",
            Anomaly::WentBack => "went back",
            Anomaly::CommitBack => "committed offset back",
            Anomaly::CommitAhead => "committed unread",
            Anomaly::CommitLost => "acknowledged commit lost",
            Anomaly::Blocked => "blocked",
            Anomaly::Died => "died",
        })
    }
}

pub type Found = BTreeMap<Anomaly, Vec<String>>;

/// Lines of two processes reach this one in another order than they were written, on a busy machine by so much.
const SKEW: Duration = Duration::from_secs(3);

/// A rebalance callback and the records around it come from one process.
const NEAR: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Checker {
    found: Found,
}

pub fn check(history: &History) -> Found {
    let mut checker = Checker::default();
    checker.producers(history);
    checker.consumers(history);
    checker.commits(history);
    for life in history.producers.iter().chain(&history.consumers).filter(|l| l.end == End::Died) {
        let last = life.said.iter().rev().find(|(_, e)| matches!(e, Event::Died(_)));
        checker.say(Anomaly::Died, format!("{}: {:?}", life.client, last.map(|(_, e)| e)));
    }
    for what in &history.blocked {
        checker.say(Anomaly::Blocked, what.clone());
    }
    checker.found
}

impl Checker {
    fn say(&mut self, anomaly: Anomaly, example: String) {
        self.found.entry(anomaly).or_default().push(example);
    }

    fn producers(&mut self, history: &History) {
        let mut places: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
        for (partition, records) in &history.log {
            let mut highest = -1;
            for (offset, value) in records {
                places.entry(value).or_default().push((*partition, *offset));
                let Some(number) = number(value).filter(|_| history.is_ordered) else { continue };
                if number < highest {
                    self.say(Anomaly::Reordered, format!("{value} at {partition}/{offset} is behind number {highest}"));
                }
                highest = highest.max(number);
            }
        }
        for (value, at) in places.iter().filter(|(_, at)| history.is_exact && at.len() > 1) {
            self.say(Anomaly::Duplicated, format!("{value} at {at:?}"));
        }
        let log = by_place(history);
        for (partition, offset, value) in history.producers.iter().flat_map(|life| sent(life, &history.topic)) {
            let is_gone = offset >= 0 && is_evicted(history, partition, offset);
            match log.get(&(partition, offset)) {
                _ if is_gone => {}
                Some(there) if *there != value => {
                    self.say(
                        Anomaly::Phantom,
                        format!("{value} was acknowledged at {partition}/{offset}: {there} is there"),
                    );
                }
                None if !places.contains_key(value) => {
                    self.say(Anomaly::Lost, format!("{value}, acknowledged at {partition}/{offset}"));
                }
                _ => {}
            }
        }
    }

    fn consumers(&mut self, history: &History) {
        let log = by_place(history);
        let hidden: BTreeSet<(i32, i64)> =
            history.hidden.iter().flat_map(|(p, all)| all.iter().map(|o| (*p, *o))).collect();
        let first = first_handled(history);
        let acknowledged = acknowledged(history);
        for life in &history.consumers {
            // The last record that was handled since the partition was assigned.
            let mut last: BTreeMap<i32, i64> = BTreeMap::new();
            let mut assigned: BTreeMap<i32, Instant> = BTreeMap::new();
            for (at, event) in &life.said {
                if let Event::Note(text) = event {
                    for partition in assignment(text) {
                        last.remove(&partition);
                        assigned.insert(partition, *at);
                    }
                }
                let Event::Handled { topic, partition, offset, key } = event else { continue };
                if *topic != history.topic {
                    continue;
                }
                let (p, o, who) = (*partition, *offset, &life.client);
                if hidden.contains(&(p, o)) {
                    self.say(Anomaly::AbortedRead, format!("{who} read {p}/{o} ({key})"));
                } else if let Some(what) = phantom(history, &log, p, o, key) {
                    self.say(Anomaly::Phantom, format!("{who} read {p}/{o} ({key}): {what}"));
                }
                if let Some(missing) = skipped(history, &first, p, o, *at) {
                    self.say(Anomaly::Skipped, format!("{who} read {p}/{o}, and nobody had read {p}/{missing}"));
                }
                if let Some(before) = last.insert(p, o).filter(|before| life.tells_assignments && o <= *before) {
                    self.say(Anomaly::WentBack, format!("{who} read {p}/{o} after {p}/{before}"));
                }
                // The first one since an assignment.
                if let Some(since) = assigned.remove(&p).filter(|_| life.tells_assignments) {
                    let known =
                        acknowledged.iter().filter(|(t, q, _)| *q == p && *t + NEAR < since).map(|(_, _, o)| *o).max();
                    if let Some(known) = known.filter(|known| o < *known) {
                        self.say(Anomaly::CommitLost, format!("{who} starts at {p}/{o}, and {known} was committed"));
                    }
                }
            }
        }
    }

    fn commits(&mut self, history: &History) {
        let first = first_handled(history);
        let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
        for (at, p, offset) in &history.committed {
            let before = highest.insert(*p, *offset).unwrap_or(-1);
            if *offset < before {
                self.say(Anomaly::CommitBack, format!("partition {p}: {offset} after {before}"));
            }
            // Apps that handle nothing themselves (transactions) say only what they have committed.
            let records = history.log.get(p).map_or([].as_slice(), Vec::as_slice);
            let below =
                records.iter().map(|(o, _)| *o).filter(|o| o < offset && *o >= before && !is_evicted(history, *p, *o));
            let unread = |o: &i64| first.get(&(*p, *o)).is_none_or(|t| *t > *at + SKEW);
            if let Some(missing) = below.into_iter().find(unread).filter(|_| !first.is_empty()) {
                self.say(
                    Anomaly::CommitAhead,
                    format!("partition {p}: {offset} was committed, nobody had read {missing}"),
                );
            }
        }
    }
}

/// `r17` and `k17`: 17.
fn number(value: &str) -> Option<i64> {
    value.get(1..)?.parse().ok()
}

fn by_place(history: &History) -> BTreeMap<(i32, i64), &str> {
    history.log.iter().flat_map(|(p, records)| records.iter().map(|(o, v)| ((*p, *o), v.as_str()))).collect()
}

fn is_evicted(history: &History, partition: i32, offset: i64) -> bool {
    history.starts.get(&partition).is_some_and(|start| offset < *start)
}

fn sent<'a>(life: &'a Life, of: &'a str) -> impl Iterator<Item = (i32, i64, &'a str)> {
    life.said.iter().filter_map(move |(_, event)| match event {
        Event::Sent { topic, partition, offset, value } if topic == of => Some((*partition, *offset, value.as_str())),
        _ => None,
    })
}

/// When each record was handled for the first time, by anybody.
fn first_handled(history: &History) -> BTreeMap<(i32, i64), Instant> {
    let mut first: BTreeMap<(i32, i64), Instant> = BTreeMap::new();
    for (at, event) in history.consumers.iter().flat_map(|life| &life.said) {
        if let Event::Handled { topic, partition, offset, .. } = event
            && *topic == history.topic
        {
            let entry = first.entry((*partition, *offset)).or_insert(*at);
            *entry = (*entry).min(*at);
        }
    }
    first
}

/// What consumers were told to be committed.
fn acknowledged(history: &History) -> Vec<(Instant, i32, i64)> {
    let pick = |(at, event): &(Instant, Event)| match event {
        Event::Committed { topic, partition, offset } if *topic == history.topic => Some((*at, *partition, *offset)),
        _ => None,
    };
    history.consumers.iter().flat_map(|life| &life.said).filter_map(pick).collect()
}

/// `ASSIGNED 3 0,1`, also where it is taken away: what comes after that is another assignment's.
fn assignment(text: &str) -> Vec<i32> {
    let mut words = text.split(' ');
    if !matches!(words.next(), Some("ASSIGNED" | "REVOKED" | "LOST")) {
        return Vec::new();
    }
    words.nth(1).unwrap_or("").split(',').filter_map(|p| p.parse().ok()).collect()
}

fn phantom(
    history: &History,
    log: &BTreeMap<(i32, i64), &str>,
    partition: i32,
    offset: i64,
    key: &str,
) -> Option<String> {
    if is_evicted(history, partition, offset) {
        return None;
    }
    match log.get(&(partition, offset)) {
        None => Some("the log has no such record".to_owned()),
        // Clients that do not tell keys say `-`. Record 17 has the key `k17` and the value `r17`.
        Some(there) => {
            let is_same = *there == key || number(there).is_some_and(|n| number(key) == Some(n));
            (key != "-" && !is_same).then(|| format!("the log has {there}"))
        }
    }
}

/// The record before this one, where nobody had handled it by then.
fn skipped(
    history: &History,
    first: &BTreeMap<(i32, i64), Instant>,
    partition: i32,
    offset: i64,
    at: Instant,
) -> Option<i64> {
    let records = history.log.get(&partition)?;
    let index = records.partition_point(|(o, _)| *o < offset);
    let (before, _) = records.get(index.checked_sub(1)?)?;
    let is_fine = is_evicted(history, partition, *before)
        || first.get(&(partition, *before)).is_some_and(|then| *then <= at + SKEW);
    (!is_fine).then_some(*before)
}
