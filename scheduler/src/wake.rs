//! Which waiting pods a change is worth another try for: those whom a filter refused that the change could satisfy.

use crate::placement::{self, Node, Pod, PodKey, Profile, Snapshot, Verdict};
use api::TenantName;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that happened, and is already in the snapshot.
pub enum Happening<'a> {
    NodeAdded,
    NodeChanged {
        name: &'a str,
        old: &'a Arc<Node>,
        new: &'a Arc<Node>,
    },
    NodeRemoved,
    /// A pod came to a node.
    Placed {
        key: &'a PodKey,
        pod: &'a Pod,
    },
    /// A pod on a node changed.
    Changed {
        key: &'a PodKey,
        old: &'a Pod,
        new: &'a Pod,
    },
    /// A pod left its node.
    Left {
        key: &'a PodKey,
        pod: &'a Pod,
        node: &'a str,
    },
    NamespaceChanged,
    /// Operators say otherwise what tenants shall have.
    SharesChanged,
    /// Claims, volumes or what they depend on changed, for pods of a tenant or of all.
    Storage(Option<&'a TenantName>),
}

impl Happening<'_> {
    /// Most changes of pods are changes of their status: no decision sees them.
    pub fn concerns_nobody(&self) -> bool {
        let Happening::Changed { old, new, .. } = self else { return false };
        old.labels == new.labels && old.deleting == new.deleting && old.requests == new.requests
    }
}

/// Whether a pod that was refused by these filters could now be taken.
pub fn worth_a_try(
    (snapshot, profile): (&Snapshot, &Profile),
    happening: &Happening,
    key: &PodKey,
    pod: &Pod,
    refused_by: &BTreeSet<Verdict>,
) -> bool {
    let any = |verdicts: &[Verdict]| verdicts.iter().any(|v| refused_by.contains(v));
    // A cluster without nodes refuses without a filter.
    match happening {
        Happening::NodeAdded => true,
        Happening::NodeRemoved => any(&[Verdict::Spread]),
        Happening::NamespaceChanged => any(&[Verdict::Affinity, Verdict::AntiAffinity, Verdict::ExistingAntiAffinity]),
        Happening::SharesChanged => any(&[Verdict::TenantMaximum, Verdict::Owed]),
        Happening::Storage(tenant) => {
            tenant.is_none_or(|tenant| *tenant == key.tenant)
                && any(&[Verdict::Claims, Verdict::VolumeBinding, Verdict::VolumeZone, Verdict::VolumeLimit])
        }
        Happening::NodeChanged { name, old, new } => node_changed(profile, name, (old, new), (key, pod), refused_by),
        Happening::Placed { key: other, pod: placed } => {
            any(&[Verdict::Affinity]) && placement::is_near_to(snapshot, key, pod, other, placed)
                || any(&[Verdict::Spread]) && placement::is_spread_from(key, pod, other, placed)
        }
        Happening::Changed { key: other, old, new } => {
            any(&[Verdict::Resources, Verdict::Owed, Verdict::TenantMaximum])
                && old.requests.freed_for(&new.requests, &pod.requests)
                || (old.labels != new.labels || old.deleting != new.deleting)
                    && [old, new].into_iter().any(|seen| neighbour(snapshot, key, pod, other, seen, refused_by))
        }
        Happening::Left { key: other, pod: left, .. } => {
            any(&[Verdict::Resources, Verdict::Owed])
                || any(&[Verdict::TenantMaximum]) && key.tenant == other.tenant
                || any(&[Verdict::VolumeLimit]) && !left.claims.is_empty()
                || any(&[Verdict::Disk]) && left.disks.iter().any(|a| pod.disks.iter().any(|b| a.conflicts(b)))
                || any(&[Verdict::ClaimInUse])
                    && key.tenant == other.tenant
                    && left.claims.iter().any(|c| pod.claims.contains(c))
                || any(&[Verdict::Ports]) && left.ports.iter().any(|a| pod.ports.iter().any(|b| a.conflicts(b)))
                || neighbour(snapshot, key, pod, other, left, refused_by)
        }
    }
}

/// Whether a pod on a node matters to the filters about neighbours.
fn neighbour(
    snapshot: &Snapshot,
    key: &PodKey,
    pod: &Pod,
    other: &PodKey,
    seen: &Pod,
    refused_by: &BTreeSet<Verdict>,
) -> bool {
    let refused = |verdict| refused_by.contains(&verdict);
    refused(Verdict::Spread) && placement::is_spread_from(key, pod, other, seen)
        || refused(Verdict::Affinity) && placement::is_near_to(snapshot, key, pod, other, seen)
        || refused(Verdict::AntiAffinity) && placement::avoids(snapshot, key, pod, other, seen)
        || refused(Verdict::ExistingAntiAffinity) && placement::avoids(snapshot, other, seen, key, pod)
}

fn node_changed(
    profile: &Profile,
    name: &str,
    (old, new): (&Arc<Node>, &Arc<Node>),
    (key, pod): (&PodKey, &Pod),
    refused_by: &BTreeSet<Verdict>,
) -> bool {
    let now = placement::obstacles(profile, name, new, key, pod);
    refused_by.iter().any(|verdict| match verdict {
        Verdict::Unschedulable | Verdict::Taint => {
            (old.unschedulable, &old.taints) != (new.unschedulable, &new.taints) && !now.contains(verdict)
        }
        Verdict::Owed => old.allocatable != new.allocatable,
        Verdict::Enforced | Verdict::Dedicated => old.labels != new.labels && !now.contains(verdict),
        Verdict::Runtime => {
            (old.no_containers, old.machines) != (new.no_containers, new.machines) && !now.contains(verdict)
        }
        Verdict::NodeAffinity | Verdict::NotNamed => old.labels != new.labels && !now.contains(&Verdict::NodeAffinity),
        Verdict::Resources | Verdict::ResourcesEver => {
            let more = |resource: &str| new.allocatable.get(resource) > old.allocatable.get(resource);
            let wanted = pod.requests.amounts.iter().any(|(resource, _)| more(resource)) || more("pods");
            wanted && !now.contains(&Verdict::ResourcesEver)
        }
        Verdict::Spread
        | Verdict::SpreadLabel
        | Verdict::VolumeBinding
        | Verdict::VolumeZone
        | Verdict::Affinity
        | Verdict::AntiAffinity
        | Verdict::ExistingAntiAffinity => old.labels != new.labels,
        Verdict::Feasible
        | Verdict::Absent
        | Verdict::Ports
        | Verdict::Disk
        | Verdict::ClaimInUse
        | Verdict::VolumeLimit
        | Verdict::Claims
        | Verdict::TenantMaximum => false,
    })
}
