//! A fresh directory that is removed at the end, unless the test failed.

use std::path::{Path, PathBuf};

/// A directory of one test's processes. Its path is short, since sockets lie in it.
#[derive(Debug)]
pub struct Scratch(Option<tempfile::TempDir>);

impl Scratch {
    /// Makes a directory under `$TMPDIR`.
    #[expect(clippy::new_without_default, reason = "making it touches the disk")]
    pub fn new() -> Scratch {
        let dir = tempfile::Builder::new().prefix("ursa-").tempdir().expect("a directory can be made under $TMPDIR");
        Scratch(Some(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("only dropping takes it").path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take()
            && std::thread::panicking()
        {
            eprintln!("the failed test's directory: {}", dir.keep().display());
        }
    }
}
