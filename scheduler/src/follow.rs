//! What the scheduler follows: pods, nodes, namespaces, disruption budgets, and what groups pods, over all tenants.

use crate::placement::{
    AttachLimits, Budget, Capacity, Claim, ClaimKey, Class, Driver, Node, Pod, PodKey, PodSelector, Share,
    StorageChange, Volume,
};
use crate::state::Event;
use api::TenantName;
use client::{
    Change, Client, ListParams, NAMESPACES, NODES, ObjectRef, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource,
    SERVICES, STATEFUL_SETS, TENANTS,
};
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, SelectAll};
use runtime::{Phase, Supervisor};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

const POD_DISRUPTION_BUDGETS: Resource =
    Resource { group: "policy", version: "v1", plural: "poddisruptionbudgets", namespaced: true };

pub const CLAIMS: Resource = Resource { group: "", version: "v1", plural: "persistentvolumeclaims", namespaced: true };
pub const VOLUMES: Resource = Resource { group: "", version: "v1", plural: "persistentvolumes", namespaced: false };

const fn storage(plural: &'static str, namespaced: bool) -> Resource {
    Resource { group: "storage.k8s.io", version: "v1", plural, namespaced }
}

/// Everything that happens, and when all of it is known that was there at the start.
pub struct Followed {
    pub events: SelectAll<BoxStream<'static, Event>>,
    pub synced: BoxFuture<'static, ()>,
}

/// Starts to follow. The supervisor owns what drives it.
pub fn follow(client: &Client, supervisor: &mut Supervisor) -> Followed {
    let mut followed =
        Following { client: client.all_tenants(), supervisor, events: SelectAll::new(), synced: Vec::new() };
    followed.add("scheduler-pods", PODS, |change: Change<Pod>| {
        let tenant = change.key.tenant.clone()?;
        let key = PodKey::new(&tenant, &change.key.namespace, &change.key.name);
        Some(Event::Pod { key, pod: change.new })
    });
    followed.add("scheduler-namespaces", NAMESPACES, |change: Change<Named>| {
        let labels = change.new.map(|new| new.metadata.labels.clone().unwrap_or_default());
        Some(Event::Namespace { tenant: change.key.tenant?, name: change.key.name, labels })
    });
    followed.add("scheduler-services", SERVICES, |change: Change<Selecting<BTreeMap<String, String>>>| {
        let (tenant, namespace, name) = names(change.key)?;
        Some(Event::Service { tenant, namespace, name, selector: change.new.and_then(|new| new.spec.selector.clone()) })
    });
    for (task, kind, resource) in [
        ("scheduler-replicasets", "ReplicaSet", REPLICA_SETS),
        ("scheduler-statefulsets", "StatefulSet", STATEFUL_SETS),
    ] {
        followed.add(task, resource, move |change: Change<Selecting<Value>>| {
            let (tenant, namespace, name) = names(change.key)?;
            let selector = change.new.map(|new| PodSelector::of(new.spec.selector.as_ref()));
            Some(Event::Controller { tenant, namespace, kind, name, selector })
        });
    }
    followed.add(
        "scheduler-replicationcontrollers",
        REPLICATION_CONTROLLERS,
        |change: Change<Selecting<BTreeMap<String, String>>>| {
            let (tenant, namespace, name) = names(change.key)?;
            let labels = change.new.map(|new| new.spec.selector.clone().unwrap_or_default());
            let selector = labels.map(|labels| PodSelector::of_labels(&labels));
            Some(Event::Controller { tenant, namespace, kind: "ReplicationController", name, selector })
        },
    );
    followed.add("scheduler-budgets", POD_DISRUPTION_BUDGETS, |change: Change<WireBudget>| {
        let (tenant, namespace, name) = names(change.key)?;
        let budget = change.new.map(|new| Budget {
            selector: PodSelector::of(new.spec.selector.as_ref()),
            disruptions_allowed: new.status.disruptions_allowed.unwrap_or(0),
            disrupted: new.status.disrupted_pods.iter().flatten().map(|(name, _)| name.clone()).collect(),
        });
        Some(Event::Budget { tenant, namespace, name, budget })
    });
    follow_storage(&mut followed);
    // Nodes, and what drivers do on them, belong to no tenant.
    followed.client = client.clone();
    followed.add("scheduler-tenants", TENANTS, |change: Change<Share>| {
        let tenant = TenantName::new(&change.key.name).ok()?;
        Some(Event::Share { tenant, share: change.new.map(|new| (*new).clone()) })
    });
    followed.add("scheduler-csidrivers", storage("csidrivers", false), |change: Change<Driver>| {
        Some(Event::Storage(StorageChange::Driver { name: change.key.name, driver: change.new.map(|new| *new) }))
    });
    followed.add("scheduler-csinodes", storage("csinodes", false), |change: Change<AttachLimits>| {
        let limits = change.new.map(|new| (*new).clone());
        Some(Event::Storage(StorageChange::Limits { node: change.key.name, limits }))
    });
    followed.add("scheduler-nodes", NODES, |change: Change<Node>| {
        Some(Event::Node { name: change.key.name, node: change.new })
    });
    let Following { events, synced, .. } = followed;
    Followed { events, synced: Box::pin(async { drop(join_all(synced).await) }) }
}

/// Claims, and what decides where they can be used.
fn follow_storage(followed: &mut Following) {
    followed.add("scheduler-claims", CLAIMS, |change: Change<Claim>| {
        let (tenant, namespace, name) = names(change.key)?;
        let key = ClaimKey { tenant, namespace: namespace.into(), name: name.into() };
        Some(Event::Storage(StorageChange::Claim { key, claim: change.new }))
    });
    followed.add("scheduler-volumes", VOLUMES, |change: Change<Volume>| {
        let (tenant, _, name) = names(change.key)?;
        Some(Event::Storage(StorageChange::Volume { tenant, name, volume: change.new }))
    });
    followed.add("scheduler-storageclasses", storage("storageclasses", false), |change: Change<Class>| {
        let (tenant, _, name) = names(change.key)?;
        Some(Event::Storage(StorageChange::Class { tenant, name, class: change.new }))
    });
    followed.add("scheduler-csicapacities", storage("csistoragecapacities", true), |change: Change<Capacity>| {
        let (tenant, namespace, name) = names(change.key)?;
        let capacity = change.new.map(|new| (*new).clone());
        Some(Event::Storage(StorageChange::Capacity { tenant, namespace, name, capacity }))
    });
}

struct Following<'a> {
    client: Client,
    supervisor: &'a mut Supervisor,
    events: SelectAll<BoxStream<'static, Event>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl Following<'_> {
    /// Follows one resource. What `event` cannot use is left out: an object that should have a tenant and has none.
    fn add<T: DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        task: &'static str,
        resource: Resource,
        event: impl Fn(Change<T>) -> Option<Event> + Send + 'static,
    ) {
        let (cache, reflector, changes) = client::reflect::<T>(self.client.clone(), resource, ListParams::default());
        self.supervisor.spawn(Phase::Workers, task, |stop| reflector.run(stop));
        self.synced.push(Box::pin(async move { cache.synced().await }));
        self.events.push(changes.filter_map(move |change| std::future::ready(event(change))).boxed());
    }
}

fn names(key: ObjectRef) -> Option<(TenantName, String, String)> {
    Some((key.tenant?, key.namespace, key.name))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    metadata: LabelledMetadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LabelledMetadata {
    labels: Option<BTreeMap<String, String>>,
}

/// A service, or something that owns pods.
#[derive(Deserialize)]
struct Selecting<S> {
    spec: SelectingSpec<S>,
}

#[derive(Deserialize)]
struct SelectingSpec<S> {
    selector: Option<S>,
}

#[derive(Deserialize)]
struct WireBudget {
    spec: SelectingSpec<Value>,
    #[serde(default)]
    status: BudgetStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    disruptions_allowed: Option<i64>,
    disrupted_pods: Option<HashMap<String, Value>>,
}
