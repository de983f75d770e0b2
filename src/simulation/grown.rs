//! What must hold where topics grow (rules B1 to B5).
//!
//! | rule | |
//! |---|---|
//! | N1 | What an idempotent producer writes stands in the log once and in order, all of it in the end; nothing is written twice because kmend closed a connection. |
//! | N2 | A producer is told what the broker has answered; or that a batch which it has to send again is led elsewhere, by whom is not said, and the broker never gets that request. |
//! | N3 | kmend closes a connection only while nothing is on its way on it, and never one that has carried `acks=0`. |
//! | N4 | Nobody is made to look but who does not know, software that is known, in a group its leader; three times for a growth at most. |
//! | N5 | A producer that can be made to look knows of new partitions soon. |
//! | N6 | New partitions are assigned soon, and somebody reads them. |
//! | N7 | What a Fetch is answered instead of by the broker has no records, and no error but 6 and 70. |
//! | N8 | kmend asks for the topics in use by name, creates none, and does not ask all the time. |
//!
//! That with `observe` not a byte changes is rule I6.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::broker::{NOT_LEADER, Written};
use super::check::Life;
use super::told::Process;
use super::writer::{Software, Spec};
use super::writes::{Batch, Line};
use super::{At, MS, SECOND};

type Broken = Option<(&'static str, String)>;

/// Connection and correlation id.
pub type Place = (u64, i32);

/// How often kmend asks, in these runs.
pub const INTERVAL: At = 2 * SECOND;

/// Time enough to find a growth and to make a client look, where nothing prevents it: the pause
/// between two polls, the spread, the search for a pause, a client that looks at most each 5 s, and
/// one nudge that meets a node which does not know yet.
pub const SOON: At = 14 * SECOND;

/// What is on its way may take so long.
const ON_ITS_WAY: At = SECOND;

/// For one growth.
const MOST: usize = 3;

/// Polls for a client in so long: each [`INTERVAL`], and once a second while a partition has no leader.
const MOST_POLLS: usize = 14;
const POLLS: At = 10 * SECOND;

/// A poll that took so long makes kmend wait 20 times as long (rule B1).
const SLOW: At = 450 * MS;

/// Client id and kmend, as far as kmend can tell clients from each other.
pub type Client = (Process, String);

#[derive(Debug, Default)]
pub struct Grown {
    answered: BTreeMap<Place, Vec<Written>>,
    refused: BTreeSet<Place>,
    /// Connections that kmend has closed of its own accord.
    closed: BTreeSet<u64>,
    /// The newest record of a producer in a partition; and by which connections each was sent.
    newest: BTreeMap<(u8, i32, Life), i32>,
    sent: BTreeMap<(i32, Line), BTreeSet<u64>>,
    nudges: BTreeMap<Client, usize>,
    polls: BTreeMap<Client, VecDeque<At>>,
    asking: BTreeMap<Place, (Client, At)>,
    /// kmend has reason not to ask before.
    excused: BTreeMap<Client, At>,
    /// Who knew of all partitions at which moment.
    knows: BTreeMap<Life, At>,
}

impl Grown {
    pub fn sends(&mut self, conn: u64, batches: &[(i32, Batch)]) {
        for (partition, batch) in batches {
            for line in &batch.lines {
                self.sent.entry((*partition, *line)).or_default().insert(conn);
            }
        }
    }

    /// The broker has judged a Produce request; `number`: which topic of that name.
    pub fn produced(&mut self, place: Place, number: u8, asked: &[(i32, Batch)], written: &[Written]) -> Broken {
        if self.refused.contains(&place) {
            return broken("N2", format!("a request that was refused reaches the broker: {place:?}"));
        }
        self.answered.insert(place, written.to_vec());
        for ((partition, batch), (_, error, _)) in asked.iter().zip(written) {
            let idempotent = batch.producer >= 0;
            let (first, last) = (batch.lines[0], batch.lines[batch.lines.len() - 1]);
            // A topic that was made anew knows no sequences: what had been on its way comes in any order.
            let first_topic = number == 0;
            if *error != 0 {
                let foreign = ![NOT_LEADER, 3, 100].contains(error) && first_topic;
                return broken("N1", format!("the broker cannot take {first:?} of partition {partition}: {error}"))
                    .filter(|_| foreign);
            }
            let newest = self.newest.entry((number, *partition, first.life)).or_insert(-1);
            let is_next = first.number == *newest + 1;
            if idempotent && first_topic && first.number > *newest && !is_next {
                return broken("N1", format!("{first:?} of partition {partition} stands behind number {newest}"));
            }
            if !idempotent && first.number <= *newest {
                let sent = self.sent.get(&(*partition, first)).cloned().unwrap_or_default();
                let by_kmend = sent.iter().all(|c| *c == place.0 || self.closed.contains(c));
                let what = format!("{first:?} of partition {partition} is written twice, from {sent:?}");
                if by_kmend && first_topic {
                    return broken("N1", what);
                }
            }
            *newest = last.number.max(*newest);
        }
        None
    }

    /// A producer is answered. Gives back what is broken, and whether kmend has refused it.
    pub fn told(
        &mut self,
        place: Place,
        spec: &Spec,
        asked: &[(i32, Batch)],
        results: &[Written],
        names_leader: bool,
    ) -> (Broken, bool) {
        if let Some(by_broker) = self.answered.remove(&place) {
            let what = format!("a producer is told {results:?}, and the broker said {by_broker:?}");
            return (broken("N2", what).filter(|_| by_broker != results), false);
        }
        self.refused.insert(place);
        let of_its_own = |(_, b): &(i32, Batch)| b.producer >= 0 && b.sequence > 0;
        let wrong = match () {
            () if results.iter().any(|(_, error, _)| *error != NOT_LEADER) => "nobody has written it",
            () if names_leader => "a leader is named",
            () if !asked.iter().all(of_its_own) => "it need not come again, or the broker knows no sequences",
            () if spec.software == Software::Other => "its software is not known",
            () => return (None, true),
        };
        (broken("N2", format!("a producer is told {results:?} by kmend: {wrong}")), true)
    }

    /// kmend closes a connection of its own accord.
    pub fn closes(&mut self, conn: u64, owed: usize, carried_unanswered: bool) -> Broken {
        self.closed.insert(conn);
        match () {
            () if owed > 0 => broken("N3", format!("kmend closes connection {conn}, {owed} answers are owed")),
            () if carried_unanswered => broken("N3", format!("kmend closes connection {conn}, which carried acks=0")),
            () => None,
        }
    }

    /// A client is made to look. `changes`: how often the topic has grown; `needless`: why it should not.
    pub fn nudged(&mut self, client: &Client, is_one: bool, changes: usize, needless: Option<&str>) -> Broken {
        let times = self.nudges.entry(client.clone()).or_default();
        *times += 1;
        let (times, name) = (*times, &client.1);
        match needless {
            Some(why) => broken("N4", format!("{name} is made to look, and {why}")),
            None if changes == 0 => broken("N4", format!("{name} is made to look, and nothing has grown")),
            None if is_one && times > MOST * changes => {
                broken("N4", format!("{name} is made to look {times} times, for {changes} growths"))
            }
            None => None,
        }
    }

    /// kmend asks for Metadata on a client's connection.
    pub fn polls(&mut self, now: At, place: Place, client: &Client, topics: Option<usize>, creates: bool) -> Broken {
        self.asking.insert(place, (client.clone(), now));
        let times = self.polls.entry(client.clone()).or_default();
        times.push_back(now);
        while times.front().is_some_and(|at| at + POLLS < now) {
            times.pop_front();
        }
        match () {
            () if topics != Some(1) => broken("N8", format!("kmend asks for {topics:?} topics; one is in use")),
            () if creates => broken("N8", "kmend may create a topic".into()),
            () if times.len() > MOST_POLLS => broken("N8", format!("kmend asks {} times in 10 s", times.len())),
            () => None,
        }
    }

    /// Something of kmend's own is answered.
    pub fn is_answered(&mut self, now: At, place: Place) {
        if let Some((client, since)) = self.asking.remove(&place)
            && now - since >= SLOW
        {
            self.excuse(client, now + 20 * (now - since) + INTERVAL);
        }
    }

    /// The connection has ended; what kmend asked there is lost.
    pub fn ended(&mut self, now: At, conn: u64) {
        let lost: Vec<Place> = self.asking.keys().filter(|(c, _)| *c == conn).copied().collect();
        for place in lost {
            if let Some((client, _)) = self.asking.remove(&place) {
                self.excuse(client, now + 10 * INTERVAL);
            }
        }
    }

    fn excuse(&mut self, client: Client, until: At) {
        let excused = self.excused.entry(client).or_default();
        *excused = until.max(*excused);
    }

    pub fn excused(&self, client: &Client) -> At {
        let asking = self.asking.values().filter(|(c, _)| c == client).map(|(_, since)| since + 10 * SECOND);
        self.excused.get(client).copied().into_iter().chain(asking).max().unwrap_or(0)
    }

    /// From now on it knows of all partitions, or it does not (any more).
    pub fn knows(&mut self, now: At, writer: Life, all: bool) {
        match all {
            true => _ = self.knows.entry(writer).or_insert(now),
            false => _ = self.knows.remove(&writer),
        }
    }

    pub fn knows_since(&self, writer: Life) -> Option<At> {
        self.knows.get(&writer).copied()
    }

    /// `remade`: who is told no ids may know before kmend does, which takes it for less.
    pub fn has_long_known(&self, now: At, writer: Life, settled: At, remade: bool) -> bool {
        let grace = if remade { ON_ITS_WAY + 2 * INTERVAL } else { ON_ITS_WAY };
        self.knows_since(writer).is_some_and(|since| since.max(settled) + grace < now)
    }

    /// What a Fetch is answered that the broker has not seen: the error of the whole, of each
    /// partition, and how many records.
    pub fn fetched(&self, whole: i16, parts: impl Iterator<Item = (i16, usize)>) -> (Broken, bool) {
        let mut is_nudge = false;
        for (error, records) in parts {
            is_nudge |= error == NOT_LEADER;
            if records > 0 || ![0, NOT_LEADER].contains(&error) {
                return (
                    broken("N7", format!("a Fetch that is answered by kmend has {records} records, error {error}")),
                    true,
                );
            }
        }
        let what = format!("a Fetch is answered by kmend with {whole}");
        (broken("N7", what).filter(|_| ![0, 70].contains(&whole)), is_nudge)
    }
}

fn broken(rule: &'static str, what: String) -> Broken {
    Some((rule, what))
}
