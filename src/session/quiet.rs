//! Quiet: nothing is owed to either side, and the client has sent nothing.

use super::core::Core;
use super::pump::Pump;
use super::response::ResponseState;

impl Core {
    /// Tells, after a round of work, what is left in the pumps.
    pub fn note_quiet(&mut self, requests: &Pump, responses: &Pump) {
        if !requests.window.undecided().is_empty() {
            self.bytes_came();
        }
        let quiet = self.is_idle() && matches!(self.response, ResponseState::Head) && requests.is_empty();
        match quiet && responses.is_empty() {
            true => _ = self.quiet.get_or_insert(self.now),
            false => self.quiet = None,
        }
    }

    /// Bytes of a request are there: a quiet period ends with its first one.
    pub(super) fn bytes_came(&mut self) {
        if let Some(since) = self.quiet.take() {
            self.broke_quiet = Some(self.now.saturating_duration_since(since));
        }
    }

    /// The number of a request whose fate is known.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.broke_quiet = None;
        self.seq
    }

    /// Nothing is in flight, and nothing has been received behind the front request of `total` bytes.
    pub(super) fn is_alone(&self, requests: &Pump, total: usize) -> bool {
        self.queue.is_empty() && requests.window.undecided().len() <= total
    }

    /// A mender wants the connection closed.
    pub fn wants_close(&self) -> bool {
        self.close_wanted
    }

    /// Whether a mender wants the connection closed and it is quiet; asked when nothing moves any
    /// more. A wish that cannot be granted now is forgotten: the mender asks again.
    pub fn take_close(&mut self) -> bool {
        std::mem::take(&mut self.close_wanted) && self.quiet.is_some()
    }
}
