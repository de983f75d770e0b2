//! A connection on which members of groups speak, written by kafka-protocol.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_response::{self as beat, TopicPartitions};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

use crate::mend::{Member, Shared};
use crate::session::tests::kit::*;
use crate::wire::api::ApiKey;

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.to_vec()
}

pub struct Line {
    pub rig: Rig,
    pub shared: Arc<Shared>,
    correlation: i32,
    asked: VecDeque<(ApiKey, i16, i32)>,
}

impl Line {
    pub fn new(world: &World, cuts: Cuts) -> Line {
        Line::numbered(world, cuts, 1)
    }

    pub fn numbered(world: &World, cuts: Cuts, number: u64) -> Line {
        let shared = world.env.shared.clone();
        Line { rig: world.connect_to(cuts, number, Some(1)), shared, correlation: 0, asked: VecDeque::new() }
    }

    pub fn ask_raw(&mut self, api: ApiKey, version: i16, body: &[u8]) {
        self.correlation += 1;
        let frame = request(api, version, self.correlation, body);
        self.rig.client(&frame);
        assert_eq!(self.rig.at_broker(), frame, "{:?}", self.rig.end);
        self.asked.push_back((api, version, self.correlation));
    }

    pub fn ask(&mut self, api: ApiKey, version: i16, message: &impl Encodable) {
        self.ask_raw(api, version, &encoded(message, version));
    }

    /// The broker answers the oldest request.
    pub fn answer(&mut self, message: &impl Encodable) {
        let version = self.asked.front().expect("a request").1;
        self.answer_raw(&encoded(message, version));
    }

    pub fn answer_raw(&mut self, body: &[u8]) {
        let (api, version, correlation) = self.asked.pop_front().expect("a request");
        let frame = response(api, version, correlation, body);
        self.rig.broker(&frame);
        assert_eq!(self.rig.at_client(), frame, "{:?}", self.rig.end);
    }

    pub fn member(&self, member: &str) -> Option<Member> {
        self.shared.groups.member("g", member)
    }

    pub fn known(&self, member: &str) -> Member {
        self.member(member).unwrap_or_else(|| panic!("{member} is not known"))
    }

    pub fn previous(&self, member: &str) -> Option<String> {
        self.known(member).previous.map(|p| p.to_string())
    }

    /// JoinGroup as `member`, answered with an error or, without one, for `new`.
    pub fn join(&mut self, version: i16, member: &str, error: i16, new: &str) {
        self.ask(ApiKey::JOIN_GROUP, version, &join(version, member, None));
        self.answer(&joined(version, error, 5, new));
    }

    pub fn join_static(&mut self, version: i16, member: &str, instance: &str, new: &str) {
        self.ask(ApiKey::JOIN_GROUP, version, &join(version, member, Some(instance)));
        self.answer(&joined(version, 0, 5, new));
    }

    pub fn sync(&mut self, version: i16, generation: i32, member: &str, error: i16, kind: &str) {
        self.ask(ApiKey::SYNC_GROUP, version, &sync(version, generation, member, kind));
        self.answer(&synced(version, error, kind));
    }

    pub fn heartbeat(&mut self, version: i16, generation: i32, member: &str, error: i16) {
        let message = HeartbeatRequest::default().with_group_id(group()).with_generation_id(generation);
        self.ask(ApiKey::HEARTBEAT, version, &message.with_member_id(text(member)));
        self.answer(&HeartbeatResponse::default().with_error_code(error));
    }
}

pub fn group() -> GroupId {
    GroupId(text("g"))
}

pub fn join(version: i16, member: &str, instance: Option<&str>) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let mut message = JoinGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 1 {
        message = message.with_rebalance_timeout_ms(60_000);
    }
    if version >= 5 {
        message = message.with_group_instance_id(instance.map(text));
    }
    message
}

pub fn joined(version: i16, error: i16, generation: i32, member: &str) -> JoinGroupResponse {
    let message = JoinGroupResponse::default().with_error_code(error).with_generation_id(generation);
    let message = message.with_protocol_name(Some(text("range"))).with_member_id(text(member));
    if version >= 7 { message.with_protocol_type(Some(text("consumer"))) } else { message }
}

pub fn sync(version: i16, generation: i32, member: &str, kind: &str) -> SyncGroupRequest {
    let message = SyncGroupRequest::default().with_group_id(group()).with_generation_id(generation);
    let message = message.with_member_id(text(member)).with_assignments(vec![
        SyncGroupRequestAssignment::default().with_member_id(text("other")).with_assignment(Bytes::from_static(b"x")),
    ]);
    match version {
        5.. => message.with_protocol_type(Some(text(kind))).with_protocol_name(Some(text("range"))),
        _ => message,
    }
}

/// Partitions 1 and 4 of `t`.
pub fn synced(version: i16, error: i16, kind: &str) -> SyncGroupResponse {
    let topic = TopicPartition::default().with_topic(TopicName(text("t"))).with_partitions(vec![1, 4]);
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]);
    let bytes = [&[0, 1][..], &encoded(&assignment, 1)].concat();
    let message = SyncGroupResponse::default().with_error_code(error);
    let message = if error == 0 { message.with_assignment(bytes.into()) } else { message };
    match version {
        5.. => message.with_protocol_type(Some(text(kind))).with_protocol_name(Some(text("range"))),
        _ => message,
    }
}

/// Without topics version 10 is as version 9, which is the last that kafka-protocol writes.
pub fn commit(version: i16, generation: i32, member: &str) -> Vec<u8> {
    let message = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member));
    let message = if version >= 7 { message.with_group_instance_id(Some(text("i"))) } else { message };
    if version >= 10 {
        return encoded(&message, 9);
    }
    let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    encoded(&message.with_topics(vec![topic]), version)
}

pub fn committed(errors: &[i16]) -> OffsetCommitResponse {
    let partition = |e: &i16| OffsetCommitResponsePartition::default().with_error_code(*e);
    let topic = OffsetCommitResponseTopic::default().with_partitions(errors.iter().map(partition).collect());
    OffsetCommitResponse::default().with_topics(vec![topic])
}

pub const TOPIC_ID: [u8; 16] = [7; 16];

pub fn consumer(epoch: i32, member: &str, instance: Option<&str>) -> ConsumerGroupHeartbeatRequest {
    let message = ConsumerGroupHeartbeatRequest::default().with_group_id(group()).with_member_epoch(epoch);
    let message = message.with_member_id(text(member)).with_instance_id(instance.map(text));
    // As clients do: told once.
    let timeout = if epoch == 0 { 45_000 } else { -1 };
    let topics = (epoch == 0).then(|| vec![TopicName(text("t"))]);
    message.with_rebalance_timeout_ms(timeout).with_subscribed_topic_names(topics)
}

pub fn accepted(epoch: i32, member: &str, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    let topic =
        |p: &[i32]| TopicPartitions::default().with_topic_id(Uuid::from_bytes(TOPIC_ID)).with_partitions(p.to_vec());
    let assignment = assigned.map(|p| beat::Assignment::default().with_topic_partitions(vec![topic(p)]));
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(member)))
        .with_member_epoch(epoch)
        .with_assignment(assignment)
}
