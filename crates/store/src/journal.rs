//! Mends the end of the engine's journal that a power loss has torn.
//!
//! A batch that was being written when the power failed can have its end on disk without its middle. Nothing of it was
//! acknowledged, but the engine takes it for damage. Every batch ends in the same mark, so that the last one can be cut
//! off; damage further in front stays damage.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the engine writes at the end of each batch. No record contains it: byte 3 cannot stand in JSON.
const BATCH_END: &[u8] = &[b'F', b'J', b'L', 3];

/// A last batch that was cut off.
pub(crate) struct Cut {
    journal: PathBuf,
    at: u64,
    bytes: Vec<u8>,
}

/// Cuts off the last batch of the newest journal in the engine's directory; `None` when there is none.
pub(crate) fn cut_last_batch(engine: &Path) -> io::Result<Option<Cut>> {
    let Some(journal) = newest_journal(engine)? else { return Ok(None) };
    let mut bytes = fs::read(&journal)?;
    let Some(end) = last_end(&bytes) else { return Ok(None) };
    let at = last_end(&bytes[..end - BATCH_END.len()]).unwrap_or(0);
    bytes.truncate(end);
    let file = File::options().write(true).open(&journal)?;
    file.set_len(at as u64)?;
    file.sync_all()?;
    Ok(Some(Cut { journal, at: at as u64, bytes: bytes.split_off(at) }))
}

impl Cut {
    /// Puts the batch back, when cutting it off has not helped.
    pub(crate) fn restore(self) -> io::Result<()> {
        let file = File::options().write(true).open(&self.journal)?;
        file.write_all_at(&self.bytes, self.at)
    }
}

/// Where the last batch ends.
fn last_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(BATCH_END.len()).rposition(|window| window == BATCH_END).map(|at| at + BATCH_END.len())
}

fn newest_journal(engine: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}
