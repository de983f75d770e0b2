//! The few things that the journal asks of a disk, so that tests can let each of them fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::store::os::{cut, identity, identity_at, sync_folder};

pub(super) trait Disk: Send {
    /// All that is there.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// After an error any part of it may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts what is behind the first `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// What was appended, cut and replaced survives a power cut. After an error this is not known of
    /// what came since the last success, whatever later calls return.
    fn sync(&mut self) -> io::Result<()>;
    /// Other contents instead, whole or not at all, synced before they are seen. After an error the
    /// old ones stand. That they, and not the old ones, survive a power cut is for `sync` to say.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A file that is open for appending.
#[derive(Debug)]
pub(super) struct FileDisk {
    path: PathBuf,
    file: File,
    /// Whether the file is still the one that its name leads to.
    id: (u64, u64),
    is_folder_synced: bool,
}

impl FileDisk {
    /// Opens or makes it.
    pub(super) fn open(path: &Path) -> io::Result<FileDisk> {
        let file = File::options().create(true).append(true).open(path)?;
        let id = identity(&file)?;
        Ok(FileDisk { path: path.to_owned(), file, id, is_folder_synced: false })
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        if !self.is_folder_synced {
            sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
            self.is_folder_synced = true;
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        // A removed file takes bytes as any other, and nobody ever reads them.
        if identity_at(&self.path)? != self.id {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name"));
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        cut(&self.file, &self.path, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_folder()?;
        self.file.sync_data()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        match identity_at(&self.path) {
            Ok(there) if there == self.id => {}
            // The folder was removed and is back. Another kmend may have it now.
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "another file has its name")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let temporary = self.path.with_extension("tmp");
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let made = || -> io::Result<(File, (u64, u64))> {
            let mut file = File::options().create_new(true).append(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            let id = identity(&file)?;
            fs::rename(&temporary, &self.path)?;
            Ok((file, id))
        }();
        match made {
            Ok((file, id)) => {
                self.file = file;
                self.id = id;
                self.is_folder_synced = false;
                // Tried here for those who never sync; who does is told then.
                let _ = self.sync_folder();
                Ok(())
            }
            Err(e) => {
                // It would take room on a full disk.
                let _ = fs::remove_file(&temporary);
                Err(e)
            }
        }
    }
}
