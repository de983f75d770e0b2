//! What systems do differently about files, behind one interface with a Unix and a Windows form.

pub(super) use platform::{cut, identity, identity_at, sync_folder};

#[cfg(unix)]
mod platform {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// Device and inode: no two files that are there have the same.
    pub fn identity(file: &File) -> io::Result<(u64, u64)> {
        Ok(of(&file.metadata()?))
    }

    /// Of the file that the name leads to.
    pub fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
        Ok(of(&fs::metadata(path)?))
    }

    fn of(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }

    /// Cuts a file that is open for appending; `path` is its name.
    pub fn cut(file: &File, _path: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Names made and moved in the folder survive a power cut.
    pub fn sync_folder(folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use winapi_util::file::information;

    /// Serial number of the volume and index of the file in it.
    pub fn identity(file: &File) -> io::Result<(u64, u64)> {
        let found = information(file)?;
        Ok((found.volume_serial_number(), found.file_index()))
    }

    /// Of the file that the name leads to.
    pub fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
        identity(&File::open(path)?)
    }

    /// Cuts a file that is open for appending; `path` is its name. Appending alone gives no right to
    /// cut, so the file is opened once more.
    pub fn cut(file: &File, path: &Path, length: u64) -> io::Result<()> {
        let writable = File::options().write(true).open(path)?;
        if identity(&writable)? != identity(file)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name"));
        }
        writable.set_len(length)
    }

    /// Folders cannot be synced here: NTFS keeps names in a journal of its own.
    pub fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
