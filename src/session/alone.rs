//! What becomes of the broker's side when the client has gone: it is shut, at once or when no
//! mender needs it any more. The part without IO: `linger.rs`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::bulk::Socket;
use super::core::Wait;
use super::driver::{Driver, ROUNDS};
use super::end::End;
use super::flow::drain;

/// How long a broker may take to take the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a connection has come.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Both sides are there.
    #[default]
    Open,
    /// The client has gone, for this reason.
    Lingering(End),
    /// The write side upstream is being shut.
    Shutting(End),
}

impl<C, U> Driver<C, U>
where
    C: Socket,
    U: Socket,
{
    /// The client's side has ended.
    pub(super) fn client_ended(&mut self, end: End) {
        let end = self.core.explain(end);
        self.core.begin(Instant::now());
        self.responses.never_starves();
        let lingers = end.leaves_upstream() && self.core.client_gone(&mut self.requests).is_some();
        let is_polite = matches!(end, End::ClientClosed | End::Nudged { .. });
        self.stage = match lingers {
            true => {
                tracing::debug!(connection = self.core.conn().number, reason = %end, "a connection goes on without its client");
                Stage::Lingering(end)
            }
            false => Stage::Shutting(end),
        };
        self.pause(0, false);
        self.pause(1, false);
        self.client = None;
        self.place = None;
        self.shut_until = match is_polite && !lingers {
            true => Instant::now() + PATIENCE,
            // The connection was cut: a word of farewell, but no waiting.
            false => Instant::now(),
        };
    }

    /// Works on until nobody needs the connection any more.
    pub(super) fn poll_lingering(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            self.core.begin(Instant::now());
            let Ok(moved) = self.linger_round(cx) else {
                return Poll::Ready(());
            };
            // Asked each time: a deadline may have passed, too.
            let Some(until) = self.core.lingers().map(|u| self.stop.map_or(u, |stop| u.min(stop))) else {
                return Poll::Ready(());
            };
            let now = Instant::now();
            if until <= now {
                return Poll::Ready(());
            }
            if moved || self.core.take_stirred() {
                continue;
            }
            let due = self.core.deadline().map_or(until, |at| at.min(until));
            if due <= now {
                self.core.begin(now);
                self.core.on_time();
                continue;
            }
            self.timer.as_mut().reset(due.into());
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves what can be moved; whether anything did.
    fn linger_round(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = self.read_mail(cx);
        moved |= self.poll_secret(cx)?;
        self.core.requests(&mut self.requests)?;
        moved |= self.requests.has_output();
        let paused = drain(&mut self.requests, &mut self.upstream, cx).map_err(End::UpstreamIo)?.is_pending();
        moved &= !paused;
        let wait = self.core.responses(&mut self.responses)?;
        // What was owed to the client goes nowhere; behind it may be more.
        moved |= self.responses.has_output();
        self.responses.drop_output();
        if wait == Wait::Bytes
            && let Poll::Ready(n) = self.responses.poll_fill(&mut self.upstream, false, cx).map_err(End::UpstreamIo)?
        {
            if n == 0 {
                return Err(End::UpstreamClosed);
            }
            moved = true;
        }
        Ok(moved | self.core.take_stirred())
    }

    /// Shuts the write side upstream.
    pub(super) fn poll_shutting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shut = Pin::new(&mut self.upstream).poll_shutdown(cx).is_ready();
        if shut || self.shut_until <= Instant::now() || self.stop.is_some() {
            return Poll::Ready(());
        }
        self.timer.as_mut().reset(self.shut_until.into());
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}
