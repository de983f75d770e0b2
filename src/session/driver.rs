//! Moves the bytes of one connection: one task owns both sockets.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;

use super::alone::Stage;
use super::bulk::Socket;
use super::core::Core;
use super::end::{End, Side};
use super::env::Env;
use super::limits::Member;
use super::nudge::Nudge;
use super::pace::Pace;
use super::pump::Pump;
use super::ways::{self, Phase, Ways};
use super::woken::{Sources, Woken};
use crate::mend::Conn;
use crate::mend::peers::Message;
use crate::upstream::sasl::{LoginError, Secret};

/// Messages from a client's other connections that may wait.
const MAILBOX: usize = 64;
/// How soon it is tried again to read, where there was no room for what comes.
const STARVED: Duration = Duration::from_millis(100);
/// After so many rounds without a pause the task lets others run.
pub(super) const ROUNDS: usize = 16;

/// Moves bytes between `client` and `upstream` until one of them, or kmend, ends it; from the
/// client's end on for as long as a mender needs the broker's side.
pub fn run<C, U>(
    env: Arc<Env>,
    conn: Conn,
    local: IpAddr,
    client: C,
    upstream: U,
    ways: Ways,
) -> impl Future<Output = End>
where
    C: Socket,
    U: Socket,
{
    let Ways { accepted, session, phase, place } = ways;
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let now = Instant::now();
    let member = env.limits.load().memory.enter(conn.number, mailbox.clone());
    let core = Core::new(env.clone(), conn, local, mailbox, now);
    // Made here and boxed: what an async function is given, and its locals, it would hold twice.
    let mut driver = Box::new(Driver {
        requests: core.pump(),
        responses: core.pump(),
        core,
        member,
        env,
        client: Some(client),
        place: Some(place),
        upstream,
        messages,
        timer: Box::pin(tokio::time::sleep_until(now.into())),
        armed: now,
        opened: accepted,
        active: now,
        pace: Pace::default(),
        paused: [false; 2],
        held: [false; 2],
        unfinished: false,
        nudge: None,
        stage: Stage::Open,
        stop: None,
        cut: None,
        shut_until: now,
        secret: None,
    });
    if let Some(session) = session {
        driver.core.logged_in(session);
    }
    drive(driver, phase)
}

async fn drive<C, U>(mut driver: Box<Driver<C, U>>, mut phase: watch::Receiver<Phase>) -> End
where
    C: Socket,
    U: Socket,
{
    let mut now = *phase.borrow_and_update();
    let mut woken = Woken::new();
    loop {
        driver.tell(now);
        // Looked at by whoever is woken, waited for by one that has been asked once: that is cheaper.
        let glance = phase.clone();
        let mut next = pin!(ways::next(&mut phase));
        let mut asked = false;
        let until = poll_fn(|cx| {
            if let Poll::Ready(end) = driver.poll(cx, &mut woken) {
                return Poll::Ready(Err(end));
            }
            if std::mem::replace(&mut asked, true) && !glance.has_changed().unwrap_or(true) {
                return Poll::Pending;
            }
            next.as_mut().poll(cx).map(Ok)
        });
        now = match until.await {
            Ok(next) => next,
            Err(end) => return end,
        };
    }
}

type SecretComing = Pin<Box<dyn Future<Output = Result<Secret, LoginError>> + Send>>;

pub(super) struct Driver<C, U> {
    pub(super) env: Arc<Env>,
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
    /// When a byte moved last.
    pub(super) active: Instant,
    /// How the request goes on that the client is sending.
    pub(super) pace: Pace,
    member: Member,
    paused: [bool; 2],
    /// A mender holds the front request, the front response.
    pub(super) held: [bool; 2],
    /// There may be more to read, or a side has finished just now.
    pub(super) unfinished: bool,
    /// A mender has closed the connection; the client has not finished yet.
    pub(super) nudge: Option<Nudge>,
    pub(super) stage: Stage,
    /// kmend ends: nothing goes on beyond this.
    pub(super) stop: Option<Instant>,
    /// When the client is cut for it.
    cut: Option<Instant>,
    /// How long the broker's side may take to be shut.
    pub(super) shut_until: Instant,
    /// What renews kmend's login is being read.
    secret: Option<SecretComing>,
}

impl<C, U> Driver<C, U>
where
    C: Socket,
    U: Socket,
{
    fn poll(&mut self, cx: &mut Context<'_>, woken: &mut Woken) -> Poll<End> {
        let end = self.poll_stages(cx, woken);
        self.settle();
        end
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>, woken: &mut Woken) -> Poll<End> {
        if matches!(self.stage, Stage::Open) {
            let end = ready!(self.poll_open(cx, woken));
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
    fn poll_open(&mut self, cx: &mut Context<'_>, woken: &mut Woken) -> Poll<End> {
        if self.cut.is_some_and(|at| at <= Instant::now()) {
            return Poll::Ready(End::Shutdown);
        }
        if self.member.is_cut() {
            return Poll::Ready(End::Shed);
        }
        if self.nudge.is_some() {
            return self.poll_nudge(cx);
        }
        match self.rounds(cx, woken) {
            Ok(Poll::Ready(end)) | Err(end) => Poll::Ready(end),
            Ok(Poll::Pending) => Poll::Pending,
        }
    }

    fn rounds(&mut self, cx: &mut Context<'_>, woken: &mut Woken) -> Result<Poll<End>, End> {
        self.core.begin(Instant::now());
        let mut look = woken.take(cx);
        if !self.is_split() || self.held != [false; 2] || self.core.needs_every_look() {
            look = Sources::ALL;
        }
        let [requests_cx, responses_cx, others] = &mut woken.contexts();
        let mut again = look == Sources::ALL && self.read_mail(others);
        for _ in 0..ROUNDS {
            if look == Sources::ALL {
                // What comes later wakes the task again.
                again |= self.poll_secret(others)?;
            }
            // Who is known to have woken the task has probably sent: it is read without asking first.
            let likely = look != Sources::ALL;
            let requests = look.has(Sources::REQUESTS) && self.poll_requests(likely, requests_cx)?;
            let responses = match look.has(Sources::RESPONSES) {
                true => self.poll_responses(likely, responses_cx)?,
                false => self.core.answers_here() && self.poll_responses(false, responses_cx)?,
            };
            again |= self.core.take_stirred() | std::mem::take(&mut self.unfinished);
            // Both have been read until nothing came. What the broker said may set a request free; and before
            // the connection is closed both are read once more.
            again |= responses && (self.held[0] || !self.requests.window.undecided().is_empty());
            again |= (requests || responses || look != Sources::ALL) && self.core.wants_close();
            if let Some(end) = self.ends() {
                return Ok(Poll::Ready(end));
            }
            self.core.note_quiet(&self.requests, &self.responses);
            if !again {
                // Nothing moved: the client was read, and there is not a byte.
                if self.core.take_close() && !self.requests.eof && !self.responses.eof {
                    return Ok(self.begin_nudge(cx));
                }
                if self.poll_time(look == Sources::ALL, others)? {
                    look = Sources::ALL;
                    continue;
                }
                return Ok(Poll::Pending);
            }
            self.core.go_on(Instant::now());
            (look, again) = (Sources::ALL, false);
        }
        self.core.take_close();
        // Bytes without a break must not keep what is due waiting.
        self.poll_time(true, others)?;
        woken.again();
        Ok(Poll::Pending)
    }

    /// Whether a direction's sockets wake whom that direction has asked to. TLS reads where it writes, and the other
    /// way round.
    fn is_split(&self) -> bool {
        self.upstream.is_split() && self.client.as_ref().is_some_and(Socket::is_split)
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

    /// Whether something was due. `asked`: the timer may have fired, or anything been told; else it is enough that nothing
    /// has come to be due before it fires.
    fn poll_time(&mut self, asked: bool, cx: &mut Context<'_>) -> Result<bool, End> {
        let now = self.core.now();
        let sooner = self.core.take_sooner();
        if !asked && !sooner && now < self.armed && self.cut.is_none() && !self.pace.is_running() && !self.is_starved()
        {
            debug_assert!(self.core.deadline().is_none_or(|at| at >= self.armed), "a deadline that nobody told");
            return Ok(false);
        }
        if !self.core.has_spoken() && now >= self.opened + self.core.limits().handshake_timeout {
            return Err(End::Handshake);
        }
        let progress = self.pace.due(self.core.needs_whole(), self.core.limits().progress_timeout);
        if progress.is_some_and(|at| at <= now) {
            return Err(End::Progress);
        }
        let mut due = self.active + self.core.limits().idle_timeout;
        if due <= now {
            if let Some(end) = self.at_a_standstill() {
                return Err(end);
            }
            due = now + self.core.limits().idle_timeout;
        }
        if let Some(at) = progress {
            due = due.min(at);
        }
        if self.requests.take_starved() | self.responses.take_starved() {
            due = due.min(now + STARVED);
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
        let mut unknown = false;
        if due < self.armed || self.armed <= now {
            self.armed = due;
            self.timer.as_mut().reset(due.into());
            unknown = true;
        }
        // It knows whom to wake already, unless it was set anew.
        if (unknown || self.timer.is_elapsed()) && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = now;
            self.timer.as_mut().reset((now + Duration::from_millis(1)).into());
            let _ = self.timer.as_mut().poll(cx);
        }
        Ok(false)
    }
}

impl<C, U> Driver<C, U> {
    /// Why a connection ends on which nothing has moved for `limits.idle_timeout`. A broker may take
    /// its time for an answer, but not in the middle of it.
    fn at_a_standstill(&self) -> Option<End> {
        let quiet = self.core.is_idle() && !self.requests.has_output() && !self.responses.has_output();
        let [to_broker, to_client] = self.paused;
        match () {
            () if to_client => Some(End::Stalled(Side::Client)),
            () if to_broker || self.core.is_mid_response(&self.responses) => Some(End::Stalled(Side::Upstream)),
            // A client that has finished waits for its answers, but not for ever for a broker that hangs.
            () if quiet || self.requests.eof => Some(End::Idle),
            () => None,
        }
    }

    /// There was no room to read.
    fn is_starved(&self) -> bool {
        self.requests.is_starved() || self.responses.is_starved()
    }

    /// Counts what is held until the next round of work.
    fn settle(&mut self) {
        let (queued, tables) = self.core.weight();
        let held = self.requests.settle(queued + tables) + self.responses.settle(0);
        self.member.note(held.saturating_sub(tables as u64), tables as u64, self.active);
    }

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

    /// Brings the secret that the renewal of kmend's login waits for; whether it came.
    pub(super) fn poll_secret(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.secret.is_none()
            && let Some(account) = self.core.wants_secret()
        {
            self.secret = Some(Box::pin(async move { account.secret().await }));
        }
        let Some(Poll::Ready(secret)) = self.secret.as_mut().map(|s| s.as_mut().poll(cx)) else {
            return Ok(false);
        };
        self.secret = None;
        self.core.renew(secret)?;
        Ok(true)
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
