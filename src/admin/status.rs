//! `/api/status`: what the page and `kmend status` show.

use std::collections::BTreeMap;
use std::time::Instant;

use prometheus::core::Collector;
use serde::Serialize;

use super::readiness::Check;
use super::server::AdminState;
use crate::config::Reloaded;
use crate::config::model::{Config, Mode};
use crate::config::units::{Auto, HostPort};
use crate::mend::peers::ClientStatus;
use crate::mend::view::{self, GroupStatus};
use crate::telemetry::history::Series;
use crate::telemetry::metrics::{COMMIT, VERSION};

/// Clients that are listed; those beyond are only counted.
const MAX_CLIENTS: usize = 2000;

#[derive(Debug, Serialize)]
struct Upstream {
    /// A broker answered kmend, and no connection to it has failed since.
    up: bool,
    bootstrap: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Listener {
    address: String,
    /// `null`: the bootstrap listener.
    node: Option<i32>,
}

#[derive(Debug, Serialize)]
struct Connections {
    clients: u64,
    upstream: u64,
}

#[derive(Debug, Serialize)]
struct Mender {
    name: &'static str,
    mode: Mode,
    /// As counted in `kmend_repairs_total`; without those that never came.
    outcomes: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    version: &'static str,
    /// `null`: built outside of a work tree.
    commit: Option<&'static str>,
    cluster_id: Option<String>,
    uptime_seconds: u64,
    upstream: Upstream,
    listeners: Vec<Listener>,
    connections: Connections,
    log_level: String,
    menders: Vec<Mender>,
    clients: Vec<ClientStatus>,
    clients_omitted: usize,
    groups: Vec<GroupStatus>,
    partitions_omitted: usize,
    traffic: Series,
    reload: Option<Reloaded>,
}

pub(super) fn answer(state: &AdminState, current: &Config, now: Instant) -> Answer {
    let totals = state.traffic.totals();
    let (clients, clients_omitted) = state.mend.peers.clients(MAX_CLIENTS);
    let view = view::status(&state.mend, now);
    let bootstrap = current.listen.address.iter().map(|a| Listener { address: a.to_string(), node: None });
    let host = match &current.listen.advertised_host {
        Auto::Set(host) => host.clone(),
        Auto::Auto => current.listen.address.first().map(|a| a.host.clone()).unwrap_or_default(),
    };
    let cluster = state.directory.overview();
    let nodes = cluster
        .nodes
        .into_iter()
        .map(|(node, port)| Listener { address: HostPort::new(&host, port).to_string(), node: Some(node) });
    Answer {
        version: VERSION,
        commit: Some(COMMIT).filter(|commit| *commit != "unknown"),
        cluster_id: cluster.cluster_id,
        uptime_seconds: now.saturating_duration_since(state.started).as_secs(),
        upstream: Upstream {
            up: state.readiness.is_up(Check::Upstream),
            bootstrap: current.upstream.bootstrap.iter().map(ToString::to_string).collect(),
        },
        listeners: bootstrap.chain(nodes).collect(),
        connections: Connections { clients: totals.connections, upstream: totals.upstream_connections },
        log_level: state.logs.level(),
        menders: menders(state, current),
        clients,
        clients_omitted,
        groups: view.groups,
        partitions_omitted: view.partitions_omitted,
        traffic: state.history.series(),
        reload: state.reloaded.borrow().clone(),
    }
}

fn menders(state: &AdminState, current: &Config) -> Vec<Mender> {
    let menders = &current.menders;
    let modes = [
        ("offset_reset", menders.offset_reset.mode),
        ("partition_discovery", menders.partition_discovery.mode),
        ("commit_buffer", menders.commit_buffer.mode),
        ("assignment_watchdog", menders.assignment_watchdog.mode),
    ];
    let mut outcomes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for family in state.repairs.collect() {
        for metric in family.get_metric() {
            let label = |name: &str| metric.get_label().iter().find(|l| l.name() == name).map(|l| l.value().to_owned());
            let count = metric.get_counter().get_value() as u64;
            if let (Some(mender), Some(outcome), 1..) = (label("mender"), label("outcome"), count) {
                outcomes.entry(mender).or_default().insert(outcome, count);
            }
        }
    }
    let mender =
        |(name, mode): (&'static str, Mode)| Mender { name, mode, outcomes: outcomes.remove(name).unwrap_or_default() };
    modes.map(mender).into()
}
