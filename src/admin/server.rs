//! Accepting and serving.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::readiness::Readiness;
use super::routes;
use crate::config::Running;
use crate::mend;

/// Scrapers, probes and a few people.
const MOST_CONNECTIONS: usize = 64;

/// A request's head, and the pause between two requests on one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After this a connection is closed, busy or not: scrapers simply come back.
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);

/// How long an answer that is under way may still take when kmend ends.
const LAST_ANSWER: Duration = Duration::from_millis(500);

const MOST_HEADERS: usize = 64;
const HEAD_BUFFER: usize = 16 * 1024;

/// Accepting fails where descriptors have run out: wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin server shows.
#[derive(Debug, Clone)]
pub struct AdminState {
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub running: Running,
    /// What is known of clients and groups.
    pub mend: Arc<mend::Shared>,
}

/// Serves until `stop` says so (or its sender is gone).
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        // A place first: who comes when all are taken waits in the kernel's queue.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stopped => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, Arc::clone(&state), stop.clone());
                tokio::spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>, mut stop: watch::Receiver<bool>) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let service = service_fn(move |request| {
        let answer = routes::answer(&state, local, &request);
        async move { Ok::<_, Infallible>(answer) }
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
