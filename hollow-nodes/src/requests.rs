//! The requests of a hollow node. What is sent often is written as bytes, and of its answer only the version is read.

use api::{Error, Result};
use bytes::{Bytes, BytesMut};
use client::{Client, NODE_METRICS, NODES, PatchType};
use futures::StreamExt;
use http::{Method, Request, header};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// An answer with an object is smaller than this.
const ANSWER_BYTES_MAX: usize = 4 << 20;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

#[derive(Deserialize)]
struct Answered {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Reaches the API for the nodes of one connection.
#[derive(Clone)]
pub struct Requests {
    pub client: Client,
}

impl Requests {
    /// Whether the API answers.
    pub async fn check(&self) -> Result<()> {
        self.send(Method::GET, "/readyz", "", Bytes::new()).await.map(drop)
    }

    /// Makes the node, or tells the status of one that is there. Returns its uid.
    pub async fn register(&self, name: &str, node: &Value) -> Result<String> {
        let known = match within(self.client.create(NODES, "", node)).await {
            Err(error) if error.is_already_exists() => self.tell_status(name, &node["status"]).await?,
            created => created?,
        };
        let uid = known["metadata"]["uid"].as_str().map(str::to_owned);
        uid.ok_or_else(|| Error::internal("the API answered with a node without a uid"))
    }

    pub async fn tell_status(&self, name: &str, status: &Value) -> Result<Value> {
        let patch = serde_json::json!({"status": status});
        within(self.client.patch(NODES, "", name, PatchType::Strategic, &patch, Some("status"))).await
    }

    pub async fn report_usage(&self, report: &Value) -> Result<()> {
        within(self.client.update(NODE_METRICS, "", report)).await.map(drop)
    }

    pub async fn delete_node(&self, name: &str) -> Result<()> {
        within(self.client.delete(NODES, "", name, &client::DeleteParams::default())).await
    }

    /// Makes a lease, or renews it. Returns the version that it has now.
    pub async fn write_lease(&self, name: &str, body: String, is_new: bool) -> Result<u64> {
        let (method, path) =
            if is_new { (Method::POST, LEASES.to_owned()) } else { (Method::PUT, format!("{LEASES}/{name}")) };
        let answer = self.send(method, &path, "application/json", body.into()).await?;
        answered(&answer)
    }

    /// The version that a lease has; `None` when there is none.
    pub async fn lease_version(&self, name: &str) -> Result<Option<u64>> {
        match self.send(Method::GET, &format!("{LEASES}/{name}"), "", Bytes::new()).await {
            Ok(answer) => answered(&answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn patch_pod_status(&self, pod: &crate::pod::Metadata, patch: &Value) -> Result<()> {
        let body = serde_json::to_vec(patch).map_err(Error::internal)?;
        let path = format!("{}/status", pod_path(pod));
        self.send(Method::PATCH, &path, "application/strategic-merge-patch+json", body.into()).await.map(drop)
    }

    /// Lets the API forget exactly this pod.
    pub async fn delete_pod(&self, pod: &crate::pod::Metadata) -> Result<()> {
        let body = format!(
            r#"{{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{{"uid":"{}"}}}}"#,
            pod.uid
        );
        self.send(Method::DELETE, &pod_path(pod), "application/json", body.into()).await.map(drop)
    }

    async fn send(&self, method: Method, path: &str, content_type: &'static str, body: Bytes) -> Result<Bytes> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(Error::internal)?;
        within(async {
            let mut body = self.client.request(request).await?.into_body();
            let mut answer = BytesMut::new();
            // To its end, so that the stream is not reset.
            while let Some(chunk) = body.next().await.transpose()? {
                if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(Error::internal("an answer is larger than any object"));
                }
                answer.extend_from_slice(&chunk);
            }
            Ok(answer.freeze())
        })
        .await
    }
}

/// Names from the API's own objects need no escaping: they are DNS names.
fn pod_path(pod: &crate::pod::Metadata) -> String {
    format!("/tenants/{}/api/v1/namespaces/{}/pods/{}", pod.tenant, pod.namespace, pod.name)
}

/// The version of an object.
fn answered(answer: &[u8]) -> Result<u64> {
    let metadata = serde_json::from_slice::<Answered>(answer).map_err(Error::internal)?.metadata;
    metadata.resource_version.parse().map_err(|_| Error::internal("a resourceVersion is not a number"))
}

async fn within<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(api::Reason::Timeout, "the API did not answer in time");
    tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(late)?
}
