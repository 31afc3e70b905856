//! What the agent asks of the API, always with the tenant in the question.
//!
//! Every other file of the agent speaks of pods and nodes; this one alone speaks of requests.

use crate::pod::PodRef;
use api::{Error, Reason, Result, TenantName, Timestamp};
use client::{Client, DeleteParams, PatchType};
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

/// No request of the agent is worth waiting longer for; it is repeated anyway.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The namespace of nodes' heartbeats, in the operators' tenant.
const LEASES_NAMESPACE: &str = "kube-node-lease";

/// Reaches the API as the node. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// A service account's token, and when it ends.
#[derive(Clone, Debug)]
pub struct Token {
    pub token: String,
    pub expires: Timestamp,
}

/// An object that a pod's configuration refers to, in the pod's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    ConfigMap(String),
    Secret(String),
}

impl Cluster {
    pub fn new(client: Client) -> Cluster {
        Cluster { client }
    }

    /// A config map or secret of the pod's namespace; `None` when there is none.
    pub async fn source(&self, pod: &PodRef, source: &Source) -> Result<Option<Value>> {
        let (resource, name) = match source {
            Source::ConfigMap(name) => (client::CONFIG_MAPS, name),
            Source::Secret(name) => (client::SECRETS, name),
        };
        match within(self.client.in_tenant(&pod.tenant).get(resource, &pod.namespace, name)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A token of a service account that is good only while the pod exists.
    pub async fn token(&self, pod: &PodRef, account: &str, audience: &str, lifetime_secs: u64) -> Result<Token> {
        let audiences: Vec<&str> = Some(audience).filter(|a| !a.is_empty()).into_iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime_secs,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid.as_str()},
            },
        });
        let client = self.client.in_tenant(&pod.tenant);
        let create = client.create_sub(client::SERVICE_ACCOUNTS, &pod.namespace, account, "token", &request);
        let answer = within(create).await?;
        let status = &answer["status"];
        match (status["token"].as_str(), crate::pod::time(&status["expirationTimestamp"])) {
            (Some(token), Some(expires)) => Ok(Token { token: token.to_owned(), expires }),
            _ => Err(Error::internal("the answer to a token request holds no token")),
        }
    }

    /// Writes a pod's status; the version of the pod that this made.
    pub async fn patch_pod_status(&self, pod: &PodRef, patch: &Value) -> Result<u64> {
        let client = self.client.in_tenant(&pod.tenant);
        let kind = PatchType::Strategic;
        let answer = client.patch(client::PODS, &pod.namespace, &pod.name, kind, patch, Some("status"));
        let answer = within(answer).await?;
        Ok(crate::status::version(answer["metadata"]["resourceVersion"].as_str().unwrap_or_default()))
    }

    /// Lets the API forget exactly this pod. One that it forgot already is no error.
    pub async fn delete_pod(&self, pod: &PodRef) -> Result<()> {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::of_uid(pod.uid.as_str()) };
        let client = self.client.in_tenant(&pod.tenant);
        match within(client.delete(client::PODS, &pod.namespace, &pod.name, &params)).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            other => other,
        }
    }

    pub async fn create_event(&self, tenant: &TenantName, namespace: &str, event: &Value) -> Result<Value> {
        within(self.client.in_tenant(tenant).create(client::EVENTS, namespace, event)).await
    }

    pub async fn patch_event(&self, tenant: &TenantName, namespace: &str, name: &str, patch: &Value) -> Result<Value> {
        let client = self.client.in_tenant(tenant);
        within(client.patch(client::EVENTS, namespace, name, PatchType::Merge, patch, None)).await
    }

    pub async fn node(&self, name: &str) -> Result<Option<Value>> {
        match within(self.client.get(client::NODES, "", name)).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn create_node(&self, node: &Value) -> Result<Value> {
        within(self.client.create(client::NODES, "", node)).await
    }

    /// Changes the node outside its status.
    pub async fn patch_node(&self, name: &str, patch: &Value) -> Result<Value> {
        within(self.client.patch(client::NODES, "", name, PatchType::Strategic, patch, None)).await
    }

    pub async fn patch_node_status(&self, name: &str, patch: &Value) -> Result<Value> {
        within(self.client.patch(client::NODES, "", name, PatchType::Strategic, patch, Some("status"))).await
    }

    /// Tells what the node and its pods use.
    pub async fn report_usage(&self, report: &Value) -> Result<()> {
        within(self.client.update(client::NODE_METRICS, "", report)).await.map(drop)
    }

    /// Renews the node's heartbeat, or makes it.
    pub async fn renew_lease(&self, name: &str, lease: &Value) -> Result<()> {
        let renewed = self.client.patch(client::LEASES, LEASES_NAMESPACE, name, PatchType::Merge, lease, None);
        match within(renewed).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                within(self.client.create(client::LEASES, LEASES_NAMESPACE, lease)).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

async fn within<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(Reason::Timeout, "the API did not answer in time");
    tokio::time::timeout(ANSWER_DEADLINE, answer).await.map_err(late)?
}
