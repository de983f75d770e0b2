//! A client's connection, kmend with partition_discovery, and the scripted cluster.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, ConsumerProtocolSubscription, FetchRequest, FetchResponse, GroupId, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, MetadataRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::Decodable;
use prometheus::Registry;
use uuid::Uuid;

use super::cluster::{Cluster, TOPIC, encode, is_ours, text};
use crate::config::Config;
use crate::config::model::{Mode, PartitionDiscovery};
use crate::menders;
use crate::session::tests::kit::{Cuts, Rig, World, frames, request};
use crate::session::tests::produce::{batch, produce};
use crate::store::checkpoints::Checkpoints;
use crate::wire::api::ApiKey;
use crate::wire::head;

pub const JAVA: &str = "apache-kafka-java";
pub const KGO: &str = "kgo";
pub const LIBRDKAFKA: &str = "librdkafka";
pub const MS: Duration = Duration::from_millis(1);

pub fn world_with(set: impl FnOnce(&mut PartitionDiscovery)) -> World {
    let mut config = Config::default();
    config.menders.offset_reset.mode = Mode::Off;
    config.menders.commit_buffer.mode = Mode::Off;
    config.menders.partition_discovery.mode = Mode::Repair;
    config.menders.partition_discovery.interval = "1s".parse().expect("a duration");
    set(&mut config.menders.partition_discovery);
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

pub fn world() -> World {
    world_with(|_| {})
}

pub fn nudges(world: &World, how: &str, outcome: &str) -> f64 {
    world.metric("kmend_metadata_nudges_total", &[("how", how), ("outcome", outcome)])
}

/// All that were made, whatever came of them.
pub fn made(world: &World) -> f64 {
    ["close", "reject", "fetch", "heartbeat"]
        .map(|how| world.metric("kmend_metadata_nudges_total", &[("how", how)]))
        .iter()
        .sum()
}

/// An answer as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub correlation: i32,
    pub api: ApiKey,
    /// Of the whole.
    pub error: i16,
    pub session: i32,
    /// Partition and error.
    pub partitions: Vec<(i32, i16)>,
}

pub struct Line {
    pub rig: Rig,
    pub cluster: Rc<RefCell<Cluster>>,
    number: u64,
    inbox: VecDeque<Vec<u8>>,
    correlation: i32,
    asked: HashMap<i32, (ApiKey, i16)>,
    /// All that the client sent, and all that arrived.
    pub sent: Vec<u8>,
    pub forwarded: Vec<u8>,
    /// What the broker answered to the client's requests, and what the client got.
    pub answered: Vec<u8>,
    pub got: Vec<u8>,
    pub closed: bool,
}

impl Line {
    pub fn bare(world: &World, cuts: Cuts, number: u64, cluster: Rc<RefCell<Cluster>>) -> Line {
        Line {
            rig: world.connect_to(cuts, number, Some(1)),
            cluster,
            number,
            inbox: VecDeque::new(),
            correlation: 0,
            asked: HashMap::new(),
            sent: Vec::new(),
            forwarded: Vec::new(),
            answered: Vec::new(),
            got: Vec::new(),
            closed: false,
        }
    }

    /// A client that has said who it is and knows of the topic.
    pub fn new(world: &World, cuts: Cuts, software: &str) -> Line {
        let mut line = Line::bare(world, cuts, 1, Rc::default());
        line.greet(software);
        line.metadata();
        line
    }

    /// Another connection of the same client.
    pub fn another(&self, world: &World, number: u64, software: &str) -> Line {
        let mut line = Line::bare(world, Cuts::Whole, number, self.cluster.clone());
        line.rig.now = self.rig.now;
        line.greet(software);
        line.metadata();
        line
    }

    pub fn greet(&mut self, software: &str) {
        let message = ApiVersionsRequest::default()
            .with_client_software_name(text(software))
            .with_client_software_version(text("3.9"));
        self.ask(ApiKey::API_VERSIONS, 3, &encode(&message, 3));
        self.serve();
        self.take();
    }

    /// The client sends; what comes of it for the broker waits there.
    pub fn send(&mut self, frame: &[u8]) -> i32 {
        let head = head::request(frame, frame.len()).expect("a head");
        self.asked.insert(head.correlation, (head.api, head.version));
        self.sent.extend_from_slice(frame);
        self.rig.client(frame);
        self.collect();
        head.correlation
    }

    pub fn next(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation
    }

    pub fn ask(&mut self, api: ApiKey, version: i16, body: &[u8]) -> i32 {
        let correlation = self.next();
        self.send(&request(api, version, correlation, body))
    }

    fn collect(&mut self) {
        let bytes = self.rig.at_broker();
        self.forwarded.extend_from_slice(&bytes);
        for frame in frames(&bytes) {
            self.cluster.borrow_mut().arrive(self.number, &frame);
            self.inbox.push_back(frame);
        }
        self.closed |= self.rig.core.take_close();
        assert!(self.rig.end.is_none(), "{:?}", self.rig.end);
    }

    /// The broker answers, as long as more than this many requests of the client's wait.
    pub fn serve_but(&mut self, keep: usize) {
        while self.inbox.iter().filter(|f| !is_ours(f)).count() > keep || self.inbox.front().is_some_and(|f| is_ours(f))
        {
            let frame = self.inbox.pop_front().expect("a request");
            let answer = self.cluster.borrow_mut().answer(&frame);
            if !is_ours(&frame) {
                self.answered.extend_from_slice(&answer);
            }
            self.rig.broker(&answer);
            self.collect();
        }
    }

    pub fn serve(&mut self) {
        self.serve_but(0);
    }

    /// Time passes; kmend is woken whenever it wants to be.
    pub fn pass(&mut self, by: Duration) {
        let end = self.rig.now + by;
        while self.rig.now < end {
            let next =
                self.rig.core.deadline().map_or(end, |at| at.clamp(self.rig.now + MS, end.max(self.rig.now + MS)));
            self.rig.later(next.min(end) - self.rig.now);
            self.collect();
        }
    }

    /// As [`pass`](Self::pass), with a broker that answers at once.
    pub fn pass_served(&mut self, by: Duration) {
        for _ in 0..by.as_millis() / 20 {
            self.pass(MS * 20);
            self.serve();
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let bytes = self.rig.at_client();
        self.got.extend_from_slice(&bytes);
        bytes
    }

    pub fn answers(&mut self) -> Vec<Answer> {
        let bytes = self.take();
        frames(&bytes).iter().map(|frame| self.read(frame)).collect()
    }

    /// The answer to what was asked last.
    pub fn answer(&mut self) -> Answer {
        self.serve();
        self.answers().pop().expect("an answer")
    }

    fn read(&self, frame: &[u8]) -> Answer {
        let correlation = head::correlation(frame).expect("a correlation id");
        let (api, version) = *self.asked.get(&correlation).expect("an answer to what was asked");
        let start = head::response_body(frame, frame.len(), api, version).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(start);
        let mut answer = Answer { correlation, api, error: 0, session: 0, partitions: Vec::new() };
        match api {
            ApiKey::PRODUCE => {
                let got = ProduceResponse::decode(&mut body, version).expect("a Produce response");
                let partitions = got.responses.iter().flat_map(|t| &t.partition_responses);
                answer.partitions = partitions.map(|p| (p.index, p.error_code)).collect();
                assert!(body.is_empty());
            }
            ApiKey::FETCH => {
                let got = FetchResponse::decode(&mut body, version).expect("a Fetch response");
                (answer.error, answer.session) = (got.error_code, got.session_id);
                let partitions = got.responses.iter().flat_map(|t| &t.partitions);
                answer.partitions = partitions.map(|p| (p.partition_index, p.error_code)).collect();
                assert!(body.is_empty());
            }
            ApiKey::HEARTBEAT => {
                answer.error = HeartbeatResponse::decode(&mut body, version).expect("a Heartbeat response").error_code;
            }
            _ => {}
        }
        answer
    }

    /// The client looks at its metadata.
    pub fn metadata(&mut self) {
        let topic = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
            .with_name(Some(TopicName(text(TOPIC))));
        self.ask(ApiKey::METADATA, 12, &encode(&MetadataRequest::default().with_topics(Some(vec![topic])), 12));
        self.serve();
        self.take();
    }

    /// A batch of producer 77, epoch and sequence for each partition.
    pub fn produce(&mut self, version: i16, partitions: &[(i32, i16, i32)]) -> i32 {
        let partitions: Vec<_> = partitions.iter().map(|(p, e, s)| (*p, Some(batch(77, *e, *s, 90)))).collect();
        let correlation = self.next();
        self.send(&produce(version, correlation, -1, &partitions))
    }

    pub fn fetch(&mut self, version: i16, session: i32, epoch: i32, partitions: &[i32]) -> i32 {
        let entries = partitions.iter().map(|p| {
            FetchPartition::default().with_partition(*p).with_fetch_offset(40).with_partition_max_bytes(1 << 20)
        });
        let mut topic = FetchTopic::default().with_partitions(entries.collect());
        topic = if version >= 13 {
            topic.with_topic_id(Uuid::from_bytes(super::cluster::ID))
        } else {
            topic.with_topic(TopicName(text(TOPIC)))
        };
        let mut message =
            FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(500).with_max_bytes(50 << 20);
        if !partitions.is_empty() {
            message = message.with_topics(vec![topic]);
        }
        let message = message.with_session_id(session).with_session_epoch(epoch);
        self.ask(ApiKey::FETCH, version, &encode(&message, version))
    }

    pub fn join(&mut self) {
        self.join_group("g");
    }

    pub fn join_group(&mut self, group: &str) {
        let subscription = ConsumerProtocolSubscription::default().with_topics(vec![text(TOPIC)]);
        let metadata = [&[0, 0][..], &encode(&subscription, 0)].concat();
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata.into());
        let message = JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.ask(ApiKey::JOIN_GROUP, 5, &encode(&message, 5));
    }

    pub fn beat(&mut self) -> i16 {
        self.beat_in("g")
    }

    pub fn beat_in(&mut self, group: &str) -> i16 {
        let message = HeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id(5)
            .with_member_id(text("me"));
        self.ask(ApiKey::HEARTBEAT, 3, &encode(&message, 3));
        self.answer().error
    }

    /// The newest request has no answer.
    pub fn forget_newest(&mut self) {
        self.inbox.pop_back();
    }

    pub fn polls(&self) -> usize {
        self.cluster.borrow().polls.len()
    }

    pub fn grow(&self, partitions: usize) {
        self.cluster.borrow_mut().leaders.resize(partitions, 1);
    }
}
