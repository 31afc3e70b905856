//! Removes requests for certificates that nobody needs any more: an hour after they were decided, a day after nobody did.

use super::{SIGNING_REQUESTS, SigningRequest};
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use api::{Result, Timestamp};
use client::{Cache, DeleteParams, ObjectRef, WorkQueue};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "certificatesigningrequest-cleaner-controller",
    account: Account::Service("certificate-controller"),
    make,
};

const DECIDED: Duration = Duration::from_secs(60 * 60);
const PENDING: Duration = Duration::from_secs(24 * 60 * 60);

struct Cleaner {
    context: Context,
    requests: Cache<SigningRequest>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<SigningRequest>();
    let requests = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.is_some() {
            changed.add(change.key.clone());
        }
    });
    Controller::new(queue, Arc::new(Cleaner { context: setup.context.clone(), requests }))
}

/// When a request is to go.
fn until(request: &SigningRequest) -> Timestamp {
    let decided = ["Approved", "Denied", "Failed"].into_iter().filter_map(|kind| request.condition(kind));
    let created = request.metadata.creation_timestamp.0;
    match decided.map(|c| c.last_update_time.0).max() {
        // Nothing was decided before it was made: a time that is missing is not taken for an old one.
        Some(at) => at.max(created).plus(DECIDED),
        None => created.plus(PENDING),
    }
}

impl Reconcile for Cleaner {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(request) = self.requests.get(key).filter(|r| !r.metadata.is_deleting()) else { return Ok(None) };
        let (until, now) = (until(&request), self.context.now());
        if now < until {
            return Ok(Some(until.since(now) + Duration::from_secs(1)));
        }
        let exactly = DeleteParams::of_uid(&request.metadata.uid);
        unless_gone(self.context.client(key).delete(SIGNING_REQUESTS, "", &key.name, &exactly).await)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_request_goes_an_hour_after_it_was_decided_or_a_day_after_it_was_made() {
        let metadata = json!({"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"});
        for (kind, expected) in [
            (None, "2026-01-02T00:00:00Z"),
            (Some("Approved"), "2026-01-01T06:00:00Z"),
            (Some("Denied"), "2026-01-01T06:00:00Z"),
            (Some("Other"), "2026-01-02T00:00:00Z"),
        ] {
            let conditions: Vec<_> =
                kind.iter().map(|k| json!({"type": k, "lastUpdateTime": "2026-01-01T05:00:00Z"})).collect();
            let request = json!({"metadata": metadata, "spec": {}, "status": {"conditions": conditions}});
            let request: SigningRequest = from_value(request).expect("a request");
            assert_eq!(until(&request).to_string(), expected);
        }
    }
}
