//! One listener's loop, and one client's life.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::{Phase, Shared, Target, metrics, sockets};
use crate::config::units::HostPort;
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::{End, Side};
use crate::session::ways::Ways;
use crate::upstream::{DialError, Transport, chain};

/// When descriptors run out, accepting pauses: from this on, doubling up to the longest.
const BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a client of a bootstrap listener waits for a broker, and how often one is looked for.
const BOOTSTRAP_PATIENCE: Duration = Duration::from_secs(5);
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, target: Target) {
    let mut phase = shared.phase.clone();
    let mut back_off = BACK_OFF;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(is_ending) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF;
                admit(&shared, stream, peer, target);
            }
            Err(e) if is_transient(&e) => {}
            Err(error) => {
                tracing::warn!(%error, pause = ?back_off, "clients cannot be accepted; if descriptors ran out, raise the limit or lower limits.max_connections");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(LONGEST);
            }
        }
    }
}

/// The client went away before it was accepted.
fn is_transient(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, target: Target) {
    let place = Place::take(shared.clone());
    let limit = shared.max_connections.load(Ordering::Relaxed);
    if shared.clients.load(Ordering::Relaxed) > limit {
        tracing::warn!(%peer, limit, "a client is refused: limits.max_connections is reached");
        shared.env.metrics.refused.inc();
        sockets::refuse(stream);
        return;
    }
    let connection = Connection::begin(shared.clone());
    tokio::spawn(async move {
        serve(&connection.shared, stream, peer, target, place).await;
    });
}

fn is_ending(phase: &Phase) -> bool {
    matches!(phase, Phase::Ending { .. })
}

/// A connection that is counted, from its acceptance until nothing of it is left.
struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    fn begin(shared: Arc<Shared>) -> Connection {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Connection { shared }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.left.notify_waiters();
    }
}

/// A client that is counted. Its connection may outlive it.
struct Place {
    shared: Arc<Shared>,
}

impl Place {
    fn take(shared: Arc<Shared>) -> Place {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        shared.env.metrics.client_connections.inc();
        shared.env.metrics.client_connections_total.inc();
        Place { shared }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
        self.shared.env.metrics.client_connections.dec();
        self.shared.left.notify_waiters();
    }
}

async fn serve(shared: &Shared, client: TcpStream, peer: SocketAddr, target: Target, place: Place) {
    let metrics = &shared.env.metrics;
    let Ok(local) = client.local_addr() else {
        return;
    };
    let _ = sockets::tune(&client);
    let mut phase = shared.phase.clone();
    let dialled = tokio::select! {
        dialled = dial(shared, target) => dialled,
        _ = phase.wait_for(is_ending) => return metrics.ended(&End::Shutdown),
    };
    metrics.upstream_connections_total.with_label_values(&[metrics::outcome(&dialled)]).inc();
    let (upstream, node) = match dialled {
        Ok(found) => found,
        Err(error) => {
            match &error {
                DialError::Recent { .. } => {
                    tracing::debug!(to = ?target, %error, "no broker for a client")
                }
                _ => {
                    tracing::warn!(to = ?target, error = %chain(&error), "no broker for a client")
                }
            }
            sockets::refuse(client);
            return;
        }
    };
    metrics.upstream_connections.inc();
    let open = Counted(&metrics.upstream_connections);
    let conn = Conn::new(shared.number(), peer.ip().to_canonical(), node);
    let number = conn.number;
    tracing::debug!(connection = number, %peer, to = ?target, "a client connected");
    let ways = Ways { phase: shared.phase.clone(), place: Box::new(place) };
    let end = driver::run(shared.env.clone(), conn, local.ip(), client, upstream, ways).await;
    drop(open);
    metrics.ended(&end);
    tell(&end, number, peer, local, target);
}

struct Counted<'a>(&'a prometheus::IntGauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One line for each end that somebody should know of.
fn tell(end: &End, connection: u64, peer: SocketAddr, local: SocketAddr, target: Target) {
    let side = end.side().label();
    match end {
        end if end.is_ordinary() => {
            tracing::debug!(connection, %peer, to = ?target, side, reason = %end, "a connection ended")
        }
        End::Nudged { late } => {
            tracing::info!(connection, %peer, to = ?target, late, "a connection was closed: {end}")
        }
        End::BadRequest(what) => {
            tracing::warn!(connection, %peer, listener = %local, "a client was cut off: {what}")
        }
        end if end.side() == Side::Client => {
            tracing::warn!(connection, %peer, listener = %local, "a client was cut off: {end}")
        }
        end => {
            tracing::error!(connection, %peer, to = ?target, side, "a connection was cut: {end}")
        }
    }
}

async fn dial(shared: &Shared, target: Target) -> Result<(Transport, Option<i32>), DialError> {
    match target {
        Target::Node(node) => {
            // A listener stands only where the node's address is known.
            let address = shared.routing.upstream(node).ok_or(DialError::NoAddress)?;
            Ok((shared.dialer.dial(&address).await?, Some(node)))
        }
        Target::Bootstrap => {
            // Nothing else can serve this client: it waits a little for the cluster to come up, rather
            // than back off by itself (librdkafka: up to 10 s).
            let patience = Instant::now() + BOOTSTRAP_PATIENCE;
            loop {
                match bootstrap(shared).await {
                    Ok((transport, address)) => return Ok((transport, shared.routing.node_at(&address))),
                    Err(error) if Instant::now() + BOOTSTRAP_PAUSE > patience => return Err(error),
                    Err(error) => tracing::debug!(error = %chain(&error), "no broker yet for a client"),
                }
                tokio::time::sleep(BOOTSTRAP_PAUSE).await;
            }
        }
    }
}

/// A bootstrap address that answers, or else a broker that is known from metadata.
pub(super) async fn bootstrap(shared: &Shared) -> Result<(Transport, HostPort), DialError> {
    let bootstrap = shared.bootstrap.load_full();
    match shared.dialer.dial_any(&bootstrap).await {
        Ok(found) => Ok(found),
        Err(first) => elsewhere(shared, &bootstrap).await.ok_or(first),
    }
}

async fn elsewhere(shared: &Shared, tried: &[HostPort]) -> Option<(Transport, HostPort)> {
    let mut others = shared.routing.upstreams();
    others.retain(|o| !tried.contains(o));
    shared.dialer.dial_any(&others).await.ok()
}
