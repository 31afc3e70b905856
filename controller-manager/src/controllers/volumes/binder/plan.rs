//! Which volume a claim gets, and what becomes of claims and volumes. Pure.

use crate::view::{Claim, ClaimRef, PersistentVolume, StorageClass};
use api::Quantity;

pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// What to do about a claim.
#[derive(Debug, PartialEq)]
pub enum ClaimPlan<'a> {
    /// Bind it to this volume, or finish that.
    Bind(&'a PersistentVolume),
    /// It waits; what is told about why.
    Wait(Option<Notice>),
    /// It waits for a pod to be scheduled that uses it.
    WaitForConsumer,
    /// It takes the default class, which it gets by this name.
    TakeClass(String),
    /// Its class is to provide a volume.
    Provision(String),
    /// Its volume is gone.
    Lost(Notice),
    /// It claims to be bound to a volume that is another's, by what the controller wrote itself.
    Inconsistent,
}

/// What to do about a volume.
#[derive(Debug, PartialEq)]
pub enum VolumePlan {
    /// Set this phase, if it has another.
    Phase(&'static str),
    /// Its claim is gone.
    Reclaim,
    /// Its claim has another volume: it is free again, or kept for the claim of the name.
    Unbind,
    /// Its claim is to be looked at.
    LookAtClaim,
    /// Its claim cannot have it.
    Mismatch,
}

#[derive(Debug, PartialEq)]
pub struct Notice {
    pub warns: bool,
    pub reason: &'static str,
    pub message: String,
}

fn warning(reason: &'static str, message: impl Into<String>) -> Notice {
    Notice { warns: true, reason, message: message.into() }
}

fn notice(reason: &'static str, message: impl Into<String>) -> Notice {
    Notice { warns: false, reason, message: message.into() }
}

impl Claim {
    /// The class that it asks for; empty for none.
    pub fn class(&self) -> &str {
        let old = self.metadata.annotations.get(CLASS).map(String::as_str);
        old.or(self.spec.storage_class_name.as_deref()).unwrap_or_default()
    }

    fn names_no_class(&self) -> bool {
        self.spec.storage_class_name.is_none() && !self.metadata.annotations.contains_key(CLASS)
    }

    pub fn has(&self, annotation: &str) -> bool {
        self.metadata.annotations.contains_key(annotation)
    }

    fn requested(&self) -> Quantity {
        storage(self.spec.resources.requests.get("storage"))
    }

    pub fn is_bound(&self) -> bool {
        self.has(BIND_COMPLETED)
    }
}

impl PersistentVolume {
    pub fn class(&self) -> &str {
        self.metadata.annotations.get(CLASS).unwrap_or(&self.spec.storage_class_name)
    }

    fn capacity(&self) -> Quantity {
        storage(self.spec.capacity.get("storage"))
    }

    /// Whether it is this claim's, or kept for it by name.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|reference| is_to(reference, claim))
    }

    fn offers(&self, claim: &Claim) -> bool {
        claim.spec.access_modes.iter().all(|mode| self.spec.access_modes.contains(mode))
    }

    fn has_mode_of(&self, claim: &Claim) -> bool {
        let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
        mode(&self.spec.volume_mode) == mode(&claim.spec.volume_mode)
    }

    fn has_attributes_of(&self, claim: &Claim) -> bool {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        name(&self.spec.volume_attributes_class_name) == name(&claim.spec.volume_attributes_class_name)
    }
}

fn is_to(reference: &ClaimRef, claim: &Claim) -> bool {
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
}

fn storage(quantity: Option<&String>) -> Quantity {
    quantity.and_then(|text| Quantity::parse(text)).unwrap_or(Quantity::ZERO)
}

/// What a claim's plan depends on.
pub struct Seen<'a> {
    pub claim: &'a Claim,
    /// Of the tenant.
    pub volumes: &'a [&'a PersistentVolume],
    /// The one that the claim names.
    pub class: Option<&'a StorageClass>,
    /// The newest of those that are for claims without a class.
    pub default_class: Option<&'a StorageClass>,
}

pub fn claim<'a>(seen: &Seen<'a>) -> ClaimPlan<'a> {
    let claim = seen.claim;
    let named = seen.volumes.iter().find(|v| v.metadata.name == claim.spec.volume_name).copied();
    if claim.is_bound() {
        return bound_claim(claim, named);
    }
    if claim.spec.volume_name.is_empty() {
        return unbound_claim(seen);
    }
    let Some(volume) = named else { return ClaimPlan::Wait(None) };
    let name = &volume.metadata.name;
    match &volume.spec.claim_ref {
        None => match satisfies(volume, claim) {
            Ok(()) => ClaimPlan::Bind(volume),
            Err(why) => {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                ClaimPlan::Wait(Some(warning("VolumeMismatch", message)))
            }
        },
        Some(reference) if is_to(reference, claim) => ClaimPlan::Bind(volume),
        Some(_) if claim.has(BOUND_BY_CONTROLLER) => ClaimPlan::Inconsistent,
        Some(_) => {
            let message = format!("volume {name:?} already bound to a different claim.");
            ClaimPlan::Wait(Some(warning("FailedBinding", message)))
        }
    }
}

fn bound_claim<'a>(claim: &Claim, named: Option<&'a PersistentVolume>) -> ClaimPlan<'a> {
    const LOST: &str = "ClaimLost";
    if claim.spec.volume_name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return ClaimPlan::Lost(warning(LOST, message));
    }
    let Some(volume) = named else {
        return ClaimPlan::Lost(warning(
            LOST,
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ));
    };
    match &volume.spec.claim_ref {
        Some(reference) if reference.uid != claim.metadata.uid => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            ClaimPlan::Lost(warning("ClaimMisbound", message))
        }
        _ => ClaimPlan::Bind(volume),
    }
}

fn unbound_claim<'a>(seen: &Seen<'a>) -> ClaimPlan<'a> {
    let claim = seen.claim;
    let delays = seen.class.is_some_and(StorageClass::waits_for_consumer);
    if let Some(volume) = best(claim, seen.volumes, delays) {
        return ClaimPlan::Bind(volume);
    }
    if let Some(class) = seen.default_class.filter(|_| claim.names_no_class()) {
        return ClaimPlan::TakeClass(class.metadata.name.clone());
    }
    let class = claim.class();
    match seen.class {
        _ if delays && !claim.has(SELECTED_NODE) => ClaimPlan::WaitForConsumer,
        _ if class.is_empty() => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            ClaimPlan::Wait(Some(notice("FailedBinding", message)))
        }
        None => {
            let message = format!("storageclass.storage.k8s.io {class:?} not found");
            ClaimPlan::Wait(Some(warning("ProvisioningFailed", message)))
        }
        Some(class) if class.provisioner.starts_with("kubernetes.io/") => {
            let message = format!("no volume plugin matched name: {}", class.provisioner);
            ClaimPlan::Wait(Some(warning("ProvisioningFailed", message)))
        }
        Some(class) => ClaimPlan::Provision(class.provisioner.clone()),
    }
}

/// The volume that is kept for a claim, or the smallest free one that fits. Of a class that waits for a consumer, the
/// scheduler chooses.
fn best<'a>(claim: &Claim, volumes: &[&'a PersistentVolume], delays: bool) -> Option<&'a PersistentVolume> {
    let usable = |v: &&PersistentVolume| {
        v.offers(claim)
            && (v.spec.claim_ref.is_none() || v.is_for(claim))
            && v.capacity() >= claim.requested()
            && v.has_mode_of(claim)
            && v.has_attributes_of(claim)
            && !v.metadata.is_deleting()
    };
    let mut usable: Vec<&PersistentVolume> = volumes.iter().copied().filter(usable).collect();
    if let Some(kept) = usable.iter().find(|v| v.is_for(claim)) {
        return Some(kept);
    }
    let selected = |v: &PersistentVolume| {
        claim.spec.selector.as_ref().is_none_or(|s| s.is_empty() || s.matches(&v.metadata.labels))
    };
    usable.retain(|v| !delays && v.status.phase == "Available" && selected(v) && v.class() == claim.class());
    usable.into_iter().min_by_key(|v| (v.spec.access_modes.len(), v.capacity()))
}

/// Whether a claim may have the volume that it names; the error says why not.
fn satisfies(volume: &PersistentVolume, claim: &Claim) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    if volume.metadata.is_deleting() {
        return Err(format!("the volume is marked for deletion {:?}", volume.metadata.name));
    }
    if volume.capacity() < claim.requested() {
        return refuse("requested PV is too small");
    }
    if volume.class() != claim.class() {
        return refuse("storageClassName does not match");
    }
    if !volume.has_attributes_of(claim) {
        return refuse("volumeAttributesClassName does not match");
    }
    if !volume.has_mode_of(claim) {
        return refuse("incompatible volumeMode");
    }
    if !volume.offers(claim) { refuse("incompatible accessMode") } else { Ok(()) }
}

/// Decides about a volume; `claim` is the one of the name that it refers to, if there is one.
pub fn volume(volume: &PersistentVolume, claim: Option<&Claim>) -> VolumePlan {
    let Some(reference) = &volume.spec.claim_ref else { return VolumePlan::Phase("Available") };
    if reference.uid.is_empty() {
        return VolumePlan::Phase("Available");
    }
    let Some(claim) = claim.filter(|c| c.metadata.uid == reference.uid) else { return VolumePlan::Reclaim };
    if claim.spec.volume_name.is_empty() {
        return if volume.has_mode_of(claim) { VolumePlan::LookAtClaim } else { VolumePlan::Mismatch };
    }
    if claim.spec.volume_name == volume.metadata.name {
        return VolumePlan::Phase("Bound");
    }
    let provisioned = volume.metadata.annotations.contains_key(PROVISIONED_BY);
    if provisioned && volume.spec.persistent_volume_reclaim_policy == "Delete" {
        VolumePlan::Reclaim
    } else {
        VolumePlan::Unbind
    }
}

/// Why a volume whose claim is gone could not be reclaimed; `None` where nothing is to be done here.
pub fn reclaim_failure(volume: &PersistentVolume) -> Option<Notice> {
    let name = &volume.metadata.name;
    let provisioner = volume.metadata.annotations.get(PROVISIONED_BY);
    match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Retain" => None,
        "Delete" => {
            let why = match (provisioner, &volume.spec.csi, &volume.spec.host_path) {
                (Some(provisioner), ..) if provisioner.starts_with("kubernetes.io/") => {
                    format!("no volume plugin matched name: {provisioner}")
                }
                // Its driver deletes it.
                (Some(_), ..) | (None, Some(_), _) => return None,
                (None, None, Some(host)) => {
                    let message =
                        format!("host_path deleter only supports /tmp/.+ but received provided {}", host.path);
                    return Some(warning("VolumeFailedDelete", message));
                }
                (None, None, None) => "no deletable volume plugin matched".to_owned(),
            };
            let message = format!("error getting deleter volume plugin for volume {name:?}: {why}");
            Some(warning("VolumeFailedDelete", message))
        }
        "Recycle" => Some(warning("VolumeFailedRecycle", "No recycler plugin found for the volume!")),
        _ => Some(warning("VolumeUnknownReclaimPolicy", "Volume has an unrecognized PersistentVolumeReclaimPolicy")),
    }
}
