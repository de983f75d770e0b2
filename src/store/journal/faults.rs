//! What goes wrong with the journal: counted always, logged when it changes.

use std::io;

use prometheus::{IntCounterVec, IntGauge, Registry};

use crate::telemetry::metrics::{Family, Single};

/// Why a write is not in the journal, as the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No space, or no quota.
    Full,
    ReadOnly,
    /// The folder or the file was removed.
    Gone,
    /// Anything else that a disk may say.
    Io,
    /// `max_bytes` is reached.
    Limit,
    /// More is queued than the disk takes.
    Queue,
}

impl Reason {
    const ALL: [Reason; 6] = [Reason::Full, Reason::ReadOnly, Reason::Gone, Reason::Io, Reason::Limit, Reason::Queue];

    fn label(self) -> &'static str {
        match self {
            Reason::Full => "full",
            Reason::ReadOnly => "read_only",
            Reason::Gone => "gone",
            Reason::Io => "io",
            Reason::Limit => "limit",
            Reason::Queue => "queue",
        }
    }

    pub(super) fn of(error: &io::Error) -> Reason {
        use io::ErrorKind as E;
        match error.kind() {
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Reason::Full,
            E::ReadOnlyFilesystem | E::PermissionDenied => Reason::ReadOnly,
            E::NotFound | E::AlreadyExists | E::NotADirectory | E::StaleNetworkFileHandle => Reason::Gone,
            _ => Reason::Io,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub bytes: IntGauge,
    errors: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Metrics {
        let errors = Family::counter(
            registry,
            "journal_errors_total",
            "Writes that are not in the journal of commits, and failed attempts to mend or compact it.",
            &["reason"],
        );
        for reason in Reason::ALL {
            errors.with_label_values(&[reason.label()]);
        }
        Metrics { bytes: Single::gauge(registry, "journal_bytes", "The journal of commits on disk."), errors }
    }

    pub(super) fn failed(&self, reason: Reason, writes: usize) {
        self.errors.with_label_values(&[reason.label()]).inc_by(writes as u64);
    }

    #[cfg(test)]
    pub(super) fn errors(&self, reason: Reason) -> u64 {
        self.errors.with_label_values(&[reason.label()]).get()
    }
}

/// Says each change once.
#[derive(Debug, Default)]
pub(super) struct Teller {
    broken: Option<Reason>,
    is_at_limit: bool,
    is_uncompacted: bool,
}

impl Teller {
    pub(super) fn broken(&mut self, error: &io::Error) {
        let reason = Reason::of(error);
        if self.broken.replace(reason) != Some(reason) {
            tracing::error!(%error, reason = reason.label(), "the journal cannot be written: kmend acknowledges no commits by itself until it can");
        }
    }

    pub(super) fn works(&mut self) {
        if self.broken.take().is_some() {
            tracing::info!("the journal is written again");
        }
    }

    pub(super) fn limit(&mut self, max_bytes: u64) {
        if !std::mem::replace(&mut self.is_at_limit, true) {
            tracing::warn!(
                max_bytes,
                "the journal is full: commits that do not fit get the broker's own answer (menders.commit_buffer.journal.max_bytes)"
            );
        }
    }

    pub(super) fn live(&mut self, bytes: u64, max_bytes: u64) {
        // Not at each promise that fits beside one that does not.
        if self.is_at_limit && bytes < max_bytes / 10 * 9 {
            self.is_at_limit = false;
            tracing::info!("the journal has room again");
        }
    }

    pub(super) fn compaction(&mut self, result: &io::Result<()>) {
        let is_uncompacted = result.is_err();
        if let Err(error) = result
            && !self.is_uncompacted
        {
            tracing::warn!(%error, "the journal cannot be compacted; it is tried again");
        }
        self.is_uncompacted = is_uncompacted;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_change_is_said_once() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).without_time().finish();
        tracing::subscriber::with_default(subscriber, || {
            let full = io::ErrorKind::StorageFull.into();
            let mut teller = Teller::default();
            teller.works();
            for _ in 0..3 {
                teller.broken(&full);
            }
            teller.broken(&io::Error::from_raw_os_error(5));
            for _ in 0..3 {
                teller.works();
                teller.limit(100);
                teller.live(95, 100);
            }
            teller.live(80, 100);
            for _ in 0..3 {
                teller.compaction(&Err(io::ErrorKind::StorageFull.into()));
            }
            teller.compaction(&Ok(()));
            teller.compaction(&Err(io::ErrorKind::StorageFull.into()));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said = ["cannot be written", "written again", "is full", "has room", "cannot be compacted"];
        assert_eq!(said.map(|words| text.matches(words).count()), [2, 1, 1, 1, 2], "{text}");
        assert!(text.contains("reason=\"full\"") && text.contains("reason=\"io\""), "{text}");
    }
}
