//! A client's connection and the scripted broker at its other end, written by kafka-protocol.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::bench::{Bench, MS};
use super::says::*;
use crate::session::tests::kit::{Cuts, Rig, frames, response};
use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::head;

/// A request as the broker reads it.
#[derive(Debug, Clone)]
pub struct Request {
    pub api: ApiKey,
    pub version: i16,
    pub correlation: i32,
    /// kmend's own.
    pub ours: bool,
    body: Bytes,
}

impl Request {
    fn of(frame: &[u8]) -> Request {
        let head = head::request(frame, frame.len()).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(head.body);
        // Clients count upwards from 0.
        let ours = head.correlation < -1;
        Request { api: head.api, version: head.version, correlation: head.correlation, ours, body }
    }

    pub fn read<M: Decodable>(&self) -> M {
        M::decode(&mut self.body.clone(), self.version).expect("its message")
    }
}

/// An answer as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub api: ApiKey,
    /// Of the whole.
    pub error: i16,
    /// OffsetCommit and OffsetFetch: partition and error.
    pub errors: Vec<(i32, i16)>,
    /// OffsetFetch: partition and offset.
    pub offsets: Vec<(i32, i64)>,
}

pub struct Line {
    pub rig: Rig,
    pub inbox: VecDeque<Request>,
    correlation: i32,
    client_id: String,
    asked: HashMap<i32, (ApiKey, i16)>,
    /// What the client has sent and what of it has come out, both ways.
    pub sent: Vec<u8>,
    pub arrived: Vec<u8>,
    pub answered: Vec<u8>,
    pub got: Vec<u8>,
    replies: VecDeque<Reply>,
}

impl Line {
    pub fn new(bench: &Bench, cuts: Cuts, number: u64, client_id: &str, software: &str) -> Line {
        let mut line = Line {
            rig: bench.world.connect_at(cuts, number, Some(1), bench.now),
            inbox: VecDeque::new(),
            correlation: 0,
            client_id: client_id.to_owned(),
            asked: HashMap::new(),
            sent: Vec::new(),
            arrived: Vec::new(),
            answered: Vec::new(),
            got: Vec::new(),
            replies: VecDeque::new(),
        };
        line.ask(ApiKey::API_VERSIONS, 3, &versions_request(software));
        let asked = line.next();
        line.answer(&asked, &versions());
        line.reply();
        line
    }

    pub fn ask_raw(&mut self, api: ApiKey, version: i16, body: &[u8]) {
        self.correlation += 1;
        self.asked.insert(self.correlation, (api, version));
        let frame = local::request(api, version, self.correlation, self.client_id.as_bytes(), body);
        self.sent.extend_from_slice(&frame);
        self.rig.client(&frame);
        self.run();
    }

    pub fn ask(&mut self, api: ApiKey, version: i16, message: &impl Encodable) {
        self.ask_raw(api, version, &encoded(message, version));
    }

    /// What is due now happens.
    pub fn run(&mut self) {
        for _ in 0..10 {
            self.rig.settle();
            self.collect();
            if self.rig.end.is_some() || self.rig.core.deadline().is_none_or(|at| at > self.rig.now) {
                return;
            }
            self.rig.later(Duration::ZERO);
            self.collect();
        }
    }

    fn collect(&mut self) {
        let bytes = self.rig.at_broker();
        for frame in frames(&bytes) {
            let request = Request::of(&frame);
            if !request.ours {
                self.arrived.extend_from_slice(&frame);
            }
            self.inbox.push_back(request);
        }
        let bytes = self.rig.at_client();
        self.got.extend_from_slice(&bytes);
        for frame in frames(&bytes) {
            let reply = self.read(&frame);
            self.replies.push_back(reply);
        }
    }

    /// Time passes; kmend is woken whenever it wants to be.
    pub fn pass(&mut self, by: Duration) {
        let end = self.rig.now + by;
        while self.rig.now < end {
            let next = self.rig.core.deadline().map_or(end, |at| at.max(self.rig.now + MS));
            self.rig.later(next.min(end) - self.rig.now);
            self.collect();
        }
        self.run();
    }

    /// The oldest request that the broker has not answered.
    pub fn next(&mut self) -> Request {
        self.inbox.pop_front().unwrap_or_else(|| panic!("nothing has arrived; {:?}", self.rig.end))
    }

    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty()
    }

    pub fn answer(&mut self, request: &Request, message: &impl Encodable) {
        self.answer_raw(request, &encoded(message, request.version));
    }

    pub fn answer_raw(&mut self, request: &Request, body: &[u8]) {
        let frame = response(request.api, request.version, request.correlation, body);
        if !request.ours {
            self.answered.extend_from_slice(&frame);
        }
        self.rig.broker(&frame);
        self.run();
    }

    /// The oldest answer that the client has not looked at.
    pub fn reply(&mut self) -> Reply {
        self.replies.pop_front().unwrap_or_else(|| panic!("no answer; {:?}", self.rig.end))
    }

    pub fn has_reply(&self) -> bool {
        !self.replies.is_empty()
    }

    fn read(&self, frame: &[u8]) -> Reply {
        let correlation = head::correlation(frame).expect("a correlation id");
        let (api, version) = *self.asked.get(&correlation).expect("an answer to what was asked");
        let start = head::response_body(frame, frame.len(), api, version).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(start);
        let mut reply = Reply { api, error: 0, errors: Vec::new(), offsets: Vec::new() };
        match api {
            ApiKey::OFFSET_COMMIT if version <= 9 => {
                let got = OffsetCommitResponse::decode(&mut body, version).expect("an OffsetCommit response");
                let partitions = got.topics.iter().flat_map(|t| &t.partitions);
                reply.errors = partitions.map(|p| (p.partition_index, p.error_code)).collect();
            }
            ApiKey::TXN_OFFSET_COMMIT => {
                let got = TxnOffsetCommitResponse::decode(&mut body, version).expect("a TxnOffsetCommit response");
                let partitions = got.topics.iter().flat_map(|t| &t.partitions);
                reply.errors = partitions.map(|p| (p.partition_index, p.error_code)).collect();
            }
            ApiKey::OFFSET_FETCH => {
                let got = OffsetFetchResponse::decode(&mut body, version).expect("an OffsetFetch response");
                let partitions = got.topics.iter().flat_map(|t| &t.partitions);
                (reply.errors, reply.offsets) = partitions
                    .map(|p| ((p.partition_index, p.error_code), (p.partition_index, p.committed_offset)))
                    .unzip();
                reply.error = got.error_code;
            }
            ApiKey::HEARTBEAT => reply.error = HeartbeatResponse::decode(&mut body, version).unwrap().error_code,
            ApiKey::JOIN_GROUP => reply.error = JoinGroupResponse::decode(&mut body, version).unwrap().error_code,
            ApiKey::SYNC_GROUP => reply.error = SyncGroupResponse::decode(&mut body, version).unwrap().error_code,
            ApiKey::LEAVE_GROUP => reply.error = LeaveGroupResponse::decode(&mut body, version).unwrap().error_code,
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                reply.error = ConsumerGroupHeartbeatResponse::decode(&mut body, version).unwrap().error_code;
            }
            _ => {}
        }
        reply
    }
}
