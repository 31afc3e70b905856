//! The embedded engine: a log of batches in segments, and now and then a checkpoint of everything in place of old ones.
//!
//! ```text
//!   00000000000000000004.checkpoint   everything up to the end of segment 4
//!   00000000000000000005.log          batches after it
//!   00000000000000000006.log          batches after those; the last one is written to
//! ```
//!
//! The state is in memory, so that a log that is only ever read as a whole is all that a disk must hold. A batch is one
//! append and one sync. When as much has been logged as there is in the store, the log goes on in a new segment, and what
//! the old ones came to is written into a checkpoint by a thread of its own: the disk takes each byte twice, and holds at
//! most about three times the bytes of the objects.
//! Invariant: files are removed only when what replaces them is synced, its name in the directory included.

mod checkpoint;
mod frame;
mod note;
mod recover;
mod segment;

use crate::data_dir::DataDir;
use crate::engine::{Change, Durability, Engine, Failed, Visit};
use crate::open_error::OpenError;
use crate::snapshot::State;
use api::Revision;
use checkpoint::{Checkpoint, Running, sync_dir};
use frame::{Encoder, Kind};
use note::{Note, Synced};
use segment::{Segment, segment_path};
use std::fs;
use std::io;
use std::path::PathBuf;

/// What memory is kept for encoding batches.
const ENCODER_BYTES_KEPT: usize = 1 << 20;

pub(crate) struct Log {
    // Dropped in this order: the lock on the directory last.
    open: Option<Open>,
    checkpoint_after: u64,
    dir: DataDir,
}

/// A log that has been read.
struct Open {
    segment: Segment,
    note: Note,
    encoder: Encoder,
    /// Bytes of the segments that no checkpoint stands for, and their files.
    logged: u64,
    segments: Vec<PathBuf>,
    /// The last finished checkpoint.
    checkpoint: Option<PathBuf>,
    running: Option<(Running, Replaced)>,
}

/// What a running checkpoint will stand for.
struct Replaced {
    checkpoint: PathBuf,
    segments: usize,
}

impl Log {
    pub(crate) fn new(dir: DataDir, checkpoint_after: u64) -> Log {
        Log { open: None, checkpoint_after, dir }
    }

    /// Makes a store of which the first batch is written before it counts as one.
    pub(crate) fn begin_restore(&mut self, first: &[Change]) -> Result<(), OpenError> {
        self.make(first)?;
        self.load(&mut |_, _| Ok(())).map(drop)
    }

    /// Makes the files of an empty log.
    fn make(&mut self, first: &[Change]) -> Result<(), OpenError> {
        let dir = self.dir.engine();
        let unreadable = |error: io::Error| OpenError::unreadable(&dir, &error);
        fs::create_dir(&dir).map_err(unreadable)?;
        let mut segment = Segment::create(&dir, 1, 0, 0).map_err(unreadable)?;
        if !first.is_empty() {
            let mut encoder = Encoder::default();
            encoder.begin();
            first.iter().for_each(|change| encoder.push(change));
            segment.append(&mut encoder, Kind::Batch, 0).and_then(|()| segment.sync()).map_err(unreadable)?;
        }
        sync_dir(self.dir.path()).map_err(unreadable)
    }

    fn open(&mut self) -> Result<&mut Open, Failed> {
        self.open.as_mut().ok_or_else(|| Failed::Broken("the store has not been read".to_owned()))
    }

    fn failed(&self, error: &io::Error) -> Failed {
        Failed::Broken(format!("cannot write to {}: {error}", self.dir.path().display()))
    }
}

impl Engine for Log {
    fn load(&mut self, visit: Visit<'_>) -> Result<Revision, OpenError> {
        let dir = self.dir.engine();
        let unreadable = |error: io::Error| OpenError::unreadable(&dir, &error);
        if self.dir.is_new() && !dir.exists() {
            self.make(&[])?;
        }
        let synced = Note::read(self.dir.path());
        let found = recover::read(&dir, synced, self.dir.path(), visit)?;
        let checkpoint = found.checkpoint;
        if found.torn > 0 {
            let file = segment_path(&dir, found.segment);
            let (file, bytes, at) = (file.display(), found.torn, found.end);
            tracing::warn!(%file, bytes, at, "the log ended in a write that was never finished or acknowledged; it is cut off");
        }
        if !self.dir.is_new() {
            let (segments, bytes) = (found.segment - checkpoint, found.bytes);
            tracing::info!(checkpoint, segments, bytes, "the store has been read, and every record is sound");
        }
        let segment = match found.end {
            // The last thing that happened was that it was being made.
            0 => Segment::create(&dir, found.segment, found.previous, 0),
            end => Segment::resume(&dir, found.segment, end),
        };
        let segment = segment.map_err(unreadable)?;
        for outdated in &found.outdated {
            fs::remove_file(outdated).map_err(unreadable)?;
        }
        let note = Note::open(self.dir.path()).map_err(unreadable)?;
        self.dir.complete()?;
        self.open = Some(Open {
            note,
            encoder: Encoder::default(),
            logged: found.bytes,
            segments: (checkpoint + 1..=segment.number).map(|number| segment_path(&dir, number)).collect(),
            checkpoint: (checkpoint > 0).then(|| recover::checkpoint_path(&dir, checkpoint)),
            segment,
            running: None,
        });
        Ok(synced.revision)
    }

    fn commit(&mut self, changes: &[Change], revision: Revision, durability: Durability) -> Result<(), Failed> {
        let written = self.open()?.write(changes, revision, durability);
        written.map_err(|error| match error {
            Unwritten::NoRoom(error) => {
                Failed::NoRoom(format!("there is no room in {} ({error})", self.dir.path().display()))
            }
            Unwritten::Broken(error) => self.failed(&error),
        })
    }

    fn tidy(&mut self, state: &State) -> Result<bool, Failed> {
        let (dir, after) = (self.dir.engine(), self.checkpoint_after);
        self.open()?.tidy(dir, after, state).map_err(|error| self.failed(&error))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if let Some((running, _)) = open.running.take() {
            running.abandon();
        }
        // Zeros that stay behind the end are read as nothing.
        drop(open.segment.cut());
    }
}

/// Why a batch was not written.
enum Unwritten {
    NoRoom(io::Error),
    Broken(io::Error),
}

impl Open {
    fn write(&mut self, changes: &[Change], revision: Revision, durability: Durability) -> Result<(), Unwritten> {
        if !changes.is_empty() {
            self.encoder.begin();
            changes.iter().for_each(|change| self.encoder.push(change));
            let before = self.segment.end;
            if let Err(error) = self.segment.append(&mut self.encoder, Kind::Batch, revision) {
                let cut = if is_no_room(&error) { self.segment.cut() } else { Ok(()) };
                return Err(if is_no_room(&error) && cut.is_ok() {
                    Unwritten::NoRoom(error)
                } else {
                    Unwritten::Broken(error)
                });
            }
            self.logged += self.segment.end - before;
            self.encoder.shrink_to(ENCODER_BYTES_KEPT);
        }
        if durability == Durability::Synced {
            self.segment.sync().map_err(Unwritten::Broken)?;
            let synced = Synced { revision, segment: self.segment.number, end: self.segment.end };
            match self.note.write(synced) {
                // A note from before is as true.
                Err(error) if !is_no_room(&error) => return Err(Unwritten::Broken(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Takes note of a checkpoint that is done, and starts one when it is due.
    fn tidy(&mut self, dir: PathBuf, after: u64, state: &State) -> io::Result<bool> {
        if let Some((running, replaced)) = self.running.take_if(|(running, _)| running.is_finished()) {
            match running.finish() {
                Ok(()) => {
                    self.segments.drain(..replaced.segments);
                    self.checkpoint = Some(replaced.checkpoint);
                }
                // The log stays as long as it is until another portion of it has been written.
                Err(error) if is_no_room(&error) => {
                    tracing::warn!(%error, "a checkpoint could not be written; the log stays as it is");
                }
                Err(error) => return Err(error),
            }
        }
        if self.running.is_some() || self.logged < after.max(state.size().1) {
            return Ok(self.running.is_some());
        }
        let number = self.segment.number;
        self.segment.seal()?;
        match Segment::create(&dir, number + 1, self.segment.end, state.revision) {
            Ok(next) => self.segment = next,
            Err(error) if is_no_room(&error) => {
                // Half a file would be taken for the end of the log.
                fs::remove_file(segment_path(&dir, number + 1))?;
                sync_dir(&dir)?;
                self.logged = 0;
                tracing::warn!(%error, "the log cannot go on in a new file");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let outdated = self.segments.iter().cloned().chain(self.checkpoint.clone()).collect();
        let replaced = Replaced { checkpoint: recover::checkpoint_path(&dir, number), segments: self.segments.len() };
        self.segments.push(self.segment.path.clone());
        self.logged = 0;
        let running = Running::start(Checkpoint { dir, number, state: state.clone(), outdated })?;
        self.running = Some((running, replaced));
        Ok(true)
    }
}

fn is_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
