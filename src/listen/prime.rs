//! Asking the cluster for its brokers before a client does.
//!
//! Where the upstream needs no login (or kmend holds it), the brokers' listeners can stand before
//! the first client comes. Where it needs one, the broker closes the connection, and the first
//! client's own metadata tells; the file of the last run covers restarts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Phase, Shared};
use crate::mend::directory::Directory;
use crate::tls::Transport;
use crate::upstream::DialError;
use crate::upstream::own::{Answer, Own, OwnError};
use crate::wire::api::ApiKey;
use crate::wire::layout;
use crate::wire::splice::Addresses;
use crate::wire::walk;

/// Old enough for every broker; an empty list of topics asks for brokers only.
const VERSION: i16 = 2;
const NO_TOPICS: [u8; 4] = [0; 4];
/// Thousands of brokers.
const MAX_ANSWER: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Accounts are locked that are tried too often.
const LOGIN_PAUSE: Duration = Duration::from_secs(5);

/// Asks until the brokers are known, or it turns out that they tell only clients that log in.
/// `found` hears whether a broker answered.
pub async fn run(shared: Arc<Shared>, found: impl Fn(bool) + Send) {
    let mut phase = shared.phase.clone();
    let mut pause = Duration::from_millis(250);
    loop {
        let bootstrap = shared.bootstrap.load_full();
        match shared.dialer.dial_any(&bootstrap).await {
            Ok((connected, _)) => {
                found(true);
                match ask(&shared, connected.transport).await {
                    Ok(nodes) if nodes > 0 => return,
                    Err(OwnError::Io(_)) => {
                        tracing::debug!(
                            "the brokers tell only clients that log in; the first client's metadata will name them"
                        );
                        return;
                    }
                    _ => {}
                }
            }
            Err(error @ DialError::Login { .. }) => {
                found(false);
                pause = pause.max(LOGIN_PAUSE);
                tracing::error!(error = %crate::upstream::chain(&error), again_in = ?pause, "kmend cannot log in, and no client can come through: see upstream.sasl");
            }
            Err(error) => {
                found(false);
                tracing::warn!(error = %crate::upstream::chain(&error), again_in = ?pause, "no broker answers yet");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = phase.wait_for(|p| *p != Phase::Running) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ask(shared: &Shared, transport: Transport) -> Result<usize, OwnError> {
    let mut own = Own::new(transport, MAX_ANSWER);
    let Answer { mut frame, body } = own.ask(ApiKey::METADATA, VERSION, &NO_TOPICS, Instant::now() + PATIENCE).await?;
    let end = frame.len();
    let mut found = Addresses::new(ApiKey::METADATA, VERSION);
    let (front, _) = layout::metadata_parts(VERSION).ok_or(OwnError::Unreadable)?;
    match walk::front(front, &mut frame, body, end, &mut found) {
        Ok(Ok(_)) => {}
        _ => return Err(OwnError::Unreadable),
    }
    if let Some(cluster_id) = &found.cluster_id {
        shared.routing.learn_cluster(cluster_id);
        shared.env.shared.cluster.learn(cluster_id);
    }
    for node in found.nodes.iter().filter(|n| !n.host.is_empty()) {
        // Only the listener matters here, not what is told of it.
        if let Err(why) = shared.routing.advertise(node.id, &node.host, node.port, IpAddr::V4(Ipv4Addr::LOCALHOST)) {
            tracing::error!(node = node.id, why, "a broker has no listener");
        }
    }
    Ok(found.nodes.len())
}
