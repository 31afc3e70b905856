//! Kinds whose objects keep pods: which of them a change of a pod concerns, and what it says about expectations.

use super::expectations::Expectations;
use super::owner::Owner;
use super::pod_control::controller_of;
use crate::recorder::Involved;
use crate::runner::Setup;
use crate::view::{Meta, Pod, Selector, View};
use api::selector::hash_key;
use client::{Cache, Change, Names, ObjectRef, WorkQueue};
use std::sync::Arc;
use std::time::Duration;

/// A kind whose objects keep pods.
pub trait PodOwner: View {
    const KIND: &'static str;
    /// What keeps a pod until it is counted.
    const FINALIZER: Option<&'static str> = None;
    /// Changes of pods within this time are looked at together.
    const GATHERS: Duration = Duration::ZERO;

    fn metadata(&self) -> &Meta;

    fn selector(&self) -> &Selector;

    /// The hash by which the object is some instance's to look at.
    fn hash_key(&self) -> u64 {
        hash_key(&self.metadata().uid)
    }

    fn owner(&self) -> Owner<'_> {
        Owner {
            resource: Self::RESOURCE,
            kind: Self::KIND,
            metadata: self.metadata(),
            selector: self.selector(),
            finalizer: Self::FINALIZER,
        }
    }

    /// The object, as events name it.
    fn involved(&self) -> Involved {
        Involved {
            key: self.metadata().key(),
            api_version: Self::RESOURCE.api_version(),
            kind: Self::KIND.to_owned(),
            uid: self.metadata().uid.clone(),
        }
    }
}

/// Queues objects of a kind when they or their pods change. Notes in `expectations` what is seen.
pub fn follow<T: PodOwner>(
    setup: &mut Setup,
    expectations: &Arc<Expectations>,
    queue: &WorkQueue<ObjectRef>,
) -> Cache<T> {
    let informer = setup.own::<T>();
    let cache = informer.cache();
    let (changed, expected) = (queue.clone(), expectations.clone());
    informer.on_change(move |change| {
        let uid = |object: &Option<Arc<T>>| object.as_ref().map(|o| o.metadata().uid.clone());
        if let Some(gone) = uid(&change.old).filter(|old| uid(&change.new).as_ref() != Some(old)) {
            expected.forget(&gone);
        }
        // A status that is written, most often by the controller itself, is looked at together with what follows.
        let version = |object: &Option<Arc<T>>| {
            let meta = object.as_ref().map(|o| o.metadata())?;
            Some((meta.uid.clone(), meta.generation, meta.is_deleting(), meta.labels.clone()))
        };
        let is_same = version(&change.old) == version(&change.new);
        changed.requeue_after(change.key.clone(), if is_same { T::GATHERS } else { Duration::ZERO });
    });
    let (changed, expected, known) = (queue.clone(), expectations.clone(), cache.clone());
    setup.dependents::<Pod>(T::KIND).on_change(move |change| pod_changed(change, &known, &expected, &changed));
    cache
}

/// Notes what was expected, and queues the owners that a change of a pod concerns.
pub fn pod_changed<T: PodOwner>(
    change: &Change<Pod>,
    known: &Cache<T>,
    expectations: &Expectations,
    queue: &WorkQueue<ObjectRef>,
) {
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    let same = old.zip(new).is_some_and(|(o, n)| o.metadata.uid == n.metadata.uid);
    let owner = |pod: &Pod| controller_of(pod, T::KIND);
    let owners = [old.and_then(owner), new.and_then(owner)];
    let is_deleting = |pod: Option<&Pod>| pod.is_some_and(|p| p.metadata.is_deleting());
    if let (Some(pod), Some((_, uid))) = (old, &owners[0])
        && (!same || is_deleting(new))
    {
        expectations.saw_deletion(uid, &pod.metadata.uid);
    }
    if let (Some(pod), Some((_, uid))) = (new, &owners[1])
        && !same
    {
        expectations.saw_creations(uid, 1);
        if pod.metadata.is_deleting() {
            expectations.saw_deletion(uid, &pod.metadata.uid);
        }
    }
    for (key, uid) in owners.iter().flatten() {
        if known.get(key).is_some_and(|object| object.metadata().uid == *uid) {
            queue.requeue_after(key.clone(), T::GATHERS);
        }
    }
    if let Some(pod) = new.filter(|p| p.metadata.controller().is_none())
        && let Some(tenant) = &change.key.tenant
        && !(same && old.is_some_and(|o| o.metadata.labels == pod.metadata.labels && o.metadata.controller().is_none()))
    {
        for (key, object) in known.list_namespace(tenant, &change.key.namespace) {
            if object.selector().matches(&pod.metadata.labels) {
                queue.requeue_after(key, T::GATHERS);
            }
        }
    }
}
