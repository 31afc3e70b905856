//! Counts what each ResourceQuota limits, when its limits change and when something is given back. What is taken is
//! counted by the API server as it admits it.

mod followed;
mod pods;
mod scopes;
#[cfg(test)]
mod tests;
mod usage;

use self::followed::Followed;
use self::usage::Counted;
use crate::context::{Account, Context};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Claim, Meta, Pod, Service, View, or_default};
use api::{Error, Quantity, Result};
use client::{Cache, Change, DiscoveredResource, ListParams, ObjectRef, Resource, WorkQueue};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "resourcequota-controller", account: Account::Service("resourcequota-controller"), make };

const QUOTAS: Resource = Resource { group: "", version: "v1", plural: "resourcequotas", namespaced: true };

/// When to count again what nobody tells of: objects of kinds that are a tenant's own.
const COUNT_AGAIN: Duration = Duration::from_secs(300);

pub type Amounts = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub hard: Amounts,
    #[serde(deserialize_with = "or_default")]
    pub scopes: Vec<String>,
    pub scope_selector: Option<ScopeSelector>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Vec<ScopeTerm>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeTerm {
    pub scope_name: String,
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub hard: Option<Amounts>,
    pub used: Option<Amounts>,
}

impl View for Quota {
    const RESOURCE: Resource = QUOTAS;
}

struct Quotas {
    context: Context,
    quotas: Cache<Quota>,
    followed: Arc<Followed>,
    /// Kinds of tenants, by tenant and `plural.group`.
    kinds: Mutex<HashMap<(String, String), DiscoveredResource>>,
}

/// Queues the quotas of the namespace of an object that gave something back.
fn queue_namespace(key: &ObjectRef, quotas: &Cache<Quota>, queue: &WorkQueue<ObjectRef>) {
    if let Some(tenant) = &key.tenant {
        quotas.list_namespace(tenant, &key.namespace).into_iter().for_each(|(key, _)| queue.add(key));
    }
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<Quota>();
    let quotas = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| match (&change.old, &change.new) {
        (Some(old), Some(new)) if old.spec == new.spec && new.status.hard.is_some() => {}
        (_, Some(_)) => changed.add(change.key.clone()),
        (_, None) => {}
    });
    gives_back(setup, &quotas, &queue, |old: &Pod, new| new.is_none_or(|n| n.is_finished() && !old.is_finished()));
    gives_back(setup, &quotas, &queue, |old: &Service, new| new.is_none_or(|n| n.spec != old.spec));
    gives_back(setup, &quotas, &queue, |old: &Claim, new| {
        new.is_none_or(|n| n.spec.resources.requests != old.spec.resources.requests)
    });
    let followed = Arc::new(Followed::new(setup.reader.clone(), quotas.clone(), queue.clone()));
    let context = setup.context.clone();
    let reconcile = Quotas { context, quotas, followed: followed.clone(), kinds: Mutex::default() };
    Controller::new(queue, Arc::new(reconcile)).beside(move |stop| followed.run(stop).boxed())
}

/// Queues quotas when an object of a kind goes, or changes so that it may take less.
fn gives_back<T: View>(
    setup: &mut Setup,
    quotas: &Cache<Quota>,
    queue: &WorkQueue<ObjectRef>,
    gives: fn(&T, Option<&T>) -> bool,
) {
    let (quotas, queue) = (quotas.clone(), queue.clone());
    setup.informers.of::<T>().on_change(move |change: &Change<T>| {
        if change.old.as_ref().is_some_and(|old| gives(old, change.new.as_deref())) {
            queue_namespace(&change.key, &quotas, &queue);
        }
    });
}

impl Reconcile for Quotas {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Quotas {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(quota) = self.quotas.get(key).filter(|q| !q.metadata.is_deleting()) else { return Ok(None) };
        let mut used: BTreeMap<String, Quantity> = BTreeMap::new();
        let mut again = None;
        for (counted, names) in usage::counted(&quota.spec.hard) {
            let (found, told) = self.count(key, &quota.spec, &counted, &names).await?;
            again = again.or((!told).then_some(COUNT_AGAIN));
            used.extend(found);
        }
        let now: Vec<Value> = self.client_list(key).await?;
        let Some(mut object) = now.into_iter().next() else { return Ok(None) };
        if object["metadata"]["resourceVersion"] != *quota.metadata.resource_version {
            return Err(Error::conflict("", QUOTAS.plural, &key.name, "it was changed while its usage was counted"));
        }
        // What is no longer counted for keeps what was known of it.
        let before = quota.status.used.clone().unwrap_or_default();
        let mut wanted: Amounts = before.into_iter().filter(|(name, _)| quota.spec.hard.contains_key(name)).collect();
        wanted.extend(used.into_iter().map(|(name, amount)| (name, amount.to_string())));
        if usage::same(quota.status.hard.as_ref(), &quota.spec.hard) && usage::same(quota.status.used.as_ref(), &wanted)
        {
            return Ok(again);
        }
        object["status"] = json!({"hard": quota.spec.hard, "used": wanted});
        self.context.client(key).update_status(QUOTAS, &key.namespace, &object).await?;
        Ok(again)
    }

    /// The quota itself, whole: the controller may list quotas and not get them.
    async fn client_list(&self, key: &ObjectRef) -> Result<Vec<Value>> {
        let named = ListParams::fields(format!("metadata.name={}", key.name));
        Ok(self.context.client(key).list(QUOTAS, &key.namespace, &named).await?.items)
    }

    /// How much there is of some resources that one kind counts for, and whether it is told of when that is less.
    async fn count(
        &self,
        key: &ObjectRef,
        spec: &Spec,
        counted: &Counted,
        names: &[String],
    ) -> Result<(BTreeMap<String, Quantity>, bool)> {
        let client = self.context.client(key);
        let (namespace, all) = (&key.namespace, ListParams::default());
        let mut sums: BTreeMap<String, Quantity> = names.iter().map(|n| (n.clone(), Quantity::ZERO)).collect();
        let now = self.context.now();
        let told = match counted {
            Counted::Pods => {
                let pods = client.list_as::<pods::Pod>(client::PODS, namespace, &all).await?.items;
                for pod in pods.iter().filter(|p| scopes::matches(spec, p)) {
                    usage::add(&mut sums, pods::usage(pod, now));
                }
                true
            }
            Counted::Services if scopes::are_none(spec) => {
                let services = client.list_as::<usage::Service>(client::SERVICES, namespace, &all).await?.items;
                services.iter().for_each(|s| usage::add(&mut sums, usage::of_service(s)));
                true
            }
            Counted::Claims => {
                let claims = client.list_as::<usage::Claim>(crate::view::CLAIMS, namespace, &all).await?.items;
                let matching = claims.iter().filter(|c| scopes::matches_claim(spec, c));
                matching.for_each(|c| usage::add(&mut sums, usage::of_claim(c)));
                true
            }
            Counted::Kind(kind) if scopes::are_none(spec) => {
                let Some(resource) = self.resolve(key, kind).await? else { return Ok((BTreeMap::new(), true)) };
                let told = self.followed.follow(&resource).await;
                let count = client.list_as::<serde::de::IgnoredAny>(resource, namespace, &all).await?.items.len();
                let count = Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
                sums.values_mut().for_each(|sum| *sum = count);
                told
            }
            Counted::Services | Counted::Kind(_) => true,
        };
        Ok((sums, told))
    }

    /// The kind that a tenant knows by `plural.group`.
    async fn resolve(&self, key: &ObjectRef, kind: &str) -> Result<Option<DiscoveredResource>> {
        let name = (key.tenant.as_ref().map_or(String::new(), |t| t.to_string()), kind.to_owned());
        if let Some(known) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(Some(known.clone()));
        }
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        let all = self.context.client(key).discover().await?;
        let is_it =
            |r: &DiscoveredResource| *r.plural == *plural && *r.group == *group && r.namespaced && r.can("list");
        let Some(found) = all.into_iter().find(is_it) else { return Ok(None) };
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(name, found.clone());
        Ok(Some(found))
    }
}
