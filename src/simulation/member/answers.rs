//! What a member makes of its answers.

use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupResponse, MetadataResponse, OffsetCommitResponse, SyncGroupResponse,
};

use super::*;
use crate::simulation::broker::{
    COORDINATOR_LOAD_IN_PROGRESS, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, MEMBER_ID_REQUIRED, NOT_COORDINATOR,
    REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID,
};
use crate::simulation::wire::decode;

impl Member {
    /// An answer on `conn` to what was asked there.
    pub fn answered(&mut self, conn: u64, asked: &Asked, version: i16, frame: &[u8], body: usize, acts: &mut Acts) {
        if !self.slots.iter().any(|s| s.conn == Some(conn)) {
            return;
        }
        match asked {
            Asked::Versions => {
                let version = 12;
                let body = wire::metadata(version);
                acts.push(Act::Send { conn, api: ApiKey::METADATA, version, body, asked: Asked::Metadata });
            }
            Asked::Metadata => {
                let message: MetadataResponse = decode(frame, body, version);
                assert_eq!(message.brokers.len(), crate::simulation::broker::NODES as usize);
                self.sees(&message);
                for slot in self.slots.iter_mut().filter(|s| s.conn == Some(conn)) {
                    slot.ready = true;
                }
                let all = (0..self.slots_used()).all(|s| self.slots[s].ready);
                if all && self.slots[READS].conn != Some(conn) && self.phase == Phase::Wanting && !self.wants_rejoin {
                    self.ask_to_join(acts);
                }
                self.goes_by_what_it_saw(conn, acts);
            }
            Asked::Join(round) => {
                let message: JoinGroupResponse = decode(frame, body, version);
                if *round == self.round && self.phase == Phase::Joining {
                    self.joined(&message, acts);
                }
            }
            Asked::Sync(round) => {
                let message: SyncGroupResponse = decode(frame, body, version);
                if *round == self.round && self.phase == Phase::Syncing {
                    match message.error_code {
                        0 => self.assigned(wire::assigned(&message.assignment), acts),
                        error => self.refused(error, acts),
                    }
                }
            }
            Asked::Fetch(round) => {
                let (error, offsets) = wire::fetched(frame, body, version);
                // Before version 2 the error stands with each partition only.
                let error = offsets.iter().map(|o| o.2).chain([error]).find(|e| *e != 0).unwrap_or(0);
                if *round == self.round && self.phase == Phase::Fetching {
                    self.fetched(error, &offsets, acts);
                }
            }
            Asked::Read { wanted } => self.has_been_read(wanted, version, frame, body, acts),
            Asked::Ends(asked) => self.has_looked_up(asked, version, frame, body, acts),
            Asked::Beat(generation) => {
                let error = decode::<HeartbeatResponse>(frame, body, version).error_code;
                let is_mine = *generation == self.who.generation;
                if error != 0 && is_mine && matches!(self.phase, Phase::Fetching | Phase::Running) {
                    self.refused(error, acts);
                }
            }
            Asked::Commit { who, offsets } => {
                let message: OffsetCommitResponse = decode(frame, body, version);
                let errors = message.topics.iter().flat_map(|t| &t.partitions);
                let errors: BTreeMap<i32, i16> = errors.map(|p| (p.partition_index, p.error_code)).collect();
                self.commit_busy = false;
                self.committed(who, offsets, &errors, acts);
            }
            Asked::Leave => self.end(acts),
            Asked::Producer | Asked::Written(_) => panic!("a consumer writes nothing"),
        }
    }

    fn joined(&mut self, message: &JoinGroupResponse, acts: &mut Acts) {
        match message.error_code {
            0 => {
                self.who.id = message.member_id.to_string();
                self.who.generation = message.generation_id;
                self.protocol = message.protocol_name.as_deref().unwrap_or_default().to_owned();
                self.cooperative = self.protocol == wire::COOPERATIVE && !self.spec.stays_eager;
                let members = message.members.iter().map(|m| {
                    let instance = m.group_instance_id.as_deref().map(str::to_owned);
                    (m.member_id.to_string(), instance, m.metadata.to_vec())
                });
                let leads = message.leader == message.member_id;
                self.leads_or_follows(leads, members.collect(), acts);
            }
            MEMBER_ID_REQUIRED => {
                self.who.id = message.member_id.to_string();
                self.ask_to_join(acts);
            }
            error => {
                self.refused(error, acts);
                if error == UNKNOWN_MEMBER_ID {
                    acts.retain(|act| !matches!(act, Act::Unlinked));
                }
            }
        }
    }

    /// An error of the group's own: of JoinGroup, SyncGroup, Heartbeat or a commit.
    fn refused(&mut self, error: i16, acts: &mut Acts) {
        match error {
            REBALANCE_IN_PROGRESS => self.rejoin(false, acts),
            ILLEGAL_GENERATION => {
                self.who.generation = -1;
                self.rejoin(true, acts);
            }
            UNKNOWN_MEMBER_ID => {
                self.who.generation = -1;
                self.who.id.clear();
                acts.push(Act::Unlinked);
                self.rejoin(true, acts);
            }
            FENCED_INSTANCE_ID => self.die("fenced", acts),
            COORDINATOR_LOAD_IN_PROGRESS | NOT_COORDINATOR => {
                if matches!(self.phase, Phase::Joining | Phase::Syncing) {
                    self.phase = Phase::Wanting;
                    acts.push(Act::Timer(BACKOFF, What::Rejoin(self.round)));
                }
                if error == NOT_COORDINATOR {
                    // Its next connection shows nothing of what went before.
                    acts.push(Act::Unlinked);
                    self.reconnect(acts);
                }
            }
            other => panic!("an error that no broker would give: {other}"),
        }
    }

    fn fetched(&mut self, error: i16, offsets: &[(i32, i64, i16)], acts: &mut Acts) {
        if error != 0 {
            assert!([COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR].contains(&error), "OffsetFetch: {error}");
            acts.push(Act::Timer(BACKOFF, What::Refetch(self.round)));
            if error == NOT_COORDINATOR {
                self.reconnect(acts);
            }
            return;
        }
        for (partition, offset, _) in offsets {
            if self.assigned.contains(partition) && !self.positions.contains_key(partition) {
                let at = (*offset).max(0);
                if *offset < 0 {
                    self.goes_by_reset(*partition);
                }
                self.positions.insert(*partition, at);
                self.acked.insert(*partition, at);
                self.seek(*partition, at);
                acts.push(Act::Started { partition: *partition, at });
            }
        }
        self.fetch(acts);
    }

    fn committed(&mut self, who: &Identity, offsets: &[(i32, i64)], errors: &BTreeMap<i32, i16>, acts: &mut Acts) {
        let mut error = 0;
        for (partition, offset) in offsets {
            match errors.get(partition).copied() {
                Some(0) => {
                    if (*who == self.owns_as || *who == self.who) && self.positions.contains_key(partition) {
                        self.acked.insert(*partition, *offset);
                    }
                    acts.push(Act::Acked { partition: *partition, offset: *offset });
                }
                Some(other) => error = other,
                None => panic!("a commit's answer leaves out a partition"),
            }
        }
        if error != 0 && self.phase != Phase::Leaving {
            let passes = [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR].contains(&error);
            if self.spec.dies && !passes {
                return self.die("its commit was refused", acts);
            }
            let is_current = *who == self.who && matches!(self.phase, Phase::Running | Phase::Fetching);
            if self.phase == Phase::Revoking {
                self.phase = Phase::Wanting;
                match error {
                    REBALANCE_IN_PROGRESS | COORDINATOR_LOAD_IN_PROGRESS => {}
                    _ => return self.refused(error, acts),
                }
            } else if is_current || passes {
                return self.refused(error, acts);
            }
        }
        if matches!(self.phase, Phase::Revoking | Phase::Wanting) && !self.wants_rejoin && self.round > 0 {
            self.ask_to_join(acts);
        }
    }
}
