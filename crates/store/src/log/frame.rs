//! How batches stand in a file: frames, each in blocks of its own.
//!
//! ```text
//!   mark (4) │ crc32 of all that follows (4) │ kind (4) │ length of the payload (4)
//!   number of the file (8) │ place in the file (8) │ synced (8) │ revision (8) │ payload │ zeros up to a block
//! ```
//!
//! `synced` says up to which place the file had been synced before this frame was written: what is unreadable in front of
//! it is damage, what is unreadable behind it may be a write that a power loss has cut off.
//! Invariant: a frame that is altered, cut, or stands elsewhere than it was written is not read. A block is never written
//! twice, so that a torn write spoils nothing that was there before.

use crate::engine::Change;
use crate::record;
use api::Revision;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What disks write in one piece.
pub(super) const BLOCK: u64 = 512;

const MARK: [u8; 4] = *b"Ursa";
const HEADER: usize = 48;

/// The length that stands for a removed record.
const REMOVED: u32 = u32::MAX;

/// What is read at once.
const WINDOW_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of each file. Its payload is the length of the segment before it.
    Start = 1,
    /// Changes of records.
    Batch = 2,
    /// The last of a checkpoint. Its payload is the number of records.
    End = 3,
}

/// A frame as it was read, without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) synced: u64,
    pub(super) revision: Revision,
    /// Where it stands, and where the next one does.
    pub(super) at: u64,
    pub(super) next: u64,
}

/// Encodes one frame after the other into the same memory.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn begin(&mut self) {
        self.0.clear();
        self.0.resize(HEADER, 0);
    }

    pub(super) fn push(&mut self, (key, record): &Change) {
        let length = |of: usize| u32::try_from(of).expect("objects are limited to megabytes on their way in");
        self.0.extend_from_slice(&length(key.len()).to_le_bytes());
        self.0.extend_from_slice(&record.as_ref().map_or(REMOVED, |record| length(record.len())).to_le_bytes());
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(record.as_deref().unwrap_or_default());
    }

    pub(super) fn push_number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// The bytes of the payload until now.
    pub(super) fn len(&self) -> usize {
        self.0.len() - HEADER
    }

    /// Gives memory back that a large frame has taken.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.0.clear();
        self.0.shrink_to(bytes);
    }

    /// Completes the frame for its place.
    pub(super) fn finish(&mut self, kind: Kind, number: u64, at: u64, synced: u64, revision: Revision) -> &[u8] {
        let length = u32::try_from(self.len()).expect("a batch is limited to megabytes");
        let frame = &mut self.0;
        frame[..4].copy_from_slice(&MARK);
        frame[8..12].copy_from_slice(&(kind as u32).to_le_bytes());
        frame[12..16].copy_from_slice(&length.to_le_bytes());
        for (slot, value) in [number, at, synced, revision].into_iter().enumerate() {
            frame[16 + 8 * slot..24 + 8 * slot].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32fast::hash(&frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        frame.resize(frame.len().next_multiple_of(BLOCK as usize), 0);
        frame
    }
}

/// Reads the frames of one file.
pub(super) struct Reader {
    file: File,
    number: u64,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    pub(super) fn new(file: File, number: u64) -> io::Result<Reader> {
        let len = file.metadata()?.len();
        Ok(Reader { file, number, len, window: Vec::new(), window_at: 0 })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The frame at a place and its payload; `None` when none is readable there.
    pub(super) fn frame(&mut self, at: u64) -> io::Result<Option<(Head, &[u8])>> {
        let Some(head) = self.head(at)? else { return Ok(None) };
        let (head, length) = head;
        let number = self.number;
        let Some(bytes) = self.bytes(at, HEADER + length)? else { return Ok(None) };
        let sound = crc32fast::hash(&bytes[8..]).to_le_bytes() == bytes[4..8];
        let in_place = u64_at(bytes, 16) == number && u64_at(bytes, 24) == at;
        Ok((sound && in_place).then(|| (head, &bytes[HEADER..])))
    }

    /// What an unreadable frame seems to hold, to name what is lost in it.
    pub(super) fn unverified(&mut self, at: u64) -> io::Result<Option<&[u8]>> {
        let Some((_, length)) = self.head(at)? else { return Ok(None) };
        Ok(self.bytes(at, HEADER + length)?.map(|bytes| &bytes[HEADER..]))
    }

    fn head(&mut self, at: u64) -> io::Result<Option<(Head, usize)>> {
        let Some(bytes) = self.bytes(at, HEADER)? else { return Ok(None) };
        let kind = match u32_at(bytes, 8) {
            1 => Kind::Start,
            2 => Kind::Batch,
            3 => Kind::End,
            _ => return Ok(None),
        };
        if bytes[..4] != MARK {
            return Ok(None);
        }
        let length = u32_at(bytes, 12) as usize;
        let next = (at + (HEADER + length) as u64).next_multiple_of(BLOCK);
        Ok(Some((Head { kind, synced: u64_at(bytes, 32), revision: u64_at(bytes, 40), at, next }, length)))
    }

    /// The first readable frame behind a place that `wanted` asks for.
    pub(super) fn find_after(&mut self, at: u64, wanted: impl Fn(&Head) -> bool) -> io::Result<Option<Head>> {
        let mut place = (at + 1).next_multiple_of(BLOCK);
        while place < self.len {
            // Most blocks hold no mark: the payload is read of those that do alone.
            let marked = self.bytes(place, MARK.len())?.is_some_and(|bytes| *bytes == MARK);
            if marked
                && let Some((head, _)) = self.frame(place)?
                && wanted(&head)
            {
                return Ok(Some(head));
            }
            place += BLOCK;
        }
        Ok(None)
    }

    /// Whether there is nothing but zeros from a place on: space that was never written.
    pub(super) fn is_zero_from(&mut self, at: u64) -> io::Result<bool> {
        let mut place = at;
        while place < self.len {
            let length = usize::try_from(self.len - place).map_or(WINDOW_BYTES, |rest| rest.min(WINDOW_BYTES));
            match self.bytes(place, length)? {
                Some(bytes) if bytes.iter().all(|&byte| byte == 0) => place += length as u64,
                Some(_) | None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A part of the file; `None` when it ends before.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let within =
            |window: &[u8], window_at: u64| at >= window_at && at + length as u64 <= window_at + window.len() as u64;
        if !within(&self.window, self.window_at) {
            let rest = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            self.window.resize(length.max(WINDOW_BYTES).min(rest), 0);
            self.window_at = at;
            let read = self.file.read_exact_at(&mut self.window, at);
            if read.is_err() {
                self.window.clear();
            }
            read?;
        }
        let start = usize::try_from(at - self.window_at).expect("the window is in memory");
        Ok(Some(&self.window[start..start + length]))
    }
}

/// Hands out the changes of a batch; an error of `visit` comes back, and one for a payload that is none.
pub(super) fn changes(
    payload: &[u8],
    mut visit: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), String>,
) -> Result<(), String> {
    let malformed = || "a batch is not as it was written".to_owned();
    let mut rest = payload;
    while !rest.is_empty() {
        let (lengths, body) = rest.split_at_checked(8).ok_or_else(malformed)?;
        let (key, body) = body.split_at_checked(u32_at(lengths, 0) as usize).ok_or_else(malformed)?;
        let length = match u32_at(lengths, 4) {
            REMOVED => None,
            length => Some(length as usize),
        };
        let (record, after) = body.split_at_checked(length.unwrap_or(0)).ok_or_else(malformed)?;
        visit(key, length.map(|_| record))?;
        rest = after;
    }
    Ok(())
}

/// The keys in a damaged payload whose records do not decode, or that cannot be read: the first of each.
pub(super) fn damaged_in(payload: &[u8]) -> String {
    let mut last = None;
    let found = changes(payload, |key, record| {
        let key = str::from_utf8(key).map_err(|_| String::new())?;
        if let Some(record) = record {
            record::decode(key, record).map_err(|what| format!("record {key} {what}"))?;
        }
        last = Some(key.to_owned());
        Ok(())
    });
    match (found, last) {
        (Err(named), _) if named.starts_with("record ") => named,
        (_, Some(last)) => format!("what is unreadable stands after record {last}"),
        (_, None) => "no record in it can be read".to_owned(),
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
