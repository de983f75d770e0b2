//! Where each key's value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The place that a value was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// `kmend dev` sets it.
    Dev,
    File {
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
    },
    /// The name of the variable.
    Env(String),
    /// The flag as it was written: `--set log.level`, `--upstream`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Dev => f.write_str("kmend dev"),
            // The file as a whole.
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A key as its parts; a topic pattern with dots is one part.
pub type KeyPath = Vec<String>;

/// Origins by key; a key that is not in it has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    origins: BTreeMap<KeyPath, Origin>,
}

impl Provenance {
    /// Records a key that a layer sets; what an earlier layer wrote below or above it is gone.
    pub(super) fn set(&mut self, path: &[String], origin: Origin) {
        self.origins.retain(|known, _| !known.starts_with(path) && !path.starts_with(known));
        self.origins.insert(path.to_vec(), origin);
    }

    /// Keeps what `other` says about the keys that `keep` names.
    pub(super) fn retain_from(&mut self, other: &Self, keep: impl Fn(&[String]) -> bool) {
        self.origins.retain(|path, _| !keep(path));
        for (path, origin) in other.origins.iter().filter(|(path, _)| keep(path)) {
            self.origins.insert(path.clone(), origin.clone());
        }
    }

    /// Where the value of a key came from: its own place, that of what holds it, or of what it holds.
    pub fn of(&self, path: &[String]) -> Origin {
        self.find(path).cloned().unwrap_or(Origin::Default)
    }

    /// Like [`Provenance::of`], for a key in dotted form (`listen.address`).
    pub fn of_key(&self, key: &str) -> Origin {
        self.of(&split_key(key))
    }

    /// Whether somebody wrote this key, or one below it.
    pub fn is_set(&self, key: &str) -> bool {
        self.find(&split_key(key)).is_some()
    }

    fn find(&self, path: &[String]) -> Option<&Origin> {
        (0..=path.len())
            .rev()
            .find_map(|length| self.origins.get(path.get(..length)?))
            .or_else(|| self.origins.iter().find(|(known, _)| known.starts_with(path)).map(|(_, origin)| origin))
    }
}

/// `listen.address` as its parts; a part with dots is quoted: `topics."orders.eu"`.
pub(super) fn split_key(key: &str) -> KeyPath {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// The other way round.
pub(super) fn join_key(path: &[String]) -> String {
    path.iter()
        .map(|part| if part.contains('.') || part.is_empty() { format!("\"{part}\"") } else { part.clone() })
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_are_quoted() {
        let key = "menders.offset_reset.topics.\"orders.*\".mode";
        let path = split_key(key);
        assert_eq!(path.len(), 5);
        assert_eq!(join_key(&path), key);
    }

    #[test]
    fn a_later_layer_replaces_what_it_covers() {
        let mut provenance = Provenance::default();
        provenance.set(&split_key("a.b"), Origin::Env("B".into()));
        provenance.set(&split_key("a.c"), Origin::Env("C".into()));
        provenance.set(&split_key("a.b.d"), Origin::Env("D".into()));
        assert_eq!(provenance.of_key("a.b"), Origin::Env("D".into()));
        assert_eq!(provenance.of_key("a.b.d"), Origin::Env("D".into()));
        assert_eq!(provenance.of_key("a.b.x"), Origin::Default);
        assert_eq!(provenance.of_key("a.c.x"), Origin::Env("C".into()));
        assert!(!provenance.is_set("b"));
    }
}
