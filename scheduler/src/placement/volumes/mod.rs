//! Volumes: where the claims of a pod let it go, which volumes its unbound claims would get on a node, and how many
//! volumes a node can still attach.
//!
//! Invariant: a pod's claims, volumes and classes are those of its own tenant; drivers and nodes' limits are the cluster's.
//! Invariant: what was decided and does not show yet in the API is *assumed*, until it shows or is taken back.

mod asks;
mod attached;
mod disks;
mod matching;
mod objects;

pub use asks::{PodVolumes, VolumeRefusal};
pub use attached::{Attached, key_of};
pub use disks::{Disk, PodClaim, WireVolume, of_volumes};
pub use objects::{AttachLimits, BOUND_BY_CONTROLLER, Capacity, Claim, ClaimKey, Class, Driver, SELECTED_NODE, Volume};

use api::TenantName;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A change of a storage object. `None` is for one that is gone.
#[derive(Debug)]
pub enum StorageChange {
    Claim { key: ClaimKey, claim: Option<Arc<Claim>> },
    Volume { tenant: TenantName, name: String, volume: Option<Arc<Volume>> },
    Class { tenant: TenantName, name: String, class: Option<Arc<Class>> },
    Capacity { tenant: TenantName, namespace: String, name: String, capacity: Option<Capacity> },
    Driver { name: String, driver: Option<Driver> },
    Limits { node: String, limits: Option<AttachLimits> },
}

impl StorageChange {
    /// Whose pods it may matter to; `None` for all tenants'.
    pub fn tenant(&self) -> Option<&TenantName> {
        match self {
            StorageChange::Claim { key, .. } => Some(&key.tenant),
            StorageChange::Volume { tenant, .. } | StorageChange::Class { tenant, .. } => Some(tenant),
            // Those in `system` are for all.
            StorageChange::Capacity { tenant, .. } => Some(tenant).filter(|tenant| **tenant != TenantName::system()),
            StorageChange::Driver { .. } | StorageChange::Limits { .. } => None,
        }
    }
}

/// One write that a pod needs before it can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeStep {
    /// Keep a volume for a claim.
    Keep { volume: Arc<str>, claim: ClaimKey },
    /// Have a volume made for a claim that the node reaches.
    Provision { claim: ClaimKey },
}

/// What has to be done, and then awaited, before a pod can be bound to its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preparation {
    pub steps: Vec<VolumeStep>,
    /// Claims that are not bound yet.
    pub claims: Vec<ClaimKey>,
}

/// How a claim that a pod waits for stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Bound,
    Waits,
    /// It will not be bound the way that was decided.
    Failed(String),
}

/// All storage objects.
#[derive(Default)]
pub struct Volumes {
    tenants: HashMap<TenantName, OfTenant>,
    drivers: HashMap<Box<str>, Driver>,
    limits: HashMap<Box<str>, AttachLimits>,
    /// On how many nodes a driver has a limit.
    limited: HashMap<Box<str>, usize>,
}

#[derive(Default)]
struct OfTenant {
    claims: HashMap<(Arc<str>, Box<str>), Arc<Claim>>,
    volumes: HashMap<Arc<str>, Arc<Volume>>,
    by_class: HashMap<Box<str>, BTreeSet<Arc<str>>>,
    classes: HashMap<Box<str>, Arc<Class>>,
    capacities: HashMap<(Box<str>, Box<str>), Capacity>,
    /// Volumes that are kept for a claim by a decision.
    kept: HashMap<Arc<str>, ClaimKey>,
    /// Claims for which a node is selected by a decision.
    selected: HashMap<ClaimKey, Arc<str>>,
}

impl OfTenant {
    fn is_empty(&self) -> bool {
        self.claims.is_empty()
            && self.volumes.is_empty()
            && self.classes.is_empty()
            && self.capacities.is_empty()
            && self.kept.is_empty()
            && self.selected.is_empty()
    }
}

impl Volumes {
    pub fn set_claim(&mut self, key: &ClaimKey, claim: Option<Arc<Claim>>) {
        self.change(&key.tenant, |of_tenant| {
            let name = (key.namespace.clone(), key.name.clone());
            match claim {
                Some(claim) => {
                    if !claim.selected_node.is_empty() {
                        of_tenant.selected.remove(key);
                    }
                    of_tenant.claims.insert(name, claim);
                }
                None => {
                    of_tenant.claims.remove(&name);
                    of_tenant.selected.remove(key);
                }
            }
        });
    }

    pub fn set_volume(&mut self, tenant: &TenantName, name: &str, volume: Option<Arc<Volume>>) {
        self.change(tenant, |of_tenant| {
            let shown = volume.as_ref().is_none_or(|volume| volume.claim.is_some());
            if shown {
                of_tenant.kept.remove(name);
            }
            if let Some(old) = of_tenant.volumes.remove(name)
                && let Some(names) = of_tenant.by_class.get_mut(&old.class)
            {
                names.remove(name);
                if names.is_empty() {
                    of_tenant.by_class.remove(&old.class);
                }
            }
            if let Some(volume) = volume {
                let name: Arc<str> = name.into();
                of_tenant.by_class.entry(volume.class.clone()).or_default().insert(name.clone());
                of_tenant.volumes.insert(name, volume);
            }
        });
    }

    /// A class of a tenant, or one that the operators lend to all.
    fn class(&self, tenant: &TenantName, name: &str) -> Option<&Arc<Class>> {
        let of = |tenant: &TenantName| self.tenants.get(tenant).and_then(|of_tenant| of_tenant.classes.get(name));
        of(tenant).or_else(|| of(&TenantName::system()).filter(|class| class.lent))
    }

    pub fn set_class(&mut self, tenant: &TenantName, name: &str, class: Option<Arc<Class>>) {
        self.change(tenant, |of_tenant| {
            match class {
                Some(class) => of_tenant.classes.insert(name.into(), class),
                None => of_tenant.classes.remove(name),
            };
        });
    }

    pub fn set_capacity(&mut self, tenant: &TenantName, namespace: &str, name: &str, capacity: Option<Capacity>) {
        self.change(tenant, |of_tenant| {
            let key = (namespace.into(), name.into());
            match capacity {
                Some(capacity) => of_tenant.capacities.insert(key, capacity),
                None => of_tenant.capacities.remove(&key),
            };
        });
    }

    pub fn set_driver(&mut self, name: &str, driver: Option<Driver>) {
        match driver {
            Some(driver) => self.drivers.insert(name.into(), driver),
            None => self.drivers.remove(name),
        };
    }

    pub fn set_limits(&mut self, node: &str, limits: Option<AttachLimits>) {
        let new = limits.unwrap_or_default();
        for (driver, _) in &new.0 {
            *self.limited.entry(driver.clone()).or_default() += 1;
        }
        let old = if new.0.is_empty() { self.limits.remove(node) } else { self.limits.insert(node.into(), new) };
        for (driver, _) in old.iter().flat_map(|limits| &limits.0) {
            if let Some(nodes) = self.limited.get_mut(driver) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.limited.remove(driver);
                }
            }
        }
    }

    /// Whether any node limits how many volumes of a driver it attaches.
    fn limited(&self, driver: &str) -> bool {
        self.limited.contains_key(driver)
    }

    pub fn claim(&self, key: &ClaimKey) -> Option<&Arc<Claim>> {
        self.tenants.get(&key.tenant)?.claims.get(&(key.namespace.clone(), key.name.clone()))
    }

    pub fn volume(&self, tenant: &TenantName, name: &str) -> Option<&Arc<Volume>> {
        self.tenants.get(tenant)?.volumes.get(name)
    }

    /// The claims whose attachments a volume decides: the one that it is kept for.
    pub fn claim_of(&self, tenant: &TenantName, volume: &str) -> Option<ClaimKey> {
        let (namespace, name, _) = self.volume(tenant, volume)?.claim.as_ref()?;
        Some(ClaimKey { tenant: tenant.clone(), namespace: (&**namespace).into(), name: name.clone() })
    }

    /// Takes what was decided for granted.
    pub fn assume(&mut self, preparation: &Preparation, node: &Arc<str>) {
        for step in &preparation.steps {
            match step {
                VolumeStep::Keep { volume, claim } => {
                    self.change(&claim.tenant, |of_tenant| drop(of_tenant.kept.insert(volume.clone(), claim.clone())));
                }
                VolumeStep::Provision { claim } => {
                    self.change(&claim.tenant, |of_tenant| {
                        drop(of_tenant.selected.insert(claim.clone(), node.clone()));
                    });
                }
            }
        }
    }

    /// Takes back what was assumed and does not show yet.
    pub fn forget(&mut self, preparation: &Preparation) {
        for step in &preparation.steps {
            match step {
                VolumeStep::Keep { volume, claim } => self.change(&claim.tenant, |of_tenant| {
                    of_tenant.kept.remove(volume);
                }),
                VolumeStep::Provision { claim } => self.change(&claim.tenant, |of_tenant| {
                    of_tenant.selected.remove(claim);
                }),
            }
        }
    }

    /// How a claim stands that a pod on its way to a node waits for.
    pub fn progress(&self, key: &ClaimKey, preparation: &Preparation, node: &str) -> Progress {
        let Some(claim) = self.claim(key).filter(|claim| !claim.deleting) else {
            return Progress::Failed(format!("persistentvolumeclaim {:?} not found", key.name));
        };
        if claim.bound {
            return Progress::Bound;
        }
        let assumed = self.tenants.get(&key.tenant).is_some_and(|of_tenant| of_tenant.selected.contains_key(key));
        let provisions =
            preparation.steps.iter().any(|step| matches!(step, VolumeStep::Provision { claim } if claim == key));
        if provisions && !assumed && *claim.selected_node != *node {
            return Progress::Failed(format!("selectedNode annotation reset for PVC {:?}", key.name));
        }
        Progress::Waits
    }

    fn change(&mut self, tenant: &TenantName, change: impl FnOnce(&mut OfTenant)) {
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        change(of_tenant);
        if of_tenant.is_empty() {
            self.tenants.remove(tenant);
        }
    }
}
