//! Nudging a producer: an idle connection is closed, or a request is refused (rules B2, B3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::FETCHING;
use super::conn::{OnConnection, Open};
use super::gate::{Gates, Judgement};
use super::growth::Role;
use super::software::How;
use crate::config::model::Nudge;
use crate::config::units::Auto;
use crate::mend::catalog::NO_ID;
use crate::mend::{Cx, ProduceRequest, Produced, Verdict};
use crate::wire::codec::refuse::{self, Refused};

/// The client looks who leads the partition now, and sends again.
pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// How long an idle moment is looked for before a request is refused.
const IDLE_FIRST: Duration = Duration::from_millis(700);
/// How often an idle moment is looked for.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_SELDOM: Duration = Duration::from_millis(100);
/// A connection without records is closed after so long without a request.
const SPARE: Duration = Duration::from_millis(20);
/// One that heartbeats and commits use is the last to be closed.
const COORDINATOR: Duration = Duration::from_millis(500);

impl OnConnection {
    fn may(&self, how: How) -> bool {
        let forbidden = matches!(
            (self.shared.rules.load().nudge, how),
            (Auto::Set(Nudge::Reject), How::Close) | (Auto::Set(Nudge::Disconnect), How::Reject)
        );
        !forbidden && self.habits.is_some_and(|h| h.producer.contains(&how))
    }

    /// A Produce request's front.
    pub(super) fn produce(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest) -> Verdict {
        self.pauses.note(request.quiet);
        self.unanswered |= request.acks == 0;
        if !self.gates.is_empty() {
            return Verdict::Gather;
        }
        if self.may_refuse(cx, request) { Verdict::Gather } else { Verdict::Pass }
    }

    /// Whether a request may be the one that is refused.
    fn may_refuse(&self, cx: &Cx<'_>, request: &ProduceRequest) -> bool {
        let Some(habits) = self.habits.filter(|_| !self.open.is_empty() && self.may(How::Reject)) else {
            return false;
        };
        let closes_first = self.may(How::Close) && habits.producer.first() == Some(&How::Close);
        let patience = if closes_first { IDLE_FIRST } else { Duration::ZERO };
        let wanted = self.open.iter().filter_map(Open::refusable).any(|at| at + patience <= cx.now);
        wanted
            && !self.unanswered
            && (self.must_retry == Some(true) || (habits.refuse_alone && request.alone))
            && self.client.as_ref().is_some_and(|c| !c.state().gives_up)
    }

    /// A Produce request that is held whole: behind a refused one, or perhaps to be refused.
    pub(super) fn judge(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        if !self.gates.is_empty() {
            return match self.gates.judge(partitions, cx.now) {
                Judgement::Pass => Verdict::Pass,
                Judgement::Refuse => self.refuse(cx, request, partitions),
                Judgement::PassUnsent => {
                    // Refusing costs this producer records: never again.
                    self.client(cx).state().gives_up = true;
                    tracing::warn!(client_id = %cx.conn.client_id,
                        "a producer did not send again what was refused; it is not refused anything any more");
                    Verdict::Pass
                }
            };
        }
        let Some(habits) = self.habits else {
            return Verdict::Pass;
        };
        let foreign = |p: &Produced| p.batch.is_some_and(|b| b.producer_id < 0);
        let alone = habits.refuse_alone && request.alone && partitions.iter().all(foreign);
        if partitions.is_empty() || !(alone || Gates::is_safe(partitions)) || !self.may_refuse(cx, request) {
            return Verdict::Pass;
        }
        let client = self.client(cx);
        let mut taken = false;
        {
            let mut state = client.state();
            for open in self.open.iter().filter(|o| o.refusable().is_some()) {
                let carries = |p: &Produced| p.topic.name.as_deref() == Some(&*open.topic);
                taken |= partitions.iter().any(carries)
                    && state.take(&open.topic, Role::Producer, cx.conn.number, How::Reject, cx.now);
            }
        }
        if !taken {
            return Verdict::Pass;
        }
        client.changed();
        self.sync(cx);
        self.log(cx, How::Reject);
        self.refuse(cx, request, partitions)
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        let entries: Vec<Refused<'_>> = partitions.iter().map(refused).collect();
        let answer = refuse::produce_refused(request.version, request.correlation, &entries, NOT_LEADER_OR_FOLLOWER);
        let Some(answer) = answer else {
            return Verdict::Pass;
        };
        self.gates.shut(partitions, cx.now);
        Verdict::Answer(answer)
    }

    /// What this connection could be closed for: topic, role, and not before when.
    fn closes(&self, cx: &Cx<'_>, open: &Open) -> Option<(Arc<str>, Role, Instant)> {
        let fetches = self.fetched.is_some_and(|at| cx.now.saturating_duration_since(at) < FETCHING);
        let carries = fetches || self.must_retry.is_some() || !self.pauses.is_empty();
        let any = self.habits.is_some_and(|h| h.any_close) && open.one_app && !carries;
        let late = if self.beats_here { COORDINATOR } else { Duration::ZERO };
        // Its next request, whenever it comes, will be refused.
        let refuses_first = self.habits.is_some_and(|h| h.producer.first() == Some(&How::Reject))
            && self.may(How::Reject)
            && self.must_retry == Some(true)
            && !open.recreated;
        if let Some(due) = open.produce.filter(|_| self.may(How::Close) && !refuses_first) {
            if open.eligible[Role::Producer as usize] {
                return Some((open.topic.clone(), Role::Producer, due));
            }
            if any {
                return Some((open.topic.clone(), Role::Producer, due + late));
            }
        }
        let (how, due) = open.consume?;
        let here = how == How::Close && open.eligible[Role::Consumer as usize] && !carries;
        here.then(|| (open.topic.clone(), Role::Consumer, due + late))
    }

    /// Closes this connection if it is idle and somebody is to be nudged by that. When to look again.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        if self.unanswered || self.open.is_empty() {
            return None;
        }
        let candidates: Vec<_> = self.open.iter().filter_map(|o| self.closes(cx, o)).collect();
        let due = candidates.iter().map(|(_, _, due)| *due).min()?;
        if due > cx.now {
            return Some(due);
        }
        let ready = cx.quiet.is_some_and(|quiet| {
            if self.pauses.is_empty() {
                cx.now.saturating_duration_since(quiet) >= SPARE
            } else {
                self.pauses.may_close(quiet, cx.now, self.must_retry == Some(true))
            }
        });
        if !ready {
            let told = self.open.iter().all(|o| o.told);
            return Some(cx.now + if told { LOOK_SELDOM } else { LOOK });
        }
        let client = self.client(cx);
        let mut taken = false;
        {
            let mut state = client.state();
            for (topic, role, due) in candidates {
                taken |= due <= cx.now && state.take(&topic, role, cx.conn.number, How::Close, cx.now);
            }
            if taken {
                // It is not counted among the client's connections while it comes to its end.
                let link = state.link(cx.conn.number, cx.conn.node);
                link.produces.clear();
                link.fetches.clear();
            }
        }
        if !taken {
            return None;
        }
        client.changed();
        self.sync(cx);
        self.log(cx, How::Close);
        self.closing = true;
        cx.close_if_quiet();
        // Still here then: the client was faster, and the nudge was not made.
        Some(cx.now + LOOK)
    }

    pub(super) fn log(&self, cx: &Cx<'_>, how: How) {
        let software = cx.conn.software.as_ref().map(|(name, version)| format!("{name} {version}"));
        tracing::info!(client_id = %cx.conn.client_id, software, connection = cx.conn.number, how = how.label(),
            "a client is made to look for new partitions");
    }
}

fn refused(partition: &Produced) -> Refused<'_> {
    let topic = &partition.topic;
    Refused { name: topic.name.as_deref().unwrap_or(""), id: topic.id.unwrap_or(NO_ID), partition: partition.partition }
}
