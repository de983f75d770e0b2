//! What kmend has promised: commits that it acknowledged and that the broker does not have yet
//! (rule C7).
//!
//! ```text
//! file    = "kmend" 0x00, kind u8 = 2, format u8 = 1, frame*
//! frame   = 0x1e "kmj", length u32, crc32c(length, payload) u32, payload      (little endian)
//! payload = version u8 = 1, a JSON array of records                           (compact)
//! record  = {"promised": {...}} | {"settled": {...}}                          (see `codec`)
//! ```
//!
//! **Why JSON.** It grows: a reader passes over fields that it does not know and has a default for
//! those that are missing, so most changes need no new version. It never holds a control character,
//! while every frame begins with one: nothing that a client may choose (its commit's metadata, the
//! name of a group) can look like a frame when the reader searches for the next one behind a damaged
//! part. And it needs no dependency that is not there. It costs about 300 bytes a promise.
//!
//! **What holds of the file:**
//!
//! - One `write` is one frame: its records are read together or not at all. In the order of the
//!   frames the newest record of a key counts.
//! - Frames are only appended. What cannot be appended whole is cut off again; where that fails too,
//!   and after every failed sync, nothing more is written until the tail is cut, or the file has been
//!   written anew. A file is written anew beside the old one, synced, renamed, and the folder synced.
//! - A damaged part with sound frames behind it is passed over and reported; without one it is a torn
//!   tail and is cut. A lost `Settled` brings a promise back: replays ask the broker first (rule C4).
//! - At most `max_bytes` of promises are alive. When more than half of the file is dead and it is not
//!   small (4 MiB, or `max_bytes`), it is compacted: it is hardly larger than twice `max_bytes`, and
//!   while it is compacted the new file stands beside it.
//! - A payload of a higher version refuses the file. Versions below are read.
//!
//! **What a ticket promises:**
//!
//! - `Yes`: after any end of the process what was written is there, until a newer record of its key is
//!   `Yes` or undecided. With `sync: always` after a power cut as well.
//! - `No`: it is not there after the end of the process, unless the disk refuses even to cut off the
//!   rest of it, or the power fails: then it may be there, whole, until the next `Yes` of any ticket.
//! - `NotYet`: whole or not at all. It may still become either, also when nobody waits any more: who
//!   gives up waiting for a promise settles it.
//! - The `Settled` in a write that got `No` are not forgotten: they are kept, and written when the
//!   disk works again, unless their key is promised anew before.

mod codec;
mod core;
mod disk;
mod faults;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub mod fuzzing;
mod inspect;
mod on_disk;
#[cfg(test)]
mod tests;
mod tickets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use self::inspect::{Inspection, inspect};
pub use self::on_disk::{OnDisk, Wake};

/// The file's name in the state folder.
pub const FILE: &str = "commits.log";

/// Why a promise exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The broker refused the commit because of a rebalance (rule C1).
    Buffered,
    /// It has not been sent to the broker yet (rule C8).
    Behind,
}

/// Whose promise it is: one partition of one group in one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Empty where it was not known.
    pub cluster: Arc<str>,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
}

/// A commit that was acknowledged by kmend itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub key: Key,
    pub kind: Kind,
    /// All zero where it was not known.
    pub topic_id: [u8; 16],
    pub member: Arc<str>,
    pub instance: Option<Arc<str>>,
    /// The newest generation (KIP-848: member epoch) in which that member is known to own the partition.
    pub generation: i32,
    /// The broker may be asked with that generation; otherwise the member's next SyncGroup decides.
    pub ready: bool,
    /// The group's protocol is KIP-848's.
    pub consumer_protocol: bool,
    pub client_id: Arc<str>,
    /// The next offset to read, its leader epoch (-1 none), the app's own text.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<Arc<str>>,
    /// What the broker was known to hold when the promise was given; -1: nothing; `None`: not known.
    pub baseline: Option<i64>,
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

/// Milliseconds since 1970 (UTC).
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// One step of the journal. The newest record of a key counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    Promised(Promise),
    /// The broker has it, or it was given up.
    Settled(Key),
}

/// Counts the writes of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    NotYet,
    /// `kill -9` of kmend does not lose it any more (with `sync: always`, nor a power cut).
    Yes,
    /// It is not in the journal and will not be: the disk is full or broken (the module says it exactly).
    No,
}

/// Where promises are kept. Never blocks: a thread of its own writes.
pub trait Journal: Send + Sync + std::fmt::Debug {
    /// Queues records, all or none of which become durable together. When it is decided,
    /// `waiter` (the number of a connection; `None`: nobody waits) is woken; not where it is decided
    /// when this returns.
    fn write(&self, records: Vec<Record>, waiter: Option<u64>) -> Ticket;
    fn written(&self, ticket: Ticket) -> Written;
    /// Whether it survives the end of this process.
    fn is_durable(&self) -> bool;
}

/// The journal of a kmend without a folder: promises last as long as the process.
#[derive(Debug, Default)]
pub struct InMemory {
    tickets: AtomicU64,
}

impl Journal for InMemory {
    fn write(&self, _: Vec<Record>, _: Option<u64>) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    fn written(&self, _: Ticket) -> Written {
        Written::Yes
    }

    fn is_durable(&self) -> bool {
        false
    }
}
