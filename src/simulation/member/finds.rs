//! How a consumer learns of new partitions.

use kafka_protocol::messages::MetadataResponse;

use super::*;
use crate::simulation::broker::Joined;
use crate::simulation::writer::Software;

#[derive(Debug, Default)]
pub struct Finds {
    /// Partitions that it knows of.
    pub known: i32,
    /// It computed the group's assignment, with so many.
    assigned: Option<i32>,
    /// Who leads the partitions, and the node that it fetches from.
    leader: i32,
    pub(super) reads_from: i32,
    pub(super) looking: bool,
    /// It looks once more before it computes the assignment of these.
    pub(super) to_assign: Option<Vec<Joined>>,
}

impl Member {
    /// It computes the assignment of its group.
    pub fn leads(&self) -> bool {
        self.finds.assigned.is_some()
    }

    /// Asks for Metadata, if it is not under way.
    pub(super) fn look(&mut self, acts: &mut Acts) {
        let ready = [READS, self.slots_used() - 1].into_iter().map(|s| self.slots[s]).find(|s| s.ready);
        let Some(conn) = ready.and_then(|s| s.conn).filter(|_| !self.finds.looking) else { return };
        self.finds.looking = true;
        self.ask_for_metadata(conn, acts);
    }

    fn ask_for_metadata(&mut self, conn: u64, acts: &mut Acts) {
        let version = 12;
        let body = wire::metadata(version);
        acts.push(Act::Send { conn, api: ApiKey::METADATA, version, body, asked: Asked::Metadata });
    }

    pub(super) fn sees(&mut self, message: &MetadataResponse) {
        self.finds.looking = false;
        let Some(topic) = message.topics.first().filter(|t| t.error_code == 0) else { return };
        self.finds.known = self.finds.known.max(topic.partitions.len() as i32);
        let led = topic.partitions.iter().map(|p| p.leader_id.0).find(|leader| *leader >= 0);
        self.finds.leader = led.unwrap_or(self.finds.leader);
    }

    pub(super) fn goes_by_what_it_saw(&mut self, conn: u64, acts: &mut Acts) {
        let joins_here = self.slots[0].conn == Some(conn);
        if let Some(members) = self.finds.to_assign.take_if(|_| joins_here)
            && self.phase == Phase::Syncing
        {
            return self.assigns(true, &members, acts);
        }
        let has_moved = self.finds.leader != self.finds.reads_from;
        if self.spec.grows.is_some() && has_moved && self.slots[READS].ready {
            self.follows_the_leader(acts);
        }
        self.notices(acts);
    }

    /// Who computes the assignment sees to new partitions; librdkafka only where it is told to rejoin.
    pub(super) fn notices(&mut self, acts: &mut Acts) {
        let is_outdated = self.finds.assigned.is_some_and(|count| count < self.finds.known);
        if is_outdated && self.phase == Phase::Running && !self.stuck && self.spec.software != Software::Librdkafka {
            self.rejoin(false, acts);
        }
    }

    /// JoinGroup has been answered.
    pub(super) fn leads_or_follows(&mut self, leads: bool, members: Vec<Joined>, acts: &mut Acts) {
        let looks_first = matches!(self.spec.software, Software::Librdkafka | Software::Sarama);
        let looks_first = looks_first && self.spec.grows.is_some();
        if leads
            && looks_first
            && let Some(conn) = self.conn(true)
        {
            self.phase = Phase::Syncing;
            self.finds.to_assign = Some(members);
            return self.ask_for_metadata(conn, acts);
        }
        self.assigns(leads, &members, acts);
    }

    fn assigns(&mut self, leads: bool, members: &[Joined], acts: &mut Acts) {
        self.finds.assigned = leads.then_some(self.finds.known);
        self.ask_for_assignment(leads, members, acts);
    }
}
