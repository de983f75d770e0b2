//! One partition whose position is out of range, on one connection.
//!
//! ```text
//!            error 1 at X                      leader: log starts at S
//!   (none) ---------------> New --> Naming? --> Asking ---- X < S --> Target(E) --+
//!                            ^                    |                      |        | error 1 at E:
//!                            |                    '-- X >= S, no leader  |        | the start moved
//!                            |                        nobody tells       v        | (3 times at most)
//!                            '------- Truth <-- or it expires ---      served ----+
//! ```

use std::time::{Duration, Instant};

use super::metrics::Outcome;
use crate::config::model::ResetPolicy;

/// How long a client's Fetch waits for the leader's word.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The error passes for so long; then the leader is asked again.
const TRUTH: Duration = Duration::from_secs(5);
/// A log start that moves is chased so often.
const MAX_MOVES: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// To be asked for.
    New,
    /// The topic's name is asked for: ListOffsets knows no ids.
    Naming,
    /// The leader is asked; so many answers are still to come.
    Asking(u8),
    /// Below `start` a position becomes `to`.
    Target { start: i64, to: i64 },
    /// The error passes until then.
    Truth(Instant),
}

#[derive(Debug, Clone)]
pub struct Chase {
    /// The client's position; unknown until its next full request when kmend came in later.
    pub x: Option<i64>,
    pub phase: Phase,
    pub since: Instant,
    pub policy: ResetPolicy,
    pub explicit: bool,
    pub isolation: i8,
    start: Option<i64>,
    end: Option<i64>,
    moves: u8,
    /// The first request in which X became E.
    pub applied: Option<u64>,
    /// The client was told to open a new session.
    pub broken: bool,
    /// The newest response with an error, and with a success, for this partition.
    pub failed: Option<u64>,
    pub served: Option<u64>,
    confirmed: bool,
}

/// What an error 1 means for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// An empty success takes its place.
    Empty,
    Pass,
    /// It passes, and this is the first time.
    GiveUp(Outcome),
}

impl Chase {
    pub fn new(x: Option<i64>, policy: ResetPolicy, explicit: bool, isolation: i8, now: Instant) -> Chase {
        Chase {
            x,
            phase: Phase::New,
            since: now,
            policy,
            explicit,
            isolation,
            start: None,
            end: None,
            moves: 0,
            applied: None,
            broken: false,
            failed: None,
            served: None,
            confirmed: false,
        }
    }

    /// The leader's word is still missing.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Naming | Phase::Asking(_))
    }

    /// The broker's fetch session still holds X, and the client will not name it again by itself.
    pub fn needs_new_session(&self) -> bool {
        matches!(self.phase, Phase::Target { .. }) && self.applied.is_none() && !self.broken
    }

    /// Error 1 in the answer to the request with this number.
    pub fn on_error(&mut self, seq: u64, now: Instant) -> OnError {
        self.failed = Some(seq);
        match self.phase {
            Phase::New | Phase::Naming | Phase::Asking(_) => OnError::Empty,
            Phase::Truth(until) if until > now => OnError::Pass,
            Phase::Truth(_) => {
                self.again(now);
                OnError::Empty
            }
            // The request was on its way before X became E.
            Phase::Target { .. } if self.applied.is_none_or(|first| seq < first) => OnError::Empty,
            Phase::Target { .. } if self.moves >= MAX_MOVES => {
                self.give_up(now);
                OnError::GiveUp(Outcome::GaveUp)
            }
            Phase::Target { .. } => {
                self.moves += 1;
                self.again(now);
                OnError::Empty
            }
        }
    }

    fn again(&mut self, now: Instant) {
        self.phase = Phase::New;
        self.since = now;
        (self.start, self.end) = (None, None);
        (self.applied, self.broken, self.confirmed) = (None, false, false);
    }

    pub fn give_up(&mut self, now: Instant) {
        self.phase = Phase::Truth(now + TRUTH);
    }

    /// The leader is being asked: for the start, and for the end where the policy wants it.
    pub fn asked(&mut self) {
        self.phase = Phase::Asking(if self.policy == ResetPolicy::Latest { 2 } else { 1 });
    }

    /// The leader's answer. `Some`: the error is to pass, for this reason.
    pub fn told(&mut self, offset: Option<i64>, is_start: bool, now: Instant) -> Option<Outcome> {
        let Phase::Asking(missing) = self.phase else {
            return None;
        };
        let Some(offset) = offset else {
            self.give_up(now);
            return Some(Outcome::Unknown);
        };
        if is_start {
            self.start = Some(offset)
        } else {
            self.end = Some(offset)
        }
        if missing > 1 {
            self.phase = Phase::Asking(missing - 1);
            return None;
        }
        let start = self.start?;
        if self.x.is_some_and(|x| x >= start) {
            self.give_up(now);
            return Some(Outcome::NotBelow);
        }
        self.phase = Phase::Target { start, to: self.end.unwrap_or(start).max(start) };
        None
    }

    /// The client asks for `offset` in the request with this number. `Ok(Some(e))`: ask for `e`
    /// instead; `Err(())`: the client has moved on, there is nothing to chase any more.
    pub fn on_request(&mut self, offset: i64, seq: u64, now: Instant) -> Result<Option<i64>, ()> {
        if self.x.is_some_and(|x| x != offset) {
            return Err(());
        }
        self.x = Some(offset);
        match self.phase {
            Phase::Target { start, to } if offset < start => {
                self.applied = self.applied.or(Some(seq));
                Ok(Some(to))
            }
            Phase::Target { .. } => {
                self.give_up(now);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The answer to a request has been read to its end. `Some((x, e))`: the broker serves E, and
    /// this is the first time.
    pub fn on_response_end(&mut self, seq: u64, full: bool) -> Option<(i64, i64)> {
        let Phase::Target { to, .. } = self.phase else {
            return None;
        };
        // An incremental answer leaves out what has nothing new.
        let served = self.served == Some(seq) || (!full && self.failed != Some(seq));
        if self.confirmed || !served || self.applied.is_none_or(|first| seq < first) {
            return None;
        }
        self.confirmed = true;
        self.moves = 0;
        self.x.map(|x| (x, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chase(policy: ResetPolicy) -> (Chase, Instant) {
        let now = Instant::now();
        let mut c = Chase::new(Some(10), policy, false, 0, now);
        assert_eq!(c.on_error(1, now), OnError::Empty);
        c.asked();
        (c, now)
    }

    #[test]
    fn a_position_below_the_start_is_moved_and_told_once() {
        let (mut c, now) = chase(ResetPolicy::Earliest);
        assert_eq!(c.told(Some(40), true, now), None);
        assert!(c.needs_new_session());
        assert_eq!(c.on_error(2, now), OnError::Empty); // pipelined
        assert_eq!(c.on_request(10, 3, now), Ok(Some(40)));
        assert!(!c.needs_new_session());
        c.served = Some(3);
        assert_eq!(c.on_response_end(3, true), Some((10, 40)));
        assert_eq!(c.on_request(10, 4, now), Ok(Some(40)));
        c.served = Some(4);
        assert_eq!(c.on_response_end(4, true), None);
        assert_eq!(c.on_request(41, 5, now), Err(()));
    }

    #[test]
    fn a_start_that_moves_is_chased_three_times() {
        let (mut c, now) = chase(ResetPolicy::Earliest);
        let mut seq = 2;
        for moved in 0..=3 {
            assert_eq!(c.told(Some(40 + moved), true, now), None);
            assert_eq!(c.on_request(10, seq, now), Ok(Some(40 + moved)));
            let expected = if moved == 3 { OnError::GiveUp(Outcome::GaveUp) } else { OnError::Empty };
            assert_eq!(c.on_error(seq, now), expected);
            assert_eq!(c.on_response_end(seq, true), None);
            if moved < 3 {
                c.asked();
            }
            seq += 1;
        }
        assert_eq!(c.on_error(seq, now), OnError::Pass);
        assert_eq!(c.on_error(seq, now + TRUTH), OnError::Empty);
    }

    #[test]
    fn above_the_end_and_unknown_pass() {
        let (mut c, now) = chase(ResetPolicy::Earliest);
        assert_eq!(c.told(Some(10), true, now), Some(Outcome::NotBelow));
        assert_eq!(c.on_error(2, now), OnError::Pass);
        let (mut c, now) = chase(ResetPolicy::Earliest);
        assert_eq!(c.told(None, true, now), Some(Outcome::Unknown));
    }

    #[test]
    fn latest_waits_for_both_answers() {
        let (mut c, now) = chase(ResetPolicy::Latest);
        assert_eq!(c.told(Some(40), true, now), None);
        assert!(c.is_open());
        assert_eq!(c.told(Some(90), false, now), None);
        assert_eq!(c.on_request(10, 3, now), Ok(Some(90)));
    }

    #[test]
    fn an_unknown_position_is_learnt_from_the_next_request() {
        let now = Instant::now();
        let mut c = Chase::new(None, ResetPolicy::Earliest, false, 0, now);
        c.asked();
        assert_eq!(c.told(Some(40), true, now), None);
        assert_eq!(c.on_request(39, 3, now), Ok(Some(40)));
        let mut c = Chase::new(None, ResetPolicy::Earliest, false, 0, now);
        c.asked();
        assert_eq!(c.told(Some(40), true, now), None);
        assert_eq!(c.on_request(500, 3, now), Ok(None));
        assert_eq!(c.on_error(3, now), OnError::Pass);
    }
}
