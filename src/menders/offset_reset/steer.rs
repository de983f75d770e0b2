//! A ListOffsets that follows an error above the log end, steered by policy (rule A1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::model::ResetPolicy;
use crate::mend::ClientKey;
use crate::wire::codec::ask::{EARLIEST, LATEST};

/// The client asks at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

type Key = (ClientKey, Arc<str>, i32);

#[derive(Debug, Default)]
pub struct Steers {
    due: Mutex<HashMap<Key, (Instant, ResetPolicy)>>,
}

impl Steers {
    /// The client has been told that its position is out of range, above the log end.
    pub fn expect(&self, client: ClientKey, topic: &Arc<str>, partition: i32, policy: ResetPolicy, now: Instant) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.retain(|_, (until, _)| *until > now);
        due.insert((client, topic.clone(), partition), (now + PATIENCE, policy));
    }

    /// The timestamp to ask for instead, once.
    pub fn take(
        &self,
        client: &ClientKey,
        topic: &Arc<str>,
        partition: i32,
        now: Instant,
    ) -> Option<(i64, ResetPolicy)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_empty() {
            return None;
        }
        let (until, policy) = due.remove(&(client.clone(), topic.clone(), partition))?;
        let timestamp = match policy {
            ResetPolicy::Earliest => EARLIEST,
            // Above the end the end is nearer.
            ResetPolicy::Latest | ResetPolicy::Nearest => LATEST,
            ResetPolicy::Passthrough => return None,
        };
        (until > now).then_some((timestamp, policy))
    }
}
