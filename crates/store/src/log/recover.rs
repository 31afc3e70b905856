//! Reads a log back: the newest checkpoint, then the segments after it, each frame verified.
//!
//! A frame that cannot be read ends the log only where the power may have cut a write off: in the last segment, with
//! nothing behind it that was written after a sync. Anywhere else it is damage, which is refused with file and place.
//! Invariant: nothing on disk is changed here.

use super::frame::{Head, Kind, Reader, changes, damaged_in, u64_at};
use super::note::Synced;
use super::segment::{reader, segment_path};
use crate::engine::Visit;
use crate::open_error::OpenError;
use api::Revision;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was found of a log.
pub(super) struct Found {
    /// The last segment, and behind which place of it nothing counts.
    pub(super) segment: u64,
    pub(super) end: u64,
    /// The length of the segment before it.
    pub(super) previous: u64,
    /// The last segment that the checkpoint stands for; 0 without one.
    pub(super) checkpoint: u64,
    /// Bytes that were cut off there.
    pub(super) torn: u64,
    /// Bytes of all segments.
    pub(super) bytes: u64,
    /// Files that a finished checkpoint or an unfinished one has left.
    pub(super) outdated: Vec<PathBuf>,
}

/// The names of what lies in a log's directory.
#[derive(Default)]
struct Files {
    segments: Vec<u64>,
    checkpoints: Vec<u64>,
    unfinished: Vec<PathBuf>,
}

pub(super) fn checkpoint_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.checkpoint"))
}

/// Reads everything in `dir`; `synced` is what must not be missing. `parent` is named in errors.
pub(super) fn read(dir: &Path, synced: Synced, parent: &Path, visit: Visit<'_>) -> Result<Found, OpenError> {
    let files = Files::list(dir).map_err(|error| OpenError::unreadable(dir, &error))?;
    let damaged = |what: String| OpenError::damaged(parent, what);
    let checkpoint = files.checkpoints.last().copied().unwrap_or(0);
    if checkpoint > 0 {
        read_checkpoint(&checkpoint_path(dir, checkpoint), checkpoint, parent, visit)?;
    }
    let segments: Vec<u64> = files.segments.iter().copied().filter(|&number| number > checkpoint).collect();
    let last = segments.last().copied().unwrap_or(0).max(synced.segment).max(checkpoint + 1);
    for number in checkpoint + 1..=last {
        if !segments.contains(&number) {
            return Err(damaged(format!("file {} is missing", segment_path(dir, number).display())));
        }
    }
    let mut found =
        Found { segment: last, end: 0, previous: 0, checkpoint, torn: 0, bytes: 0, outdated: files.unfinished };
    let mut previous = None;
    for &number in &segments {
        let path = segment_path(dir, number);
        let mut segment = Scan::open(path, number, parent)?;
        let (end, torn) = segment.read(number == last, previous, &mut *visit)?;
        if end == 0 && number == checkpoint + 1 {
            return Err(segment.damage(0, "though it was complete when it was needed"));
        }
        found.bytes += end;
        if number == last {
            found.end = end;
            found.previous = previous.unwrap_or(0);
            found.torn = torn;
            if synced.segment == number && end < synced.end {
                return Err(segment.damage(end, &format!("where something was synced up to byte {}", synced.end)));
            }
        }
        previous = Some(end);
    }
    found.outdated.extend(files.segments.iter().filter(|&&n| n <= checkpoint).map(|&n| segment_path(dir, n)));
    found.outdated.extend(files.checkpoints.iter().filter(|&&n| n < checkpoint).map(|&n| checkpoint_path(dir, n)));
    Ok(found)
}

fn read_checkpoint(path: &Path, number: u64, parent: &Path, visit: Visit<'_>) -> Result<(), OpenError> {
    let mut scan = Scan::open(path.to_owned(), number, parent)?;
    let mut records = 0;
    let mut at = 0;
    loop {
        let Some((head, payload)) = scan.frame(at)? else {
            return Err(scan.damage(at, "in a checkpoint"));
        };
        match head.kind {
            Kind::Start if at == 0 => {}
            Kind::Batch if at > 0 => scan.visit(&head, &payload, &mut |key, record| {
                records += 1;
                visit(key, record)
            })?,
            Kind::End if at > 0 && head.next == scan.reader.len() && payload == u64::to_le_bytes(records) => {
                return Ok(());
            }
            Kind::Start | Kind::Batch | Kind::End => return Err(scan.damage(at, "which does not belong there")),
        }
        at = head.next;
    }
}

/// One file on its way in.
struct Scan<'a> {
    reader: Reader,
    path: PathBuf,
    parent: &'a Path,
}

impl<'a> Scan<'a> {
    fn open(path: PathBuf, number: u64, parent: &'a Path) -> Result<Scan<'a>, OpenError> {
        let reader = reader(&path, number).map_err(|error| OpenError::unreadable(&path, &error))?;
        Ok(Scan { reader, path, parent })
    }

    /// Reads a segment up to its end, which is the end of the file but for the last one. Returns it, and how many bytes
    /// behind it are no batch.
    fn read(&mut self, is_last: bool, previous: Option<u64>, visit: Visit<'_>) -> Result<(u64, u64), OpenError> {
        let mut at = 0;
        let mut revision: Revision = 0;
        while at < self.reader.len() {
            let Some((head, payload)) = self.frame(at)? else {
                if !is_last {
                    return Err(self.damage(at, "in a segment that is followed by another"));
                }
                return self.end(at);
            };
            let length = match head.kind {
                Kind::Start if at == 0 && payload.len() == 8 => Some(u64_at(&payload, 0)),
                Kind::Batch if at > 0 && head.revision >= revision => None,
                Kind::Start | Kind::Batch | Kind::End => {
                    return Err(self.damage(at, "which does not belong there"));
                }
            };
            match length {
                Some(length) if previous.is_some_and(|previous| previous != length) => {
                    return Err(self.damage(at, &format!("says that the segment before it had {length} bytes")));
                }
                Some(_) => {}
                None => self.visit(&head, &payload, visit)?,
            }
            revision = head.revision;
            at = head.next;
        }
        if at == 0 && !is_last {
            return Err(self.damage(at, "in a segment that is followed by another"));
        }
        Ok((at, 0))
    }

    /// Whether the log may end before an unreadable frame of its last segment.
    fn end(&mut self, at: u64) -> Result<(u64, u64), OpenError> {
        let unreadable = |error: io::Error| OpenError::unreadable(&self.path, &error);
        if self.reader.is_zero_from(at).map_err(unreadable)? {
            return Ok((at, 0));
        }
        let later = self.reader.find_after(at, |later| later.synced > at);
        let later = later.map_err(|error| OpenError::unreadable(&self.path, &error))?;
        match later {
            Some(later) => {
                Err(self.damage(at, &format!("in front of what was written after it, at byte {}", later.at)))
            }
            None => Ok((at, self.reader.len() - at)),
        }
    }

    fn frame(&mut self, at: u64) -> Result<Option<(Head, Vec<u8>)>, OpenError> {
        let found = self.reader.frame(at).map_err(|error| OpenError::unreadable(&self.path, &error))?;
        Ok(found.map(|(head, payload)| (head, payload.to_vec())))
    }

    fn visit(&self, head: &Head, payload: &[u8], visit: Visit<'_>) -> Result<(), OpenError> {
        changes(payload, visit).map_err(|what| {
            let place = format!("file {} at byte {}: {what}", self.path.display(), head.at);
            OpenError::damaged(self.parent, place)
        })
    }

    /// Says what cannot be read, with the record that is in it as far as one can tell.
    fn damage(&mut self, at: u64, why: &str) -> OpenError {
        let named = match self.reader.unverified(at) {
            Ok(Some(payload)) => format!(": {}", damaged_in(payload)),
            Ok(None) | Err(_) => String::new(),
        };
        OpenError::damaged(
            self.parent,
            format!("file {} cannot be read at byte {at}, {why}{named}", self.path.display()),
        )
    }
}

impl Files {
    fn list(dir: &Path) -> io::Result<Files> {
        let mut files = Files::default();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((number, suffix)) = name.split_once('.') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match suffix {
                "log" => files.segments.push(number),
                "checkpoint" => files.checkpoints.push(number),
                "checkpoint.new" => files.unfinished.push(path),
                _ => {}
            }
        }
        files.segments.sort_unstable();
        files.checkpoints.sort_unstable();
        Ok(files)
    }
}
