//! A disk in memory: it can fail, hold a sync back, lose its power, and have a record altered.

use super::DEADLINE;
use crate::engine::{Change, Durability, Engine, Failed, Visit};
use crate::open_error::OpenError;
use crate::snapshot::State;
use api::Revision;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Default)]
pub(super) struct Disk(Arc<(Mutex<Content>, Condvar)>);

#[derive(Default)]
struct Content {
    written: Files,
    synced: Files,
    synced_revision: Revision,
    syncs: u64,
    failing: bool,
    full: bool,
    held: bool,
    waiting: bool,
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk::default()
    }

    /// A disk with what is synced, or all that is written.
    fn with(files: Files) -> Disk {
        let disk = Disk::new();
        disk.0.0.lock().written = files;
        disk
    }

    /// What is left after the power has failed now.
    pub(super) fn after_power_loss(&self) -> Disk {
        Disk::with(self.0.0.lock().synced.clone())
    }

    /// What is left after the process was killed now.
    pub(super) fn after_kill(&self) -> Disk {
        Disk::with(self.0.0.lock().written.clone())
    }

    pub(super) fn syncs(&self) -> u64 {
        self.0.0.lock().syncs
    }

    /// From now on nothing can be written.
    pub(super) fn fail(&self) {
        self.0.0.lock().failing = true;
    }

    /// Whether there is no room from now on.
    pub(super) fn set_full(&self, full: bool) {
        self.0.0.lock().full = full;
    }

    /// Holds writes back until [`Disk::release`].
    pub(super) fn hold(&self) {
        self.0.0.lock().held = true;
    }

    /// Waits until a write is held back.
    pub(super) fn wait_held(&self) {
        self.wait(|content| content.waiting);
    }

    pub(super) fn release(&self) {
        self.0.0.lock().held = false;
        self.0.1.notify_all();
    }

    /// Waits until everything up to a revision is synced.
    pub(super) fn wait_synced(&self, revision: Revision) {
        self.wait(|content| content.synced_revision >= revision);
    }

    /// Changes the stored record of a key.
    pub(super) fn alter(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.0.lock().written.get_mut(key).expect("a stored record"));
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.0.0.lock().written.keys().cloned().collect()
    }

    fn wait(&self, until: impl Fn(&Content) -> bool) {
        let (content, changed) = &*self.0;
        let mut content = content.lock();
        let timeout = changed.wait_while_for(&mut content, |content| !until(content), DEADLINE);
        assert!(!timeout.timed_out(), "the disk is still at revision {}", content.synced_revision);
    }
}

impl Engine for Disk {
    fn load(&mut self, visit: Visit<'_>) -> Result<Revision, OpenError> {
        let content = self.0.0.lock();
        let visited = content.written.iter().try_for_each(|(key, record)| visit(key.as_bytes(), Some(record)));
        visited.map_err(|what| OpenError::damaged(Path::new("/data"), what))?;
        Ok(content.synced_revision)
    }

    fn commit(&mut self, changes: &[Change], revision: Revision, durability: Durability) -> Result<(), Failed> {
        let (content, changed) = &*self.0;
        let mut content = content.lock();
        content.waiting = content.held;
        changed.notify_all();
        changed.wait_while(&mut content, |content| content.held);
        content.waiting = false;
        if content.failing {
            return Err(Failed::Broken("the disk is on fire".to_owned()));
        }
        if content.full {
            return Err(Failed::NoRoom("the disk is full".to_owned()));
        }
        for (key, record) in changes {
            match record {
                Some(record) => content.written.insert(key.clone(), record.clone()),
                None => content.written.remove(key),
            };
        }
        if durability == Durability::Synced {
            content.synced = content.written.clone();
            content.synced_revision = revision;
            content.syncs += 1;
        }
        changed.notify_all();
        Ok(())
    }

    fn tidy(&mut self, _: &State) -> Result<bool, Failed> {
        Ok(false)
    }
}
