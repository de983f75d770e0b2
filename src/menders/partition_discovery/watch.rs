//! The topics as the cluster has them: what any Metadata response has shown, for the whole process.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::mend::catalog::{NO_ID, TopicId};

/// Enough for the topics that a sidecar's clients use.
const MAX_TOPICS: usize = 20_000;
/// Ids are never used again; so many of a topic's former ones are remembered.
const RETIRED: usize = 4;
/// Without ids a smaller count may be an old answer, or a topic that was deleted and made anew:
/// the latter stays.
const SMALLER_FOR: Duration = Duration::from_secs(10);

/// What is known of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// [`NO_ID`] where only old versions have been seen.
    pub id: TopicId,
    pub partitions: usize,
    /// When it was seen last.
    pub at: Instant,
    /// When this many partitions, each with a leader, were seen first.
    pub since: Instant,
}

#[derive(Debug)]
struct Known {
    sight: Sight,
    retired: Vec<TopicId>,
    smaller_since: Option<Instant>,
}

/// What one answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Same,
    Grown {
        from: usize,
        to: usize,
    },
    /// Deleted and made again.
    Recreated,
    /// There are more partitions, but not each has a leader yet.
    Leaderless,
    /// The answer is older than what is known, or an error.
    Stale,
}

#[derive(Debug, Default)]
pub struct Watch {
    topics: RwLock<HashMap<Arc<str>, Known>>,
}

impl Watch {
    pub fn sight(&self, topic: &str) -> Option<Sight> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).map(|k| k.sight)
    }

    /// `leaders[p]` is the leader of partition `p`, -1 for none.
    pub fn see(&self, topic: &str, id: TopicId, leaders: &[i32], now: Instant) -> News {
        if leaders.is_empty() {
            return News::Stale;
        }
        let led = leaders.iter().all(|l| *l >= 0);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = topics.get_mut(topic) else {
            if topics.len() < MAX_TOPICS && led {
                let sight = Sight { id, partitions: leaders.len(), at: now, since: now };
                topics.insert(Arc::from(topic), Known { sight, retired: Vec::new(), smaller_since: None });
            }
            return News::Same;
        };
        known.see(id, leaders.len(), led, now)
    }
}

impl Known {
    fn see(&mut self, id: TopicId, partitions: usize, led: bool, now: Instant) -> News {
        if id != NO_ID && self.retired.contains(&id) {
            return News::Stale;
        }
        if id != NO_ID && self.sight.id != NO_ID && id != self.sight.id {
            if !led {
                return News::Leaderless;
            }
            self.retired.insert(0, self.sight.id);
            self.retired.truncate(RETIRED);
            self.sight = Sight { id, partitions, at: now, since: now };
            self.smaller_since = None;
            return News::Recreated;
        }
        if id != NO_ID {
            self.sight.id = id;
        }
        let from = self.sight.partitions;
        if partitions < from {
            return self.smaller(id, partitions, now);
        }
        self.smaller_since = None;
        if partitions == from {
            self.sight.at = now;
            return News::Same;
        }
        if !led {
            return News::Leaderless;
        }
        (self.sight.partitions, self.sight.at, self.sight.since) = (partitions, now, now);
        News::Grown { from, to: partitions }
    }

    /// Kafka takes no partitions away: the answer is old, or the topic is another one.
    fn smaller(&mut self, id: TopicId, partitions: usize, now: Instant) -> News {
        if id != NO_ID {
            return News::Stale;
        }
        let since = *self.smaller_since.get_or_insert(now);
        if now.duration_since(since) < SMALLER_FOR {
            return News::Stale;
        }
        self.sight = Sight { id: NO_ID, partitions, at: now, since: now };
        self.smaller_since = None;
        News::Recreated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TopicId = [1; 16];
    const B: TopicId = [2; 16];

    #[test]
    fn grows_only_when_every_partition_has_a_leader() {
        let (w, now) = (Watch::default(), Instant::now());
        assert_eq!(w.see("t", A, &[1], now), News::Same);
        assert_eq!(w.see("t", A, &[1, -1, 2], now), News::Leaderless);
        assert_eq!(w.sight("t").map(|s| s.partitions), Some(1));
        assert_eq!(w.see("t", A, &[1, 3, 2], now), News::Grown { from: 1, to: 3 });
        assert_eq!(w.see("t", A, &[1], now), News::Stale);
        assert_eq!(w.see("t", NO_ID, &[1, 3, 2], now), News::Same);
        assert_eq!(w.see("t", A, &[], now), News::Stale);
    }

    #[test]
    fn a_former_topic_of_the_name_does_not_come_back() {
        let (w, now) = (Watch::default(), Instant::now());
        w.see("t", A, &[1; 12], now);
        assert_eq!(w.see("t", B, &[1], now), News::Recreated);
        assert_eq!(w.see("t", A, &[1; 12], now), News::Stale);
        assert_eq!(w.see("t", B, &[1, 1], now), News::Grown { from: 1, to: 2 });
    }

    #[test]
    fn without_ids_a_smaller_topic_is_believed_after_a_while() {
        let (w, now) = (Watch::default(), Instant::now());
        w.see("t", NO_ID, &[1; 3], now);
        assert_eq!(w.see("t", NO_ID, &[1], now), News::Stale);
        assert_eq!(w.see("t", NO_ID, &[1; 3], now), News::Same);
        assert_eq!(w.see("t", NO_ID, &[1], now), News::Stale);
        assert_eq!(w.see("t", NO_ID, &[1], now + SMALLER_FOR), News::Recreated);
    }
}
