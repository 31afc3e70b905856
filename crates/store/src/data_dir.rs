//! The directory of a store: whose it is, and that only one process uses it.
//!
//! `ursa-store` names the format; while a new store is being made it is called `ursa-store.new`, so that a crash there
//! leaves a directory that can be told from anyone else's. `log/` belongs to the engine.
//! Invariant: a directory that is refused has not been changed.

use crate::open_error::OpenError;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const MARKER: &str = "ursa-store";
const NEW_MARKER: &str = "ursa-store.new";
const FORMAT: &str = "2\n";
const ENGINE: &str = "log";

/// The data directory of a server, and what it lies in.
const PARENTS_MADE_MAX: usize = 2;

/// A directory that this process may use alone, until the value is dropped.
pub(crate) struct DataDir {
    path: PathBuf,
    /// Holds the lock.
    directory: File,
    new: bool,
}

impl DataDir {
    /// Locks a directory that is Ursa's or empty; makes it if it is missing.
    pub(crate) fn claim(path: &Path) -> Result<DataDir, OpenError> {
        let unreadable = |error: io::Error| OpenError::unreadable(path, &error);
        // Objects hold secrets: no one else may read them.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => OpenError::Foreign { dir: path.to_owned() },
            _ => unreadable(error),
        })?;
        sync_parents(path).map_err(unreadable)?;
        let directory = File::open(path).map_err(unreadable)?;
        directory.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { dir: path.to_owned() },
            TryLockError::Error(error) => unreadable(error),
        })?;
        let new = match fs::read(path.join(MARKER)) {
            Ok(format) if format == FORMAT.as_bytes() => false,
            Ok(format) => {
                let found = String::from_utf8_lossy(&format).chars().take(20).collect();
                return Err(OpenError::Format { dir: path.to_owned(), found });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(OpenError::unreadable(&path.join(MARKER), &error)),
        };
        let claimed = DataDir { path: path.to_owned(), directory, new };
        if new {
            claimed.begin()?;
        }
        Ok(claimed)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the store is still to be made in it.
    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Declares a new directory a complete store.
    pub(crate) fn complete(&mut self) -> Result<(), OpenError> {
        if self.new {
            let renamed = fs::rename(self.path.join(NEW_MARKER), self.path.join(MARKER));
            renamed.and_then(|()| self.directory.sync_all()).map_err(|e| OpenError::unreadable(&self.path, &e))?;
            self.new = false;
        }
        Ok(())
    }

    /// Starts to make a store in an empty directory, or again where a crash has interrupted that.
    fn begin(&self) -> Result<(), OpenError> {
        let unreadable = |error: io::Error| OpenError::unreadable(&self.path, &error);
        let interrupted = self.path.join(NEW_MARKER).try_exists().map_err(unreadable)?;
        if !interrupted && fs::read_dir(&self.path).map_err(unreadable)?.next().is_some() {
            return Err(OpenError::Foreign { dir: self.path.clone() });
        }
        let mut marker = File::create(self.path.join(NEW_MARKER)).map_err(unreadable)?;
        marker.write_all(FORMAT.as_bytes()).and_then(|()| marker.sync_all()).map_err(unreadable)?;
        match fs::remove_dir_all(self.engine()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unreadable(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Syncs the names of a directory and of those above it that may have been made with it. One that this process may not
/// open was there before.
fn sync_parents(path: &Path) -> io::Result<()> {
    for parent in path.ancestors().skip(1).take(PARENTS_MADE_MAX) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
