//! One connection: what it fetches is told, its members are judged, its heartbeats may be answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::ends::Question;
use super::rules::Rules;
use super::stalled;
use super::watch::{Court, is_franz_go};
use crate::mend::progress::Read;
use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Injected, Place, Topic, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::FetchedPartition;
use crate::wire::codec::{ask, committed, member};
use crate::wire::head::RequestHead;

pub const ILLEGAL_GENERATION: i16 = 22;
/// What is fetched is told so often at most, and less often where it is much.
const TELL: Duration = Duration::from_millis(250);
const TELL_EACH: Duration = Duration::from_micros(100);
/// Members are looked at so often, and more often where little time is given.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_LEAST: Duration = Duration::from_millis(250);
/// After so long without a request a connection is not looked at until the next one.
const ACTIVE: Duration = Duration::from_secs(60);
/// Deadline of a request of kmend's own.
const ANSWER: Duration = Duration::from_secs(5);
/// More requests than are ever in flight on one connection.
const MOST: usize = 4096;

struct Beat {
    group: Arc<str>,
    member: Arc<str>,
    generation: i32,
}

enum Asking {
    Ends(i16, Question),
    Committed(i16, Arc<str>),
}

/// How often members are looked at.
fn every(rules: &Rules) -> Duration {
    (rules.after.min(rules.stalled_after) / 8).clamp(LOOK_LEAST, LOOK)
}

pub struct OnConnection {
    shared: Arc<Shared>,
    /// Heartbeats on their way, by [`Asked::seq`].
    beats: HashMap<u64, Beat>,
    /// Groups whose members heartbeat here.
    groups: HashSet<Arc<str>>,
    /// The newest Fetch request.
    fetched: Option<Instant>,
    told: Option<Instant>,
    untold: bool,
    /// Its client's software has been looked at.
    introduced: bool,
    active: Option<Instant>,
    awake: Option<Instant>,
    asking: HashMap<u64, Asking>,
    tokens: u64,
}

impl OnConnection {
    pub fn new(shared: Arc<Shared>) -> OnConnection {
        OnConnection {
            shared,
            beats: HashMap::new(),
            groups: HashSet::new(),
            fetched: None,
            told: None,
            untold: false,
            introduced: false,
            active: None,
            awake: None,
            asking: HashMap::new(),
            tokens: 0,
        }
    }

    fn is_off(&self) -> bool {
        self.shared.rules.load().modes.is_off()
    }

    /// A request of the client's has come.
    fn stirs(&mut self, cx: &mut Cx<'_>) {
        self.active = Some(cx.now);
        if !self.introduced && cx.conn.software.is_some() {
            self.introduced = true;
            if is_franz_go(cx.conn) {
                self.shared.watch.state().franz_go.insert(cx.conn.client());
            }
        }
        if self.awake.is_none() {
            self.wake(cx);
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let at = cx.now + every(&self.shared.rules.load());
        self.awake = Some(at);
        cx.wake_at(at);
    }

    /// Tells what this connection fetches.
    fn tell(&mut self, cx: &Cx<'_>) {
        let Some(asked) = self.fetched.filter(|_| self.untold && !cx.fetch.is_partial()) else {
            return;
        };
        (self.untold, self.told) = (false, Some(cx.now));
        let reads = cx.fetch.positions().iter().filter_map(|p| {
            let topic = cx.topics.get(p.topic)?;
            let name = topic.name.clone().or_else(|| cx.shared.catalog.name(topic.id.as_ref()?))?;
            let (high_watermark, last_stable) = (p.high_watermark, p.last_stable);
            let read = Read { position: p.offset, high_watermark, last_stable, asked, conn: cx.conn.number };
            Some(((name, p.partition), read))
        });
        cx.shared.progress.reads(&cx.conn.client(), asked, reads);
    }

    /// Judges the members that heartbeat here.
    fn look(&mut self, cx: &mut Cx<'_>) {
        self.shared.drain(cx.shared);
        let client = cx.conn.client();
        if self.groups.is_empty() || cx.shared.peers.live(&client) == 0 {
            return self.ask_ends(cx);
        }
        let rules = self.shared.rules.load_full();
        let court = Court { cx: &*cx, rules: &rules, metrics: &self.shared.metrics };
        self.shared.watch.judge(&court, &self.groups, every(&rules));
        self.groups.retain(|group| !cx.shared.groups.of_client_in(group, &client).is_empty());
        let groups: Vec<Arc<str>> = self.groups.iter().cloned().collect();
        for group in groups {
            let wanted = self.shared.watch.state().committed_wanted(cx, &rules, &group);
            if !wanted.is_empty() {
                self.ask_committed(cx, group, &wanted);
            }
        }
        self.ask_ends(cx);
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Asks for what a group has committed of partitions that nobody here has shown.
    fn ask_committed(&mut self, cx: &mut Cx<'_>, group: Arc<str>, wanted: &[Place]) {
        let Some(version) = cx.conn.version(ApiKey::OFFSET_FETCH, committed::VERSIONS) else {
            return;
        };
        let mut topics: Vec<(Arc<str>, Vec<i32>)> = Vec::new();
        for (topic, partition) in wanted {
            match topics.last_mut() {
                Some((name, partitions)) if name == topic => partitions.push(*partition),
                _ => topics.push((topic.clone(), vec![*partition])),
            }
        }
        let body = committed::write(version, &group, &topics);
        let token = self.next_token();
        if cx.inject(token, ApiKey::OFFSET_FETCH, version, body, cx.now + ANSWER) {
            self.asking.insert(token, Asking::Committed(version, group));
        }
    }

    /// Asks this broker where logs end, if it is this connection's turn.
    fn ask_ends(&mut self, cx: &mut Cx<'_>) {
        let questions = self.shared.watch.state().questions.take(cx.conn.number);
        for question in questions {
            let Some(version) = cx.conn.version(ApiKey::LIST_OFFSETS, ask::version::LIST_OFFSETS) else {
                continue;
            };
            let body = ask::list_offsets(version, &question.topic, &question.partitions, ask::LATEST, 0);
            let Ok(body) = body.inspect_err(|error| tracing::error!(%error, "a request cannot be written")) else {
                continue;
            };
            let token = self.next_token();
            if cx.inject(token, ApiKey::LIST_OFFSETS, version, body, cx.now + ANSWER) {
                self.asking.insert(token, Asking::Ends(version, question));
            }
        }
    }

    fn beat_asked(&mut self, asked: Asked, head: &RequestHead, frame: &mut [u8]) {
        // Another mender may have answered a request after it was seen here: then no answer comes.
        if self.beats.len() > MOST {
            self.beats.clear();
        }
        if let Some(who) = member::read(asked.api, asked.version, frame, head.body) {
            if asked.api != ApiKey::SYNC_GROUP {
                self.groups.insert(who.group.clone());
            }
            self.beats.insert(asked.seq, Beat { group: who.group, member: who.member, generation: who.generation });
        }
    }

    /// A member may have been assigned something.
    fn assigned(&mut self, cx: &mut Cx<'_>, asked: Asked) {
        let Some(beat) = self.beats.remove(&asked.seq).filter(|_| !self.is_off()) else {
            return;
        };
        let rules = self.shared.rules.load_full();
        let court = Court { cx: &*cx, rules: &rules, metrics: &self.shared.metrics };
        self.shared.watch.note(&court, &beat.group, &beat.member);
    }

    /// The broker says that all is well: a member that is to rejoin is told otherwise.
    fn beat_answered(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) {
        let Some(beat) = self.beats.remove(&asked.seq) else {
            return;
        };
        let mut error = -1;
        let read = |e| {
            error = e;
            e
        };
        if member::error(asked.api, asked.version, frame, body, read).is_none() || error != 0 || self.is_off() {
            return;
        }
        let rules = self.shared.rules.load_full();
        let court = Court { cx: &*cx, rules: &rules, metrics: &self.shared.metrics };
        if self.shared.watch.state().tells(&court, &beat.group, &beat.member, beat.generation) {
            let _ = member::error(asked.api, asked.version, frame, body, |_| ILLEGAL_GENERATION);
        }
    }

    /// A member that was told waits for the others that are to be told.
    fn join_asked(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        if self.is_off() {
            return Verdict::Pass;
        }
        let Some(who) = member::read(asked.api, asked.version, frame, head.body).filter(|w| !w.member.is_empty())
        else {
            return Verdict::Pass;
        };
        let session = cx.shared.groups.member(&who.group, &who.member).map(|m| m.session_timeout).unwrap_or_default();
        let mut state = self.shared.watch.state();
        match state.waits(&who.group, &who.member, cx.conn.number, session, cx.now) {
            Some(until) => Verdict::Hold(until),
            None => Verdict::Pass,
        }
    }
}

impl ConnMender for OnConnection {
    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        if !request.replica {
            self.stirs(cx);
            (self.fetched, self.untold) = (Some(cx.now), true);
        }
        Verdict::Pass
    }

    fn fetch_response_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        _: &Topic,
        partition: &mut FetchedPartition<'_>,
    ) -> bool {
        let error = partition.error();
        if error != 0 && !request.replica && !stalled::is_passing(error) {
            self.shared.watch.refused(cx.conn.client(), error, cx.now);
        }
        false
    }

    fn fetch_response_end(&mut self, cx: &mut Cx<'_>, _: &FetchRequest, _: i16) {
        self.untold = self.fetched.is_some();
        let pause = TELL.max(TELL_EACH * u32::try_from(cx.fetch.positions().len()).unwrap_or(u32::MAX));
        if self.told.is_none_or(|at| at + pause <= cx.now) {
            self.tell(cx);
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        match asked.api {
            ApiKey::HEARTBEAT | ApiKey::SYNC_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                self.stirs(cx);
                self.beat_asked(asked, head, frame);
                Verdict::Pass
            }
            ApiKey::JOIN_GROUP => self.join_asked(cx, asked, head, frame),
            _ => Verdict::Pass,
        }
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        match asked.api {
            ApiKey::HEARTBEAT => self.beat_answered(cx, asked, frame, body),
            ApiKey::SYNC_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => self.assigned(cx, asked),
            _ => {}
        }
        self.shared.drain(cx.shared);
        Verdict::Pass
    }

    fn injected(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        let (Some(asking), Injected::Answer { frame, body, .. }) = (self.asking.remove(&token), outcome) else {
            return;
        };
        match asking {
            Asking::Ends(version, question) => {
                let Ok(ends) = ask::listed_offsets(version, frame, body) else {
                    return;
                };
                let mut state = self.shared.watch.state();
                for (partition, _, end) in ends.into_iter().filter(|(_, error, end)| *error == 0 && *end >= 0) {
                    let place = (question.topic.clone(), partition);
                    state.ended(&question.key, &place, end);
                    cx.shared.progress.end_shown(&cx.conn.client(), &place, end);
                }
            }
            Asking::Committed(version, group) => {
                let mut frame = frame.to_vec();
                let Some(answer) = committed::read(version, &mut frame, body).filter(|a| a.error == 0) else {
                    return;
                };
                for p in answer.partitions.into_iter().filter(|p| p.error == 0) {
                    let place = (p.topic, p.index);
                    cx.shared.progress.committed(&group, &cx.conn.client(), &place, p.offset, cx.now);
                }
            }
        }
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        self.ask_ends(cx);
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.awake = None;
        if self.is_off() {
            return;
        }
        self.tell(cx);
        self.look(cx);
        if self.active.is_some_and(|at| cx.now < at + ACTIVE) {
            self.wake(cx);
        }
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        self.shared.watch.left(cx.conn.number);
        let client = cx.conn.client();
        if !cx.shared.peers.has_others(&client, cx.conn.number) {
            self.shared.watch.forget(&client);
        }
    }
}
