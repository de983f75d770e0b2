//! A client's connection and the broker at its other end.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::broker::{Brokers, framed};
use crate::session::tests::kit::{Rig, frames};
use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::head;

/// Groups are coordinated here: no partition is led by it.
pub const COORDINATOR: i32 = 9;

pub struct Line {
    pub rig: Rig,
    pub number: u64,
    client_id: String,
    brokers: Rc<RefCell<Brokers>>,
    /// What the broker has not answered.
    inbox: VecDeque<Vec<u8>>,
    /// Fetch requests wait at the broker.
    pub polls_long: bool,
    /// What has arrived of a frame.
    part: Vec<u8>,
    /// Everything waits at the broker.
    pub holds_back: bool,
    correlation: i32,
    asked: HashMap<i32, (ApiKey, i16)>,
    /// What the client and the broker have sent of the client's own traffic, and what came out.
    pub sent: Vec<u8>,
    pub arrived: Vec<u8>,
    pub answered: Vec<u8>,
    pub got: Vec<u8>,
    /// Correlation and error of every answer.
    replies: HashMap<i32, i16>,
    /// kmend's own commits, as they arrived: partition and offset.
    pub own_commits: Vec<(i32, i64)>,
}

fn is_ours(frame: &[u8]) -> bool {
    // Clients count upwards from 0.
    head::request(frame, frame.len()).expect("a head").correlation < -1
}

fn is_whole(mut bytes: &[u8]) -> bool {
    while let Some(prefix) = bytes.first_chunk::<4>() {
        let Some((_, rest)) = bytes.split_at_checked(4 + i32::from_be_bytes(*prefix) as usize) else {
            return false;
        };
        bytes = rest;
    }
    bytes.is_empty()
}

fn api(frame: &[u8]) -> ApiKey {
    head::request(frame, frame.len()).expect("a head").api
}

impl Line {
    pub fn new(rig: Rig, number: u64, client_id: &str, brokers: Rc<RefCell<Brokers>>) -> Line {
        Line {
            rig,
            number,
            client_id: client_id.to_owned(),
            brokers,
            inbox: VecDeque::new(),
            polls_long: false,
            part: Vec::new(),
            holds_back: false,
            correlation: 0,
            asked: HashMap::new(),
            sent: Vec::new(),
            arrived: Vec::new(),
            answered: Vec::new(),
            got: Vec::new(),
            replies: HashMap::new(),
            own_commits: Vec::new(),
        }
    }

    /// The client asks: the correlation id.
    pub fn ask(&mut self, api: ApiKey, version: i16, message: &impl Encodable) -> i32 {
        let frame = self.frame(api, version, message);
        self.sends(&frame);
        self.correlation
    }

    pub fn frame(&mut self, api: ApiKey, version: i16, message: &impl Encodable) -> Vec<u8> {
        self.correlation += 1;
        self.asked.insert(self.correlation, (api, version));
        let body = super::says::encoded(message, version);
        local::request(api, version, self.correlation, self.client_id.as_bytes(), &body)
    }

    /// The client sends some of a frame.
    pub fn sends_part(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.rig.client(bytes);
        self.serve();
    }

    pub fn sends(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.rig.client(bytes);
        self.serve();
    }

    /// The broker answers whatever it may answer by itself.
    pub fn serve(&mut self) {
        loop {
            self.collect();
            let Some(frame) = self.inbox.front() else {
                return;
            };
            let waits = match api(frame) {
                ApiKey::JOIN_GROUP | ApiKey::SYNC_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => true,
                ApiKey::FETCH => self.polls_long,
                _ => self.holds_back,
            };
            if waits {
                return;
            }
            let frame = self.inbox.pop_front().expect("a frame");
            if !self.answers(&frame) {
                return self.inbox.push_front(frame);
            }
        }
    }

    /// `false`: not now.
    fn answers(&mut self, frame: &[u8]) -> bool {
        let ours = is_ours(frame);
        let answer = self.brokers.borrow_mut().answer(ours, frame);
        let Some(answer) = answer else {
            return false;
        };
        if !ours {
            self.answered.extend_from_slice(&answer);
        }
        self.rig.broker(&answer);
        true
    }

    /// The broker answers the oldest Fetch that waits there.
    pub fn poll_ends(&mut self) {
        let frame = self.inbox.pop_front().expect("a Fetch");
        assert_eq!(api(&frame), ApiKey::FETCH);
        self.answers(&frame);
        self.serve();
    }

    /// The oldest unanswered request is of this kind.
    pub fn awaits(&self, wanted: ApiKey) -> bool {
        self.inbox.front().is_some_and(|frame| api(frame) == wanted)
    }

    /// The test answers the oldest request: the error that the client gets.
    pub fn answer(&mut self, message: &impl Encodable) -> i16 {
        let frame = self.inbox.pop_front().unwrap_or_else(|| panic!("nothing has arrived; {:?}", self.rig.end));
        let correlation = head::request(&frame, frame.len()).expect("a head").correlation;
        let answer = framed(&frame, message);
        self.answered.extend_from_slice(&answer);
        self.rig.broker(&answer);
        self.serve();
        self.reply(correlation).expect("an answer")
    }

    pub fn reply(&self, correlation: i32) -> Option<i16> {
        self.replies.get(&correlation).copied()
    }

    fn collect(&mut self) {
        let mut bytes = std::mem::take(&mut self.part);
        bytes.extend(self.rig.at_broker());
        if !is_whole(&bytes) {
            self.part = bytes;
            bytes = Vec::new();
        }
        for frame in frames(&bytes) {
            let head = head::request(&frame, frame.len()).expect("a head");
            if !is_ours(&frame) {
                self.arrived.extend_from_slice(&frame);
                self.inbox.push_back(frame);
                continue;
            }
            self.brokers.borrow_mut().note(self.number, head.api, &frame);
            if head.api == ApiKey::OFFSET_COMMIT {
                let mut body = Bytes::copy_from_slice(&frame);
                body.advance(head.body);
                let asked = OffsetCommitRequest::decode(&mut body, head.version).expect("a commit");
                let all = asked.topics.iter().flat_map(|t| &t.partitions);
                self.own_commits.extend(all.map(|p| (p.partition_index, p.committed_offset)));
            }
            self.inbox.push_back(frame);
        }
        let bytes = self.rig.at_client();
        self.got.extend_from_slice(&bytes);
        for frame in frames(&bytes) {
            let correlation = head::correlation(&frame).expect("a correlation id");
            let error = self.error(correlation, &frame);
            self.replies.insert(correlation, error);
        }
        assert!(self.rig.end.is_none(), "{:?}", self.rig.end);
    }

    fn error(&self, correlation: i32, frame: &[u8]) -> i16 {
        let (api, version) = *self.asked.get(&correlation).expect("an answer to what was asked");
        let start = head::response_body(frame, frame.len(), api, version).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(start);
        match api {
            ApiKey::HEARTBEAT => HeartbeatResponse::decode(&mut body, version).expect("its answer").error_code,
            ApiKey::JOIN_GROUP => JoinGroupResponse::decode(&mut body, version).expect("its answer").error_code,
            ApiKey::SYNC_GROUP => SyncGroupResponse::decode(&mut body, version).expect("its answer").error_code,
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                ConsumerGroupHeartbeatResponse::decode(&mut body, version).expect("its answer").error_code
            }
            ApiKey::OFFSET_COMMIT => {
                let got = OffsetCommitResponse::decode(&mut body, version).expect("its answer");
                got.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).find(|e| *e != 0).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// No byte of the client's own traffic has been changed, dropped or added, both ways.
    pub fn is_untouched(&self) -> bool {
        self.sent == self.arrived && self.answered == self.got
    }
}
