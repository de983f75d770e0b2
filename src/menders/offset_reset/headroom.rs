//! How far positions are from being evicted (rule A9).

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use prometheus::{GaugeVec, IntGaugeVec, Registry};

use crate::mend::Cx;
use crate::telemetry::metrics::Family;

/// How often positions are looked at.
pub const EVERY: Duration = Duration::from_secs(5);
const MAX_SERIES: usize = 1000;

/// Group, topic, partition.
type Labels = (String, String, String);

pub struct Headroom {
    records: IntGaugeVec,
    seconds: GaugeVec,
    series: Mutex<HashSet<Labels>>,
}

impl Headroom {
    pub fn new(registry: &Registry) -> Headroom {
        let labels = ["group", "topic", "partition"];
        Headroom {
            records: Family::gauge(
                registry,
                "offset_headroom_records",
                "Offsets between a consumer's position and the log start: how much retention may still remove before it skips.",
                &labels,
            ),
            seconds: Family::float_gauge(
                registry,
                "offset_headroom_seconds",
                "How long that lasts while the log start moves as it did lately. Absent while it stands still.",
                &labels,
            ),
            series: Mutex::default(),
        }
    }

    fn admit(&self, labels: &Labels) -> bool {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.contains(labels) || (series.len() < MAX_SERIES && series.insert(labels.clone()))
    }

    fn remove(&self, labels: &Labels) {
        let values = [labels.0.as_str(), labels.1.as_str(), labels.2.as_str()];
        let _ = self.records.remove_label_values(&values);
        let _ = self.seconds.remove_label_values(&values);
        self.series.lock().unwrap_or_else(PoisonError::into_inner).remove(labels);
    }
}

/// What one connection knows of its own partitions.
#[derive(Debug, Default)]
pub struct Watched {
    partitions: HashMap<Labels, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    log_start: i64,
    at: Instant,
    /// Offsets per second that the log start moves, smoothed.
    rate: f64,
    round: u64,
}

impl Watched {
    /// Looks at every partition that the connection fetches.
    pub fn look(&mut self, cx: &Cx<'_>, headroom: &Headroom, round: u64) {
        let group = cx.shared.peers.only_group(&cx.conn.client());
        let group = group.as_deref().unwrap_or("");
        for position in cx.fetch.positions().iter().filter(|p| p.log_start >= 0 && p.offset >= 0) {
            let Some(topic) = cx.topics.get(position.topic).and_then(|t| t.name.as_deref()) else {
                continue;
            };
            let labels = (group.to_owned(), topic.to_owned(), position.partition.to_string());
            if !headroom.admit(&labels) {
                continue;
            }
            let values = [labels.0.as_str(), labels.1.as_str(), labels.2.as_str()];
            let left = (position.offset - position.log_start).max(0);
            headroom.records.with_label_values(&values).set(left);
            let seen = self.partitions.entry(labels.clone()).or_insert(Seen {
                log_start: position.log_start,
                at: cx.now,
                rate: 0.0,
                round,
            });
            seen.learn(position.log_start, cx.now);
            seen.round = round;
            if seen.rate > f64::EPSILON {
                headroom.seconds.with_label_values(&values).set(left as f64 / seen.rate);
            } else {
                let _ = headroom.seconds.remove_label_values(&values);
            }
        }
        self.partitions.retain(|labels, seen| {
            let here = seen.round == round;
            if !here {
                headroom.remove(labels);
            }
            here
        });
    }

    pub fn forget(&mut self, headroom: &Headroom) {
        for labels in self.partitions.keys() {
            headroom.remove(labels);
        }
        self.partitions.clear();
    }
}

impl Seen {
    fn learn(&mut self, log_start: i64, now: Instant) {
        let seconds = now.duration_since(self.at).as_secs_f64();
        // Retention moves the start in steps of a segment: an average over about ten minutes.
        if seconds >= 1.0 {
            let newest = (log_start - self.log_start).max(0) as f64 / seconds;
            let weight = (seconds / 600.0).min(1.0);
            self.rate = if self.rate == 0.0 { newest } else { self.rate + (newest - self.rate) * weight };
            (self.log_start, self.at) = (log_start, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(partition: usize) -> Labels {
        ("group".to_owned(), "topic".to_owned(), partition.to_string())
    }

    #[test]
    fn series_are_bounded_and_a_place_comes_free() {
        let headroom = Headroom::new(&Registry::new());
        assert!((0..MAX_SERIES).all(|partition| headroom.admit(&labels(partition))));
        assert!(!headroom.admit(&labels(MAX_SERIES)));
        assert!(headroom.admit(&labels(7)), "it is there");
        headroom.remove(&labels(7));
        assert!(headroom.admit(&labels(MAX_SERIES)) && !headroom.admit(&labels(7)));
    }

    #[test]
    fn how_fast_the_log_start_moves_is_an_average_over_ten_minutes() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut seen = Seen { log_start: 100, at: begun, rate: 0.0, round: 0 };
        seen.learn(900, after(999));
        assert_eq!((seen.log_start, seen.rate), (100, 0.0), "too soon to tell");
        seen.learn(110, after(1000));
        assert_eq!((seen.log_start, seen.rate), (110, 10.0));
        // A tenth of ten minutes counts a tenth.
        seen.learn(110, after(61_000));
        assert_eq!((seen.at, seen.rate), (after(61_000), 9.0));
        seen.learn(110 + 4800, after(1_261_000));
        assert_eq!(seen.rate, 4.0, "nothing older than ten minutes counts");
        // A topic that was made anew.
        seen.learn(0, after(1_861_000));
        assert_eq!(seen.rate, 0.0);
    }
}
