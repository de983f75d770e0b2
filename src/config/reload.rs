//! Reading the configuration again: all of it, or nothing.

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
