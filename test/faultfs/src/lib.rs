//! A file system in memory for tests, mounted by FUSE, with the faults of a disk: it loses its power, a sync, a read or a
//! write fails, it is full, and reads and writes are cut short or interrupted.
//!
//! A power loss keeps what was synced, and of the rest any blocks of any writes, as a disk that writes in its own order
//! does. Names in a directory count once the directory is synced. All chance comes from a seed.

mod disk;
mod fuse;

use disk::Disk;
use fuser::{BackgroundSession, Config, MountOption};
use nix::mount::{MntFlags, umount2};
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

    /// Lets the n-th read or write from now fail: 1 is the next one.
    pub fn fail_operation(&self, nth: u64) {
        self.disk.lock().fail_operation(nth);
    }

    /// Whether what was to fail last has failed.
    pub fn has_failed(&self) -> bool {
        self.disk.lock().has_failed()
    }

    /// From now on, of so many reads and writes one is interrupted by a signal and one is cut short, by chance; 0 for none.
    pub fn irritate(&self, one_of: u64) {
        self.disk.lock().irritate(one_of);
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
        // Detached, not unmounted: while another thread starts a process, that one holds what is open here, and the file
        // system would count as busy and stay.
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
        drop(self.session.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, read_to_string};

    #[test]
    fn what_is_still_open_does_not_keep_it_mounted() {
        let dir = std::env::temp_dir().join(format!("faultfs-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        match FaultFs::mount(&dir, 0) {
            Ok(fs) => {
                let open = File::create(dir.join("open")).expect("a file");
                drop(fs);
                let mounts = read_to_string("/proc/self/mountinfo").expect("mounts");
                assert!(!mounts.contains(&*dir.to_string_lossy()), "{mounts}");
                drop(open);
            }
            Err(error) => println!("skipped: FUSE cannot be used ({error})"),
        }
        std::fs::remove_dir(&dir).expect("nothing is left in it");
    }
}
