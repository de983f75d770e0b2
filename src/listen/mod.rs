//! Accepting clients: the bootstrap listeners and one listener for each broker.

mod accept;
pub mod errands;
mod metrics;
pub mod prime;
pub mod sockets;
mod tell;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::config::units::HostPort;
use crate::routing::{Open, Routing};
use crate::session::env::Env;
pub use crate::session::ways::Phase;
use crate::tls;
use crate::upstream::Dialer;
pub use tell::{Refused, Teller};

/// Where a listener leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Bootstrap,
    Node(i32),
}

/// What the listeners share.
pub struct Shared {
    pub env: Arc<Env>,
    pub routing: Arc<Routing>,
    pub dialer: Dialer,
    /// TLS from the clients, on every listener; `None`: they speak plaintext.
    pub tls: ArcSwapOption<tls::Server>,
    pub bootstrap: ArcSwap<Vec<HostPort>>,
    pub max_connections: AtomicUsize,
    pub phase: watch::Receiver<Phase>,
    /// Clients that are connected now.
    pub clients: AtomicUsize,
    /// Connections of which anything is left: those that linger have no client any more.
    pub connections: AtomicUsize,
    /// Told when a client, or a connection, has gone.
    pub left: Notify,
    /// What was told of connections, and is now only counted.
    pub teller: Teller,
    numbers: AtomicU64,
}

impl Shared {
    pub fn new(
        env: Arc<Env>,
        routing: Arc<Routing>,
        dialer: Dialer,
        tls: Option<Arc<tls::Server>>,
        bootstrap: Vec<HostPort>,
        max_connections: usize,
        phase: watch::Receiver<Phase>,
    ) -> Shared {
        Shared {
            env,
            routing,
            dialer,
            tls: ArcSwapOption::new(tls),
            bootstrap: ArcSwap::from_pointee(bootstrap),
            max_connections: AtomicUsize::new(max_connections),
            phase,
            clients: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            left: Notify::new(),
            teller: Teller::default(),
            numbers: AtomicU64::new(0),
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Opens listeners and serves what they accept.
pub struct Listeners {
    shared: Arc<Shared>,
    /// The local addresses that clients come to: brokers' listeners stand on the same.
    addresses: Vec<IpAddr>,
    runtime: Handle,
}

impl Listeners {
    pub fn new(shared: Arc<Shared>, addresses: Vec<IpAddr>, runtime: Handle) -> Listeners {
        Listeners { shared, addresses, runtime }
    }

    /// Serves a bootstrap listener that is open already.
    pub fn bootstrap(&self, listener: std::net::TcpListener) -> io::Result<()> {
        self.serve(listener, Target::Bootstrap)
    }

    fn serve(&self, listener: std::net::TcpListener, target: Target) -> io::Result<()> {
        let _runtime = self.runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        self.runtime.spawn(accept::run(self.shared.clone(), listener, target));
        Ok(())
    }
}

impl Open for Listeners {
    fn open(&self, node: i32, port: u16) -> io::Result<()> {
        // All or none: the port must be free on every address.
        let listeners =
            self.addresses.iter().map(|ip| sockets::listen((*ip, port).into())).collect::<io::Result<Vec<_>>>()?;
        for listener in listeners {
            self.serve(listener, Target::Node(node))?;
        }
        Ok(())
    }
}
