//! A client with fetch sessions, kmend with offset_reset, and the scripted broker.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use prometheus::Registry;

use super::broker::{Broker, TOPIC_ID};
use crate::config::Config;
use crate::config::model::Mode;
use crate::menders;
use crate::session::tests::kit::{Cuts, Rig, World, frames, proven, request, response};
use crate::store::checkpoints::Checkpoints;
use crate::wire::api::ApiKey;
use crate::wire::head;

pub fn world(set: impl FnOnce(&mut crate::config::model::OffsetReset)) -> World {
    let mut config = Config::default();
    set(&mut config.menders.offset_reset);
    config.menders.partition_discovery.mode = Mode::Off;
    config.menders.commit_buffer.mode = Mode::Off;
    config.menders.assignment_watchdog.mode = Mode::Off;
    let (registry, shared) = (Registry::new(), std::sync::Arc::default());
    let menders = menders::all(
        &config,
        &registry,
        &menders::repairs(&registry),
        &shared,
        Checkpoints::none(),
        menders::commit_buffer::Kept::default(),
        std::time::Instant::now(),
    );
    World::sharing(menders, registry, shared)
}

/// A partition as the client sees it in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub error: i16,
    /// `None`: null.
    pub records: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Answer {
    pub error: i16,
    pub session: i32,
    pub partitions: Vec<Seen>,
}

impl Answer {
    pub fn of(&self, partition: i32) -> Option<(i16, Option<usize>)> {
        self.partitions.iter().find(|p| p.partition == partition).map(|p| (p.error, p.records))
    }
}

pub struct Link {
    pub rig: Rig,
    pub broker: Broker,
    pub version: i16,
    correlation: i32,
    /// Requests of the client as it sent them, and what came out for the broker.
    pub sent: Vec<u8>,
    pub forwarded: Vec<u8>,
}

impl Link {
    pub fn new(world: &World, cuts: Cuts, version: i16, broker: Broker) -> Link {
        Link::number(world, cuts, version, broker, 1)
    }

    pub fn number(world: &World, cuts: Cuts, version: i16, broker: Broker, number: u64) -> Link {
        let mut rig = world.connect_to(cuts, number, Some(1));
        proven(&mut rig);
        Link { rig, broker, version, correlation: 0, sent: Vec::new(), forwarded: Vec::new() }
    }

    /// The client sends a Fetch with these positions; nothing is answered yet.
    pub fn send(&mut self, session: i32, epoch: i32, positions: &[(i32, i64)]) -> i32 {
        self.correlation += 1;
        let frame = fetch(self.version, self.correlation, session, epoch, &self.broker.topic, positions);
        self.sent.extend_from_slice(&frame);
        self.rig.client(&frame);
        self.correlation
    }

    /// The broker answers what it has got; again, until nothing new comes.
    pub fn serve(&mut self) {
        loop {
            let got = self.rig.at_broker();
            if got.is_empty() {
                break;
            }
            self.forwarded.extend_from_slice(&got);
            for frame in frames(&got) {
                if let Some(answer) = self.broker.answer(&frame) {
                    self.rig.broker(&answer);
                }
            }
        }
        assert!(self.rig.end.is_none(), "{:?}", self.rig.end);
    }

    /// Takes the answers that the client has got: correlation id and what stands in it.
    pub fn answers(&mut self) -> Vec<(i32, Answer)> {
        let version = self.version;
        frames(&self.rig.at_client()).iter().map(|f| read(version, f)).collect()
    }

    /// One Fetch, and its answer.
    pub fn fetch(&mut self, session: i32, epoch: i32, positions: &[(i32, i64)]) -> Answer {
        let sent = self.send(session, epoch, positions);
        self.serve();
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{:?}", self.rig.waits);
        let (correlation, answer) = answers.remove(0);
        assert_eq!(correlation, sent);
        answer
    }

    /// Fetches without a session until there are records or an error; how many rounds it took.
    pub fn fetch_until_news(&mut self, partition: i32, offset: i64) -> (usize, i16, Option<usize>) {
        for round in 1..20 {
            let epoch = if self.version >= 7 { -1 } else { 0 };
            let answer = self.fetch(0, epoch, &[(partition, offset)]);
            let (error, records) = answer.of(partition).expect("the partition");
            assert!(records.is_some() || error != 0, "an emptied set is not null");
            if error != 0 || records != Some(0) {
                return (round, error, records);
            }
            self.rig.later(Duration::from_millis(500));
        }
        panic!("neither records nor an error");
    }
}

fn fetch(version: i16, correlation: i32, session: i32, epoch: i32, topic: &str, positions: &[(i32, i64)]) -> Vec<u8> {
    let partitions = positions.iter().map(|(p, at)| {
        let entry =
            FetchPartition::default().with_partition(*p).with_fetch_offset(*at).with_partition_max_bytes(1 << 20);
        let entry = if version >= 9 { entry.with_current_leader_epoch(3) } else { entry };
        if version >= 12 { entry.with_last_fetched_epoch(2) } else { entry }
    });
    let mut entry = FetchTopic::default().with_partitions(partitions.collect());
    entry = if version >= 13 {
        entry.with_topic_id(uuid::Uuid::from_bytes(TOPIC_ID))
    } else {
        entry.with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
    };
    let mut message =
        FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(500).with_max_bytes(50 << 20);
    if !positions.is_empty() {
        message = message.with_topics(vec![entry]);
    }
    if version >= 7 {
        message = message.with_session_id(session).with_session_epoch(epoch);
    }
    let mut body = BytesMut::new();
    message.encode(&mut body, version).expect("encodes");
    request(ApiKey::FETCH, version, correlation, &body)
}

fn read(version: i16, frame: &[u8]) -> (i32, Answer) {
    let start = head::response_body(frame, frame.len(), ApiKey::FETCH, version).expect("a head");
    let mut body = Bytes::copy_from_slice(frame);
    body.advance(start);
    let answer = FetchResponse::decode(&mut body, version).expect("a Fetch response");
    assert!(body.is_empty());
    let partitions = answer.responses.iter().flat_map(|t| &t.partitions);
    let seen = Answer {
        error: answer.error_code,
        session: answer.session_id,
        partitions: partitions
            .map(|p| Seen {
                partition: p.partition_index,
                error: p.error_code,
                records: p.records.as_ref().map(Bytes::len),
            })
            .collect(),
    };
    (head::correlation(frame).expect("a correlation id"), seen)
}

/// The client says which versions its broker speaks; without it kmend asks in the oldest ones.
pub fn told_versions(rig: &mut Rig) {
    rig.client(&request(ApiKey::API_VERSIONS, 0, 800, &[]));
    let mut body = vec![0, 0];
    body.extend_from_slice(&2i32.to_be_bytes());
    for (api, min, max) in [(ApiKey::LIST_OFFSETS, 1i16, 10i16), (ApiKey::METADATA, 0, 13)] {
        for value in [api.0, min, max] {
            body.extend_from_slice(&value.to_be_bytes());
        }
    }
    rig.broker(&response(ApiKey::API_VERSIONS, 0, 800, &body));
    rig.at_broker();
    rig.at_client();
}
