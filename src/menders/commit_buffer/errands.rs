//! Promises whose clients are gone, sent on connections of kmend's own where the upstream lets
//! them in (rule C7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::book::{Held, Identity, Place, Request, Want};
use super::carry::misplaced;
use crate::mend::errands::Version;
use crate::mend::{ClientKey, Errand, Errands, Injected, Shared as MendShared};

/// A client that has just gone comes back, or its own connection is still open.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Stranded {
    shared: Arc<Shared>,
    mend: Arc<MendShared>,
}

impl Stranded {
    pub fn new(shared: Arc<Shared>, mend: Arc<MendShared>) -> Stranded {
        Stranded { shared, mend }
    }
}

impl Errands for Stranded {
    fn wanted(&self, now: Instant) -> Vec<Arc<str>> {
        self.shared.housekeep(&self.mend.peers, now);
        self.shared.book.stranded(now, now.checked_sub(PATIENCE).unwrap_or(now))
    }

    fn take(&self, group: &str, version: Version<'_>, now: Instant) -> Option<Errand> {
        let want = |held: &Held| {
            if let Some(why) = misplaced(&self.mend, held) {
                return why;
            }
            let promise = &held.promise;
            if !promise.ready || held.orphan {
                return Want::As(Identity::nobody());
            }
            // The broker keeps a member for its session timeout.
            Want::As(Identity {
                member: promise.member.clone(),
                instance: promise.instance.clone(),
                generation: promise.generation,
                consumer_protocol: promise.consumer_protocol,
            })
        };
        let book = &self.shared.book;
        let job = book.next_stranded(group).or_else(|| book.begin(group, None, want, now))?;
        let request = book.request(job, version, now);
        self.shared.tell(&self.mend.peers);
        let Request { api, version, body } = request?;
        Some(Errand { token: job, api, version, body })
    }

    fn done(&self, token: u64, outcome: Injected<'_>, now: Instant) {
        let book = &self.shared.book;
        match outcome {
            Injected::Lost => book.lost(token, now),
            Injected::Answer { frame, body, .. } => {
                // Whose it was is not known after a restart: then nobody here would ever end it.
                let taken = |group: &str, client: Option<&ClientKey>, place: &Place, offset| {
                    if let Some(client) = client {
                        self.mend.progress.committed(group, client, place, offset, now);
                        self.mend.progress.commit_ended(group, client, 0, now);
                    }
                };
                let _ = book.answered(token, frame, body, now, taken);
            }
        }
        self.shared.tell(&self.mend.peers);
    }
}
