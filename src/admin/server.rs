//! Accepting and serving.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounterVec, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::events::Events;
use super::readiness::Readiness;
use super::routes::{self, Answer};
use crate::config::{Reloaded, Running};
use crate::mend;
use crate::mend::directory::Directory;
use crate::telemetry::feed::Feed;
use crate::telemetry::floods::Floods;
use crate::telemetry::history::{Counted, History, STEP};
use crate::telemetry::logs::LogHandle;

/// Scrapers, probes and a few people.
const MOST_CONNECTIONS: usize = 64;

/// A request's head, and the pause between two requests on one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a connection is closed, busy or not: scrapers simply come back.
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);

/// How long an answer that is under way may still take when kmend ends.
const LAST_ANSWER: Duration = Duration::from_millis(500);

const MOST_HEADERS: usize = 64;
const HEAD_BUFFER: usize = 16 * 1024;

/// Accepting fails where descriptors have run out: wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A failure to accept is told so often.
const FAILURES: Duration = Duration::from_secs(60);

/// Descriptors that nobody else gets.
const SPARES: usize = 4;

/// The body of a request that may have one: a log filter.
const LONGEST_BODY: usize = 4096;

/// What the admin server shows.
#[derive(Clone)]
pub struct AdminState {
    pub registry: Registry,
    /// What menders did, by mender and outcome.
    pub repairs: IntCounterVec,
    pub readiness: Arc<Readiness>,
    pub running: Running,
    /// What is known of clients and groups.
    pub mend: Arc<mend::Shared>,
    pub directory: Arc<dyn Directory>,
    pub traffic: Arc<dyn Counted>,
    pub history: Arc<History>,
    pub feed: Feed,
    pub events: Events,
    pub logs: LogHandle,
    /// How the newest reload went.
    pub reloaded: watch::Receiver<Option<Reloaded>>,
    pub started: Instant,
}

/// Of the server's thread.
const STACK: usize = 1 << 20;

/// Serves on a thread of its own: a large answer keeps no client's bytes waiting.
pub fn start(listener: std::net::TcpListener, state: Arc<AdminState>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _runtime = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let serving = move || {
        runtime.spawn(sample(Arc::clone(&state)));
        runtime.block_on(serve(listener, state, stop));
    };
    thread::Builder::new().name("admin".to_owned()).stack_size(STACK).spawn(serving)?;
    Ok(())
}

/// Fills the charts' history for as long as the server runs.
async fn sample(state: Arc<AdminState>) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        state.history.sample(state.traffic.totals(), state.started.elapsed(), at);
    }
}

/// Serves until `stop` says so (or its sender is gone).
async fn serve(listener: TcpListener, state: Arc<AdminState>, mut stop: watch::Receiver<bool>) {
    let spares = Spares::default();
    let failures = Floods::new(1, FAILURES);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    spares.refill();
    loop {
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let accepted = tokio::select! {
            () = stopped => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= MOST_CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    // Whoever occupies all places keeps nobody out: an answer takes milliseconds.
                    oldest.abort();
                }
                let connection = connection(stream, peer, Arc::clone(&state), stop.clone());
                let spares = spares.clone();
                let task = tokio::spawn(async move {
                    connection.await;
                    spares.refill();
                });
                open.push_back(task.abort_handle());
            }
            // One more try, with a descriptor that was kept for it.
            Err(_) if spares.give_one() => {}
            Err(error) => {
                let now = Instant::now();
                if failures.tells("accept", now) {
                    tracing::warn!(%error, "the admin server cannot accept");
                }
                failures.more(now);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Descriptors that are kept for this server: what happens when all others are taken should be seen.
#[derive(Debug, Clone, Default)]
struct Spares(Arc<Mutex<Vec<File>>>);

impl Spares {
    fn refill(&self) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while spares.len() < SPARES
            && let Ok(file) = File::open("/dev/null")
        {
            spares.push(file);
        }
    }

    /// Whether there was one.
    fn give_one(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().is_some()
    }
}

async fn answer(state: &AdminState, peer: SocketAddr, local: SocketAddr, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    // Nobody else's body is of interest.
    let body = if head.method == Method::PUT && head.uri.path() == routes::LOG_LEVEL {
        match Limited::new(body, LONGEST_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return routes::plain(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
        }
    } else {
        Bytes::new()
    };
    routes::answer(state, peer, local, &Request::from_parts(head, body))
}

async fn connection(stream: TcpStream, peer: SocketAddr, state: Arc<AdminState>, mut stop: watch::Receiver<bool>) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, peer, local, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MOST_HEADERS)
        .max_buf_size(HEAD_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        // Clients that hang up or send rubbish are no news.
        _ = tokio::time::timeout(LONGEST_CONNECTION, connection.as_mut()) => return,
        () = stopped => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
}

#[cfg(test)]
mod tests;
