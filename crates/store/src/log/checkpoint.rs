//! Writes everything that is stored into one file, in the background, so that the segments before it can go.
//!
//! The file gets its name when all of it is on disk. Until then, and after a failure for want of room, the segments are
//! what counts.

use super::frame::{Encoder, Kind};
use super::recover::checkpoint_path;
use crate::load::contents;
use crate::snapshot::State;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What a frame of a checkpoint holds, about.
const FRAME_BYTES: usize = 1 << 20;

/// A checkpoint that is being written.
pub(super) struct Running {
    thread: JoinHandle<io::Result<()>>,
    stop: Arc<AtomicBool>,
}

/// What there is to write, and what it makes obsolete.
pub(super) struct Checkpoint {
    pub(super) dir: PathBuf,
    /// The last segment whose changes are in `state`.
    pub(super) number: u64,
    pub(super) state: State,
    /// The files that go when it is there.
    pub(super) outdated: Vec<PathBuf>,
}

impl Running {
    pub(super) fn start(checkpoint: Checkpoint) -> io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        Ok(Running { thread: thread.spawn(move || checkpoint.write(&stopped))?, stop })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub(super) fn finish(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("writing a checkpoint panicked")))
    }

    /// Gives it up, unless it is about to be done, and waits for its end.
    pub(super) fn abandon(self) {
        self.stop.store(true, Ordering::Relaxed);
        // The segments hold everything that it would have held.
        drop(self.finish());
    }
}

impl Checkpoint {
    fn write(self, stop: &AtomicBool) -> io::Result<()> {
        let path = checkpoint_path(&self.dir, self.number);
        let new = path.with_extension("checkpoint.new");
        let written = self.fill(&new, stop);
        let Ok(true) = written else {
            // A failed removal leaves a file that the next start takes away.
            drop(fs::remove_file(&new));
            return written.map(drop);
        };
        fs::rename(&new, &path)?;
        sync_dir(&self.dir)?;
        for outdated in &self.outdated {
            fs::remove_file(outdated)?;
        }
        Ok(())
    }

    /// False when it was told to stop.
    fn fill(&self, path: &Path, stop: &AtomicBool) -> io::Result<bool> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let (mut at, mut records) = (0, 0);
        let mut encoder = Encoder::default();
        let mut append = |encoder: &mut Encoder, kind| {
            let frame = encoder.finish(kind, self.number, at, 0, self.state.revision);
            file.write_all(frame)?;
            at += frame.len() as u64;
            encoder.begin();
            io::Result::Ok(())
        };
        encoder.begin();
        encoder.push_number(0);
        append(&mut encoder, Kind::Start)?;
        for change in contents(&self.state) {
            encoder.push(&change);
            records += 1;
            if encoder.len() >= FRAME_BYTES {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                append(&mut encoder, Kind::Batch)?;
            }
        }
        append(&mut encoder, Kind::Batch)?;
        encoder.push_number(records);
        append(&mut encoder, Kind::End)?;
        file.sync_all()?;
        Ok(true)
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
