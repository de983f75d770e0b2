//! Partitions that are assigned and that nobody fetches, and consumers that live and do nothing: directly on the broker
//! they stay so; through kmend they are reported or taken back, and nobody else notices anything.
//!
//! `KMEND_MATRIX=1 cargo test --test assignments runs` repeats the repair ten times, pauses for ten minutes, and writes
//! `docs/assignments_runs.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../commits/relay.rs"]
#[allow(dead_code)] // the other tests' part of it
mod relay;

mod calm;
mod canary;
mod dangling;
mod feed;
mod hop;
mod lag;
mod moves;
mod pauses;
mod rebalances;
mod rolled;
mod runs;
mod stalled;
mod switched_off;
mod team;
mod watch;

use std::time::Duration;

use harness::Kmend;
use relay::behind;
use serde_json::{Value, json};

/// How long a partition may stay unfetched in these tests.
pub const AFTER: Duration = Duration::from_secs(4);
/// How much later a report may come.
pub const SLACK: Duration = Duration::from_secs(5);
/// For everything that is not measured: two cores, and JVMs that start.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// kmend before that broker. `section` is merged into that of the mender under test.
pub fn kmend(section: Value) -> Kmend {
    kmend_with("repair", section)
}

/// The same with a mode for the mender that keeps refused commits.
pub fn kmend_with(commits: &str, section: Value) -> Kmend {
    Kmend::start_at("127.0.0.1", &behind().upstream, |config| {
        config["menders"]["commit_buffer"]["mode"] = commits.into();
        let mut own = json!({ "after": format!("{}s", AFTER.as_secs()) });
        for (key, value) in section.as_object().expect("a section") {
            own[key] = value.clone();
        }
        config["menders"]["assignment_watchdog"] = own;
    })
}

/// What `kmend_repairs_total` counts of the mender under test under one outcome.
pub fn repairs(kmend: &Kmend, outcome: &str) -> f64 {
    kmend.metrics().sum("kmend_repairs_total", &[("mender", "assignment_watchdog"), ("outcome", outcome)])
}

/// Every outcome of the mender under test that was counted.
pub fn outcomes(kmend: &Kmend) -> Vec<(String, f64)> {
    let metrics = kmend.metrics();
    let own = metrics.all("kmend_repairs_total", &[("mender", "assignment_watchdog")]);
    let counted = own.filter(|s| s.value > 0.0);
    counted.map(|s| (s.labels.get("outcome").cloned().unwrap_or_default(), s.value)).collect()
}
