//! A broker that knows logs, fetch sessions (KIP-227) and committed offsets, and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::session::tests::kit::response;
use crate::wire::api::ApiKey;
use crate::wire::head;

pub const TOPIC_ID: [u8; 16] = [7; 16];
pub const RECORDS: &[u8] = b"some record batches";

/// Start and end of a log.
pub type Log = (i64, i64);

pub struct Broker {
    pub topic: String,
    pub logs: BTreeMap<i32, Log>,
    /// It follows: it serves fetches, and answers ListOffsets with NOT_LEADER_OR_FOLLOWER.
    pub follows: bool,
    /// These are taken and not answered.
    pub silent: HashSet<ApiKey>,
    /// Moves on the log start by one after each ListOffsets.
    pub runaway: bool,
    pub knows_ids: bool,
    sessions: HashMap<i32, BTreeMap<i32, i64>>,
    pub opened: i32,
    pub closed: Vec<i32>,
    /// What it was asked, in order: API and, for ListOffsets, the timestamp.
    pub asked: Vec<(ApiKey, i64)>,
    /// Offset and last fetched epoch as the newest request named them.
    pub wanted: BTreeMap<i32, (i64, i32)>,
}

impl Broker {
    pub fn new(logs: &[(i32, Log)]) -> Broker {
        Broker {
            topic: "orders".into(),
            logs: logs.iter().copied().collect(),
            follows: false,
            silent: HashSet::new(),
            runaway: false,
            knows_ids: true,
            sessions: HashMap::new(),
            opened: 0,
            closed: Vec::new(),
            asked: Vec::new(),
            wanted: BTreeMap::new(),
        }
    }

    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn times_asked(&self, api: ApiKey) -> usize {
        self.asked.iter().filter(|(a, _)| *a == api).count()
    }

    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let head = head::request(frame, frame.len()).expect("a head");
        let mut body = Bytes::copy_from_slice(frame);
        body.advance(head.body);
        let answer = match head.api {
            ApiKey::FETCH => self.fetch(head.version, body),
            ApiKey::LIST_OFFSETS => self.list_offsets(head.version, body),
            ApiKey::METADATA => self.metadata(head.version, body),
            api => {
                self.asked.push((api, 0));
                return None;
            }
        };
        (!self.silent.contains(&head.api)).then(|| response(head.api, head.version, head.correlation, &answer))
    }

    fn fetch(&mut self, version: i16, mut body: Bytes) -> Vec<u8> {
        self.asked.push((ApiKey::FETCH, 0));
        let request = FetchRequest::decode(&mut body, version).expect("a Fetch");
        let (id, epoch) = (request.session_id, request.session_epoch);
        let mut answer = FetchResponse::default();
        if epoch == -1 && id != 0 {
            self.closed.push(id);
            self.sessions.remove(&id);
        }
        if epoch > 0 && !self.sessions.contains_key(&id) {
            return encode(&answer.with_error_code(70), version);
        }
        let mut wants = match epoch {
            1.. => self.sessions[&id].clone(),
            _ => BTreeMap::new(),
        };
        for partition in request.topics.iter().flat_map(|t| &t.partitions) {
            wants.insert(partition.partition, partition.fetch_offset);
            self.wanted.insert(partition.partition, (partition.fetch_offset, partition.last_fetched_epoch));
        }
        for gone in request.forgotten_topics_data.iter().flat_map(|t| &t.partitions) {
            wants.remove(gone);
        }
        if version >= 7 && epoch != -1 {
            let session = if epoch > 0 {
                id
            } else {
                self.opened += 1;
                self.opened
            };
            self.sessions.insert(session, wants.clone());
            answer = answer.with_session_id(session);
        }
        let partitions = wants
            .iter()
            .map(|(p, at)| self.partition(version, *p, *at))
            .filter(|p| epoch <= 0 || p.error_code != 0 || p.records.is_some());
        let partitions: Vec<_> = partitions.collect();
        if !partitions.is_empty() {
            let mut topic = FetchableTopicResponse::default().with_partitions(partitions);
            topic = if version >= 13 {
                topic.with_topic_id(uuid::Uuid::from_bytes(TOPIC_ID))
            } else {
                topic.with_topic(self.name())
            };
            answer = answer.with_responses(vec![topic]);
        }
        encode(&answer, version)
    }

    fn name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.clone()))
    }

    fn partition(&self, version: i16, partition: i32, at: i64) -> PartitionData {
        let entry = PartitionData::default().with_partition_index(partition);
        let Some((start, end)) = self.logs.get(&partition).copied() else {
            return entry.with_error_code(3).with_high_watermark(-1);
        };
        if at < start || at > end {
            // No offsets and a null record set: as brokers do it.
            return entry.with_error_code(1).with_high_watermark(-1).with_last_stable_offset(-1).with_records(None);
        }
        let entry = entry
            .with_high_watermark(end)
            .with_last_stable_offset(end)
            .with_records((at < end).then(|| Bytes::from_static(RECORDS)));
        if version >= 5 { entry.with_log_start_offset(start) } else { entry }
    }

    fn list_offsets(&mut self, version: i16, mut body: Bytes) -> Vec<u8> {
        let request = ListOffsetsRequest::decode(&mut body, version).expect("a ListOffsets");
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                self.asked.push((ApiKey::LIST_OFFSETS, p.timestamp));
                let log = self.logs.get(&p.partition_index).copied();
                let answer =
                    ListOffsetsPartitionResponse::default().with_partition_index(p.partition_index).with_timestamp(-1);
                match log.filter(|_| !self.follows && topic.name.0 == *self.topic) {
                    None => answer.with_error_code(6).with_offset(-1),
                    Some((start, end)) => answer.with_offset(if p.timestamp == -2 { start } else { end }),
                }
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        let answer = ListOffsetsResponse::default().with_topics(topics.collect());
        if self.runaway {
            self.logs.values_mut().for_each(|log| log.0 += 1);
        }
        encode(&answer, version)
    }

    fn metadata(&mut self, version: i16, mut body: Bytes) -> Vec<u8> {
        self.asked.push((ApiKey::METADATA, 0));
        let request = MetadataRequest::decode(&mut body, version).expect("a Metadata");
        assert!(!request.allow_auto_topic_creation, "nothing is created");
        let topics = request.topics.unwrap_or_default().into_iter().map(|t| {
            assert_eq!(t.topic_id.into_bytes(), TOPIC_ID);
            let topic = MetadataResponseTopic::default().with_topic_id(t.topic_id);
            if self.knows_ids { topic.with_name(Some(self.name())) } else { topic.with_error_code(100).with_name(None) }
        });
        let answer = MetadataResponse::default().with_topics(topics.collect());
        encode(&answer, version)
    }
}

fn encode(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("encodes");
    out.to_vec()
}
