//! Messages as members and broker write and read them.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Owned;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::wire::api::ApiKey;

pub const GROUP: &str = "billing";
pub const TOPIC: &str = "orders";
pub const TOPIC_ID: [u8; 16] = [7; 16];
pub const CLUSTER: &str = "cluster-1";

/// The versions of which the model broker knows how to answer.
pub const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::PRODUCE, 3, 13),
    (ApiKey::FETCH, 4, 13),
    (ApiKey::LIST_OFFSETS, 1, 7),
    (ApiKey::METADATA, 4, 12),
    (ApiKey::OFFSET_COMMIT, 2, 9),
    (ApiKey::OFFSET_FETCH, 1, 9),
    (ApiKey::JOIN_GROUP, 0, 9),
    (ApiKey::HEARTBEAT, 0, 4),
    (ApiKey::LEAVE_GROUP, 0, 5),
    (ApiKey::SYNC_GROUP, 0, 5),
    (ApiKey::API_VERSIONS, 0, 4),
    (ApiKey::INIT_PRODUCER_ID, 0, 4),
];

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn group() -> GroupId {
    GroupId(text(GROUP))
}

pub fn topic() -> TopicName {
    TopicName(text(TOPIC))
}

pub fn encode(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("encodes");
    out.to_vec()
}

pub fn decode<M: Decodable>(frame: &[u8], body: usize, version: i16) -> M {
    let mut bytes = Bytes::copy_from_slice(frame);
    bytes.advance(body);
    M::decode(&mut bytes, version).expect("decodes")
}

/// Who a member is towards its coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub id: String,
    pub generation: i32,
    pub instance: Option<String>,
}

impl Identity {
    fn instance(&self, since: bool) -> Option<StrBytes> {
        self.instance.as_deref().filter(|_| since).map(text)
    }
}

/// `software`: told from version 3 on.
pub fn api_versions(version: i16, software: &'static str) -> Vec<u8> {
    let message = ApiVersionsRequest::default();
    let message = match version {
        ..3 => message,
        _ => message.with_client_software_name(text(software)).with_client_software_version(text("1")),
    };
    encode(&message, version)
}

pub fn metadata(version: i16) -> Vec<u8> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic()));
    encode(&MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false), version)
}

pub const RANGE: &str = "range";
pub const COOPERATIVE: &str = "cooperative-sticky";

/// `owned`: what a cooperative member claims, and since which generation.
pub fn join(version: i16, who: &Identity, timeouts: (u64, u64), protocols: &[&str], owned: (Vec<i32>, i32)) -> Vec<u8> {
    let mut subscription = ConsumerProtocolSubscription::default().with_topics(vec![text(TOPIC)]);
    if !owned.0.is_empty() {
        subscription.owned_partitions = vec![Owned::default().with_topic(topic()).with_partitions(owned.0)];
    }
    let subscription = subscription.with_generation_id(owned.1);
    let mut metadata = 2i16.to_be_bytes().to_vec();
    metadata.extend(encode(&subscription, 2));
    let metadata = Bytes::from(metadata);
    let named = |name: &&str| JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata.clone());
    let message = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms((timeouts.0 / super::MS) as i32)
        .with_rebalance_timeout_ms((timeouts.1 / super::MS) as i32)
        .with_member_id(text(&who.id))
        .with_group_instance_id(who.instance(version >= 5))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.iter().map(named).collect());
    encode(&message, version)
}

/// What a member claims in its JoinGroup: partitions, generation.
pub fn claims(metadata: &[u8]) -> (Vec<i32>, i32) {
    let said: ConsumerProtocolSubscription = decode(metadata, 2, 2);
    (said.owned_partitions.into_iter().flat_map(|t| t.partitions).collect(), said.generation_id)
}

pub fn sync(version: i16, who: &Identity, protocol: &str, assignments: Vec<(String, Vec<i32>)>) -> Vec<u8> {
    let assignments = assignments.into_iter().map(|(member, partitions)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(Bytes::from(assignment(partitions)))
    });
    let message = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(who.instance(version >= 3))
        .with_protocol_type(Some(text("consumer")).filter(|_| version >= 5))
        .with_protocol_name(Some(text(protocol)).filter(|_| version >= 5))
        .with_assignments(assignments.collect());
    encode(&message, version)
}

fn assignment(partitions: Vec<i32>) -> Vec<u8> {
    let assigned = match partitions.is_empty() {
        true => Vec::new(),
        false => vec![Assigned::default().with_topic(topic()).with_partitions(partitions)],
    };
    let mut bytes = 1i16.to_be_bytes().to_vec();
    bytes.extend(encode(&ConsumerProtocolAssignment::default().with_assigned_partitions(assigned), 1));
    bytes
}

pub fn assigned(bytes: &[u8]) -> Vec<i32> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let message: ConsumerProtocolAssignment = decode(bytes, 2, 1);
    message.assigned_partitions.into_iter().flat_map(|t| t.partitions).collect()
}

pub fn heartbeat(version: i16, who: &Identity) -> Vec<u8> {
    let message = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(who.instance(version >= 3));
    encode(&message, version)
}

pub fn leave(version: i16, who: &Identity) -> Vec<u8> {
    let message = LeaveGroupRequest::default().with_group_id(group());
    let message = match version {
        ..3 => message.with_member_id(text(&who.id)),
        _ => message.with_members(vec![
            MemberIdentity::default()
                .with_member_id(text(&who.id))
                .with_group_instance_id(who.instance.as_deref().map(text)),
        ]),
    };
    encode(&message, version)
}

pub fn commit(version: i16, who: &Identity, offsets: &[(i32, i64)]) -> Vec<u8> {
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")))
    });
    let message = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(who.instance(version >= 7))
        .with_topics(vec![
            OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(partitions.collect()),
        ]);
    encode(&message, version)
}

pub fn fetch(version: i16, partitions: &[i32], require_stable: bool) -> Vec<u8> {
    let partitions = partitions.to_vec();
    let message = OffsetFetchRequest::default().with_require_stable(require_stable && version >= 7);
    let message = match version {
        ..8 => message.with_group_id(group()).with_topics(Some(vec![
            OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(partitions),
        ])),
        _ => message.with_groups(vec![OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(
            vec![OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(partitions)],
        ))]),
    };
    encode(&message, version)
}

/// An OffsetFetch response: the error of the whole, then partition, offset and error each.
pub fn fetched(frame: &[u8], body: usize, version: i16) -> (i16, Vec<(i32, i64, i16)>) {
    let message: OffsetFetchResponse = decode(frame, body, version);
    if version < 8 {
        let all = message.topics.iter().flat_map(|t| &t.partitions);
        let all = all.map(|p| (p.partition_index, p.committed_offset, p.error_code)).collect();
        return (message.error_code, all);
    }
    let error = message.groups.first().map_or(0, |g| g.error_code);
    let all = message.groups.iter().flat_map(|g| &g.topics).flat_map(|t| &t.partitions);
    (error, all.map(|p| (p.partition_index, p.committed_offset, p.error_code)).collect())
}
