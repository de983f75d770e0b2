//! Commits that were acknowledged and are still to reach the broker, as other menders may ask for
//! them: whoever makes a member rejoin lets them go first (rule D3).

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use super::peers::Peers;

/// Who keeps them.
pub trait Promises: Send + Sync + Debug {
    /// How many are still to be sent in the name of this member.
    fn pending(&self, group: &str, member: &str) -> usize;
    /// Sends them now, by the connections that carry this member.
    fn hurry(&self, group: &str, member: &str, peers: &Peers);
}

/// At most one mender keeps promises.
#[derive(Debug, Default)]
pub struct Kept(OnceLock<Arc<dyn Promises>>);

impl Kept {
    pub fn by(&self, keeper: Arc<dyn Promises>) {
        let _ = self.0.set(keeper);
    }

    pub fn pending(&self, group: &str, member: &str) -> usize {
        self.0.get().map_or(0, |keeper| keeper.pending(group, member))
    }

    pub fn hurry(&self, group: &str, member: &str, peers: &Peers) {
        if let Some(keeper) = self.0.get() {
            keeper.hurry(group, member, peers);
        }
    }
}
