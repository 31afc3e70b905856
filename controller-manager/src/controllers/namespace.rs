//! Empties a namespace that is being deleted, and lets it go.
//!
//! Pods go first, and nothing else before the last of them is gone: what protects a running pod (a network policy, for
//! one) must not go before it.

mod conditions;

use self::conditions::Outcome;
use super::content::{self, Remaining};
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Namespace, Pod, Tenant};
use api::{Result, TenantName};
use client::{Cache, Client, DiscoveredResource, NAMESPACES, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "namespace-controller", account: Account::Service("namespace-controller"), make };

/// The finalizer that this controller takes away.
const FINALIZER: &str = "kubernetes";

struct Namespaces {
    context: Context,
    namespaces: Cache<Namespace>,
    tenants: Cache<Tenant>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let namespaces = setup.informers.of::<Namespace>();
    let cache = namespaces.cache();
    let changed = queue.clone();
    namespaces.on_change(move |change| {
        if change.new.as_ref().is_some_and(|n| n.metadata.is_deleting()) {
            changed.add(change.key.clone());
        }
    });
    let (changed, known) = (queue.clone(), cache.clone());
    setup.informers.of::<Pod>().on_change(move |change| {
        let Some(tenant) = change.key.tenant.as_ref().filter(|_| change.new.is_none()) else { return };
        let key = ObjectRef::new(tenant, "", &change.key.namespace);
        if known.get(&key).is_some_and(|n| n.metadata.is_deleting()) {
            changed.add(key);
        }
    });
    let informer = setup.informers.of::<Tenant>();
    let tenants = informer.cache();
    let (changed, known) = (queue.clone(), cache.clone());
    // What could not be emptied by the tenant's rules, and waits for long, can be now.
    informer.on_change(move |change| {
        let going = change.new.as_ref().filter(|t| t.metadata.is_deleting());
        let Some(Ok(tenant)) = going.map(|t| TenantName::new(&t.metadata.name)) else { return };
        for (key, _) in known.list_tenant(&tenant).into_iter().filter(|(_, n)| n.metadata.is_deleting()) {
            changed.add(key);
        }
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Namespaces { context, namespaces: cache, tenants }))
}

impl Reconcile for Namespaces {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Namespaces {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let seen = self.namespaces.get(key).filter(|n| n.metadata.is_deleting());
        let (Some(seen), Some(tenant)) = (seen, &key.tenant) else { return Ok(None) };
        let client = self.client(tenant);
        let Some(live) = unless_gone(client.get(NAMESPACES, "", &key.name).await)? else { return Ok(None) };
        let finalizers = live["spec"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let same = live["metadata"]["uid"] == *seen.metadata.uid && !live["metadata"]["deletionTimestamp"].is_null();
        if !same || !finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(None);
        }
        let outcome = empty(&client, &key.name).await;
        let mut live = self.note(&client, live, &outcome).await?;
        match outcome {
            Outcome::Swept(remaining) if remaining.is_nothing() => {}
            Outcome::Swept(_) | Outcome::Undiscovered(_) => {
                let since = seen.metadata.deletion_timestamp.unwrap_or_default();
                return Ok(Some(content::look_again(self.context.now().since(since.0))));
            }
        }
        if let Some(finalizers) = live["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != FINALIZER);
        }
        unless_gone(client.update_sub(NAMESPACES, "", "finalize", &live).await)?;
        Ok(None)
    }

    /// Acts with the rights that the tenant's own rules give, which the tenant may change; while the tenant is being
    /// deleted, with those that it cannot take away, so that no rule of a tenant keeps it from going.
    fn client(&self, tenant: &TenantName) -> Client {
        let going = self.tenants.get(&ObjectRef::cluster(tenant.as_str())).is_some_and(|t| t.metadata.is_deleting());
        let account = if going { Account::Master(self.context.account.name()) } else { self.context.account };
        self.context.clients.of(tenant, account)
    }

    /// Writes the conditions where they changed, and returns the namespace as it is then.
    async fn note(&self, client: &Client, mut live: Value, outcome: &Outcome) -> Result<Value> {
        let old = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let new = conditions::updated(&old, outcome, self.context.now());
        if old == new {
            return Ok(live);
        }
        live["status"]["phase"] = json!("Terminating");
        live["status"]["conditions"] = json!(new);
        client.update_status(NAMESPACES, "", &live).await
    }
}

async fn empty(client: &Client, namespace: &str) -> Outcome {
    let resources = match client.discover().await {
        Ok(resources) => resources,
        Err(error) => return Outcome::Undiscovered(error.to_string()),
    };
    let is_pods = |r: &&DiscoveredResource| r.group.is_empty() && *r.plural == *"pods";
    let namespaced = || resources.iter().filter(|r| r.namespaced);
    let pods: Remaining = content::sweep(client, namespaced().filter(is_pods), namespace).await;
    if !pods.is_nothing() {
        return Outcome::Swept(pods);
    }
    Outcome::Swept(content::sweep(client, namespaced().filter(|r| !is_pods(r)), namespace).await)
}
