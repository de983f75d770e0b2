//! What this mender counts.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, Registry};

use super::NAME;
use super::growth::Outcome;
use super::software::How;
use crate::telemetry::metrics::{Capped, Family};

/// Topics with series of their own; the rest share "other".
const MAX_TOPICS: usize = 1000;
const SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

pub struct Metrics {
    repairs: IntCounterVec,
    added: IntCounterVec,
    nudges: IntCounterVec,
    polls: IntCounterVec,
    until_metadata: Histogram,
    until_request: Histogram,
    topics: Capped,
}

/// What became of a Metadata request of kmend's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    Answered,
    /// With an error for each topic, or unreadable.
    Failed,
    /// Not in time, or not at all.
    Lost,
}

impl Metrics {
    pub fn new(registry: &Registry, repairs: &IntCounterVec) -> Metrics {
        let propagation = Family::histogram(
            registry,
            "metadata_propagation_seconds",
            "From new partitions being visible at the broker to a client's first Metadata answer that shows them, \
             and to its first request for one of them.",
            &["until"],
            &SECONDS,
        );
        Metrics {
            repairs: repairs.clone(),
            added: Family::counter(
                registry,
                "partitions_added_total",
                "Partitions that were added to topics, as Metadata responses show.",
                &["topic"],
            ),
            nudges: Family::counter(
                registry,
                "metadata_nudges_total",
                "Clients that were made to look at their metadata, how, and what came of it; `none`: they were not.",
                &["how", "outcome"],
            ),
            polls: Family::counter(
                registry,
                "metadata_polls_total",
                "Metadata requests of kmend's own, on its clients' connections.",
                &["outcome"],
            ),
            until_metadata: propagation.with_label_values(&["metadata"]),
            until_request: propagation.with_label_values(&["request"]),
            topics: Capped::new(MAX_TOPICS),
        }
    }

    pub fn added(&self, topic: &str, partitions: usize) {
        let topic = self.topics.label(topic);
        self.added.with_label_values(&[topic]).inc_by(partitions as u64);
    }

    /// `how` is `None` for a client that was not nudged.
    pub fn nudge(&self, how: Option<How>, outcome: Outcome) {
        self.nudges.with_label_values(&[how.map_or("none", How::label), outcome.label()]).inc();
        let repair = match outcome {
            Outcome::Done => "repaired",
            Outcome::Repeated | Outcome::Found | Outcome::Elsewhere => return,
            other => other.label(),
        };
        self.repairs.with_label_values(&[NAME, repair]).inc();
    }

    pub fn poll(&self, outcome: Poll) {
        let outcome = match outcome {
            Poll::Answered => "answered",
            Poll::Failed => "failed",
            Poll::Lost => "lost",
        };
        self.polls.with_label_values(&[outcome]).inc();
    }

    pub fn metadata_after(&self, time: Duration) {
        self.until_metadata.observe(time.as_secs_f64());
    }

    pub fn request_after(&self, time: Duration) {
        self.until_request.observe(time.as_secs_f64());
    }
}
