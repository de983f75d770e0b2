//! Recorders on both sides of kmend:
//!
//! ```text
//!   client -> 127.0.0.6 (recorder) -> 127.0.0.1 (kmend) -> 127.0.0.5 (recorder) -> 127.0.0.1 (broker)
//! ```
//!
//! The broker tells everybody 127.0.0.5, kmend tells its clients 127.0.0.6, so every connection is
//! recorded, and a client that takes 127.0.0.5 as its bootstrap server talks to the broker directly.

#![allow(dead_code)] // each test binary uses its part

mod recorder;

pub use recorder::{Connection, Exchange, Recorder};

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{ClusterSpec, Kafka, Kmend, ports};

/// The host that the broker advertises.
pub const BROKER: &str = "127.0.0.5";
/// The host that kmend advertises.
pub const KMEND: &str = "127.0.0.6";

/// A broker behind a recorder.
pub struct Tapped {
    pub kafka: Kafka,
    pub recorder: Recorder,
    /// The broker's address as clients learn it.
    pub servers: String,
}

impl Tapped {
    pub fn start() -> Tapped {
        for _ in 0..5 {
            // The harness gives out neighbouring ports, in this order: client, inner, controller.
            let before = ports::free();
            let (client, inner) = (before + 1, before + 2);
            if (client..client + 3).any(|p| TcpListener::bind(("0.0.0.0", p)).is_err()) {
                continue;
            }
            let told = format!("advertised.listeners=CLIENT://{BROKER}:{client},INNER://127.0.0.1:{inner}");
            let kafka = Kafka::start(ClusterSpec { extra: vec![told], ..ClusterSpec::default() });
            if kafka.port(1) != client {
                // Somebody took one of them in between.
                continue;
            }
            let recorder = Recorder::start(&[(format!("{BROKER}:{client}"), format!("127.0.0.1:{client}"))]);
            return Tapped { kafka, recorder, servers: format!("{BROKER}:{client}") };
        }
        panic!("the harness gives out ports in another order than this expects");
    }

    /// kmend in front of this broker, and the recorder before it.
    pub fn kmend(&self, change: impl FnOnce(&mut Value)) -> (Kmend, Recorder) {
        let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&self.servers), |config| {
            config["listen"]["advertised_host"] = json!(KMEND);
            change(config);
        });
        let port: u16 = kmend.listen.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        // The broker's listener is one of the first above kmend's own.
        let pairs: Vec<_> = (port..port + 8).map(|p| (format!("{KMEND}:{p}"), format!("127.0.0.1:{p}"))).collect();
        let recorder = Recorder::start(&pairs);
        (kmend, recorder)
    }
}

/// Where clients find the recorder in front of `kmend`.
pub fn servers(kmend: &Kmend) -> String {
    kmend.listen.replace("127.0.0.1", KMEND)
}
