//! Mounts a part of a volume. The volume may be writable for containers, which are not to be trusted with its links.
//!
//! Invariant: the part is resolved by the kernel, beneath the volume, and bound by the descriptor that this gave: no link
//! that a container makes, before or meanwhile, leads out.

use super::mounts;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path};

/// Binds `sub_path` of `volume` to `target`, in place of what was bound there. Made as a directory if it is not there.
pub fn bind(volume: &Path, sub_path: &str, target: &Path) -> Result<(), String> {
    let failed = |e: Errno| format!("failed to prepare subPath {sub_path:?}: {e}");
    let parts: Vec<&str> = Path::new(sub_path)
        .components()
        .map(|c| match c {
            Component::Normal(part) => part.to_str().ok_or(Errno::EINVAL),
            Component::CurDir => Ok("."),
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => Err(Errno::EINVAL),
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let part = open_beneath(volume, &parts).map_err(failed)?;
    let source = format!("/proc/self/fd/{}", part.as_raw_fd());
    if mounts::is_mount_point(target)? {
        mounts::unmount(target)?;
    }
    let is_dir = fs::metadata(&source).map_err(|e| e.to_string())?.is_dir();
    make_target(target, is_dir).map_err(|e| format!("{}: {e}", target.display()))?;
    let none = None::<&str>;
    mount(Some(source.as_str()), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(failed)
}

fn open_beneath(volume: &Path, parts: &[&str]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let mut here = open(volume, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let root = here.try_clone().map_err(|_| Errno::EMFILE)?;
    for (i, part) in parts.iter().enumerate() {
        // Links may lead elsewhere in the volume, so that each part is resolved from its root.
        let path = parts[..=i].join("/");
        let how =
            OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let next = match openat2(&root, path.as_str(), how) {
            Err(Errno::ENOENT) => {
                mkdirat(&here, *part, Mode::from_bits_truncate(0o755))?;
                openat2(&root, path.as_str(), how)?
            }
            other => other?,
        };
        here = next;
    }
    Ok(here)
}

fn make_target(target: &Path, is_dir: bool) -> std::io::Result<()> {
    if target.symlink_metadata().is_ok_and(|m| m.is_dir() != is_dir) {
        // What was bound here before was of the other kind; the bare mount point is ours.
        if is_dir { fs::remove_file(target)? } else { fs::remove_dir(target)? }
    }
    if is_dir {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::OpenOptions::new().create(true).append(true).open(target).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_out_of_the_volume_is_refused() {
        let volume = tempfile::tempdir().expect("a directory");
        let volume = volume.path();
        symlink("/etc", volume.join("abs")).expect("made");
        symlink("../..", volume.join("up")).expect("made");
        symlink("real", volume.join("inside")).expect("made");
        fs::create_dir(volume.join("real")).expect("made");
        for bad in ["abs", "up", "abs/cron.d", "inside/../../x"] {
            let parts: Vec<&str> = bad.split('/').collect();
            assert!(open_beneath(volume, &parts).is_err(), "{bad}");
        }
        assert!(open_beneath(volume, &["inside", "new", "deep"]).is_ok());
        assert!(volume.join("real/new/deep").is_dir());
        assert!(bind(volume, "../x", volume).is_err() && bind(volume, "/etc", volume).is_err());
    }
}
