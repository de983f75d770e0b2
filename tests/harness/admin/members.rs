//! What happens to a member of a classic group from outside: it is removed, or somebody rejoins in its name.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{DescribeGroupsRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::wait::wait_for;
use super::conn::Conn;
use super::groups::own;
use super::{Admin, LIMIT};

/// A member as the broker sees it; its bytes as it gave or was given them.
#[derive(Debug, Clone)]
pub struct Described {
    pub id: StrBytes,
    pub client: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A classic group in more detail than [`super::groups::Group`].
#[derive(Debug, Clone)]
pub struct Membership {
    pub state: String,
    /// The assignor that the members have agreed on.
    pub protocol: StrBytes,
    pub members: Vec<Described>,
}

impl Admin {
    /// The address of the broker that coordinates a group.
    pub fn group_coordinator(&self, group: &str) -> String {
        wait_for("a coordinator", LIMIT, || self.coordinator(group, 0))
    }

    /// State, assignor and members of a classic group.
    pub fn membership(&self, group: &str) -> Membership {
        let request = DescribeGroupsRequest::default().with_groups(vec![own(group)]);
        let code = |c: i16| if c == 69 { 0 } else { c }; // 69: no such group (any more)
        let answer = self.ask_until_ok(
            || self.coordinator(group, 0),
            5,
            &request,
            |r| r.groups.first().map_or(-1, |g| code(g.error_code)),
        );
        let found = answer.groups.into_iter().next().unwrap_or_default();
        let member = |m: kafka_protocol::messages::describe_groups_response::DescribedGroupMember| Described {
            id: m.member_id,
            client: m.client_id.to_string(),
            metadata: m.member_metadata,
            assignment: m.member_assignment,
        };
        Membership {
            state: found.group_state.to_string(),
            protocol: found.protocol_data,
            members: found.members.into_iter().map(member).collect(),
        }
    }

    /// Waits until a group is stable with so many members.
    pub fn wait_stable(&self, group: &str, members: usize) -> Membership {
        wait_for("a stable group", std::time::Duration::from_secs(60), || {
            Some(self.membership(group)).filter(|m| m.state == "Stable" && m.members.len() == members)
        })
    }

    /// Removes the members of one client id, as `kafka-consumer-groups --delete-members` and expired sessions do.
    pub fn remove_member(&self, group: &str, client: &str) {
        let found = self.membership(group).members.into_iter().filter(|m| m.client == client);
        let members: Vec<_> = found.map(|m| MemberIdentity::default().with_member_id(m.id)).collect();
        assert!(!members.is_empty(), "{client} is no member of {group}");
        let request = LeaveGroupRequest::default().with_group_id(own(group)).with_members(members);
        self.ask_until_ok(|| self.coordinator(group, 0), 5, &request, |r| r.error_code);
    }

    /// Joins a stable group in the name of its only member and gives it what it had: the generation goes on, and the
    /// member itself does not know. A JoinGroup that was sent again and answered on a connection that broke does this.
    pub fn rejoin_as(&self, group: &str, client: &str) {
        let before = self.wait_stable(group, 1);
        let member = before.members.into_iter().next().filter(|m| m.client == client).expect("the only member");
        let mut conn = Conn::open(&self.group_coordinator(group)).expect("a connection to the coordinator");
        let protocol = JoinGroupRequestProtocol::default().with_name(before.protocol).with_metadata(member.metadata);
        let join = JoinGroupRequest::default()
            .with_group_id(own(group))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(member.id.clone())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let joined = conn.call(5, &join).expect("an answer to JoinGroup");
        assert_eq!(joined.error_code, 0, "JoinGroup in the name of {client}");
        let same =
            SyncGroupRequestAssignment::default().with_member_id(member.id.clone()).with_assignment(member.assignment);
        let sync = SyncGroupRequest::default()
            .with_group_id(own(group))
            .with_generation_id(joined.generation_id)
            .with_member_id(member.id)
            .with_assignments(vec![same]);
        assert_eq!(conn.call(3, &sync).expect("an answer to SyncGroup").error_code, 0);
    }
}
