//! Moves a tenant from one partition to another while it is in use.
//!
//! ```text
//!   fence there: Arriving ─ copy, again and again what has changed ─ fence here: Leaving ─ the last changes
//!        ─ fence there: Open ─ the system partition says where the tenant is ─ fence here: Left ─ what is left is removed
//! ```
//!
//! Invariant: each step is safe to repeat, from the start, by anybody, at any time: what an earlier attempt still has under
//! way is refused, because each of its transactions asks for a fence that a later attempt has written anew.
//! Invariant: revisions of the tenant grow over the move, so that none of before is taken for one of after.

use crate::backup::tenant_key;
use crate::fence::{self, Fence, Stage};
use crate::partition::Partition;
use crate::snapshot::State;
use crate::store::Store;
use crate::transaction::{Change, Class, CommitError, Expect, Write};
use crate::version::PartitionId;
use api::{Object, ObjectKey, Revision, TenantName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What is copied in one transaction: within what etcd takes unless it was told otherwise.
const BATCH_WRITES: usize = 100;
const BATCH_BYTES: usize = 512 << 10;

/// So few changes can be left for the time in which nobody writes.
const LAST_CHANGES_MAX: usize = 100;

/// How often it is tried to have so few left.
const ROUNDS_MAX: usize = 20;

/// For so long nobody writes before it is given up for now.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// By how much revisions are ahead there: more than twice what a partition can hand out while a tenant is still there.
const REVISIONS_AHEAD: Revision = 1 << 32;

/// The copy that is being made.
struct Copy<'a> {
    tenant: &'a TenantName,
    from: Partition,
    to: Partition,
    /// The fence there; changes by nobody else as long as the move is this one.
    fence: Fence,
    /// Which revision of each object is there; 0 for what is not of this copy.
    copied: HashMap<ObjectKey, Revision>,
}

impl Store {
    /// Moves a tenant. `switch` makes the system partition say that the tenant is there, unless that is not wanted any more;
    /// the caller has written its object since any earlier attempt. After an error the tenant may be stopped until the
    /// next attempt. Afterwards [`Store::clear`] removes what is left.
    pub async fn move_tenant(
        &self,
        tenant: &TenantName,
        (from, to): (PartitionId, PartitionId),
        switch: Write,
    ) -> Result<(), CommitError> {
        let mut copy = Copy::begin(tenant, self.partition(from)?, self.partition(to)?).await?;
        let leaving = loop {
            for _ in 0..ROUNDS_MAX {
                if copy.round().await? <= LAST_CHANGES_MAX {
                    break;
                }
            }
            let leaving = set(&copy.from, tenant, 0, |fence| fence.keep(tenant, Stage::Leaving)).await?;
            let finished = timeout(PAUSE_MAX, copy.finish(to == 0)).await;
            if let Ok(Ok(())) = finished {
                break leaving;
            }
            copy.from.commit(vec![leaving.keep(tenant, Stage::Open)]).await?;
            if let Ok(finished) = finished {
                return finished;
            }
            copy = Copy::begin(tenant, copy.from, copy.to).await?;
        };
        let system = self.partition(0)?;
        // It opens or shuts with the switch where it can; else it learns so who has to be listed again.
        let turned = match (from, to) {
            (_, 0) => copy.fence.turn(tenant, Stage::Open),
            (0, _) => leaving.turn(tenant, Stage::Left),
            _ => Fence::of(&system.snapshot().shared_state(), tenant).turn(tenant, Stage::Left),
        };
        system.commit(vec![switch, turned]).await.map(drop)
    }

    /// Shuts a partition that a tenant has left, or to which it does not come after all, so that nobody goes on there.
    /// It is open where it is.
    pub async fn shut(&self, tenant: &TenantName, at: PartitionId, left: PartitionId) -> Result<(), CommitError> {
        let (at, left) = (self.partition(at)?, self.partition(left)?);
        open(&at, tenant).await?;
        let is_left = |state: &State| Fence::of(state, tenant).stage == Stage::Left;
        left.current().await?;
        if !is_left(&left.snapshot().shared_state()) {
            set(&left, tenant, 0, |fence| fence.turn(tenant, Stage::Left)).await?;
        }
        Ok(())
    }

    /// Removes what a partition still holds of a tenant that it was shut for.
    pub async fn clear(&self, tenant: &TenantName, left: PartitionId) -> Result<(), CommitError> {
        let left = self.partition(left)?;
        left.current().await?;
        let state = left.snapshot().shared_state();
        let fence = Fence::of(&state, tenant);
        if fence.stage != Stage::Left {
            return Err(CommitError::Moving);
        }
        let mut batch = Batch::new(&left, tenant, fence);
        for object in state.objects_in(tenant) {
            batch.add(removal(object.key.clone()), 0).await?;
        }
        batch.commit().await
    }

    /// Takes away what an earlier tenant of the name has left: all fences of one that is not there any more, and one that is
    /// in the way of a new one, unless that is being moved, as its object says.
    pub async fn unfence(&self, tenant: &TenantName, is_moving: fn(&Object) -> bool) -> Result<(), CommitError> {
        let partitions = self.attached();
        // Read first: who changes one since, has a reason of today.
        let fences: Vec<(PartitionId, Fence)> = partitions
            .iter()
            .map(|(id, partition)| (*id, Fence::of(&partition.snapshot().shared_state(), tenant)))
            .filter(|(_, fence)| fence.revision > 0)
            .collect();
        self.current().await?;
        let (is_there, at) = match self.snapshot().get(&tenant_key(tenant)) {
            Some(object) if is_moving(object) => return Ok(()),
            there => (there.is_some(), self.place_of(tenant)),
        };
        let in_the_way = |id: PartitionId, fence: Fence| !is_there || id == at && !fence.shows();
        for (id, fence) in fences.into_iter().filter(|(id, fence)| in_the_way(*id, *fence)) {
            partitions[&id].commit(vec![fence.remove(tenant)]).await?;
        }
        Ok(())
    }

    /// Whether there is a fence of a tenant.
    pub fn is_fenced(&self, tenant: &TenantName) -> bool {
        let mut partitions = self.attached().into_values();
        partitions.any(|partition| Fence::of(&partition.snapshot().shared_state(), tenant).revision > 0)
    }

    /// The tenants of which there are fences, some of them perhaps more than once.
    pub fn fenced(&self) -> Vec<TenantName> {
        let states = self.attached().into_values().map(|partition| partition.snapshot().shared_state());
        states.flat_map(|state| fence::tenants(&state).map(|(tenant, _)| tenant).collect::<Vec<_>>()).collect()
    }
}

impl<'a> Copy<'a> {
    async fn begin(tenant: &'a TenantName, from: Partition, to: Partition) -> Result<Copy<'a>, CommitError> {
        open(&from, tenant).await?;
        // What is copied gets revisions behind all that the tenant can have had until then.
        let last = from.snapshot().revision();
        let is_ahead = to.snapshot().revision() > last + REVISIONS_AHEAD / 2;
        let floor = if is_ahead { 0 } else { last + REVISIONS_AHEAD };
        let fence = set(&to, tenant, floor, |fence| fence.keep(tenant, Stage::Arriving)).await?;
        let state = to.snapshot().shared_state();
        let copied = state.objects_in(tenant).map(|object| (object.key.clone(), 0)).collect();
        Ok(Copy { tenant, from, to, fence, copied })
    }

    /// Copies what has changed since the last round; how much that was.
    async fn round(&mut self) -> Result<usize, CommitError> {
        let state = self.from.snapshot().shared_state();
        let is_copied = |object: &&Arc<Object>| self.copied.get(&object.key) == Some(&object.revision);
        let changed: Vec<Arc<Object>> =
            state.objects_in(self.tenant).filter(|object| !is_copied(object)).cloned().collect();
        let gone: Vec<ObjectKey> = self.copied.keys().filter(|key| state.get(key).is_none()).cloned().collect();
        let mut batch = Batch::new(&self.to, self.tenant, self.fence);
        for object in &changed {
            let change = Change::Put(Object::clone(object));
            let write = Write { key: object.key.clone(), expect: Expect::Any, change, class: Class::Durable };
            batch.add(write, object.bytes.len()).await?;
        }
        for key in &gone {
            batch.add(removal(key.clone()), 0).await?;
        }
        batch.commit().await?;
        let count = changed.len() + gone.len();
        self.copied.extend(changed.into_iter().map(|object| (object.key.clone(), object.revision)));
        gone.iter().for_each(|key| _ = self.copied.remove(key));
        Ok(count)
    }

    /// Copies the last changes, and opens the fence, unless the system partition does that later, with its own.
    async fn finish(&mut self, is_system: bool) -> Result<(), CommitError> {
        self.round().await?;
        if !is_system {
            let open = self.fence.turn(self.tenant, Stage::Open);
            self.to.commit(vec![open]).await?;
        }
        Ok(())
    }
}

/// Writes of a move on their way to one partition, a few at a time.
struct Batch<'a> {
    to: &'a Partition,
    tenant: &'a TenantName,
    fence: Fence,
    writes: Vec<Write>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(to: &'a Partition, tenant: &'a TenantName, fence: Fence) -> Batch<'a> {
        Batch { to, tenant, fence, writes: Vec::new(), bytes: 0 }
    }

    async fn add(&mut self, write: Write, bytes: usize) -> Result<(), CommitError> {
        if self.writes.len() >= BATCH_WRITES || self.bytes + bytes > BATCH_BYTES {
            self.commit().await?;
        }
        self.writes.push(write);
        self.bytes += bytes;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), CommitError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let mut writes = std::mem::take(&mut self.writes);
        self.bytes = 0;
        writes.push(self.fence.still(self.tenant));
        self.to.commit(writes).await.map(drop)
    }
}

fn removal(key: ObjectKey) -> Write {
    Write { key, expect: Expect::Present, change: Change::Delete, class: Class::Durable }
}

/// Opens the fence of a tenant where it is, if it is not open.
async fn open(at: &Partition, tenant: &TenantName) -> Result<(), CommitError> {
    at.current().await?;
    if Fence::of(&at.snapshot().shared_state(), tenant).stage == Stage::Open {
        return Ok(());
    }
    set(at, tenant, 0, |fence| fence.keep(tenant, Stage::Open)).await.map(drop)
}

/// Writes the tenant's fence as `next` makes it of the one that is there, at a revision behind `floor`; the new one.
async fn set(
    at: &Partition,
    tenant: &TenantName,
    floor: Revision,
    next: impl Fn(Fence) -> Write,
) -> Result<Fence, CommitError> {
    at.current().await?;
    let fence = Fence::of(&at.snapshot().shared_state(), tenant);
    let written = at.commit_behind(floor, vec![next(fence)]).await?;
    Ok(written.first().map_or(fence, |object| Fence::read(object)))
}
