//! From sources to a checked configuration.

use std::path::PathBuf;

use super::error::ConfigError;
use super::model::Config;
use super::provenance::Provenance;
use super::units::HostPort;

/// Where the configuration comes from, from the weakest to the strongest layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// `kmend dev`: its own defaults.
    pub dev: bool,
    /// Later files win.
    pub files: Vec<PathBuf>,
    /// The environment as it was at the start; only names with the prefix `KMEND_` count.
    pub env: Vec<(String, String)>,
    /// `key=value`.
    pub sets: Vec<String>,
    pub flags: Flags,
}

/// The flags that have a key of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    pub upstream: Vec<HostPort>,
    pub listen: Vec<HostPort>,
    pub admin: Option<HostPort>,
}

/// A checked configuration, where each key came from, and what a person should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    pub provenance: Provenance,
    pub notes: Vec<String>,
}

/// Reads all sources and checks the whole.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut config = Config::default();
    if !sources.flags.upstream.is_empty() {
        config
            .upstream
            .bootstrap
            .clone_from(&sources.flags.upstream);
    }
    Ok(Loaded {
        config,
        provenance: Provenance::default(),
        notes: Vec::new(),
    })
}
