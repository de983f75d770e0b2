//! The registry, and constructors that fail softly: a metric must never stop the data path.
//!
//! Names are given without the prefix: `Family::counter(&registry, "requests_total", ...)` is
//! exported as `kmend_requests_total`. Resolve handles (`with`) once per connection: a lookup by
//! labels costs ten times an increment.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use tokio::runtime::{Handle, RuntimeMetrics};

/// Ours carry it; `process_*` does not.
pub const PREFIX: &str = "kmend";

/// The version, and the commit where it was built from a work tree.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
pub const COMMIT: &str = match option_env!("KMEND_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// A new registry with `process_*` and `kmend_build_info`.
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    register(&registry, prometheus::process_collector::ProcessCollector::for_self());
    Family::gauge(
        &registry,
        "build_info",
        "1, labelled with the version and the commit that this kmend was built from.",
        &["version", "commit"],
    )
    .with_label_values(&[VERSION, COMMIT])
    .set(1);
    registry
}

/// The same with `kmend_tasks`, of this runtime.
pub fn registry_of(runtime: &Handle) -> Registry {
    let registry = registry();
    // In a registry of its own: it is asked through the collector.
    let gauge = Single::gauge(&Registry::new(), "tasks", "Tasks that serve clients and brokers.");
    register(&registry, Tasks { runtime: runtime.metrics(), gauge });
    registry
}

/// Asks the runtime whenever somebody scrapes.
struct Tasks {
    runtime: RuntimeMetrics,
    gauge: IntGauge,
}

impl Collector for Tasks {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.runtime.num_alive_tasks() as i64);
        self.gauge.collect()
    }
}

/// Constructors for labelled metrics. Labels must have few values: never a client's own string
/// without a cap.
pub struct Family;

impl Family {
    /// A labelled counter; its name ends in `_total`.
    pub fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        debug_assert!(name.ends_with("_total"), "{name}");
        let metric = sound(IntCounterVec::new(opts(name, help), labels));
        register(registry, metric.clone());
        metric
    }

    /// A labelled whole number that goes up and down.
    pub fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let metric = sound(IntGaugeVec::new(opts(name, help), labels));
        register(registry, metric.clone());
        metric
    }

    /// A labelled fraction (seconds, ratios).
    pub fn float_gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let metric = sound(GaugeVec::new(opts(name, help), labels));
        register(registry, metric.clone());
        metric
    }

    /// A labelled histogram in base units, with its buckets' upper bounds.
    pub fn histogram(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec());
        let metric = sound(HistogramVec::new(options, labels));
        register(registry, metric.clone());
        metric
    }
}

/// Constructors for metrics without labels.
pub struct Single;

impl Single {
    /// A counter; its name ends in `_total`.
    pub fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
        debug_assert!(name.ends_with("_total"), "{name}");
        let metric = sound(IntCounter::with_opts(opts(name, help)));
        register(registry, metric.clone());
        metric
    }

    /// A whole number that goes up and down.
    pub fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
        let metric = sound(IntGauge::with_opts(opts(name, help)));
        register(registry, metric.clone());
        metric
    }

    /// A fraction (seconds, ratios).
    pub fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
        let metric = sound(Gauge::with_opts(opts(name, help)));
        register(registry, metric.clone());
        metric
    }

    /// A histogram in base units, with its buckets' upper bounds.
    pub fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec());
        let metric = sound(Histogram::with_opts(options));
        register(registry, metric.clone());
        metric
    }
}

/// What values of a label share for which there is no room.
pub const OTHER: &str = "other";

/// Exports what `collector` computes whenever somebody scrapes.
pub fn collect<C: Collector + 'static>(registry: &Registry, collector: C) {
    register(registry, collector);
}

/// The time of a scrape: a collector that sees no clock gets it from here.
pub fn now() -> Instant {
    Instant::now()
}

/// Values of a label that clients or clusters choose: so many have series of their own, the rest share "other".
pub struct Capped {
    seen: Mutex<HashSet<String>>,
    most: usize,
}

impl Capped {
    pub fn new(most: usize) -> Capped {
        Capped { seen: Mutex::default(), most }
    }

    pub fn label<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= self.most {
            return OTHER;
        }
        seen.insert(value.to_owned());
        value
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

/// A name or label that Prometheus does not allow is a mistake in this program's text.
#[allow(clippy::expect_used)] // Names are literals of ours: every run of the tests makes them all.
fn sound<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("metric names and labels are literals and valid")
}

/// A second registration under one name keeps counting, unexported: loud in tests, harmless in use.
fn register<C: Collector + 'static>(registry: &Registry, metric: C) {
    if let Err(error) = registry.register(Box::new(metric)) {
        tracing::error!(%error, "a metric could not be registered");
        debug_assert!(false, "{error}");
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn labels_beyond_the_cap_are_other() {
        let capped = Capped::new(2);
        assert_eq!(["a", "b", "c", "a"].map(|v| capped.label(v)), ["a", "b", "other", "a"]);
    }

    #[test]
    fn ours_are_prefixed_and_the_process_is_not() {
        let registry = registry();
        Family::counter(&registry, "repairs_total", "Repairs.", &["mender"]).with_label_values(&["offset_reset"]).inc();
        Single::gauge(&registry, "client_connections", "Open.").set(3);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("kmend_repairs_total{mender=\"offset_reset\"} 1\n"));
        assert!(text.contains("kmend_client_connections 3\n"));
        assert!(text.contains("kmend_build_info{commit="));
        #[cfg(target_os = "linux")]
        assert!(text.contains("\nprocess_resident_memory_bytes "));
    }
}
