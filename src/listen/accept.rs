//! One listener's loop, and one client's life.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::{Phase, Refused, Shared, Target, metrics, sockets};
use crate::config::units::HostPort;
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::End;
use crate::session::limits::{CONNECTION, Reservation, TLS_SIDE};
use crate::session::ways::Ways;
use crate::tls::{HandshakeError, Transport};
use crate::upstream::{Connected, DialError, chain};

/// When descriptors run out, accepting pauses: from this on, doubling up to the longest.
const BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a client of a bootstrap listener waits for a broker, and one of a node's listener for that node.
const BOOTSTRAP_PATIENCE: Duration = Duration::from_secs(5);
const NODE_PATIENCE: Duration = Duration::from_millis(300);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(100);

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
                shared.teller.cannot_accept(&error, back_off);
                tokio::select! {
                    () = tokio::time::sleep(back_off) => {}
                    _ = phase.wait_for(is_ending) => return,
                }
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
    if shared.clients.load(Ordering::Relaxed) > shared.max_connections.load(Ordering::Relaxed) {
        return refuse(shared, stream, peer, Refused::Connections);
    }
    let Some(share) = shared.env.limits.load().memory.admit(CONNECTION) else {
        return refuse(shared, stream, peer, Refused::Memory);
    };
    let connection = Connection::begin(shared.clone(), share);
    tokio::spawn(async move {
        serve(&connection.shared, stream, peer, target, place).await;
    });
}

/// A client that meets a limit hears of it at once, by a reset.
fn refuse(shared: &Shared, stream: impl Into<Transport>, peer: SocketAddr, why: Refused) {
    shared.env.metrics.refused.with_label_values(&[why.label()]).inc();
    shared.teller.refused(why, peer);
    sockets::refuse(stream);
}

fn is_ending(phase: &Phase) -> bool {
    matches!(phase, Phase::Ending { .. })
}

/// A connection that is counted, from its acceptance until nothing of it is left.
struct Connection {
    shared: Arc<Shared>,
    /// What it takes of `limits.memory` besides its buffers.
    _share: Reservation,
}

impl Connection {
    fn begin(shared: Arc<Shared>, share: Reservation) -> Connection {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Connection { shared, _share: share }
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
    let (metrics, accepted) = (&shared.env.metrics, Instant::now());
    let Ok(local) = client.local_addr() else {
        return;
    };
    let _ = sockets::tune(&client);
    let mut phase = shared.phase.clone();
    let own = if shared.tls.load().is_some() { TLS_SIDE } else { 0 };
    let Some(_own) = shared.env.limits.load().memory.admit(own) else {
        return refuse(shared, client, peer, Refused::Memory);
    };
    let secured = tokio::select! {
        // Boxed: its size would stay with the connection.
        secured = Box::pin(secure(shared, client)) => secured,
        _ = phase.wait_for(is_ending) => Err(End::Shutdown),
    };
    let client = match secured {
        Ok(client) => client,
        Err(end) => {
            metrics.ended(&end);
            return shared.teller.ended(&end, None, peer, local, target);
        }
    };
    let dialling = Instant::now();
    let dialled = tokio::select! {
        dialled = Box::pin(dial(shared, target)) => dialled,
        _ = phase.wait_for(is_ending) => return metrics.ended(&End::Shutdown),
    };
    metrics.upstream_connections_total.with_label_values(&[metrics::outcome(&dialled)]).inc();
    let (Connected { transport: upstream, session }, node) = match dialled {
        Ok(found) => found,
        Err(error) if error.is_out_of_descriptors() => {
            return refuse(shared, client, peer, Refused::Descriptors);
        }
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
    let theirs = if upstream.is_tls() { TLS_SIDE } else { 0 };
    let Some(_theirs) = shared.env.limits.load().memory.admit(theirs) else {
        return refuse(shared, client, peer, Refused::Memory);
    };
    metrics.upstream_connections.inc();
    let open = Counted(&metrics.upstream_connections);
    let conn = Conn::new(shared.number(), peer.ip().to_canonical(), node);
    let number = conn.number;
    tracing::debug!(connection = number, %peer, to = ?target, "a client connected");
    // A broker that is slow takes no time from its client, which may have sent its first request long ago.
    let accepted = accepted + dialling.elapsed();
    let ways = Ways { accepted, session, phase: shared.phase.clone(), place: Box::new(place) };
    let end = driver::run(shared.env.clone(), conn, local.ip(), client, upstream, ways).await;
    drop(open);
    metrics.ended(&end);
    shared.teller.ended(&end, Some(number), peer, local, target);
}

/// The client's TLS session, where the listener has TLS: before a broker is dialled for somebody who
/// may not come in.
async fn secure(shared: &Shared, client: TcpStream) -> Result<Transport, End> {
    let Some(tls) = shared.tls.load_full() else {
        return Ok(Transport::Plain(client));
    };
    let limit = shared.env.limits.load().handshake_timeout;
    match tokio::time::timeout(limit, tls.accept(client)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(HandshakeError::Gone)) => Err(End::ClientClosed),
        Ok(Err(error)) => Err(End::Tls(error)),
        Err(_) => Err(End::Handshake),
    }
}

struct Counted<'a>(&'a prometheus::IntGauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A client waits a little for its broker. One that is refused at once knows a broker that takes connections and drops them, and
/// some (kafka-python) come back without a pause; directly nobody would listen, and they would back off.
async fn dial(shared: &Shared, target: Target) -> Result<(Connected, Option<i32>), DialError> {
    // Nobody else can serve a bootstrap client, and for its next attempt it may wait for long (librdkafka: up to 10 s).
    let patience = if target == Target::Bootstrap { BOOTSTRAP_PATIENCE } else { NODE_PATIENCE };
    let until = Instant::now() + patience;
    loop {
        match attempt(shared, target).await {
            Err(error) if Instant::now() + PAUSE <= until && !error.is_out_of_descriptors() => {
                tracing::debug!(to = ?target, error = %chain(&error), "no broker yet for a client");
            }
            ended => return ended,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(shared: &Shared, target: Target) -> Result<(Connected, Option<i32>), DialError> {
    match target {
        Target::Node(node) => {
            // A listener stands only where the node's address is known.
            let address = shared.routing.upstream(node).ok_or(DialError::NoAddress)?;
            Ok((shared.dialer.dial(&address).await?, Some(node)))
        }
        Target::Bootstrap => {
            let (connected, address) = bootstrap(shared).await?;
            Ok((connected, shared.routing.node_at(&address)))
        }
    }
}

/// A bootstrap address that answers, or else a broker that is known from metadata.
pub(super) async fn bootstrap(shared: &Shared) -> Result<(Connected, HostPort), DialError> {
    let bootstrap = shared.bootstrap.load_full();
    match shared.dialer.dial_any(&bootstrap).await {
        Ok(found) => Ok(found),
        Err(first) => elsewhere(shared, &bootstrap).await.ok_or(first),
    }
}

async fn elsewhere(shared: &Shared, tried: &[HostPort]) -> Option<(Connected, HostPort)> {
    let mut others = shared.routing.upstreams();
    others.retain(|o| !tried.contains(o));
    shared.dialer.dial_any(&others).await.ok()
}
