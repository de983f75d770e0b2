//! The rooms: one folder for each mender. They know `mend`, `store` and `wire`, and not each other.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{IntCounterVec, Registry};

use crate::config::Config;
use crate::mend::{Mender, Shared};
use crate::store::checkpoints::Checkpoints;
use crate::telemetry::metrics::Family;

pub mod assignment_watchdog;
pub mod commit_buffer;
pub mod offset_reset;
pub mod partition_discovery;

/// `kmend_repairs_total`, which all of them count in.
pub fn repairs(registry: &Registry) -> IntCounterVec {
    let help = "What menders did, or would have done (observed), or could not do.";
    Family::counter(registry, "repairs_total", help, &["mender", "outcome"])
}

/// All menders, in the order in which they see a message.
pub fn all(
    config: &Config,
    registry: &Registry,
    repairs: &IntCounterVec,
    shared: &Arc<Shared>,
    checkpoints: Checkpoints,
    kept: commit_buffer::Kept,
    now: Instant,
) -> Vec<Arc<dyn Mender>> {
    let buffer = commit_buffer::CommitBuffer::new(config, registry, repairs, kept, now);
    shared.promises.by(buffer.promises(shared));
    vec![
        // Before offset_reset: it must see what the broker said of committed offsets.
        Arc::new(buffer),
        Arc::new(offset_reset::OffsetReset::new(config, registry, repairs, checkpoints)),
        Arc::new(partition_discovery::PartitionDiscovery::new(config, registry, repairs, shared.chances.clone())),
        // Behind commit_buffer: it must not soften what this one tells a member.
        Arc::new(assignment_watchdog::AssignmentWatchdog::new(config, registry, repairs, shared)),
    ]
}
