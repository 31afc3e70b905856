//! The embedded engine: a log-structured tree, in one keyspace, and a note of what has been synced.
//!
//! The tree's own recovery ends a journal at the first entry that it cannot read, wherever that is. So the last synced
//! revision is noted in a file of its own after every sync: finding less than that means that entries were lost.
//! The note is not synced itself, and never says more than is true.

use crate::data_dir::DataDir;
use crate::engine::{Change, Durability, Engine, Failed, Visit};
use crate::journal;
use crate::open_error::OpenError;
use api::Revision;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const KEYSPACE: &str = "ursa";

/// Reads happen only while loading, in order, so that a cache is of no use.
const CACHE_BYTES: u64 = 1 << 20;

/// What the tree holds in memory before it writes a table: a trade of idle memory for write amplification.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// The least that the tree allows.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;

/// One thread flushes and compacts. With two, the first polls for as long as the other compacts.
const WORKERS: usize = 1;

pub(crate) struct Embedded {
    // Dropped in this order: the lock on the directory last.
    objects: Keyspace,
    database: Database,
    synced: Synced,
    dir: DataDir,
}

impl Embedded {
    pub(crate) fn open(dir: DataDir) -> Result<Embedded, OpenError> {
        let (database, objects) = match open_tree(&dir) {
            Err(OpenError::Damaged { .. }) => open_mended(&dir)?,
            opened => opened?,
        };
        let synced = Synced::open(dir.path())?;
        Ok(Embedded { objects, database, synced, dir })
    }

    fn write(&self, changes: Vec<Change>, durability: Durability) -> Result<(), fjall::Error> {
        let mode = match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        };
        if changes.is_empty() {
            return self.database.persist(mode);
        }
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, record) in changes {
            match record {
                Some(record) => batch.insert(&self.objects, key, record),
                None => batch.remove(&self.objects, key),
            }
        }
        batch.commit()
    }
}

fn open_tree(dir: &DataDir) -> Result<(Database, Keyspace), OpenError> {
    let opened = no_panic(dir.path(), || {
        let database = Database::builder(dir.engine())
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .journal_compression(CompressionType::None)
            .worker_threads(WORKERS)
            .manual_journal_persist(true)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let objects = database.keyspace(KEYSPACE, options)?;
        Ok((database, objects))
    });
    opened?.map_err(|error| refused(dir.path(), error))
}

/// Opens a tree that was refused as damaged without the last batch of its journal.
fn open_mended(dir: &DataDir) -> Result<(Database, Keyspace), OpenError> {
    let unreadable = |error| OpenError::unreadable(dir.path(), &error);
    let cut = journal::cut_last_batch(&dir.engine()).map_err(unreadable)?;
    let opened = open_tree(dir);
    match (&opened, cut) {
        (Err(_), Some(cut)) => cut.restore().map_err(unreadable)?,
        (Ok(_), Some(_)) => tracing::warn!("the journal ended in a torn batch, which was dropped"),
        (Ok(_) | Err(_), None) => {}
    }
    opened
}

impl Engine for Embedded {
    fn load(&mut self, visit: Visit<'_>) -> Result<Revision, OpenError> {
        let path = self.dir.path().to_owned();
        no_panic(&path, || {
            for entry in self.objects.iter() {
                let (key, record) = entry.into_inner().map_err(|error| refused(&path, error))?;
                visit(&key, &record)?;
            }
            self.dir.complete()?;
            Ok(self.synced.read())
        })?
    }

    fn commit(&mut self, changes: Vec<Change>, revision: Revision, durability: Durability) -> Result<(), Failed> {
        let failed = |why: String| Failed(format!("cannot write to {}: {why}", self.dir.path().display()));
        self.write(changes, durability).map_err(|error| failed(reason(&error)))?;
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.synced.note(revision).map_err(|error| failed(error.to_string())),
        }
    }
}

/// The file that says which revision has been synced: the number and its complement.
struct Synced(File);

impl Synced {
    const NAME: &str = "synced";

    fn open(dir: &Path) -> Result<Synced, OpenError> {
        let path = dir.join(Synced::NAME);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        file.map(Synced).map_err(|error| OpenError::unreadable(&path, &error))
    }

    fn note(&self, revision: Revision) -> io::Result<()> {
        let mut note = [0; 16];
        note[..8].copy_from_slice(&revision.to_le_bytes());
        note[8..].copy_from_slice(&(!revision).to_le_bytes());
        self.0.write_all_at(&note, 0)
    }

    /// 0 when there is no note, or only a part of one after a power loss.
    fn read(&self) -> Revision {
        let (mut revision, mut complement) = ([0; 8], [0; 8]);
        let found = self.0.read_exact_at(&mut revision, 0).and_then(|()| self.0.read_exact_at(&mut complement, 8));
        let revision = Revision::from_le_bytes(revision);
        if found.is_ok() && !revision == Revision::from_le_bytes(complement) { revision } else { 0 }
    }
}

/// The tree asserts some of what it expects on disk; to us that is damage as well.
fn no_panic<T>(dir: &Path, work: impl FnOnce() -> T) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        OpenError::damaged(dir, format!("the engine cannot read its files ({})", text.unwrap_or("it panicked")))
    })
}

fn refused(dir: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse { dir: dir.to_owned() },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) if from_outside(&error) => {
            OpenError::unreadable(dir, &error)
        }
        other => OpenError::damaged(dir, format!("the engine cannot read its files ({})", reason(&other))),
    }
}

/// Whether an error is about the directory's surroundings rather than its content.
fn from_outside(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn reason(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        other => format!("{other:?}"),
    }
}
