//! Where a pod's files are on the node.
//!
//! Invariant: every segment is a uid, a DNS label or a number, so that no name of a tenant's leads out of its directory.

use crate::pod::Uid;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The agent's part of the data directory.
#[derive(Clone, Debug)]
pub struct Dirs {
    root: PathBuf,
}

/// The directories of one pod.
#[derive(Clone, Debug)]
pub struct PodDirs {
    pub root: PathBuf,
    pub logs: PathBuf,
}

impl Dirs {
    /// `data_dir` is absolute: runtimes do not share our working directory.
    pub fn new(data_dir: &Path) -> Dirs {
        assert!(data_dir.is_absolute(), "the data directory was made absolute at start");
        Dirs { root: data_dir.join("node") }
    }

    pub fn pod(&self, uid: &Uid) -> PodDirs {
        let [pods, logs] = self.both();
        PodDirs { root: pods.join(uid.as_str()), logs: logs.join(uid.as_str()) }
    }

    /// The pods that have files here.
    pub fn uids(&self) -> BTreeSet<Uid> {
        let entries = self.both().into_iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        entries.filter_map(|entry| Uid::new(entry.file_name().to_str()?)).collect()
    }

    fn both(&self) -> [PathBuf; 2] {
        [self.root.join("pods"), self.root.join("logs")]
    }
}

impl PodDirs {
    pub fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    /// Where a part of a volume is mounted for a container's mount.
    pub fn sub_path(&self, volume: &str, container: &str, mount: usize) -> PathBuf {
        self.root.join("volume-subpaths").join(volume).join(container).join(mount.to_string())
    }

    pub fn etc_hosts(&self) -> PathBuf {
        self.root.join("etc-hosts")
    }

    /// What a container writes before it ends, to be shown in its status.
    pub fn termination_log(&self, container: &str, restart_count: u32) -> PathBuf {
        self.root.join("containers").join(container).join(format!("{restart_count}.termination"))
    }
}

/// A container's log, relative to its pod's logs.
pub fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}
