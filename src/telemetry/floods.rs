//! Log lines that could come by the thousand: the first of a kind are told whole, the rest counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kinds are names from this program's text: few.
#[derive(Debug)]
pub struct Floods {
    /// So many of a kind are told whole within this time.
    most: u32,
    per: Duration,
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    told: u32,
    more: u64,
}

impl Floods {
    pub fn new(most: u32, per: Duration) -> Floods {
        Floods { most, per, kinds: Mutex::default() }
    }

    /// Something has happened: whether it is told. Else it is counted.
    pub fn tells(&self, kind: &'static str, now: Instant) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_insert(Kind { since: now, told: 0, more: 0 });
        let tells = kind.told < self.most;
        match tells {
            true => kind.told += 1,
            false => kind.more += 1,
        }
        tells
    }

    /// Asked about once a second: of which kinds more has happened than was told, and how much more, now
    /// that its time is over. While that goes on nothing of the kind is told whole.
    pub fn more(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        kinds.retain(|name, kind| {
            if now.saturating_duration_since(kind.since) < self.per {
                return true;
            }
            let more = std::mem::take(&mut kind.more);
            (kind.since, kind.told) = (now, self.most);
            all.extend((more > 0).then_some((*name, more)));
            more > 0
        });
        all
    }

    pub fn per(&self) -> Duration {
        self.per
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_the_rest_counted() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let floods = Floods::new(2, Duration::from_secs(10));
        let told = |n, s| (0..n).filter(|_| floods.tells("http", at(s))).count();
        assert_eq!((told(5, 0), floods.tells("tls", at(0))), (2, true));
        assert_eq!(floods.more(at(9)), []);
        assert_eq!(floods.more(at(10)), [("http", 3)]);
        // It goes on.
        assert_eq!((told(7, 12), floods.more(at(20))), (0, vec![("http", 7)]));
        // It was over.
        assert_eq!((floods.more(at(30)), told(1, 31)), (vec![], 1));
    }
}
