//! Messages that fit their layout, with values that mean something to somebody: names that meet
//! again, errors that are acted upon, sizes at the borders.

use super::feed::Feed;
use crate::wire::layout::{self, Layout, mark};
use crate::wire::varint;
use crate::wire::walk::{self, Mark, Op};

/// What brokers are called where clients must not see it.
pub const BROKER_HOST: &str = "broker.internal";

const ERRORS: &[i16] = &[0, 0, 27, 22, 25, 1, 16, 14, 15, 3, 6, 35, 79, 82, 110, 113, 70, 71, 100, 34, -1, i16::MAX];
const SMALL: &[i32] = &[0, 1, 2, 3, -1, 7, 100, i32::MAX, i32::MIN, 10_000, 300_000];
const OFFSETS: &[i64] = &[0, 1, 5, 100, -1, -2, i64::MAX, i64::MIN, 4_000];
const LENGTHS: &[usize] = &[0, 61, 1, 200, 12, 3_000, 20_000, 70_000];
const COUNTS: &[usize] = &[1, 0, 2, 3, 1, 20, 2, 300];

const GROUPS: &[&str] = &["billing", "audit", ""];
const TOPICS: &[&str] = &["orders", "clicks", "orders.eu", ""];
const MEMBERS: &[&str] = &["m-1", "m-2", "", "m-3"];
const INSTANCES: &[&str] = &["i-1", "i-2"];
const PROTOCOLS: &[&str] = &["range", "cooperative-sticky", "roundrobin", ""];
const TYPES: &[&str] = &["consumer", "connect", ""];
const SOFTWARE: &[&str] = &["apache-kafka-java", "librdkafka", "kgo", "sarama", "kafkajs", "aiokafka", "kafka-python"];
const VERSIONS: &[&str] = &["3.9.0", "1.16.1", "2.3.0", "4.0.0", ""];
const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "GSSAPI"];
const TEXTS: &[&str] = &["", "x", "{\"a\":1}", "\u{1e}kmj"];

/// Messages end about here.
const MOST: usize = 200_000;

/// A body after the layout.
pub fn body(layout: Layout, feed: &mut Feed<'_>) -> Vec<u8> {
    let mut shape = Shape { out: Vec::new(), feed };
    shape.all(layout, 0);
    shape.out
}

struct Shape<'a, 'b> {
    out: Vec<u8>,
    feed: &'a mut Feed<'b>,
}

impl Shape<'_, '_> {
    fn all(&mut self, ops: &[Op], depth: usize) {
        for (op, inside) in walk::fields(ops) {
            self.one(op, inside, depth);
        }
    }

    fn one(&mut self, op: &Op, inside: &[Op], depth: usize) {
        match op {
            Op::Fixed { mark: Mark::NONE, len } => self.out.resize(self.out.len() + len, 0),
            Op::Fixed { mark, len } => self.fixed(*mark, *len),
            Op::Str { mark, compact } => self.string(*mark, *compact),
            Op::Blob { mark, compact, .. } => self.blob(*mark, *compact),
            Op::Array { compact, .. } => self.array(*compact, inside, depth),
            Op::Nullable { .. } => {
                let there = self.feed.byte() % 4 < 3;
                self.out.push(if there { 1 } else { 0xff });
                if there {
                    self.all(inside, depth + 1);
                }
            }
            Op::Tags { mark } => self.tags(*mark, depth),
            Op::End { .. } => {}
        }
    }

    fn fixed(&mut self, mark: Mark, len: usize) {
        let value = match (mark, len) {
            (mark::ERROR | mark::TOPIC_ERROR | mark::GROUP_ERROR, 2) => self.feed.pick(ERRORS).to_be_bytes().to_vec(),
            (mark::NODE_ID, _) => self.feed.pick(&[1i32, 2, 3, -1, 0, i32::MAX]).to_be_bytes().to_vec(),
            (mark::PORT, _) => self.feed.pick(&[9092i32, 0, -1, 65_535, 65_536]).to_be_bytes().to_vec(),
            (mark::ACKS, _) => self.feed.pick(&[-1i16, 1, 0, 7]).to_be_bytes().to_vec(),
            (mark::API_RANGE, _) => {
                let key = i16::from(self.feed.byte()) - 1;
                [key, 0, *self.feed.pick(&[4i16, 13, 0, 17, 99, -1])].map(i16::to_be_bytes).concat()
            }
            (mark::LIFETIME, _) => self.feed.pick(&[0i64, 3_000, 1, -1, i64::MAX]).to_be_bytes().to_vec(),
            _ => self.numbers(len),
        };
        // A layout that has another size for it: the walk over the message would fail.
        self.out.extend(value.iter().copied().chain(std::iter::repeat(0)).take(len));
    }

    /// Fields of which only the length is known: zeros, numbers that mean something, or any bytes.
    fn numbers(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match self.feed.byte() % 8 {
            0 => {}
            1 => out.extend(self.feed.bytes(len)),
            2 => out.extend(self.feed.pick(ERRORS).to_be_bytes()),
            3 => {
                // Partition and error, as many messages begin.
                out.extend(self.feed.pick(SMALL).to_be_bytes());
                out.extend(self.feed.pick(ERRORS).to_be_bytes());
                while out.len() < len {
                    out.extend(self.feed.pick(OFFSETS).to_be_bytes());
                }
            }
            4 => {
                out.extend(self.feed.pick(SMALL).to_be_bytes());
                while out.len() < len {
                    out.extend(self.feed.pick(OFFSETS).to_be_bytes());
                }
            }
            5 => out.resize(len, 0xff),
            _ => {
                while out.len() < len {
                    out.extend(self.feed.pick(SMALL).to_be_bytes());
                }
            }
        }
        out
    }

    fn string(&mut self, mark: Mark, compact: bool) {
        let words = match mark {
            mark::GROUP => GROUPS,
            mark::MEMBER | mark::OTHER_MEMBER | mark::LEADER => MEMBERS,
            mark::TOPIC => TOPICS,
            mark::GROUP_INSTANCE => INSTANCES,
            mark::PROTOCOL => PROTOCOLS,
            mark::PROTOCOL_TYPE => TYPES,
            mark::SOFTWARE_NAME => SOFTWARE,
            mark::SOFTWARE_VERSION => VERSIONS,
            mark::MECHANISM => MECHANISMS,
            mark::HOST => &[BROKER_HOST, BROKER_HOST, "", "10.0.0.1"],
            mark::CLUSTER_ID => &["cluster-1", "cluster-2", ""],
            mark::METADATA => TEXTS,
            Mark::NONE => &[""],
            _ => TOPICS,
        };
        if mark == Mark::NONE {
            return self.text(Some(b""), compact);
        }
        let choice = self.feed.byte();
        match choice >> 4 {
            0xf => self.text(None, compact),
            0xe => {
                let any = self.feed.piece();
                self.text(Some(any), compact);
            }
            0xd if self.out.len() <= MOST => {
                // What is no text grows where it is made readable.
                let (byte, len) = *self.feed.pick(&[
                    (b'a', 255),
                    (b'a', 256),
                    (b'a', 16_384),
                    (b'a', 32_767),
                    (0xff, 255),
                    (0xff, 32_767),
                ]);
                let long = vec![byte; len];
                self.text(Some(&long), compact);
            }
            _ => self.text(Some(words[usize::from(choice) % words.len()].as_bytes()), compact),
        }
    }

    fn text(&mut self, text: Option<&[u8]>, compact: bool) {
        let len = text.map(<[u8]>::len);
        if compact {
            varint::write(&mut self.out, len.map_or(0, |n| n as u32 + 1));
        } else {
            self.out.extend(len.map_or(-1, |n| n as i16).to_be_bytes());
        }
        self.out.extend(text.unwrap_or_default());
    }

    fn blob(&mut self, mark: Mark, compact: bool) {
        let content = match mark {
            mark::ASSIGNMENT | mark::SUBSCRIPTION => self.told(mark == mark::SUBSCRIPTION),
            _ => match self.feed.byte() {
                0xff => {
                    return if compact { self.out.push(0) } else { self.out.extend((-1i32).to_be_bytes()) };
                }
                0xfe => self.feed.piece().to_vec(),
                n if self.out.len() > MOST => vec![0; usize::from(n)],
                n => vec![0; LENGTHS[usize::from(n) % LENGTHS.len()]],
            },
        };
        self.count(content.len(), compact);
        self.out.extend(content);
    }

    /// What members and assignors tell each other (`ConsumerProtocolSubscription`, `...Assignment`).
    fn told(&mut self, subscription: bool) -> Vec<u8> {
        let mut out = Vec::new();
        match self.feed.byte() {
            0xff => return self.feed.piece().to_vec(),
            version => out.extend(i16::from(version % 5).to_be_bytes()),
        }
        let topic = |feed: &mut Feed<'_>, out: &mut Vec<u8>| {
            let topic = feed.pick(TOPICS);
            out.extend((topic.len() as i16).to_be_bytes());
            out.extend(topic.as_bytes());
        };
        for partitions in if subscription { &[false, true][..] } else { &[true][..] } {
            let n = *self.feed.pick(&[1i32, 0, 2, -1, i32::MAX]);
            out.extend(n.to_be_bytes());
            for _ in 0..n.clamp(0, 2) {
                topic(self.feed, &mut out);
                if *partitions {
                    let n = *self.feed.pick(&[1i32, 2, 0, 3, -1, 1_000_000]);
                    out.extend(n.to_be_bytes());
                    (0..n.min(3)).for_each(|p| out.extend(p.to_be_bytes()));
                }
            }
            if subscription && !partitions {
                out.extend((-1i32).to_be_bytes());
            }
        }
        out.extend((-1i32).to_be_bytes());
        out
    }

    fn array(&mut self, compact: bool, body: &[Op], depth: usize) {
        let choice = self.feed.byte();
        if choice == 0xff {
            return if compact { self.out.push(0) } else { self.out.extend((-1i32).to_be_bytes()) };
        }
        let wanted = COUNTS[usize::from(choice) % COUNTS.len()];
        let n = match depth {
            _ if self.out.len() > MOST => 0,
            0 | 1 => wanted,
            2 => wanted.min(20),
            _ => wanted.min(2),
        };
        self.count(n, compact);
        for _ in 0..n {
            self.all(body, depth + 1);
        }
    }

    fn tags(&mut self, mark: Mark, depth: usize) {
        // Unmarked tags are everywhere: a decision for each of them would drown the others.
        if mark == Mark::NONE || depth > 3 {
            return self.out.push(0);
        }
        match self.feed.byte() % 4 {
            0 => self.out.push(0),
            1 => {
                let before = std::mem::take(&mut self.out);
                self.all(layout::node_endpoints(), 2);
                let content = std::mem::replace(&mut self.out, before);
                self.out.extend([1, 0]);
                varint::write(&mut self.out, content.len() as u32);
                self.out.extend(content);
            }
            2 => {
                self.out.push(1);
                varint::write(&mut self.out, u32::from(self.feed.byte()));
                let content = self.feed.piece();
                varint::write(&mut self.out, content.len() as u32);
                self.out.extend(content);
            }
            _ => {
                let count = self.feed.byte() % 40;
                self.out.push(count);
                (0..count).for_each(|tag| self.out.extend([tag, 0]));
            }
        }
    }

    fn count(&mut self, n: usize, compact: bool) {
        if compact {
            varint::write(&mut self.out, n as u32 + 1);
        } else {
            self.out.extend((n as i32).to_be_bytes());
        }
    }
}
