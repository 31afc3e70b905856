//! Approves requests for kubelets' certificates whose requesters have the right to get one without being asked.

use super::{KUBELET_CLIENT_SIGNER, SIGNING_REQUESTS, SigningRequest, check};
use crate::context::{Account, Context};
use crate::runner::{Controller, Declaration, ReadRequest, Reconcile, Requested, Setup};
use api::Result;
use client::{Cache, ObjectRef, Resource, WorkQueue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "certificatesigningrequest-approving-controller",
    account: Account::Service("certificate-controller"),
    make,
};

const ACCESS_REVIEWS: Resource =
    Resource { group: "authorization.k8s.io", version: "v1", plural: "subjectaccessreviews", namespaced: false };

/// A rule by which requests are approved: the right that a requester needs, and what is said then.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    subresource: &'static str,
    message: &'static str,
}

const OWN: Rule = Rule {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};

const ANY: Rule =
    Rule { subresource: "nodeclient", message: "Auto approving kubelet client certificate after SubjectAccessReview." };

struct Approver {
    context: Context,
    requests: Cache<SigningRequest>,
    read: Arc<ReadRequest>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<SigningRequest>();
    let requests = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.as_ref().is_some_and(|r| waits(r)) {
            changed.add(change.key.clone());
        }
    });
    let (context, read) = (setup.context.clone(), setup.read_request.clone());
    Controller::new(queue, Arc::new(Approver { context, requests, read }))
}

/// Whether nobody has decided, and somebody could here.
fn waits(request: &SigningRequest) -> bool {
    request.spec.signer_name == KUBELET_CLIENT_SIGNER
        && request.status.certificate.is_empty()
        && !request.metadata.is_deleting()
        && !request.has("Approved")
        && !request.has("Denied")
}

/// The rules that a request could be approved by.
fn rules(request: &SigningRequest, requested: &Requested) -> Vec<Rule> {
    if check(KUBELET_CLIENT_SIGNER, &request.spec.usages, requested).is_err() {
        return Vec::new();
    }
    if request.spec.username == requested.common_name { vec![OWN, ANY] } else { vec![ANY] }
}

impl Reconcile for Approver {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await.map(|()| None)
    }
}

impl Approver {
    async fn sync(&self, key: &ObjectRef) -> Result<()> {
        let Some(request) = self.requests.get(key).filter(|r| waits(r)) else { return Ok(()) };
        let Ok(requested) = request.pem().and_then(|pem| (self.read)(&pem)) else { return Ok(()) };
        for rule in rules(&request, &requested) {
            if !self.may(key, &request, rule).await? {
                continue;
            }
            let now = self.context.now().to_string();
            let version = &request.metadata.resource_version;
            let approve = |object: &mut Value| {
                let approved = json!({"type": "Approved", "status": "True", "reason": "AutoApproved",
                    "message": rule.message, "lastUpdateTime": now, "lastTransitionTime": now});
                match object["status"]["conditions"].as_array_mut() {
                    Some(conditions) => conditions.push(approved),
                    None => object["status"]["conditions"] = json!([approved]),
                }
            };
            return self.context.rewrite(SIGNING_REQUESTS, key, version, Some("approval"), approve).await.map(drop);
        }
        Ok(())
    }

    async fn may(&self, key: &ObjectRef, request: &SigningRequest, rule: Rule) -> Result<bool> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": request.spec.username, "uid": request.spec.uid, "groups": request.spec.groups,
                "extra": request.spec.extra,
                "resourceAttributes": {
                    "group": SIGNING_REQUESTS.group, "resource": SIGNING_REQUESTS.plural,
                    "subresource": rule.subresource, "verb": "create", "version": "*",
                },
            },
        });
        let answer = self.context.client(key).create(ACCESS_REVIEWS, "", &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn only_undecided_requests_of_nodes_are_looked_at() {
        let request = |spec: Value, conditions: Value| -> SigningRequest {
            from_value(json!({"metadata": {"name": "r"}, "spec": spec, "status": {"conditions": conditions}}))
                .expect("a request")
        };
        let spec = json!({"signerName": KUBELET_CLIENT_SIGNER, "usages": ["client auth", "digital signature"],
            "username": "system:node:n1"});
        assert!(waits(&request(spec.clone(), json!([]))));
        for decided in ["Approved", "Denied"] {
            assert!(!waits(&request(spec.clone(), json!([{"type": decided}]))));
        }
        let node = |name: &str| Requested {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".to_owned()],
            ..Requested::default()
        };
        let request = request(spec, json!([]));
        assert_eq!(rules(&request, &node("n1")), [OWN, ANY]);
        assert_eq!(rules(&request, &node("n2")), [ANY]);
        assert_eq!(rules(&request, &Requested::default()), []);
    }
}
