//! Every skip is counted, logged and noted once (rules A7, A9).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::{Metrics, Outcome, policy_label};
use crate::config::model::ResetPolicy;
use crate::mend::ClientKey;
use crate::store::checkpoints::{Checkpoint, Checkpoints};

/// Skips that are remembered, so that a client that comes back with its old position (another
/// connection, another leader, a rebalance) is mended again but not counted again.
const REMEMBERED: usize = 10_000;

type Key = (ClientKey, Arc<str>, i32, i64);

#[derive(Debug, Default)]
struct Counted {
    to: HashMap<Key, i64>,
    order: VecDeque<Key>,
}

pub struct Ledger {
    counted: Mutex<Counted>,
    checkpoints: Checkpoints,
}

/// One position that was moved.
#[derive(Debug, Clone)]
pub struct Skip {
    pub client: ClientKey,
    pub group: Option<Arc<str>>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub old: i64,
    pub new: i64,
    pub policy: ResetPolicy,
    pub outcome: Outcome,
}

impl Ledger {
    pub fn new(checkpoints: Checkpoints) -> Ledger {
        Ledger { counted: Mutex::default(), checkpoints }
    }

    pub fn enter(&self, skip: &Skip, metrics: &Metrics) {
        let Some(from) = self.first_time(skip) else {
            return;
        };
        let skipped = u64::try_from(skip.new.saturating_sub(from)).unwrap_or(0);
        metrics.outcome(skip.outcome);
        metrics.reset(&skip.topic, skip.policy, skipped);
        tracing::warn!(
            topic = %skip.topic, partition = skip.partition, client_id = %skip.client.client_id,
            group = skip.group.as_deref().unwrap_or(""), old = skip.old, new = skip.new, skipped, policy = policy_label(skip.policy),
            "{}[{}]: {} was evicted, reset to {}, {skipped} records skipped",
            skip.topic, skip.partition, skip.old, skip.new,
        );
        let checkpoint = Checkpoint {
            time_ms: Checkpoint::now_ms(),
            group: skip.group.as_deref().map(str::to_owned),
            client_id: skip.client.client_id.to_string(),
            topic: skip.topic.to_string(),
            partition: skip.partition,
            old: skip.old,
            new: skip.new,
        };
        if let Err(error) = self.checkpoints.note(&checkpoint) {
            metrics.checkpoint_errors.inc();
            tracing::error!(%error, "a checkpoint could not be written; the repair itself stands");
        }
    }

    /// From where the skip counts; `None` if it has been counted already.
    fn first_time(&self, skip: &Skip) -> Option<i64> {
        let key = (skip.client.clone(), skip.topic.clone(), skip.partition, skip.old);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.to.insert(key.clone(), skip.new) {
            Some(before) if before >= skip.new => {
                counted.to.insert(key, before);
                None
            }
            Some(before) => Some(before),
            None => {
                counted.order.push_back(key);
                if counted.order.len() > REMEMBERED
                    && let Some(oldest) = counted.order.pop_front()
                {
                    counted.to.remove(&oldest);
                }
                Some(skip.old)
            }
        }
    }
}
