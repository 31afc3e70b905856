//! Backups: what is written reads back, what is damaged is refused, and a restored store goes on behind the lost one.

use super::corruption::Random;
use super::*;
use crate::{Backup, BackupError, Record, Restore, RestoreError, extract, restore};
use tempfile::tempdir;

/// Two tenants with pods, and their Tenant objects.
async fn filled() -> Store {
    let store = new_store();
    for of in ["a", "b"] {
        let tenants = ResourceId::new("", "tenants");
        let key = ObjectKey::new(tenants, Space::Cluster, "", of).expect("a key");
        let change = Change::Put(object(&key, json!({"kind": "Tenant"})));
        commit(&store, Write { key, expect: Expect::Absent, change, class: Class::Durable }).await.expect("a tenant");
        for i in 0..20 {
            let value = json!({"data": "x".repeat(i * 2000), "text": "line\nline"});
            commit(&store, put(&format!("{of}/n/{i}"), Expect::Absent, value)).await.expect("a pod");
        }
    }
    store
}

fn written(store: &Store, of: Option<&str>) -> Vec<u8> {
    Backup::new(store.snapshot(), of.map(tenant).as_ref()).flatten().collect()
}

fn read(bytes: &[u8]) -> Result<(Restore<&[u8]>, Vec<Record>), BackupError> {
    let mut backup = Restore::open(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = backup.record()? {
        records.push(record);
    }
    Ok((backup, records))
}

#[tokio::test]
async fn a_backup_holds_everything_or_one_tenant_at_one_revision() {
    let store = filled().await;
    let mut pieces = Backup::new(store.snapshot(), None);
    let first = pieces.next().expect("a piece");
    // What is written meanwhile is not in it.
    create(&store, "a/n/later").await;
    let bytes: Vec<u8> = std::iter::once(first).chain(pieces).flatten().collect();
    let (backup, records) = read(&bytes).expect("a backup");
    assert_eq!((backup.revision(), backup.tenant(), records.len()), (store.revision() - 1, None, 42));

    let bytes_of_a = written(&store, Some("a"));
    let (backup, records) = read(&bytes_of_a).expect("a backup");
    assert_eq!((backup.tenant(), records.len()), (Some(&tenant("a")), 22));
    let stored = store.snapshot();
    for Record { key, revision, body } in records {
        let object = stored.get(&key).unwrap_or_else(|| panic!("{}", key.durable()));
        assert_eq!((revision, &body), (object.revision, &object.bytes));
        assert!(key.space == Space::Tenant(tenant("a")) || *key.name == *"a", "{}", key.durable());
    }
    let part = extract(&mut Restore::open(&bytes[..]).expect("a backup"), &tenant("b")).expect("sound");
    assert_eq!(read(&part.expect("tenant b")).expect("a backup").1.len(), 21);
    let none = extract(&mut Restore::open(&bytes[..]).expect("a backup"), &tenant("c")).expect("sound");
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_wherever_the_damage_is() {
    let store = new_store();
    for i in 0..5 {
        create(&store, &format!("a/n/{i}")).await;
    }
    let bytes = written(&store, None);
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut at {length}");
    }
    let mut random = Random(1);
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << random.below(8);
        assert!(read(&altered).is_err(), "byte {at}");
    }
    assert!(read(&[&bytes[..], b"\n"].concat()).is_err(), "something behind");
    let at = bytes.windows(4).rposition(|window| window == b"\"res").expect("a member");
    let mut altered = bytes.clone();
    altered[at] = b'x';
    let refused = read(&altered).err().expect("a refusal").to_string();
    assert_eq!(refused, "it is damaged: record /ursa/t/a/core/pods/n/4 does not match its checksum");
    assert_eq!(read(b"dear").err().expect("a refusal").to_string(), "it is damaged: a line is cut or too long");
    assert_eq!(read(b"dear\n").err().expect("a refusal").to_string(), "it is no backup of Ursa");
}

#[tokio::test]
async fn a_restored_store_goes_on_behind_every_revision_that_was_handed_out() {
    let lost = filled().await;
    let bytes = written(&lost, None);
    let later = create(&lost, "a/n/lost").await;
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("store");
    let restored = restore(&path, &bytes[..], fields).expect("restored");
    assert_eq!(restored.objects, 42);
    let store = Store::open(&path, fields, Limits::default()).expect("the store");
    assert_eq!((store.stats().objects, store.revision()), (42, restored.revision));
    // A client of the lost store learns that it must list again.
    for known in [1, later, later + 1000] {
        assert!(store.watch_after(Scope::AllTenants(pods()), Selector::default(), known).is_err(), "{known}");
    }
    let found = |store: &Store| -> Vec<_> {
        let snapshot = store.snapshot();
        snapshot.range(&Scope::AllTenants(pods()), None).map(|object| object.bytes.clone()).collect()
    };
    assert_eq!(found(&store).len(), 40);
    assert!(found(&lost).iter().filter(|object| found(&store).contains(object)).count() == 40, "as they were");
    store.close().await;

    let refused = restore(&path, &bytes[..], fields).expect_err("a refusal");
    assert!(matches!(refused, RestoreError::Taken(_)), "{refused}");
    let refused = restore(&dir.path().join("b"), &written(&lost, Some("a"))[..], fields).expect_err("a refusal");
    assert!(matches!(refused, RestoreError::OneTenant(_)), "{refused}");
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_no_store() {
    let bytes = written(&filled().await, None);
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("store");
    let refused = restore(&path, &bytes[..bytes.len() - 30], fields).expect_err("a refusal");
    assert!(matches!(refused, RestoreError::Backup(_)), "{refused}");
    let refused = Store::open(&path, fields, Limits::default()).err().expect("a refusal").to_string();
    assert!(refused.contains("was not finished; remove it and restore again"), "{refused}");
}

#[tokio::test]
async fn a_damaged_backup_is_never_read_as_if_it_were_whole() {
    let store = new_store();
    create(&store, "a/n/one").await;
    let whole = written(&store, None);
    let records = |bytes: &[u8]| read(bytes).ok().map(|(_, records)| records);
    fuzz::fuzz(&[&whole], |bytes| {
        let found = records(bytes);
        assert!(found.is_none() || found == records(&whole), "other records than were written");
    });
}
