//! Groups: committed offsets, and who is a member.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::Admin;
use super::topics::name;

/// What DescribeGroups says: state, and the client id of every member.
#[derive(Debug, Clone)]
pub struct Group {
    pub state: String,
    pub members: Vec<String>,
}

pub(super) fn own(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

impl Admin {
    /// Commits an offset for an empty group, as Kafka's own tools do it.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let at = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(StrBytes::from_static_str("")));
        let request = OffsetCommitRequest::default()
            .with_group_id(own(group))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![at])]);
        self.ask_until_ok(
            || self.coordinator(group, 0),
            8,
            &request,
            |r| r.topics.first().and_then(|t| t.partitions.first()).map_or(-1, |p| p.error_code),
        );
    }

    /// The committed offset, as the broker has it.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let of = OffsetFetchRequestTopics::default().with_name(name(topic)).with_partition_indexes(vec![partition]);
        let wanted = OffsetFetchRequestGroup::default().with_group_id(own(group)).with_topics(Some(vec![of]));
        let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
        let answer = self.ask_until_ok(
            || self.coordinator(group, 0),
            8,
            &request,
            |r| r.groups.first().map_or(-1, |g| g.error_code),
        );
        let offset = answer.groups.first()?.topics.first()?.partitions.first()?.committed_offset;
        (offset >= 0).then_some(offset)
    }

    /// What a group has committed on the partitions of one topic, asked once: none where nobody answers just now.
    pub fn try_committed(&self, group: &str, topic: &str, partitions: i32) -> Option<Vec<(i32, i64)>> {
        let all = (0..partitions).collect();
        let of = OffsetFetchRequestTopics::default().with_name(name(topic)).with_partition_indexes(all);
        let wanted = OffsetFetchRequestGroup::default().with_group_id(own(group)).with_topics(Some(vec![of]));
        let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
        let answer = self.ask(&self.coordinator(group, 0)?, 8, &request)?;
        let found = answer.groups.first().filter(|g| g.error_code == 0)?.topics.first()?;
        let known = found.partitions.iter().filter(|p| p.error_code == 0 && p.committed_offset >= 0);
        Some(known.map(|p| (p.partition_index, p.committed_offset)).collect())
    }

    /// State and members of a classic group.
    pub fn describe_group(&self, group: &str) -> Group {
        let request = DescribeGroupsRequest::default().with_groups(vec![own(group)]);
        let code = |c: i16| if c == 69 { 0 } else { c }; // 69: no such group (any more)
        let answer = self.ask_until_ok(
            || self.coordinator(group, 0),
            5,
            &request,
            |r| r.groups.first().map_or(-1, |g| code(g.error_code)),
        );
        let found = answer.groups.first();
        Group {
            state: found.map(|g| g.group_state.to_string()).unwrap_or_default(),
            members: found.map(|g| g.members.iter().map(|m| m.client_id.to_string()).collect()).unwrap_or_default(),
        }
    }
}
