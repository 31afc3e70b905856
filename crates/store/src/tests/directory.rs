//! Data directories: whose they are, and what happens to damaged ones. On a real disk.

use super::*;
use std::fs;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

fn open_dir(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, fields, Limits::default())
}

#[track_caller]
fn refusal(dir: &Path) -> String {
    open_dir(dir).err().expect("a refusal").to_string()
}

fn entries(dir: &Path) -> Vec<String> {
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

fn journal(dir: &Path) -> PathBuf {
    let mut journals = entries(&dir.join("engine"));
    journals.retain(|name| name.ends_with(".jnl"));
    dir.join("engine").join(journals.last().expect("a journal"))
}

fn copy(from: &Path, to: &Path) {
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
    fs::write(dir.path().join("ursa-store"), "2\n").expect("a file");
    let refused = refusal(dir.path());
    assert!(refused.contains("has format \"2\\n\", unknown to this version of Ursa"), "{refused}");
}

#[test]
fn a_creation_that_was_interrupted_starts_again() {
    let dir = tempdir().expect("a directory");
    fs::write(dir.path().join("ursa-store.new"), "").expect("a file");
    fs::create_dir_all(dir.path().join("engine")).expect("a directory");
    fs::write(dir.path().join("engine/0.jnl"), "half").expect("a file");
    assert_eq!(open_dir(dir.path()).expect("a store").stats().objects, 0);
}

#[tokio::test]
async fn a_torn_end_of_the_journal_was_never_acknowledged_and_is_dropped() {
    let dir = filled(10).await;
    let journal = journal(dir.path());
    let mut bytes = fs::read(&journal).expect("a journal");
    bytes.extend_from_within(..100);
    fs::write(&journal, bytes).expect("a torn journal");
    let store = open_dir(dir.path()).expect("the store again");
    assert_eq!(store.stats().objects, 10);
    create(&store, "a/n/after").await;
    store.close().await;
    assert_eq!(open_dir(dir.path()).expect("the store again").stats().objects, 11);
}

#[tokio::test]
async fn a_last_batch_with_a_hole_was_never_acknowledged_and_is_dropped() {
    let dir = filled(10).await;
    let journal = journal(dir.path());
    let mut bytes = fs::read(&journal).expect("a journal");
    // A second copy of the first batch with objects, whose middle has not reached the disk.
    let start = bytes.windows(4).position(|window| window == b"FJL\x03").expect("a batch") + 4;
    let end = start + bytes[start..].windows(4).position(|window| window == b"FJL\x03").expect("a batch") + 4;
    bytes.extend_from_within(start..end);
    let hole = bytes.windows(50).rposition(|window| window == [b'x'; 50]).expect("the data of an object");
    bytes[hole..hole + 50].fill(0);
    fs::write(&journal, &bytes).expect("a torn journal");
    let store = open_dir(dir.path()).expect("the store again");
    assert_eq!(store.stats().objects, 10);
    store.close().await;
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_journal_loses_nothing_silently() {
    let dir = filled(10).await;
    let original = fs::read(journal(dir.path())).expect("a journal");
    let mut refused = 0;
    for at in (0..original.len()).step_by(original.len() / 40) {
        let copied = tempdir().expect("a directory");
        copy(dir.path(), copied.path());
        let mut bytes = original.clone();
        bytes[at] ^= 0x10;
        fs::write(journal(copied.path()), bytes).expect("a damaged journal");
        for attempt in ["first", "second"] {
            match open_dir(copied.path()) {
                Ok(store) => {
                    assert_eq!(store.stats().objects, 10, "byte {at}, {attempt} attempt");
                    store.close().await;
                }
                Err(OpenError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("byte {at}, {attempt} attempt: {other}"),
            }
        }
    }
    assert!(refused >= 40, "{refused} refusals");
}

#[tokio::test]
async fn missing_files_of_the_engine_are_damage() {
    for missing in ["0.jnl", "version", "keyspaces/0/tables/0", "keyspaces/1/current", "keyspaces/1"] {
        let dir = filled(1).await;
        let path = dir.path().join("engine").join(missing);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
        let refused = refusal(dir.path());
        assert!(refused.contains("is damaged: "), "{missing}: {refused}");
    }
}
