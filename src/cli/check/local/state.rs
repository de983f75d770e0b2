//! The state folder: can kmend write there?

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::check::report::{Fault, Scope, Step};
use crate::cli::checkpoints::configured;
use crate::config::Config;
use crate::config::units::Auto;

const NAME: &str = "state_folder";

pub(super) fn folder(config: &Config) -> Step {
    let buffer = &config.menders.commit_buffer;
    let is_chosen = matches!(buffer.journal.dir, Auto::Set(_));
    let mut why = String::new();
    for folder in configured(config) {
        match writable(&folder) {
            Ok(()) => return Step::ok(Scope::Kmend, NAME, format!("{} can be written", folder.display())),
            Err((at, error)) => {
                let at = if at == folder { String::new() } else { format!("{}: ", at.display()) };
                why = format!("{} cannot be written: {at}{error}", folder.display());
            }
        }
    }
    let todo = "let it belong to kmend's user (securityContext.fsGroup in Kubernetes), mount a volume there, or set \
                menders.commit_buffer.journal.dir to another folder";
    let fault = Fault::ours("state_folder", why, todo);
    // Without write-behind `auto` may do without a folder: what is lost then is told at the start.
    if is_chosen || buffer.write_behind.enabled {
        Step::fail(Scope::Kmend, NAME, fault)
    } else {
        Step::warn(Scope::Kmend, NAME, fault)
    }
}

/// Tries with a file of its own; leaves nothing behind. Where the folder is still to be made, the one above counts.
fn writable(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let mut at = folder;
    loop {
        match fs::metadata(at) {
            Ok(meta) if meta.is_dir() => break,
            Ok(_) => return Err((at.to_owned(), io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match at.parent() {
                Some(above) if !above.as_os_str().is_empty() => at = above,
                // A relative name: the working folder.
                Some(_) if at.is_relative() => {
                    at = Path::new(".");
                }
                _ => return Err((at.to_owned(), error)),
            },
            Err(error) => return Err((at.to_owned(), error)),
        }
    }
    let probe = at.join(format!(".kmend-check-{}", std::process::id()));
    File::options()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|file| {
            drop(file);
            fs::remove_file(&probe)
        })
        .map_err(|error| (at.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(dir.path()).is_ok());
        assert!(writable(&dir.path().join("not/yet/there")).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("file"), "").unwrap();
        let (at, error) = writable(&dir.path().join("file/below")).unwrap_err();
        assert!(at.ends_with("file/below") || at.ends_with("file"), "{at:?}");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
