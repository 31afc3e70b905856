//! The note of what has been synced: which revision, up to which place of which file.
//!
//! Written after every sync and never synced itself, so that it never says more than is true. When the last batch is
//! damaged it tells that something was there that must not be missing.

use api::Revision;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "synced";
const BYTES: usize = 28;

/// Up to where everything is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) revision: Revision,
    pub(super) segment: u64,
    pub(super) end: u64,
}

pub(super) struct Note(File);

impl Note {
    pub(super) fn open(dir: &Path) -> io::Result<Note> {
        File::options().read(true).write(true).create(true).truncate(false).open(dir.join(NAME)).map(Note)
    }

    pub(super) fn write(&self, synced: Synced) -> io::Result<()> {
        self.0.write_all_at(&encode(synced), 0)
    }

    /// Nothing when there is no note, or only a part of one after a power loss.
    pub(super) fn read(dir: &Path) -> Synced {
        let mut bytes = [0; BYTES];
        let read = File::open(dir.join(NAME)).and_then(|file| file.read_exact_at(&mut bytes, 0));
        if read.is_err() {
            return Synced::default();
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let synced = Synced { revision: number(0), segment: number(8), end: number(16) };
        if encode(synced) == bytes { synced } else { Synced::default() }
    }
}

fn encode(synced: Synced) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (slot, value) in [synced.revision, synced.segment, synced.end].into_iter().enumerate() {
        bytes[8 * slot..8 * slot + 8].copy_from_slice(&value.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    bytes
}
