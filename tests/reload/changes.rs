//! A hundred changes of keys that take effect without a restart, one key at a time.

use serde_json::{Value, json};

use crate::harness::Kafka;

pub const CHANGES: usize = 100;

#[derive(Debug, Clone)]
pub struct Change {
    pub key: &'static str,
    pub value: Value,
}

impl Change {
    /// Where it is in a configuration as JSON.
    pub fn pointer(&self) -> String {
        format!("/{}", self.key.replace('.', "/"))
    }
}

/// Four rounds over all keys, each to and fro.
pub fn all(kafka: &Kafka) -> Vec<Change> {
    let here = kafka.bootstrap();
    // The same broker by another name.
    let both = [here.clone(), vec![format!("localhost:{}", kafka.port(1))]].concat();
    let keys: [(&str, [Value; 2]); 25] = [
        ("log.level", [json!("info,kmend::menders=debug"), json!("info")]),
        // Nobody else gets in, and whoever had to come back would not either.
        ("limits.max_connections", [json!(1), json!(100)]),
        ("limits.max_frame", [json!("90MiB"), json!("95MiB")]),
        ("limits.max_whole_frame", [json!("2MiB"), json!("3MiB")]),
        ("limits.memory", [json!("200MiB"), json!("220MiB")]),
        ("limits.handshake_timeout", [json!("8s"), json!("9s")]),
        ("limits.progress_timeout", [json!("3m"), json!("4m")]),
        ("limits.idle_timeout", [json!("12m"), json!("13m")]),
        ("upstream.connect_timeout", [json!("4s"), json!("6s")]),
        ("upstream.bootstrap", [json!(both), json!(here)]),
        ("menders.commit_buffer.write_behind.enabled", [json!(true), json!(false)]),
        ("menders.commit_buffer.write_behind.interval", [json!("1s"), json!("3s")]),
        ("menders.commit_buffer.max_age", [json!("2m"), json!("3m")]),
        ("menders.offset_reset.mode", [json!("observe"), json!("repair")]),
        ("menders.offset_reset.policy", [json!("latest"), json!("nearest")]),
        ("menders.offset_reset.clients.other.mode", [json!("off"), json!("observe")]),
        ("menders.partition_discovery.mode", [json!("off"), json!("repair")]),
        ("menders.partition_discovery.interval", [json!("1s"), json!("2s")]),
        ("menders.partition_discovery.nudge", [json!("reject"), json!("auto")]),
        ("menders.assignment_watchdog.mode", [json!("observe"), json!("repair")]),
        ("menders.assignment_watchdog.after", [json!("20s"), json!("25s")]),
        ("menders.assignment_watchdog.scope", [json!("any"), json!("protocol_switch")]),
        // Last: until then commits are written behind, and what is promised then has to arrive all the same.
        ("menders.commit_buffer.mode", [json!("off"), json!("repair")]),
        ("shutdown.drain_timeout", [json!("3s"), json!("4s")]),
        ("shutdown.grace", [json!("3s"), json!("4s")]),
    ];
    let round = |n: usize| keys.iter().map(move |(key, values)| Change { key, value: values[n % 2].clone() });
    (0..CHANGES / keys.len()).flat_map(round).collect()
}
