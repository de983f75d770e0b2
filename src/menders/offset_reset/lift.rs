//! Committed offsets below the log start, lifted in OffsetFetch responses (rule A8).
//!
//! The log starts are asked for when the OffsetFetch request passes: on this connection where its
//! broker leads the partition (the answer then comes first), else on another connection of the
//! same client that is not in a long poll. The response waits for them, a second at most. Where nobody can be asked it does not
//! wait: what is too low then is mended by the chase.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conn::OnConnection;
use super::ledger::Skip;
use super::metrics::Outcome;
use super::starts::Known;
use crate::config::model::{Mode, ResetPolicy};
use crate::mend::{Asked, Cx, Verdict};
use crate::wire::codec::entry::{self, CommittedOffset};
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// How long an OffsetFetch response waits for the leaders.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// OffsetFetch requests whose answers are awaited; more are passed through.
const MAX_LIFTS: usize = 64;
/// No answer is awaited for longer.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Topic and partition.
type Place = (Arc<str>, i32);

#[derive(Debug)]
struct Lift {
    since: Instant,
    /// By group: one request may ask for several (version 8 and later), not all of them the client's.
    wanted: Vec<(Arc<str>, Place)>,
}

#[derive(Debug, Default)]
pub struct Lifts {
    by_seq: HashMap<u64, Lift>,
    /// Connections that wait for what this one asked.
    askers: Vec<u64>,
    polls_until: Option<Instant>,
}

impl Lifts {
    /// The broker may keep a Fetch of this connection for so long: what is asked behind it is answered after that.
    pub fn fetching(&mut self, until: Instant) {
        self.polls_until = Some(until);
    }

    /// Whether what is asked here now is known too late.
    fn is_late(&self, cx: &Cx<'_>) -> bool {
        cx.quiet.is_none() && self.polls_until.is_some_and(|until| until > cx.now + PATIENCE)
    }

    fn asked_by(&mut self, asker: u64) {
        self.askers.push(asker);
    }

    /// Tells those who wait that an answer has come.
    pub fn wake(&mut self, cx: &Cx<'_>) {
        for asker in self.askers.drain(..) {
            cx.shared.peers.wake(asker);
        }
    }
}

impl OnConnection {
    /// Another connection of the client wants to know log starts of this broker's.
    pub(super) fn asked_for_starts(&mut self, cx: &mut Cx<'_>, asker: u64, topic: &str, partitions: &[i32]) {
        let (topic, client, number) = (Arc::from(topic), cx.conn.client(), cx.conn.number);
        if self.lifts.is_late(cx) {
            let next = |node| cx.shared.peers.ask_log_starts(&client, node, asker, Some(number), &topic, partitions);
            if !cx.conn.node.is_some_and(next) {
                partitions.iter().for_each(|p| self.shared.starts.tell(&topic, *p, None, cx.now));
                cx.shared.peers.wake(asker);
            }
            return;
        }
        self.lifts.asked_by(asker);
        if !self.ask_starts(cx, &topic, partitions) {
            self.lifts.wake(cx);
        }
    }

    pub(super) fn offset_fetch_request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) {
        let client = cx.conn.client();
        let Some(layout) = layout::request(head.api, head.version) else {
            return;
        };
        let mut request = Request { cx, wanted: Vec::new(), topic: None, group: Arc::from(""), member: false };
        if walk::whole(layout, frame, head.body, &mut request).is_err() {
            return;
        }
        let wanted = request.wanted;
        if self.lifts.by_seq.len() >= MAX_LIFTS {
            // Their answers never came to be seen: too large to be held.
            self.lifts.by_seq.retain(|_, lift| cx.now.duration_since(lift.since) < FORGOTTEN);
        }
        if wanted.is_empty() || self.lifts.by_seq.len() >= MAX_LIFTS || self.lifts.by_seq.contains_key(&asked.seq) {
            return;
        }
        let rules = self.shared.rules.load_full();
        let wanted: Vec<(Arc<str>, Place)> = wanted
            .into_iter()
            .filter(|(group, (topic, _))| {
                let rule = rules.rule(topic, &client.client_id, Some(group));
                rule.mode == Mode::Repair && matches!(rule.policy, ResetPolicy::Earliest | ResetPolicy::Nearest)
            })
            .collect();
        let mut by_leader: HashMap<(Arc<str>, Option<i32>), Vec<i32>> = HashMap::new();
        for (_, (topic, partition)) in &wanted {
            let leader = cx.shared.catalog.leader(topic, *partition);
            by_leader.entry((topic.clone(), leader)).or_default().push(*partition);
        }
        for ((topic, leader), partitions) in by_leader {
            let here = leader.is_none() || cx.conn.node.is_none() || leader == cx.conn.node;
            if here {
                self.ask_starts(cx, &topic, &partitions);
            } else if !leader
                .is_some_and(|l| cx.shared.peers.ask_log_starts(&client, l, cx.conn.number, None, &topic, &partitions))
            {
                for partition in partitions {
                    self.shared.starts.tell(&topic, partition, None, cx.now);
                }
            }
        }
        if !wanted.is_empty() {
            self.lifts.by_seq.insert(asked.seq, Lift { since: cx.now, wanted });
        }
    }

    pub(super) fn offset_fetch_response(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        frame: &mut [u8],
        body: usize,
    ) -> Verdict {
        let Some(lift) = self.lifts.by_seq.get(&asked.seq) else {
            return Verdict::Pass;
        };
        let until = lift.since + PATIENCE;
        let starts = &self.shared.starts;
        let open = |(_, (topic, partition)): &(Arc<str>, Place)| {
            starts.known(topic, *partition, Some(lift.since), cx.now) == Known::NotYet
        };
        if cx.now < until && lift.wanted.iter().any(open) {
            return Verdict::Hold(until);
        }
        let group = lift.wanted.first().map(|(group, _)| group.clone());
        let known: HashMap<(Arc<str>, Place), i64> = lift
            .wanted
            .iter()
            .filter_map(|wanted| {
                let (topic, partition) = &wanted.1;
                match starts.known(topic, *partition, None, cx.now) {
                    Known::Start(start) => Some((wanted.clone(), start)),
                    Known::Unobtainable | Known::NotYet => None,
                }
            })
            .collect();
        self.lifts.by_seq.remove(&asked.seq);
        let Some(layout) = layout::response(asked.api, asked.version) else {
            return Verdict::Pass;
        };
        let mut response = Response {
            cx,
            known,
            // Below version 8 the answer does not say it: there is only one.
            group: group.unwrap_or_else(|| Arc::from("")),
            topic: None,
            lifted: Vec::new(),
        };
        if walk::whole(layout, frame, body, &mut response).is_err() {
            return Verdict::Pass;
        }
        let lifted = response.lifted;
        let client = cx.conn.client();
        for Lifted { group, topic, partition, old, new } in lifted {
            let policy = self.shared.rules.load().rule(&topic, &client.client_id, Some(&group)).policy;
            let skip = Skip {
                client: client.clone(),
                group: Some(group),
                topic,
                partition,
                old,
                new,
                policy,
                outcome: Outcome::Lifted,
            };
            self.shared.ledger.enter(&skip, &self.shared.metrics);
        }
        Verdict::Pass
    }
}

/// The partitions that a member asks for.
struct Request<'a, 'b> {
    cx: &'a Cx<'b>,
    wanted: Vec<(Arc<str>, Place)>,
    topic: Option<Arc<str>>,
    group: Arc<str>,
    member: bool,
}

impl Visitor for Request<'_, '_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || Arc::<str>::from(String::from_utf8_lossy(value.unwrap_or_default()));
        match mark {
            mark::GROUP => {
                self.group = text();
                // Admin tools see the truth.
                self.member = self.cx.shared.peers.is_member(&self.cx.conn.client(), &self.group);
            }
            mark::TOPIC => self.topic = Some(text()),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => self.topic = bytes.first_chunk().and_then(|id| self.cx.shared.catalog.name(id)),
            mark::PARTITION if self.member => {
                let place = self.topic.clone().map(|topic| (topic, entry::int32(bytes)));
                self.wanted.extend(place.map(|p| (self.group.clone(), p)));
            }
            _ => {}
        }
    }
}

struct Lifted {
    group: Arc<str>,
    topic: Arc<str>,
    partition: i32,
    old: i64,
    new: i64,
}

/// Lifts what is below the start.
struct Response<'a, 'b> {
    cx: &'a Cx<'b>,
    known: HashMap<(Arc<str>, Place), i64>,
    group: Arc<str>,
    topic: Option<Arc<str>>,
    lifted: Vec<Lifted>,
}

impl Visitor for Response<'_, '_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || String::from_utf8_lossy(value.unwrap_or_default()).into();
        match mark {
            mark::GROUP => self.group = text(),
            mark::TOPIC => self.topic = Some(text()),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => self.topic = bytes.first_chunk().and_then(|id| self.cx.shared.catalog.name(id)),
            mark::PARTITION => {
                let mut committed = CommittedOffset::new(bytes);
                let Some(topic) = &self.topic else { return };
                let key = (self.group.clone(), (topic.clone(), committed.index()));
                let Some(start) = self.known.get(&key) else {
                    return;
                };
                let old = committed.offset();
                // -1: nothing was committed.
                if old >= 0 && old < *start {
                    committed.set_offset(*start);
                    let (group, (topic, partition)) = key;
                    self.lifted.push(Lifted { group, topic, partition, old, new: *start });
                }
            }
            _ => {}
        }
    }
}
