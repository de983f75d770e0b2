//! The configuration in force: one immutable value that a reload swaps whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::load::Loaded;
use super::model::Config;
use super::provenance::Provenance;

/// Keys that only a restart changes: sockets and files that are open, and the log's form.
const RESTART: [&[&str]; 4] = [&["listen"], &["admin"], &["log", "format"], &["menders", "commit_buffer", "journal"]];

/// The configuration in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Running {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ArcSwap<Config>,
    provenance: ArcSwap<Provenance>,
    swaps: watch::Sender<u64>,
}

/// One key that a new configuration has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub from: String,
    pub to: String,
    /// It takes effect only after a restart; until then the old value stays in force.
    pub needs_restart: bool,
}

/// What a new configuration changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    pub changes: Vec<Change>,
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn needs_restart(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.needs_restart)
    }
}

impl Running {
    pub fn new(loaded: Loaded) -> Self {
        Self {
            inner: Arc::new(Inner {
                config: ArcSwap::from_pointee(loaded.config),
                provenance: ArcSwap::from_pointee(loaded.provenance),
                swaps: watch::Sender::new(0),
            }),
        }
    }

    /// The value in force now. Take it once per decision: two calls may see two values.
    pub fn current(&self) -> Arc<Config> {
        self.inner.config.load_full()
    }

    pub fn provenance(&self) -> Arc<Provenance> {
        self.inner.provenance.load_full()
    }

    /// Counts swaps: wakes those who keep something that they derived from the value.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.swaps.subscribe()
    }

    /// Puts a new value in force, but for the keys that need a restart, and says what changed.
    pub fn replace(&self, config: Config) -> Diff {
        let provenance = Provenance::clone(&self.inner.provenance.load());
        self.install(config, provenance)
    }

    /// [`Running::replace`], with where the new value came from.
    pub fn replace_loaded(&self, loaded: Loaded) -> Diff {
        self.install(loaded.config, loaded.provenance)
    }

    fn install(&self, mut config: Config, mut provenance: Provenance) -> Diff {
        let old = self.current();
        let changes = super::flat::changes(&old, &config, needs_restart);
        config.listen = old.listen.clone();
        config.admin = old.admin.clone();
        config.log.format = old.log.format;
        config.menders.commit_buffer.journal = old.menders.commit_buffer.journal.clone();
        provenance.retain_from(&self.inner.provenance.load(), needs_restart);
        self.inner.config.store(Arc::new(config));
        self.inner.provenance.store(Arc::new(provenance));
        self.inner.swaps.send_modify(|count| *count += 1);
        Diff { changes }
    }
}

fn needs_restart(path: &[String]) -> bool {
    RESTART.iter().any(|prefix| path.len() >= prefix.len() && prefix.iter().zip(path).all(|(a, b)| a == b))
}

#[cfg(test)]
mod tests {
    use super::super::model::Mode;
    use super::super::units::{ByteSize, HostPort};
    use super::*;

    fn running() -> Running {
        Running::new(Loaded { config: Config::default(), provenance: Provenance::default(), notes: Vec::new() })
    }

    #[test]
    fn a_swap_says_what_changed() {
        let running = running();
        let swaps = running.subscribe();
        let mut config = Config::default();
        config.menders.offset_reset.mode = Mode::Observe;
        let diff = running.replace(config);
        assert_eq!(
            diff.changes,
            [Change {
                key: "menders.offset_reset.mode".into(),
                from: "repair".into(),
                to: "observe".into(),
                needs_restart: false,
            }]
        );
        assert_eq!(running.current().menders.offset_reset.mode, Mode::Observe);
        assert_eq!(*swaps.borrow(), 1);
        assert!(running.replace(Config::clone(&running.current())).is_empty());
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_is() {
        let running = running();
        let mut config = Config::default();
        config.listen.address = vec![HostPort::new("127.0.0.1", 1)];
        config.log.level = "debug".into();
        config.menders.commit_buffer.journal.max_bytes = ByteSize::mib(1);
        config.menders.commit_buffer.write_behind.enabled = true;
        let diff = running.replace(config);
        let mut keys: Vec<_> = diff.needs_restart().map(|c| c.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["listen.address", "menders.commit_buffer.journal.max_bytes"]);
        let buffer = &running.current().menders.commit_buffer;
        assert_eq!(buffer.journal, Config::default().menders.commit_buffer.journal);
        assert!(buffer.write_behind.enabled);
        assert_eq!(running.current().listen, Config::default().listen);
        assert_eq!(running.current().log.level, "debug");
    }
}
