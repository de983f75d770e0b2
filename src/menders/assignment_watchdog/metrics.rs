//! What this mender counts. Its gauges are made at each scrape, see `collector`.

use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::NAME;
use crate::mend::Rebalance;
use crate::telemetry::metrics::{Capped, Family};

/// Groups with series of their own; the rest share "other".
const MAX_GROUPS: usize = 1000;

const SECONDS: [f64; 10] = [0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

pub struct Metrics {
    repairs: IntCounterVec,
    rebalances: IntCounterVec,
    causes: IntCounterVec,
    durations: HistogramVec,
    groups: Capped,
}

/// The label `outcome` of `repairs_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A member does not fetch what it was assigned.
    Reported,
    /// Mode `observe`: it would have been told to rejoin.
    Observed,
    /// It was told to rejoin.
    Told,
    /// It fetches all of it now.
    Healed,
    /// Telling it has not helped.
    GaveUp,
    /// Its group has had enough of it for now: it waits.
    Throttled,
    /// Nobody can say which member it is.
    Ambiguous,
    /// A member lives and does nothing.
    Stalled,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Reported => "reported",
            Outcome::Observed => "observed",
            Outcome::Told => "told",
            Outcome::Healed => "healed",
            Outcome::GaveUp => "gave_up",
            Outcome::Throttled => "throttled",
            Outcome::Ambiguous => "ambiguous",
            Outcome::Stalled => "stalled",
        }
    }
}

impl Metrics {
    pub fn new(registry: &Registry, repairs: &IntCounterVec) -> Metrics {
        Metrics {
            repairs: repairs.clone(),
            rebalances: Family::counter(
                registry,
                "group_rebalances_total",
                "Rebalances of groups, as their members behind this kmend see them.",
                &["group"],
            ),
            causes: Family::counter(
                registry,
                "group_rebalance_causes_total",
                "The same by what began them, as far as it shows here.",
                &["group", "cause"],
            ),
            durations: Family::histogram(
                registry,
                "group_rebalance_duration_seconds",
                "From the first sign of a rebalance until all members behind this kmend are assigned.",
                &["group"],
                &SECONDS,
            ),
            groups: Capped::new(MAX_GROUPS),
        }
    }

    pub fn repair(&self, outcome: Outcome) {
        self.repairs.with_label_values(&[NAME, outcome.label()]).inc();
    }

    pub fn rebalance(&self, rebalance: &Rebalance) {
        let group = self.groups.label(&rebalance.group);
        self.rebalances.with_label_values(&[group]).inc();
        self.causes.with_label_values(&[group, rebalance.cause.label()]).inc();
        self.durations.with_label_values(&[group]).observe(rebalance.took.as_secs_f64());
    }
}
