//! What of the work this process may do now: asked by workers before each look, and changed by the membership.
//!
//! Invariant: when [`Share::given_up`] has completed, nothing of what was taken is in work any more.
//! A slot is worked on while it is allowed, which the table says, and covered, which says that the caches were filled
//! after it was allowed.

use super::slots::{COUNT, Slots};
use super::table::Shares;
use http::HeaderValue;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long slots that come from several instances are awaited, before the caches are filled for those that are there.
const GATHER: Duration = Duration::from_millis(1000);

/// After losing slots, caches are filled for the rest alone once the instances have come to rest.
const SHRINK_AFTER: Duration = Duration::from_secs(5);

/// A hash of a key, for work that is not split by uids.
pub fn hash_of(key: &impl Display) -> u64 {
    api::selector::hash_key(&key.to_string())
}

/// The work of this process. Cheap to clone.
#[derive(Clone)]
pub struct Share(Arc<Shared>);

struct Shared {
    started: Instant,
    /// Milliseconds after the start until when this process may work.
    valid_until: AtomicU64,
    /// What each write names: the instance and its epoch.
    fence: RwLock<Option<HeaderValue>>,
    parts: Vec<Controller>,
    /// Whether this process has what it is to have.
    settled: AtomicBool,
    looks: AtomicU64,
    /// Something of the above has changed.
    changed: watch::Sender<()>,
    /// Something in work has ended.
    ended: Notify,
}

struct Controller {
    name: &'static str,
    allowed: AtomicU64,
    covered: AtomicU64,
    /// What the caches were filled for.
    filled: AtomicU64,
    in_work: [AtomicU32; COUNT as usize],
}

/// The work of one controller. Cheap to clone.
#[derive(Clone)]
pub struct Part {
    share: Share,
    index: usize,
}

/// Something is in work until this is dropped.
pub struct InWork {
    part: Part,
    slot: u8,
}

impl Share {
    /// Of these controllers, and of nothing yet.
    pub fn new(controllers: impl Iterator<Item = &'static str>) -> Share {
        let controller = |name| Controller {
            name,
            allowed: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            in_work: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        Share(Arc::new(Shared {
            started: Instant::now(),
            valid_until: AtomicU64::new(0),
            fence: RwLock::default(),
            parts: controllers.map(controller).collect(),
            settled: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            changed: watch::Sender::new(()),
            ended: Notify::new(),
        }))
    }

    pub fn controllers(&self) -> impl Iterator<Item = &'static str> {
        self.0.parts.iter().map(|part| part.name)
    }

    pub fn part(&self, controller: &str) -> Option<Part> {
        let index = self.0.parts.iter().position(|part| part.name == controller)?;
        Some(Part { share: self.clone(), index })
    }

    /// All of the work, for ever.
    pub fn take_all(&self) {
        self.valid(None);
        self.0.parts.iter().for_each(|part| part.allowed.store(Slots::ALL.bits(), Ordering::SeqCst));
        self.settle(true);
    }

    /// This process may work until then; `None` for ever.
    pub fn valid(&self, until: Option<Instant>) {
        let millis = until.map_or(u64::MAX, |until| {
            u64::try_from(until.saturating_duration_since(self.0.started).as_millis()).unwrap_or(u64::MAX)
        });
        self.0.valid_until.store(millis, Ordering::SeqCst);
        self.0.changed.send_replace(());
    }

    pub fn is_valid(&self) -> bool {
        let until = self.0.valid_until.load(Ordering::SeqCst);
        until == u64::MAX || self.0.started.elapsed().as_millis() < u128::from(until)
    }

    /// Completes while this process may work.
    pub async fn validated(&self) {
        let mut changed = self.0.changed.subscribe();
        while !self.is_valid() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    pub fn fence(&self) -> Option<HeaderValue> {
        self.0.fence.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_fence(&self, fence: Option<HeaderValue>) {
        *self.0.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    /// Allows exactly this, and tells what of the earlier is taken by that.
    pub fn allow(&self, shares: &Shares) -> Shares {
        let mut taken = Shares::new();
        for part in &self.0.parts {
            let now = shares.get(part.name).copied().unwrap_or_default();
            let before = Slots::from_bits(part.allowed.swap(now.bits(), Ordering::SeqCst));
            let lost = before.without(now);
            if !lost.is_empty() {
                part.covered.fetch_and(!lost.bits(), Ordering::SeqCst);
                taken.insert(part.name.to_owned(), lost);
            }
        }
        self.0.changed.send_replace(());
        taken
    }

    /// Waits until nothing of what was taken is in work. `false` when it takes longer.
    pub async fn given_up(&self, taken: &Shares, within: Duration) -> bool {
        let busy = |part: &&Controller| {
            let slots = taken.get(part.name).copied().unwrap_or_default();
            slots.iter().any(|slot| part.in_work[usize::from(slot)].load(Ordering::SeqCst) > 0)
        };
        let wait = async {
            loop {
                let ended = self.0.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if !self.0.parts.iter().any(|part| busy(&part)) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }

    /// What is allowed now.
    pub fn allowed(&self) -> Shares {
        let allowed = |part: &Controller| (part.name.to_owned(), Slots::from_bits(part.allowed.load(Ordering::SeqCst)));
        self.0.parts.iter().map(allowed).filter(|(_, slots)| !slots.is_empty()).collect()
    }

    pub fn settle(&self, settled: bool) {
        self.0.settled.store(settled, Ordering::SeqCst);
        self.0.changed.send_replace(());
    }

    /// How many keys were looked at.
    pub fn looks(&self) -> u64 {
        self.0.looks.load(Ordering::Relaxed)
    }

    /// Waits for something to do. Returns when the caches are to be filled for it.
    pub async fn something(&self) {
        self.until(|share| !share.allowed().is_empty()).await;
        self.gathered().await;
    }

    /// From now on what is allowed is covered: caches that are filled after this.
    pub fn cover(&self) {
        for part in &self.0.parts {
            let allowed = part.allowed.load(Ordering::SeqCst);
            part.filled.store(allowed, Ordering::SeqCst);
            part.covered.store(allowed, Ordering::SeqCst);
            // What was taken in between is not covered.
            part.covered.fetch_and(part.allowed.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Completes when the caches are to be filled anew: there is more to do, or much less.
    pub async fn changed_enough(&self) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let differs = |more: bool| {
                self.0.parts.iter().any(|part| {
                    let (allowed, covered, filled) = (&part.allowed, &part.covered, &part.filled);
                    let (allowed, covered, filled) =
                        (allowed.load(Ordering::SeqCst), covered.load(Ordering::SeqCst), filled.load(Ordering::SeqCst));
                    if more { allowed & !covered != 0 } else { filled & !allowed != 0 }
                })
            };
            if differs(true) {
                self.gathered().await;
                return;
            }
            let less = differs(false);
            let rest = async {
                match less {
                    true => tokio::time::sleep(SHRINK_AFTER).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Both only wake; the state is read anew.
                ended = changed.changed() => if ended.is_err() { return },
                () = rest => return,
            }
        }
    }

    /// Waits for what is still to come, but not for long.
    async fn gathered(&self) {
        let settled = self.until(|share| share.0.settled.load(Ordering::SeqCst));
        drop(tokio::time::timeout(GATHER, settled).await);
    }

    async fn until(&self, holds: impl Fn(&Share) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !holds(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Part {
    /// The slots that caches are filled for.
    pub fn filled(&self) -> Slots {
        Slots::from_bits(self.controller().filled.load(Ordering::SeqCst))
    }

    /// Begins work on something, unless it is another's.
    pub fn begin(&self, hash: u64) -> Option<InWork> {
        let slot = Slots::of_hash(hash);
        let controller = self.controller();
        controller.in_work[usize::from(slot)].fetch_add(1, Ordering::SeqCst);
        let work = InWork { part: self.clone(), slot };
        let open = controller.allowed.load(Ordering::SeqCst) & controller.covered.load(Ordering::SeqCst);
        if !Slots::from_bits(open).contains(slot) {
            return None;
        }
        self.share.0.looks.fetch_add(1, Ordering::Relaxed);
        Some(work)
    }

    /// Completes while this process may work.
    pub async fn validated(&self) {
        self.share.validated().await;
    }

    fn controller(&self) -> &Controller {
        &self.share.0.parts[self.index]
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        let left = self.part.controller().in_work[usize::from(self.slot)].fetch_sub(1, Ordering::SeqCst);
        if left == 1 {
            self.part.share.0.ended.notify_waiters();
        }
    }
}
