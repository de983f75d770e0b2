//! The configuration, read again on SIGHUP and when one of its files changes. All or nothing.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, Registry};
use tokio::sync::watch;

use super::certificates::Certificates;
use crate::config::{Reloaded, Sources};
use crate::telemetry::metrics::{Family, Single};
use crate::watch::{Look, Watched};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// SIGHUP.
    Asked,
    /// A file is not what it was.
    Changed(Look),
}

pub(super) struct Reloads {
    certificates: Arc<Certificates>,
    sources: Sources,
    newest: watch::Sender<Option<Reloaded>>,
    counted: IntCounterVec,
    good: IntGauge,
    state: Mutex<State>,
}

struct State {
    /// What the files held when they were read last.
    content: u64,
    /// The error that was told last, until something is read without one.
    told: Option<String>,
}

impl Reloads {
    pub fn new(certificates: Arc<Certificates>, sources: Sources, content: u64, registry: &Registry) -> Reloads {
        let counted = Family::counter(
            registry,
            "config_reloads_total",
            "Times that the configuration was read again: reloaded, unchanged, or failed, and nothing has changed.",
            &["outcome"],
        );
        for outcome in ["reloaded", "unchanged", "failed"] {
            counted.with_label_values(&[outcome]);
        }
        let good = Single::gauge(
            registry,
            "config_last_reload_successful",
            "1 while the configuration in force is that of the files; 0 after a reload that failed.",
        );
        good.set(1);
        let state = Mutex::new(State { content, told: None });
        Reloads { certificates, sources, newest: watch::Sender::new(None), counted, good, state }
    }

    /// How the newest one went that changed something, or could not.
    pub fn subscribe(&self) -> watch::Receiver<Option<Reloaded>> {
        self.newest.subscribe()
    }

    /// Its files.
    pub fn watched(self: &Arc<Self>) -> Watched {
        let (named, reading) = (self.clone(), self.clone());
        Watched::new(move || named.sources.files.clone(), move |look| reading.reload(Why::Changed(look)))
    }

    /// Reads all files, here and now; whether they can be used.
    pub fn reload(&self, why: Why) -> bool {
        let State { content, told } = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is looked at again.
        let now = self.sources.content();
        if why == Why::Changed(Look::Changed) && now == *content {
            // Other stamps, the same text; also the first look, which finds what the start has read. Reading it all
            // again would bring code into memory that nobody needs.
            return told.is_none();
        }
        *content = now;
        let outcome = self.certificates.reload(&self.sources);
        let reloaded = Reloaded::new(outcome.as_ref().map(|(diff, _)| diff));
        match outcome {
            Ok((diff, notes)) => {
                let recovered = told.take().is_some();
                self.good.set(1);
                if diff.is_empty() && !recovered {
                    // What the start has read already is no news.
                    if why == Why::Asked {
                        self.counted.with_label_values(&["unchanged"]).inc();
                        tracing::info!("reloaded: nothing changed");
                    }
                    return true;
                }
                for note in notes {
                    tracing::warn!("{note}");
                }
                for change in &diff.changes {
                    let when = if change.needs_restart { "after a restart" } else { "now" };
                    tracing::info!(key = change.key, from = change.from, to = change.to, when, "reloaded");
                }
                if diff.is_empty() {
                    tracing::info!("reloaded: the files are as they were before they could not be used");
                }
                self.counted.with_label_values(&["reloaded"]).inc();
                self.newest.send_replace(Some(reloaded));
                true
            }
            Err(error) => {
                let error = error.to_string();
                if why != Why::Changed(Look::Again) || told.as_ref() != Some(&error) {
                    self.counted.with_label_values(&["failed"]).inc();
                    self.good.set(0);
                    tracing::error!(error, "not reloaded: nothing has changed");
                    self.newest.send_replace(Some(reloaded));
                }
                *told = Some(error);
                false
            }
        }
    }
}
