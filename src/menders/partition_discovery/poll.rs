//! Asking the broker for the topics in use, on a connection of the client's own (rule B1).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, State};
use super::conn::OnConnection;
use super::metrics::Poll;
use super::watch::News;
use crate::config::model::Mode;
use crate::mend::{Cx, Injected};
use crate::wire::api::ApiKey;
use crate::wire::codec::ask;

/// The token of what is sent without waiting for an answer.
pub const NOBODY: u64 = 0;
/// How long an answer that nobody waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What an answer may be long, roughly: it is held whole.
const ANSWER: usize = 1 << 20;
/// Bytes of an answer for each topic and each partition, roughly.
const PER_TOPIC: usize = 100;
const PER_PARTITION: usize = 60;
/// How often a connection looks whether another one's poll has been answered.
const OTHERS: Duration = Duration::from_millis(500);
/// A topic that was seen within this part of the interval need not be asked about again.
const FRESH: f64 = 0.5;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// A poll of this connection.
#[derive(Debug)]
pub struct Asking {
    token: u64,
    version: i16,
    until: Instant,
    asked: Vec<Arc<str>>,
    rest: VecDeque<Vec<Arc<str>>>,
    news: bool,
    useful: bool,
    leaderless: bool,
}

impl OnConnection {
    /// Asks, if it is time and this is the connection for it. When to look again.
    pub(super) fn poll(&mut self, cx: &mut Cx<'_>, client: &Arc<Client>) -> Option<Instant> {
        let rules = self.shared.rules.load_full();
        let mut state = client.state();
        if !state.schedule.is_due(cx.now) {
            // Due, and another connection has asked: its answer plans the next one.
            let next = state.schedule.next;
            return Some(if next > cx.now { next } else { cx.now + OTHERS });
        }
        let fresh = rules.interval.mul_f64(FRESH);
        let group = cx.shared.peers.only_group(&client.key.client);
        let mut topics: Vec<Arc<str>> = Vec::new();
        let mut oldest: Option<Instant> = None;
        for (topic, used) in &state.uses {
            if rules.modes.mode(topic, &client.key.client.client_id, group.as_deref()) != Mode::Repair {
                continue;
            }
            let seen = self.shared.watch.sight(topic).map(|s| s.at).max(used.asked);
            if seen.is_some_and(|at| cx.now.saturating_duration_since(at) < fresh) {
                oldest = oldest.min(seen).or(seen);
            } else if !state.links.get(&cx.conn.number).is_some_and(|l| l.denied.contains(topic)) {
                topics.push(topic.clone());
            }
        }
        let gap = state.schedule.gap(rules.interval, self.shared.chance());
        if topics.is_empty() {
            // Others have asked: once the oldest answer is old enough, it is this client's turn.
            let next = oldest.map_or(cx.now + gap, |at| (at + gap).max(cx.now + fresh));
            state.schedule.next = next;
            return Some(next);
        }
        if state.schedule.is_left_to_another(cx.conn.number, cx.now) {
            return Some(cx.now + Duration::from_millis(50));
        }
        if !state.schedule.was_appointed()
            && let Some(spare) = spare(&state, cx.conn.number, cx.now)
        {
            let until = state.schedule.appoint(spare, cx.now);
            drop(state);
            cx.shared.peers.wake(spare);
            return Some(until);
        }
        let until = state.schedule.ask(cx.conn.number, rules.interval, cx.now);
        for topic in &topics {
            if let Some(used) = state.uses.get_mut(topic) {
                used.asked = Some(cx.now);
            }
        }
        drop(state);
        topics.sort_unstable();
        let mut rest = self.chunks(topics);
        let first = rest.pop_front().unwrap_or_default();
        let asking =
            Asking { token: 0, version: 0, until, asked: first, rest, news: false, useful: false, leaderless: false };
        if !self.send_poll(cx, asking) {
            // Not now: within a login, or behind a JoinGroup.
            let mut state = client.state();
            state.link(cx.conn.number, cx.conn.node).blocked = true;
            state.schedule.interrupted(cx.now);
            state.schedule.next = cx.now + (gap / 4).max(Duration::from_millis(250));
            return Some(state.schedule.next);
        }
        Some(until)
    }

    /// Parts whose answers are not too long to be held.
    fn chunks(&self, topics: Vec<Arc<str>>) -> VecDeque<Vec<Arc<str>>> {
        let mut chunks = VecDeque::from([Vec::new()]);
        let mut bytes = 0;
        for topic in topics {
            let partitions = self.shared.watch.sight(&topic).map_or(1, |s| s.partitions);
            let size = PER_TOPIC + topic.len() + partitions * PER_PARTITION;
            if bytes + size > ANSWER && bytes > 0 {
                chunks.push_back(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(chunk) = chunks.back_mut() {
                chunk.push(topic);
            }
        }
        chunks
    }

    fn send_poll(&mut self, cx: &mut Cx<'_>, mut asking: Asking) -> bool {
        let Some(version) = cx.conn.version(ApiKey::METADATA, ask::version::METADATA) else {
            return false;
        };
        let topics: Vec<&str> = asking.asked.iter().map(|t| &**t).collect();
        let body = match ask::metadata(version, &topics) {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(%error, "partition counts could not be asked for");
                return false;
            }
        };
        self.tokens += 1;
        (asking.token, asking.version) = (self.tokens, version);
        if !cx.inject(self.tokens, ApiKey::METADATA, version, body, asking.until) {
            return false;
        }
        self.asking = Some(asking);
        if let Some(client) = &self.client {
            client.state().link(cx.conn.number, cx.conn.node).blocked = false;
        }
        true
    }

    /// What has come of a request of this mender's.
    pub(super) fn polled(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        let Some(mut asking) = self.asking.take_if(|a| a.token == token) else {
            return;
        };
        let client = self.client(cx);
        let took = match outcome {
            Injected::Lost => {
                self.shared.metrics.poll(Poll::Lost);
                return self.poll_failed(cx, &client);
            }
            Injected::Answer { frame, body, took } => {
                match ask::described(asking.version, frame, body) {
                    Ok(topics) => self.described(cx, &client, &mut asking, topics),
                    Err(error) => tracing::warn!(%error, "a Metadata response could not be read"),
                }
                took
            }
        };
        if !asking.useful {
            self.shared.metrics.poll(Poll::Failed);
            return self.poll_failed(cx, &client);
        }
        self.shared.metrics.poll(Poll::Answered);
        if let Some(next) = asking.rest.pop_front() {
            asking.asked = next;
            asking.useful = false;
            if self.send_poll(cx, asking) {
                return;
            }
            return self.poll_failed(cx, &client);
        }
        let interval = self.shared.rules.load().interval;
        let mut state = client.state();
        let mut gap = state.schedule.gap(interval, self.shared.chance());
        if asking.leaderless {
            gap = gap.min(Duration::from_secs(1));
        }
        state.schedule.answered(asking.news, took, gap, cx.now);
        drop(state);
        // What has grown is looked at now, and the next poll planned.
        self.wake(cx, cx.now);
    }

    fn poll_failed(&mut self, cx: &mut Cx<'_>, client: &Arc<Client>) {
        let interval = self.shared.rules.load().interval;
        let mut state = client.state();
        let gap = state.schedule.gap(interval, self.shared.chance());
        state.schedule.failed(gap, cx.now);
        let next = state.schedule.next;
        drop(state);
        self.wake(cx, next);
    }

    fn described(&mut self, cx: &Cx<'_>, client: &Arc<Client>, asking: &mut Asking, topics: Vec<ask::Described>) {
        for topic in topics {
            if topic.error == TOPIC_AUTHORIZATION_FAILED {
                let mut state = client.state();
                state.link(cx.conn.number, cx.conn.node).denied.insert(Arc::from(topic.name.as_str()));
                // Another connection may be somebody else's.
                if let Some(used) = state.uses.get_mut(topic.name.as_str()) {
                    used.asked = None;
                }
                asking.useful = true;
            }
            if topic.error == UNKNOWN_TOPIC_OR_PARTITION {
                // Deleted, and perhaps made again some day.
                asking.useful = true;
            }
            if topic.error != 0 {
                continue;
            }
            let mut leaders = vec![-1; topic.partitions.len()];
            for (index, _, leader) in topic.partitions {
                if let Some(slot) = usize::try_from(index).ok().and_then(|i| leaders.get_mut(i)) {
                    *slot = leader;
                }
            }
            asking.useful = true;
            match self.shared.see(&topic.name, topic.id, &leaders, cx.now) {
                News::Grown { .. } | News::Recreated => asking.news = true,
                News::Leaderless => asking.leaderless = true,
                News::Same | News::Stale => {}
            }
        }
    }
}

/// A connection of the client that carries no records: nothing waits behind a poll there.
fn spare(state: &State, number: u64, now: Instant) -> Option<u64> {
    if state.links.get(&number).is_none_or(|l| l.is_spare(now) && !l.coordinator) {
        return None;
    }
    let spares = state.links.iter().filter(|(n, l)| **n != number && l.is_spare(now) && !l.blocked);
    // One without heartbeats is best.
    spares.min_by_key(|(n, l)| (l.coordinator, **n)).map(|(n, _)| *n)
}
