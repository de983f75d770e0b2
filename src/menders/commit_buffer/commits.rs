//! OffsetCommit: what the broker refuses because of a rebalance is kept (rule C1), what may be
//! written behind is acknowledged from the journal (rule C8), the rest is learnt from (rule C4).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::book::{Decided, Offer, Place};
use super::conn::{JOURNAL, LOOK, Note, OnConnection, TURN};
use super::rules::{self, Rules};
use crate::config::model::Mode;
use crate::mend::catalog::NO_ID;
use crate::mend::{Asked, Cx, GroupKind, Member, Phase, Verdict};
use crate::store::journal::{Key, Kind, Promise, now_ms};
use crate::wire::codec::commit::{self, Commit, CommitPartition};
use crate::wire::head::RequestHead;

const COORDINATOR: [i16; 3] = [14, 15, 16];
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const STALE_MEMBER_EPOCH: i16 = 113;

/// Member, instance and generation of a commit.
pub(super) type Identity = (Arc<str>, Option<Arc<str>>, i32);

/// In whose name, and with which text, the broker has taken a commit.
pub(super) type Through = (Identity, Option<Arc<str>>);

/// A commit on its way to the broker.
pub(super) struct Sent {
    version: i16,
    commit: Commit,
    /// The journal is asked to keep what the broker refused.
    kept: Option<Kept>,
}

struct Kept {
    proposal: Option<u64>,
    /// By position in the response: its error becomes 0.
    places: Vec<Place>,
    since: Instant,
}

/// One partition of a commit, by name.
struct Part<'a> {
    place: Place,
    id: [u8; 16],
    asked: &'a CommitPartition,
}

/// What becomes of a refused commit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// The client gets the broker's answer.
    Truth,
    /// The member's next assignment decides.
    Wait,
    /// It has been decided: it is still the member's, under this id and generation.
    Ready(Arc<str>, i32),
    /// It has been decided: somebody else's.
    Lost,
}

impl OnConnection {
    pub(super) fn commit_asked(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        head: &RequestHead,
        frame: &mut [u8],
    ) -> Verdict {
        if let Some(proposal) = self.holding.as_ref().filter(|h| h.seq == asked.seq).and_then(|h| h.proposal) {
            return self.behind(cx, asked, head, proposal);
        }
        let Some(commit) = commit::read(asked.version, frame, head.body) else {
            return Verdict::Pass;
        };
        if self.shared.rules.load().of_group(&cx.conn.client_id, &commit.group) == Mode::Off
            && self.shared.book.is_empty()
        {
            return Verdict::Pass;
        }
        let parts = parts(cx, &commit);
        let places: Vec<Place> = parts.iter().map(|p| p.place.clone()).collect();
        if self.shared.book.is_busy(&commit.group, &places, cx.conn.number, cx.now) {
            let holding = self.held_since(cx, asked.seq);
            let until = holding.since + TURN;
            holding.note = Some(Note::Commit(asked.version, commit));
            cx.wake_at(cx.now + LOOK);
            return Verdict::Hold(until);
        }
        if let Some(offers) = self.offers_behind(cx, &commit, &parts)
            && let Some(proposal) = self.shared.book.propose(offers, cx.conn.number, cx.now)
        {
            drop(parts);
            let holding = self.held_since(cx, asked.seq);
            holding.since = cx.now;
            holding.proposal = Some(proposal);
            holding.note = Some(Note::Commit(asked.version, commit));
            return self.behind(cx, asked, head, proposal);
        }
        drop(parts);
        self.note_sent(cx, asked.seq, asked.version, commit);
        Verdict::Pass
    }

    /// Acknowledges a commit that the journal has.
    fn behind(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, proposal: u64) -> Verdict {
        let Some(holding) = &self.holding else {
            return Verdict::Pass;
        };
        match self.shared.book.decide(proposal, cx.now) {
            Decided::NotYet => Verdict::Hold(holding.since + JOURNAL),
            decided => {
                let Some(commit) = self.holding.take().and_then(|h| h.note).and_then(Note::commit) else {
                    return Verdict::Pass;
                };
                if decided == Decided::Given {
                    self.shared.book.carried(&commit.group, &commit.member, cx.conn.number);
                    let interval = self.shared.rules.load().write_behind.unwrap_or_default();
                    cx.wake_at(cx.now + interval);
                    return Verdict::Answer(commit::accepted(asked.version, head.correlation, &commit));
                }
                self.shared.metrics.repair("passed_journal_full");
                self.note_sent(cx, asked.seq, asked.version, commit);
                Verdict::Pass
            }
        }
    }

    /// A commit goes to the broker.
    pub(super) fn note_sent(&mut self, cx: &Cx<'_>, seq: u64, version: i16, commit: Commit) {
        for part in parts(cx, &commit) {
            self.shared.book.own_sent(&commit.group, &part.place);
        }
        self.sent.insert(seq, Sent { version, commit, kept: None });
    }

    /// It will not be answered here.
    pub(super) fn forget_sent(&mut self, cx: &Cx<'_>, sent: Sent) {
        if let Some(proposal) = sent.kept.as_ref().and_then(|k| k.proposal) {
            self.shared.book.withdraw(proposal);
        }
        if sent.kept.is_none() {
            for part in parts(cx, &sent.commit) {
                self.shared.book.own_lost(&sent.commit.group, &part.place, cx.now);
            }
        }
    }

    pub(super) fn commit_answered(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let Some(mut sent) = self.sent.remove(&asked.seq) else {
            return Verdict::Pass;
        };
        if sent.kept.is_none() {
            let Some(outcomes) = commit::outcomes(sent.version, frame, body) else {
                self.forget_sent(cx, sent);
                return Verdict::Pass;
            };
            sent.kept = self.learn(cx, &sent.commit, &outcomes);
        }
        let Some(kept) = &sent.kept else {
            return Verdict::Pass;
        };
        let decided = match kept.proposal {
            // Nothing needs the journal.
            None => Decided::Given,
            Some(proposal) => self.shared.book.decide(proposal, cx.now),
        };
        match decided {
            Decided::NotYet if cx.now < kept.since + JOURNAL => {
                let until = kept.since + JOURNAL;
                self.sent.insert(asked.seq, sent);
                Verdict::Hold(until)
            }
            Decided::NotYet => {
                if let Some(proposal) = kept.proposal {
                    self.shared.book.withdraw(proposal);
                }
                self.shared.metrics.repair("passed_journal_late");
                Verdict::Pass
            }
            Decided::Refused => {
                self.shared.metrics.repair("passed_journal_full");
                Verdict::Pass
            }
            Decided::Given => {
                let catalog = &cx.shared.catalog;
                let mut is_all = true;
                let _ = commit::each(sent.version, frame, body, |name, id, index, error| {
                    let name = if name.is_empty() { catalog.name(&id).unwrap_or_default() } else { name.clone() };
                    let error = if kept.places.contains(&(name, index)) { 0 } else { error };
                    is_all &= error == 0;
                    error
                });
                if is_all {
                    // The client hears of no refusal.
                    cx.shared.progress.commit_hidden(&sent.commit.group, &cx.conn.client());
                }
                self.look_again(cx);
                // Its member may have been given its assignment meanwhile, on another connection.
                self.shared.book.promised(&sent.commit.group);
                Verdict::Pass
            }
        }
    }

    /// Takes from an answer what is to be known of it, and asks the journal to keep what may be kept.
    fn learn(&mut self, cx: &mut Cx<'_>, commit: &Commit, outcomes: &[commit::Outcome]) -> Option<Kept> {
        let book = &self.shared.book;
        let parts = parts(cx, commit);
        let mut offers = Vec::new();
        let mut places = Vec::new();
        let mut lost = Vec::new();
        let mut passed = 0;
        let mut answered = false;
        let rules = self.shared.rules.load_full();
        for part in &parts {
            let same = |o: &&commit::Outcome| {
                o.index == part.place.1 && (*o.name == *part.place.0 || o.name.is_empty() && o.id == part.id)
            };
            let error = outcomes.iter().find(same).map_or(-1, |o| o.error);
            book.own_answered(&commit.group, &part.place, (error == 0).then_some(part.asked.offset), cx.now);
            answered |= error >= 0 && !COORDINATOR.contains(&error);
            let mode = rules.modes.mode(&part.place.0, &cx.conn.client_id, Some(&commit.group));
            let fate =
                if error == 0 || mode == Mode::Off { Fate::Truth } else { self.fate(cx, commit, part, error, &rules) };
            if mode == Mode::Observe && fate != Fate::Truth {
                self.shared.metrics.repair("observed");
                tracing::info!(group = %commit.group, topic = %part.place.0, partition = part.place.1,
                    offset = part.asked.offset, member = %commit.member, error, observed = true,
                    "in mode `repair` a commit that a rebalance refused would be kept");
            }
            if mode != Mode::Repair || fate == Fate::Truth {
                passed += 1;
                continue;
            }
            places.push(part.place.clone());
            match fate {
                Fate::Lost => lost.push(promise(cx, commit, part, Kind::Buffered)),
                fate => offers.push(self.offer(cx, commit, part, fate, &rules)),
            }
        }
        if answered {
            book.carried(&commit.group, &commit.member, cx.conn.number);
        }
        self.shared.metrics.passed(passed);
        self.note_through(commit, &parts, outcomes);
        if places.is_empty() {
            return None;
        }
        let wants = !offers.is_empty();
        let book = &self.shared.book;
        let proposal = wants.then(|| book.propose(offers, cx.conn.number, cx.now)).flatten();
        if wants && proposal.is_none() {
            self.shared.metrics.repair("passed_no_room");
            return None;
        }
        for promise in lost {
            book.superseded(&promise, cx.now);
        }
        Some(Kept { proposal, places, since: cx.now })
    }

    fn fate(&self, cx: &Cx<'_>, commit: &Commit, part: &Part<'_>, error: i16, rules: &Rules) -> Fate {
        let groups = &cx.shared.groups;
        let heir = groups.successor(&commit.group, &commit.member);
        let id = heir.as_ref().unwrap_or(&commit.member);
        let Some(member) = groups.member(&commit.group, id).filter(|_| !commit.member.is_empty()) else {
            return Fate::Truth;
        };
        let book = &self.shared.book;
        if !rules::is_consumer(&member, book.is_vouched(&commit.group)) {
            return Fate::Truth;
        }
        let owns = member.assignment.as_ref().map(|a| a.owns(&part.place.0, part.id, part.place.1));
        let generation = member.joined.generation;
        let fate = match (member.kind, error) {
            (GroupKind::Consumer, STALE_MEMBER_EPOCH) if owns == Some(true) && generation > commit.generation => {
                Fate::Ready(id.clone(), generation)
            }
            (GroupKind::Consumer, _) => Fate::Truth,
            (_, UNKNOWN_MEMBER_ID) if rules.passes_unknown_member(&commit.group) => Fate::Truth,
            (_, ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | REBALANCE_IN_PROGRESS) => {
                let newer = heir.is_some() || generation > commit.generation;
                match owns {
                    Some(true) if newer && member.phase == Phase::Stable => Fate::Ready(id.clone(), generation),
                    Some(false) if newer && member.phase == Phase::Stable => Fate::Lost,
                    _ => Fate::Wait,
                }
            }
            _ => Fate::Truth,
        };
        if matches!(fate, Fate::Truth | Fate::Lost) {
            return fate;
        }
        // A deliberate step back is the app's own business, and what another member was promised
        // is not this one's to replace.
        if book.last(&commit.group, &part.place).is_some_and(|last| part.asked.offset < last) {
            return Fate::Truth;
        }
        let held = book.held(&commit.group, &part.place);
        let others = held.is_some_and(|h| h.promise.member != commit.member && h.promise.member != *id);
        if others { Fate::Truth } else { fate }
    }

    fn offer(&self, cx: &Cx<'_>, commit: &Commit, part: &Part<'_>, fate: Fate, rules: &Rules) -> Offer {
        let mut promise = promise(cx, commit, part, Kind::Buffered);
        promise.ready = false;
        if let Fate::Ready(member, generation) = fate {
            (promise.member, promise.generation, promise.ready) = (member, generation, true);
        }
        let member = cx.shared.groups.member(&commit.group, &promise.member);
        promise.consumer_protocol = member.as_ref().is_some_and(|m| m.kind == GroupKind::Consumer);
        let age = member.map_or_else(|| rules.patience(), |m| rules.age(&m));
        Offer { promise, client: cx.conn.client(), until: Some(cx.now + age), compare: true, delivered: false }
    }

    /// What may be acknowledged before the broker has it (rule C8).
    fn offers_behind(&self, cx: &Cx<'_>, commit: &Commit, parts: &[Part<'_>]) -> Option<Vec<Offer>> {
        let rules = self.shared.rules.load();
        rules.write_behind?;
        let book = &self.shared.book;
        let all = commit.topics.iter().map(|t| t.partitions.len()).sum::<usize>();
        if parts.is_empty() || parts.len() != all || !book.is_durable() || !book.may_write_behind(&commit.group) {
            return None;
        }
        let member: Member = cx.shared.groups.member(&commit.group, &commit.member)?;
        let vouched = book.is_vouched(&commit.group);
        if member.joined.generation != commit.generation
            || member.phase == Phase::Joined
            || !rules::is_consumer(&member, vouched)
        {
            return None;
        }
        let identity = (commit.member.clone(), commit.instance.clone(), commit.generation);
        let mut offers = Vec::with_capacity(parts.len());
        for part in parts {
            if rules.modes.mode(&part.place.0, &cx.conn.client_id, Some(&commit.group)) != Mode::Repair {
                return None;
            }
            let through = self.through.get(&(commit.group.clone(), part.place.0.clone()))?;
            if through.0 != identity || through.1 != part.asked.metadata {
                return None;
            }
            // When that is accepted it counts as newer than any promise.
            if book.is_under_way(&commit.group, &part.place) {
                return None;
            }
            let held = book.held(&commit.group, &part.place);
            let plain = |h: &super::book::Held| {
                h.promise.kind == Kind::Behind && h.promise.ready && h.promise.member == commit.member
            };
            if held.as_ref().is_some_and(|h| !plain(h)) {
                return None;
            }
            if book.last(&commit.group, &part.place).is_none_or(|last| part.asked.offset < last) {
                return None;
            }
            let mut promise = promise(cx, commit, part, Kind::Behind);
            promise.consumer_protocol = member.kind == GroupKind::Consumer;
            offers.push(Offer { promise, client: cx.conn.client(), until: None, compare: false, delivered: false });
        }
        Some(offers)
    }

    /// Remembers in whose name, and with which text, the broker has taken a commit on this connection.
    fn note_through(&mut self, commit: &Commit, parts: &[Part<'_>], outcomes: &[commit::Outcome]) {
        let taken = !outcomes.is_empty() && outcomes.iter().all(|o| o.error == 0);
        let identity = (commit.member.clone(), commit.instance.clone(), commit.generation);
        let mut topics: HashMap<&Arc<str>, Option<&Option<Arc<str>>>> = HashMap::new();
        for part in parts {
            let text = topics.entry(&part.place.0).or_insert(Some(&part.asked.metadata));
            // Different texts: none of them is the usual one.
            *text = text.filter(|t| **t == part.asked.metadata);
        }
        for (topic, text) in topics {
            let key = (commit.group.clone(), topic.clone());
            match text {
                Some(text) if taken => self.through.insert(key, (identity.clone(), text.clone())),
                _ => self.through.remove(&key),
            };
        }
    }
}

/// The partitions of a commit whose topics are known by name.
fn parts<'a>(cx: &Cx<'_>, commit: &'a Commit) -> Vec<Part<'a>> {
    let catalog = &cx.shared.catalog;
    let mut all = Vec::new();
    for topic in &commit.topics {
        let name = if topic.name.is_empty() { catalog.name(&topic.id) } else { Some(topic.name.clone()) };
        let Some(name) = name else { continue };
        let id = if topic.id == NO_ID { catalog.id(&name).unwrap_or(NO_ID) } else { topic.id };
        all.extend(topic.partitions.iter().map(|asked| Part { place: (name.clone(), asked.index), id, asked }));
    }
    all
}

/// What the journal knows a place by.
pub(super) fn journal_key(cx: &Cx<'_>, group: &Arc<str>, (topic, partition): &Place) -> Key {
    let cluster = cx.shared.cluster.id().unwrap_or_default();
    Key { cluster, group: group.clone(), topic: topic.clone(), partition: *partition }
}

fn promise(cx: &Cx<'_>, commit: &Commit, part: &Part<'_>, kind: Kind) -> Promise {
    let key = journal_key(cx, &commit.group, &part.place);
    Promise {
        key,
        kind,
        topic_id: part.id,
        member: commit.member.clone(),
        instance: commit.instance.clone(),
        generation: commit.generation,
        ready: true,
        consumer_protocol: false,
        client_id: cx.conn.client_id.clone(),
        offset: part.asked.offset,
        leader_epoch: part.asked.leader_epoch,
        metadata: part.asked.metadata.clone(),
        baseline: None,
        time_ms: now_ms(),
    }
}
