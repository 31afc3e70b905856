//! Writes a volume's files so that a reader sees all of the old or all of the new.
//!
//! ```text
//!   volume/..2026_01_02_03_04_05.123   the files
//!   volume/..data  ->  ..2026_01_02_03_04_05.123      replaced by one rename
//!   volume/key     ->  ..data/key
//! ```

use super::payload::Files;
use nix::unistd::mkdtemp;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes `volume` hold exactly `files`. Does nothing where it already does.
pub fn write(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let current = fs::read_link(volume.join(DATA)).ok();
    if current.as_ref().is_some_and(|dir| holds(&volume.join(dir), files, group)) {
        return link_names(volume, files);
    }
    let next = mkdtemp(&volume.join("..data_XXXXXX"))?;
    fill(&next, files, group)?;
    let name = next.file_name().expect("a made directory has a name");
    let link = volume.join(DATA_NEXT);
    remove_if_there(&link)?;
    symlink(name, &link)?;
    fs::rename(&link, volume.join(DATA))?;
    link_names(volume, files)?;
    remove_strays(volume, name)
}

fn fill(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let own = |path: &Path, mode: u32| {
        if group.is_some() {
            chown(path, None, group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    for (path, (bytes, mode)) in files {
        let path = dir.join(path);
        let parent = path.parent().expect("a file of a volume lies in a directory");
        fs::create_dir_all(parent)?;
        fs::write(&path, bytes)?;
        own(&path, mode_for(*mode, group))?;
        for above in parent.ancestors().take_while(|a| *a != dir) {
            own(above, 0o755)?;
        }
    }
    own(dir, 0o755)
}

/// The group may read what the owner may.
fn mode_for(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | (mode & 0o400) >> 3 } else { mode }
}

/// Whether a directory holds exactly these files.
fn holds(dir: &Path, files: &Files, group: Option<u32>) -> bool {
    let same = |(path, (bytes, mode)): (&String, &(Vec<u8>, u32))| {
        let path = dir.join(path);
        let right_mode =
            |m: fs::Metadata| m.mode() & 0o7777 == mode_for(*mode, group) && group.is_none_or(|g| m.gid() == g);
        path.symlink_metadata().is_ok_and(right_mode) && fs::read(&path).is_ok_and(|found| found == *bytes)
    };
    files.iter().all(same) && count_files(dir).is_ok_and(|n| n == files.len())
}

fn count_files(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// Links the first part of every path into the current data, and removes names that are not there any more.
fn link_names(volume: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &String| OsString::from(path.split('/').next().unwrap_or_default());
    let wanted: BTreeSet<OsString> = files.keys().map(first).collect();
    for name in &wanted {
        let link = volume.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).ok().as_ref() != Some(&target) {
            remove_if_there(&link)?;
            symlink(target, link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name();
        if !is_own(&name) && !wanted.contains(&name) {
            remove_if_there(&volume.join(name))?;
        }
    }
    Ok(())
}

/// Removes data directories other than the current one, those of a writer that died included.
fn remove_strays(volume: &Path, current: &std::ffi::OsStr) -> io::Result<()> {
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name();
        if is_own(&name) && name != DATA && name != current {
            remove_if_there(&volume.join(name))?;
        }
    }
    Ok(())
}

fn is_own(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"..")
}

fn remove_if_there(path: &PathBuf) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o640))).collect()
    }

    fn read(volume: &Path, path: &str) -> Option<String> {
        fs::read_to_string(volume.join(path)).ok()
    }

    #[test]
    fn files_change_together_and_keep_their_directory_while_nothing_changed() {
        let volume = tempfile::tempdir().expect("a directory");
        let volume = volume.path();
        write(volume, &files(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        let first = fs::read_link(volume.join(DATA)).expect("a link");
        write(volume, &files(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        assert_eq!(fs::read_link(volume.join(DATA)).expect("a link"), first);
        write(volume, &files(&[("a", "3"), ("e", "4")]), None).expect("written");
        let found = ["a", "d/b", "e"].map(|path| read(volume, path));
        assert_eq!(found, [Some("3".to_owned()), None, Some("4".to_owned())]);
        assert!(!volume.join(first).exists(), "the old data is gone");
        assert_eq!(fs::metadata(volume.join("a")).expect("a file").mode() & 0o777, 0o640);
    }

    #[test]
    fn a_file_less_is_a_change() {
        let volume = tempfile::tempdir().expect("a directory");
        write(volume.path(), &files(&[("a", "1"), ("d/b", "2"), ("d/c", "3")]), None).expect("written");
        write(volume.path(), &files(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        assert_eq!(read(volume.path(), "d/c"), None);
        write(volume.path(), &files(&[]), None).expect("written");
        assert_eq!(read(volume.path(), "a"), None);
    }

    #[test]
    fn what_a_dead_writer_left_is_removed() {
        let volume = tempfile::tempdir().expect("a directory");
        let stray = volume.path().join("..data_stray");
        fs::create_dir(&stray).expect("made");
        symlink("nowhere", volume.path().join(DATA_NEXT)).expect("made");
        write(volume.path(), &files(&[("a", "1")]), None).expect("written");
        assert!(!stray.exists());
        assert_eq!(read(volume.path(), "a").as_deref(), Some("1"));
    }
}
