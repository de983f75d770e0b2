//! The messages of a group's members, and of the broker to them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::consumer_group_heartbeat_response::{self as beat, TopicPartitions};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

use super::bench::{GROUP, TOPIC, TOPIC_ID};
use crate::wire::api::ApiKey;

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("encodes");
    out.to_vec()
}

pub fn group() -> GroupId {
    GroupId(text(GROUP))
}

pub fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn versions_request(software: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default().with_client_software_name(text(software)).with_client_software_version(text("1"))
}

pub fn versions() -> ApiVersionsResponse {
    let known = [
        (ApiKey::OFFSET_COMMIT, 2, 9),
        (ApiKey::OFFSET_FETCH, 1, 9),
        (ApiKey::API_VERSIONS, 0, 4),
        (ApiKey::METADATA, 0, 12),
    ];
    let keys = known
        .map(|(api, min, max)| ApiVersion::default().with_api_key(api.0).with_min_version(min).with_max_version(max));
    ApiVersionsResponse::default().with_api_keys(keys.to_vec())
}

#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    pub group: &'a str,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    pub kind: &'a str,
    pub protocol: &'a str,
}

impl Default for Join<'_> {
    fn default() -> Self {
        Join { group: GROUP, member: "", instance: None, kind: "consumer", protocol: "range" }
    }
}

impl Join<'_> {
    pub fn request(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default().with_name(text(self.protocol));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(self.group)))
            .with_member_id(text(self.member))
            .with_group_instance_id(self.instance.map(text))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(60_000)
            .with_protocol_type(text(self.kind))
            .with_protocols(vec![protocol])
    }

    pub fn response(&self, error: i16, generation: i32, member: &str) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_error_code(error)
            .with_generation_id(generation)
            .with_protocol_name(Some(text(self.protocol)))
            .with_member_id(text(member))
    }
}

pub fn sync(group: &str, generation: i32, member: &str) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

pub fn synced(error: i16, name: &str, partitions: &[i32]) -> SyncGroupResponse {
    let assigned = TopicPartition::default().with_topic(topic(name)).with_partitions(partitions.to_vec());
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![assigned]);
    let bytes = [&[0, 1][..], &encoded(&assignment, 1)].concat();
    let message = SyncGroupResponse::default().with_error_code(error);
    if error == 0 { message.with_assignment(bytes.into()) } else { message.with_assignment(Bytes::new()) }
}

pub fn heartbeat(generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group()).with_generation_id(generation).with_member_id(text(member))
}

/// A commit of some partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub group: String,
    pub topic: String,
    pub generation: i32,
    pub member: String,
    pub epoch: i32,
    pub text: Option<String>,
    pub at: Vec<(i32, i64)>,
}

pub fn said(generation: i32, member: &str, at: &[(i32, i64)]) -> Said {
    Said {
        group: GROUP.into(),
        topic: TOPIC.into(),
        generation,
        member: member.into(),
        epoch: 3,
        text: Some("note".into()),
        at: at.to_vec(),
    }
}

impl Said {
    pub fn request(&self) -> OffsetCommitRequest {
        let partitions = self.at.iter().map(|(p, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*p)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(self.epoch)
                .with_committed_metadata(self.text.as_deref().map(text))
        });
        let topics = OffsetCommitRequestTopic::default().with_name(topic(&self.topic));
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(&self.member))
            .with_topics(vec![topics.with_partitions(partitions.collect())])
    }

    /// As the broker reads it.
    pub fn of(request: &OffsetCommitRequest) -> Said {
        let [topic] = &request.topics[..] else { panic!("one topic: {request:?}") };
        let first = topic.partitions.first().expect("a partition");
        Said {
            group: request.group_id.to_string(),
            topic: topic.name.to_string(),
            generation: request.generation_id_or_member_epoch,
            member: request.member_id.to_string(),
            epoch: first.committed_leader_epoch,
            text: first.committed_metadata.as_ref().map(ToString::to_string),
            at: topic.partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect(),
        }
    }
}

/// The broker's word on each partition.
pub fn committed(name: &str, errors: &[(i32, i16)]) -> OffsetCommitResponse {
    let partitions = errors
        .iter()
        .map(|(p, e)| OffsetCommitResponsePartition::default().with_partition_index(*p).with_error_code(*e));
    let topics = OffsetCommitResponseTopic::default().with_name(topic(name)).with_partitions(partitions.collect());
    OffsetCommitResponse::default().with_topics(vec![topics])
}

pub fn fetch_offsets(partitions: &[i32]) -> OffsetFetchRequest {
    let topics = OffsetFetchRequestTopic::default().with_name(topic(TOPIC)).with_partition_indexes(partitions.to_vec());
    OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topics])).with_require_stable(true)
}

/// For a client, version 7: partition, offset, error.
pub fn offsets(at: &[(i32, i64, i16)]) -> OffsetFetchResponse {
    let partitions = at.iter().map(|(p, offset, error)| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*p)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(3)
            .with_metadata(Some(text("note")))
            .with_error_code(*error)
    });
    let topics = OffsetFetchResponseTopic::default().with_name(topic(TOPIC)).with_partitions(partitions.collect());
    OffsetFetchResponse::default().with_topics(vec![topics])
}

/// For kmend, version 9: partition, offset, error.
pub fn raw_offsets(at: &[(i32, i64, i16)]) -> OffsetFetchResponse {
    let partitions = at.iter().map(|(p, offset, error)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*p)
            .with_committed_offset(*offset)
            .with_metadata(Some(text("note")))
            .with_error_code(*error)
    });
    let topics = OffsetFetchResponseTopics::default().with_name(topic(TOPIC)).with_partitions(partitions.collect());
    let group = OffsetFetchResponseGroup::default().with_group_id(group()).with_topics(vec![topics]);
    OffsetFetchResponse::default().with_groups(vec![group])
}

pub fn consumer(epoch: i32, member: &str, owned: Option<&[i32]>) -> ConsumerGroupHeartbeatRequest {
    let owned =
        owned.map(|p| vec![Owned::default().with_topic_id(Uuid::from_bytes(TOPIC_ID)).with_partitions(p.to_vec())]);
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_epoch(epoch)
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(if epoch == 0 { 60_000 } else { -1 })
        .with_subscribed_topic_names((epoch == 0).then(|| vec![topic(TOPIC)]))
        .with_topic_partitions(owned)
}

pub fn accepted(epoch: i32, member: &str, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    let topics =
        |p: &[i32]| TopicPartitions::default().with_topic_id(Uuid::from_bytes(TOPIC_ID)).with_partitions(p.to_vec());
    let assignment = assigned.map(|p| beat::Assignment::default().with_topic_partitions(vec![topics(p)]));
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(member)))
        .with_member_epoch(epoch)
        .with_assignment(assignment)
}
