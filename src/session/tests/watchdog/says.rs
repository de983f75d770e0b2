//! The messages of clients and brokers.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_heartbeat_response::{self as beat, TopicPartitions};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedPartition;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::broker::id_of;
pub use crate::session::tests::commits::says::{committed, encoded, text, topic};
use crate::wire::api::ApiKey;

pub const TOPIC: &str = "orders";
pub const GROUP: &str = "billing";
pub const ME: &str = "me";
pub const EAGER: &str = "range";
pub const COOPERATIVE: &str = "cooperative-sticky";

pub fn versions() -> ApiVersionsResponse {
    let known = [
        (ApiKey::FETCH, 0, 17),
        (ApiKey::LIST_OFFSETS, 1, 9),
        (ApiKey::OFFSET_COMMIT, 2, 9),
        (ApiKey::OFFSET_FETCH, 1, 9),
        (ApiKey::API_VERSIONS, 0, 4),
        (ApiKey::METADATA, 0, 12),
    ];
    let keys = known
        .map(|(api, min, max)| ApiVersion::default().with_api_key(api.0).with_min_version(min).with_max_version(max));
    ApiVersionsResponse::default().with_api_keys(keys.to_vec())
}

/// Who a member is, and how it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub group: String,
    pub member: String,
    pub instance: Option<String>,
    pub kind: String,
    pub protocol: String,
    /// Of the subscription; versions 1 and above name what it still owns.
    pub subscription: i16,
    pub owned: Vec<i32>,
    pub topic: String,
    pub session_ms: i32,
    pub rebalance_ms: i32,
}

impl Who {
    pub fn new(member: &str) -> Who {
        Who {
            group: GROUP.into(),
            member: member.into(),
            instance: None,
            kind: "consumer".into(),
            protocol: COOPERATIVE.into(),
            subscription: 1,
            owned: Vec::new(),
            topic: TOPIC.into(),
            session_ms: 45_000,
            rebalance_ms: 60_000,
        }
    }

    fn metadata(&self) -> Bytes {
        let mut subscription = ConsumerProtocolSubscription::default().with_topics(vec![text(&self.topic)]);
        if self.subscription >= 1 && !self.owned.is_empty() {
            let owned = OwnedPartition::default().with_topic(topic(&self.topic)).with_partitions(self.owned.clone());
            subscription = subscription.with_owned_partitions(vec![owned]);
        }
        let body = encoded(&subscription, self.subscription);
        [&self.subscription.to_be_bytes()[..], &body].concat().into()
    }

    pub fn join(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default().with_name(text(&self.protocol));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_member_id(text(&self.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(self.rebalance_ms)
            .with_protocol_type(text(&self.kind))
            .with_protocols(vec![protocol.with_metadata(self.metadata())])
    }

    pub fn joined(&self, error: i16, generation: i32, member: &str) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_error_code(error)
            .with_generation_id(generation)
            .with_protocol_name(Some(text(&self.protocol)))
            .with_member_id(text(member))
    }

    pub fn sync(&self, generation: i32) -> SyncGroupRequest {
        SyncGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(generation)
            .with_member_id(text(&self.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
    }

    pub fn synced(&self, partitions: &[i32]) -> SyncGroupResponse {
        let assigned = TopicPartition::default().with_topic(topic(&self.topic)).with_partitions(partitions.to_vec());
        let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![assigned]);
        let bytes = [&[0, 1][..], &encoded(&assignment, 1)].concat();
        SyncGroupResponse::default().with_assignment(bytes.into())
    }

    pub fn beat(&self, generation: i32) -> HeartbeatRequest {
        HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(generation)
            .with_member_id(text(&self.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
    }

    pub fn leave(&self) -> LeaveGroupRequest {
        let identity = leave_group_request::MemberIdentity::default().with_member_id(text(&self.member));
        LeaveGroupRequest::default().with_group_id(GroupId(text(&self.group))).with_members(vec![identity])
    }

    pub fn commit(&self, generation: i32, at: &[(i32, i64)]) -> OffsetCommitRequest {
        let partitions = at.iter().map(|(p, offset)| {
            offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(*p)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(text("")))
        });
        let named = offset_commit_request::OffsetCommitRequestTopic::default().with_name(topic(&self.topic));
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(&self.member))
            .with_topics(vec![named.with_partitions(partitions.collect())])
    }

    pub fn offsets(&self, partitions: &[i32]) -> OffsetFetchRequest {
        let named = offset_fetch_request::OffsetFetchRequestTopic::default().with_name(topic(&self.topic));
        OffsetFetchRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_topics(Some(vec![named.with_partition_indexes(partitions.to_vec())]))
    }

    /// KIP-848.
    pub fn consume(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_member_epoch(epoch)
            .with_member_id(text(&self.member))
            .with_rebalance_timeout_ms(if epoch == 0 { 60_000 } else { -1 })
            .with_subscribed_topic_names((epoch == 0).then(|| vec![topic(&self.topic)]))
    }

    pub fn consumes(&self, epoch: i32, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
        let id = Uuid::from_bytes(id_of(&self.topic));
        let topics = |p: &[i32]| TopicPartitions::default().with_topic_id(id).with_partitions(p.to_vec());
        ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(&self.member)))
            .with_member_epoch(epoch)
            .with_assignment(assigned.map(|p| beat::Assignment::default().with_topic_partitions(vec![topics(p)])))
    }
}

pub fn list_offsets(name: &str, partitions: &[i32]) -> ListOffsetsRequest {
    let partitions = partitions
        .iter()
        .map(|p| list_offsets_request::ListOffsetsPartition::default().with_partition_index(*p).with_timestamp(-2));
    let named = list_offsets_request::ListOffsetsTopic::default().with_name(topic(name));
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1));
    request.with_topics(vec![named.with_partitions(partitions.collect())])
}

pub fn leader_epoch(name: &str, partitions: &[i32]) -> OffsetForLeaderEpochRequest {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let partitions = partitions.iter().map(|p| OffsetForLeaderPartition::default().with_partition(*p));
    let named = OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(partitions.collect());
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![named])
}

/// Session, epoch, what is listed and what is forgotten.
pub fn fetch(version: i16, name: &str, session: (i32, i32), listed: &[i32], forgotten: &[i32]) -> FetchRequest {
    let entries = listed.iter().map(|p| FetchPartition::default().with_partition(*p).with_partition_max_bytes(1 << 20));
    let id = Uuid::from_bytes(id_of(name));
    let mut request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(500);
    if version >= 7 {
        request = request.with_session_id(session.0).with_session_epoch(session.1);
    }
    if !listed.is_empty() {
        let entry = FetchTopic::default().with_partitions(entries.collect());
        let entry = if version >= 13 { entry.with_topic_id(id) } else { entry.with_topic(topic(name)) };
        request = request.with_topics(vec![entry]);
    }
    if !forgotten.is_empty() {
        let entry = ForgottenTopic::default().with_partitions(forgotten.to_vec());
        let entry = if version >= 13 { entry.with_topic_id(id) } else { entry.with_topic(topic(name)) };
        request = request.with_forgotten_topics_data(vec![entry]);
    }
    request
}
