//! Fences: what a partition says of the tenants that come to it or leave it.
//!
//! ```text
//!   none ──▶ Arriving ──▶ Open ──▶ Leaving ──▶ Left
//!              ▲            ▲ given up │         │
//!              │            └──────────┘         │
//!              └──────── moves back ─────────────┘
//! ```
//!
//! A fence is an object of the partition, so that it changes in the same order as what it is about. Every transaction for
//! a tenant is made only where the tenant's fence is open; what names the fence itself is of a move, and guards itself.
//! Invariant: nothing is written for a tenant that leaves or has left, whatever a server believes that has seen neither.
//! Invariant: of a tenant that arrives or has left, nobody is shown a change.

use crate::event::{Event, EventKind};
use crate::scope::Scope;
use crate::snapshot::State;
use crate::store::TooOld;
use crate::transaction::{Change, Class, CommitError, Expect, Revise, Write};
use api::{Object, ObjectKey, ResourceId, Revision, Space, TenantName};
use std::sync::LazyLock;

/// The resource of fences. No kind has this group, and no tenant can define one that has: theirs are domains, with a dot.
pub(crate) static FENCES: LazyLock<ResourceId> = LazyLock::new(|| ResourceId::new("fences", "fences"));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is being copied to here.
    Arriving,
    /// It is here.
    Open,
    /// It is still here, and takes no writes until it is elsewhere, or stays.
    Leaving,
    /// It is elsewhere; what is left of it here is being removed.
    Left,
}

/// What a partition says of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) stage: Stage,
    /// When it has come or gone: what was read before is to be read again.
    pub(crate) since: Revision,
    /// The revision of the fence itself; 0 without one.
    pub(crate) revision: Revision,
}

impl Fence {
    /// A state's fence of a tenant.
    pub(crate) fn of(state: &State, tenant: &TenantName) -> Fence {
        let none = Fence { stage: Stage::Open, since: 0, revision: 0 };
        if !state.has(&FENCES) {
            return none;
        }
        state.get(&key(tenant)).map_or(none, |object| Fence::read(object))
    }

    pub(crate) fn read(object: &Object) -> Fence {
        let value = object.to_value().unwrap_or_default();
        let stage = match value["stage"].as_str() {
            Some("Arriving") => Stage::Arriving,
            Some("Open") => Stage::Open,
            Some("Leaving") => Stage::Leaving,
            // What is not understood lets nothing pass.
            _ => Stage::Left,
        };
        Fence { stage, since: value["since"].as_u64().unwrap_or(object.revision), revision: object.revision }
    }

    /// Whether what the partition holds of the tenant is what the tenant is.
    pub(crate) fn shows(self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Leaving)
    }

    /// The write that goes on to another stage, in which the tenant has come or gone.
    pub(crate) fn turn(self, tenant: &TenantName, stage: Stage) -> Write {
        self.write(tenant, &format!("\"stage\":\"{stage:?}\""))
    }

    /// The write that goes on to another stage, in which the tenant is where it was.
    pub(crate) fn keep(self, tenant: &TenantName, stage: Stage) -> Write {
        self.write(tenant, &format!("\"stage\":\"{stage:?}\",\"since\":{}", self.since))
    }

    fn write(self, tenant: &TenantName, members: &str) -> Write {
        let key = key(tenant);
        let bytes = format!("{{\"metadata\":{{\"resourceVersion\":\"0\"}},{members}}}");
        let object = Object::decode(key.clone(), 0, bytes.into(), &[]).expect("it is an object with metadata");
        Write { key, expect: self.expect(), change: Change::Put(object), class: Class::Durable }
    }

    /// The write that takes the fence away.
    pub(crate) fn remove(self, tenant: &TenantName) -> Write {
        Write { key: key(tenant), expect: self.expect(), change: Change::Delete, class: Class::Durable }
    }

    /// The part of a move's transaction that lets it pass only while the fence is as it is here. It writes nothing.
    pub(crate) fn still(self, tenant: &TenantName) -> Write {
        let change = Change::Revise(Revise::new(|_| Ok(None)));
        Write { key: key(tenant), expect: self.expect(), change, class: Class::Durable }
    }

    fn expect(self) -> Expect {
        if self.revision == 0 { Expect::Absent } else { Expect::Revision(self.revision) }
    }
}

/// The key of a tenant's fence.
pub(crate) fn key(tenant: &TenantName) -> ObjectKey {
    ObjectKey::new(FENCES.clone(), Space::Cluster, "", tenant.as_str()).expect("a tenant's name is a valid name")
}

/// The tenants of which a state has a fence.
pub(crate) fn tenants(state: &State) -> impl Iterator<Item = (TenantName, Fence)> {
    state.objects_of(&FENCES).filter_map(|object| Some((TenantName::new(&object.key.name).ok()?, Fence::read(object))))
}

/// The tenants whose fences a transaction has to pass: those of its writes, but for whose fence it names itself.
pub(crate) fn passed(writes: &[Write]) -> Vec<&TenantName> {
    let mut passed: Vec<&TenantName> = writes.iter().filter_map(|write| write.key.tenant()).collect();
    passed.dedup();
    passed.sort_unstable();
    passed.dedup();
    for write in writes.iter().filter(|write| write.key.resource == *FENCES) {
        passed.retain(|tenant| tenant.as_str() != &*write.key.name);
    }
    passed
}

/// Refuses a transaction that does not pass.
pub(crate) fn pass(state: &State, writes: &[Write]) -> Result<(), CommitError> {
    if !state.has(&FENCES) {
        return Ok(());
    }
    let closed = |tenant: &&TenantName| Fence::of(state, tenant).stage != Stage::Open;
    if passed(writes).iter().any(closed) { Err(CommitError::Moving) } else { Ok(()) }
}

/// Whether a change of an object is the work of a move, of which nobody is told.
pub(crate) fn is_silent(state: &State, key: &ObjectKey) -> bool {
    key.tenant().is_some_and(|tenant| !Fence::of(state, tenant).shows())
}

/// The tenant that has come or gone with an event: who watches it has to list it again.
pub(crate) fn has_moved(event: &Event) -> Option<TenantName> {
    let is_fence = event.kind != EventKind::Deleted && event.object.key.resource == *FENCES;
    let moved = is_fence && Fence::read(&event.object).since == event.revision;
    moved.then(|| TenantName::new(&event.object.key.name).ok()).flatten()
}

/// Refuses to go on from a revision after which one of the scope's tenants has come or gone, and a tenant that is not here.
pub(crate) fn admits(state: &State, scope: &Scope, after: Revision) -> Result<(), TooOld> {
    let since = match scope {
        Scope::Cluster(_) => 0,
        Scope::Tenant(_, tenant) | Scope::Namespace(_, tenant, _) => match Fence::of(state, tenant) {
            fence if fence.shows() => fence.since,
            _ => return Err(TooOld { oldest: state.revision }),
        },
        Scope::AllTenants(_) => tenants(state).map(|(_, fence)| fence.since).max().unwrap_or(0),
    };
    if after < since { Err(TooOld { oldest: since }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_can_define_a_kind_that_passes_for_a_fence() {
        assert!(!FENCES.group().contains('.'), "groups of tenants' kinds have a dot");
    }
}
