//! Why a data directory cannot be opened: each a sentence that names the thing and the mend.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("data directory {} is in use by another process; stop that process or choose another directory", .dir.display())]
    InUse { dir: PathBuf },
    #[error("{} is not a data directory of Ursa; choose an empty directory or one that Ursa has made", .dir.display())]
    Foreign { dir: PathBuf },
    #[error("data directory {} has format {found:?}, unknown to this version of Ursa; use the version that wrote it", .dir.display())]
    Format { dir: PathBuf, found: String },
    #[error("the etcd cluster at {servers} cannot be used: {why}")]
    Etcd { servers: String, why: String },
    #[error("cannot use {}: {why}; check its permissions and that its disk has room", .path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("the restore into {} was not finished; remove it and restore again", .dir.display())]
    HalfRestored { dir: PathBuf },
    #[error("data directory {} is damaged: {what}; restore it from a backup", .dir.display())]
    Damaged { dir: PathBuf, what: String },
}

impl OpenError {
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> OpenError {
        OpenError::Unreadable { path: path.to_owned(), why: error.to_string() }
    }

    pub(crate) fn damaged(dir: &Path, what: impl Into<String>) -> OpenError {
        OpenError::Damaged { dir: dir.to_owned(), what: what.into() }
    }
}
