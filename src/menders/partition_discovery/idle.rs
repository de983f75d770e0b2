//! When a producer's connection may be closed without catching a request on its way (rule B2).

use std::time::{Duration, Instant};

/// So many pauses between requests are remembered.
const PAUSES: usize = 8;
/// Without a request for so long, the next one is as good as never due.
const LONG: Duration = Duration::from_secs(1);
/// What a client may need to see that its connection is closed.
const MARGIN: Duration = Duration::from_millis(15);
/// The shortest pause that is one.
const SETTLED: Duration = Duration::from_millis(2);

/// The pauses of one connection, from the last answer to the next request.
#[derive(Debug, Default)]
pub struct Pauses {
    last: [Duration; PAUSES],
    count: usize,
}

impl Pauses {
    /// A request came after this pause; `None`: something was still in flight.
    pub fn note(&mut self, pause: Option<Duration>) {
        if let Some(slot) = self.last.get_mut(self.count % PAUSES) {
            *slot = pause.unwrap_or_default();
        }
        self.count = self.count.wrapping_add(1);
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn shortest(&self) -> Option<Duration> {
        (self.count >= 3).then(|| self.last.iter().take(self.count.min(PAUSES)).min().copied()).flatten()
    }

    /// When, in a pause that has lasted since `quiet`, the connection may be closed. `must_retry`:
    /// its producer sends again what a closed connection swallows, and the broker sorts it out.
    pub fn may_close(&self, quiet: Instant, now: Instant, must_retry: bool) -> bool {
        let lasted = now.saturating_duration_since(quiet);
        if lasted >= LONG {
            // But not where a request has come before.
            return self.last.iter().all(|pause| pause.abs_diff(lasted) >= MARGIN);
        }
        let Some(shortest) = self.shortest() else {
            return false;
        };
        let margin = if must_retry { SETTLED } else { MARGIN };
        lasted >= SETTLED && lasted + margin <= shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(millis: &[u64]) -> Pauses {
        let mut p = Pauses::default();
        millis.iter().for_each(|ms| p.note(Some(Duration::from_millis(*ms))));
        p
    }

    fn closes(p: &Pauses, after_ms: u64, must_retry: bool) -> bool {
        let quiet = Instant::now();
        p.may_close(quiet, quiet + Duration::from_millis(after_ms), must_retry)
    }

    #[test]
    fn closes_early_in_a_regular_pause_and_never_late_in_it() {
        let p = pauses(&[50; 8]);
        assert!(!closes(&p, 1, false));
        assert!(closes(&p, 2, false) && closes(&p, 35, false));
        assert!(!closes(&p, 36, false) && closes(&p, 36, true) && !closes(&p, 49, true));
    }

    #[test]
    fn never_in_a_stream_and_always_after_a_second() {
        let mut p = pauses(&[50; 8]);
        p.note(None);
        assert!((0..1000).all(|ms| !closes(&p, ms, true)));
        assert!(closes(&p, 1000, false));
        let slow = pauses(&[1000; 8]);
        assert!(!closes(&slow, 990, false) && !closes(&slow, 1010, true) && closes(&slow, 1020, false));
        assert!(closes(&slow, 1015, false) && !closes(&slow, 1014, false), "15 ms are enough");
        assert!(!closes(&pauses(&[500, 500]), 10, true), "too little is known");
        assert!(closes(&pauses(&[500, 500, 500]), 10, true));
        assert!(Pauses::default().is_empty() && !p.is_empty());
    }
}
