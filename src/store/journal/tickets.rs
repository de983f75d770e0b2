//! Which writes are decided, and how.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Ticket, Written};

/// In the number of a ticket that was refused when it was given.
const REFUSED: u64 = 1 << 63;
/// Runs of refused tickets that are remembered; the oldest are forgotten.
const MAX_RUNS: usize = 1000;

pub(super) fn refused(number: u64) -> Ticket {
    Ticket(number | REFUSED)
}

/// Tickets are decided in their order. Only while there have been refusals a lock is taken to ask.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// All below are decided.
    decided: AtomicU64,
    /// 0: none was ever refused.
    refusals: AtomicU64,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    /// First and one behind the last.
    runs: BTreeMap<u64, u64>,
    /// Below, nothing is known any more.
    forgotten: u64,
}

impl Tickets {
    pub(super) fn written(&self, ticket: Ticket) -> Written {
        let Ticket(number) = ticket;
        if number & REFUSED != 0 {
            return Written::No;
        }
        if number >= self.decided.load(Ordering::Acquire) {
            return Written::NotYet;
        }
        if self.refusals.load(Ordering::Relaxed) == 0 {
            return Written::Yes;
        }
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refused = runs.runs.range(..=number).next_back().is_some_and(|(_, end)| number < *end);
        // Of the forgotten the careful answer.
        if is_refused || number < runs.forgotten { Written::No } else { Written::Yes }
    }

    /// All tickets below `end` are decided, with `Yes` but for these.
    pub(super) fn decide(&self, end: u64, refused: impl Iterator<Item = u64>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for number in refused {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            runs.add(number, number + 1);
        }
        drop(runs);
        // Behind the refusals, so that none is taken for a `Yes`.
        self.decided.fetch_max(end, Ordering::Release);
    }

    /// All that are open are refused.
    pub(super) fn refuse_open(&self, end: u64) {
        let decided = self.decided.load(Ordering::Acquire);
        if decided < end {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            self.runs.lock().unwrap_or_else(PoisonError::into_inner).add(decided, end);
            self.decided.fetch_max(end, Ordering::Release);
        }
    }
}

impl Runs {
    fn add(&mut self, start: u64, end: u64) {
        match self.runs.last_entry() {
            Some(mut last) if *last.get() == start => {
                last.insert(end);
            }
            _ => {
                self.runs.insert(start, end);
            }
        }
        while self.runs.len() > MAX_RUNS
            && let Some((_, end)) = self.runs.pop_first()
        {
            self.forgotten = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ticket_gets_its_answer() {
        let tickets = Tickets::default();
        assert_eq!(tickets.written(Ticket(0)), Written::NotYet);
        tickets.decide(2, [].into_iter());
        tickets.decide(6, [2, 3, 5].into_iter());
        tickets.decide(7, [6].into_iter());
        use Written::{No, NotYet, Yes};
        let all: Vec<_> = (0..8).map(|n| tickets.written(Ticket(n))).collect();
        assert_eq!(all, [Yes, Yes, No, No, Yes, No, No, NotYet]);
        assert_eq!(tickets.runs.lock().unwrap().runs.len(), 2);
        assert_eq!(tickets.written(refused(0)), No);
        tickets.refuse_open(9);
        let all: Vec<_> = (6..10).map(|n| tickets.written(Ticket(n))).collect();
        assert_eq!(all, [No, No, No, NotYet]);
    }

    #[test]
    fn a_forgotten_refusal_is_never_a_yes() {
        let tickets = Tickets::default();
        for number in (0..4 * MAX_RUNS as u64).step_by(2) {
            tickets.decide(number + 2, std::iter::once(number));
        }
        assert_eq!(tickets.runs.lock().unwrap().runs.len(), MAX_RUNS);
        for number in (0..4 * MAX_RUNS as u64).step_by(2) {
            assert_eq!(tickets.written(Ticket(number)), Written::No);
        }
        assert_eq!(tickets.written(Ticket(4 * MAX_RUNS as u64 - 1)), Written::Yes);
    }
}
