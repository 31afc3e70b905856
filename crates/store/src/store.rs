//! The handle to everything that is stored: finds the partition of each object.

#[cfg(test)]
use crate::engine::Engine;
use crate::fence::{self, Fence};
use crate::hub::Hub;
use crate::meter::Held;
use crate::open_error::OpenError;
use crate::partition::Partition;
use crate::scope::Scope;
use crate::snapshot::{Others, Routes, Snapshot, State};
use crate::transaction::{CommitError, Write};
use crate::version::{PartitionId, Version};
use crate::watch::Watch;
use api::selector::Selector;
use api::{Object, ResourceId, Revision, TenantName};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How long a request waits for its tenant to be where it is moved to. A move stops writes for a fraction of that.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// The selectable fields of a resource, to rebuild headers on load.
pub type FieldsOf = fn(&ResourceId) -> &'static [&'static str];

/// What a store may use at most. Being full is a defined outcome of each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Commits that wait for the writer; more are refused with [`CommitError::Full`].
    pub queue_commits_max: usize,
    /// Bytes of objects in commits that wait for the writer; more are refused with [`CommitError::Full`].
    pub queue_bytes_max: usize,
    /// Commits that share one sync.
    pub batch_commits_max: usize,
    /// Bytes of objects that share one sync. A single larger commit is a batch of its own.
    pub batch_bytes_max: usize,
    /// Events kept per resource, for watches that resume and for lists at old revisions.
    pub history_events_max: usize,
    /// Bytes kept per resource in events.
    pub history_bytes_max: usize,
    /// How long events are kept.
    pub history_age_max: Duration,
    /// Events that wait in a watcher's own queue; with more it reads on from the history, until it falls behind that.
    pub watch_queue_events_max: usize,
    /// The log is replaced by a checkpoint when it has grown by this, and by as much as is stored.
    pub checkpoint_after_bytes: u64,
    /// How long a relaxed write waits for its sync.
    pub relaxed_sync_after: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_commits_max: 16 * 1024,
            queue_bytes_max: 64 << 20,
            batch_commits_max: 1024,
            batch_bytes_max: 4 << 20,
            history_events_max: 16 * 1024,
            history_bytes_max: 32 << 20,
            history_age_max: Duration::from_secs(15 * 60),
            watch_queue_events_max: 128,
            checkpoint_after_bytes: 64 << 20,
            relaxed_sync_after: Duration::from_millis(500),
        }
    }
}

/// The history does not reach back to the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the oldest revision that is still held is {oldest}")]
pub struct TooOld {
    pub oldest: Revision,
}

/// Counters and sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub objects: usize,
    /// Encoded bytes of all objects.
    pub bytes: u64,
    pub revision: Revision,
    /// Transactions committed since the store was opened.
    pub commits: u64,
    /// Syncs to disk since the store was opened.
    pub syncs: u64,
    pub watchers: usize,
}

/// Everything that is stored: the system partition, and any number of others for tenants; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    system: Partition,
    routes: Option<Routes>,
    others: ArcSwap<BTreeMap<PartitionId, Partition>>,
    /// How often a partition came or went.
    changes: AtomicU64,
}

/// Whose objects a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    Cluster,
    Tenant(&'a TenantName),
    AllTenants,
}

impl From<Partition> for Store {
    /// A store of one partition.
    fn from(system: Partition) -> Store {
        Store::new(system, None)
    }
}

impl Store {
    /// A store whose system partition says which others there are, and who is in them.
    pub fn routed(system: Partition, routes: Routes) -> Store {
        Store::new(system, Some(routes))
    }

    fn new(system: Partition, routes: Option<Routes>) -> Store {
        Store(Arc::new(Parts { system, routes, others: ArcSwap::default(), changes: AtomicU64::new(0) }))
    }

    /// A store of one embedded partition; see [`Partition::embedded`]. Blocks.
    pub fn open(dir: &Path, fields: FieldsOf, limits: Limits) -> Result<Store, OpenError> {
        Partition::embedded(dir, fields, limits).map(Store::from)
    }

    #[cfg(test)]
    pub(crate) fn start(
        engine: Box<dyn Engine>,
        dir: &Path,
        fields: FieldsOf,
        limits: Limits,
    ) -> Result<Store, OpenError> {
        Partition::start(engine, dir, fields, limits).map(Store::from)
    }

    /// Lets a partition serve its tenants, in place of the one that had its number; without one, lets go of it. Who watches
    /// all tenants lists them again.
    pub fn attach(&self, id: PartitionId, partition: Option<Partition>) {
        self.0.others.rcu(|others| {
            let mut others = BTreeMap::clone(others);
            match &partition {
                Some(partition) => others.insert(id, partition.clone()),
                None => others.remove(&id),
            };
            others
        });
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        self.0.system.hub().end_over_all_tenants();
    }

    /// Whether a partition is attached.
    pub fn is_attached(&self, id: PartitionId) -> bool {
        self.0.others.load().contains_key(&id)
    }

    /// The state after the latest commits that this process has seen.
    pub fn snapshot(&self) -> Snapshot {
        let system = self.0.system.snapshot();
        let Some(routes) = self.routes(&system) else { return system };
        let others = self.0.others.load();
        let by_id = others.iter().map(|(id, partition)| (*id, partition.snapshot().shared_state())).collect();
        let placed = system.shared_state();
        system.with_others(Others { by_id, routes, placed })
    }

    /// The revision of the system partition.
    pub fn revision(&self) -> Revision {
        self.0.system.snapshot().revision()
    }

    /// Returns when the snapshot holds everything of the system partition that was committed before the call, by whichever
    /// process: what a read must wait for that may not be stale. The error says why that cannot be known.
    pub async fn current(&self) -> Result<(), CommitError> {
        self.0.system.current().await
    }

    /// As [`Store::current`], of the partitions beside the system's.
    pub async fn current_in(&self, whose: Whose<'_>) -> Result<(), CommitError> {
        let deadline = Instant::now() + MOVED_WITHIN;
        loop {
            let others = self.others_of(whose)?;
            if !others.is_empty() {
                futures::future::try_join_all(others.iter().map(Partition::current)).await?;
            }
            match self.shows(whose) {
                Err(CommitError::Moving) => self.moving(deadline).await?,
                known => return known,
            }
        }
    }

    /// Whether what a request is about can be read here at all.
    pub fn holds(&self, whose: Whose<'_>) -> Result<(), CommitError> {
        self.others_of(whose)?;
        self.shows(whose)
    }

    /// Commits all writes under one revision, or none of them. Returns the stored objects in the order of the writes; of
    /// a deleted object its last state, at the deletion's revision; of a revision that changed nothing none. A commit
    /// that was begun is not undone by dropping the future.
    ///
    /// Writes in several partitions are a transaction in each. The system partition's is first, and decides: what
    /// follows it can be lost.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        for write in &writes {
            assert!(write.body().is_none_or(|object| object.key == write.key), "a write stores its object at its key");
        }
        let system = self.0.system.snapshot();
        if self.routes(&system).is_none() || writes.iter().all(|write| write.key.tenant().is_none()) {
            return self.0.system.commit(writes).await;
        }
        let first_in_system = writes.first().is_none_or(|write| write.key.tenant().is_none());
        let (of_system, of_tenants): (Vec<Write>, Vec<Write>) =
            writes.into_iter().partition(|write| write.key.tenant().is_none());
        if of_system.is_empty() {
            return self.commit_in_place(of_tenants).await;
        }
        // A tenant that is created here has its partition only then.
        let known = self.partition_of(&of_tenants);
        if let Ok(partition) = &known
            && partition.is_same(&self.0.system)
            && !first_in_system
        {
            match partition.commit(of_tenants.iter().chain(&of_system).cloned().collect()).await {
                Err(CommitError::Moving) => {}
                done => return done,
            }
        }
        let mut done = self.0.system.commit(of_system).await?;
        let mut rest = self.commit_in_place(of_tenants).await?;
        if first_in_system {
            done.append(&mut rest);
            return Ok(done);
        }
        rest.append(&mut done);
        Ok(rest)
    }

    /// The exact state of a scope, and no more, at an old version. At the current version or a later one it is the
    /// current snapshot.
    pub fn snapshot_at(&self, scope: &Scope, version: &Version) -> Result<Snapshot, TooOld> {
        let hubs = self.hubs(scope, version)?;
        let mut states = hubs.into_iter().map(|(id, hub, revision)| Ok((id, hub.snapshot_at(scope, revision)?)));
        let first = states.next().expect("there is a partition")?.1;
        let rest = states.map(|state| state.map(|(id, state)| (id, state.shared_state()))).collect::<Result<_, _>>()?;
        Ok(match (version, self.0.routes) {
            // Within a tenant there is one, whichever it is.
            (Version::Each(_), Some(routes)) => {
                let placed = self.0.system.snapshot().shared_state();
                first.with_others(Others { by_id: rest, routes, placed })
            }
            _ => first,
        })
    }

    /// Waits until the store is at `version`; false when the deadline passes first. Cancel-safe.
    pub async fn wait_for(&self, scope: &Scope, version: &Version, deadline: Duration) -> bool {
        let Ok(hubs) = self.hubs(scope, version) else { return true };
        let reached = hubs.iter().map(|(_, hub, revision)| hub.reaches(*revision, deadline));
        futures::future::join_all(reached).await.into_iter().all(|reached| reached)
    }

    /// The events after a version: from the history, then as they are committed, without gap or duplicate.
    pub fn watch(&self, scope: &Scope, selector: &Selector, after: &Version) -> Result<Watch, TooOld> {
        Watch::start(self.hubs(scope, after)?, scope, selector)
    }

    /// Changes whenever an object of the resource changes; 0 while there is none.
    pub fn resource_revision(&self, resource: &ResourceId) -> Revision {
        let system = self.0.system.hub().resource_revision(resource);
        let others = self.0.others.load();
        if others.is_empty() {
            return system;
        }
        let sum: Revision = others.values().map(|partition| partition.hub().resource_revision(resource)).sum();
        system + sum + (self.0.changes.load(Ordering::Relaxed) << 48)
    }

    /// Completes with the reason when nothing can be acknowledged any more, and the process must exit. Cancel-safe.
    pub async fn failed(&self) -> String {
        self.0.system.failed().await
    }

    /// Writes what is queued, syncs, and stops; later commits fail. A directory is free afterwards.
    pub async fn close(&self) {
        let others = self.0.others.load_full();
        futures::future::join_all(others.values().map(Partition::close)).await;
        self.0.system.close().await;
    }

    /// What a tenant holds, by the last decision of the writer of its partition.
    pub fn held(&self, tenant: &TenantName) -> Held {
        let others = self.others_of(Whose::Tenant(tenant)).unwrap_or_default();
        others.first().unwrap_or(&self.0.system).hub().meter.of(tenant)
    }

    /// What each tenant holds that holds anything, in no order.
    pub fn held_by_all(&self) -> Vec<(TenantName, Held)> {
        let is_copy = |id: PartitionId, state: &State, tenant: &TenantName| {
            Fence::of(state, tenant).revision > 0 && self.place_of(tenant) != id
        };
        let held = self.attached().into_iter().flat_map(|(id, partition)| {
            let (all, state) = (partition.hub().meter.all(), partition.snapshot().shared_state());
            all.into_iter().filter(|(tenant, _)| !is_copy(id, &state, tenant)).collect::<Vec<_>>()
        });
        held.collect()
    }

    /// Those of all partitions together; the revision is the system's.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.system.stats();
        for other in self.0.others.load().values().map(Partition::stats) {
            stats.objects += other.objects;
            stats.bytes += other.bytes;
            stats.commits += other.commits;
            stats.syncs += other.syncs;
            stats.watchers += other.watchers;
        }
        stats
    }

    /// How to find other partitions; `None` while there are none.
    fn routes(&self, system: &Snapshot) -> Option<Routes> {
        self.0.routes.filter(|routes| !(routes.all)(system).is_empty())
    }

    /// The partitions beside the system's that hold something of `whose`.
    fn others_of(&self, whose: Whose<'_>) -> Result<Vec<Partition>, CommitError> {
        let system = self.0.system.snapshot();
        let Some(routes) = self.routes(&system) else { return Ok(Vec::new()) };
        let ids = match whose {
            Whose::Cluster => Vec::new(),
            Whose::Tenant(tenant) => vec![(routes.of_tenant)(&system, tenant)],
            Whose::AllTenants => (routes.all)(&system),
        };
        ids.into_iter().filter(|&id| id != 0).map(|id| self.other(id)).collect()
    }

    fn other(&self, id: PartitionId) -> Result<Partition, CommitError> {
        let found = self.0.others.load().get(&id).cloned();
        found
            .ok_or_else(|| CommitError::Unavailable(format!("storage cluster {id} cannot be reached from this server")))
    }

    /// Commits where the tenants are; while one is being moved, waits for where it will be.
    async fn commit_in_place(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        let deadline = Instant::now() + MOVED_WITHIN;
        loop {
            match self.partition_of(&writes)?.commit(writes.clone()).await {
                Err(CommitError::Moving) => self.moving(deadline).await?,
                done => return done,
            }
        }
    }

    /// The partition with this number. The error says that it is not attached.
    pub(crate) fn partition(&self, id: PartitionId) -> Result<Partition, CommitError> {
        if id == 0 { Ok(self.0.system.clone()) } else { self.other(id) }
    }

    /// Where a tenant is.
    pub(crate) fn place_of(&self, tenant: &TenantName) -> PartitionId {
        self.0.routes.map_or(0, |routes| (routes.of_tenant)(&self.0.system.snapshot(), tenant))
    }

    /// The partitions, by their numbers.
    pub(crate) fn attached(&self) -> BTreeMap<PartitionId, Partition> {
        let others = self.0.others.load();
        others.iter().map(|(id, partition)| (*id, partition.clone())).chain([(0, self.0.system.clone())]).collect()
    }

    /// Whether what is asked for is whole in the partitions where it should be, as far as this process has seen them.
    fn shows(&self, whose: Whose<'_>) -> Result<(), CommitError> {
        if self.routes(&self.0.system.snapshot()).is_none() {
            return Ok(());
        }
        let shown = |id: PartitionId, fence: Fence, tenant: &TenantName| fence.shows() || self.place_of(tenant) != id;
        let all_shown = match whose {
            Whose::Cluster => true,
            Whose::Tenant(tenant) => {
                let id = self.place_of(tenant);
                let state = self.partition(id)?.snapshot().shared_state();
                shown(id, Fence::of(&state, tenant), tenant)
            }
            Whose::AllTenants => self.attached().into_iter().all(|(id, partition)| {
                let state = partition.snapshot().shared_state();
                fence::tenants(&state).all(|(tenant, fence)| shown(id, fence, &tenant))
            }),
        };
        if all_shown { Ok(()) } else { Err(CommitError::Moving) }
    }

    /// Waits until something may be different of a tenant that is being moved; the error says that it was long enough.
    async fn moving(&self, deadline: Instant) -> Result<(), CommitError> {
        if Instant::now() >= deadline {
            return Err(CommitError::Moving);
        }
        let attached = self.attached();
        let hubs = attached.values().map(Partition::hub);
        let changes = hubs.map(|hub| Box::pin(hub.reaches(hub.dispatched() + 1, LOOK_AGAIN_AFTER)));
        futures::future::select_all(changes).await;
        Ok(())
    }

    /// The one partition of writes that are all of tenants.
    fn partition_of(&self, writes: &[Write]) -> Result<Partition, CommitError> {
        let mut tenants = writes.iter().filter_map(|write| write.key.tenant());
        let tenant = tenants.next().expect("the writes are of tenants");
        let of = |tenant| Ok::<_, CommitError>(self.others_of(Whose::Tenant(tenant))?.pop());
        let partition = of(tenant)?;
        for other in tenants.filter(|&other| other != tenant) {
            let same = match (&partition, of(other)?) {
                (Some(one), Some(other)) => one.is_same(&other),
                (one, other) => one.is_none() && other.is_none(),
            };
            if !same {
                return Err(CommitError::TooLarge("tenants in several storage clusters".to_owned()));
            }
        }
        Ok(partition.unwrap_or_else(|| self.0.system.clone()))
    }

    /// The partitions of a scope, each with its part of a version. A version that does not name them is too old.
    fn hubs(&self, scope: &Scope, version: &Version) -> Result<Vec<(PartitionId, Arc<Hub>, Revision)>, TooOld> {
        let too_old = || TooOld { oldest: self.revision() };
        let whose = match scope {
            Scope::Cluster(_) => Whose::Cluster,
            Scope::Tenant(_, tenant) | Scope::Namespace(_, tenant, _) => Whose::Tenant(tenant),
            Scope::AllTenants(_) => Whose::AllTenants,
        };
        let others = self.others_of(whose).map_err(|_| too_old())?;
        match (version, whose) {
            (Version::At(revision), Whose::Cluster | Whose::Tenant(_)) => {
                let partition = others.first().unwrap_or(&self.0.system);
                Ok(vec![(0, partition.hub().clone(), *revision)])
            }
            (Version::At(revision), Whose::AllTenants) if others.is_empty() => {
                Ok(vec![(0, self.0.system.hub().clone(), *revision)])
            }
            (Version::Each(each), Whose::AllTenants) if each.len() == others.len() + 1 => {
                let attached = self.0.others.load();
                let found = each.iter().map(|(&id, &revision)| {
                    let partition = if id == 0 { Some(&self.0.system) } else { attached.get(&id) };
                    Some((id, partition?.hub().clone(), revision))
                });
                found.collect::<Option<_>>().ok_or_else(too_old)
            }
            _ => Err(too_old()),
        }
    }
}
