//! What the real tests share: brokers, clients, kmend itself, and an admin client straight to the
//! brokers. `tests/README.md` tells how to run the tests and how to add a case.
//!
//! Everything here is synchronous: a test is a story told in order, and waits by condition.

#![allow(dead_code, unused_imports)] // each test binary uses its part

pub mod admin;
pub mod client;
pub mod kafka;
pub mod kmend;
pub mod metrics;
pub mod ports;
pub mod reaper;
pub mod secured;
pub mod setup;
pub mod tap;
pub mod together;
pub mod wait;

pub use admin::Admin;
pub use client::{ALL as ALL_CLIENTS, Client, Opts};
pub use kafka::{ClusterSpec, Kafka};
pub use kmend::Kmend;
pub use secured::Way;
pub use together::{Together, caught, once};
pub use wait::{Over, eventually, slot, wait_for};

use std::sync::atomic::{AtomicU32, Ordering};

/// A name that no other test of this run uses: `evicted-java-17`.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{n}", std::process::id() % 10_000)
}
