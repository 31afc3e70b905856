//! A file system in memory for tests, mounted by FUSE, with the faults of a disk: it loses its power, a sync fails, it is
//! full.
//!
//! A power loss keeps what was synced, and of the rest any blocks of any writes, as a disk that writes in its own order
//! does. Names in a directory count once the directory is synced. All chance comes from a seed.

mod disk;
mod fuse;

use disk::Disk;
use fuser::{BackgroundSession, Config, MountOption};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A mounted file system. Dropping it takes it away.
pub struct FaultFs {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl FaultFs {
    /// Mounts an empty file system at a directory. `Err` where FUSE cannot be used.
    pub fn mount(path: &Path, seed: u64) -> io::Result<FaultFs> {
        let disk = Arc::new(Mutex::new(Disk::new(seed)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("faultfs".to_owned()), MountOption::NoDev, MountOption::NoSuid];
        let session = fuser::spawn_mount(fuse::Fuse(disk.clone()), path, &config)?;
        Ok(FaultFs { disk, path: path.to_owned(), session: Some(session) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs()
    }

    /// Lets the n-th sync from now fail: 1 is the next one. What it was to write may be lost, and later syncs succeed.
    pub fn fail_sync(&self, nth: u64) {
        self.disk.lock().fail_sync(nth);
    }

    /// Whether the sync that was to fail has failed.
    pub fn sync_has_failed(&self) -> bool {
        self.disk.lock().sync_has_failed()
    }

    /// How many bytes files may have together.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().set_capacity(bytes);
    }

    /// Takes the power away: from now on nothing can be read or written.
    pub fn cut_power(&self) {
        self.disk.lock().cut_power();
    }

    /// Takes the power away at the n-th write or sync from now, in the middle of it.
    pub fn cut_power_after(&self, operations: u64) {
        self.disk.lock().cut_power_after(operations);
    }

    pub fn has_power(&self) -> bool {
        self.disk.lock().has_power()
    }

    /// Gives the power back. What was not synced is there in part.
    pub fn restore_power(&self) {
        self.disk.lock().restore_power();
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        // Nothing waits on a file of a file system that is gone.
        drop(self.session.take().map(BackgroundSession::umount_and_join));
    }
}
