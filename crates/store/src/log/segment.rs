//! One file of the log, as it is being written.

use super::frame::{Encoder, Kind, Reader};
use api::Revision;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// By how much a file grows at once; not yet written, that takes no room.
const GROW_BYTES: u64 = 4 << 20;

/// The file that batches are appended to.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    file: File,
    /// How long the file is: growing it for each batch makes syncs slower.
    length: u64,
    /// Behind the last whole frame.
    pub(super) end: u64,
    /// Everything in front of this place is synced.
    synced: u64,
}

/// What a file of the log is called.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

impl Segment {
    /// Makes the next file, which is on disk when this returns. `previous` is the length of the one before it.
    pub(super) fn create(dir: &Path, number: u64, previous: u64, revision: Revision) -> io::Result<Segment> {
        let path = segment_path(dir, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut encoder = Encoder::default();
        encoder.begin();
        encoder.push_number(previous);
        let mut segment = Segment { number, path, file, length: 0, end: 0, synced: 0 };
        segment.append(&mut encoder, Kind::Start, revision)?;
        segment.file.sync_all()?;
        segment.synced = segment.end;
        File::open(dir)?.sync_all()?;
        Ok(segment)
    }

    /// Goes on behind what was read of a file; what follows there is cut off, and zeros that are missing are filled in.
    pub(super) fn resume(dir: &Path, number: u64, end: u64) -> io::Result<Segment> {
        let path = segment_path(dir, number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.set_len(end)?;
        file.sync_all()?;
        Ok(Segment { number, path, file, length: end, end, synced: end })
    }

    /// Appends what is encoded. After an error the file is as before, or cannot be used any more.
    pub(super) fn append(&mut self, encoder: &mut Encoder, kind: Kind, revision: Revision) -> io::Result<()> {
        let frame = encoder.finish(kind, self.number, self.end, self.synced, revision);
        let end = self.end + frame.len() as u64;
        if end > self.length {
            // No more than a hint: what follows the last frame counts as little as what is not there.
            self.length = end.next_multiple_of(GROW_BYTES);
            self.file.set_len(self.length)?;
        }
        self.file.write_all_at(frame, self.end)?;
        self.end = end;
        Ok(())
    }

    /// Takes back what a failed append has left.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.length = self.end;
        self.file.set_len(self.end)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.end;
        Ok(())
    }

    /// Ends the file behind the last frame, and syncs it for the last time.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()?;
        self.synced = self.end;
        Ok(())
    }
}

pub(super) fn reader(path: &Path, number: u64) -> io::Result<Reader> {
    Reader::new(File::open(path)?, number)
}
