//! Frees pods of jobs that are gone, or that have ended: no one would count them, and their finalizer would keep them.

use super::{Job, MANAGED_BY, let_go};
use crate::context::{Context, unless_gone};
use crate::controllers::pod_control::controller_of;
use crate::controllers::pod_owner::PodOwner;
use crate::instances::hash_of;
use crate::runner::Reconcile;
use crate::view::Pod;
use api::Result;
use api::selector::hash_key;
use client::{Cache, JOBS, ObjectRef};
use std::time::Duration;

pub struct Orphans {
    pub context: Context,
    pub jobs: Cache<Job>,
    pub pods: Cache<Pod>,
}

/// Whether no job in the cache will count a pod.
pub fn may_be(pod: &Pod, jobs: &Cache<Job>) -> bool {
    match (pod.metadata.controller(), controller_of(pod, Job::KIND)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(_), Some((key, uid))) => {
            let is_managed = |job: &Job| job.spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGED_BY);
            jobs.get(&key)
                .filter(|job| job.metadata.uid == uid)
                .is_none_or(|job| job.finished().is_some() && !is_managed(&job))
        }
    }
}

impl Reconcile for Orphans {
    /// A pod is where its job is, or was.
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        let pod = self.pods.get(key)?;
        Some(pod.metadata.controller().map_or_else(|| hash_of(key), |job| hash_key(&job.uid)))
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(pod) = self.pods.get(key).filter(|pod| may_be(pod, &self.jobs)) else { return Ok(None) };
        let client = self.context.client(key);
        if let Some((owner, uid)) = controller_of(&pod, Job::KIND)
            && self.jobs.get(&owner).is_none()
        {
            // A cache may not have seen the job yet.
            let live = unless_gone(client.get(JOBS, &owner.namespace, &owner.name).await)?;
            if live.is_some_and(|live| live["metadata"]["uid"] == *uid) {
                return Ok(Some(Duration::from_secs(1)));
            }
        }
        let_go(&client, &pod).await?;
        Ok(None)
    }
}
