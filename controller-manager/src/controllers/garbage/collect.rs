//! Looks at one object: asks the server after its owners, and does what the answers call for.

use super::Item;
use super::monitors::{Monitor, Monitors};
use super::refs::{self, FOREGROUND, ORPHAN, Object, Standing, Verdict};
use crate::context::{Context, unless_gone};
use crate::runner::Reconcile;
use api::{Error, OwnerRef, Result};
use client::{Client, DeleteParams, ObjectRef, PatchType, Propagation};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// When to look again while caches fill.
const UNTIL_SYNCED: Duration = Duration::from_millis(500);

/// When to look again at an object whose owner is of a kind that nobody knows.
const UNTIL_KNOWN: Duration = Duration::from_secs(60);

pub struct Collector {
    pub context: Context,
    pub monitors: Arc<Monitors>,
}

impl Reconcile<Item> for Collector {
    async fn reconcile(&self, item: &Item) -> Result<Option<Duration>> {
        self.look(item).await
    }
}

impl Collector {
    async fn look(&self, item: &Item) -> Result<Option<Duration>> {
        if !self.monitors.are_synced(item.key.tenant.as_ref()) {
            return Ok(Some(UNTIL_SYNCED));
        }
        let Some(monitor) = self.monitors.get(item) else { return Ok(None) };
        let Some(seen) = monitor.objects.get(&item.key) else { return Ok(None) };
        if seen.waits_for_orphaning() {
            return self.orphan_dependents(item, &monitor, &seen).await;
        }
        if seen.is_deleting() && !seen.waits_for_dependents() {
            return Ok(None);
        }
        if !seen.waits_for_dependents() && self.monitors.all_owners_stay(item, &seen) {
            return Ok(None);
        }
        let Some(live) = self.live(item, &monitor, &seen).await? else { return Ok(None) };
        let object: Object = parse(&live)?;
        if object.waits_for_dependents() {
            return self.wait_for_dependents(item, &monitor, &object).await;
        }
        let mut standings = Vec::new();
        for owner in &object.metadata.owner_references {
            match self.standing(owner, item).await? {
                Some(standing) => {
                    if standing == Standing::Absent {
                        self.monitors.tell_of_stranger(item, &object, owner);
                    }
                    standings.push((owner, standing));
                }
                None => return Ok(Some(UNTIL_KNOWN)),
            }
        }
        let dependents = self.monitors.dependents(item, &object.metadata.uid);
        match refs::verdict(&standings, !dependents.is_empty()) {
            Verdict::Keep => Ok(None),
            Verdict::Drop(uids) => {
                let keep = |owner: &mut Value| !uids.iter().any(|uid| owner["uid"] == **uid);
                self.patch(item, &monitor, &refs::owners_patch(&live, keep)).await
            }
            Verdict::DeleteForeground => {
                if dependents.iter().any(|(_, d)| d.waits_for_dependents()) {
                    let unblock = |owner: &mut Value| {
                        owner["blockOwnerDeletion"] = json!(false);
                        true
                    };
                    self.patch(item, &monitor, &refs::owners_patch(&live, unblock)).await?;
                    return self.delete(item, &monitor, &object, None, Propagation::Foreground).await;
                }
                let version = Some(object.metadata.resource_version.clone());
                self.delete(item, &monitor, &object, version, Propagation::Foreground).await
            }
            Verdict::Delete => {
                let propagation = match () {
                    () if object.has_finalizer(ORPHAN) => Propagation::Orphan,
                    () if object.has_finalizer(FOREGROUND) => Propagation::Foreground,
                    () => Propagation::Background,
                };
                let version = Some(object.metadata.resource_version.clone());
                self.delete(item, &monitor, &object, version, propagation).await
            }
        }
    }

    /// What the server says of an owner; `None` if its kind is not known.
    async fn standing(&self, owner: &OwnerRef, dependent: &Item) -> Result<Option<Standing>> {
        let Some((_, monitor)) = self.monitors.of_kind(owner, &dependent.key) else { return Ok(None) };
        // An owner that cannot be there as the reference says is not known to be absent.
        let Some(key) = monitor.locate(owner, &dependent.key) else { return Ok(Some(Standing::Solid)) };
        let client = self.client(&key);
        let live = client.get(&monitor.resource, &key.namespace, &key.name).await;
        let Some(live) = unless_gone(live)? else { return Ok(Some(Standing::Absent)) };
        let live = parse(&live)?;
        Ok(Some(if live.metadata.uid != owner.uid {
            Standing::Absent
        } else if live.waits_for_dependents() {
            Standing::WaitsForDependents
        } else {
            Standing::Solid
        }))
    }

    /// Lets an owner go once nothing that blocks it is left; else sees to it that what blocks it goes.
    async fn wait_for_dependents(&self, item: &Item, monitor: &Monitor, owner: &Object) -> Result<Option<Duration>> {
        let dependents = self.monitors.dependents(item, &owner.metadata.uid);
        // What a tenant writes into its objects holds up none of the operators'.
        let own = |dependent: &Item| dependent.key.tenant == item.key.tenant;
        let blocks = |(dependent, object): &(Item, Arc<Object>)| own(dependent) && object.blocks(&owner.metadata.uid);
        let blocking: Vec<_> = dependents.into_iter().filter(blocks).collect();
        if blocking.is_empty() {
            return self.remove_finalizer(item, monitor, owner, FOREGROUND).await;
        }
        for (dependent, object) in blocking {
            if !object.is_deleting() {
                self.monitors.queue(dependent);
            }
        }
        Ok(None)
    }

    async fn orphan_dependents(&self, item: &Item, monitor: &Monitor, owner: &Object) -> Result<Option<Duration>> {
        let uid = &owner.metadata.uid;
        for (dependent, _) in self.monitors.dependents(item, uid) {
            let Some(kind) = self.monitors.get(&dependent) else { continue };
            let client = self.client(&dependent.key);
            let live = client.get(&kind.resource, &dependent.key.namespace, &dependent.key.name).await;
            let Some(live) = unless_gone(live)? else { continue };
            if parse(&live)?.is_owned_by(uid) {
                let keep = |reference: &mut Value| reference["uid"] != **uid;
                let patched = self.patch(&dependent, &kind, &refs::owners_patch(&live, keep)).await;
                if let Err(error) = patched {
                    // A tenant's own policies may refuse it: that holds up none of the operators' objects.
                    if dependent.key.tenant == item.key.tenant {
                        return Err(error);
                    }
                    tracing::info!(%error, %dependent, "a dependent keeps its reference to an owner that goes");
                }
            }
        }
        self.remove_finalizer(item, monitor, owner, ORPHAN).await
    }

    async fn remove_finalizer(
        &self,
        item: &Item,
        monitor: &Monitor,
        seen: &Object,
        finalizer: &str,
    ) -> Result<Option<Duration>> {
        let Some(live) = self.live(item, monitor, seen).await? else { return Ok(None) };
        if !parse(&live)?.has_finalizer(finalizer) {
            return Ok(None);
        }
        self.patch(item, monitor, &refs::finalizer_patch(&live, finalizer)).await
    }

    /// The object as the server has it, if it is still the one that was seen.
    async fn live(&self, item: &Item, monitor: &Monitor, seen: &Object) -> Result<Option<Value>> {
        let client = self.client(&item.key);
        let live = client.get(&monitor.resource, &item.key.namespace, &item.key.name).await;
        Ok(unless_gone(live)?.filter(|l| l["metadata"]["uid"] == *seen.metadata.uid))
    }

    async fn patch(&self, item: &Item, monitor: &Monitor, patch: &Value) -> Result<Option<Duration>> {
        let (client, key) = (self.client(&item.key), &item.key);
        let patched = client.patch(&monitor.resource, &key.namespace, &key.name, PatchType::Merge, patch, None).await;
        unless_gone(patched)?;
        Ok(None)
    }

    async fn delete(
        &self,
        item: &Item,
        monitor: &Monitor,
        object: &Object,
        resource_version: Option<String>,
        propagation: Propagation,
    ) -> Result<Option<Duration>> {
        let params = DeleteParams {
            propagation: Some(propagation),
            resource_version,
            ..DeleteParams::of_uid(&object.metadata.uid)
        };
        let (client, key) = (self.client(&item.key), &item.key);
        unless_gone(client.delete(&monitor.resource, &key.namespace, &key.name, &params).await)?;
        Ok(None)
    }

    fn client(&self, key: &ObjectRef) -> Client {
        self.context.client(key)
    }
}

fn parse(live: &Value) -> Result<Object> {
    serde::Deserialize::deserialize(live).map_err(|e: serde_json::Error| Error::internal(e))
}
