//! Noticing that files have changed, on every file system, through every kind of swap.
//!
//! Their stamps are looked at twice a second on a thread of its own. No notifications of the system: a
//! network file system sends none, and behind Kubernetes' chain of links (`tls.crt -> ..data/tls.crt`,
//! `..data -> ..2026_11_21`, swapped by a rename) the file itself never changes. A change counts once it
//! has stood still from one look to the next, so that a certificate and its key, or a file that is being
//! written, are not read half way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// Files that never stand still are read all the same after so many looks.
const RESTLESS: u32 = 3;
/// Looks until what could not be used is tried again, though nothing has changed: 10 s.
const AGAIN: u32 = 20;

/// Why the files are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They are not what they were; also the first time.
    Changed,
    /// They could not be used, and have not changed since: what was short then may be there now.
    Again,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _stop: Sender<()>,
}

/// Files that belong together, and who reads them.
pub struct Watched {
    files: Box<dyn Fn() -> Vec<PathBuf> + Send>,
    read: Box<dyn FnMut(Look) -> bool + Send>,
    state: State,
}

impl Watched {
    /// The files that `files` names, which may be others each time; `read` hears of a change, once soon after the
    /// start also without one, and says whether the files could be used.
    pub fn new(
        files: impl Fn() -> Vec<PathBuf> + Send + 'static,
        read: impl FnMut(Look) -> bool + Send + 'static,
    ) -> Watched {
        Watched { files: Box::new(files), read: Box::new(read), state: State::default() }
    }

    fn look(&mut self) {
        if let Some(look) = self.state.look(Stamps::of(&(self.files)())) {
            self.state.done((self.read)(look));
        }
    }
}

impl Watch {
    /// Watches all of them, on one thread.
    pub fn start(mut all: Vec<Watched>) -> io::Result<Watch> {
        let (stop, stopped) = mpsc::channel::<()>();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                all.iter_mut().for_each(Watched::look);
            }
        })?;
        Ok(Watch { _stop: stop })
    }
}

/// What was seen, and what is to be done about it. No clock, no files.
#[derive(Debug, Default)]
struct State {
    /// As they were when they were read last.
    read: Option<Stamps>,
    last: Option<Stamps>,
    /// Looks since they stood still.
    restless: u32,
    /// They could not be used: looks since then.
    failed: Option<u32>,
}

impl State {
    /// One more look; whether the files are to be read now.
    fn look(&mut self, now: Stamps) -> Option<Look> {
        let still = self.last.as_ref() == Some(&now);
        if self.read.as_ref() == Some(&now) {
            self.restless = 0;
            self.last = Some(now);
            let failed = self.failed.as_mut()?;
            *failed += 1;
            return (*failed >= AGAIN).then_some(Look::Again);
        }
        self.restless += 1;
        self.last = Some(now.clone());
        if !still && self.restless < RESTLESS {
            return None;
        }
        self.restless = 0;
        self.read = Some(now);
        Some(Look::Changed)
    }

    fn done(&mut self, usable: bool) {
        self.failed = (!usable).then_some(0);
    }
}

/// What files look like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    /// Where the links lead to.
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and the change of either or of the file's rights, in seconds and nanoseconds.
    inode: (u64, u64, i64, i64),
}

impl Stamps {
    fn of(files: &[PathBuf]) -> Stamps {
        Stamps(files.iter().map(|file| (file.clone(), Stamp::of(file).ok())).collect())
    }
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Stamp> {
        let path = fs::canonicalize(file)?;
        let metadata = fs::metadata(&path)?;
        Ok(Stamp { path, size: metadata.len(), modified: metadata.modified().ok(), inode: inode(&metadata) })
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;

    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(dir: &tempfile::TempDir) -> Stamps {
        Stamps::of(&["tls.crt", "tls.key"].map(|name| dir.path().join(name)))
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    /// Different texts stand for different stamps.
    fn seen(text: &str) -> Stamps {
        Stamps(vec![(text.into(), None)])
    }

    #[test]
    fn a_change_counts_when_it_stands_still() {
        let mut state = State::default();
        assert_eq!(state.look(seen("a")), None);
        assert_eq!(state.look(seen("a")), Some(Look::Changed));
        state.done(true);
        assert_eq!(state.look(seen("a")), None);
        assert_eq!(state.look(seen("b")), None);
        assert_eq!(state.look(seen("c")), None);
        assert_eq!(state.look(seen("c")), Some(Look::Changed));
        state.done(true);
        // There and back again between two looks.
        assert_eq!(state.look(seen("d")), None);
        assert_eq!(state.look(seen("c")), None);
        assert_eq!(state.look(seen("c")), None);
    }

    #[test]
    fn what_never_stands_still_is_read_all_the_same() {
        let mut state = State::default();
        let looks: Vec<bool> = (0..6).map(|n| state.look(seen(&n.to_string())).is_some()).collect();
        assert_eq!(looks, [false, false, true, false, false, true]);
    }

    #[test]
    fn what_cannot_be_used_is_tried_again_now_and_then() {
        let mut state = State::default();
        state.look(seen("a"));
        assert_eq!(state.look(seen("a")), Some(Look::Changed));
        state.done(false);
        let again = |state: &mut State| (0..AGAIN).map(|_| state.look(seen("a"))).collect::<Vec<_>>();
        let mut wanted = vec![None; AGAIN as usize];
        wanted[AGAIN as usize - 1] = Some(Look::Again);
        assert_eq!(again(&mut state), wanted);
        state.done(false);
        assert_eq!(again(&mut state), wanted);
        state.done(true);
        assert_eq!(again(&mut state), vec![None; AGAIN as usize]);
    }

    #[test]
    fn stamps_tell_every_way_to_change_a_file() {
        let dir = folder();
        let file = dir.path().join("tls.crt");
        let before = stamps(&dir);
        assert_eq!(stamps(&dir), before);
        // Written in place, of the same size.
        fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let written = stamps(&dir);
        assert_ne!(written, before);
        // Replaced by a rename, with the same size and time.
        let other = dir.path().join("other");
        fs::write(&other, "tls.crt").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&other, &file).unwrap();
        let replaced = stamps(&dir);
        assert_ne!(replaced, written);
        fs::remove_file(&file).unwrap();
        let removed = stamps(&dir);
        assert_ne!(removed, replaced);
        assert_eq!(stamps(&dir), removed);
    }

    /// `tls.crt -> ..data/tls.crt`, `..data -> ..one`, then `..data -> ..two` by a rename.
    #[cfg(unix)]
    #[test]
    fn stamps_see_through_the_links_of_kubernetes() {
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        for version in ["..one", "..two"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            for name in ["tls.crt", "tls.key"] {
                fs::write(dir.path().join(version).join(name), "the same").unwrap();
            }
        }
        symlink("..one", dir.path().join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), dir.path().join(name)).unwrap();
        }
        let before = stamps(&dir);
        symlink("..two", dir.path().join("..data_tmp")).unwrap();
        assert_eq!(stamps(&dir), before);
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        assert_ne!(stamps(&dir), before);
    }

    #[test]
    fn the_thread_looks_and_ends() {
        let dir = folder();
        let files = vec![dir.path().join("tls.crt")];
        let (told, looks) = mpsc::channel();
        let watch =
            Watch::start(vec![Watched::new(move || files.clone(), move |look| told.send(look).is_ok())]).unwrap();
        let patience = Duration::from_secs(20);
        assert_eq!(looks.recv_timeout(patience), Ok(Look::Changed));
        fs::write(dir.path().join("tls.crt"), "longer than before").unwrap();
        assert_eq!(looks.recv_timeout(patience), Ok(Look::Changed));
        drop(watch);
        assert_eq!(looks.recv_timeout(patience), Err(RecvTimeoutError::Disconnected));
    }
}
