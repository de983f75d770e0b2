//! What clients and brokers do, in one step each.

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::*;

use super::bench::{GROUP, TOPIC};
use super::line::{Line, Reply, Request};
use super::says::*;
use crate::wire::api::ApiKey;

pub const COMMIT: i16 = 8;
pub const OFFSETS: i16 = 7;

impl Line {
    /// The broker gets this client's request next.
    pub fn expect(&mut self, api: ApiKey) -> Request {
        let request = self.next();
        assert_eq!((request.api, request.ours), (api, false), "{request:?}");
        request
    }

    /// The broker gets this request of kmend's own next.
    pub fn expect_ours(&mut self, api: ApiKey) -> Request {
        let request = self.next();
        assert_eq!((request.api, request.ours), (api, true), "{request:?}");
        request
    }

    pub fn join(&mut self, join: Join<'_>, error: i16, generation: i32, member: &str) -> i16 {
        self.ask(ApiKey::JOIN_GROUP, 5, &join.request());
        let asked = self.expect(ApiKey::JOIN_GROUP);
        self.answer(&asked, &join.response(error, generation, member));
        self.reply().error
    }

    pub fn ask_sync(&mut self, generation: i32, member: &str) {
        self.ask(ApiKey::SYNC_GROUP, 3, &sync(GROUP, generation, member));
    }

    pub fn sync(&mut self, generation: i32, member: &str, partitions: &[i32], error: i16) -> i16 {
        self.ask_sync(generation, member);
        let asked = self.expect(ApiKey::SYNC_GROUP);
        self.answer(&asked, &synced(error, TOPIC, partitions));
        self.reply().error
    }

    /// JoinGroup and SyncGroup.
    pub fn stable(&mut self, generation: i32, member: &str, partitions: &[i32]) {
        assert_eq!(self.join(Join { member, ..Join::default() }, 0, generation, member), 0);
        assert_eq!(self.sync(generation, member, partitions, 0), 0);
    }

    pub fn ask_commit(&mut self, said: &Said) {
        self.ask(ApiKey::OFFSET_COMMIT, COMMIT, &said.request());
    }

    /// The broker answers the client's commit.
    pub fn says(&mut self, errors: &[(i32, i16)]) {
        let asked = self.expect(ApiKey::OFFSET_COMMIT);
        let name = Said::of(&asked.read()).topic;
        self.answer(&asked, &committed(&name, errors));
    }

    /// The client commits, the broker answers all with `error`: what the client is told.
    pub fn tries(&mut self, said: &Said, error: i16) -> Vec<(i32, i16)> {
        self.ask_commit(said);
        let errors: Vec<_> = said.at.iter().map(|(p, _)| (*p, error)).collect();
        self.says(&errors);
        self.reply().errors
    }

    pub fn commits(&mut self, generation: i32, member: &str, at: &[(i32, i64)], error: i16) -> Vec<(i32, i16)> {
        self.tries(&said(generation, member, at), error)
    }

    /// kmend asks for these partitions; the broker holds these offsets.
    pub fn holds(&mut self, at: &[(i32, i64)]) {
        let at: Vec<_> = at.iter().map(|(p, offset)| (*p, *offset, 0)).collect();
        self.holds_or(&at);
    }

    /// As [`holds`](Self::holds), with errors.
    pub fn holds_or(&mut self, at: &[(i32, i64, i16)]) {
        let asked = self.expect_ours(ApiKey::OFFSET_FETCH);
        assert_eq!(asked.version, 9);
        let request: OffsetFetchRequest = asked.read();
        assert!(!request.require_stable);
        let [group] = &request.groups[..] else { panic!("one group: {request:?}") };
        assert_eq!((&*group.group_id.0, group.member_epoch), (GROUP, -1));
        let topics = group.topics.iter().flatten();
        let partitions: Vec<i32> = topics.flat_map(|t| t.partition_indexes.clone()).collect();
        assert_eq!(partitions, at.iter().map(|(p, _, _)| *p).collect::<Vec<_>>());
        self.answer(&asked, &raw_offsets(at));
    }

    /// kmend commits this.
    pub fn replays(&mut self, expected: &Said, error: i16) {
        let asked = self.expect_ours(ApiKey::OFFSET_COMMIT);
        assert_eq!(Said::of(&asked.read()), *expected);
        let errors: Vec<_> = expected.at.iter().map(|(p, _)| (*p, error)).collect();
        self.answer(&asked, &committed(&expected.topic, &errors));
    }

    pub fn ask_beat(&mut self, generation: i32, member: &str) {
        self.ask(ApiKey::HEARTBEAT, 3, &heartbeat(generation, member));
    }

    /// What the client is told where the broker answers `error`.
    pub fn beat(&mut self, generation: i32, member: &str, error: i16) -> i16 {
        self.ask_beat(generation, member);
        let asked = self.expect(ApiKey::HEARTBEAT);
        self.answer(&asked, &HeartbeatResponse::default().with_error_code(error));
        self.reply().error
    }

    pub fn ask_leave(&mut self, member: &str) {
        let message = LeaveGroupRequest::default()
            .with_group_id(group())
            .with_members(vec![MemberIdentity::default().with_member_id(text(member))]);
        self.ask(ApiKey::LEAVE_GROUP, 3, &message);
    }

    pub fn answer_leave(&mut self) {
        let asked = self.expect(ApiKey::LEAVE_GROUP);
        self.answer(&asked, &LeaveGroupResponse::default());
        assert_eq!(self.reply().error, 0);
    }

    pub fn ask_offsets(&mut self, partitions: &[i32]) {
        self.ask(ApiKey::OFFSET_FETCH, OFFSETS, &fetch_offsets(partitions));
    }

    pub fn answer_offsets(&mut self, at: &[(i32, i64, i16)]) -> Reply {
        let asked = self.expect(ApiKey::OFFSET_FETCH);
        self.answer(&asked, &offsets(at));
        self.reply()
    }

    /// A ConsumerGroupHeartbeat, accepted.
    pub fn consumes(&mut self, epoch: i32, new: i32, member: &str, assigned: Option<&[i32]>) {
        self.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &consumer(epoch, member, None));
        let asked = self.expect(ApiKey::CONSUMER_GROUP_HEARTBEAT);
        self.answer(&asked, &accepted(new, member, assigned));
        assert_eq!(self.reply().error, 0);
    }
}
