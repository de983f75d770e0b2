//! Log starts as partitions' leaders told them, to any connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A start is believed for this long. It only ever grows, but a topic may be deleted and created
/// again, and then an old one would skip live records.
const FRESH: Duration = Duration::from_secs(10);
const MAX: usize = 50_000;

type Key = (Arc<str>, i32);

#[derive(Debug, Clone, Copy)]
struct Told {
    /// `None`: the leader could not be asked.
    start: Option<i64>,
    at: Instant,
}

#[derive(Debug, Default)]
pub struct LogStarts {
    told: Mutex<HashMap<Key, Told>>,
}

/// What is known of a log start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Start(i64),
    /// Asked, to no avail.
    Unobtainable,
    /// Not asked, or not answered yet.
    NotYet,
}

impl LogStarts {
    fn told(&self) -> MutexGuard<'_, HashMap<Key, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader said where the log starts; `None`: it could not be asked.
    pub fn tell(&self, topic: &Arc<str>, partition: i32, start: Option<i64>, now: Instant) {
        let mut told = self.told();
        if told.len() >= MAX {
            told.retain(|_, t| now.duration_since(t.at) < FRESH);
            if told.len() >= MAX {
                return;
            }
        }
        told.insert((topic.clone(), partition), Told { start, at: now });
    }

    /// What is known that was said at `since` or later, and is not stale.
    pub fn known(&self, topic: &Arc<str>, partition: i32, since: Option<Instant>, now: Instant) -> Known {
        match self.told().get(&(topic.clone(), partition)) {
            Some(t) if now.duration_since(t.at) < FRESH && since.is_none_or(|s| t.at >= s) => {
                t.start.map_or(Known::Unobtainable, Known::Start)
            }
            _ => Known::NotYet,
        }
    }
}
