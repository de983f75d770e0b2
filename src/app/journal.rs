//! Where promises are kept (rule C7).

use std::sync::Arc;

use prometheus::Registry;

use super::{AppError, Kind};
use crate::config::Config;
use crate::mend::Shared as MendShared;
use crate::menders::commit_buffer::Kept;
use crate::store::dir::StateDir;
use crate::store::journal::OnDisk;

/// The journal in the state folder, or without one a journal that lasts as long as the process.
pub(super) fn open(
    config: &Config,
    kind: Kind,
    dir: Option<&StateDir>,
    registry: &Registry,
    shared: &Arc<MendShared>,
) -> Result<(Kept, Option<Arc<OnDisk>>), AppError> {
    let buffer = &config.menders.commit_buffer;
    let Some(dir) = dir else {
        if buffer.write_behind.enabled {
            // A promise that only memory keeps is none.
            if kind == Kind::Run {
                return Err(AppError::NoJournal);
            }
            tracing::warn!("write-behind is off: it needs a folder for its journal");
        }
        return Ok((Kept::default(), None));
    };
    let peers = shared.clone();
    let wake = Arc::new(move |conn| peers.peers.wake(conn));
    let (journal, restored) =
        OnDisk::open(dir.path(), buffer.journal.max_bytes.0, buffer.journal.sync, wake, registry)?;
    if !restored.is_empty() {
        tracing::info!(commits = restored.len(), "the journal holds commits that the broker does not have yet");
    }
    let journal = Arc::new(journal);
    Ok((Kept { journal: journal.clone(), restored }, Some(journal)))
}
