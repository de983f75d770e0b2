//! The state of one connection, without IO. Requests: `request.rs`; responses: `response.rs`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::end::End;
use super::groups::Links;
use super::inflight::{Entry, Kind};
use super::limits::Limits;
use super::metrics::{ApiMetrics, SessionMetrics};
use super::pump::Pump;
use super::request::RequestState;
use super::response::ResponseState;
use super::sasl::Login;
use super::window::WINDOW;
use crate::mend::directory::Directory;
use crate::mend::peers::Message;
use crate::mend::{Chain, Conn, Effect, FetchTable, Inject, Injected, Interests, Mender, Shared, Topics};
use crate::wire::api::{ApiKey, KEYS};
use crate::wire::codec::local;

/// What all connections share.
pub struct Env {
    pub limits: ArcSwap<Limits>,
    pub interests: ArcSwap<Interests>,
    pub menders: Vec<Arc<dyn Mender>>,
    pub shared: Arc<Shared>,
    pub directory: Arc<dyn Directory>,
    pub metrics: SessionMetrics,
}

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
    pub(super) conn: Conn,
    /// The address that the client connected to.
    pub(super) local: IpAddr,
    pub(super) chain: Chain,
    pub(super) topics: Topics,
    pub(super) fetch: FetchTable,
    pub(super) login: Login,
    pub(super) queue: VecDeque<Entry>,
    pub(super) links: Links,
    pub(super) request: RequestState,
    pub(super) response: ResponseState,
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
    next_correlation: i32,
    /// When each mender wants to be woken.
    wakes: Vec<Option<Instant>>,
    pub(super) memory_wait: Option<Instant>,
    mailbox: mpsc::Sender<Message>,
    entered: bool,
    /// A mender was told something, or wants something sent: what is held may go on now.
    stirred: bool,
    apis: Vec<Option<Arc<ApiMetrics>>>,
    pub(super) software: Option<IntGauge>,
    /// Whole request heads seen.
    pub(super) heads: u64,
    /// Menders have been told that kmend stops.
    pub(super) drained: bool,
    /// The client sends nothing any more.
    finished: bool,
    /// Nothing is sent any more.
    pub(super) ended: bool,
}

impl Core {
    pub fn new(env: Arc<Env>, conn: Conn, local: IpAddr, mailbox: mpsc::Sender<Message>, now: Instant) -> Core {
        let chain = Chain::new(&env.menders);
        let interests = env.interests.load_full();
        let limits = env.limits.load_full();
        let wakes = vec![None; env.menders.len()];
        Core {
            env,
            interests,
            limits,
            conn,
            local,
            chain,
            topics: Topics::default(),
            fetch: FetchTable::default(),
            login: Login::default(),
            queue: VecDeque::new(),
            links: Links::default(),
            request: RequestState::Head,
            response: ResponseState::Head,
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
            next_correlation: i32::MIN,
            wakes,
            memory_wait: None,
            mailbox,
            entered: false,
            stirred: false,
            apis: vec![None; KEYS],
            software: None,
            heads: 0,
            drained: false,
            finished: false,
            ended: false,
        }
    }

    /// Starts a round of work at this time.
    pub fn begin(&mut self, now: Instant) {
        self.now = now;
        if !Arc::ptr_eq(&self.interests, &*self.env.interests.load()) {
            self.interests = self.env.interests.load_full();
        }
        if !Arc::ptr_eq(&self.limits, &*self.env.limits.load()) {
            self.limits = self.env.limits.load_full();
        }
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
        self.queue.iter().any(|e| !matches!(e.kind, Kind::Injected { .. }))
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

    /// When [`on_time`](Self::on_time) wants to be called.
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
            Message::LogStarts { topic, partitions, asker } => {
                self.call_all(|m, cx| m.peer_asks(cx, asker, &topic, &partitions));
            }
        }
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

    /// Sends what menders want sent; only at a frame boundary of the requests.
    pub(super) fn send_injects(&mut self, pump: &mut Pump) {
        while let Some(inject) = self.injects.pop_front() {
            self.refresh();
            if !self.conn.injectable || inject.deadline <= self.now {
                let (mender, token) = (inject.mender, inject.token);
                self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Lost));
                continue;
            }
            let correlation = self.next_correlation;
            self.next_correlation = self.next_correlation.wrapping_add(1).min(-2);
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
        self.queue.len() >= MAX_IN_FLIGHT
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
        self.forget(gone);
    }

    pub(super) fn api(&mut self, api: ApiKey) -> Arc<ApiMetrics> {
        let Some(slot) = self.apis.get_mut(api.slot()) else {
            return self.env.metrics.api(api);
        };
        slot.get_or_insert_with(|| self.env.metrics.api(api)).clone()
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
        if pump.reserved.as_ref().is_none_or(|r| r.bytes() < total) {
            // What is held already is given back first: two halves must not wait for each other.
            pump.reserved = None;
            match self.limits.memory.reserve(total) {
                Some(reservation) => pump.reserved = Some(reservation),
                None => {
                    let since = *self.memory_wait.get_or_insert(self.now);
                    if self.now.duration_since(since) > MEMORY_PATIENCE {
                        return Err(End::OverMemory(total));
                    }
                    return Ok(Some(Wait::Memory));
                }
            }
        }
        self.memory_wait = None;
        pump.window.reach(total);
        Ok(None)
    }
}
