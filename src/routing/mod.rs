//! Which broker stands behind which local port (rules P1, P5).
//!
//! Node ids and the cluster id are never changed. Each node has a listener of its own whose port
//! is a function of the node id, kept in a file beside the journal so that a restarted kmend is
//! found again by clients that do not bootstrap twice.

mod file;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use prometheus::IntGauge;

use crate::config::units::HostPort;
use crate::mend::directory::{Directory, Overview};

/// Ports that a kmend may use for brokers.
pub const PORTS: u16 = 200;

/// A broker and its local port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub upstream: HostPort,
    pub port: u16,
}

/// Opens the listeners of a node; `AddrInUse` makes the routing try another port.
pub trait Open: Send + Sync {
    fn open(&self, node: i32, port: u16) -> io::Result<()>;
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// The first port of the range.
    pub first_port: u16,
    /// Ports of the range that others have: the admin server, the bootstrap listeners.
    pub taken: Vec<u16>,
    /// What clients are told; `None`: the local address that they connected to.
    pub advertised_host: Option<String>,
    /// Where the map is kept; `None`: nowhere, the ports are still the same function of the ids.
    pub file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    cluster_id: Option<String>,
    nodes: HashMap<i32, Node>,
}

pub struct Routing {
    settings: Settings,
    state: Mutex<State>,
    /// The nodes of `state`, for reading without a lock.
    nodes: ArcSwap<HashMap<i32, Node>>,
    open: OnceLock<Arc<dyn Open>>,
    gauge: IntGauge,
}

impl Routing {
    pub fn new(settings: Settings, gauge: IntGauge) -> Routing {
        Routing { settings, state: Mutex::default(), nodes: ArcSwap::default(), open: OnceLock::new(), gauge }
    }

    /// Starts to open listeners: first those of the nodes that the file remembers.
    pub fn start(&self, open: Arc<dyn Open>) {
        let _ = self.open.set(open);
        let Some(path) = &self.settings.file else {
            return;
        };
        match file::read(path) {
            Ok(None) => {}
            Ok(Some(saved)) => {
                let mut state = self.state();
                state.cluster_id = saved.cluster_id;
                for node in saved.nodes {
                    let upstream = HostPort { host: node.host, port: node.port };
                    self.place(
                        &mut state,
                        node.id,
                        upstream,
                        self.in_range(node.local_port).then_some(node.local_port),
                    );
                }
                self.publish(&state);
                tracing::info!(nodes = state.nodes.len(), file = %path.display(), "brokers remembered from the last run");
            }
            Err(error) => tracing::warn!(file = %path.display(), %error,
                "the map of brokers cannot be read; it is made anew when a client asks for metadata"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a node is.
    pub fn upstream(&self, node: i32) -> Option<HostPort> {
        self.nodes.load().get(&node).map(|n| n.upstream.clone())
    }

    /// Where all known nodes are: what is tried when no bootstrap address answers.
    pub fn upstreams(&self) -> Vec<HostPort> {
        self.nodes.load().values().map(|n| n.upstream.clone()).collect()
    }

    /// The node that has this address.
    pub fn node_at(&self, upstream: &HostPort) -> Option<i32> {
        self.nodes.load().iter().find(|(_, n)| n.upstream == *upstream).map(|(id, _)| *id)
    }

    fn in_range(&self, port: u16) -> bool {
        (self.settings.first_port..=self.settings.first_port.saturating_add(PORTS - 1)).contains(&port)
    }

    /// The ports to try for a node, best first: a pure function of its id, then the next ones.
    fn candidates(&self, node: i32) -> impl Iterator<Item = u16> + '_ {
        let offset = node.rem_euclid(i32::from(PORTS)) as u16;
        (0..PORTS)
            .filter_map(move |i| self.settings.first_port.checked_add((offset + i) % PORTS))
            .filter(|port| !self.settings.taken.contains(port))
    }

    /// Notes a node and opens its listener, if it has none yet.
    fn place(&self, state: &mut State, node: i32, upstream: HostPort, wish: Option<u16>) -> bool {
        if let Some(known) = state.nodes.get_mut(&node) {
            if known.upstream != upstream {
                tracing::info!(node, from = %known.upstream, to = %upstream, "a broker moved");
                known.upstream = upstream;
            }
            return true;
        }
        let Some(open) = self.open.get() else {
            return false;
        };
        let used: Vec<u16> = state.nodes.values().map(|n| n.port).collect();
        let ports = wish.into_iter().chain(self.candidates(node)).filter(|p| !used.contains(p));
        for port in ports {
            match open.open(node, port) {
                Ok(()) => {
                    tracing::info!(node, broker = %upstream, port, "listening for a broker");
                    state.nodes.insert(node, Node { upstream, port });
                    return true;
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::error!(node, port, %error, "no listener for a broker");
                    return false;
                }
            }
        }
        tracing::error!(
            node,
            first = self.settings.first_port,
            "no free port for a broker: set listen.broker_ports to a free range of 200"
        );
        false
    }

    fn publish(&self, state: &State) {
        self.gauge.set(state.nodes.len() as i64);
        self.nodes.store(Arc::new(state.nodes.clone()));
    }

    fn save(&self, state: &State) {
        let Some(path) = &self.settings.file else {
            return;
        };
        if let Err(error) = file::write(path, state.cluster_id.as_deref(), &state.nodes) {
            tracing::warn!(file = %path.display(), %error, "the map of brokers cannot be written; after a restart clients must bootstrap again");
        }
    }
}

impl Directory for Routing {
    fn learn_cluster(&self, cluster_id: &str) {
        let mut state = self.state();
        if state.cluster_id.as_deref() == Some(cluster_id) {
            return;
        }
        if let Some(before) = state.cluster_id.replace(cluster_id.to_owned()) {
            tracing::warn!(before, now = cluster_id, "the upstream is another cluster than before");
        }
        self.save(&state);
    }

    fn advertise(&self, node: i32, host: &str, port: i32, local: IpAddr) -> Result<(String, u16), String> {
        let port = u16::try_from(port).map_err(|_| format!("the broker says port {port}"))?;
        let is = |n: &&Node| n.upstream.host == host && n.upstream.port == port;
        let known = self.nodes.load().get(&node).filter(is).map(|n| n.port);
        let local_port = match known {
            Some(port) => port,
            None => {
                let mut state = self.state();
                let placed = self.place(&mut state, node, HostPort { host: host.to_owned(), port }, None);
                self.publish(&state);
                self.save(&state);
                let port = state.nodes.get(&node).map(|n| n.port);
                port.filter(|_| placed).ok_or_else(|| "no port could be opened; see the log".to_owned())?
            }
        };
        let host = self.settings.advertised_host.clone().unwrap_or_else(|| local.to_canonical().to_string());
        Ok((host, local_port))
    }

    fn overview(&self) -> Overview {
        let state = self.state();
        let mut nodes: Vec<_> = state.nodes.iter().map(|(id, node)| (*id, node.port)).collect();
        nodes.sort_unstable();
        Overview { cluster_id: state.cluster_id.clone(), nodes }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    struct Taken(Vec<u16>);
    impl Open for Taken {
        fn open(&self, _: i32, port: u16) -> io::Result<()> {
            if self.0.contains(&port) { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
        }
    }

    fn routing(file: Option<PathBuf>, taken: Vec<u16>) -> Routing {
        let settings = Settings { first_port: 9093, taken: vec![9095], advertised_host: None, file };
        let gauge = prometheus::IntGauge::new("nodes", "x").unwrap();
        let routing = Routing::new(settings, gauge);
        routing.start(Arc::new(Taken(taken)));
        routing
    }

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn ports_are_a_function_of_the_node_id() {
        let r = routing(None, vec![9096]);
        let port = |node| r.advertise(node, "b", 1, LOCAL).unwrap().1;
        assert_eq!((port(0), port(1), port(201)), (9093, 9094, 9097)); // 9094, 9095, 9096 are taken
        assert_eq!((port(0), port(1), port(201)), (9093, 9094, 9097));
        assert_eq!(port(-3), 9093 + 197);
    }

    #[test]
    fn the_map_survives_and_follows_moves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.json");
        let r = routing(Some(path.clone()), vec![9094]);
        r.learn_cluster("c");
        assert_eq!(r.advertise(1, "b1", 9092, LOCAL).unwrap(), ("127.0.0.1".to_owned(), 9096));
        assert_eq!(r.advertise(1, "b2", 9092, LOCAL).unwrap().1, 9096);
        let again = routing(Some(path), vec![]);
        assert_eq!(again.upstream(1), Some(HostPort { host: "b2".into(), port: 9092 }));
        assert_eq!(again.advertise(1, "b2", 9092, LOCAL).unwrap().1, 9096);
        assert_eq!(again.node_at(&HostPort { host: "b2".into(), port: 9092 }), Some(1));
    }
}
