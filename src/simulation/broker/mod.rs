//! A model of the broker that coordinates the group. What it answers when was measured on Kafka 4.1
//! and 4.4 (`OffsetCommit` in each state of a classic group), the rest follows its source.

mod answer;
mod commits;
mod group;
mod logs;
mod rounds;
mod topic;

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    FetchRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListOffsetsRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, SyncGroupRequest,
};

use super::At;
use super::dice::Dice;
use super::reads::Part;
use super::wire::{self, decode};
use super::writes;
use crate::wire::api::ApiKey;
use crate::wire::head;

pub use group::{Group, State};
pub use logs::{Deaf, FETCH_SESSION_ID_NOT_FOUND, Logs, NOT_LEADER, OFFSET_OUT_OF_RANGE};
pub use topic::{Seen, Topic, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, Written, id};

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    pub conn: u64,
    pub correlation: i32,
    pub api: ApiKey,
    pub version: i16,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Versions,
    Metadata(Seen),
    /// To a request that wants no answer.
    Nothing,
    Producer(i64),
    Produced {
        id: [u8; 16],
        written: Vec<Written>,
    },
    Join {
        error: i16,
        generation: i32,
        leader: String,
        member: String,
        protocol: String,
        members: Vec<Joined>,
    },
    Sync {
        error: i16,
        protocol: String,
        assignment: Vec<u8>,
    },
    /// Heartbeat and LeaveGroup.
    Error(i16),
    Commit(Vec<(i32, i16)>),
    /// The error of the whole; partition and offset.
    Fetch(i16, Vec<(i32, i64)>),
    Read {
        error: i16,
        session: i32,
        parts: Vec<Part>,
    },
    /// Partition, error and offset.
    Ends(Vec<(i32, i16, i64)>),
}

/// Member id, instance id, metadata.
pub type Joined = (String, Option<String>, Vec<u8>);

/// A commit as it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub to: ReplyTo,
    pub member: String,
    pub generation: i32,
    pub partition: i32,
    pub before: i64,
    pub offset: i64,
    pub error: i16,
    pub state: State,
}

/// What others may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Rebalance(i32),
    Stable(i32),
    Empty,
    Expired(String),
    Judged(Judged),
    /// A connection is told of committed offsets.
    Asked(ReplyTo),
    /// A Fetch: all that its session has in it.
    Reads {
        to: ReplyTo,
        wants: Vec<i32>,
        is_full: bool,
        forgotten: usize,
    },
    SessionGone,
    /// A Fetch from where the log is not.
    OutOfRange {
        to: ReplyTo,
        partition: i32,
        at: i64,
    },
    /// A ListOffsets: partition and timestamp; partition, error and offset.
    Listed {
        to: ReplyTo,
        asked: Vec<(i32, i64)>,
        ends: Vec<(i32, i16, i64)>,
    },
    /// A Produce, and what became of it.
    Produced {
        to: ReplyTo,
        asked: Vec<(i32, writes::Batch)>,
        written: Vec<Written>,
    },
    /// A ListOffsets that is not answered as it should be.
    Deaf {
        to: ReplyTo,
        deaf: Deaf,
    },
    /// The group goes from one protocol to another.
    Switched {
        cooperative: bool,
    },
    Refused {
        member: String,
        api: ApiKey,
        error: i16,
    },
}

pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub const NOT_COORDINATOR: i16 = 16;
pub const ILLEGAL_GENERATION: i16 = 22;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const MEMBER_ID_REQUIRED: i16 = 79;
pub const FENCED_INSTANCE_ID: i16 = 82;

/// Two brokers that share what is on disk; one of them coordinates.
pub struct Broker {
    pub group: Group,
    /// The node that coordinates.
    pub coordinator: i32,
    /// Requests are answered with 16 until the first, then with 14 until the second.
    moving: (At, At),
    pub topic: Topic,
    pub logs: Logs,
    pub out: Vec<(ReplyTo, Reply)>,
    pub news: Vec<News>,
}

pub const NODES: i32 = 2;

impl Broker {
    pub fn new(partitions: i32, dice: Dice, logs: Dice) -> Broker {
        Broker {
            group: Group::new(dice),
            coordinator: 0,
            moving: (0, 0),
            topic: Topic::new(partitions),
            logs: Logs::new(partitions, logs),
            out: Vec::new(),
            news: Vec::new(),
        }
    }

    /// The coordinator moves: nobody coordinates for `away`, then it loads for `loading`.
    pub fn relocate(&mut self, now: At, away: At, loading: At) {
        self.moving = (now + away, now + away + loading);
        self.coordinator = (self.coordinator + 1) % NODES;
        self.group.unload(now + away + loading, &mut self.out);
    }

    pub fn is_settled(&self, now: At) -> bool {
        now >= self.moving.1
    }

    fn away(&self, now: At, node: i32) -> Option<i16> {
        if node != self.coordinator || now < self.moving.0 {
            return Some(NOT_COORDINATOR);
        }
        (now < self.moving.1).then_some(COORDINATOR_LOAD_IN_PROGRESS)
    }

    /// A request; what it is answered with, now or later, is in `out`.
    pub fn request(&mut self, now: At, conn: u64, node: i32, frame: &[u8]) {
        let head = head::request(frame, frame.len()).expect("a head");
        let (version, body) = (head.version, head.body);
        let to = ReplyTo { conn, correlation: head.correlation, api: head.api, version };
        let away = self.away(now, node);
        match head.api {
            ApiKey::API_VERSIONS => self.out.push((to, Reply::Versions)),
            ApiKey::METADATA => {
                let seen = self.topic.seen(now, node, self.logs.leader);
                self.out.push((to, Reply::Metadata(seen)));
            }
            ApiKey::INIT_PRODUCER_ID => self.producer(to),
            ApiKey::PRODUCE => {
                let request: ProduceRequest = decode(frame, body, version);
                self.produce(now, node, to, &request);
            }
            ApiKey::JOIN_GROUP => {
                let request: JoinGroupRequest = decode(frame, body, version);
                match away {
                    Some(error) => self.out.push((to, refused_join(error, &request.member_id))),
                    None => self.group.join(now, to, &request, &mut self.out),
                }
            }
            ApiKey::SYNC_GROUP => {
                let request: SyncGroupRequest = decode(frame, body, version);
                match away {
                    Some(error) => self.out.push((to, group::error_for(to, error))),
                    None => self.group.sync(now, to, &request, &mut self.out),
                }
            }
            ApiKey::HEARTBEAT => {
                let request: HeartbeatRequest = decode(frame, body, version);
                let error = away.unwrap_or_else(|| self.group.heartbeat(now, &request));
                if matches!(error, ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID) {
                    self.news.push(News::Refused { member: request.member_id.to_string(), api: head.api, error });
                }
                self.out.push((to, Reply::Error(error)));
            }
            ApiKey::LEAVE_GROUP => {
                let request: LeaveGroupRequest = decode(frame, body, version);
                let error = match away {
                    Some(error) => error,
                    None => self.group.leave(now, &request, &mut self.out),
                };
                self.out.push((to, Reply::Error(error)));
            }
            ApiKey::OFFSET_COMMIT => {
                let request: OffsetCommitRequest = decode(frame, body, version);
                self.commit(now, to, &request, away);
            }
            ApiKey::OFFSET_FETCH => {
                let request: OffsetFetchRequest = decode(frame, body, version);
                self.fetch(to, &request, away);
            }
            ApiKey::FETCH => {
                let request: FetchRequest = decode(frame, body, version);
                self.read(now, node, to, &request);
            }
            ApiKey::LIST_OFFSETS => {
                let request: ListOffsetsRequest = decode(frame, body, version);
                self.list(now, node, to, &request);
            }
            other => panic!("the model has no {other:?}"),
        }
        self.news.append(&mut self.group.news);
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: At) {
        if self.is_settled(now) {
            self.group.on_time(now, &mut self.out);
            self.news.append(&mut self.group.news);
        }
    }

    pub fn deadline(&self) -> Option<At> {
        self.group.deadline().map(|at| at.max(self.moving.1))
    }

    /// An operator sets the offsets of the group, which is possible while it is empty.
    pub fn reset(&mut self, to: &BTreeMap<i32, i64>) -> bool {
        let can = self.group.state == State::Empty;
        if can {
            self.group.offsets.extend(to);
            to.iter().for_each(|(partition, offset)| self.logs.has(*partition, *offset));
        }
        can
    }

    pub fn encode(&self, to: ReplyTo, reply: &Reply) -> Vec<u8> {
        answer::encode_all(to, reply)
    }

    pub fn is_readable(api: ApiKey, version: i16) -> bool {
        wire::VERSIONS.iter().any(|(key, min, max)| *key == api && (*min..=*max).contains(&version))
    }
}

fn refused_join(error: i16, member: &str) -> Reply {
    Reply::Join {
        error,
        generation: -1,
        leader: String::new(),
        member: member.to_owned(),
        protocol: String::new(),
        members: Vec::new(),
    }
}
