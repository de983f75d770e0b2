//! What kmend does of its own accord about topics that grow: it asks, refuses, closes.

use std::collections::BTreeMap;

use kafka_protocol::messages::MetadataRequest;

use super::World;
use super::links::frames;
use crate::simulation::grown::{Client, SOON};
use crate::simulation::member::{Habit, Phase};
use crate::simulation::plan::ms;
use crate::simulation::reads;
use crate::simulation::wire::decode;
use crate::simulation::writer::Software;
use crate::simulation::{At, SECOND};
use crate::wire::api::ApiKey;
use crate::wire::head;

/// An assignment is known to everybody after so long.
const SETTLED: At = SECOND;

impl World<'_> {
    pub(super) fn client_of(&self, kmend: usize, client_id: &str, software: Software) -> Client {
        ((kmend, self.processes[kmend].life), format!("{client_id} {}", software.name()))
    }

    /// Whose a connection is, and whether nobody else looks the same to this kmend.
    fn client_at(&self, conn: u64) -> Option<(Client, bool)> {
        let link = self.links.get(&conn)?;
        let all = || {
            let members = self.plan.members.iter().flatten().map(|s| (s.kmend, &s.client_id, s.software));
            members.chain(self.plan.writers.iter().flatten().map(|s| (s.kmend, &s.client_id, s.software)))
        };
        let of_writer = |w: usize| self.plan.writers[w].as_ref().map(|s| (s.kmend, &s.client_id, s.software));
        let of_member = |m: usize| self.plan.members[m].as_ref().map(|s| (s.kmend, &s.client_id, s.software));
        let who = link.writer.and_then(|(w, _)| of_writer(w)).or_else(|| link.life.and_then(|(m, _)| of_member(m)))?;
        let is_one = all().filter(|other| *other == who).count() == 1;
        Some((self.client_of(who.0, who.1, who.2), is_one))
    }

    /// What kmend writes, in both directions.
    pub(super) fn passes(&mut self, conn: u64, up: &[u8], down: &[u8]) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.sent_up.extend(up);
        link.sent_down.extend(down);
        let (requests, answers) = (frames(&mut link.sent_up), frames(&mut link.sent_down));
        let mut asked = Vec::new();
        for frame in requests {
            let Ok(head) = head::request(&frame, frame.len()) else { continue };
            if head.correlation < -1 {
                if head.api == ApiKey::METADATA {
                    let request: MetadataRequest = decode(&frame, head.body, head.version);
                    asked.push((head.correlation, request));
                }
            } else if !(link.unanswered && head.api == ApiKey::PRODUCE) {
                link.owed.insert(head.correlation);
            }
        }
        for frame in answers {
            head::correlation(&frame).map(|c| link.owed.remove(&c));
        }
        for (correlation, request) in asked {
            self.truth.count("polls");
            let Some((client, _)) = self.client_at(conn) else { continue };
            let topics = request.topics.as_ref().map(Vec::len);
            let creates = request.allow_auto_topic_creation;
            let found = self.truth.grown.polls(now, (conn, correlation), &client, topics, creates);
            self.found(found, None);
        }
    }

    /// Something of kmend's own is answered.
    pub(super) fn is_answered(&mut self, conn: u64, bytes: &[u8]) {
        if let Some(correlation) = head::correlation(bytes).filter(|c| *c < -1) {
            self.truth.grown.is_answered(self.now, (conn, correlation));
        }
    }

    pub(super) fn kmend_nudges_by_close(&mut self, conn: u64) {
        let Some(link) = self.links.get(&conn) else { return };
        let (owed, unanswered) = (link.owed.len(), link.unanswered);
        self.say(|| format!("kmend closes connection {conn} of its own accord"));
        let found = self.truth.grown.closes(conn, owed, unanswered);
        self.found(found, None);
        self.is_nudged(conn, "connections closed at rest");
    }

    pub(super) fn is_nudged(&mut self, conn: u64, what: &'static str) {
        let now = self.now;
        self.truth.count(what);
        let Some((client, is_one)) = self.client_at(conn) else { return };
        let Some(link) = self.links.get(&conn) else { return };
        let (kmend, changes) = (link.kmend, self.broker.topic.changes());
        let needless = if let Some(life) = link.writer {
            let settled = self.broker.topic.settled();
            let remade = self.broker.topic.number() > 0;
            let knows = self.truth.grown.has_long_known(now, life, settled, remade);
            let known = self.writers[life.0].as_ref().is_some_and(|w| w.spec.software == Software::Other);
            (is_one && knows).then_some("it knows all partitions").or(known.then_some("its software is not known"))
        } else if let Some((person, life)) = link.life.and_then(|l| Some((self.people[l.0].as_ref()?, l))) {
            let since = person.assigned;
            let seen = since > self.processes[kmend].started + SETTLED && since + SETTLED < now;
            let follows = person.life == life.1 && person.member.phase == Phase::Running && !person.member.leads();
            let is_known = person.member.spec.software != Software::Other;
            (is_one && seen && follows)
                .then_some("it does not lead its group")
                .or((!is_known).then_some("its software is not known"))
        } else {
            None
        };
        let found = self.truth.grown.nudged(&client, is_one, changes, needless);
        self.found(found, None);
    }

    /// A Fetch is answered, and not by the broker.
    pub(super) fn kmend_answers_fetch(&mut self, conn: u64, frame: &[u8], body: usize, version: i16) {
        let (whole, _, parts) = reads::answered(frame, body, version);
        let parts = parts.iter().map(|got| (got.error, got.records.len()));
        let (found, is_nudge) = self.truth.grown.fetched(whole, parts);
        self.found(found, None);
        self.truth.count("Fetch requests that kmend answers");
        if is_nudge {
            self.is_nudged(conn, "consumers told of another leader");
        }
    }

    /// New partitions that nobody has in the end.
    pub(super) fn left_unassigned(&mut self) -> Option<String> {
        let (now, group) = (self.now, &self.broker.group);
        let (partitions, settled) = (self.broker.topic.partitions(), self.broker.topic.settled());
        let leader = group.leader.as_deref().and_then(|id| {
            let mut people = self.people.iter().flatten();
            people.find(|p| p.member.is_up() && p.member.who.id == id)
        })?;
        let spec = &leader.member.spec;
        // Whom kmend cannot tell from others, or not reach: documented limits.
        let client = self.client_of(spec.kmend, &spec.client_id, spec.software);
        let pauses = !matches!(spec.habit, Habit::Usual | Habit::Slow);
        let fetches_nothing = spec.software == Software::FranzGo && (pauses || leader.member.positions.is_empty());
        // What a client was told before kmend's time is not known; this one knows, and does not rejoin by itself.
        let started = self.processes[spec.kmend].started;
        let was_told_before = spec.software == Software::Librdkafka && started > settled;
        let from =
            [settled, self.plan.faults_end + 4 * SECOND, leader.assigned, started, self.truth.grown.excused(&client)];
        let had_to = from.into_iter().max().unwrap_or(0) + SOON;
        // Of who has joined before its time, and fetches nothing, kmend does not know what it subscribes to.
        let is_unheard_of = leader.member.positions.is_empty() && leader.assigned < started;
        let is_out_of_reach = spec.software == Software::Other || fetches_nothing || was_told_before || is_unheard_of;
        if is_out_of_reach || leader.member.phase != Phase::Running || had_to > now {
            return None;
        }
        let owners = group.owners();
        let nobody: Vec<i32> = (0..partitions).filter(|p| !owners.contains_key(p)).collect();
        let members: BTreeMap<_, _> = self.people.iter().flatten().map(|p| (&p.member.who.id, &p.member)).collect();
        let unread = owners.iter().filter_map(|(p, id)| Some((p, members.get(id)?)));
        let unread = unread
            .filter(|(p, m)| m.phase == Phase::Running && m.spec.habit == Habit::Usual && !m.positions.contains_key(p));
        let unread: Vec<i32> = unread.map(|(p, _)| *p).filter(|_| had_to + 5 * SECOND < now).collect();
        self.truth.count("groups that had to know");
        (!nobody.is_empty() || !unread.is_empty()).then(|| {
            format!(
                "of {partitions} partitions, there since {}, nobody has {nobody:?}, nobody reads {unread:?}; {} leads",
                ms(settled),
                spec.client_id
            )
        })
    }
}
