//! Commits that meet a rebalance, or an end without warning: directly on the broker apps die, fall silent or read again
//! what they had handled; through kmend they go on, and what they committed is on the broker in the end.
//!
//! `KMEND_MATRIX=1 cargo test --test commits runs` measures everything ten times and writes `docs/commits_runs.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod away;
mod delivered;
mod direct;
mod faststream;
mod kip848;
mod mended;
mod rate;
#[allow(dead_code)] // the other tests' part of it
mod relay;
mod restarts;
mod runs;
mod scenario;
mod share;
mod three;
mod transactions;
mod write_behind;

use harness::Kmend;
use relay::behind;
use serde_json::{Value, json};

/// kmend before that broker, with this section for the mender under test.
pub fn kmend(upstream: &[String], section: Value) -> Kmend {
    Kmend::start_at("127.0.0.1", upstream, |config| {
        let own = &mut config["menders"]["commit_buffer"];
        for (key, value) in section.as_object().expect("a section") {
            own[key] = value.clone();
        }
    })
}

/// As an app gets it that sets nothing.
pub fn repairing() -> Kmend {
    kmend(&behind().upstream, json!({ "mode": "repair" }))
}

/// What `kmend_commits_total` counts under one outcome.
pub fn commits(kmend: &Kmend, outcome: &str) -> f64 {
    kmend.metrics().sum("kmend_commits_total", &[("outcome", outcome)])
}
