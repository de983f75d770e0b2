//! Random well-formed messages, written from the layouts: as the broker (or the client) writes
//! them, and as they should come out on the other side.

use rand::Rng;

use super::kit::{HOST, PORT};
use crate::wire::api::ApiKey;
use crate::wire::layout::{self, Layout, mark};
use crate::wire::varint;
use crate::wire::walk::{self, Op};

#[derive(Debug, Default, Clone)]
pub struct Twin {
    pub sent: Vec<u8>,
    pub expected: Vec<u8>,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Taste {
    /// Elements of an array of nodes.
    pub nodes: usize,
    /// Longest record set.
    pub records: usize,
    /// With the node endpoints that leader hints carry (KIP-951).
    pub endpoints: bool,
}

impl Default for Taste {
    fn default() -> Self {
        Taste { nodes: 3, records: 90, endpoints: true }
    }
}

struct Writer<'a, R: Rng> {
    twin: Twin,
    rng: &'a mut R,
    taste: Taste,
    node: i32,
    nowhere: bool,
}

pub fn body(layout: Layout, taste: Taste, rng: &mut impl Rng) -> Twin {
    let mut writer = Writer { twin: Twin::default(), rng, taste, node: 0, nowhere: false };
    writer.all(layout, 0);
    writer.twin
}

impl<R: Rng> Writer<'_, R> {
    fn both(&mut self, bytes: &[u8]) {
        self.twin.sent.extend_from_slice(bytes);
        self.twin.expected.extend_from_slice(bytes);
    }

    fn noise(&mut self, n: usize) {
        let bytes: Vec<u8> = (0..n).map(|_| self.rng.random_range(0..2)).collect();
        self.both(&bytes);
    }

    fn all(&mut self, ops: &[Op], depth: usize) {
        for (op, inside) in walk::fields(ops) {
            self.one(op, inside, depth);
        }
    }

    fn one(&mut self, op: &Op, inside: &[Op], depth: usize) {
        match op {
            Op::Fixed { mark, .. } if *mark == mark::NODE_ID => {
                self.nowhere = self.rng.random_range(0..8) == 0;
                self.node = if self.nowhere { -1 } else { self.rng.random_range(0..400) };
                self.both(&self.node.to_be_bytes());
            }
            Op::Fixed { mark, .. } if *mark == mark::PORT => {
                if self.nowhere {
                    return self.both(&(-1i32).to_be_bytes());
                }
                let port = i32::from(PORT) + self.node;
                self.twin.sent.extend_from_slice(&9092i32.to_be_bytes());
                self.twin.expected.extend_from_slice(&port.to_be_bytes());
            }
            Op::Fixed { mark, .. } if *mark == mark::ACKS => {
                let acks: i16 = self.rng.random_range(-1..2);
                self.both(&acks.to_be_bytes());
            }
            Op::Fixed { mark, .. } if *mark == mark::API_RANGE => {
                let key: i16 = self.rng.random_range(0..95);
                let max: i16 = self.rng.random_range(0..24);
                let lowered = ApiKey(key).newest_with_addresses().map_or(max, |newest| max.min(newest));
                let min = self.rng.random_range(0..3i16);
                self.both(&[key.to_be_bytes(), min.to_be_bytes()].concat());
                self.twin.sent.extend_from_slice(&max.to_be_bytes());
                self.twin.expected.extend_from_slice(&lowered.to_be_bytes());
            }
            Op::Fixed { len, .. } => self.noise(*len),
            Op::Str { mark, compact } if *mark == mark::HOST => {
                let (host, ours) =
                    if self.nowhere { (String::new(), "") } else { (format!("broker-{}.example", self.node), HOST) };
                text(&mut self.twin.sent, &host, *compact);
                text(&mut self.twin.expected, ours, *compact);
            }
            Op::Str { compact, .. } => {
                let value = "topic-".repeat(self.rng.random_range(0..3));
                text(&mut self.twin.sent, &value, *compact);
                text(&mut self.twin.expected, &value, *compact);
            }
            Op::Blob { compact, .. } => {
                let n = self.rng.random_range(0..=self.taste.records);
                self.length(n, *compact);
                let bytes: Vec<u8> = (0..n).map(|i| i as u8).collect();
                self.both(&bytes);
            }
            Op::Array { mark, compact, .. } => {
                let most = if *mark == mark::NODES { self.taste.nodes } else { 3 };
                let n = match (depth, *mark == mark::NODES) {
                    (4.., _) => 0,
                    (_, true) => most,
                    _ => self.rng.random_range(0..=most),
                };
                self.length(n, *compact);
                for _ in 0..n {
                    self.all(inside, depth + 1);
                }
            }
            Op::Tags { mark } if *mark == mark::END_TAGS && self.taste.endpoints => {
                let before = std::mem::take(&mut self.twin);
                self.all(layout::node_endpoints(), 3);
                let inner = std::mem::replace(&mut self.twin, before);
                for (out, content) in [(&mut self.twin.sent, inner.sent), (&mut self.twin.expected, inner.expected)] {
                    out.extend_from_slice(&[1, 0]);
                    varint::write(out, content.len() as u32);
                    out.extend_from_slice(&content);
                }
            }
            Op::Nullable { .. } => {
                let there = self.rng.random();
                self.both(if there { &[1] } else { &[0xff] });
                if there {
                    self.all(inside, depth + 1);
                }
            }
            Op::Tags { .. } => self.both(&[0]),
            Op::End { .. } => {}
        }
    }

    fn length(&mut self, n: usize, compact: bool) {
        if compact {
            varint::write(&mut self.twin.sent, n as u32 + 1);
            varint::write(&mut self.twin.expected, n as u32 + 1);
        } else {
            self.both(&(n as i32).to_be_bytes());
        }
    }
}

fn text(out: &mut Vec<u8>, value: &str, compact: bool) {
    if compact {
        varint::write(out, value.len() as u32 + 1);
    } else {
        out.extend_from_slice(&(value.len() as i16).to_be_bytes());
    }
    out.extend_from_slice(value.as_bytes());
}
