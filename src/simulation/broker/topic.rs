//! The topic: how many partitions it has, as each broker knows; and what producers write to it.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::messages::ProduceRequest;

use super::{Broker, NODES, NOT_LEADER, News, Reply, ReplyTo};
use crate::simulation::At;
use crate::simulation::wire::TOPIC_ID;
use crate::simulation::writes::{self, Batch, Line};

pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub const OUT_OF_ORDER_SEQUENCE: i16 = 45;
pub const UNKNOWN_TOPIC_ID: i16 = 100;

/// Batches of a producer that a broker remembers, for each partition.
const REMEMBERED: usize = 5;

/// The topic from some moment on.
#[derive(Debug, Clone, Copy)]
struct Version {
    at: At,
    /// So much later the nodes that do not lead hear of it.
    late: At,
    /// Which one of that name it is.
    number: u8,
    /// 0: there is none.
    partitions: i32,
    /// So many have a leader, all of them from `led` on.
    before: i32,
    led: At,
}

/// What a Metadata response says of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub number: u8,
    /// Empty: there is no such topic.
    pub leaders: Vec<i32>,
}

impl Seen {
    pub fn id(&self) -> [u8; 16] {
        id(self.number)
    }
}

pub fn id(number: u8) -> [u8; 16] {
    let mut id = TOPIC_ID;
    id[0] = id[0].wrapping_add(number);
    id
}

/// A producer's last batches in a partition: first and last sequence, and where they stand.
#[derive(Debug, Default)]
struct Known {
    epoch: i16,
    last: VecDeque<(i32, i32, i64)>,
}

#[derive(Debug)]
pub struct Topic {
    versions: Vec<Version>,
    /// By which one of that name it is, and by partition.
    logs: BTreeMap<(u8, i32), Vec<Line>>,
    known: BTreeMap<(i32, i64), Known>,
    last_producer: i64,
}

/// What became of a partition of a Produce request: error, and where the batch stands.
pub type Written = (i32, i16, i64);

impl Topic {
    pub fn new(partitions: i32) -> Topic {
        let first = Version { at: 0, late: 0, number: 0, partitions, before: partitions, led: 0 };
        Topic { versions: vec![first], logs: BTreeMap::new(), known: BTreeMap::new(), last_producer: 999 }
    }

    fn now(&self) -> Version {
        self.versions.last().copied().expect("there is a first")
    }

    pub fn partitions(&self) -> i32 {
        self.now().partitions
    }

    pub fn number(&self) -> u8 {
        self.now().number
    }

    /// When the newest partitions could be known and used everywhere.
    pub fn settled(&self) -> At {
        let now = self.now();
        (now.at + now.late).max(now.led + now.late)
    }

    /// How often it has grown or was made anew.
    pub fn changes(&self) -> usize {
        self.versions.len() - 1
    }

    /// More partitions; they have no leader for a while. Whether there is a topic.
    pub fn grow(&mut self, at: At, by: i32, leaderless: At, late: At) -> bool {
        let now = self.now();
        if now.partitions == 0 {
            return false;
        }
        let before = if now.led > at { now.before } else { now.partitions };
        let led = now.led.max(at + leaderless);
        self.versions.push(Version { at, late, number: now.number, partitions: now.partitions + by, before, led });
        true
    }

    /// It is deleted.
    pub fn delete(&mut self, at: At) {
        self.versions.push(Version { at, partitions: 0, before: 0, led: at, ..self.now() });
        self.known.clear();
    }

    /// Another one of the same name; nobody knows its producers.
    pub fn make(&mut self, at: At, partitions: i32, late: At) {
        let number = self.now().number + 1;
        self.versions.push(Version { at, late, number, partitions, before: partitions, led: at });
        self.known.clear();
    }

    /// As a node knows it.
    pub fn seen(&self, now: At, node: i32, leader: i32) -> Seen {
        let late = |v: &Version| if node == leader { 0 } else { v.late };
        let known = self.versions.iter().rev().find(|v| v.at + late(v) <= now).copied().unwrap_or(self.versions[0]);
        let led = |p: i32| if p < known.before || known.led + late(&known) <= now { leader } else { -1 };
        Seen { number: known.number, leaders: (0..known.partitions).map(led).collect() }
    }

    /// Whether these are all partitions, and of this topic.
    pub fn is_known(&self, number: u8, leaders: &[i32]) -> bool {
        let now = self.now();
        number == now.number && leaders.len() as i32 == now.partitions && !leaders.contains(&-1)
    }

    fn log(&self, number: u8, partition: i32) -> &[Line] {
        self.logs.get(&(number, partition)).map(Vec::as_slice).unwrap_or_default()
    }

    /// As Kafka does: a producer of which nothing is known may begin anywhere.
    fn append(&mut self, partition: i32, batch: &Batch) -> (i16, i64) {
        let number = self.now().number;
        let log = self.logs.entry((number, partition)).or_default();
        let at = log.len() as i64;
        if batch.producer >= 0 {
            let known = self.known.entry((partition, batch.producer)).or_default();
            let ends = batch.sequence + batch.lines.len() as i32 - 1;
            if known.epoch == batch.epoch {
                let same = known.last.iter().find(|(first, last, _)| (*first, *last) == (batch.sequence, ends));
                if let Some((.., at)) = same {
                    return (0, *at);
                }
                if known.last.back().is_some_and(|(_, last, _)| batch.sequence != last + 1) {
                    return (OUT_OF_ORDER_SEQUENCE, -1);
                }
            }
            known.epoch = batch.epoch;
            known.last.push_back((batch.sequence, ends, at));
            if known.last.len() > REMEMBERED {
                known.last.pop_front();
            }
        }
        log.extend(&batch.lines);
        (0, at)
    }
}

impl Broker {
    pub(super) fn producer(&mut self, to: ReplyTo) {
        self.topic.last_producer += 1;
        self.out.push((to, Reply::Producer(self.topic.last_producer)));
    }

    pub(super) fn produce(&mut self, now: At, node: i32, to: ReplyTo, request: &ProduceRequest) {
        let topic = self.topic.now();
        let asked = writes::asked(request);
        let known = to.version < writes::BY_ID || asked.id == id(topic.number);
        let mut written = Vec::new();
        for (partition, batch) in &asked.batches {
            let is_there = (0..topic.partitions).contains(partition);
            let is_led = *partition < topic.before || topic.led <= now;
            let (error, at) = match () {
                () if !known && topic.partitions > 0 => (UNKNOWN_TOPIC_ID, -1),
                () if !known || !is_there => (UNKNOWN_TOPIC_OR_PARTITION, -1),
                () if node != self.logs.leader || !is_led => (NOT_LEADER, -1),
                () => self.topic.append(*partition, batch),
            };
            if error == 0 {
                let end = self.topic.log(topic.number, *partition).len() as i64;
                self.logs.is_written(*partition, end);
            }
            written.push((*partition, error, at));
        }
        self.news.push(News::Produced { to, asked: asked.batches, written: written.clone() });
        let id = asked.id;
        self.out.push((to, if request.acks == 0 { Reply::Nothing } else { Reply::Produced { id, written } }));
    }

    /// Whether a node leads; there are two.
    pub fn other(node: i32) -> i32 {
        (node + 1) % NODES
    }
}
