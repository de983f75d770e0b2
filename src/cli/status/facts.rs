//! What a kmend says of itself: `/api/status` and what `/api/events` keeps.
//!
//! It may be an older or a newer one: what is missing has its default, what is more is left alone.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub up: bool,
    pub bootstrap: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub address: String,
    /// `None`: the bootstrap listener.
    pub node: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub clients: u64,
    pub upstream: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mender {
    pub name: String,
    pub mode: String,
    pub outcomes: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub what: String,
    pub fixed_in: Option<String>,
    pub mender: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Client {
    pub client_id: String,
    pub address: String,
    pub software: Option<String>,
    pub version: Option<String>,
    pub connections: u64,
    pub faults: Vec<Fault>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Partition {
    pub topic: String,
    pub partition: i32,
    pub position: Option<i64>,
    pub committed: Option<i64>,
    pub end: Option<i64>,
    pub lag: Option<i64>,
    pub state: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stalled {
    pub reason: String,
    pub for_seconds: u64,
    pub lag: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Member {
    pub member: Option<String>,
    pub client_id: String,
    pub address: String,
    pub instance: Option<String>,
    pub generation: i32,
    pub phase: String,
    pub assigned: Option<usize>,
    pub unfetched: usize,
    pub paused: usize,
    pub partitions: Vec<Partition>,
    pub stalled: Option<Stalled>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub group: String,
    pub protocol: String,
    pub kind: String,
    pub members: Vec<Member>,
}

/// Columns; the newest value is the last one. Rates are per second, latencies seconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    pub requests: Vec<f64>,
    pub request_bytes: Vec<f64>,
    pub response_bytes: Vec<f64>,
    pub upstream_p50: Vec<Option<f64>>,
    pub upstream_p99: Vec<Option<f64>>,
    pub added_p50: Vec<Option<f64>>,
    pub added_p99: Vec<Option<f64>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reload {
    /// Seconds since 1970.
    pub at: f64,
    pub ok: bool,
    pub changed: Vec<String>,
    pub needs_restart: Vec<String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Status {
    /// What answers without it is no kmend.
    pub version: String,
    #[serde(default)]
    pub commit: Option<String>,
    #[serde(default)]
    pub cluster_id: Option<String>,
    #[serde(default)]
    pub uptime_seconds: u64,
    #[serde(default)]
    pub upstream: Upstream,
    #[serde(default)]
    pub listeners: Vec<Listener>,
    #[serde(default)]
    pub connections: Connections,
    #[serde(default)]
    pub log_level: String,
    #[serde(default)]
    pub menders: Vec<Mender>,
    #[serde(default)]
    pub clients: Vec<Client>,
    #[serde(default)]
    pub clients_omitted: usize,
    #[serde(default)]
    pub groups: Vec<Group>,
    #[serde(default)]
    pub partitions_omitted: usize,
    #[serde(default)]
    pub traffic: Traffic,
    #[serde(default)]
    pub reload: Option<Reload>,
}

/// One thing that a mender did, or would have done.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub id: String,
    /// Seconds since 1970.
    pub at: f64,
    pub level: String,
    pub mender: String,
    pub text: String,
    pub observed: bool,
}
