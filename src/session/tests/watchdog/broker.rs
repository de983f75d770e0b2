//! The brokers of one cluster: what logs and groups hold, and how requests are answered.

use std::collections::{BTreeMap, HashMap};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::offset_fetch_response::*;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

use super::says::*;
use crate::session::tests::kit::response;
use crate::wire::api::ApiKey;
use crate::wire::head;

/// How kmend's own requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Right,
    /// Every partition has this error.
    Error(i16),
    Garbage,
    Never,
}

/// A request of kmend's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAsked {
    pub api: ApiKey,
    pub line: u64,
    pub topic: String,
    pub partitions: Vec<i32>,
}

#[derive(Debug)]
pub struct Brokers {
    /// Topics with the leaders of their partitions.
    pub topics: BTreeMap<String, Vec<i32>>,
    /// Log ends; 0 where there is none.
    pub ends: HashMap<(String, i32), i64>,
    /// Group, topic, partition.
    pub committed: HashMap<(String, String, i32), i64>,
    /// The answers to Heartbeats, commits and fetched partitions.
    pub beat_error: i16,
    pub commit_error: i16,
    /// Of every commit this partition is refused, with this error.
    pub refused_partition: Option<(i32, i16)>,
    pub fetch_error: i16,
    pub own_ends: Own,
    pub own_offsets: Own,
    pub asked: Vec<OwnAsked>,
    /// Fetch sessions: what each has in it.
    sessions: Vec<Vec<(String, i32)>>,
    pub beats: usize,
    /// What the members have committed, in their order.
    pub commits: Vec<(String, i32, i64)>,
}

pub fn id_of(topic: &str) -> [u8; 16] {
    let mut id = [9; 16];
    id.iter_mut().zip(topic.bytes()).for_each(|(to, from)| *to = from);
    id
}

fn body<M: Decodable>(frame: &[u8]) -> (i16, M) {
    let head = head::request(frame, frame.len()).expect("a head");
    let mut bytes = Bytes::copy_from_slice(frame);
    bytes.advance(head.body);
    (head.version, M::decode(&mut bytes, head.version).expect("its message"))
}

impl Brokers {
    pub fn new() -> Brokers {
        Brokers {
            topics: BTreeMap::from([(TOPIC.to_owned(), vec![1; 8])]),
            ends: HashMap::new(),
            committed: HashMap::new(),
            beat_error: 0,
            commit_error: 0,
            refused_partition: None,
            fetch_error: 0,
            own_ends: Own::Right,
            own_offsets: Own::Right,
            asked: Vec::new(),
            sessions: Vec::new(),
            beats: 0,
            commits: Vec::new(),
        }
    }

    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        self.ends.get(&(topic.to_owned(), partition)).copied().unwrap_or(0)
    }

    /// The newest fetch session.
    pub fn opened(&self) -> i32 {
        self.sessions.len() as i32
    }

    fn offset(&self, group: &str, topic: &str, partition: i32) -> i64 {
        self.committed.get(&(group.to_owned(), topic.to_owned(), partition)).copied().unwrap_or(-1)
    }

    fn name(&self, id: Uuid, name: &TopicName) -> String {
        match self.topics.keys().find(|topic| Uuid::from_bytes(id_of(topic)) == id) {
            Some(topic) => topic.clone(),
            None => name.0.to_string(),
        }
    }

    /// `None`: not yet, or never.
    pub fn answer(&mut self, ours: bool, frame: &[u8]) -> Option<Vec<u8>> {
        let head = head::request(frame, frame.len()).expect("a head");
        let own = self.own(head.api, ours);
        let v = head.version;
        let mut answer = match head.api {
            ApiKey::API_VERSIONS => encoded(&versions(), v),
            ApiKey::METADATA => encoded(&self.metadata(v), v),
            ApiKey::LIST_OFFSETS => self.list(frame, ours),
            ApiKey::OFFSET_FETCH => self.offsets(frame, ours),
            ApiKey::OFFSET_COMMIT => self.commit(frame),
            ApiKey::FETCH => self.fetch(frame),
            ApiKey::HEARTBEAT => {
                self.beats += 1;
                encoded(&HeartbeatResponse::default().with_error_code(self.beat_error), v)
            }
            ApiKey::LEAVE_GROUP => encoded(&LeaveGroupResponse::default(), v),
            ApiKey::OFFSET_FOR_LEADER_EPOCH => encoded(&OffsetForLeaderEpochResponse::default(), v),
            other => panic!("{other:?} is answered by the test"),
        };
        match own {
            Own::Never => return None,
            Own::Garbage => answer = vec![0x7f; 9],
            _ => {}
        }
        Some(response(head.api, v, head.correlation, &answer))
    }

    /// A request of kmend's own has arrived.
    pub fn note(&mut self, line: u64, api: ApiKey, frame: &[u8]) {
        let topics: Vec<(String, Vec<i32>)> = match api {
            ApiKey::LIST_OFFSETS => {
                let (_, asked) = body::<ListOffsetsRequest>(frame);
                let topics = asked.topics.iter();
                topics.map(|t| (t.name.to_string(), t.partitions.iter().map(|p| p.partition_index).collect())).collect()
            }
            ApiKey::OFFSET_FETCH => {
                let (_, asked) = body::<OffsetFetchRequest>(frame);
                let topics = asked.groups.iter().flat_map(|g| g.topics.iter().flatten());
                topics.map(|t| (t.name.to_string(), t.partition_indexes.clone())).collect()
            }
            // commit_buffer's.
            _ => Vec::new(),
        };
        for (topic, mut partitions) in topics {
            partitions.sort_unstable();
            self.asked.push(OwnAsked { api, line, topic, partitions });
        }
    }

    fn metadata(&self, version: i16) -> MetadataResponse {
        let topics = self.topics.iter().map(|(name, leaders)| {
            let partitions = leaders.iter().enumerate().map(|(index, leader)| {
                MetadataResponsePartition::default()
                    .with_partition_index(index as i32)
                    .with_leader_id(BrokerId(*leader))
            });
            let entry = MetadataResponseTopic::default().with_name(Some(topic(name)));
            let entry = entry.with_partitions(partitions.collect());
            if version >= 10 { entry.with_topic_id(Uuid::from_bytes(id_of(name))) } else { entry }
        });
        MetadataResponse::default().with_cluster_id(Some(text("cluster-1"))).with_topics(topics.collect())
    }

    fn list(&self, frame: &[u8], ours: bool) -> Vec<u8> {
        let (version, asked) = body::<ListOffsetsRequest>(frame);
        let error = self.error(ApiKey::LIST_OFFSETS, ours);
        let topics = asked.topics.iter().map(|t| {
            let partitions = t.partitions.iter().map(|p| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(error)
                    .with_offset(if error == 0 { self.end(&t.name, p.partition_index) } else { -1 })
            });
            ListOffsetsTopicResponse::default().with_name(t.name.clone()).with_partitions(partitions.collect())
        });
        encoded(&ListOffsetsResponse::default().with_topics(topics.collect()), version)
    }

    fn own(&self, api: ApiKey, ours: bool) -> Own {
        match api {
            ApiKey::LIST_OFFSETS if ours => self.own_ends,
            ApiKey::OFFSET_FETCH if ours => self.own_offsets,
            _ => Own::Right,
        }
    }

    fn error(&self, api: ApiKey, ours: bool) -> i16 {
        match self.own(api, ours) {
            Own::Error(error) => error,
            _ => 0,
        }
    }

    fn offsets(&self, frame: &[u8], ours: bool) -> Vec<u8> {
        let (version, asked) = body::<OffsetFetchRequest>(frame);
        let error = self.error(ApiKey::OFFSET_FETCH, ours);
        if version >= 8 {
            let groups = asked.groups.iter().map(|g| {
                let topics = g.topics.iter().flatten().map(|t| {
                    let partitions = t.partition_indexes.iter().map(|p| {
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(*p)
                            .with_error_code(error)
                            .with_metadata(Some(text("")))
                            .with_committed_offset(self.offset(&g.group_id, &t.name, *p))
                    });
                    OffsetFetchResponseTopics::default().with_name(t.name.clone()).with_partitions(partitions.collect())
                });
                OffsetFetchResponseGroup::default().with_group_id(g.group_id.clone()).with_topics(topics.collect())
            });
            return encoded(&OffsetFetchResponse::default().with_groups(groups.collect()), version);
        }
        let topics = asked.topics.iter().flatten().map(|t| {
            let partitions = t.partition_indexes.iter().map(|p| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(*p)
                    .with_error_code(error)
                    .with_metadata(Some(text("")))
                    .with_committed_offset(self.offset(&asked.group_id, &t.name, *p))
            });
            OffsetFetchResponseTopic::default().with_name(t.name.clone()).with_partitions(partitions.collect())
        });
        encoded(&OffsetFetchResponse::default().with_topics(topics.collect()), version)
    }

    fn commit(&mut self, frame: &[u8]) -> Vec<u8> {
        let (version, asked) = body::<OffsetCommitRequest>(frame);
        let mut errors = Vec::new();
        let name = asked.topics.first().expect("a topic").name.to_string();
        for (t, p) in asked.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p))) {
            let refused = self.refused_partition.filter(|(of, _)| *of == p.partition_index);
            let error = refused.map_or(self.commit_error, |(_, error)| error);
            errors.push((p.partition_index, error));
            if error == 0 {
                let key = (asked.group_id.to_string(), t.name.to_string(), p.partition_index);
                self.committed.insert(key, p.committed_offset);
                self.commits.push((asked.member_id.to_string(), p.partition_index, p.committed_offset));
            }
        }
        encoded(&committed(&name, &errors), version)
    }

    fn fetch(&mut self, frame: &[u8]) -> Vec<u8> {
        let (version, asked) = body::<FetchRequest>(frame);
        let mut listed = Vec::new();
        for t in &asked.topics {
            let name = self.name(t.topic_id, &t.topic);
            listed.extend(t.partitions.iter().map(|p| (name.clone(), p.partition)));
        }
        let mut session = 0;
        if version >= 7 && asked.session_epoch >= 0 {
            if asked.session_epoch == 0 {
                self.sessions.push(Vec::new());
                session = self.sessions.len() as i32;
            } else {
                session = asked.session_id;
            }
            let mut gone = Vec::new();
            for t in &asked.forgotten_topics_data {
                let name = self.name(t.topic_id, &t.topic);
                gone.extend(t.partitions.iter().map(|p| (name.clone(), *p)));
            }
            let content = self.sessions.get_mut(session as usize - 1).expect("an open session");
            content.retain(|place| !gone.contains(place) && !listed.contains(place));
            content.extend(listed);
            listed = content.clone();
        }
        let mut topics: BTreeMap<String, Vec<PartitionData>> = BTreeMap::new();
        for (name, partition) in listed {
            let end = self.end(&name, partition);
            let data = PartitionData::default()
                .with_partition_index(partition)
                .with_error_code(self.fetch_error)
                .with_high_watermark(end)
                .with_last_stable_offset(end)
                .with_records(Some(Bytes::new()));
            topics.entry(name).or_default().push(data);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let entry = FetchableTopicResponse::default().with_partitions(partitions);
            match version {
                13.. => entry.with_topic_id(Uuid::from_bytes(id_of(&name))),
                _ => entry.with_topic(topic(&name)),
            }
        });
        let answer = FetchResponse::default().with_responses(topics.collect());
        encoded(&if version >= 7 { answer.with_session_id(session) } else { answer }, version)
    }
}

/// Answers a test gives by itself.
pub fn framed(frame: &[u8], message: &impl Encodable) -> Vec<u8> {
    let head = head::request(frame, frame.len()).expect("a head");
    response(head.api, head.version, head.correlation, &encoded(message, head.version))
}
