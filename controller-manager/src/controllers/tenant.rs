//! Gives a tenant what every tenant has, and takes everything away when it is deleted.
//!
//! A new tenant gets its first namespaces and a role with every right, bound to the user `admin`. A tenant that is being
//! deleted loses its namespaces first, then what lives beside them, then its finalizer, and says what is left of it. The
//! workloads of one that is suspended are put to rest, and woken when it is not any more.

mod going;
mod rest;

use self::going::Left;
use super::content::{self, Remaining};
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Namespace, Tenant};
use api::{Error, Result, TenantName};
use client::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, Cache, Client, DeleteParams, ListParams, NAMESPACES, Names, ObjectRef,
    Resource, TENANTS, WorkQueue, is_operators,
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
        // What a tenant uses is told in its status, and asks for nothing.
        (Some(new), _) if change.old.as_ref().is_some_and(|old| is_same(old, new)) => {}
        _ => changed.add(change.key.clone()),
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Tenants { context, tenants: cache, namespaces: known }))
}

/// How often a tenant that is being put to rest is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

fn is_same(old: &Tenant, new: &Tenant) -> bool {
    let of = |tenant: &Tenant| {
        let force = tenant.metadata.annotations.get(going::FORCE).cloned();
        (
            tenant.metadata.uid.clone(),
            tenant.metadata.is_deleting(),
            tenant.spec.suspended,
            tenant.status.phase.clone(),
            force,
        )
    };
    of(old) == of(new) && old.spec.finalizers == new.spec.finalizers
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
        let phase = tenant.status.phase.as_str();
        let client = self.context.clients.of(&name, self.context.account);
        if tenant.spec.suspended {
            // First it is said, so that a rest that is cut short is woken from.
            if phase != "Suspended" {
                self.say(key, &tenant, "Suspended", None).await?;
            }
            let left = rest::put_to_rest(&client).await?;
            self.say(key, &tenant, "Suspended", Some(left)).await?;
            return Ok((left > 0).then_some(LOOK_EVERY));
        }
        if phase != "Active" {
            if phase == "Suspended" {
                rest::wake(&client).await?;
            }
            self.say(key, &tenant, "Active", None).await?;
        }
        Ok(None)
    }

    /// Writes phase and rest into the status of the tenant that was looked at, unless they are there.
    async fn say(&self, key: &ObjectRef, tenant: &Tenant, phase: &str, left: Option<usize>) -> Result<()> {
        let client = self.context.client(key);
        let mut object = client.get(TENANTS, "", &key.name).await?;
        let spec = (object["spec"]["suspended"] == true, object["metadata"]["deletionTimestamp"].is_null());
        if object["metadata"]["uid"] != tenant.metadata.uid || spec != (tenant.spec.suspended, true) {
            let why = "the tenant has been modified since it was looked at";
            return Err(Error::conflict("", TENANTS.plural, &key.name, why));
        }
        let before = object["status"].clone();
        object["status"]["phase"] = json!(phase);
        if left.is_some() || before["phase"] == "Suspended" && phase != "Suspended" {
            let now = self.context.now();
            rest::with_condition(&mut object, |old| rest::condition(old, left, now))?;
        }
        if object["status"] != before {
            client.update_status(TENANTS, "", &object).await?;
        }
        Ok(())
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
        // The operators are the group `system:masters`: a user of the name `admin` is nobody there.
        let roles = [(CLUSTER_ROLES, ROLE, role()), (CLUSTER_ROLE_BINDINGS, BINDING, binding())];
        for (resource, name, object) in roles.into_iter().filter(|_| !tenant.is_system()) {
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
        let forced = tenant.metadata.annotations.get(going::FORCE).is_some_and(|force| force == "true");
        if !namespaces.is_empty() {
            if forced {
                going::release(&client, &client.discover().await?).await?;
            }
            self.tell(key, &client, &Remaining::default()).await?;
            // The last of them to go brings the tenant back here.
            return again;
        }
        let resources = client.discover().await?;
        if forced {
            going::release(&client, &resources).await?;
        }
        let is_namespaces = |r: &dyn Names| r.group().is_empty() && r.plural() == NAMESPACES.plural;
        let beside = resources.iter().filter(|r| !r.namespaced && !is_operators(*r) && !is_namespaces(*r));
        let remaining = content::sweep(&client, beside, "").await;
        if !remaining.is_nothing() {
            tracing::info!(tenant = %name, ?remaining, "a tenant that is being deleted is not empty yet");
            self.tell(key, &client, &remaining).await?;
            return again;
        }
        // What the cache has not seen yet would be left behind by the finalizer.
        let late = client.list(NAMESPACES, "", &ListParams::default()).await?;
        if !late.items.is_empty() {
            return again;
        }
        let change = |object: &mut Value| {
            if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
                finalizers.retain(|f| f != FINALIZER);
            }
        };
        // What was told meanwhile has made a newer version of it.
        let current = self.context.client(key).get(TENANTS, "", &key.name).await?;
        if current["metadata"]["uid"] == tenant.metadata.uid {
            let version = current["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            self.context.rewrite(TENANTS, key, version, Some("finalize"), change).await?;
        }
        Ok(None)
    }

    /// Says in the tenant's status what is left of it.
    async fn tell(&self, key: &ObjectRef, client: &Client, beside: &Remaining) -> Result<()> {
        let counted = unless_gone(client.get_path("/usage").await)?.unwrap_or_default();
        let namespaces = client.list(NAMESPACES, "", &ListParams::default()).await?.items;
        let left = Left::of(&counted, beside, &namespaces);
        let operators = self.context.client(key);
        let Some(mut object) = unless_gone(operators.get(TENANTS, "", &key.name).await)? else { return Ok(()) };
        if left.tell(&mut object, self.context.now()) {
            operators.update_status(TENANTS, "", &object).await?;
        }
        Ok(())
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
