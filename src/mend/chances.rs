//! What is left to chance, so that several kmends do not act together.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A stream of numbers (splitmix64): another one in each process, unless a seed is given.
#[derive(Debug)]
pub struct Chances {
    seed: u64,
    drawn: AtomicU64,
}

impl Default for Chances {
    fn default() -> Chances {
        Chances::seeded(RandomState::new().hash_one(0u8))
    }
}

impl Chances {
    pub fn seeded(seed: u64) -> Chances {
        Chances { seed, drawn: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let z = self.seed.wrapping_add(drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn fraction(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Above 0.
    pub fn number(&self) -> i32 {
        (self.next() as i32 & i32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_are_above_zero_and_unlike() {
        let chances = Chances::default();
        let numbers: HashSet<i32> = (0..64).map(|_| chances.number()).collect();
        assert!(numbers.len() > 60 && numbers.iter().all(|n| *n > 0), "{numbers:?}");
    }

    #[test]
    fn fractions_are_spread_from_zero_to_one() {
        let chances = Chances::default();
        let mut all: Vec<f64> = (0..256).map(|_| chances.fraction()).collect();
        all.sort_by(f64::total_cmp);
        assert!(all[0] >= 0.0 && all[0] < 0.2 && all[255] > 0.8 && all[255] < 1.0, "{all:?}");
        assert!(all[128] > 0.3 && all[128] < 0.7, "{all:?}");
    }

    #[test]
    fn a_seed_gives_the_same_again_and_processes_differ() {
        let drawn = |chances: Chances| (0..8).map(|_| chances.number()).collect::<Vec<_>>();
        assert_eq!(drawn(Chances::seeded(7)), drawn(Chances::seeded(7)));
        assert_ne!(drawn(Chances::seeded(7)), drawn(Chances::seeded(8)));
        assert_ne!(drawn(Chances::default()), drawn(Chances::default()));
    }
}
