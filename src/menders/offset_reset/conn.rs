//! One connection's chases: Fetch errors, and the Fetch requests that follow.

use std::collections::HashMap;
use std::sync::Arc;

use super::Shared;
use super::asking::Ask;
use super::chase::{Chase, OnError, PATIENCE};
use super::headroom::{EVERY, Watched};
use super::ledger::Skip;
use super::lift::Lifts;
use super::listed::Asked as AskedOffsets;
use super::metrics::Outcome;
use super::rules::{Rule, Rules};
use crate::config::model::{Mode, ResetPolicy};
use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Injected, Topic, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::{FetchPartition, FetchedPartition};
use crate::wire::codec::local;
use crate::wire::head::RequestHead;

const OFFSET_OUT_OF_RANGE: i16 = 1;
/// A connection that is full of errors is passed through.
const MAX_CHASES: usize = 20_000;

/// A partition of this connection.
pub(super) type Key = (u32, i32);

pub struct OnConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) chases: HashMap<Key, Chase>,
    pub(super) asks: HashMap<u64, Ask>,
    pub(super) tokens: u64,
    /// Mode `observe`: what has been counted already.
    observed: HashMap<Key, Option<i64>>,
    pub(super) lifts: Lifts,
    pub(super) listed: AskedOffsets,
    watched: Watched,
    rounds: u64,
    watching: bool,
    /// What the chases were begun under.
    rules: Arc<Rules>,
}

impl OnConnection {
    pub(super) fn new(shared: Arc<Shared>) -> OnConnection {
        let rules = shared.rules.load_full();
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
            rules,
        }
    }

    pub(super) fn rule(&self, cx: &Cx<'_>, topic: &str) -> Rule {
        let group = cx.shared.peers.only_group(&cx.conn.client());
        self.shared.rules.load().rule(topic, &cx.conn.client_id, group.as_deref())
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
            observed = true,
            "position out of range; in mode `repair` it would be reset if it is below the log start"
        );
    }
}

impl ConnMender for OnConnection {
    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        if !Arc::ptr_eq(&self.rules, &*self.shared.rules.load()) {
            // The configuration has been replaced: what may still be mended begins anew under it.
            self.rules = self.shared.rules.load_full();
            self.chases.clear();
        }
        if !self.watching {
            self.watching = true;
            cx.wake_at(cx.now + EVERY);
        }
        self.lifts.fetching(cx.now + request.max_wait);
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

    fn hold_expired(&mut self, cx: &mut Cx<'_>) {
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
            let topic = cx.topics.get(*number);
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
        self.answered(cx, token, outcome);
    }

    fn peer_asks(&mut self, cx: &mut Cx<'_>, asker: u64, topic: &str, partitions: &[i32]) {
        self.asked_for_starts(cx, asker, topic, partitions);
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
