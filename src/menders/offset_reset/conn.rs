//! One connection's chases: Fetch errors, and the Fetch requests that follow.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::chase::{Chase, OnError, PATIENCE, Phase};
use super::headroom::{EVERY, Watched};
use super::ledger::Skip;
use super::lift::Lifts;
use super::listed::Asked as AskedOffsets;
use super::metrics::Outcome;
use super::rules::Rule;
use crate::config::model::{Mode, ResetPolicy};
use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Injected, Topic, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::ask::{self, EARLIEST, LATEST};
use crate::wire::codec::entry::{FetchPartition, FetchedPartition};
use crate::wire::codec::local;
use crate::wire::head::RequestHead;

const OFFSET_OUT_OF_RANGE: i16 = 1;
/// Answers to injected requests wait behind long polls.
const DEADLINE: Duration = Duration::from_secs(10);
/// A connection that is full of errors is passed through.
const MAX_CHASES: usize = 20_000;

/// A partition of this connection.
pub(super) type Key = (u32, i32);

/// What an injected request asks.
#[derive(Debug)]
enum Ask {
    Name {
        topic: u32,
        version: i16,
    },
    Offsets {
        topic: u32,
        partitions: Vec<i32>,
        is_start: bool,
        version: i16,
    },
    /// For an OffsetFetch, or for another connection of the client.
    Starts {
        topic: Arc<str>,
        partitions: Vec<i32>,
        version: i16,
    },
    CloseSession,
}

pub struct OnConnection {
    pub(super) shared: Arc<Shared>,
    chases: HashMap<Key, Chase>,
    asks: HashMap<u64, Ask>,
    tokens: u64,
    /// Mode `observe`: what has been counted already.
    observed: HashMap<Key, Option<i64>>,
    pub(super) lifts: Lifts,
    pub(super) listed: AskedOffsets,
    watched: Watched,
    rounds: u64,
    watching: bool,
}

impl OnConnection {
    pub(super) fn new(shared: Arc<Shared>) -> OnConnection {
        OnConnection {
            shared,
            chases: HashMap::new(),
            asks: HashMap::new(),
            tokens: 0,
            observed: HashMap::new(),
            lifts: Lifts::default(),
            listed: AskedOffsets::default(),
            watched: Watched::default(),
            rounds: 0,
            watching: false,
        }
    }

    fn rule(&self, cx: &Cx<'_>, topic: &str) -> Rule {
        let group = cx.shared.peers.only_group(&cx.conn.client());
        self.shared.rules.load().rule(topic, &cx.conn.client_id, group.as_deref())
    }

    fn inject(
        &mut self,
        cx: &mut Cx<'_>,
        ask: Ask,
        api: ApiKey,
        version: i16,
        body: Result<Vec<u8>, ask::CodecError>,
    ) -> bool {
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "a request of kmend's own cannot be written");
                return false;
            }
        };
        self.tokens += 1;
        if !cx.inject(self.tokens, api, version, body, cx.now + DEADLINE) {
            return false;
        }
        self.asks.insert(self.tokens, ask);
        true
    }

    /// An error 1: what becomes of it.
    fn out_of_range(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, topic: &Topic, partition: i32) -> bool {
        let key = (topic.number, partition);
        let position = cx.fetch.find(topic.number, partition);
        let x = position.filter(|p| p.seq <= request.seq).map(|p| p.offset);
        // Without a name no pattern and no exemption can be judged: the general rule, for now.
        let rule = self.rule(cx, topic.name.as_deref().unwrap_or(""));
        match rule.mode {
            Mode::Off => return false,
            Mode::Observe => {
                self.observe(topic, key, x);
                return false;
            }
            Mode::Repair if rule.policy == ResetPolicy::Passthrough => return false,
            Mode::Repair => {}
        }
        if self.chases.get(&key).is_none_or(|c| x.is_some() && c.x.is_some() && c.x != x) {
            if self.chases.len() >= MAX_CHASES {
                return false;
            }
            let chase = Chase::new(x, rule.policy, rule.explicit, request.isolation, cx.now);
            self.chases.insert(key, chase);
        }
        let Some(chase) = self.chases.get_mut(&key) else {
            return false;
        };
        match chase.on_error(request.seq, cx.now) {
            OnError::Empty => true,
            OnError::Pass => false,
            OnError::GiveUp(outcome) => {
                self.shared.metrics.outcome(outcome);
                tracing::warn!(
                    topic = topic.name.as_deref().unwrap_or("?"),
                    partition,
                    ?x,
                    "the log start moves faster than the client; its error passes"
                );
                false
            }
        }
    }

    fn observe(&mut self, topic: &Topic, key: Key, x: Option<i64>) {
        if self.observed.get(&key) == Some(&x) || self.observed.len() >= MAX_CHASES {
            return;
        }
        self.observed.insert(key, x);
        self.shared.metrics.outcome(Outcome::Observed);
        tracing::warn!(
            topic = topic.name.as_deref().unwrap_or("?"),
            partition = key.1,
            position = x,
            "position out of range; in mode `repair` it would be reset if it is below the log start"
        );
    }

    /// Asks the leader about every partition that is new.
    fn ask_about_new(&mut self, cx: &mut Cx<'_>) {
        let mut topics: Vec<u32> =
            self.chases.iter().filter(|(_, c)| c.phase == Phase::New).map(|(k, _)| k.0).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            self.ask_about(cx, topic);
        }
    }

    fn ask_about(&mut self, cx: &mut Cx<'_>, number: u32) {
        let Some(topic) = cx.fetch.topic(number).cloned() else {
            return;
        };
        let name = topic.name.clone().or_else(|| topic.id.and_then(|id| cx.shared.catalog.name(&id)));
        let Some(name) = name else {
            self.ask_name(cx, number, topic.id);
            return;
        };
        let rule = self.rule(cx, &name);
        if rule.mode != Mode::Repair || rule.policy == ResetPolicy::Passthrough {
            self.settle(cx, number, |c| c.phase == Phase::New, None);
            return;
        }
        let new = |c: &&mut Chase| c.phase == Phase::New;
        for (_, chase) in self.chases.iter_mut().filter(|(k, _)| k.0 == number).filter(|(_, c)| new(c)) {
            (chase.policy, chase.explicit) = (rule.policy, rule.explicit);
        }
        let partitions: Vec<i32> =
            self.chases.iter().filter(|(k, c)| k.0 == number && c.phase == Phase::New).map(|(k, _)| k.1).collect();
        let isolation = self.chases.iter().find(|(k, _)| k.0 == number).map_or(0, |(_, c)| c.isolation);
        let Some(version) = cx.conn.version(ApiKey::LIST_OFFSETS, ask::version::LIST_OFFSETS) else {
            self.settle(cx, number, |c| c.phase == Phase::New, Some(Outcome::Unknown));
            return;
        };
        let mut wanted = vec![(EARLIEST, true)];
        if rule.policy == ResetPolicy::Latest {
            wanted.push((LATEST, false));
        }
        for (timestamp, is_start) in wanted {
            let body = ask::list_offsets(version, &name, &partitions, timestamp, isolation);
            let ask = Ask::Offsets { topic: number, partitions: partitions.clone(), is_start, version };
            if !self.inject(cx, ask, ApiKey::LIST_OFFSETS, version, body) {
                // Not now (a JoinGroup is being answered, a login runs): again with the next request.
                cx.wake_at(cx.now + PATIENCE);
                return;
            }
        }
        for chase in self.chases.iter_mut().filter(|(k, c)| k.0 == number && c.phase == Phase::New).map(|(_, c)| c) {
            chase.asked();
        }
    }

    fn ask_name(&mut self, cx: &mut Cx<'_>, number: u32, id: Option<[u8; 16]>) {
        let version = cx.conn.version(ApiKey::METADATA, ask::version::METADATA_BY_ID);
        let (Some(id), Some(version)) = (id, version) else {
            self.settle(cx, number, Chase::is_open, Some(Outcome::Unknown));
            return;
        };
        let body = ask::topic_by_id(version, id);
        if self.inject(cx, Ask::Name { topic: number, version }, ApiKey::METADATA, version, body) {
            for chase in self.chases.iter_mut().filter(|(k, c)| k.0 == number && c.phase == Phase::New).map(|(_, c)| c)
            {
                chase.phase = Phase::Naming;
            }
        }
    }

    /// Lets the errors of a topic's partitions pass.
    fn settle(&mut self, cx: &Cx<'_>, number: u32, which: impl Fn(&Chase) -> bool, outcome: Option<Outcome>) {
        for chase in self.chases.iter_mut().filter(|(k, c)| k.0 == number && which(c)).map(|(_, c)| c) {
            chase.give_up(cx.now);
            if let Some(outcome) = outcome {
                self.shared.metrics.outcome(outcome);
            }
        }
    }

    fn told_name(&mut self, cx: &mut Cx<'_>, number: u32, name: Option<String>) {
        let id = cx.fetch.topic(number).and_then(|t| t.id);
        match (name, id) {
            (Some(name), Some(id)) => {
                cx.shared.catalog.learn_name(&name, id);
                for chase in
                    self.chases.iter_mut().filter(|(k, c)| k.0 == number && c.phase == Phase::Naming).map(|(_, c)| c)
                {
                    chase.phase = Phase::New;
                }
                self.ask_about(cx, number);
            }
            _ => self.settle(cx, number, Chase::is_open, Some(Outcome::Unknown)),
        }
    }

    fn told_offsets(
        &mut self,
        cx: &mut Cx<'_>,
        number: u32,
        asked: &[i32],
        is_start: bool,
        answer: &[(i32, i16, i64)],
    ) {
        let name = cx
            .fetch
            .topic(number)
            .and_then(|t| t.name.clone().or_else(|| t.id.and_then(|id| cx.shared.catalog.name(&id))));
        for partition in asked {
            let offset = answer.iter().find(|a| a.0 == *partition && a.1 == 0 && a.2 >= 0).map(|a| a.2);
            if let (Some(name), true, Some(_)) = (&name, is_start, offset) {
                self.shared.starts.tell(name, *partition, offset, cx.now);
            }
            let Some(chase) = self.chases.get_mut(&(number, *partition)) else {
                continue;
            };
            let Some(outcome) = chase.told(offset, is_start, cx.now) else {
                continue;
            };
            self.shared.metrics.outcome(outcome);
            let (x, explicit, policy) = (chase.x, chase.explicit, chase.policy);
            tracing::info!(
                topic = name.as_deref().unwrap_or("?"),
                partition,
                position = x,
                leader_says = offset,
                ?outcome,
                "position out of range, and not mended: the client gets the broker's own error"
            );
            if let (Outcome::NotBelow, true, Some(name)) = (outcome, explicit, &name) {
                self.shared.steers.expect(cx.conn.client(), name, *partition, policy, cx.now);
            }
        }
    }

    /// Asks this broker for log starts that another part of kmend wants to know.
    /// `false`: it cannot be asked now, and that has been noted.
    pub(super) fn ask_starts(&mut self, cx: &mut Cx<'_>, topic: &Arc<str>, partitions: &[i32]) -> bool {
        let version = cx.conn.version(ApiKey::LIST_OFFSETS, ask::version::LIST_OFFSETS);
        let asked = version.is_some_and(|version| {
            let body = ask::list_offsets(version, topic, partitions, EARLIEST, 0);
            let ask = Ask::Starts { topic: topic.clone(), partitions: partitions.to_vec(), version };
            self.inject(cx, ask, ApiKey::LIST_OFFSETS, version, body)
        });
        if !asked {
            for partition in partitions {
                self.shared.starts.tell(topic, *partition, None, cx.now);
            }
        }
        asked
    }

    fn close_session(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) {
        let body = ask::close_fetch_session(request.version, request.session);
        if !self.inject(cx, Ask::CloseSession, ApiKey::FETCH, request.version, body) {
            tracing::debug!(session = request.session, "a fetch session stays with the broker until it evicts it");
        }
    }
}

impl ConnMender for OnConnection {
    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        if !self.watching {
            self.watching = true;
            cx.wake_at(cx.now + EVERY);
        }
        if self.chases.is_empty() || request.replica {
            return Verdict::Pass;
        }
        self.ask_about_new(cx);
        if let Some(since) = self.chases.values().filter(|c| c.is_open()).map(|c| c.since).min() {
            return Verdict::Hold(since + PATIENCE);
        }
        if !request.is_full() && self.chases.values().any(Chase::needs_new_session) {
            for chase in self.chases.values_mut() {
                chase.broken |= chase.needs_new_session();
            }
            self.close_session(cx, request);
            return Verdict::Answer(local::fetch_error(
                request.version,
                request.correlation,
                local::FETCH_SESSION_ID_NOT_FOUND,
            ));
        }
        Verdict::Pass
    }

    fn fetch_hold_expired(&mut self, cx: &mut Cx<'_>) {
        for chase in self.chases.values_mut().filter(|c| c.is_open()) {
            chase.give_up(cx.now);
            self.shared.metrics.outcome(Outcome::Unknown);
        }
    }

    fn fetch_request_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
        if self.chases.is_empty() {
            return;
        }
        let key = (topic.number, partition.index());
        let Some(chase) = self.chases.get_mut(&key) else {
            return;
        };
        match chase.on_request(partition.offset(), request.seq, cx.now) {
            Ok(Some(e)) => partition.set_offset(e),
            Ok(None) => {}
            Err(()) => {
                self.chases.remove(&key);
            }
        }
    }

    fn fetch_request_forget(&mut self, _cx: &mut Cx<'_>, topic: &Topic, partition: i32) {
        self.chases.remove(&(topic.number, partition));
    }

    fn fetch_response_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchedPartition<'_>,
    ) -> bool {
        let error = partition.error();
        if error == OFFSET_OUT_OF_RANGE {
            let empty = self.out_of_range(cx, request, topic, partition.index());
            if empty {
                let known = cx.fetch.find(topic.number, partition.index());
                let (hw, lso, start) = known.map_or((-1, -1, -1), |p| (p.high_watermark, p.last_stable, p.log_start));
                partition.clear_error(hw, lso, start);
            }
            return empty;
        }
        if !self.chases.is_empty()
            && let Some(chase) = self.chases.get_mut(&(topic.number, partition.index()))
        {
            let seen = if error == 0 { &mut chase.served } else { &mut chase.failed };
            *seen = Some(request.seq);
        }
        false
    }

    fn fetch_response_end(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, error: i16) {
        if self.chases.is_empty() || error != 0 {
            return;
        }
        let client = cx.conn.client();
        for ((number, partition), chase) in &mut self.chases {
            let Some((old, new)) = chase.on_response_end(request.seq, request.is_full()) else {
                continue;
            };
            let topic = cx.fetch.topic(*number);
            let name = topic.and_then(|t| t.name.clone().or_else(|| t.id.and_then(|id| cx.shared.catalog.name(&id))));
            let skip = Skip {
                client: client.clone(),
                group: cx.shared.peers.only_group(&client),
                topic: name.unwrap_or_else(|| Arc::from("?")),
                partition: *partition,
                old,
                new,
                policy: chase.policy,
                outcome: Outcome::Repaired,
            };
            self.shared.ledger.enter(&skip, &self.shared.metrics);
        }
        self.ask_about_new(cx);
    }

    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        match head.api {
            ApiKey::LIST_OFFSETS => self.list_offsets_request(cx, asked, head, frame),
            ApiKey::OFFSET_FETCH => self.offset_fetch_request(cx, asked, head, frame),
            ApiKey::JOIN_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => self.join_request(cx, head, frame),
            _ => {}
        }
        Verdict::Pass
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        match asked.api {
            ApiKey::LIST_OFFSETS => {
                self.list_offsets_response(cx, asked, frame, body);
                Verdict::Pass
            }
            ApiKey::OFFSET_FETCH => self.offset_fetch_response(cx, asked, frame, body),
            _ => Verdict::Pass,
        }
    }

    fn injected(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        let Some(ask) = self.asks.remove(&token) else {
            return;
        };
        match (ask, outcome) {
            (Ask::CloseSession, _) => {}
            (Ask::Name { topic, version }, Injected::Answer { frame, body }) => {
                let name = ask::topic_name(version, frame, body).unwrap_or_default();
                self.told_name(cx, topic, name);
            }
            (Ask::Name { topic, .. }, Injected::Lost) => self.told_name(cx, topic, None),
            (Ask::Offsets { topic, partitions, is_start, version }, Injected::Answer { frame, body }) => {
                let answer = ask::listed_offsets(version, frame, body).unwrap_or_default();
                self.told_offsets(cx, topic, &partitions, is_start, &answer);
            }
            (Ask::Offsets { topic, partitions, is_start, .. }, Injected::Lost) => {
                self.told_offsets(cx, topic, &partitions, is_start, &[]);
            }
            (Ask::Starts { topic, partitions, version }, Injected::Answer { frame, body }) => {
                let answer = ask::listed_offsets(version, frame, body).unwrap_or_default();
                for partition in partitions {
                    let start = answer.iter().find(|a| a.0 == partition && a.1 == 0 && a.2 >= 0).map(|a| a.2);
                    self.shared.starts.tell(&topic, partition, start, cx.now);
                }
                self.lifts.wake(cx);
            }
            (Ask::Starts { topic, partitions, .. }, Injected::Lost) => {
                for partition in partitions {
                    self.shared.starts.tell(&topic, partition, None, cx.now);
                }
                self.lifts.wake(cx);
            }
        }
    }

    fn peer_asks(&mut self, cx: &mut Cx<'_>, asker: u64, topic: &str, partitions: &[i32]) {
        self.lifts.asked_by(asker);
        if !self.ask_starts(cx, &Arc::from(topic), partitions) {
            self.lifts.wake(cx);
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.rounds += 1;
        self.ask_about_new(cx);
        self.watched.look(cx, &self.shared.headroom, self.rounds);
        cx.wake_at(cx.now + EVERY);
    }

    fn closed(&mut self, _cx: &mut Cx<'_>) {
        self.watched.forget(&self.shared.headroom);
    }
}
