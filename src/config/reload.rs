//! Reading the configuration again: all of it, or nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::error::ConfigError;
use super::load::{Loaded, Sources, load};
use super::model::Config;
use super::running::{Diff, Running};

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part of kmend cannot live with the new value.
    #[error("{0}")]
    Refused(#[source] Box<dyn std::error::Error + Send + std::marker::Sync>),
}

/// How a reload went, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reloaded {
    /// Seconds since 1970.
    pub at: f64,
    /// `false`: nothing has changed, see `error`.
    pub ok: bool,
    /// `key: old -> new`.
    pub changed: Vec<String>,
    /// As `changed`; the old value stays in force until kmend is started again.
    pub needs_restart: Vec<String>,
    pub error: Option<String>,
}

impl Reloaded {
    pub fn new(outcome: Result<&Diff, &ReloadError>) -> Reloaded {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut reloaded =
            Reloaded { at, ok: outcome.is_ok(), changed: Vec::new(), needs_restart: Vec::new(), error: None };
        match outcome {
            Ok(diff) => {
                for change in &diff.changes {
                    let said = format!("{}: {} -> {}", change.key, change.from, change.to);
                    if change.needs_restart { &mut reloaded.needs_restart } else { &mut reloaded.changed }.push(said);
                }
            }
            Err(error) => reloaded.error = Some(error.to_string()),
        }
        reloaded
    }
}

/// Reads the same sources again and puts the result in force. `prepare` may refuse the new value
/// (a certificate that cannot be used); then, as with any mistake, everything stays as it is.
///
/// Files are read here: call it where a short wait for the disk is harmless.
pub fn reload<E>(
    sources: &Sources,
    running: &Running,
    prepare: impl FnOnce(&Config) -> Result<(), E>,
) -> Result<(Diff, Vec<String>), ReloadError>
where
    E: std::error::Error + Send + std::marker::Sync + 'static,
{
    let loaded: Loaded = load(sources)?;
    prepare(&loaded.config).map_err(|error| ReloadError::Refused(Box::new(error)))?;
    let notes = loaded.notes.clone();
    Ok((running.replace_loaded(loaded), notes))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::super::model::Mode;
    use super::*;

    fn accept(_: &Config) -> Result<(), Infallible> {
        Ok(())
    }

    #[test]
    fn all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kmend.yaml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("upstream: {bootstrap: kafka:9092}\n");
        let sources = Sources { files: vec![file.clone()], ..Sources::default() };
        let running = Running::new(load(&sources).unwrap());
        let before = running.current();

        write("upstream: {bootstrap: kafka:9092}\nlog: {level: debug}\nmenders: {offset_reset: {mode: of}}\n");
        assert!(reload(&sources, &running, accept).is_err());
        assert_eq!(running.current(), before);

        write("upstream: {bootstrap: kafka:9092}\nmenders: {offset_reset: {mode: off}}\n");
        let refuse = |_: &Config| Err(io::Error::other("no"));
        assert!(reload(&sources, &running, refuse).is_err());
        assert_eq!(running.current(), before);

        let (diff, _) = reload(&sources, &running, accept).unwrap();
        assert_eq!(diff.changes.len(), 1);
        assert_eq!(running.current().menders.offset_reset.mode, Mode::Off);
    }
}
