//! Several partitions behind one store: each tenant in its own, all of them together where all are asked for.

use super::*;
use crate::{Partition, PartitionId, Routes, Whose};
use std::collections::BTreeMap;

pub(super) fn place(name: &str) -> ObjectKey {
    ObjectKey::new(ResourceId::new("", "places"), Space::Cluster, "", name).expect("a key")
}

/// The only field that is at hand here says where a tenant is.
pub(super) fn of_tenant(system: &Snapshot, tenant: &TenantName) -> PartitionId {
    system.get(&place(tenant.as_str())).and_then(|place| place.field("spec.nodeName").parse().ok()).unwrap_or(0)
}

pub(super) fn all(system: &Snapshot) -> Vec<PartitionId> {
    let places = system.range(&Scope::Cluster(ResourceId::new("", "places")), None);
    let mut ids: Vec<PartitionId> = places.filter_map(|place| place.field("spec.nodeName").parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

pub(super) fn partition() -> Partition {
    Partition::start(Box::new(Disk::new()), Path::new("/data"), fields, Limits::default()).expect("a partition")
}

pub(super) fn placed(name: &str, id: &str) -> Write {
    let key = place(name);
    let change = Change::Put(object(&key, json!({"spec": {"nodeName": id}})));
    Write { key, expect: Expect::Absent, change, class: Class::Durable }
}

/// Tenants `a` and `c` in partition 0, `b` in 1, which is not attached yet.
async fn store() -> Store {
    let store = Store::routed(partition(), Routes { of_tenant, all });
    create(&store, "a/n/1").await;
    create(&store, "c/n/1").await;
    commit(&store, placed("b", "1")).await.expect("placed");
    store
}

#[tokio::test]
async fn a_tenant_is_in_its_own_partition_and_is_found_there_alone() {
    let store = store().await;
    let b = tenant("b");
    assert!(matches!(store.holds(Whose::Tenant(&b)), Err(CommitError::Unavailable(_))));
    assert!(matches!(store.current_in(Whose::AllTenants).await, Err(CommitError::Unavailable(_))));
    assert!(matches!(commit(&store, put("b/n/1", Expect::Any, json!({}))).await, Err(CommitError::Unavailable(_))));
    assert!(store.watch_after(Scope::Tenant(pods(), b.clone()), Selector::default(), 1).is_err());
    store.holds(Whose::Tenant(&tenant("a"))).expect("others are not held up");
    store.attach(1, Some(partition()));
    store.holds(Whose::Tenant(&b)).expect("attached");
    let revision = create(&store, "b/n/1").await;
    assert_eq!(revision, 2, "it has revisions of its own");
    let snapshot = store.snapshot();
    assert_eq!(snapshot.version(&Scope::Tenant(pods(), b.clone())), Version::At(2));
    assert_eq!(snapshot.get(&pod("b/n/1")).expect("it is there").revision, 2);
    assert_eq!(snapshot.count(&Scope::Tenant(pods(), b)), 1);
    // Made together with its place: the place decides.
    let with_place = vec![placed("d", "1"), put("d/n/1", Expect::Absent, json!({}))];
    let made = store.commit(with_place.clone()).await.expect("both");
    assert_eq!(made.iter().map(|object| object.key.name.to_string()).collect::<Vec<_>>(), ["d", "1"]);
    assert!(matches!(store.commit(with_place).await, Err(CommitError::Exists(_))));
    assert_eq!(store.snapshot().get(&pod("d/n/1")).expect("it is there").revision, 3);
}

#[tokio::test]
async fn who_watches_all_tenants_lists_them_again_when_there_is_another_partition() {
    let store = Store::routed(partition(), Routes { of_tenant, all });
    create(&store, "a/n/1").await;
    let mut all_tenants = store.watch_after(Scope::AllTenants(pods()), Selector::default(), 1).expect("a watch");
    let mut one = store.watch_after(Scope::Tenant(pods(), tenant("a")), Selector::default(), 1).expect("a watch");
    commit(&store, placed("b", "1")).await.expect("placed");
    store.attach(1, Some(partition()));
    assert_eq!(ready(&mut all_tenants), ["the watch has fallen behind the history of events"]);
    assert_eq!(ready(&mut one), ["ADDED a/n/1@2"]);
}

#[tokio::test]
async fn all_tenants_are_listed_in_order_and_watched_from_one_version() {
    let store = store().await;
    store.attach(1, Some(partition()));
    create(&store, "b/n/1").await;
    let scope = Scope::AllTenants(pods());
    let snapshot = store.snapshot();
    assert_eq!(names(snapshot.range(&scope, None)), ["a/n/1", "b/n/1", "c/n/1"].map(|path| pod(path).durable()));
    assert_eq!(names(snapshot.range(&scope, Some(&pod("a/n/1")))).len(), 2);
    let version = snapshot.version(&scope);
    assert_eq!(version, Version::Each(BTreeMap::from([(0, 4), (1, 2)])));
    let mut watch = store.watch(&scope, &Selector::default(), &version).expect("a watch");
    assert!(watch.is_merged());
    create(&store, "b/n/2").await;
    create(&store, "a/n/2").await;
    let mut seen = ready(&mut watch);
    seen.sort();
    assert_eq!(seen, ["ADDED a/n/2@5", "ADDED b/n/2@3"]);
    let later = watch.progress();
    assert_eq!(later.to_string(), "0.5-1.3");
    commit(&store, delete("b/n/1", Expect::Any)).await.expect("deleted");
    let mut resumed = store.watch(&scope, &Selector::default(), &later).expect("a watch");
    assert_eq!(ready(&mut resumed), ["DELETED b/n/1@4"]);
    assert_eq!(store.snapshot_at(&scope, &version).expect("held").count(&scope), 3);
    assert_eq!(store.snapshot_at(&scope, &later).expect("held").count(&scope), 5);
    assert_eq!(store.snapshot().count(&scope), 4);
    let backup: Vec<u8> = crate::Backup::new(store.snapshot(), None).flatten().collect();
    let mut backup = crate::Restore::open(&backup[..]).expect("a backup");
    let mut kept: Vec<String> =
        std::iter::from_fn(|| backup.record().expect("sound")).map(|r| r.key.durable()).collect();
    kept.retain(|key| key.contains("/pods/"));
    assert_eq!(kept, ["a/n/1", "a/n/2", "b/n/2", "c/n/1"].map(|path| pod(path).durable()));
    // What is of one partition says nothing about the others.
    assert!(store.watch(&scope, &Selector::default(), &Version::At(5)).is_err());
    let of_another = Version::Each(BTreeMap::from([(0, 4), (2, 2)]));
    assert!(store.watch(&scope, &Selector::default(), &of_another).is_err());
    let changes = store.resource_revision(&pods());
    create(&store, "b/n/9").await;
    assert_ne!(store.resource_revision(&pods()), changes);
}

#[tokio::test]
async fn a_backup_of_several_partitions_is_restored_into_one() {
    let store = store().await;
    store.attach(1, Some(partition()));
    let of_b = crate::backup::tenant_key(&tenant("b"));
    let object = object(&of_b, json!({"spec": {"storageClusterId": "1"}}));
    let write = Write { key: of_b.clone(), expect: Expect::Absent, change: Change::Put(object), class: Class::Durable };
    commit(&store, write).await.expect("a tenant");
    for number in 0..9 {
        create(&store, &format!("b/n/{number}")).await;
    }
    let backup: Vec<u8> = crate::Backup::new(store.snapshot(), None).flatten().collect();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    crate::restore(&path, &backup[..], fields).expect("restored");
    let restored = Store::from(Partition::embedded(&path, fields, Limits::default()).expect("a store"));
    let (before, after) = (store.snapshot(), restored.snapshot());
    let scope = Scope::AllTenants(pods());
    assert_eq!(names(after.range(&scope, None)), names(before.range(&scope, None)));
    let tenant = after.get(&of_b).expect("it is there").to_value().expect("JSON");
    assert_eq!(tenant["spec"]["storageClusterId"], "0");
    assert!(restored.revision() > before.version(&scope).newest());
}
