//! Gives a tenant what every tenant has, and takes everything away when it is deleted.
//!
//! A new tenant gets its first namespaces and a role with every right, bound to the user `admin`. A tenant that is being
//! deleted loses its namespaces first, then what lives beside them, then its finalizer.

use super::content;
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Namespace, Tenant};
use api::{Error, Result, TenantName};
use client::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, Cache, DeleteParams, NAMESPACES, Names, ObjectRef, Resource, TENANTS,
    WorkQueue, is_operators,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "tenant-controller", account: Account::Master("tenant-controller"), make };

/// The finalizer that this controller takes away.
const FINALIZER: &str = "arktos";

const NAMESPACES_OF_EVERY_TENANT: [&str; 3] = ["default", "kube-system", "kube-public"];

const ROLE: &str = "admin-role";
const BINDING: &str = "admin-role-binding";
const ADMIN: &str = "admin";

struct Tenants {
    context: Context,
    tenants: Cache<Tenant>,
    namespaces: Cache<Namespace>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let namespaces = setup.informers.of::<Namespace>();
    let known = namespaces.cache();
    let changed = queue.clone();
    namespaces.on_change(move |change| {
        if let (None, Some(tenant)) = (&change.new, &change.key.tenant) {
            changed.add(ObjectRef::cluster(tenant.as_str()));
        }
    });
    let tenants = setup.informers.of::<Tenant>();
    let cache = tenants.cache();
    let (changed, clients) = (queue.clone(), setup.context.clients.clone());
    tenants.on_change(move |change| match (&change.new, TenantName::new(&change.key.name)) {
        (None, Ok(gone)) => clients.forget(&gone),
        _ => changed.add(change.key.clone()),
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Tenants { context, tenants: cache, namespaces: known }))
}

impl Reconcile for Tenants {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Tenants {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(tenant) = self.tenants.get(key) else { return Ok(None) };
        let name = TenantName::new(&key.name)?;
        if tenant.metadata.is_deleting() {
            return self.take_away(key, &tenant, &name).await;
        }
        self.furnish(&name).await?;
        if tenant.status.phase != "Active" {
            let change = |object: &mut Value| object["status"]["phase"] = json!("Active");
            self.context.rewrite(TENANTS, key, &tenant.metadata.resource_version, Some("status"), change).await?;
        }
        Ok(None)
    }

    async fn furnish(&self, tenant: &TenantName) -> Result<()> {
        let client = self.context.clients.of(tenant, self.context.account);
        let mut missing: Vec<(Resource, Value)> = Vec::new();
        for name in NAMESPACES_OF_EVERY_TENANT {
            if self.namespaces.get(&ObjectRef::new(tenant, "", name)).is_none() {
                missing
                    .push((NAMESPACES, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})));
            }
        }
        for (resource, name, object) in [(CLUSTER_ROLES, ROLE, role()), (CLUSTER_ROLE_BINDINGS, BINDING, binding())] {
            if unless_gone(client.get(resource, "", name).await)?.is_none() {
                missing.push((resource, object));
            }
        }
        for (resource, object) in missing {
            match client.create(resource, "", &object).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn take_away(&self, key: &ObjectRef, tenant: &Tenant, name: &TenantName) -> Result<Option<Duration>> {
        if name.is_system() {
            return Err(Error::internal("the operators' tenant is being deleted, which nothing may ask for"));
        }
        if !tenant.spec.finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(None);
        }
        let client = self.context.clients.of(name, self.context.account);
        let namespaces = self.namespaces.list_tenant(name);
        for (_, namespace) in namespaces.iter().filter(|(_, n)| !n.metadata.is_deleting()) {
            let exactly = DeleteParams::of_uid(&namespace.metadata.uid);
            match client.delete(NAMESPACES, "", &namespace.metadata.name, &exactly).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let since = tenant.metadata.deletion_timestamp.unwrap_or_default();
        let again = Ok(Some(content::look_again(self.context.now().since(since.0))));
        if !namespaces.is_empty() {
            // The last of them to go brings the tenant back here.
            return again;
        }
        let resources = client.discover().await?;
        let is_namespaces = |r: &dyn Names| r.group().is_empty() && r.plural() == NAMESPACES.plural;
        let beside = resources.iter().filter(|r| !r.namespaced && !is_operators(*r) && !is_namespaces(*r));
        let remaining = content::sweep(&client, beside, "").await;
        if !remaining.is_nothing() {
            tracing::info!(tenant = %name, ?remaining, "a tenant that is being deleted is not empty yet");
            return again;
        }
        // What the cache has not seen yet would be left behind by the finalizer.
        let late = client.list(NAMESPACES, "", &client::ListParams::default()).await?;
        if !late.items.is_empty() {
            return again;
        }
        let change = |object: &mut Value| {
            if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
                finalizers.retain(|f| f != FINALIZER);
            }
        };
        let version = &tenant.metadata.resource_version;
        self.context.rewrite(TENANTS, key, version, Some("finalize"), change).await?;
        Ok(None)
    }
}

fn role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": ROLE},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    })
}

fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": BINDING},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ADMIN}],
    })
}
