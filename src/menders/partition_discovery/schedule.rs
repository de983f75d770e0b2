//! When a client's topics are asked about (rule B1).

use std::time::{Duration, Instant};

/// While nothing changes the gap between two polls grows by this much of the interval, so often.
const CALMER: f64 = 0.05;
const CALMEST: u32 = 5;
/// Either way, so that many kmends do not ask together.
const JITTER: f64 = 0.05;
/// A broker that is slow or fails is asked ever more seldom, but still asked.
const SELDOM: Duration = Duration::from_secs(300);
/// The answer to a poll is waited for at least so long: it may be behind a long poll of the client's.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer that took longer held up what the client sent behind it.
const SLOW: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Schedule {
    pub next: Instant,
    calm: u32,
    failures: u32,
    /// The connection that has asked, and until when its answer is waited for.
    asking: Option<(u64, Instant)>,
    /// The connection that was told to ask, and until when it may.
    appointed: Option<(u64, Instant)>,
}

impl Schedule {
    pub fn new(first: Instant) -> Schedule {
        Schedule { next: first, calm: 0, failures: 0, asking: None, appointed: None }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.next <= now && self.asking.is_none_or(|(_, until)| until <= now)
    }

    /// Leaves it to a connection that carries no records.
    pub fn appoint(&mut self, conn: u64, now: Instant) -> Instant {
        let until = now + Duration::from_millis(200);
        self.appointed = Some((conn, until));
        until
    }

    /// Another connection has been told to ask, and still may.
    pub fn is_left_to_another(&self, conn: u64, now: Instant) -> bool {
        self.appointed.is_some_and(|(c, until)| c != conn && until > now)
    }

    pub fn was_appointed(&self) -> bool {
        self.appointed.is_some()
    }

    pub fn ask(&mut self, conn: u64, interval: Duration, now: Instant) -> Instant {
        let until = now + PATIENCE.max(interval * 2);
        self.asking = Some((conn, until));
        self.appointed = None;
        until
    }

    pub fn is_asking(&self, conn: u64) -> bool {
        self.asking.is_some_and(|(c, _)| c == conn)
    }

    /// `fraction`: 0 to 1, by chance.
    pub fn gap(&self, interval: Duration, fraction: f64) -> Duration {
        let calm = 1.0 + CALMER * f64::from(self.calm.min(CALMEST));
        interval.mul_f64(calm * (1.0 - JITTER + 2.0 * JITTER * fraction))
    }

    /// The answer came `took` after its turn.
    pub fn answered(&mut self, news: bool, took: Duration, gap: Duration, now: Instant) {
        self.asking = None;
        self.failures = 0;
        self.calm = if news { 0 } else { self.calm.saturating_add(1) };
        let slow = if took >= SLOW { (took * 20).min(SELDOM) } else { Duration::ZERO };
        self.next = now + gap.max(slow);
    }

    /// There was no answer, or one that says nothing.
    pub fn failed(&mut self, gap: Duration, now: Instant) {
        self.asking = None;
        self.failures = (self.failures + 1).min(16);
        self.next = now + (gap * 2u32.saturating_pow(self.failures)).min(SELDOM.max(gap));
    }

    /// The connection that asked is gone: nobody's fault.
    pub fn interrupted(&mut self, now: Instant) {
        self.asking = None;
        self.next = self.next.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn the_gap_grows_a_little_and_stays_below_one_and_a_half() {
        let now = Instant::now();
        let mut s = Schedule::new(now);
        assert!(s.gap(INTERVAL, 0.5) == INTERVAL);
        for _ in 0..20 {
            s.answered(false, Duration::ZERO, INTERVAL, now);
        }
        assert!(s.gap(INTERVAL, 1.0) < INTERVAL.mul_f64(1.32) && s.gap(INTERVAL, 0.0) > INTERVAL.mul_f64(1.18));
        s.answered(true, Duration::ZERO, INTERVAL, now);
        assert_eq!(s.gap(INTERVAL, 0.5), INTERVAL);
    }

    #[test]
    fn a_broker_that_fails_or_is_slow_is_asked_seldom() {
        let now = Instant::now();
        let mut s = Schedule::new(now);
        s.failed(INTERVAL, now);
        assert_eq!(s.next, now + INTERVAL * 2);
        (0..40).for_each(|_| s.failed(INTERVAL, now));
        assert_eq!(s.next, now + SELDOM);
        s.answered(false, Duration::from_secs(3), INTERVAL, now);
        assert_eq!(s.next, now + Duration::from_secs(60));
        s.answered(false, SLOW, INTERVAL, now);
        assert_eq!(s.next, now + Duration::from_secs(10));
        s.answered(false, Duration::from_secs(60), INTERVAL, now);
        assert_eq!(s.next, now + SELDOM);
        s.answered(false, Duration::from_millis(3), INTERVAL, now);
        assert_eq!(s.next, now + INTERVAL);
        // Where that is what is set, it is no more often.
        s.failed(SELDOM * 2, now);
        assert_eq!(s.next, now + SELDOM * 2);
    }

    #[test]
    fn an_answer_is_waited_for_two_intervals_or_ten_seconds() {
        let now = Instant::now();
        let mut s = Schedule::new(now);
        assert_eq!(s.ask(7, Duration::from_secs(1), now), now + Duration::from_secs(10));
        assert_eq!(s.ask(7, Duration::from_secs(20), now), now + Duration::from_secs(40));
    }

    #[test]
    fn one_asks_at_a_time() {
        let now = Instant::now();
        let mut s = Schedule::new(now);
        assert!(s.is_due(now));
        assert!(!s.was_appointed());
        let until = s.appoint(7, now);
        assert_eq!(until, now + Duration::from_millis(200));
        assert!(s.was_appointed() && s.is_left_to_another(1, now) && !s.is_left_to_another(7, now));
        assert!(!s.is_left_to_another(1, until));
        let until = s.ask(7, INTERVAL, now);
        assert!(!s.was_appointed() && s.is_asking(7) && !s.is_asking(1));
        assert!(!s.is_due(now) && s.is_due(until));
        s.interrupted(now);
        assert!(s.is_due(now));
    }
}
