//! A cluster with one topic that grows; what it was asked is kept.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, HeartbeatResponse, JoinGroupResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use crate::session::tests::kit::response;
use crate::wire::api::ApiKey;
use crate::wire::head;

pub const TOPIC: &str = "orders";
pub const ID: [u8; 16] = [7; 16];

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn encode(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("encodes");
    out.to_vec()
}

/// A Metadata request of kmend's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    pub connection: u64,
    pub version: i16,
    pub topics: Vec<String>,
}

/// Session, epoch and partitions of a Fetch.
pub type Fetched = (i32, i32, Vec<i32>);

pub struct Cluster {
    pub id: [u8; 16],
    pub leaders: Vec<i32>,
    /// The client's own Metadata shows so many partitions at most.
    pub old: Option<usize>,
    /// Of the topic, in Metadata.
    pub error: i16,
    pub beat_error: i16,
    /// This client's member leads its group.
    pub leads: bool,
    pub polls: Vec<Poll>,
    /// Base sequences, as they came.
    pub produced: Vec<i32>,
    pub fetched: Vec<Fetched>,
    pub closed: Vec<i32>,
    pub sessions: i32,
    pub beats: usize,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            id: ID,
            leaders: vec![1],
            old: None,
            error: 0,
            beat_error: 0,
            leads: true,
            polls: Vec::new(),
            produced: Vec::new(),
            fetched: Vec::new(),
            closed: Vec::new(),
            sessions: 0,
            beats: 0,
        }
    }
}

/// It was made by kmend: clients count upwards from 0.
pub fn is_ours(frame: &[u8]) -> bool {
    head::request(frame, frame.len()).expect("a head").correlation < -1
}

impl Cluster {
    /// A request has arrived.
    pub fn arrive(&mut self, connection: u64, frame: &[u8]) {
        let head = head::request(frame, frame.len()).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(head.body);
        match head.api {
            ApiKey::METADATA if is_ours(frame) => {
                let request = MetadataRequest::decode(&mut body, head.version).expect("a Metadata");
                assert!(!request.allow_auto_topic_creation, "nothing is created");
                let named = request.topics.expect("never all").into_iter();
                let topics = named.map(|t| t.name.expect("a name").0.to_string()).collect();
                self.polls.push(Poll { connection, version: head.version, topics });
            }
            ApiKey::PRODUCE => {
                let request = ProduceRequest::decode(&mut body, head.version).expect("a Produce");
                for partition in request.topic_data.iter().flat_map(|t| &t.partition_data) {
                    let records = partition.records.as_ref().expect("records");
                    self.produced.push(i32::from_be_bytes(records[53..57].try_into().expect("4 bytes")));
                }
            }
            ApiKey::FETCH => {
                let request = FetchRequest::decode(&mut body, head.version).expect("a Fetch");
                if is_ours(frame) {
                    assert!(request.session_epoch == -1 && request.topics.is_empty());
                    return self.closed.push(request.session_id);
                }
                let partitions = request.topics.iter().flat_map(|t| &t.partitions).map(|p| p.partition);
                self.fetched.push((request.session_id, request.session_epoch, partitions.collect()));
            }
            _ => {}
        }
    }

    pub fn answer(&mut self, frame: &[u8]) -> Vec<u8> {
        let head = head::request(frame, frame.len()).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(head.body);
        let version = head.version;
        let answer = match head.api {
            ApiKey::API_VERSIONS => versions(version),
            ApiKey::METADATA => self.metadata(version, if is_ours(frame) { None } else { self.old }),
            ApiKey::PRODUCE => produced(version, &ProduceRequest::decode(&mut body, version).expect("a Produce")),
            ApiKey::FETCH => self.fetch(version, &FetchRequest::decode(&mut body, version).expect("a Fetch")),
            ApiKey::HEARTBEAT => {
                self.beats += 1;
                encode(&HeartbeatResponse::default().with_error_code(self.beat_error), version)
            }
            ApiKey::JOIN_GROUP => {
                let leader = if self.leads { "me" } else { "them" };
                let message = JoinGroupResponse::default()
                    .with_generation_id(5)
                    .with_protocol_type(Some(text("consumer")).filter(|_| version >= 7))
                    .with_protocol_name(Some(text("range")))
                    .with_leader(text(leader))
                    .with_member_id(text("me"));
                encode(&message, version)
            }
            // Nobody reads it.
            _ => vec![0; 12],
        };
        response(head.api, version, head.correlation, &answer)
    }

    fn metadata(&self, version: i16, most: Option<usize>) -> Vec<u8> {
        let partitions = self.leaders.iter().take(most.unwrap_or(usize::MAX)).enumerate().map(|(index, leader)| {
            MetadataResponsePartition::default().with_partition_index(index as i32).with_leader_id(BrokerId(*leader))
        });
        let mut topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(TOPIC))))
            .with_error_code(self.error)
            .with_partitions(if self.error == 0 { partitions.collect() } else { Vec::new() });
        if version >= 10 && self.error == 0 {
            topic = topic.with_topic_id(Uuid::from_bytes(self.id));
        }
        encode(&MetadataResponse::default().with_topics(vec![topic]), version)
    }

    fn fetch(&mut self, version: i16, request: &FetchRequest) -> Vec<u8> {
        let mut answer = FetchResponse::default();
        if request.session_epoch == 0 {
            self.sessions += 1;
            answer = answer.with_session_id(self.sessions);
        } else if request.session_epoch > 0 {
            assert_eq!(request.session_id, self.sessions, "a session that the broker has opened");
            answer = answer.with_session_id(request.session_id);
        }
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                PartitionData::default()
                    .with_partition_index(p.partition)
                    .with_high_watermark(p.fetch_offset)
                    .with_last_stable_offset(p.fetch_offset)
                    .with_records(Some(Bytes::new()))
            });
            let entry = FetchableTopicResponse::default().with_partitions(partitions.collect());
            if version >= 13 { entry.with_topic_id(topic.topic_id) } else { entry.with_topic(topic.topic.clone()) }
        });
        encode(&answer.with_responses(topics.collect()), version)
    }
}

fn versions(version: i16) -> Vec<u8> {
    let keys = [(ApiKey::PRODUCE, 0, 13), (ApiKey::FETCH, 0, 17), (ApiKey::METADATA, 0, 13)];
    let keys = keys
        .map(|(api, min, max)| ApiVersion::default().with_api_key(api.0).with_min_version(min).with_max_version(max));
    encode(&ApiVersionsResponse::default().with_api_keys(keys.to_vec()), version)
}

fn produced(version: i16, request: &ProduceRequest) -> Vec<u8> {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic
            .partition_data
            .iter()
            .map(|p| PartitionProduceResponse::default().with_index(p.index).with_base_offset(4));
        let entry = TopicProduceResponse::default().with_partition_responses(partitions.collect());
        if version >= 13 { entry.with_topic_id(topic.topic_id) } else { entry.with_name(topic.name.clone()) }
    });
    encode(&ProduceResponse::default().with_responses(topics.collect()), version)
}
