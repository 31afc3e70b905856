//! Data directories: whose they are, and what happens to damaged ones. On a real disk.

use super::*;
use std::fs;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

pub(super) fn open_dir(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, fields, Limits::default())
}

#[track_caller]
fn refusal(dir: &Path) -> String {
    open_dir(dir).err().expect("a refusal").to_string()
}

pub(super) fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").file_name());
    let mut entries: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    entries.sort();
    entries
}

/// A closed store with pods `0` to `count - 1`, as it is after it was opened twice.
async fn filled(count: usize) -> TempDir {
    let dir = tempdir().expect("a directory");
    let store = open_dir(dir.path()).expect("a store");
    for i in 0..count {
        commit(&store, put(&format!("a/n/{i}"), Expect::Absent, json!({"data": "x".repeat(50)}))).await.expect("a pod");
    }
    store.close().await;
    open_dir(dir.path()).expect("the store again").close().await;
    dir
}

/// The files of the log, oldest first.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    entries(&dir.join("log")).into_iter().map(|name| dir.join("log").join(name)).collect()
}

fn last_segment(dir: &Path) -> PathBuf {
    files(dir).pop().expect("a segment")
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &target) } else { _ = fs::copy(entry.path(), target) }
    }
}

#[tokio::test]
async fn a_directory_is_used_by_one_store_at_a_time() {
    let dir = tempdir().expect("a directory");
    let store = open_dir(dir.path()).expect("a store");
    let path = dir.path().display();
    let mend = "stop that process or choose another directory";
    assert_eq!(refusal(dir.path()), format!("data directory {path} is in use by another process; {mend}"));
    create(&store, "a/n/x").await;
    store.close().await;
    assert_eq!(open_dir(dir.path()).expect("the store again").stats().objects, 1);
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let dir = tempdir().expect("a directory");
    fs::write(dir.path().join("letter.txt"), "dear").expect("a file");
    let path = dir.path().display();
    let mend = "choose an empty directory or one that Ursa has made";
    assert_eq!(refusal(dir.path()), format!("{path} is not a data directory of Ursa; {mend}"));
    assert_eq!(entries(dir.path()), ["letter.txt"]);
    let file = dir.path().join("letter.txt");
    assert_eq!(refusal(&file), format!("{} is not a data directory of Ursa; {mend}", file.display()));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let refused = refusal(Path::new("/proc/ursa"));
    assert!(refused.starts_with("cannot use /proc/ursa: "), "{refused}");
}

#[tokio::test]
async fn a_format_of_another_version_is_refused() {
    let dir = filled(1).await;
    fs::write(dir.path().join("ursa-store"), "9\n").expect("a file");
    let refused = refusal(dir.path());
    assert!(refused.contains("has format \"9\\n\", unknown to this version of Ursa"), "{refused}");
}

#[test]
fn a_creation_that_was_interrupted_starts_again() {
    let dir = tempdir().expect("a directory");
    fs::write(dir.path().join("ursa-store.new"), "").expect("a file");
    fs::create_dir_all(dir.path().join("log")).expect("a directory");
    fs::write(dir.path().join("log/00000000000000000001.log"), "half").expect("a file");
    assert_eq!(open_dir(dir.path()).expect("a store").stats().objects, 0);
}

#[tokio::test]
async fn a_torn_end_of_the_log_was_never_acknowledged_and_is_dropped() {
    let dir = filled(10).await;
    let segment = last_segment(dir.path());
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes.extend_from_within(512..700);
    fs::write(&segment, bytes).expect("a torn segment");
    let store = open_dir(dir.path()).expect("the store again");
    assert_eq!(store.stats().objects, 10);
    create(&store, "a/n/after").await;
    store.close().await;
    assert_eq!(open_dir(dir.path()).expect("the store again").stats().objects, 11);
}

/// A store of which a copy was made before each of two more commits.
async fn growing() -> (TempDir, TempDir, u64) {
    let (dir, before) = (filled(10).await, tempdir().expect("a directory"));
    let store = open_dir(dir.path()).expect("the store again");
    copy(dir.path(), before.path());
    let note = fs::read(before.path().join("synced")).expect("a note");
    let length = u64::from_le_bytes(note[16..24].try_into().expect("eight bytes"));
    create(&store, "a/n/unsynced-1").await;
    create(&store, "a/n/unsynced-2").await;
    copy(dir.path(), dir.path().with_extension("copied").as_path());
    store.close().await;
    (dir, before, length)
}

#[tokio::test]
async fn a_hole_in_front_of_what_was_written_after_a_sync_is_damage() {
    let (dir, before, length) = growing().await;
    let copied = dir.path().with_extension("copied");
    let mut bytes = fs::read(last_segment(&copied)).expect("a segment");
    let at = usize::try_from(length).expect("a small file");
    bytes[at + 60..at + 70].fill(0);
    fs::write(last_segment(&copied), &bytes).expect("a hole");
    let refused = refusal(&copied);
    assert!(refused.contains(&format!("00000000000000000001.log cannot be read at byte {length}")), "{refused}");
    // Without what came later, and with a note from before, it is the end of the log.
    bytes.truncate(at + 200);
    fs::write(last_segment(&copied), &bytes).expect("a torn end");
    assert!(refusal(&copied).contains("where something was synced up to byte"), "the note knows");
    fs::copy(before.path().join("synced"), copied.join("synced")).expect("a note");
    assert_eq!(open_dir(&copied).expect("the store again").stats().objects, 10);
    fs::remove_dir_all(copied).expect("removed");
}

#[tokio::test]
async fn a_log_that_has_grown_is_replaced_by_a_checkpoint() {
    let dir = tempdir().expect("a directory");
    let limits = Limits { checkpoint_after_bytes: 64 << 10, ..Limits::default() };
    let store = Store::open(dir.path(), fields, limits.clone()).expect("a store");
    for round in 0..100 {
        for i in 0..10 {
            let padding = format!("{round}{}", "x".repeat(500));
            commit(&store, put(&format!("a/n/{i}"), Expect::Any, json!({"data": padding}))).await.expect("a pod");
        }
    }
    let revision = store.revision();
    store.close().await;
    let bytes: u64 = files(dir.path()).iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(bytes < 300 << 10, "{bytes} bytes for 1000 writes of 500 bytes and 10 objects: {:?}", files(dir.path()));
    assert!(files(dir.path()).iter().any(|file| file.extension().is_some_and(|of| of == "checkpoint")));
    let store = Store::open(dir.path(), fields, limits).expect("the store again");
    assert_eq!((store.revision(), store.stats().objects), (revision, 10));
    for object in store.snapshot().range(&Scope::AllTenants(pods()), None) {
        assert!(object.to_value().expect("JSON")["data"].as_str().is_some_and(|data| data.starts_with("99x")));
    }
}

#[tokio::test]
async fn missing_files_of_the_log_are_damage() {
    for (nth, what) in [(0, "checkpoint"), (1, "log")] {
        let dir = corruption::checkpointed().await;
        let missing = files(dir.path()).into_iter().rfind(|file| file.extension().is_some_and(|of| of == what));
        let missing = missing.unwrap_or_else(|| panic!("no {what} as number {nth}"));
        fs::remove_file(&missing).expect("removed");
        let refused = refusal(dir.path());
        assert!(refused.contains("is damaged: file ") && refused.contains("is missing"), "{what}: {refused}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let before = create(&store, "a/n/x").await;
    disk.set_full(true);
    assert!(matches!(commit(&store, delete("a/n/x", Expect::Any)).await, Err(CommitError::NoRoom(_))));
    assert_eq!(store.held(&tenant("a")).objects, 1, "what was not written is not counted");
    assert_eq!((store.revision(), store.stats().objects), (before, 1));
    disk.set_full(false);
    assert_eq!(create(&store, "a/n/y").await, before + 1);
    store.close().await;
    assert_eq!(open(&disk, Limits::default()).expect("the store again").stats().objects, 2);
}
