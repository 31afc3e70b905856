//! A containerd of the test's own, as `hack/up.sh` starts one.

use crate::{Scratch, checkout};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A running containerd. Dropping it ends every pod and container of it.
#[derive(Debug)]
pub struct Containerd {
    dir: Scratch,
}

/// A running container: equal only to itself, not to another run of the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    pub container: String,
    pub pid: u32,
    /// In clock ticks since boot.
    pub started: u64,
}

impl Containerd {
    /// Why none can be started here; `None` where it can.
    ///
    /// # Panics
    /// Where it cannot in a run of `hack/test.sh`, which promises to run every test.
    pub fn missing() -> Option<&'static str> {
        let missing = Containerd::what_is_missing();
        if let Some(why) = missing {
            assert!(std::env::var_os("URSA_TEST_RUN").is_none(), "hack/test.sh skips no test, but {why}");
        }
        missing
    }

    fn what_is_missing() -> Option<&'static str> {
        let there =
            |program: &str| Command::new("which").arg(program).output().is_ok_and(|found| found.status.success());
        if std::fs::metadata("/proc/self").map(|process| process.uid()).ok() != Some(0) {
            Some("containers need root")
        } else if !there("containerd") || !there("runc") || !Path::new("/usr/lib/cni/bridge").exists() {
            Some("there is no containerd: run hack/deps.sh")
        } else if !there("kubectl") {
            Some("there is no kubectl: run hack/deps.sh")
        } else {
            None
        }
    }

    /// Starts one in a fresh directory, with the images `ursa.local/pause:1`, `ursa.local/web:1` and `ursa.local/web:2`.
    pub async fn start() -> Containerd {
        let containerd = Containerd { dir: Scratch::new() };
        let started = script("start", containerd.dir());
        assert!(started.status.success(), "containerd: {}", String::from_utf8_lossy(&started.stderr));
        containerd
    }

    /// The bridge of a data directory's containerd, by what its alias says: a name may be another's a moment later.
    pub fn bridge_of(dir: &Path) -> Option<String> {
        let links = std::fs::read_dir("/sys/class/net").expect("/sys is mounted").filter_map(Result::ok);
        let alias = |link: &std::fs::DirEntry| std::fs::read_to_string(link.path().join("ifalias")).unwrap_or_default();
        let bridge = links.into_iter().find(|link| alias(link).trim_end() == dir.to_string_lossy())?;
        bridge.file_name().into_string().ok()
    }

    /// The data directory, which a server on this containerd shares.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd/containerd.sock")
    }

    /// As `ursa server --container-runtime-endpoint` takes it.
    pub fn endpoint(&self) -> String {
        format!("containerd,container,unix://{}", self.socket().display())
    }

    /// The running containers, pods' sandboxes included, in order.
    ///
    /// # Panics
    /// When containerd does not answer, which is not the same as none.
    pub fn tasks(&self) -> Vec<Task> {
        let listed = Command::new("ctr")
            .args(["--namespace", "k8s.io", "--address"])
            .arg(self.socket())
            .args(["tasks", "list"])
            .output()
            .expect("there is ctr");
        assert!(listed.status.success(), "ctr tasks list: {}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut tasks: Vec<Task> = listed.lines().filter_map(task).collect();
        tasks.sort();
        tasks
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let stopped = script("stop", self.dir());
        let why = String::from_utf8_lossy(&stopped.stderr);
        // A second panic would abort every test.
        if std::thread::panicking() {
            eprint!("{why}");
        } else {
            assert!(stopped.status.success(), "containerd does not stop: {why}");
        }
    }
}

/// One line of `ctr tasks list`: container, pid and status.
fn task(line: &str) -> Option<Task> {
    let [container, pid, "RUNNING"] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let started = stat.rsplit_once(") ")?.1.split(' ').nth(19)?;
    Some(Task { container: container.to_owned(), pid: pid.parse().ok()?, started: started.parse().ok()? })
}

fn script(verb: &str, dir: &Path) -> Output {
    Command::new(checkout("hack/containerd.sh")).arg(verb).arg(dir).output().expect("hack/containerd.sh runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_containerd_leaves_nothing_behind() {
        if let Some(why) = Containerd::missing() {
            return println!("skipped: {why}");
        }
        let containerd = Containerd::start().await;
        let dir = containerd.dir().to_owned();
        assert!(Containerd::bridge_of(&dir).is_some() && containerd.tasks().is_empty());
        drop(containerd);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        assert!(!dir.exists() && !mounts.contains(&*dir.to_string_lossy()));
        assert_eq!(Containerd::bridge_of(&dir), None);
    }

    #[tokio::test]
    async fn a_stopped_containerd_owns_no_bridge_that_another_has_now() {
        if let Some(why) = Containerd::missing() {
            return println!("skipped: {why}");
        }
        let (stopped, running) = (Containerd::start().await, Containerd::start().await);
        assert!(script("stop", stopped.dir()).status.success());
        let bridge = Containerd::bridge_of(running.dir()).expect("it has a bridge");
        // As a stop that was cut short would leave it, and another start would find the name free.
        std::fs::write(stopped.dir().join("containerd/bridge"), &bridge).expect("it is a directory of the test's");
        drop(stopped);
        assert_eq!(Containerd::bridge_of(running.dir()), Some(bridge));
    }

    #[tokio::test]
    async fn nothing_is_unmounted_below_a_directory_without_a_containerd() {
        if let Some(why) = Containerd::missing() {
            return println!("skipped: {why}");
        }
        let scratch = Scratch::new();
        let foreign = scratch.join("mounted");
        std::fs::create_dir(&foreign).expect("a fresh directory");
        let mount = |program: &str, args: &[&str]| {
            let done = Command::new(program).args(args).arg(&foreign).output().expect("there is mount");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        mount("mount", &["-t", "tmpfs", "tmpfs"]);
        let stopped = script("stop", scratch.path());
        // Fails where it is not mounted any more.
        mount("umount", &[]);
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    }
}
