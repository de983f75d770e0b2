//! How a request goes on that its client has begun to send (`limits.progress_timeout`).

use std::time::{Duration, Instant};

use super::core::Core;
use super::pump::Pump;
use super::request::RequestState;
use super::response::ResponseState;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The request, by how many were before it; `None`: the client owes nothing.
    request: Option<u64>,
    /// Since when it has been the client's turn, and when its last byte came.
    begun: Option<Instant>,
    byte: Option<Instant>,
}

impl Pace {
    /// Whether it is the client's turn to go on, with which request.
    pub fn turn(&mut self, request: Option<u64>, now: Instant) {
        if request != self.request {
            self.request = request;
            self.begun = request.map(|_| now);
            self.byte = self.begun;
        }
    }

    /// It is the client's turn.
    pub fn is_running(&self) -> bool {
        self.begun.is_some()
    }

    /// A byte has come.
    pub fn byte(&mut self, now: Instant) {
        self.byte = self.begun.map(|_| now);
    }

    /// When it has taken too long: from its last byte on, or where it is held whole from its first.
    pub fn due(&self, whole: bool, limit: Duration) -> Option<Instant> {
        let from = if whole { self.begun } else { self.byte };
        from.map(|from| from + limit)
    }
}

impl Core {
    /// The client is in the middle of a request.
    pub(super) fn is_sending(&self, requests: &Pump) -> bool {
        self.is_mid_request() || !requests.window.undecided().is_empty()
    }

    /// Nothing of the request at hand goes on before all of it is here.
    pub(super) fn needs_whole(&self) -> bool {
        matches!(self.request, RequestState::Head | RequestState::Gather(_))
    }

    /// The broker is in the middle of an answer.
    pub(super) fn is_mid_response(&self, responses: &Pump) -> bool {
        let held = self.response_hold.is_some();
        !held && (!matches!(self.response, ResponseState::Head) || !responses.window.undecided().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_own_time() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let limit = Duration::from_secs(10);
        let mut pace = Pace::default();
        pace.byte(at(0));
        assert_eq!(pace.due(true, limit), None, "nothing has begun");
        pace.turn(Some(1), at(1));
        pace.byte(at(5));
        pace.turn(Some(1), at(5));
        assert_eq!((pace.due(true, limit), pace.due(false, limit)), (Some(at(11)), Some(at(15))));
        pace.turn(Some(2), at(6));
        assert_eq!(pace.due(true, limit), Some(at(16)));
        // It was held back: its time begins anew.
        pace.turn(None, at(7));
        assert_eq!(pace.due(false, limit), None);
        pace.turn(Some(2), at(8));
        assert_eq!(pace.due(true, limit), Some(at(18)));
    }
}
