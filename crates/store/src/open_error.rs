//! Why a data directory cannot be opened: each a sentence that names the thing and the mend.

use std::path::PathBuf;

/// Nothing has been changed in a directory that is refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("data directory {} is in use by another process; stop that process or choose another directory", .dir.display())]
    InUse { dir: PathBuf },
    #[error("{} is not a data directory of Ursa; choose an empty directory or one that Ursa has made", .dir.display())]
    Foreign { dir: PathBuf },
    #[error("data directory {} has format {found:?}, which this version of Ursa does not know; use the version that wrote it", .dir.display())]
    Format { dir: PathBuf, found: String },
    #[error("cannot use {}: {why}; make it readable and writable for the user that runs Ursa", .path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("data directory {} is damaged: {what}; restore it from a backup", .dir.display())]
    Damaged { dir: PathBuf, what: String },
}
