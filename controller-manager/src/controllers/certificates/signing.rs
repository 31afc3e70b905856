//! Signs approved requests for client certificates, each for the tenant that it was made in.

use super::{CLIENT_SIGNER, KUBELET_CLIENT_SIGNER, SIGNING_REQUESTS, SigningRequest, check};
use crate::context::{Account, Context};
use crate::runner::{Controller, Declaration, ReadRequest, Reconcile, Setup, Sign};
use api::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Cache, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "csrsigning-controller", account: Account::Service("certificate-controller"), make };

impl SigningRequest {
    /// Whether it is approved, neither denied nor failed, not signed yet, and for a signer of here.
    fn waits(&self) -> bool {
        [CLIENT_SIGNER, KUBELET_CLIENT_SIGNER].contains(&self.spec.signer_name.as_str())
            && self.status.certificate.is_empty()
            && !self.metadata.is_deleting()
            && self.has("Approved")
            && !self.has("Denied")
            && !self.has("Failed")
    }
}

struct Signer {
    context: Context,
    requests: Cache<SigningRequest>,
    sign: Arc<Sign>,
    read: Arc<ReadRequest>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<SigningRequest>();
    let requests = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let (context, sign, read) = (setup.context.clone(), setup.sign.clone(), setup.read_request.clone());
    Controller::new(queue, Arc::new(Signer { context, requests, sign, read }))
}

impl Reconcile for Signer {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Signer {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let (Some(request), Some(tenant)) = (self.requests.get(key).filter(|r| r.waits()), &key.tenant) else {
            return Ok(None);
        };
        let signed = request.pem().and_then(|pem| {
            check(&request.spec.signer_name, &request.spec.usages, &(self.read)(&pem)?)?;
            (self.sign)(tenant, &pem, request.lifetime(), self.context.now())
        });
        let now = self.context.now().to_string();
        let client = self.context.client(key);
        let mut current = client.get(SIGNING_REQUESTS, "", &key.name).await?;
        // What was decided holds for the version that was seen.
        current["metadata"]["resourceVersion"] = json!(request.metadata.resource_version);
        conclude(&mut current["status"], signed, &now);
        client.update_status(SIGNING_REQUESTS, "", &current).await?;
        Ok(None)
    }
}

/// Puts the certificate, or why there is none, into a request's status.
fn conclude(status: &mut Value, signed: Result<String, String>, now: &str) {
    match signed {
        Ok(certificate) => status["certificate"] = json!(STANDARD.encode(certificate)),
        Err(why) => {
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                "message": why, "lastUpdateTime": now, "lastTransitionTime": now});
            match status["conditions"].as_array_mut() {
                Some(conditions) => conditions.push(failed),
                None => status["conditions"] = json!([failed]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(signer: &str, status: Value) -> SigningRequest {
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"signerName": signer}, "status": status}))
            .expect("a request")
    }

    #[test]
    fn only_what_is_approved_and_unsigned_waits() {
        let conditions =
            |kinds: &[&str]| json!({"conditions": kinds.iter().map(|k| json!({"type": k})).collect::<Vec<_>>()});
        assert!(request(CLIENT_SIGNER, conditions(&["Approved"])).waits());
        assert!(request(KUBELET_CLIENT_SIGNER, conditions(&["Approved"])).waits());
        for status in [
            json!({}),
            conditions(&["Denied"]),
            conditions(&["Approved", "Denied"]),
            conditions(&["Approved", "Failed"]),
        ] {
            assert!(!request(CLIENT_SIGNER, status.clone()).waits(), "{status}");
        }
        let signed = json!({"certificate": "eA==", "conditions": [{"type": "Approved"}]});
        assert!(!request(CLIENT_SIGNER, signed).waits());
        assert!(!request("example.com/other", conditions(&["Approved"])).waits());
    }

    #[test]
    fn a_refusal_is_told_in_the_status() {
        let mut status = json!({"conditions": [{"type": "Approved"}]});
        conclude(&mut status, Err("no".into()), "now");
        assert_eq!(status["conditions"][1]["message"], "no");
        conclude(&mut status, Ok("pem".into()), "now");
        assert_eq!(status["certificate"], STANDARD.encode("pem"));
    }
}
