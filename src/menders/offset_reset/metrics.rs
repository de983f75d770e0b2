//! What this mender counts.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::NAME;
use crate::config::model::ResetPolicy;
use crate::telemetry::metrics::{Capped, Family, Single};

/// Topics with series of their own; the rest share "other".
const MAX_TOPICS: usize = 1000;

pub struct Metrics {
    repairs: IntCounterVec,
    resets: IntCounterVec,
    skipped: IntCounterVec,
    pub checkpoint_errors: IntCounter,
    topics: Capped,
}

/// What became of an error, as the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The broker serves the new position.
    Repaired,
    /// A committed offset was lifted.
    Lifted,
    /// A ListOffsets after an error above the log end was steered by policy.
    Steered,
    /// Mode `observe`: it would have been looked after.
    Observed,
    /// The position is not below the log start: the error passes.
    NotBelow,
    /// This broker does not lead the partition, or did not tell in time: the error passes.
    Unknown,
    /// The log start moved three times while it was chased: the error passes.
    GaveUp,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Repaired => "repaired",
            Outcome::Lifted => "lifted",
            Outcome::Steered => "steered",
            Outcome::Observed => "observed",
            Outcome::NotBelow => "passed_not_below_start",
            Outcome::Unknown => "passed_unknown",
            Outcome::GaveUp => "passed_gave_up",
        }
    }
}

pub fn policy_label(policy: ResetPolicy) -> &'static str {
    match policy {
        ResetPolicy::Earliest => "earliest",
        ResetPolicy::Latest => "latest",
        ResetPolicy::Nearest => "nearest",
        ResetPolicy::Passthrough => "passthrough",
    }
}

impl Metrics {
    pub fn new(registry: &Registry, repairs: &IntCounterVec) -> Metrics {
        Metrics {
            repairs: repairs.clone(),
            resets: Family::counter(
                registry,
                "offset_resets_total",
                "Positions that were moved.",
                &["topic", "policy"],
            ),
            skipped: Family::counter(
                registry,
                "offset_records_skipped_total",
                "Offsets between the old position and the new one: records that retention had removed.",
                &["topic"],
            ),
            checkpoint_errors: Single::counter(
                registry,
                "checkpoint_errors_total",
                "Checkpoints of repairs that could not be written; the repair itself was made.",
            ),
            topics: Capped::new(MAX_TOPICS),
        }
    }

    pub fn outcome(&self, outcome: Outcome) {
        self.repairs.with_label_values(&[NAME, outcome.label()]).inc();
    }

    pub fn reset(&self, topic: &str, policy: ResetPolicy, skipped: u64) {
        let topic = self.topics.label(topic);
        self.resets.with_label_values(&[topic, policy_label(policy)]).inc();
        self.skipped.with_label_values(&[topic]).inc_by(skipped);
    }
}
