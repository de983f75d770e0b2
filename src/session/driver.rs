//! Moves the bytes of one connection: one task owns both sockets.

use std::any::Any;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::alone::Stage;
use super::core::{Core, Env, Wait};
use super::end::End;
use super::nudge::Nudge;
use super::pump::Pump;
use super::ways::{self, Phase, Ways};
use crate::mend::Conn;
use crate::mend::peers::Message;

/// Messages from a client's other connections that may wait.
const MAILBOX: usize = 64;
/// After so many rounds without a pause the task lets others run.
pub(super) const ROUNDS: usize = 64;

/// Moves bytes between `client` and `upstream` until one of them, or kmend, ends it; from the
/// client's end on for as long as a mender needs the broker's side.
pub async fn run<C, U>(env: Arc<Env>, conn: Conn, local: IpAddr, client: C, upstream: U, ways: Ways) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let Ways { mut phase, place } = ways;
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let now = Instant::now();
    let mut driver = Driver {
        core: Core::new(env.clone(), conn, local, mailbox, now),
        env,
        client: Some(client),
        place: Some(place),
        upstream,
        requests: Pump::default(),
        responses: Pump::default(),
        messages,
        timer: Box::pin(tokio::time::sleep_until(now.into())),
        armed: now,
        opened: now,
        active: now,
        paused: [false; 2],
        held: [false; 2],
        nudge: None,
        stage: Stage::Open,
        stop: None,
        cut: None,
        shut_until: now,
    };
    let mut now = *phase.borrow_and_update();
    loop {
        driver.tell(now);
        now = tokio::select! {
            biased;
            end = poll_fn(|cx| driver.poll(cx)) => return end,
            next = ways::next(&mut phase) => next,
        };
    }
}

pub(super) struct Driver<C, U> {
    env: Arc<Env>,
    pub(super) core: Core,
    /// `None`: it has gone.
    pub(super) client: Option<C>,
    pub(super) place: Option<Box<dyn Any + Send>>,
    pub(super) upstream: U,
    pub(super) requests: Pump,
    pub(super) responses: Pump,
    messages: mpsc::Receiver<Message>,
    pub(super) timer: Pin<Box<Sleep>>,
    /// What the timer is set to: it is set anew only when it fires or something is due earlier.
    armed: Instant,
    opened: Instant,
    active: Instant,
    paused: [bool; 2],
    /// A mender holds the front request, the front response.
    held: [bool; 2],
    /// A mender has closed the connection; the client has not finished yet.
    pub(super) nudge: Option<Nudge>,
    pub(super) stage: Stage,
    /// kmend ends: nothing goes on beyond this.
    pub(super) stop: Option<Instant>,
    /// When the client is cut for it.
    cut: Option<Instant>,
    /// How long the broker's side may take to be shut.
    pub(super) shut_until: Instant,
}

impl<C, U> Driver<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if matches!(self.stage, Stage::Open) {
            let end = ready!(self.poll_open(cx));
            self.client_ended(end);
        }
        if let Stage::Lingering(_) = self.stage {
            ready!(self.poll_lingering(cx));
            self.core.linger_over();
            if let Stage::Lingering(end) = std::mem::take(&mut self.stage) {
                self.stage = Stage::Shutting(end);
            }
        }
        ready!(self.poll_shutting(cx));
        match std::mem::take(&mut self.stage) {
            Stage::Lingering(end) | Stage::Shutting(end) => Poll::Ready(end),
            Stage::Open => Poll::Ready(End::Shutdown),
        }
    }

    /// Until the client's side has ended, or the broker's.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.cut.is_some_and(|at| at <= Instant::now()) {
            return Poll::Ready(End::Shutdown);
        }
        if self.nudge.is_some() {
            return self.poll_nudge(cx);
        }
        match self.rounds(cx) {
            Ok(Poll::Ready(end)) | Err(end) => Poll::Ready(end),
            Ok(Poll::Pending) => Poll::Pending,
        }
    }

    fn rounds(&mut self, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        self.core.begin(Instant::now());
        for _ in 0..ROUNDS {
            let mut moved = self.read_mail(cx);
            moved |= self.poll_requests(cx)?;
            moved |= self.poll_responses(cx)?;
            moved |= self.core.take_stirred();
            if let Some(end) = self.ends() {
                return Ok(Poll::Ready(end));
            }
            self.core.note_quiet(&self.requests, &self.responses);
            if !moved {
                // Nothing moved: the client was read, and there is not a byte.
                if self.core.take_close() && !self.requests.eof && !self.responses.eof {
                    return Ok(self.begin_nudge(cx));
                }
                if self.poll_time(cx)? {
                    continue;
                }
                return Ok(Poll::Pending);
            }
            self.core.begin(Instant::now());
        }
        self.core.take_close();
        // Bytes without a break must not keep what is due waiting.
        self.poll_time(cx)?;
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    /// One round of requests; whether anything moved.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let wait = self.core.requests(&mut self.requests)?;
        self.held[0] = wait == Wait::Held;
        let before = self.requests.has_output();
        let drained = self.requests.poll_drain(&mut self.upstream, cx).map_err(End::UpstreamIo)?;
        let paused = drained.is_pending();
        self.pause(0, paused);
        if paused || wait == Wait::Held || wait == Wait::Memory || self.requests.eof {
            return Ok(before && !paused);
        }
        let Some(client) = &mut self.client else {
            return Ok(false);
        };
        match self.requests.poll_fill(client, cx).map_err(End::ClientIo)? {
            Poll::Pending => Ok(before),
            Poll::Ready(n) => {
                self.env.metrics.request_bytes.inc_by(n as u64);
                self.active = Instant::now();
                Ok(true)
            }
        }
    }

    fn poll_responses(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let wait = self.core.responses(&mut self.responses)?;
        self.held[1] = wait == Wait::Held;
        let before = self.responses.has_output();
        let Some(client) = &mut self.client else {
            return Ok(false);
        };
        let drained = self.responses.poll_drain(client, cx).map_err(End::ClientIo)?;
        self.env.metrics.response_bytes.inc_by(self.responses.take_written());
        let paused = drained.is_pending();
        self.pause(1, paused);
        if paused || wait == Wait::Held || wait == Wait::Memory || self.responses.eof {
            return Ok(before && !paused);
        }
        match self.responses.poll_fill(&mut self.upstream, cx).map_err(End::UpstreamIo)? {
            Poll::Pending => Ok(before),
            Poll::Ready(_) => {
                self.active = Instant::now();
                Ok(true)
            }
        }
    }

    /// Half-closed sides are drained, not cut: a client that has finished still gets its answers.
    /// One that has broken off in the middle of a frame is let go, as a broker does: the answer to
    /// half a request never comes.
    fn ends(&mut self) -> Option<End> {
        if self.responses.eof && !self.responses.has_output() && !self.held[1] {
            return Some(End::UpstreamClosed);
        }
        if self.requests.eof {
            self.core.finished();
        }
        if self.requests.eof && self.core.drained {
            // It waits for its answers, perhaps in vain: the way out does not wait for it.
            self.place = None;
        }
        let sent = self.requests.eof && !self.requests.has_output() && !self.held[0];
        let answered = !self.core.owes_client() && !self.responses.has_output();
        (sent && (answered || self.core.is_mid_request())).then_some(End::ClientClosed)
    }

    /// Whether something was due.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let now = Instant::now();
        if !self.core.has_spoken() && now >= self.opened + self.core.limits().handshake_timeout {
            return Err(End::Handshake);
        }
        let quiet = self.core.is_idle() && !self.requests.has_output() && !self.responses.has_output();
        // A client that has finished waits for its answers, but not for ever for a broker that hangs.
        if (quiet || self.requests.eof) && now >= self.active + self.core.limits().idle_timeout {
            return Err(End::Idle);
        }
        let mut due = self.active + self.core.limits().idle_timeout;
        if due <= now {
            due = now + self.core.limits().idle_timeout;
        }
        if let Some(at) = self.cut {
            due = due.min(at);
        }
        if !self.core.has_spoken() {
            due = due.min(self.opened + self.core.limits().handshake_timeout);
        }
        if let Some(at) = self.core.deadline() {
            if at <= now {
                self.core.begin(now);
                self.core.on_time();
                return Ok(true);
            }
            due = due.min(at);
        }
        // An earlier alarm than needed is harmless; a later one is not.
        if due < self.armed || self.armed <= now {
            self.armed = due;
            self.timer.as_mut().reset(due.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = now;
            self.timer.as_mut().reset((now + Duration::from_millis(1)).into());
            let _ = self.timer.as_mut().poll(cx);
        }
        Ok(false)
    }
}

impl<C, U> Driver<C, U> {
    /// How far the way out has been taken.
    fn tell(&mut self, phase: Phase) {
        if phase != Phase::Running {
            self.core.begin(Instant::now());
            self.core.drain();
        }
        if let Phase::Ending { until } = phase {
            self.stop = Some(until);
            // A client that has finished may still get what it is owed, while there is time after that.
            let now = Instant::now();
            let patience = if self.requests.eof { until.saturating_duration_since(now) / 2 } else { Duration::ZERO };
            self.cut = Some(now + patience);
        }
    }

    /// Hands messages on; whether there were any.
    pub(super) fn read_mail(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(Some(message)) = self.messages.poll_recv(cx) {
            // What is told in answer is newer than the question.
            self.core.begin(Instant::now());
            self.core.on_message(message);
            any = true;
        }
        any
    }

    pub(super) fn pause(&mut self, side: usize, paused: bool) {
        let gauge =
            if side == 0 { &self.env.metrics.client_reads_paused } else { &self.env.metrics.upstream_reads_paused };
        if let Some(was) = self.paused.get_mut(side)
            && *was != paused
        {
            *was = paused;
            if paused { gauge.inc() } else { gauge.dec() }
        }
    }
}

/// However the connection ends, also by being dropped at the end of a drain: what it counted and
/// entered elsewhere goes with it.
impl<C, U> Drop for Driver<C, U> {
    fn drop(&mut self) {
        self.pause(0, false);
        self.pause(1, false);
        self.core.begin(Instant::now());
        self.core.close();
    }
}
