//! What other menders may ask of the promises (rule D3).

use std::fmt;
use std::sync::{Arc, Weak};

use super::Shared;
use crate::mend::promises::Promises;
use crate::mend::{Peers, Shared as MendShared};

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// It is kept there.
    mend: Weak<MendShared>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, mend: &Arc<MendShared>) -> Keeper {
        Keeper { shared, mend: Arc::downgrade(mend) }
    }

    /// Whether a promise to `old` is this member's: it is the same, or follows it.
    fn is(&self, group: &str, old: &Arc<str>, member: &str) -> bool {
        let follows = || self.mend.upgrade().and_then(|m| m.groups.successor(group, old));
        **old == *member || follows().is_some_and(|new| *new == *member)
    }
}

impl Promises for Keeper {
    fn pending(&self, group: &str, member: &str) -> usize {
        self.shared.book.pending(group, |old| self.is(group, old, member))
    }

    fn hurry(&self, group: &str, member: &str, peers: &Peers) {
        self.shared.book.hurry(group, |old| self.is(group, old, member));
        self.shared.tell(peers);
    }
}
