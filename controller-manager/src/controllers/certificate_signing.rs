//! Signs approved requests for client certificates, each for the tenant that it was made in.

use crate::context::{Account, Context};
use crate::runner::{Controller, Declaration, Reconcile, Setup, Sign};
use crate::view::{Meta, View};
use api::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Cache, ObjectRef, Resource, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "csrsigning-controller", account: Account::Service("certificate-controller"), make };

const SIGNING_REQUESTS: Resource =
    Resource { group: "certificates.k8s.io", version: "v1", plural: "certificatesigningrequests", namespaced: false };

/// The signer of what identifies clients to the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// How long a certificate is valid when its request does not say.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Deserialize)]
struct SigningRequest {
    metadata: Meta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    request: String,
    signer_name: String,
    expiration_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    certificate: String,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
}

impl View for SigningRequest {
    const RESOURCE: Resource = SIGNING_REQUESTS;
}

impl SigningRequest {
    /// Whether it is approved, neither denied nor failed, not signed yet, and for this signer.
    fn waits(&self) -> bool {
        let has = |kind: &str| self.status.conditions.iter().any(|c| c.kind == kind);
        self.spec.signer_name == CLIENT_SIGNER
            && self.status.certificate.is_empty()
            && !self.metadata.is_deleting()
            && has("Approved")
            && !has("Denied")
            && !has("Failed")
    }

    fn lifetime(&self) -> Duration {
        self.spec.expiration_seconds.map_or(LIFETIME_DEFAULT, Duration::from_secs)
    }
}

struct Signer {
    context: Context,
    requests: Cache<SigningRequest>,
    sign: Arc<Sign>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<SigningRequest>();
    let requests = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let (context, sign) = (setup.context.clone(), setup.sign.clone());
    Controller::new(queue, Arc::new(Signer { context, requests, sign }))
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
        let pem = STANDARD.decode(&request.spec.request).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let signed = match pem {
            Some(pem) => (self.sign)(tenant, &pem, request.lifetime(), self.context.now()),
            None => Err("the request is no PEM in base64".to_owned()),
        };
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
