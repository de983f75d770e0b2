//! The state of one connection, without IO. Requests: `request.rs`; responses: `response.rs`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::Cache;
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::end::End;
use super::env::Env;
use super::env::{InterestsOf, LimitsOf};
use super::groups::Links;
use super::inflight::{Entry, Kind};
use super::limits::{Account, Limits};
use super::pump::Pump;
use super::renewal::Renewal;
use super::request::RequestState;
use super::response::ResponseState;
use super::sasl::Login;
use super::window::WINDOW;
use crate::mend::peers::Message;
use crate::mend::{Chain, Conn, Effect, FetchTable, Inject, Injected, Interests, Topics};
use crate::upstream::sasl::Session;
use crate::wire::api::ApiKey;
use crate::wire::codec::local;

/// Why a direction stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It needs more bytes.
    Bytes,
    /// A mender holds it, or what is in flight must go first.
    Held,
    /// It needs room within `limits.memory`.
    Memory,
}

/// More requests in flight than any client has; the next one waits.
const MAX_IN_FLIGHT: usize = 4096;
/// A client that does not read its answers has so many bytes of them made here.
const MAX_LOCAL: usize = 4 * WINDOW;
/// So many in flight are part of a connection.
const FEW: usize = 64;
/// How long a frame waits for memory.
const MEMORY_PATIENCE: Duration = Duration::from_secs(10);

/// What menders are told besides a call's own arguments. A macro, so that only these fields are
/// borrowed and the chain is not.
macro_rules! around {
    ($core:expr) => {
        $crate::mend::chain::Around {
            now: $core.now,
            conn: &$core.conn,
            topics: &$core.topics,
            fetch: &$core.fetch,
            shared: &$core.env.shared,
            quiet: $core.quiet,
        }
    };
}
pub(super) use around;

pub struct Core {
    pub(super) env: Arc<Env>,
    pub(super) interests: Arc<Interests>,
    pub(super) limits: Arc<Limits>,
    /// Where both come from, at the price of a comparison.
    configured: (Cache<InterestsOf, Arc<Interests>>, Cache<LimitsOf, Arc<Limits>>),
    pub(super) conn: Conn,
    /// The address that the client connected to.
    pub(super) local: IpAddr,
    pub(super) chain: Chain,
    pub(super) topics: Topics,
    pub(super) fetch: FetchTable,
    pub(super) login: Login,
    /// Where kmend has logged in itself.
    pub(super) renewal: Option<Box<Renewal>>,
    pub(super) queue: VecDeque<Entry>,
    pub(super) links: Links,
    pub(super) request: RequestState,
    pub(super) response: ResponseState,
    /// So many bytes of the Metadata response at the front must be there before its brokers are looked
    /// for again; 0: none is waited for.
    pub(super) front: usize,
    pub(super) seq: u64,
    /// See [`Cx::quiet`](crate::mend::Cx::quiet).
    pub(super) quiet: Option<Instant>,
    /// How long the quiet was that the first byte of the request at hand ended.
    pub(super) broke_quiet: Option<Duration>,
    /// A mender wants the connection closed.
    pub(super) close_wanted: bool,
    pub(super) now: Instant,
    /// When the broker had answered what was before the front of the queue.
    pub(super) turn: Instant,
    /// The front request or response is held until then.
    pub(super) hold: Option<Instant>,
    pub(super) response_hold: Option<Instant>,
    /// A hold on the front request has expired: it passes.
    pub(super) hold_spent: bool,
    /// JoinGroup and SyncGroup in flight: minutes.
    pub(super) joins: usize,
    /// Requests of ours that wait for a frame boundary.
    injects: VecDeque<Inject>,
    /// Bytes of answers in the queue that were made here.
    pub(super) made_here: usize,
    /// A header is not read again before so many bytes of its frame are there.
    pub(super) head_wait: usize,
    next_correlation: i32,
    /// When each mender wants to be woken.
    wakes: Vec<Option<Instant>>,
    pub(super) memory_wait: Option<Instant>,
    mailbox: mpsc::Sender<Message>,
    entered: bool,
    /// A mender was told something, or wants something sent: what is held may go on now.
    pub(super) stirred: bool,
    pub(super) software: Option<IntGauge>,
    /// Whole request heads seen.
    pub(super) heads: u64,
    /// Menders have been told that kmend stops.
    pub(super) drained: bool,
    /// The client sends nothing any more.
    finished: bool,
    /// Nothing is sent any more.
    pub(super) ended: bool,
    /// Something may be due earlier than it was.
    pub(super) sooner: bool,
}

impl Core {
    pub fn new(env: Arc<Env>, conn: Conn, local: IpAddr, mailbox: mpsc::Sender<Message>, now: Instant) -> Core {
        let chain = Chain::new(&env.menders);
        let interests = env.interests.load_full();
        let limits = env.limits.load_full();
        let wakes = vec![None; env.menders.len()];
        Core {
            configured: (Cache::new(InterestsOf(env.clone())), Cache::new(LimitsOf(env.clone()))),
            env,
            interests,
            limits,
            conn,
            local,
            chain,
            topics: Topics::default(),
            fetch: FetchTable::default(),
            login: Login::default(),
            renewal: None,
            queue: VecDeque::new(),
            links: Links::default(),
            request: RequestState::Head,
            response: ResponseState::Head,
            front: 0,
            seq: 0,
            quiet: None,
            broke_quiet: None,
            close_wanted: false,
            now,
            turn: now,
            hold: None,
            response_hold: None,
            hold_spent: false,
            joins: 0,
            injects: VecDeque::new(),
            made_here: 0,
            head_wait: 0,
            next_correlation: i32::MIN,
            wakes,
            memory_wait: None,
            mailbox,
            entered: false,
            stirred: false,
            software: None,
            heads: 0,
            drained: false,
            finished: false,
            ended: false,
            sooner: true,
        }
    }

    /// kmend has logged in upstream.
    pub fn logged_in(&mut self, session: Session) {
        self.renewal = Some(Box::new(Renewal::new(session, self.now)));
    }

    /// Goes on at this time, with what was configured in the meantime.
    pub fn begin(&mut self, now: Instant) {
        self.go_on(now);
        let interests = self.configured.0.load();
        if !Arc::ptr_eq(&self.interests, interests) {
            self.interests = interests.clone();
        }
        let limits = self.configured.1.load();
        if !Arc::ptr_eq(&self.limits, limits) {
            self.limits = limits.clone();
            self.sooner = true;
        }
    }

    /// Starts another round of work, at this time.
    pub fn go_on(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time of this round of work.
    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn conn(&self) -> &Conn {
        &self.conn
    }

    /// Nothing is owed to either side.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.injects.is_empty() && matches!(self.request, RequestState::Head)
    }

    /// No answer is owed to the client; one that is owed to kmend itself does not count.
    pub fn owes_client(&self) -> bool {
        self.queue.iter().any(|e| !matches!(e.kind, Kind::Injected { .. } | Kind::Login))
    }

    /// A broker closes the connection on an API key that it does not know. One that kmend knows
    /// neither passes, for it may be of a newer Kafka: only the broker's close tells (rule P3).
    pub fn explain(&self, end: End) -> End {
        let asked = self.queue.front().filter(|e| matches!(e.kind, Kind::Forwarded) && e.api.name().is_none());
        match (end, asked) {
            (End::UpstreamClosed | End::UpstreamIo(_), Some(entry)) => End::UnknownKey(entry.api.0),
            (end, _) => end,
        }
    }

    /// The client is in the middle of sending a frame.
    pub fn is_mid_request(&self) -> bool {
        !matches!(self.request, RequestState::Head)
    }

    /// Whether the client has sent a whole request head yet.
    pub fn has_spoken(&self) -> bool {
        self.heads > 0
    }

    /// When [`on_time`](Self::on_time) wants to be called. What brings it forward says so ([`take_sooner`](Self::take_sooner)).
    pub fn deadline(&self) -> Option<Instant> {
        let injected = self.queue.iter().filter_map(|e| match e.kind {
            Kind::Injected { deadline, abandoned: false, .. } => Some(deadline),
            _ => None,
        });
        let memory = self.memory_wait.map(|_| self.now + Duration::from_millis(20));
        let wakes = self.wakes.iter().copied().flatten();
        [self.hold, self.response_hold, memory].into_iter().flatten().chain(injected).chain(wakes).min()
    }

    /// The client has finished sending. It may wait for answers, or be dead: to its other
    /// connections it counts as gone.
    pub fn finished(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.env.shared.peers.lingers(self.conn.number);
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self) {
        let mut lost = Vec::new();
        for entry in &mut self.queue {
            if let Kind::Injected { mender, token, deadline, abandoned } = &mut entry.kind
                && !*abandoned
                && *deadline <= self.now
            {
                *abandoned = true;
                lost.push((*mender, *token));
            }
        }
        for (mender, token) in lost {
            self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Lost));
        }
        for mender in 0..self.wakes.len() {
            if let Some(slot) = self.wakes.get_mut(mender)
                && slot.take_if(|at| *at <= self.now).is_some()
            {
                self.call_one(mender, |m, cx| m.tick(cx));
            }
        }
    }

    /// A message from another connection of the same client.
    pub fn on_message(&mut self, message: Message) {
        match message {
            // Besides, what is held is looked at again.
            Message::Wake => self.call_all(|m, cx| m.woken(cx)),
            Message::LogStarts(asked) => {
                self.call_all(|m, cx| m.peer_asks(cx, asked.asker, &asked.topic, &asked.partitions));
            }
        }
    }

    /// What is held may go on.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Whether a mender was told something since the last call.
    pub fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// The connection ends.
    pub fn close(&mut self) {
        self.call_all(|m, cx| m.closed(cx));
        // What was asked is not answered any more.
        for entry in &mut self.queue {
            entry.group = None;
        }
        let gone = self.env.shared.peers.leave(self.conn.number);
        self.forget(gone);
        if let Some(gauge) = self.software.take() {
            gauge.dec();
        }
    }

    /// Calls every mender, then does what they want done.
    pub(super) fn call_all(&mut self, call: impl FnMut(&mut dyn crate::mend::ConnMender, &mut crate::mend::Cx<'_>)) {
        self.refresh();
        let around = around!(self);
        self.chain.all(&around, call);
        self.apply_effects();
    }

    pub(super) fn call_one(
        &mut self,
        mender: usize,
        call: impl FnOnce(&mut dyn crate::mend::ConnMender, &mut crate::mend::Cx<'_>),
    ) {
        self.stirred = true;
        self.refresh();
        let around = around!(self);
        self.chain.one(&around, mender, call);
        self.apply_effects();
    }

    /// An answer to a request of ours.
    pub(super) fn injected_answer(&mut self, mender: usize, token: u64, frame: &[u8], body: usize, took: Duration) {
        self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Answer { frame, body, took }));
    }

    /// An answer to a request of ours that cannot be told.
    pub(super) fn injected_lost(&mut self, mender: usize, token: u64) {
        self.memory_wait = None;
        self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Lost));
    }

    /// Brings up to date what menders read from the connection.
    pub(super) fn refresh(&mut self) {
        self.conn.injectable = !self.ended && self.joins == 0 && self.login.may_inject(self.now);
    }

    pub(super) fn apply_effects(&mut self) {
        for effect in self.chain.take_effects() {
            match effect {
                Effect::Inject(inject) => {
                    self.injects.push_back(inject);
                    // It goes out at the next frame boundary, which may be now.
                    self.stirred = true;
                }
                Effect::WakeAt { mender, at } => {
                    if let Some(slot) = self.wakes.get_mut(mender) {
                        *slot = Some(slot.map_or(at, |w| w.min(at)));
                        self.sooner = true;
                    }
                }
                Effect::Close { .. } => self.close_wanted = true,
            }
        }
        for name in self.chain.take_panicked() {
            self.env.metrics.mender_panics.with_label_values(&[name]).inc();
            tracing::error!(mender = name, connection = self.conn.number, client_id = %self.conn.client_id,
                "a mender panicked and is bypassed on this connection; please report this");
        }
    }

    /// For a request of kmend's own: negative, which no client's is.
    pub(super) fn own_correlation(&mut self) -> i32 {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1).min(-2);
        correlation
    }

    /// Sends what menders want sent; only at a frame boundary of the requests.
    pub(super) fn send_injects(&mut self, pump: &mut Pump) {
        if self.is_renewing() {
            return;
        }
        while let Some(inject) = self.injects.pop_front() {
            self.refresh();
            if !self.conn.injectable || inject.deadline <= self.now {
                let (mender, token) = (inject.mender, inject.token);
                self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Lost));
                continue;
            }
            let correlation = self.own_correlation();
            let frame =
                local::request(inject.api, inject.version, correlation, self.conn.client_id.as_bytes(), &inject.body);
            pump.insert(&frame);
            self.quiet = None;
            let kind = Kind::Injected {
                mender: inject.mender,
                token: inject.token,
                deadline: inject.deadline,
                abandoned: false,
            };
            self.sooner = true;
            self.queue.push_back(Entry::new(kind, inject.api, inject.version, correlation, 0, self.now));
        }
    }

    pub(super) fn take_injects(&mut self) -> impl Iterator<Item = Inject> + use<> {
        std::mem::take(&mut self.injects).into_iter()
    }

    pub(super) fn has_injects(&self) -> bool {
        !self.injects.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_IN_FLIGHT || self.made_here >= MAX_LOCAL
    }

    /// The client says who it is.
    pub(super) fn learn_client(&mut self, client_id: &[u8]) {
        // Compared as it is kept: entering anew makes the client's groups forgotten.
        let client_id = String::from_utf8_lossy(client_id);
        if self.entered && *self.conn.client_id == *client_id {
            return;
        }
        self.conn.client_id = client_id.into();
        self.entered = true;
        let gone = self.env.shared.peers.enter(self.conn.number, self.conn.client(), self.conn.node, &self.mailbox);
        self.env.shared.peers.describe(&self.conn);
        self.forget(gone);
    }

    /// Makes room for a frame of `total` bytes that is held whole, or for `total` bytes of its front.
    pub(super) fn reserve(&mut self, pump: &mut Pump, total: usize, api: ApiKey) -> Result<Option<Wait>, End> {
        if total <= WINDOW || pump.window.capacity() >= total {
            pump.window.reach(total);
            return Ok(None);
        }
        let limit = self.limits.max_whole_frame;
        if total > limit {
            return Err(End::OverWhole { api: api.name().unwrap_or("unknown"), size: total, limit });
        }
        // It grows with what has come, twice as large each time: what was declared may be a lie.
        let (here, capacity) = (pump.window.undecided().len(), pump.window.capacity().max(WINDOW));
        let wanted = if here < capacity { capacity } else { 2 * here }.min(total);
        if !pump.reserve(wanted) {
            let since = *self.memory_wait.get_or_insert(self.now);
            self.sooner = true;
            if self.now.duration_since(since) > MEMORY_PATIENCE {
                return Err(End::OverMemory(total));
            }
            return Ok(Some(Wait::Memory));
        }
        self.memory_wait = None;
        pump.window.reach(wanted);
        Ok(None)
    }

    /// What is held for requests in flight, and in tables of what the client asks for.
    pub fn weight(&mut self) -> (usize, usize) {
        if self.queue.is_empty() && self.queue.capacity() > FEW {
            self.queue.shrink_to(FEW);
        }
        let entries = self.queue.capacity();
        let entries = if entries > FEW { entries * size_of::<Entry>() } else { 0 };
        let kept: usize = self.queue.iter().map(Entry::weight).sum();
        (entries + kept, self.topics.bytes() + self.fetch.bytes())
    }

    /// Makes a direction's buffers, counted.
    pub fn pump(&self) -> Pump {
        Pump::new(Account::new(self.limits.memory.clone()))
    }
}
