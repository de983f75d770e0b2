//! What members are told to rejoin, what they read, and what is left unread.

use kafka_protocol::messages::HeartbeatResponse;

use super::World;
use super::links::frames;
use crate::simulation::broker::{REBALANCE_IN_PROGRESS, Reply, ReplyTo, State};
use crate::simulation::member::{Asked, Habit, Phase};
use crate::simulation::plan::ms;
use crate::simulation::told::{Saying, TOLD};
use crate::simulation::wire::decode;
use crate::wire::api::ApiKey;
use crate::wire::head;

impl World<'_> {
    /// The broker answers a Heartbeat.
    pub(super) fn broker_beats(&mut self, to: ReplyTo, reply: &Reply) {
        let is_stable = self.broker.group.state == State::Stable;
        if let (ApiKey::HEARTBEAT, Reply::Error(error)) = (to.api, reply)
            && let Some(link) = self.links.get_mut(&to.conn)
        {
            link.beats.insert(to.correlation, (*error, is_stable));
        }
    }

    /// kmend writes to a client.
    pub(super) fn kmend_says(&mut self, conn: u64, bytes: &[u8]) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn).filter(|l| !l.reads) else { return };
        let (Some(life), kmend) = (link.life, link.kmend) else { return };
        link.said.extend(bytes);
        let mut sayings = Vec::new();
        let mut nudged = false;
        for frame in frames(&mut link.said) {
            let got = head::correlation(&frame);
            let waiting = link.waiting.iter().find(|w| Some(w.correlation) == got);
            let Some((waiting, Asked::Beat(generation))) = waiting.map(|w| (w, &w.asked)) else { continue };
            let instead_of = link.beats.remove(&waiting.correlation);
            let Ok(body) = head::response_body(&frame, frame.len(), waiting.api, waiting.version) else { continue };
            let error = decode::<HeartbeatResponse>(&frame, body, waiting.version).error_code;
            nudged |= error == REBALANCE_IN_PROGRESS && instead_of.is_some_and(|(by_broker, _)| by_broker == 0);
            if error == TOLD && instead_of.is_none_or(|(by_broker, _)| by_broker != TOLD) {
                sayings.push((*generation, instead_of));
            }
        }
        if nudged {
            self.is_nudged(conn, "consumers told to rejoin");
        }
        for (generation, instead_of) in sayings {
            let kmend = (kmend, self.processes[kmend].life);
            let rebalances_since = self.rebalances_since;
            let saying = Saying { at: now, kmend, life, generation, instead_of, rebalances_since };
            self.truth.count("members told to rejoin");
            self.say(|| format!("kmend {} tells member {} to rejoin", kmend.0, life.0));
            if let Some((rule, what)) = self.truth.told_to_rejoin.says(&saying) {
                self.broken(rule, what);
            }
        }
    }

    pub(super) fn broker_reads(&mut self, to: ReplyTo, wants: &[i32], is_full: bool, forgotten: usize) {
        self.truth.count(if is_full { "full Fetch requests" } else { "incremental Fetch requests" });
        if forgotten > 0 {
            self.truth.count("Fetch requests that forget partitions");
        }
        let Some(life) = self.links.get(&to.conn).and_then(|l| l.life) else { return };
        for partition in wants {
            if self.truth.told_to_rejoin.reads(self.now, life, *partition) {
                self.truth.count("partitions that dangled and are read");
                self.say(|| format!("member {} reads partition {partition} again", life.0));
            }
        }
    }

    /// What no member reads though it could be told.
    pub(super) fn left_unread(&mut self) -> Option<String> {
        let mut left = Vec::new();
        let mut seen = 0;
        for (number, person) in self.people.iter().enumerate() {
            let Some(person) = person.as_ref().filter(|p| p.member.phase == Phase::Running && p.member.spec.faulty)
            else {
                continue;
            };
            let member = &person.member;
            let life = (number, person.life);
            let told = &self.truth.told_to_rejoin;
            if !told.is_due(self.now, life, self.processes[member.spec.kmend].started) {
                continue;
            }
            seen += 1;
            let has_lag = |p: &&i32| {
                let committed = self.broker.group.offsets.get(p).copied().unwrap_or(0);
                self.broker.logs.end(self.now, **p) > committed
            };
            let unread = |p: &&i32| member.spec.habit == Habit::Usual && !told.has_read(life, **p);
            let of_member = member.dangling.iter().filter(has_lag).chain(member.positions.keys().filter(unread));
            left.extend(of_member.map(|p| format!("partition {p} of member {number}")));
        }
        (0..seen).for_each(|_| self.truth.count("members with the fault, in the end"));
        left.iter().for_each(|_| self.truth.count("partitions left unread in the end"));
        (!left.is_empty()).then(|| format!("nobody reads {} in the end, {}", left.join(", "), ms(self.now)))
    }
}
