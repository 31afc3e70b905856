//! Accepts the names of CustomResourceDefinitions, lets them be served, and deletes their objects before they go.
//!
//! Names are the tenant's: what another tenant defines is no conflict.

mod names;

use super::content;
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CustomResourceDefinition, Meta};
use api::Result;
use client::CUSTOM_RESOURCE_DEFINITIONS;
use client::{Cache, Client, DeleteParams, DiscoveredResource, ListParams, ObjectRef, Propagation, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "customresourcedefinition-controller",
    account: Account::Master("customresourcedefinition-controller"),
    make,
};

/// Keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// When to look again at objects that were asked to go, at first.
const UNTIL_GONE: Duration = Duration::from_secs(1);

struct Definitions {
    context: Context,
    definitions: Cache<CustomResourceDefinition>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<CustomResourceDefinition>();
    let cache = informer.cache();
    let (changed, known) = (queue.clone(), cache.clone());
    informer.on_change(move |change| {
        changed.add(change.key.clone());
        let names = |d: &Option<Arc<CustomResourceDefinition>>| d.as_ref().map(|d| d.status.accepted_names.clone());
        let Some(tenant) = change.key.tenant.as_ref().filter(|_| names(&change.old) != names(&change.new)) else {
            return;
        };
        // Names that it had or wanted are free for others, or not any more.
        let group = change.old.as_ref().or(change.new.as_ref()).map(|d| d.spec.group.clone());
        for (key, other) in known.list_tenant(tenant) {
            if Some(&other.spec.group) == group.as_ref() && !other.has("NamesAccepted") {
                changed.add(key);
            }
        }
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Definitions { context, definitions: cache }))
}

impl Reconcile for Definitions {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(seen) = self.definitions.get(key) else { return Ok(None) };
        let Some(tenant) = &key.tenant else { return Ok(None) };
        if seen.metadata.is_deleting() {
            return self.clean_up(key, &seen).await;
        }
        let others = self.definitions.list_tenant(tenant).into_iter().map(|(_, other)| other);
        let others: Vec<_> = others.filter(|other| other.metadata.uid != seen.metadata.uid).collect();
        let status = names::plan(&seen, others.iter().map(|other| &**other), self.context.now());
        let Some(status) = status else { return Ok(None) };
        self.write(key, &seen, |definition| {
            for (field, value) in status {
                definition["status"][field] = value;
            }
        })
        .await?;
        Ok(None)
    }
}

#[derive(Deserialize)]
struct Listed {
    metadata: Meta,
}

impl Definitions {
    async fn write(
        &self,
        key: &ObjectRef,
        seen: &CustomResourceDefinition,
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let version = &seen.metadata.resource_version;
        let written = self.context.rewrite(CUSTOM_RESOURCE_DEFINITIONS, key, version, Some("status"), change).await;
        unless_gone(written).map(drop)
    }

    /// Deletes the objects of a definition that is going, and lets it go when they are gone.
    async fn clean_up(&self, key: &ObjectRef, seen: &CustomResourceDefinition) -> Result<Option<Duration>> {
        if !seen.metadata.finalizers.iter().any(|f| f == CLEANUP) {
            return Ok(None);
        }
        let client = self.context.client(key);
        if let Some(resource) = seen.resource()
            && !is_empty(&client, &resource).await?
        {
            let since = seen.metadata.deletion_timestamp.unwrap_or_default();
            let again = content::look_again(self.context.now().since(since.0));
            return Ok(Some(if again > UNTIL_GONE * 3 { again } else { UNTIL_GONE }));
        }
        let Some(mut live) = unless_gone(client.get(CUSTOM_RESOURCE_DEFINITIONS, "", &key.name).await)? else {
            return Ok(None);
        };
        if live["metadata"]["uid"] != *seen.metadata.uid {
            return Ok(None);
        }
        if let Some(finalizers) = live["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != CLEANUP);
        }
        unless_gone(client.update(CUSTOM_RESOURCE_DEFINITIONS, "", &live).await)?;
        Ok(None)
    }
}

/// Asks all objects of a kind to go; whether none is left.
async fn is_empty(client: &Client, resource: &DiscoveredResource) -> Result<bool> {
    let list = || async {
        let listed = unless_gone(client.list_as::<Listed>(resource, "", &ListParams::default()).await)?;
        Ok::<_, api::Error>(listed.map(|list| list.items).unwrap_or_default())
    };
    let found = list().await?;
    let staying = found.iter().filter(|object| !object.metadata.is_deleting());
    let namespaces: BTreeSet<&str> = staying.map(|object| object.metadata.namespace.as_str()).collect();
    let background = DeleteParams { propagation: Some(Propagation::Background), ..DeleteParams::default() };
    for namespace in namespaces {
        let deleted = client.delete_collection(resource, namespace, &background, &ListParams::default()).await;
        unless_gone(deleted)?;
    }
    Ok(found.is_empty() || list().await?.is_empty())
}

/// What a condition is written as.
fn condition(kind: &str, status: &str, reason: &str, message: &str, at: api::Timestamp) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at.to_string(),
    })
}
