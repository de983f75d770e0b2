//! What is said of connections that end, and of clients that are refused.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Target;
use crate::session::end::{End, Side};
use crate::telemetry::floods::Floods;

/// Which limit a client met that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Connections,
    Memory,
    /// There is none left to reach a broker with.
    Descriptors,
}

impl Refused {
    /// A bounded label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Refused::Connections => "connections",
            Refused::Memory => "memory",
            Refused::Descriptors => "descriptors",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Refused::Connections => "limits.max_connections is reached",
            Refused::Memory => "memory is short (limits.memory)",
            Refused::Descriptors => {
                "descriptors have run out; raise the limit (ulimit -n), or lower limits.max_connections"
            }
        }
    }

    fn of(label: &str) -> Refused {
        let all = [Refused::Connections, Refused::Memory];
        all.into_iter().find(|r| r.label() == label).unwrap_or(Refused::Descriptors)
    }
}

/// What is told of a flood once, and then counted.
#[derive(Debug)]
pub struct Teller {
    refused: Floods,
    ends: Floods,
    failed: Floods,
}

impl Default for Teller {
    fn default() -> Teller {
        Teller {
            refused: Floods::new(1, Duration::from_secs(1)),
            ends: Floods::new(5, Duration::from_secs(10)),
            failed: Floods::new(1, Duration::from_secs(10)),
        }
    }
}

impl Teller {
    pub fn refused(&self, why: Refused, peer: SocketAddr) {
        if self.refused.tells(why.label(), Instant::now()) {
            tracing::warn!(%peer, limit = why.label(), "a client is refused: {}", why.text());
        }
    }

    /// Accepting fails, again and again until something changes.
    pub fn cannot_accept(&self, error: &std::io::Error, pause: Duration) {
        if self.failed.tells("accept", Instant::now()) {
            tracing::warn!(%error, ?pause, "clients cannot be accepted; if descriptors ran out, raise the limit or lower limits.max_connections");
        }
    }

    /// One line for each end that somebody should know of.
    pub fn ended(&self, end: &End, connection: Option<u64>, peer: SocketAddr, local: SocketAddr, target: Target) {
        let side = end.side().label();
        match end {
            end if end.is_ordinary() => {
                tracing::debug!(connection, %peer, to = ?target, side, reason = %end, "a connection ended")
            }
            End::Nudged { late } => {
                tracing::info!(connection, %peer, to = ?target, late, "a connection was closed: {end}")
            }
            end if !self.ends.tells(end.cause(), Instant::now()) => {
                tracing::debug!(connection, %peer, to = ?target, side, reason = %end, "a connection was cut")
            }
            End::Tls(error) => tracing::warn!(%peer, "{}", error.line(local)),
            End::BadRequest(what) => {
                tracing::warn!(connection, %peer, listener = %local, "a client was cut off: {what}")
            }
            end if end.side() == Side::Client => {
                tracing::warn!(connection, %peer, listener = %local, "a client was cut off: {end}")
            }
            end => {
                tracing::error!(connection, %peer, to = ?target, side, "a connection was cut: {end}")
            }
        }
    }

    /// Asked once a second: what happened more often than it was told.
    pub fn tick(&self, now: Instant) {
        for (limit, more) in self.refused.more(now) {
            tracing::warn!(limit, clients = more, "more clients were refused: {}", Refused::of(limit).text());
        }
        for (cause, more) in self.ends.more(now) {
            let seconds = self.ends.per().as_secs();
            tracing::warn!(cause, connections = more, "and {more} more were cut in the last {seconds} s: {cause}");
        }
        for (_, more) in self.failed.more(now) {
            tracing::warn!(tries = more, "clients still cannot be accepted");
        }
    }
}
