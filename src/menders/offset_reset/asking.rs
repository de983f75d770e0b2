//! What the leader is asked on the client's own connection, and what comes of its answers.

use std::sync::Arc;
use std::time::Duration;

use super::chase::{Chase, PATIENCE, Phase};
use super::conn::OnConnection;
use super::metrics::Outcome;
use crate::config::model::{Mode, ResetPolicy};
use crate::mend::{Cx, FetchRequest, Injected};
use crate::wire::api::ApiKey;
use crate::wire::codec::ask::{self, EARLIEST, LATEST};

/// Answers to injected requests wait behind long polls.
const DEADLINE: Duration = Duration::from_secs(10);

/// What an injected request asks.
#[derive(Debug)]
pub(super) enum Ask {
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

impl OnConnection {
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

    /// Asks the leader about every partition that is new.
    pub(super) fn ask_about_new(&mut self, cx: &mut Cx<'_>) {
        let mut topics: Vec<u32> =
            self.chases.iter().filter(|(_, c)| c.phase == Phase::New).map(|(k, _)| k.0).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            self.ask_about(cx, topic);
        }
    }

    fn ask_about(&mut self, cx: &mut Cx<'_>, number: u32) {
        let Some(topic) = cx.topics.get(number).cloned() else {
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
    pub(super) fn settle(
        &mut self,
        cx: &Cx<'_>,
        number: u32,
        which: impl Fn(&Chase) -> bool,
        outcome: Option<Outcome>,
    ) {
        for chase in self.chases.iter_mut().filter(|(k, c)| k.0 == number && which(c)).map(|(_, c)| c) {
            chase.give_up(cx.now);
            if let Some(outcome) = outcome {
                self.shared.metrics.outcome(outcome);
            }
        }
    }

    fn told_name(&mut self, cx: &mut Cx<'_>, number: u32, name: Option<String>) {
        let id = cx.topics.get(number).and_then(|t| t.id);
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
            .topics
            .get(number)
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

    pub(super) fn close_session(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) {
        let body = ask::close_fetch_session(request.version, request.session);
        if !self.inject(cx, Ask::CloseSession, ApiKey::FETCH, request.version, body) {
            tracing::debug!(session = request.session, "a fetch session stays with the broker until it evicts it");
        }
    }

    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        let Some(ask) = self.asks.remove(&token) else {
            return;
        };
        match (ask, outcome) {
            (Ask::CloseSession, _) => {}
            (Ask::Name { topic, version }, Injected::Answer { frame, body, .. }) => {
                let name = ask::topic_name(version, frame, body).unwrap_or_default();
                self.told_name(cx, topic, name);
            }
            (Ask::Name { topic, .. }, Injected::Lost) => self.told_name(cx, topic, None),
            (Ask::Offsets { topic, partitions, is_start, version }, Injected::Answer { frame, body, .. }) => {
                let answer = ask::listed_offsets(version, frame, body).unwrap_or_default();
                self.told_offsets(cx, topic, &partitions, is_start, &answer);
            }
            (Ask::Offsets { topic, partitions, is_start, .. }, Injected::Lost) => {
                self.told_offsets(cx, topic, &partitions, is_start, &[]);
            }
            (Ask::Starts { topic, partitions, version }, Injected::Answer { frame, body, .. }) => {
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
}
