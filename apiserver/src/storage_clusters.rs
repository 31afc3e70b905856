//! Further etcd clusters, which keep tenants: attached while the server runs, as StorageCluster objects say.
//!
//! Invariant: a tenant's objects are looked for where its Tenant object says, and nowhere else. While that cluster cannot
//! be reached, requests for the tenant are refused.

use crate::moves;
use crate::server::Server;
use api::selector::Selector;
use api::{Object, ObjectKey, ResourceId, Space, TenantName};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use kinds::Registry;
use runtime::Stop;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{EtcdOptions, EtcdTls, Limits, Partition, PartitionId, Routes, Scope, Snapshot, Version};

const NUMBER: &str = "storageClusterId";

/// The namespace of the secrets with certificates for clusters.
const NAMESPACE: &str = "kube-system";

/// When what could not be reached is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How the store finds the partition of a tenant.
pub const ROUTES: Routes = Routes { of_tenant, all };

fn resource() -> ResourceId {
    ResourceId::new("", "storageclusters")
}

fn of_tenant(system: &Snapshot, tenant: &TenantName) -> PartitionId {
    let key = ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", tenant.as_str());
    key.ok().and_then(|key| system.get(&key)).map_or(0, |tenant| moves::place_of(tenant))
}

fn all(system: &Snapshot) -> Vec<PartitionId> {
    let clusters = system.range(&Scope::Cluster(resource()), None);
    clusters.filter_map(|cluster| cluster.field(NUMBER).parse().ok()).filter(|&id| id != 0).collect()
}

impl Server {
    /// Why no tenant can be placed in a cluster.
    pub fn not_attached(&self, id: &str) -> Option<String> {
        let id: PartitionId = id.parse().ok()?;
        (id != 0 && !self.store.is_attached(id)).then(|| format!("storage cluster {id} is not attached to this server"))
    }
}

/// What is attached, and how.
type Attached = BTreeMap<PartitionId, (Wanted, Option<Partition>)>;

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    address: String,
    /// As it is stored.
    secret: Option<Bytes>,
}

/// Attaches and detaches until it is told to stop. The error is a sentence.
pub fn follow(server: Arc<Server>, stop: Stop) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(keep(server, stop))
}

async fn keep(server: Arc<Server>, stop: Stop) -> Result<(), String> {
    let mut attached = Attached::new();
    loop {
        let snapshot = server.store.snapshot();
        let scope = Scope::Cluster(resource());
        let watch = server.store.watch(&scope, &Selector::default(), &Version::At(snapshot.revision()));
        let mut watch = watch.map_err(|error| error.to_string())?;
        attach(&server, &wanted(&snapshot), &mut attached).await;
        let missing = attached.values().any(|(_, partition)| partition.is_none());
        let failed = attached.iter().filter_map(|(id, (_, partition))| Some((*id, partition.clone()?)));
        let failed = futures::future::select_all(
            failed
                .map(|(id, partition)| {
                    Box::pin(async move { (id, partition.failed().await) }) as futures::future::BoxFuture<'_, _>
                })
                .chain([Box::pin(std::future::pending()) as futures::future::BoxFuture<'_, (PartitionId, String)>]),
        );
        tokio::select! {
            biased;
            () = stop.stopped() => return Ok(()),
            // Each way leads to another look at everything.
            changed = watch.next() => if changed.is_err() && stop.is_stopped() { return Ok(()) },
            ((id, why), _, _) = failed => {
                tracing::error!(storage_cluster = id, why, "a storage cluster is attached anew");
                server.store.attach(id, None);
                attached.remove(&id);
            }
            () = tokio::time::sleep(RETRY_AFTER), if missing => {}
        }
    }
}

fn wanted(snapshot: &Snapshot) -> BTreeMap<PartitionId, Wanted> {
    let clusters = snapshot.range(&Scope::Cluster(resource()), None);
    let wanted = |cluster: &Arc<Object>| {
        let value = cluster.to_value().ok()?;
        let secret = value["tlsSecretName"].as_str().filter(|name| !name.is_empty()).and_then(|name| {
            let space = Space::Tenant(TenantName::system());
            let key = ObjectKey::new(ResourceId::new("", "secrets"), space, NAMESPACE, name).ok()?;
            Some(snapshot.get(&key)?.bytes.clone())
        });
        let address = value["serviceAddress"].as_str()?.to_owned();
        Some((cluster.field(NUMBER).parse().ok()?, Wanted { address, secret }))
    };
    clusters.filter_map(wanted).collect()
}

async fn attach(server: &Server, wanted: &BTreeMap<PartitionId, Wanted>, attached: &mut Attached) {
    let gone: Vec<PartitionId> =
        attached.iter().filter(|(id, (how, _))| wanted.get(id) != Some(how)).map(|(id, _)| *id).collect();
    for id in gone {
        server.store.attach(id, None);
        if let Some((_, Some(partition))) = attached.remove(&id) {
            partition.close().await;
        }
    }
    for (&id, how) in wanted {
        if matches!(attached.get(&id), Some((_, Some(_)))) {
            continue;
        }
        let opened = Partition::etcd(options(id, how), Registry::selectable, Limits::default()).await;
        if let Err(error) = &opened {
            tracing::warn!(storage_cluster = id, %error, "a storage cluster cannot be attached");
        }
        let partition = opened.ok();
        if let Some(partition) = &partition {
            server.store.attach(id, Some(partition.clone()));
            tracing::info!(storage_cluster = id, "attached");
        }
        attached.insert(id, (how.clone(), partition));
    }
}

fn options(id: PartitionId, wanted: &Wanted) -> EtcdOptions {
    let secret = wanted.secret.as_ref().and_then(|secret| serde_json::from_slice::<Value>(secret).ok());
    let tls = secret.as_ref().map(tls);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = |address: &str| match address.contains("://") {
        true => address.to_owned(),
        false => format!("{scheme}://{address}"),
    };
    let servers = wanted.address.split(',').map(|address| url(address.trim())).collect();
    EtcdOptions { tls, partition: id, ..EtcdOptions::new(servers) }
}

fn tls(secret: &Value) -> EtcdTls {
    let data = |name: &str| BASE64_STANDARD.decode(secret["data"][name].as_str()?).ok();
    EtcdTls { ca: data("ca.crt"), identity: data("tls.crt").zip(data("tls.key")) }
}
