//! One connection: what passes on it is told to its client's state, and what that wants done is
//! done here. Polls: `poll.rs`; producers: `producer.rs`; consumers: `consumer.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::client::{Client, Key, View};
use super::consumer::Beat;
use super::gate::Gates;
use super::growth::{Outcome, Role};
use super::idle::Pauses;
use super::poll::Asking;
use super::software::{Habits, How};
use crate::config::model::Mode;
use crate::mend::{
    Asked, ConnMender, Cx, FetchRequest, Injected, MetadataTopic, ProduceRequest, Produced, Topic, Verdict, Wanted,
};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::FetchPartition;
use crate::wire::head::RequestHead;

/// How often a topic's use is told to the client's state.
const TELL: Duration = Duration::from_secs(1);
/// How long a group's leader that has learnt of a growth by itself may take to rejoin.
pub(super) const REJOINS: Duration = Duration::from_secs(2);
/// A client that has sent nothing for so many intervals is idle: nothing is asked on its behalf.
const IDLE: u32 = 2;

/// A growth that this connection may have to do with.
#[derive(Debug)]
pub(super) struct Open {
    pub topic: Arc<str>,
    pub from: usize,
    pub asked: bool,
    /// The topic was made again: its broker knows no sequences of its former life.
    pub recreated: bool,
    /// That there is no occasion has been said: it is looked for less often.
    pub told: bool,
    /// A producer's round is open since.
    pub produce: Option<Instant>,
    pub consume: Option<(How, Instant)>,
    /// This connection is one of those that may be used.
    pub eligible: [bool; 2],
    /// There is one app behind this client's name.
    pub one_app: bool,
}

impl Open {
    /// A request of this connection may be refused for it: due since.
    pub fn refusable(&self) -> Option<Instant> {
        self.produce.filter(|_| !self.recreated && self.eligible[Role::Producer as usize])
    }

    /// A Fetch request of this connection may be answered here for it.
    pub fn is_fetch_due(&self, now: Instant) -> bool {
        self.eligible[Role::Consumer as usize] && self.consume.is_some_and(|(how, at)| how == How::Fetch && at <= now)
    }
}

pub struct OnConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Option<Arc<Client>>,
    /// The client id that `client` was found by.
    client_id: Arc<str>,
    /// What `open` was copied at.
    stamp: u64,
    pub(super) open: Vec<Open>,
    pub(super) habits: Option<&'static Habits>,
    /// When the use of each topic was told last, by the topic's number.
    told: [Vec<Option<Instant>>; 2],
    told_at: Option<Instant>,
    pub(super) fetched: Option<Instant>,
    active: bool,
    awake: Option<Instant>,
    /// It carried a request that the broker does not answer.
    pub(super) unanswered: bool,
    /// Whether every batch so far was of an idempotent producer.
    pub(super) must_retry: Option<bool>,
    pub(super) pauses: Pauses,
    pub(super) gates: Gates,
    pub(super) beats: VecDeque<Beat>,
    pub(super) beats_here: bool,
    pub(super) asking: Option<Asking>,
    pub(super) tokens: u64,
    /// A close has been asked for; the connection may have become busy before it was done.
    pub(super) closing: bool,
    /// The client was told that its fetch session is gone, to make it list all that it wants.
    pub(super) reopening: bool,
    /// A fetch session that only this mender knows.
    pub(super) made_up: Option<i32>,
}

impl OnConnection {
    pub(super) fn new(shared: Arc<Shared>) -> OnConnection {
        OnConnection {
            shared,
            client: None,
            client_id: Arc::from(""),
            stamp: 0,
            open: Vec::new(),
            habits: None,
            told: [Vec::new(), Vec::new()],
            told_at: None,
            fetched: None,
            active: false,
            awake: None,
            unanswered: false,
            must_retry: None,
            pauses: Pauses::default(),
            gates: Gates::default(),
            beats: VecDeque::new(),
            beats_here: false,
            asking: None,
            tokens: 0,
            closing: false,
            reopening: false,
            made_up: None,
        }
    }

    /// The client of this connection; entered when it is first heard of.
    pub(super) fn client(&mut self, cx: &Cx<'_>) -> Arc<Client> {
        if let Some(client) = &self.client
            && self.client_id == cx.conn.client_id
        {
            return client.clone();
        }
        if let Some(before) = self.client.take() {
            before.leave(cx.conn.number, cx.now);
        }
        let first = self.shared.rules.load().interval.mul_f64(self.shared.chance());
        let client = self.shared.clients.enter(Key::of(cx.conn), cx.now, cx.now + first);
        client.state().link(cx.conn.number, cx.conn.node);
        self.client_id = cx.conn.client_id.clone();
        self.client = Some(client.clone());
        self.stamp = 0;
        client
    }

    /// A request of the client's has come: what was meant to be closed is not, and the client is
    /// not idle.
    fn stirs(&mut self, cx: &mut Cx<'_>) -> Arc<Client> {
        let client = self.client(cx);
        if std::mem::take(&mut self.closing) {
            self.give_back(cx, How::Close);
        }
        self.active = true;
        if self.awake.is_none() {
            let next = client.state().schedule.next;
            self.wake(cx, next.max(cx.now));
        }
        self.sync(cx);
        client
    }

    /// A nudge that this connection took was not made.
    pub(super) fn give_back(&mut self, cx: &Cx<'_>, how: How) {
        let client = self.client(cx);
        for growth in &mut client.state().growths {
            growth.producers.give_back(cx.conn.number, how);
            growth.consumers.give_back(cx.conn.number, how);
        }
        // Its link was taken for gone.
        self.told.iter_mut().for_each(Vec::clear);
        client.changed();
    }

    pub(super) fn wake(&mut self, cx: &mut Cx<'_>, at: Instant) {
        if self.awake.is_none_or(|awake| at < awake) {
            self.awake = Some(at);
            cx.wake_at(at);
        }
    }

    /// Copies what has become of the client's growths, if that has changed.
    pub(super) fn sync(&mut self, cx: &Cx<'_>) {
        let client = self.client(cx);
        let stamp = client.stamp();
        if self.stamp == stamp {
            return;
        }
        self.stamp = stamp;
        let state = client.state();
        self.habits = state.habits;
        let number = cx.conn.number;
        let open = state.growths.iter().map(|g| {
            let round = |role: Role| g.side(role).round.as_ref().filter(|r| r.is_open() && !g.side(role).is_settled());
            let (produce, consume) = (round(Role::Producer), round(Role::Consumer));
            Open {
                topic: g.topic.clone(),
                from: g.from,
                asked: g.asked,
                recreated: g.recreated,
                told: g.producers.told || g.consumers.told,
                produce: produce.map(|r| r.due),
                consume: consume.and_then(|r| r.how.map(|how| (how, r.due))),
                eligible: [produce, consume].map(|r| r.is_some_and(|r| r.eligible.contains(&number))),
                one_app: [produce, consume].into_iter().flatten().all(|r| r.need <= 1),
            }
        });
        self.open = open.collect();
    }

    /// This connection carries a topic's records.
    fn uses(&mut self, cx: &Cx<'_>, topic: &Topic, role: Role) {
        let Some(told) = self.told.get_mut(role as usize) else {
            return;
        };
        let number = topic.number as usize;
        if told.get(number).copied().flatten().is_some_and(|at| cx.now.saturating_duration_since(at) < TELL) {
            return;
        }
        let name = topic.name.clone().or_else(|| topic.id.and_then(|id| cx.shared.catalog.name(&id)));
        let Some(name) = name else {
            return;
        };
        if told.len() <= number {
            told.resize(number + 1, None);
        }
        if let Some(slot) = told.get_mut(number) {
            *slot = Some(cx.now);
        }
        if crate::mend::modes::is_exempt(&name, &cx.conn.client_id) {
            return;
        }
        let client = self.client(cx);
        let mut state = client.state();
        state.used(&name, role, cx.now);
        let link = state.link(cx.conn.number, cx.conn.node);
        let topics = if role == Role::Producer { &mut link.produces } else { &mut link.fetches };
        topics.insert(name);
    }

    /// What a fetch session lists is in use, also where a request does not repeat it.
    fn uses_fetched(&mut self, cx: &Cx<'_>) {
        if self.told_at.is_some_and(|at| cx.now.saturating_duration_since(at) < TELL) {
            return;
        }
        self.told_at = Some(cx.now);
        let mut numbers: Vec<u32> = cx.fetch.positions().iter().map(|p| p.topic).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for topic in numbers.into_iter().filter_map(|n| cx.topics.get(n).cloned()) {
            self.uses(cx, &topic, Role::Consumer);
        }
    }

    /// The client asks for a partition: perhaps the first new one.
    fn asks(&mut self, cx: &Cx<'_>, topic: &Topic, partition: i32) {
        for open in &mut self.open {
            let new = usize::try_from(partition).is_ok_and(|p| p >= open.from);
            if open.asked || !new || topic.name.as_deref() != Some(&*open.topic) {
                continue;
            }
            open.asked = true;
            let Some(client) = &self.client else {
                continue;
            };
            let mut state = client.state();
            let growth = state.growths.iter_mut().find(|g| g.topic == open.topic && !g.asked);
            if let Some(growth) = growth {
                growth.asked = true;
                self.shared.metrics.request_after(cx.now.saturating_duration_since(growth.seen));
            }
        }
    }

    /// Decides what is due for the client, and does what falls to this connection.
    fn look(&mut self, cx: &mut Cx<'_>) {
        let client = self.client(cx);
        if !cx.fetch.positions().is_empty() && self.active {
            self.uses_fetched(cx);
        }
        let interval = self.shared.rules.load().interval;
        let idle = {
            let mut state = client.state();
            if std::mem::take(&mut self.active) {
                state.active = cx.now;
            }
            cx.now.saturating_duration_since(state.active) > interval * IDLE
        };
        let (wake, next) = self.shared.work(cx, &client);
        for number in wake.into_iter().filter(|n| *n != cx.conn.number) {
            cx.shared.peers.wake(number);
        }
        self.sync(cx);
        let polled = if idle { None } else { self.poll(cx, &client) };
        let closed = self.close(cx);
        // A deadline that has passed without effect is looked at again after a while.
        let next = next.map(|at| if at > cx.now { at } else { cx.now + Duration::from_millis(500) });
        for at in [polled, next, closed].into_iter().flatten() {
            self.wake(cx, at);
        }
    }
}

impl ConnMender for OnConnection {
    fn produce_request(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest) -> Verdict {
        self.stirs(cx);
        self.produce(cx, request)
    }

    fn produce_whole(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        self.judge(cx, request, partitions)
    }

    fn produce_partition(&mut self, cx: &mut Cx<'_>, _request: &ProduceRequest, partition: &Produced) {
        if let Some(batch) = partition.batch {
            self.must_retry = Some(self.must_retry.unwrap_or(true) && batch.producer_id >= 0);
        }
        self.uses(cx, &partition.topic, Role::Producer);
        if !self.open.is_empty() {
            self.asks(cx, &partition.topic, partition.partition);
        }
    }

    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        if request.replica {
            return Verdict::Pass;
        }
        let client = self.stirs(cx);
        if self.fetched.is_none_or(|at| cx.now.saturating_duration_since(at) >= TELL) {
            self.fetched = Some(cx.now);
            client.state().link(cx.conn.number, cx.conn.node).fetched = Some(cx.now);
        }
        self.fetch(cx, request)
    }

    fn fetch_whole(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, wanted: &[Wanted]) -> Verdict {
        self.refuse_fetch(cx, request, wanted)
    }

    fn fetch_request_partition(
        &mut self,
        cx: &mut Cx<'_>,
        _request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
        self.uses(cx, topic, Role::Consumer);
        if !self.open.is_empty() {
            self.asks(cx, topic, partition.index());
        }
    }

    fn metadata_topic(&mut self, cx: &mut Cx<'_>, topic: &MetadataTopic<'_>) {
        if topic.error != 0 || topic.leaders.is_empty() || crate::mend::modes::is_exempt(topic.name, "") {
            return;
        }
        self.shared.see(topic.name, topic.id, topic.leaders, cx.now);
        let client = self.client(cx);
        let view = View { id: topic.id, partitions: topic.leaders.len() };
        let mut state = client.state();
        if cx.conn.software.is_none() {
            state.looks.see(cx.conn);
        }
        let before = state.told(topic.name, view);
        let mut shown = false;
        let roles = state.roles(cx.conn.number);
        for growth in state.growths.iter_mut().filter(|g| *g.topic == *topic.name && view.partitions >= g.to) {
            shown = true;
            if !std::mem::replace(&mut growth.shown, true) {
                self.shared.metrics.metadata_after(cx.now.saturating_duration_since(growth.seen));
            }
            growth.producers.show(roles[Role::Producer as usize]);
            growth.consumers.show(roles[Role::Consumer as usize]);
        }
        if shown {
            drop(state);
            client.changed();
            self.wake(cx, cx.now);
            return;
        }
        // Nothing is asked on behalf of a client that is only observed: it tells by itself.
        let grown = before.is_some_and(|b| b.partitions < view.partitions);
        if grown && state.uses.contains_key(topic.name) {
            drop(state);
            let group = cx.shared.peers.only_group(&client.key.client);
            let mode = self.shared.rules.load().modes.mode(topic.name, &cx.conn.client_id, group.as_deref());
            if mode == Mode::Observe {
                self.shared.metrics.nudge(None, Outcome::Observed);
                tracing::info!(client_id = %cx.conn.client_id, topic = topic.name, to = view.partitions, observed = true,
                    "a client has learnt of new partitions by itself; in mode `repair` it would not have had to wait");
            } else if mode == Mode::Repair
                && let Some(before) = before
            {
                self.shared.learnt(&client, topic.name, before.partitions, view.partitions, cx.now);
                self.wake(cx, cx.now + REJOINS);
            }
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        match head.api {
            ApiKey::HEARTBEAT => {
                self.stirs(cx);
                self.heartbeat(cx, asked, head, frame);
            }
            ApiKey::JOIN_GROUP => self.joins(cx, head, frame),
            ApiKey::LEAVE_GROUP => self.leaves(cx, head, frame),
            ApiKey::CONSUMER_GROUP_HEARTBEAT => self.client(cx).state().kip848 = true,
            _ => {}
        }
        Verdict::Pass
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        if asked.api == ApiKey::HEARTBEAT {
            self.heartbeat_answer(cx, asked, frame, body);
        }
        Verdict::Pass
    }

    fn injected(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        self.polled(cx, token, outcome);
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        if self.client.is_some() {
            self.look(cx);
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.awake = None;
        if std::mem::take(&mut self.closing) {
            self.give_back(cx, How::Close);
        }
        if self.client.is_some() {
            self.look(cx);
        }
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        if let Some(client) = self.client.take() {
            client.leave(cx.conn.number, cx.now);
        }
    }
}
