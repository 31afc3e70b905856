//! Stored bytes that something has changed: refused with the file named, or served as they were written (check T06).

use super::directory::{copy, files, open_dir};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use tempfile::{TempDir, tempdir};

const MUTATIONS: u64 = 500;

/// A closed store with a checkpoint and two segments after it.
pub(super) async fn checkpointed() -> TempDir {
    let dir = tempdir().expect("a directory");
    let limits = Limits { checkpoint_after_bytes: 16 << 10, ..Limits::default() };
    let store = Store::open(dir.path(), fields, limits).expect("a store");
    for i in 0..100 {
        let value = json!({"data": format!("{i} {}", "x".repeat(300))});
        commit(&store, put(&format!("a/n/{}", i % 30), Expect::Any, value)).await.expect("a pod");
    }
    commit(&store, delete("a/n/7", Expect::Any)).await.expect("deleted");
    store.close().await;
    dir
}

/// A small generator, so that a failure can be repeated by its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end.max(1) as u64).expect("a small number")
    }
}

/// Changes one file of a store; says what it did.
fn mutate(dir: &Path, random: &mut Random) -> String {
    let mut all = files(dir);
    all.push(dir.join("synced"));
    all.push(dir.join("ursa-store"));
    let file = all.swap_remove(random.below(all.len()));
    let mut bytes = fs::read(&file).expect("a file");
    let (at, length) = (random.below(bytes.len()), 1 + random.below(2000));
    let end = (at + length).min(bytes.len());
    let what = match random.below(7) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "flipped a bit"
        }
        2 => {
            bytes[at..end].fill(0);
            "zeroed"
        }
        3 => {
            bytes[at..end].iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).expect("a byte"));
            "wrote at random"
        }
        4 => {
            bytes.truncate(at);
            "cut"
        }
        5 => {
            let copied = bytes[at..end].to_vec();
            let to = random.below(bytes.len() - copied.len() + 1);
            bytes[to..to + copied.len()].copy_from_slice(&copied);
            "copied a part over another"
        }
        _ => {
            fs::remove_file(&file).expect("removed");
            return format!("removed {}", file.display());
        }
    };
    fs::write(&file, bytes).expect("a changed file");
    format!("{what} at {at} to {end} of {}", file.display())
}

fn everything(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let snapshot = store.snapshot();
    snapshot.range(&Scope::AllTenants(pods()), None).map(|o| (o.key.durable(), o.bytes.to_vec())).collect()
}

#[tokio::test]
async fn whatever_happens_to_stored_bytes_is_refused_by_name_or_changes_nothing() {
    let original = checkpointed().await;
    let written = {
        let store = open_dir(original.path()).expect("the store again");
        let written = (everything(&store), store.revision());
        store.close().await;
        written
    };
    let (mut refused, mut served) = (0, 0);
    for seed in 0..MUTATIONS {
        let dir = tempdir().expect("a directory");
        copy(original.path(), dir.path());
        let what = mutate(dir.path(), &mut Random(seed));
        match open_dir(dir.path()) {
            Ok(store) => {
                assert_eq!((everything(&store), store.revision()), written, "seed {seed}: {what}");
                store.close().await;
                served += 1;
            }
            Err(error @ (OpenError::Damaged { .. } | OpenError::Format { .. } | OpenError::Foreign { .. })) => {
                let said = error.to_string();
                let named =
                    matches!(error, OpenError::Format { .. } | OpenError::Foreign { .. }) || said.contains("file ");
                assert!(named, "seed {seed}: {what}: {said}");
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {what}: {other}"),
        }
    }
    println!("{refused} of {MUTATIONS} damaged stores were refused, {served} were as before");
    assert!(refused > served, "{refused} refused, {served} served");
}
