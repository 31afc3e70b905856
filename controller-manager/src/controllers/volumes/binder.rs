//! Binds claims to volumes, and says what becomes of volumes whose claims are gone.
//!
//! Binding is four writes: the volume refers to the claim, the volume is Bound, the claim names the volume, the claim is
//! Bound. Any of them may be the last before a crash; the next look goes on from there.

mod plan;
#[cfg(test)]
mod tests;

use self::plan::{BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimPlan, Notice, Seen, VolumePlan};
use crate::context::{Account, Context};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CLAIMS, Claim, PersistentVolume, Pod, StorageClass, VOLUMES};
use api::{Error, Result, TenantName};
use client::{Cache, Change, Index, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "persistentvolume-binder-controller",
    account: Account::Service("persistent-volume-binder"),
    make,
};

const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Claim(ObjectRef),
    Volume(ObjectRef),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Item::Claim(key) | Item::Volume(key)) = self;
        key.fmt(f)
    }
}

struct Binder {
    context: Context,
    claims: Cache<Claim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    pods: Index<Pod>,
    queue: WorkQueue<Item>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<Item> = WorkQueue::new();
    let pods = super::protection::pods_by_claim(setup);
    let volumes = setup.informers.of::<PersistentVolume>().cache();
    let claims = setup.informers.of::<Claim>().cache();
    let waiting = claims.index(|key, claim: &Claim| match (&key.tenant, claim.is_bound()) {
        (Some(tenant), false) => vec![tenant.to_string()],
        _ => Vec::new(),
    });
    let (changed, known) = (queue.clone(), volumes.clone());
    setup.informers.of::<Claim>().on_change(move |change| claim_changed(change, &known, &changed));
    let (changed, others, by_name) = (queue.clone(), waiting.clone(), claims.clone());
    setup
        .informers
        .of::<PersistentVolume>()
        .on_change(move |change| volume_changed(change, &others, &by_name, &changed));
    let informer = setup.informers.of::<StorageClass>();
    let classes = informer.cache();
    let (changed, others) = (queue.clone(), waiting);
    informer.on_change(move |change| queue_waiting(&change.key, &others, &changed, |_| true));
    let (changed, known) = (queue.clone(), claims.clone());
    setup.informers.of::<Pod>().on_change(move |change| {
        let Some(pod) = change.new.as_ref().filter(|p| change.old.is_none() && p.spec.node_name.is_empty()) else {
            return;
        };
        for name in pod.claims() {
            let key = pod.metadata.sibling(&name);
            if known.get(&key).is_some_and(|c| !c.is_bound()) {
                changed.add(Item::Claim(key));
            }
        }
    });
    let context = setup.context.clone();
    let binder = Binder { context, claims, volumes, classes, pods, queue: queue.clone() };
    Controller::new(queue, Arc::new(binder))
}

/// A claim leads to itself and to the volumes that it has, or had, to do with.
fn claim_changed(change: &Change<Claim>, volumes: &Cache<PersistentVolume>, queue: &WorkQueue<Item>) {
    if change.new.is_some() {
        queue.add(Item::Claim(change.key.clone()));
    }
    let Some(tenant) = &change.key.tenant else { return };
    let either: Vec<&Arc<Claim>> = [&change.old, &change.new].into_iter().flatten().collect();
    for claim in &either {
        if !claim.spec.volume_name.is_empty() {
            queue.add(Item::Volume(ObjectRef::new(tenant, "", &claim.spec.volume_name)));
        }
    }
    let is_new = change.old.is_none() || change.new.is_none();
    if is_new {
        for (key, volume) in volumes.list_tenant(tenant) {
            let refers = |r: &crate::view::ClaimRef| r.name == change.key.name && r.namespace == change.key.namespace;
            if volume.spec.claim_ref.as_ref().is_some_and(refers) {
                queue.add(Item::Volume(key));
            }
        }
    }
}

/// A volume leads to itself, to the claim that it refers to or that names it, and if it is free to claims that wait.
fn volume_changed(
    change: &Change<PersistentVolume>,
    waiting: &Index<Claim>,
    claims: &Cache<Claim>,
    queue: &WorkQueue<Item>,
) {
    let Some(tenant) = &change.key.tenant else { return };
    if change.new.is_some() {
        queue.add(Item::Volume(change.key.clone()));
    }
    for volume in [&change.old, &change.new].into_iter().flatten() {
        if let Some(reference) = &volume.spec.claim_ref {
            let key = ObjectRef::new(tenant, &reference.namespace, &reference.name);
            if claims.get(&key).is_some() {
                queue.add(Item::Claim(key));
            }
        }
    }
    let is_free = |v: &Arc<PersistentVolume>| v.spec.claim_ref.is_none() && v.status.phase == "Available";
    let free = change.new.as_ref().is_some_and(is_free);
    queue_waiting(&change.key, waiting, queue, |claim| free || claim.spec.volume_name == change.key.name);
}

fn queue_waiting(key: &ObjectRef, waiting: &Index<Claim>, queue: &WorkQueue<Item>, concerns: impl Fn(&Claim) -> bool) {
    let Some(tenant) = &key.tenant else { return };
    for (key, claim) in waiting.get(tenant.as_str()) {
        if concerns(&claim) {
            queue.add(Item::Claim(key));
        }
    }
}

impl Reconcile<Item> for Binder {
    async fn reconcile(&self, item: &Item) -> Result<Option<Duration>> {
        match item {
            Item::Claim(key) => self.sync_claim(key).await,
            Item::Volume(key) => self.sync_volume(key).await,
        }
        .map(|()| None)
    }
}

impl Binder {
    async fn sync_claim(&self, key: &ObjectRef) -> Result<()> {
        let (Some(claim), Some(tenant)) = (self.claims.get(key), &key.tenant) else { return Ok(()) };
        let volumes = self.volumes_for(tenant, &claim);
        let volumes: Vec<&PersistentVolume> = volumes.iter().map(|v| &**v).collect();
        let class = self.class(tenant, claim.class());
        let default_class = self.default_class(tenant, &claim);
        let seen =
            Seen { claim: &claim, volumes: &volumes, class: class.as_deref(), default_class: default_class.as_deref() };
        match plan::claim(&seen) {
            ClaimPlan::Bind(volume) => self.bind(key, &claim, volume).await,
            ClaimPlan::Wait(notice) => {
                self.tell_claim(&claim, notice);
                self.set_claim_phase(key, &claim, "Pending").await
            }
            ClaimPlan::WaitForConsumer => {
                self.tell_claim(&claim, Some(self.consumer_notice(key)));
                self.set_claim_phase(key, &claim, "Pending").await
            }
            ClaimPlan::TakeClass(name) => {
                let change = |object: &mut Value| object["spec"]["storageClassName"] = json!(name);
                let version = &claim.metadata.resource_version;
                self.context.rewrite(CLAIMS, key, version, None, change).await.map(drop)
            }
            ClaimPlan::Provision(provisioner) => self.provision(key, &claim, &provisioner).await,
            ClaimPlan::Lost(notice) => {
                if claim.status.phase != "Lost" {
                    self.set_claim_phase(key, &claim, "Lost").await?;
                    self.tell_claim(&claim, Some(notice));
                }
                Ok(())
            }
            ClaimPlan::Inconsistent => {
                let why = format!("claim {key} is bound to volume {:?}, which is another's", claim.spec.volume_name);
                Err(Error::internal(why))
            }
        }
    }

    /// The volumes that matter to a claim: of one that is bound, its own.
    fn volumes_for(&self, tenant: &TenantName, claim: &Claim) -> Vec<Arc<PersistentVolume>> {
        if claim.spec.volume_name.is_empty() && !claim.is_bound() {
            return self.volumes.list_tenant(tenant).into_iter().map(|(_, volume)| volume).collect();
        }
        self.volumes.get(&ObjectRef::new(tenant, "", &claim.spec.volume_name)).into_iter().collect()
    }

    /// A class of a tenant, or one that the operators lend.
    fn class(&self, tenant: &TenantName, name: &str) -> Option<Arc<StorageClass>> {
        let of = |tenant: &TenantName| self.classes.get(&ObjectRef::new(tenant, "", name));
        of(tenant).or_else(|| of(&TenantName::system()).filter(|class| class.is_lent()))
    }

    fn default_class(&self, tenant: &TenantName, claim: &Claim) -> Option<Arc<StorageClass>> {
        if claim.spec.storage_class_name.is_some() || claim.is_bound() {
            return None;
        }
        let lent = self.classes.list_tenant(&TenantName::system()).into_iter().filter(|(_, class)| class.is_lent());
        let own = self.classes.list_tenant(tenant);
        let lent: Vec<_> =
            lent.filter(|(_, lent)| !own.iter().any(|(_, c)| c.metadata.name == lent.metadata.name)).collect();
        let classes = own.into_iter().chain(lent).map(|(_, class)| class);
        let newest_first =
            |c: &Arc<StorageClass>| (c.metadata.creation_timestamp, std::cmp::Reverse(c.metadata.name.clone()));
        classes.filter(|c| c.is_default()).max_by_key(newest_first)
    }

    fn consumer_notice(&self, key: &ObjectRef) -> Notice {
        let pods = self.pods.get(&key.to_string());
        let waits = |pod: &Pod| pod.spec.node_name.is_empty() && pod.is_active();
        let names: Vec<String> =
            pods.into_iter().filter(|(_, pod)| waits(pod)).map(|(_, pod)| pod.metadata.name.clone()).collect();
        let (reason, message) = match names.len() {
            0 => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
            1 => ("WaitForPodScheduled", format!("waiting for pod {} to be scheduled", names[0])),
            _ => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", names.join(","))),
        };
        Notice { warns: false, reason, message }
    }

    async fn bind(&self, key: &ObjectRef, claim: &Claim, volume: &PersistentVolume) -> Result<()> {
        let volume_key = volume.metadata.key();
        let mut version = volume.metadata.resource_version.clone();
        let refers_fully =
            volume.spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid && volume.is_for(claim));
        if !refers_fully {
            let was_free = !volume.is_for(claim);
            let change = |object: &mut Value| refer(object, claim, was_free);
            let written = self.context.rewrite(VOLUMES, &volume_key, &version, None, change).await?;
            version = version_of(&written);
        }
        if volume.status.phase != "Bound" {
            let change = |object: &mut Value| set_phase(object, "Bound", "");
            self.context.rewrite(VOLUMES, &volume_key, &version, Some("status"), change).await?;
        }
        let mut version = claim.metadata.resource_version.clone();
        let names_it = claim.spec.volume_name == volume.metadata.name;
        if !names_it || !claim.is_bound() {
            let change = |object: &mut Value| {
                if !names_it {
                    object["spec"]["volumeName"] = json!(volume.metadata.name);
                    object["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!("yes");
                }
                object["metadata"]["annotations"][BIND_COMPLETED] = json!("yes");
            };
            version = version_of(&self.context.rewrite(CLAIMS, key, &version, None, change).await?);
        }
        let is_new = claim.status.phase != "Bound";
        if is_new || claim.status.access_modes != volume.spec.access_modes {
            let change = |object: &mut Value| {
                object["status"]["phase"] = json!("Bound");
                object["status"]["accessModes"] = json!(volume.spec.access_modes);
                if is_new {
                    object["status"]["capacity"] = json!(volume.spec.capacity);
                    if let Some(name) = &volume.spec.volume_attributes_class_name {
                        object["status"]["currentVolumeAttributesClassName"] = json!(name);
                    }
                }
            };
            self.context.rewrite(CLAIMS, key, &version, Some("status"), change).await?;
        }
        Ok(())
    }

    async fn set_claim_phase(&self, key: &ObjectRef, claim: &Claim, phase: &str) -> Result<()> {
        let none = claim.status.access_modes.is_empty() && claim.status.capacity.is_empty();
        if claim.status.phase == phase && none {
            return Ok(());
        }
        let change = |object: &mut Value| {
            object["status"]["phase"] = json!(phase);
            if let Some(status) = object["status"].as_object_mut() {
                status.remove("accessModes");
                status.remove("capacity");
            }
        };
        let version = &claim.metadata.resource_version;
        self.context.rewrite(CLAIMS, key, version, Some("status"), change).await.map(drop)
    }

    async fn provision(&self, key: &ObjectRef, claim: &Claim, provisioner: &str) -> Result<()> {
        let asked = |annotation: &str| claim.metadata.annotations.get(annotation).is_some_and(|p| p == provisioner);
        if !PROVISIONER.into_iter().all(asked) {
            let change = |object: &mut Value| {
                for annotation in PROVISIONER {
                    object["metadata"]["annotations"][annotation] = json!(provisioner);
                }
            };
            self.context.rewrite(CLAIMS, key, &claim.metadata.resource_version, None, change).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        self.tell_claim(claim, Some(Notice { warns: false, reason: "ExternalProvisioning", message }));
        Ok(())
    }

    async fn sync_volume(&self, key: &ObjectRef) -> Result<()> {
        let (Some(volume), Some(tenant)) = (self.volumes.get(key), &key.tenant) else { return Ok(()) };
        let claim_key = volume.spec.claim_ref.as_ref().map(|r| ObjectRef::new(tenant, &r.namespace, &r.name));
        let claim = claim_key.as_ref().and_then(|key| self.claims.get(key));
        match plan::volume(&volume, claim.as_deref()) {
            VolumePlan::Phase(phase) => self.set_volume_phase(key, &volume, phase, "").await,
            VolumePlan::Reclaim => {
                // A cache may not have seen the claim yet, or see one that was replaced.
                if let (Some(claim_key), Some(reference)) = (&claim_key, &volume.spec.claim_ref)
                    && self.has_other_volume_or_none(claim_key, &reference.uid, &volume).await?
                {
                    self.reclaim(key, &volume).await?;
                }
                Ok(())
            }
            VolumePlan::Unbind => {
                let change = |object: &mut Value| unbind(object, &volume);
                self.context.rewrite(VOLUMES, key, &volume.metadata.resource_version, None, change).await.map(drop)
            }
            VolumePlan::LookAtClaim => {
                self.queue.add(Item::Claim(claim_key.unwrap_or_else(|| key.clone())));
                Ok(())
            }
            VolumePlan::Mismatch => {
                if let Some(claim) = claim {
                    self.tell_mismatch(&volume, &claim);
                }
                Ok(())
            }
        }
    }

    /// Asks the server itself whether the claim of a volume is gone, or bound to another volume.
    async fn has_other_volume_or_none(&self, key: &ObjectRef, uid: &str, volume: &PersistentVolume) -> Result<bool> {
        let claim = self.context.client(key).get(CLAIMS, &key.namespace, &key.name).await;
        let Some(claim) = crate::context::unless_gone(claim)? else { return Ok(true) };
        let named = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        Ok(claim["metadata"]["uid"] != *uid || (!named.is_empty() && named != volume.metadata.name))
    }

    async fn reclaim(&self, key: &ObjectRef, volume: &PersistentVolume) -> Result<()> {
        let Some(failure) = plan::reclaim_failure(volume) else {
            if volume.status.phase == "Failed" {
                return Ok(());
            }
            return self.set_volume_phase(key, volume, "Released", "").await;
        };
        if volume.status.phase == "Failed" && volume.status.message == failure.message {
            return Ok(());
        }
        self.set_volume_phase(key, volume, "Failed", &failure.message).await?;
        self.tell_volume(volume, failure);
        Ok(())
    }

    async fn set_volume_phase(
        &self,
        key: &ObjectRef,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> Result<()> {
        if volume.status.phase == phase && volume.status.message == message {
            return Ok(());
        }
        let change = |object: &mut Value| set_phase(object, phase, message);
        let version = &volume.metadata.resource_version;
        self.context.rewrite(VOLUMES, key, version, Some("status"), change).await.map(drop)
    }

    fn tell_mismatch(&self, volume: &PersistentVolume, claim: &Claim) {
        let (volume_name, claim_name) = (&volume.metadata.name, &claim.metadata.name);
        let reason = "VolumeMismatch";
        let message = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim_name:?} due to incompatible volumeMode."
        );
        self.tell_volume(volume, Notice { warns: true, reason, message });
        let message = format!(
            "Cannot bind PersistentVolume {volume_name:?} to requested PersistentVolumeClaim {claim_name:?} due to incompatible volumeMode."
        );
        self.tell_claim(claim, Some(Notice { warns: true, reason, message }));
    }

    fn tell_claim(&self, claim: &Claim, notice: Option<Notice>) {
        let about = Involved {
            key: claim.metadata.key(),
            api_version: "v1".to_owned(),
            kind: "PersistentVolumeClaim".to_owned(),
            uid: claim.metadata.uid.clone(),
        };
        if let Some(notice) = notice {
            self.tell(about, notice);
        }
    }

    fn tell_volume(&self, volume: &PersistentVolume, notice: Notice) {
        let about = Involved {
            key: volume.metadata.key(),
            api_version: "v1".to_owned(),
            kind: "PersistentVolume".to_owned(),
            uid: volume.metadata.uid.clone(),
        };
        self.tell(about, notice);
    }

    fn tell(&self, about: Involved, Notice { warns, reason, message }: Notice) {
        let severity = if warns { Severity::Warning } else { Severity::Normal };
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}

fn version_of(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// Sets the phase of a volume. When that was is the server's to note.
fn set_phase(volume: &mut Value, phase: &str, message: &str) {
    volume["status"]["phase"] = json!(phase);
    match message {
        "" => drop(volume["status"].as_object_mut().and_then(|status| status.remove("message"))),
        message => volume["status"]["message"] = json!(message),
    }
}

/// Makes a volume refer to a claim.
fn refer(volume: &mut Value, claim: &Claim, was_free: bool) {
    let Claim { metadata, .. } = claim;
    volume["spec"]["claimRef"] = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata.namespace, "name": metadata.name,
        "uid": metadata.uid, "resourceVersion": metadata.resource_version,
    });
    if was_free {
        volume["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!("yes");
    }
}

/// Frees a volume: wholly if the controller had bound it, else it stays kept for the claim of that name.
fn unbind(object: &mut Value, volume: &PersistentVolume) {
    if volume.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("claimRef");
        }
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
            annotations.remove(BOUND_BY_CONTROLLER);
        }
    } else if let Some(reference) = object["spec"]["claimRef"].as_object_mut() {
        reference.remove("uid");
    }
}
