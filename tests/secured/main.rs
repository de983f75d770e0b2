//! A broker that wants to know who is there: TLS, each SASL mechanism with sessions of three seconds (KIP-368), client
//! certificates, and ACLs that show who it takes a client for.
//!
//! `KMEND_MATRIX=1 cargo test --test secured runs` runs every client with every mechanism for a minute and writes
//! `docs/secured_runs.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod endpoint;
mod mtls;
mod ours;
mod pair;
mod passthrough;
mod raw;
mod refused;
mod replaced;
mod runs;
#[path = "../scripted/mod.rs"]
mod scripted;
mod tls;

use std::ops::Deref;
use std::sync::OnceLock;

use harness::kafka::{PASSWORD, USER};
use harness::secured::{BEARER, token};
use harness::{ClusterSpec, Kafka, Kmend, Opts, Together, Way};
use serde_json::{Value, json};

/// The clients that know all of it.
pub const CLIENTS: [&str; 4] = ["java", "librdkafka", "franz-go", "kafkajs"];

/// One broker for all tests. Alice may use what begins with `alice-`, Carol what begins with `carol-`.
pub fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| {
        let kafka = Kafka::start(ClusterSpec { secured: true, ..ClusterSpec::default() });
        for user in [USER, BEARER] {
            kafka.admin().allow(user, &format!("{user}-"));
        }
        kafka
    })
}

/// An app that logs in by itself.
pub fn as_alice(opts: Opts, way: Way) -> Opts {
    with_password(opts, way, PASSWORD)
}

/// The same with another password (or token).
pub fn with_password(opts: Opts, way: Way, password: &str) -> Opts {
    // Its own margin is longer than the session.
    let opts = opts.with("SASL", way.mechanism()).with("USER", USER).with("REAUTH_MS", 1_500);
    if way == Way::Oauth { opts.with("TOKEN", token(USER)) } else { opts.with("PASSWORD", password) }
}

/// An app that speaks TLS.
pub fn over_tls(opts: Opts) -> Opts {
    opts.with("CA", kafka().authority().ca().display())
}

/// A kmend that must keep the secrets to itself: its whole log, and its pages, are looked through when it ends.
pub struct Discreet(Kmend);

impl Deref for Discreet {
    type Target = Kmend;

    fn deref(&self) -> &Kmend {
        &self.0
    }
}

impl Drop for Discreet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let pages =
            ["/metrics", "/api/status", "/api/config", "/"].map(|path| self.0.try_get(path).unwrap_or_default());
        // What every token begins with.
        let token = token(USER).split('.').next().map(str::to_owned).unwrap_or_default();
        for text in self.0.log().iter().chain(&pages) {
            assert!(!text.contains(PASSWORD) && !text.contains(&token), "a secret is shown: {text}");
        }
    }
}

/// kmend before one listener of the broker, over TLS, with every mender in repair.
pub fn kmend(way: Way, change: impl FnOnce(&mut Value)) -> Discreet {
    Discreet(Kmend::start_at("127.0.0.1", &kafka().by(way), |config| {
        config["upstream"]["tls"] = json!({ "enabled": true, "ca_file": kafka().authority().ca() });
        for mender in ["offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog"] {
            config["menders"][mender]["mode"] = json!("repair");
        }
        config["log"]["level"] = json!("info,kmend=debug");
        // The broker's first logins are slow beside a dozen apps that start.
        config["upstream"]["connect_timeout"] = json!("20s");
        change(config);
    }))
}

/// What is mostly waiting is told side by side: apps that log in by themselves, those that do not, and those with TLS.
static THROUGH: Together = Together::new();
static OURS: Together = Together::new();
static TLS: Together = Together::new();

/// Tells the story of that name, with those that go with it.
pub fn tell(name: &str) {
    if passthrough::STORIES.iter().any(|(n, _)| *n == name) {
        return THROUGH.tell(name, passthrough::STORIES);
    }
    let tls = [tls::STORIES, replaced::STORIES].concat();
    if tls.iter().any(|(n, _)| *n == name) {
        return TLS.tell(name, &tls);
    }
    OURS.tell(name, &[ours::STORIES, mtls::STORIES, refused::STORIES].concat());
}
