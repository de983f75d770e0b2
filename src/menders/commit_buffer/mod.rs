//! Commits survive rebalances and the ends of processes (rules C1 to C8).
//!
//! See `README.md` beside this file for what breaks without it, what it does and what it never does.

mod beat;
pub(crate) mod book;
mod carry;
mod commits;
mod conn;
mod delivered;
mod errands;
mod fetched;
mod hurry;
mod metrics;
mod rejoin;
mod rules;
mod whose;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};

use crate::config::Config;
use crate::mend::promises::Promises;
use crate::mend::{ConnMender, Errands, Interest, Mender, Peers, Shared as MendShared, Treatment};
use crate::store::journal::{InMemory, Journal, Promise};
use crate::wire::api::ApiKey;
use book::{Book, What};
use delivered::Positions;
use metrics::Metrics;
use rules::Rules;

pub const NAME: &str = "commit_buffer";

/// The part that all connections share.
pub struct CommitBuffer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    rules: ArcSwap<Rules>,
    metrics: Metrics,
    book: Book,
    positions: Positions,
    /// Positions are wanted: `delivered` is on.
    tracks: AtomicBool,
    /// When what has waited too long was last looked for.
    kept: Mutex<Option<Instant>>,
}

/// Where promises are kept, and what an earlier run has left there.
#[derive(Debug)]
pub struct Kept {
    pub journal: Arc<dyn Journal>,
    pub restored: Vec<Promise>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { journal: Arc::new(InMemory::default()), restored: Vec::new() }
    }
}

impl CommitBuffer {
    pub fn new(
        config: &Config,
        registry: &Registry,
        repairs: &IntCounterVec,
        kept: Kept,
        now: Instant,
    ) -> CommitBuffer {
        let rules = Rules::new(config);
        let shared = Shared {
            metrics: Metrics::new(registry, repairs),
            book: Book::new(kept.journal, kept.restored, rules.patience(), now),
            tracks: AtomicBool::new(rules.delivered),
            rules: ArcSwap::from_pointee(rules),
            positions: Positions::default(),
            kept: Mutex::new(None),
        };
        CommitBuffer { shared: Arc::new(shared) }
    }

    /// What other menders may ask of its promises.
    pub fn promises(&self, mend: &Arc<MendShared>) -> Arc<dyn Promises> {
        Arc::new(hurry::Keeper::new(self.shared.clone(), mend))
    }
}

impl Mender for CommitBuffer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Vec<Interest> {
        // What was promised is kept, whatever the mode has become since.
        if self.shared.rules.load().modes.is_off() && self.shared.book.is_empty() {
            return Vec::new();
        }
        let whole = [
            ApiKey::OFFSET_COMMIT,
            ApiKey::OFFSET_FETCH,
            ApiKey::JOIN_GROUP,
            ApiKey::SYNC_GROUP,
            ApiKey::HEARTBEAT,
            ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ];
        let both = |api| [Interest::Request(api, Treatment::Whole), Interest::Response(api, Treatment::Whole)];
        let mut all: Vec<Interest> = whole.into_iter().flat_map(both).collect();
        all.push(Interest::Request(ApiKey::LEAVE_GROUP, Treatment::Whole));
        if self.shared.rules.load().delivered {
            all.push(Interest::Request(ApiKey::FETCH, Treatment::Stream));
            all.push(Interest::Response(ApiKey::METADATA, Treatment::Stream));
        }
        all
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(conn::OnConnection::new(self.shared.clone()))
    }

    fn reload(&self, config: &Config) {
        let rules = Rules::new(config);
        self.shared.tracks.store(rules.delivered, Ordering::Relaxed);
        self.shared.rules.store(Arc::new(rules));
    }

    fn errands(&self, mend: Arc<MendShared>) -> Option<Arc<dyn Errands>> {
        Some(Arc::new(errands::Stranded::new(self.shared.clone(), mend)))
    }
}

impl Shared {
    /// Says what has happened, and wakes the connections that wait for it.
    fn tell(&self, peers: &Peers) {
        let (events, mut wakes) = self.book.take_news();
        for event in events {
            self.metrics.event(&event);
            let book::Event { group, topic, partition, offset, member, age, .. } = &event;
            match event.what {
                What::Buffered => tracing::info!(%group, topic = %topic, partition, offset, %member,
                    "a commit that a rebalance refused is kept"),
                What::Delivered => tracing::info!(%group, topic = %topic, partition, offset, %member,
                    "a client went without a commit: what it had handled is committed in its name"),
                What::Replayed => tracing::info!(%group, topic = %topic, partition, offset, ?age,
                    "a kept commit has reached the broker"),
                What::Superseded(why) => tracing::info!(%group, topic = %topic, partition, offset, ?age, why,
                    "a kept commit is superseded: records may be read again, none is lost"),
                What::Expired => tracing::warn!(%group, topic = %topic, partition, offset, ?age,
                    "a kept commit is given up: its member has not come back"),
                What::Failed(error) => {
                    tracing::error!(%group, topic = %topic, partition, offset, error, was = ?event.was,
                    "the broker refuses a kept commit for good; what was written behind ends write-behind for its group")
                }
                What::Behind | What::Flushed | What::Covered => {
                    tracing::debug!(%group, topic = %topic, partition, offset, what = ?event.what, "write-behind");
                }
            }
        }
        wakes.sort_unstable();
        wakes.dedup();
        for conn in wakes {
            peers.wake(conn);
        }
    }

    /// What has waited too long, and the gauges.
    fn housekeep(&self, peers: &Peers, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_some_and(|at| now < at + conn::LOOK) {
            drop(kept);
            return self.tell(peers);
        }
        *kept = Some(now);
        drop(kept);
        self.book.expire(now);
        self.tell(peers);
        self.metrics.census(self.book.census(now));
    }
}
