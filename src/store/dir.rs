//! The folder that kmend keeps its state in. One kmend a folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;

/// The folder of a system service or a container.
#[cfg(not(windows))]
const SYSTEM: &str = "/var/lib/kmend";
#[cfg(windows)]
const SYSTEM: &str = r"C:\ProgramData\kmend";

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
        match lock.try_lock() {
            Ok(()) => Ok(StateDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(io(e)),
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
    #[cfg(not(windows))]
    let user = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".local/state")));
    #[cfg(windows)]
    let user = absolute("LOCALAPPDATA");
    std::iter::once(PathBuf::from(SYSTEM)).chain(user.map(|u| u.join("kmend"))).collect()
}

/// The files of that name in a state folder or, where it has none, in the folders in it.
pub fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let file = folder.join(name);
    if file.exists() {
        return vec![file];
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| e.path().join(name)).filter(|file| file.exists()).collect();
    files.sort();
    files
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
