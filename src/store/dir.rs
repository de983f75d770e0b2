//! The folder that kmend keeps its state in. One kmend a folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// The folder of a system service or a container.
const SYSTEM: &str = "/var/lib/kmend";

/// A folder that is this process's own for as long as the value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens (and makes) a folder that the configuration names.
    pub fn open(path: &Path) -> Result<StateDir, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io)?;
        let file = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(io)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateDir { path: path.to_owned(), _lock: lock }),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Err(StoreError::Locked { path: path.to_owned() }),
            Err(e) => Err(io(io::Error::from(e))),
        }
    }

    /// The folder for `auto`: `/var/lib/kmend`, else the user's state folder; in it one folder for
    /// each listen address, so that several kmends on one host do not meet.
    pub fn auto(listen: &str) -> Result<StateDir, StoreError> {
        let name: String =
            listen.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        let mut last = None;
        for base in bases() {
            match StateDir::open(&base.join(&name)) {
                Ok(dir) => return Ok(dir),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::Io { path: SYSTEM.into(), source: io::ErrorKind::NotFound.into() }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folders that `auto` looks at, best first.
pub fn bases() -> Vec<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let user = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".local/state")));
    std::iter::once(PathBuf::from(SYSTEM)).chain(user.map(|u| u.join("kmend"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kmend_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        assert!(matches!(StateDir::open(dir.path()), Err(StoreError::Locked { .. })));
        drop(first);
        assert!(StateDir::open(dir.path()).is_ok());
    }
}
