//! The defaults, in one place. `docs/configuration.md` and the examples show the same values.

use std::collections::BTreeMap;

use super::model::{
    Admin, Expose, Limits, Listen, ListenTls, Log, Mode, OffsetReset, PartitionDiscovery, ResetPolicy, Shutdown,
    Upstream, UpstreamTls,
};
use super::sasl::Sasl;
use super::units::{Auto, ByteSize, Duration, HostPort};

impl Default for Upstream {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            tls: UpstreamTls::default(),
            sasl: Sasl::default(),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: vec![HostPort::new("127.0.0.1", 9092)],
            broker_ports: Auto::Auto,
            advertised_host: Auto::Auto,
            tls: ListenTls::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: Auto::Auto,
            max_frame: ByteSize::mib(100),
            max_whole_frame: ByteSize::mib(4),
            memory: Auto::Auto,
            handshake_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(2 * 60),
            // Longer than the broker's 10 minutes: the broker is the one to hang up.
            idle_timeout: Duration::from_secs(11 * 60),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: HostPort::new("127.0.0.1", 9644), ready_requires_upstream: false, expose: Expose::Metrics }
    }
}

impl Default for OffsetReset {
    fn default() -> Self {
        Self {
            mode: Mode::Repair,
            policy: ResetPolicy::Earliest,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }
}

impl Default for PartitionDiscovery {
    fn default() -> Self {
        Self {
            mode: Mode::Repair,
            interval: Duration::from_secs(5),
            nudge: Auto::Auto,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        // Short, for native sidecars: they get their signal last, with perhaps 2 s to go.
        Self { grace: Duration::from_secs(2), drain_timeout: Duration::from_secs(2) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Auto::Auto }
    }
}
