//! Answers as bytes.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, MetadataResponse,
    OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};
use uuid::Uuid;

use super::{NODES, Reply, ReplyTo, Seen, UNKNOWN_TOPIC_OR_PARTITION};
use crate::session::tests::kit::{HOST, PORT, response};
use crate::simulation::reads;
use crate::simulation::wire::{self, encode, text};
use crate::simulation::writes;
use crate::wire::api::ApiKey;

const LEADER_NOT_AVAILABLE: i16 = 5;

/// A complete frame.
pub fn encode_body(to: ReplyTo, body: &[u8]) -> Vec<u8> {
    response(to.api, to.version, to.correlation, body)
}

pub fn encode_reply(to: ReplyTo, reply: &Reply) -> Vec<u8> {
    let version = to.version;
    match reply {
        Reply::Versions => {
            let keys = wire::VERSIONS.iter().map(|(api, min, max)| {
                ApiVersion::default().with_api_key(api.0).with_min_version(*min).with_max_version(*max)
            });
            encode(&ApiVersionsResponse::default().with_api_keys(keys.collect()), version)
        }
        Reply::Metadata(seen) => metadata(version, seen),
        Reply::Nothing => Vec::new(),
        Reply::Producer(id) => writes::producer(version, *id),
        Reply::Produced { id, written } => writes::answer(version, *id, written),
        Reply::Join { error, generation, leader, member, protocol, members } => {
            let members = members.iter().map(|(id, instance, metadata)| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_group_instance_id(instance.as_deref().filter(|_| version >= 5).map(text))
                    .with_metadata(Bytes::copy_from_slice(metadata))
            });
            let message = JoinGroupResponse::default()
                .with_error_code(*error)
                .with_generation_id(*generation)
                .with_protocol_type(Some(text("consumer")).filter(|_| version >= 7))
                .with_protocol_name(Some(text(protocol)))
                .with_leader(text(leader))
                .with_member_id(text(member))
                .with_members(members.collect());
            encode(&message, version)
        }
        Reply::Sync { error, protocol, assignment } => {
            let message = SyncGroupResponse::default()
                .with_error_code(*error)
                .with_protocol_type(Some(text("consumer")).filter(|_| version >= 5))
                .with_protocol_name(Some(text(protocol)).filter(|_| version >= 5))
                .with_assignment(Bytes::copy_from_slice(assignment));
            encode(&message, version)
        }
        Reply::Error(error) if to.api == ApiKey::LEAVE_GROUP => {
            let message = LeaveGroupResponse::default();
            let message = match version {
                ..3 => message.with_error_code(*error),
                _ => message.with_members(vec![MemberResponse::default().with_error_code(*error)]),
            };
            encode(&message, version)
        }
        Reply::Error(error) => encode(&HeartbeatResponse::default().with_error_code(*error), version),
        Reply::Commit(results) => {
            let partitions = results.iter().map(|(partition, error)| {
                OffsetCommitResponsePartition::default().with_partition_index(*partition).with_error_code(*error)
            });
            let topic =
                OffsetCommitResponseTopic::default().with_name(wire::topic()).with_partitions(partitions.collect());
            encode(&OffsetCommitResponse::default().with_topics(vec![topic]), version)
        }
        Reply::Fetch(error, offsets) => fetched(version, *error, offsets),
        Reply::Read { error, session, parts } => reads::answer(version, *error, *session, parts),
        Reply::Ends(ends) => reads::ends(version, ends),
    }
}

pub fn encode_all(to: ReplyTo, reply: &Reply) -> Vec<u8> {
    encode_body(to, &encode_reply(to, reply))
}

fn metadata(version: i16, seen: &Seen) -> Vec<u8> {
    let brokers = (0..NODES).map(|node| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node))
            .with_host(text(HOST))
            .with_port(i32::from(PORT) + node)
    });
    let partitions = seen.leaders.iter().enumerate().map(|(index, leader)| {
        let error = if *leader < 0 { LEADER_NOT_AVAILABLE } else { 0 };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(*leader))
    });
    let mut topic =
        MetadataResponseTopic::default().with_name(Some(wire::topic())).with_partitions(partitions.collect());
    match seen.leaders.is_empty() {
        true => topic = topic.with_error_code(UNKNOWN_TOPIC_OR_PARTITION),
        false if version >= 10 => topic = topic.with_topic_id(Uuid::from_bytes(seen.id())),
        false => {}
    }
    let message = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(wire::CLUSTER)))
        .with_topics(vec![topic]);
    encode(&message, version)
}

fn fetched(version: i16, error: i16, offsets: &[(i32, i64)]) -> Vec<u8> {
    if version >= 8 {
        let partitions = offsets.iter().map(|(partition, offset)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(text("")))
        });
        let topics =
            OffsetFetchResponseTopics::default().with_name(wire::topic()).with_partitions(partitions.collect());
        let group = OffsetFetchResponseGroup::default()
            .with_group_id(wire::group())
            .with_error_code(error)
            .with_topics(vec![topics]);
        return encode(&OffsetFetchResponse::default().with_groups(vec![group]), version);
    }
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(text("")))
    });
    let topic = OffsetFetchResponseTopic::default().with_name(wire::topic()).with_partitions(partitions.collect());
    let message = OffsetFetchResponse::default().with_topics(vec![topic]);
    let message = if version >= 2 { message.with_error_code(error) } else { message };
    encode(&message, version)
}
