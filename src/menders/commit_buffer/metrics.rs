//! What this mender counts.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Registry};

use super::NAME;
use super::book::{Event, What};
use crate::telemetry::metrics::{Family, Single};

pub struct Metrics {
    repairs: IntCounterVec,
    commits: IntCounterVec,
    pub softened: IntCounter,
    buffered: IntGauge,
    age: Gauge,
    oldest_behind: Gauge,
}

impl Metrics {
    pub fn new(registry: &Registry, repairs: &IntCounterVec) -> Metrics {
        Metrics {
            repairs: repairs.clone(),
            commits: Family::counter(
                registry,
                "commits_total",
                "Committed partitions, by what became of them.",
                &["outcome"],
            ),
            softened: Single::counter(
                registry,
                "heartbeats_softened_total",
                "Heartbeats whose error was shown as REBALANCE_IN_PROGRESS.",
            ),
            buffered: Single::gauge(
                registry,
                "commits_buffered",
                "Partitions with a commit that kmend has acknowledged and the broker does not have yet.",
            ),
            age: Single::float_gauge(
                registry,
                "commit_buffer_age_seconds",
                "Age of the oldest commit that a rebalance refused and that is kept.",
            ),
            oldest_behind: Single::float_gauge(
                registry,
                "writebehind_oldest_seconds",
                "Age of the oldest commit that was acknowledged before the broker had it.",
            ),
        }
    }

    pub fn event(&self, event: &Event) {
        let outcome = match event.what {
            What::Buffered => "buffered",
            What::Behind => "behind",
            What::Delivered => "delivered",
            What::Replayed => "replayed",
            What::Flushed => "flushed",
            What::Superseded(_) => "superseded",
            What::Covered => "covered",
            What::Expired => "expired",
            What::Failed(_) => "failed",
        };
        self.commits.with_label_values(&[outcome]).inc();
        if !matches!(event.what, What::Behind | What::Flushed) {
            self.repair(outcome);
        }
    }

    pub fn passed(&self, partitions: usize) {
        self.commits.with_label_values(&["passed"]).inc_by(partitions as u64);
    }

    /// `repairs_total`: also what was only observed, or could not be done.
    pub fn repair(&self, outcome: &str) {
        self.repairs.with_label_values(&[NAME, outcome]).inc();
    }

    pub fn census(&self, (promises, buffered, behind): (usize, Duration, Duration)) {
        self.buffered.set(promises as i64);
        self.age.set(buffered.as_secs_f64());
        self.oldest_behind.set(behind.as_secs_f64());
    }
}
