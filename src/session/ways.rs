//! The way out (rule C9), as connections hear of it.

use std::any::Any;
use std::time::Instant;

use tokio::sync::watch;

use crate::upstream::sasl::Session;

/// How far the way out has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// Everything goes on, until the last client has gone.
    Draining,
    /// Clients are cut. What a mender has to finish without its client has until then.
    Ending {
        until: Instant,
    },
}

/// What a connection is told besides its bytes, and gives back.
pub struct Ways {
    /// When the client was accepted, or would have been if its broker had been dialled at once.
    pub accepted: Instant,
    /// Where kmend has logged in upstream.
    pub session: Option<Session>,
    pub phase: watch::Receiver<Phase>,
    /// The client's place within the limits: dropped when the client goes, which may be before the
    /// broker's side is closed.
    pub place: Box<dyn Any + Send>,
}

/// The next phase; never, where nobody is left to announce one.
pub(super) async fn next(phase: &mut watch::Receiver<Phase>) -> Phase {
    match phase.changed().await {
        Ok(()) => *phase.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}
