//! Gauges that are computed when somebody scrapes: nothing of a member that is gone stays behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Registry};

use super::Shared;
use crate::mend::view::{self, GroupStatus, MemberStatus, Status};
use crate::mend::{self, progress::Place};
use crate::telemetry::metrics::{self, Family, OTHER, Single};

/// Groups with series of their own; the rest share "other".
const MAX_GROUPS: usize = 1000;
/// Series of lag; what is beyond is only counted.
const MAX_LAGS: usize = 5000;

/// Exports what the view of groups says.
pub(super) fn register(registry: &Registry, shared: &Arc<Shared>, mend: &Arc<mend::Shared>) {
    metrics::collect(registry, Groups::new(shared.clone(), mend.clone()));
}

struct Groups {
    shared: Arc<Shared>,
    mend: Arc<mend::Shared>,
    gauges: Gauges,
    /// One scrape at a time: they fill the same gauges.
    scrape: Mutex<()>,
}

struct Gauges {
    assigned: IntGaugeVec,
    unfetched: IntGaugeVec,
    paused: IntGaugeVec,
    stalled: IntGaugeVec,
    lag: IntGaugeVec,
    dropped: IntGauge,
}

impl Gauges {
    /// In a registry of their own: it is the collector that is asked for them.
    fn new() -> Gauges {
        let own = Registry::new();
        let of_group = |name, help| Family::gauge(&own, name, help, &["group"]);
        Gauges {
            assigned: of_group("partitions_assigned", "Partitions that members behind this kmend are assigned."),
            unfetched: of_group(
                "partitions_unfetched",
                "Partitions that are assigned to members behind this kmend, behind the log end, and that nobody fetches.",
            ),
            paused: of_group(
                "partitions_paused",
                "Partitions that are assigned, known to their client, and not fetched just now: paused, or its app is busy.",
            ),
            stalled: of_group(
                "consumer_stalled",
                "Members behind this kmend that live and neither fetch nor commit, with records to read.",
            ),
            lag: Family::gauge(
                &own,
                "consumer_lag",
                "Records from a group's committed offset to the high watermark, as passing traffic shows both.",
                &["group", "topic", "partition"],
            ),
            dropped: Single::gauge(
                &own,
                "consumer_lag_series_dropped",
                "Partitions whose lag is not exported, because there are too many.",
            ),
        }
    }

    fn labelled(&self) -> [&IntGaugeVec; 5] {
        [&self.assigned, &self.unfetched, &self.paused, &self.stalled, &self.lag]
    }

    fn fill(&self, status: &Status) {
        for gauge in self.labelled() {
            gauge.reset();
        }
        let mut sums: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
        let mut lags = 0;
        let mut dropped = status.partitions_omitted;
        for (nth, group) in status.groups.iter().enumerate() {
            let label = if nth < MAX_GROUPS { &*group.group } else { OTHER };
            let sum = sums.entry(label).or_default();
            for member in &group.members {
                for (sum, n) in sum.iter_mut().zip(counts(member)) {
                    *sum += n;
                }
            }
            for ((topic, partition), lag) in lags_of(group) {
                if lags == MAX_LAGS || nth >= MAX_GROUPS {
                    dropped += 1;
                    continue;
                }
                lags += 1;
                self.lag.with_label_values(&[&*group.group, &topic, &partition.to_string()]).set(lag);
            }
        }
        for (label, sum) in sums {
            for (gauge, n) in self.labelled().iter().zip(sum) {
                gauge.with_label_values(&[label]).set(n as i64);
            }
        }
        self.dropped.set(dropped as i64);
    }
}

/// Assigned, unfetched, paused, stalled.
fn counts(member: &MemberStatus) -> [usize; 4] {
    let stalled = usize::from(member.stalled.is_some());
    [member.assigned.unwrap_or(0), member.unfetched, member.paused, stalled]
}

/// Each partition once, also where two members say that it is theirs: the end that is newer is larger.
fn lags_of(group: &GroupStatus) -> BTreeMap<Place, i64> {
    let mut lags = BTreeMap::new();
    for partition in group.members.iter().flat_map(|m| &m.partitions) {
        if let Some(lag) = partition.lag {
            let known = lags.entry((partition.topic.clone(), partition.partition)).or_insert(lag);
            *known = lag.max(*known);
        }
    }
    lags
}

impl Groups {
    fn new(shared: Arc<Shared>, mend: Arc<mend::Shared>) -> Groups {
        Groups { shared, mend, gauges: Gauges::new(), scrape: Mutex::default() }
    }
}

impl Collector for Groups {
    fn desc(&self) -> Vec<&Desc> {
        let mut all: Vec<&Desc> = self.gauges.labelled().iter().flat_map(|gauge| gauge.desc()).collect();
        all.extend(self.gauges.dropped.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.shared.rules.load().modes.is_off() {
            return Vec::new();
        }
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.fill(&view::status(&self.mend, metrics::now()));
        let labelled = self.gauges.labelled().into_iter().flat_map(Collector::collect);
        labelled.chain(self.gauges.dropped.collect()).collect()
    }
}

#[cfg(test)]
mod tests;
