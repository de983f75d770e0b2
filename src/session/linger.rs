//! A connection whose client has gone: the broker's side stays open for as long as a mender needs
//! it (rules C8, C9). The driver's part: `alone.rs`.

use std::time::Instant;

use super::core::Core;
use super::end::{End, Side};
use super::inflight::Kind;
use super::pump::Pump;
use super::request::RequestState;
use crate::mend::Injected;

impl End {
    /// Whether the broker's side can still be spoken on, and its answers be understood.
    pub(super) fn leaves_upstream(&self) -> bool {
        !matches!(
            self,
            End::UpstreamClosed
                | End::UpstreamIo(_)
                | End::UnknownKey(_)
                | End::Stalled(Side::Upstream)
                | End::BadResponse(_)
                | End::Unexpected { .. }
                | End::Unreadable { .. }
        )
    }
}

impl Core {
    /// The client has gone. Until when the connection goes on without it; `None`: it ends.
    pub fn client_gone(&mut self, requests: &mut Pump) -> Option<Instant> {
        let at_boundary = match self.request {
            // Of the latter two nothing goes upstream.
            RequestState::Head | RequestState::Gather(_) | RequestState::Swallow(_) => true,
            RequestState::Pass(_) | RequestState::Produce(_) | RequestState::Fetch(_) => false,
        };
        if !at_boundary {
            return None;
        }
        // What was held goes nowhere. Requests of kmend's own that waited for it go out now.
        self.request = RequestState::Head;
        requests.drop_undecided();
        self.hold = None;
        self.hold_spent = false;
        self.memory_wait = None;
        requests.never_starves();
        self.quiet = None;
        self.env.shared.peers.lingers(self.conn.number);
        if let Some(gauge) = self.software.take() {
            gauge.dec();
        }
        self.lingers()
    }

    /// Until when menders need the connection without its client, the latest of their wishes.
    pub fn lingers(&mut self) -> Option<Instant> {
        self.close_wanted = false;
        let mut until = None;
        self.call_all(|m, cx| until = until.max(m.lingers(cx)));
        until.filter(|until| *until > self.now)
    }

    /// Nobody waits any more: what is still out is lost.
    pub fn linger_over(&mut self) {
        self.ended = true;
        let mut lost: Vec<_> = self.take_injects().map(|i| (i.mender, i.token)).collect();
        for entry in self.queue.drain(..) {
            if let Kind::Injected { mender, token, abandoned: false, .. } = entry.kind {
                lost.push((mender, token));
            }
        }
        for (mender, token) in lost {
            self.call_one(mender, |m, cx| m.injected(cx, token, Injected::Lost));
        }
    }

    /// kmend has been told to stop.
    pub fn drain(&mut self) {
        if !std::mem::replace(&mut self.drained, true) {
            self.call_all(|m, cx| m.draining(cx));
        }
    }
}
