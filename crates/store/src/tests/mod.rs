//! What the tests of the store share: a disk in memory that obeys commands, and short names for objects and writes.

mod backup;
mod commit;
mod conformance;
mod corruption;
mod directory;
mod disk;
mod durability;
mod etcd;
mod guarantees;
mod linear;
mod meter;
mod model;
mod moving;
mod partitions;
mod power;
mod watch;
mod watchers;

use crate::{
    Change, Class, CommitError, Expect, Limits, OpenError, Scope, Snapshot, Store, TooOld, Version, Watch, Write,
};
use api::selector::{FieldSelector, LabelSelector, Selector};
use api::{Object, ObjectKey, ResourceId, Revision, Space, TenantName};
use disk::Disk;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is asked of a store with one partition, in numbers.
trait OfOnePartition {
    fn watch_after(&self, scope: Scope, selector: Selector, after: Revision) -> Result<Watch, TooOld>;
    fn state_at(&self, resource: &ResourceId, revision: Revision) -> Result<Snapshot, TooOld>;
    async fn reaches(&self, revision: Revision, deadline: Duration) -> bool;
}

impl OfOnePartition for Store {
    fn watch_after(&self, scope: Scope, selector: Selector, after: Revision) -> Result<Watch, TooOld> {
        self.watch(&scope, &selector, &Version::At(after))
    }

    fn state_at(&self, resource: &ResourceId, revision: Revision) -> Result<Snapshot, TooOld> {
        self.snapshot_at(&Scope::AllTenants(resource.clone()), &Version::At(revision))
    }

    async fn reaches(&self, revision: Revision, deadline: Duration) -> bool {
        self.wait_for(&Scope::AllTenants(pods()), &Version::At(revision), deadline).await
    }
}

trait Seen {
    fn seen(&self) -> Revision;
}

impl Seen for Watch {
    fn seen(&self) -> Revision {
        self.progress().newest()
    }
}

fn fields(_: &ResourceId) -> &'static [&'static str] {
    &["spec.nodeName"]
}

fn open(disk: &Disk, limits: Limits) -> Result<Store, OpenError> {
    Store::start(Box::new(disk.clone()), Path::new("/data"), fields, limits)
}

fn new_store() -> Store {
    open(&Disk::new(), Limits::default()).expect("a new store")
}

fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a tenant name")
}

/// The pod that `tenant/namespace/name` names.
fn pod(path: &str) -> ObjectKey {
    let [of, namespace, name] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
    ObjectKey::new(pods(), Space::Tenant(tenant(of)), namespace, name).expect("a key")
}

fn object(key: &ObjectKey, mut value: Value) -> Object {
    if value["metadata"].is_null() {
        value["metadata"] = json!({});
    }
    Object::encode(key.clone(), &mut value, fields(&key.resource)).expect("an object")
}

fn put(path: &str, expect: Expect, value: Value) -> Write {
    let key = pod(path);
    Write { change: Change::Put(object(&key, value)), key, expect, class: Class::Durable }
}

fn delete(path: &str, expect: Expect) -> Write {
    Write { key: pod(path), expect, change: Change::Delete, class: Class::Durable }
}

fn relaxed(write: Write) -> Write {
    Write { class: Class::Relaxed, ..write }
}

async fn commit(store: &Store, write: Write) -> Result<Arc<Object>, CommitError> {
    store.commit(vec![write]).await.map(|objects| objects[0].clone())
}

async fn create(store: &Store, path: &str) -> Revision {
    commit(store, put(path, Expect::Absent, json!({}))).await.expect("a new object").revision
}

fn selector(labels: &str, fields: &str) -> Selector {
    Selector {
        labels: LabelSelector::parse(labels).expect("a label selector"),
        fields: FieldSelector::parse(fields).expect("a field selector"),
    }
}

/// Everything that a watch has ready, as `KIND path@revision`.
fn ready(watch: &mut Watch) -> Vec<String> {
    std::iter::from_fn(|| watch.try_next())
        .map(|next| match next {
            Ok(delivery) => {
                let key = &delivery.object.key;
                let tenant = key.tenant().map_or("", TenantName::as_str);
                let kind = delivery.kind.as_str();
                format!("{kind} {tenant}/{}/{}@{}", key.namespace, key.name, delivery.object.revision)
            }
            Err(ended) => ended.to_string(),
        })
        .take_while({
            let mut ended = false;
            move |text| !std::mem::replace(&mut ended, text.starts_with("the "))
        })
        .collect()
}

fn names(objects: impl Iterator<Item = impl AsRef<Object>>) -> Vec<String> {
    objects.map(|object| object.as_ref().key.durable()).collect()
}
