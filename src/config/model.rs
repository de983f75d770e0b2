//! The configuration as one immutable value. Keys, defaults and meanings: `docs/configuration.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assignment_watchdog::AssignmentWatchdog;
use super::commit_buffer::CommitBuffer;
use super::sasl::Sasl;
use super::units::{Auto, ByteSize, Duration, HostPort, one_or_many, one_or_many_schema};

/// What a mender does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Mend it.
    Repair,
    /// Change no byte, count what would have been done.
    Observe,
    /// Do not look.
    Off,
}

/// Where a position below the log start is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetPolicy {
    /// The earliest offset that the leader still has.
    Earliest,
    /// The log end, by the client's isolation level.
    Latest,
    /// The end of the log that is closer: earliest for a position below the start, latest for one above the end.
    Nearest,
    /// The client gets the broker's own error.
    Passthrough,
}

/// kmend's configuration. Every key has a default except `upstream.bootstrap`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The Kafka cluster.
    pub upstream: Upstream,
    /// Where clients connect.
    pub listen: Listen,
    /// What is refused, held back or cut.
    pub limits: Limits,
    /// Metrics, health and status over HTTP.
    pub admin: Admin,
    /// What is mended, and how.
    pub menders: Menders,
    /// The way out after SIGTERM or SIGINT.
    pub shutdown: Shutdown,
    /// What kmend says, and in which form.
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Brokers to start from, tried in turn: one `host:port` or several. Required.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(schema_with = "one_or_many_schema")]
    pub bootstrap: Vec<HostPort>,
    /// TLS to the brokers.
    pub tls: UpstreamTls,
    /// A login that kmend itself makes.
    pub sasl: Sasl,
    /// Longest time for DNS, TCP and TLS of one upstream connection.
    pub connect_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// `true`: the brokers are spoken to over TLS; their certificates are always verified.
    pub enabled: bool,
    /// PEM file with the authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain (mTLS).
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client key (mTLS).
    pub key_file: Option<PathBuf>,
    /// Name to verify in the brokers' certificates instead of the host that is dialled.
    pub server_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Bootstrap listeners, for `bootstrap.servers` of the apps: one `host:port` or several; `localhost` binds both families.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(schema_with = "one_or_many_schema")]
    pub address: Vec<HostPort>,
    /// First of the 200 ports that the brokers' listeners are taken from; `auto`: listen port + 1.
    pub broker_ports: Auto<u16>,
    /// Host that clients are told in place of the brokers'; `auto`: the local address that the client connected to.
    pub advertised_host: Auto<String>,
    /// TLS from the clients.
    pub tls: ListenTls,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenTls {
    /// `true`: clients connect over TLS.
    pub enabled: bool,
    /// PEM file with the certificate chain that clients are shown.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
    /// PEM file with the authorities of the clients' certificates (mTLS): a client without one is not let in.
    pub client_ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most client connections at one time, others are refused; `auto`: from the descriptor limit, two for each client.
    pub max_connections: Auto<u32>,
    /// Longest request that is let through (a broker's own limit is 100 MiB); a longer one ends its connection.
    pub max_frame: ByteSize,
    /// Longest message that is held whole for a mender. A longer one passes unseen; an answer in which addresses must be replaced ends its connection.
    pub max_whole_frame: ByteSize,
    /// What connections hold together; `auto`: 70 % of what a cgroup or `ulimit -v` leaves, or 256 MiB.
    pub memory: Auto<ByteSize>,
    /// Longest time from accept to the first whole request head, TLS included.
    pub handshake_timeout: Duration,
    /// Longest time for a request that has begun: until its next byte, or until all of it is there if it is held whole.
    pub progress_timeout: Duration,
    /// Longest time without a byte in either direction, while nothing is in flight but what one side does not read or end.
    pub idle_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where the admin server listens: metrics, health, status.
    pub address: HostPort,
    /// `true`: `/readyz` also asks for a broker that answers. As a sidecar that makes the pod unready with the cluster.
    pub ready_requires_upstream: bool,
    /// What is answered on an address that is not loopback.
    pub expose: Expose,
}

/// What the admin server answers on an address that is not loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expose {
    /// `/metrics` and the health paths.
    Metrics,
    /// Everything; the network must then be trusted.
    All,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Menders {
    /// Positions that retention has evicted.
    pub offset_reset: OffsetReset,
    /// Partitions that were added to a topic in use.
    pub partition_discovery: PartitionDiscovery,
    /// Commits that a rebalance refuses.
    pub commit_buffer: CommitBuffer,
    /// Partitions that are assigned and that nobody consumes; members that live and do nothing.
    pub assignment_watchdog: AssignmentWatchdog,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OffsetReset {
    /// What is done where no pattern below says otherwise.
    pub mode: Mode,
    /// Where a position below the log start is moved to.
    pub policy: ResetPolicy,
    /// Per topic pattern: a policy, or `{ mode, policy }`. An exact name wins over a pattern, a longer pattern over a shorter one.
    pub topics: BTreeMap<String, TopicRule>,
    /// Per group pattern: `{ mode }`.
    pub groups: BTreeMap<String, ModeRule>,
    /// Per client id pattern: `{ mode }`.
    pub clients: BTreeMap<String, ModeRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PartitionDiscovery {
    /// What is done where no pattern below says otherwise.
    pub mode: Mode,
    /// How often the partition counts of the topics in use are asked for, at most.
    pub interval: Duration,
    /// How a producer is made to look; `auto`: the gentlest way that works for its software.
    pub nudge: Auto<Nudge>,
    /// Per topic pattern: `{ mode }`.
    pub topics: BTreeMap<String, ModeRule>,
    /// Per group pattern: `{ mode }`.
    pub groups: BTreeMap<String, ModeRule>,
    /// Per client id pattern: `{ mode }`.
    pub clients: BTreeMap<String, ModeRule>,
}

/// How a producer is made to look for new partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Nudge {
    /// Only by one Produce request that is answered with "not leader"; never by a closed connection.
    Reject,
    /// Only by closing a connection that is idle; no answer is ever made up.
    Disconnect,
}

/// A topic's rule: just a policy, or policy and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TopicRule {
    Policy(ResetPolicy),
    Full(FullTopicRule),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullTopicRule {
    /// Instead of the mender's mode.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Instead of the mender's policy.
    #[serde(default)]
    pub policy: Option<ResetPolicy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeRule {
    /// Instead of the mender's mode.
    pub mode: Mode,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// After the last client: longest time to bring to the brokers what was promised.
    pub grace: Duration,
    /// From the first signal: how long clients may still finish. Longer than the app's own grace where both get the signal together.
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A tracing filter: `info`, or `info,kmend::session=debug`.
    pub level: String,
    /// `auto`: text on a terminal, JSON otherwise.
    pub format: Auto<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}
