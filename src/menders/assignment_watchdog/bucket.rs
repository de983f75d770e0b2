//! How fast members of one group may be told to rejoin (rule D3): a token bucket.

use std::time::{Duration, Instant};

/// At once.
pub const BURST: u32 = 4;
/// And then one in this time.
pub const REFILL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: u32,
    /// When the newest token came, or would have come.
    filled: Instant,
}

impl Bucket {
    pub fn new(now: Instant) -> Bucket {
        Bucket { tokens: BURST, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < BURST && self.filled + REFILL <= now {
            self.tokens += 1;
            self.filled += REFILL;
        }
        if self.tokens == BURST {
            self.filled = now;
        }
    }

    pub fn has(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens > 0
    }

    pub fn take(&mut self, now: Instant) -> bool {
        let has = self.has(now);
        self.tokens = self.tokens.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut taken = Vec::new();
        for ms in (0..30_000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            while bucket.take(now) {
                taken.push(ms);
            }
        }
        assert_eq!(taken, [0, 0, 0, 0, 5000, 10000, 15000, 20000, 25000]);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| bucket.take(later)).count(), BURST as usize);
    }
}
