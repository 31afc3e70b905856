//! Whether the services that serve versions of groups can be asked: checked when they change and again after a while, and
//! said in the status of their APIServices. What they say of their resources is kept for discovery.

use super::{Aggregation, Remote, resource};
use crate::egress::{Place, endpoints};
use crate::listen::in_process;
use crate::nodes;
use crate::server::Server;
use api::{Identity, TenantName, Timestamp};
use axum::body::Body;
use futures::stream::{self, StreamExt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::Scope;
use tokio::time::Instant;

/// How often a service that answers is asked again, and at most one that does not.
const PERIOD: Duration = Duration::from_secs(30);

/// After what time a service that does not answer is asked again, at first.
const RETRY: Duration = Duration::from_secs(1);

/// How long an answer may take, and how long it may be.
const TIMEOUT: Duration = Duration::from_secs(6);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How many services are asked at once.
const AT_ONCE: usize = 16;

/// What a check says.
struct Verdict {
    is_available: bool,
    reason: &'static str,
    message: String,
    /// What the service says of its resources.
    told: Option<Value>,
}

/// When a service is asked again.
struct Due {
    /// What was asked.
    spec: Value,
    at: Instant,
    wait: Duration,
}

/// Checks the services of all tenants until `stop`.
pub async fn keep(server: Arc<Server>, stop: Stop) {
    let mut due: HashMap<(TenantName, String), Due> = HashMap::new();
    loop {
        let snapshot = server.store.snapshot();
        let scope = Scope::AllTenants(resource());
        let after = snapshot.version(&scope);
        let services: Vec<_> = snapshot
            .range(&Scope::AllTenants(resource()), None)
            .filter_map(|object| Some((object.key.tenant()?.clone(), object.to_value().ok()?)))
            .filter(|(_, value)| {
                value["spec"]["service"].is_object() && value["metadata"]["deletionTimestamp"].is_null()
            })
            .collect();
        let place = |tenant: &TenantName, value: &Value| {
            (tenant.clone(), value["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        };
        let held: std::collections::HashSet<_> = services.iter().map(|(tenant, value)| place(tenant, value)).collect();
        due.retain(|place, _| held.contains(place));
        server.aggregation.told.retain(|place, _| held.contains(place));
        let now = Instant::now();
        let asked = services.into_iter().filter(|(tenant, value)| {
            due.get(&place(tenant, value)).is_none_or(|due| due.at <= now || due.spec != value["spec"])
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = stream::iter(asked.into_iter().map(|(tenant, value)| {
            let server = server.clone();
            async move {
                let is_available = one(&server, &tenant, &value).await;
                (tenant, value, is_available)
            }
        }))
        .buffer_unordered(AT_ONCE);
        loop {
            let answered = tokio::select! {
                biased;
                // Shutdown: what is not known is asked again after the start.
                () = stop.stopped() => return,
                answered = answers.next() => answered,
            };
            let Some((tenant, mut value, is_available)) = answered else { break };
            let place = place(&tenant, &value);
            let wait = match due.get(&place) {
                _ if is_available => PERIOD,
                Some(before) if before.spec == value["spec"] => (before.wait * 2).min(PERIOD),
                _ => RETRY,
            };
            due.insert(place, Due { spec: value["spec"].take(), at: Instant::now() + wait, wait });
        }
        let next = due.values().map(|due| due.at).min();
        let Ok(mut changes) = server.store.watch(&scope, &api::selector::Selector::default(), &after) else {
            continue;
        };
        tokio::select! {
            biased;
            // Shutdown.
            () = stop.stopped() => return,
            // Cancel-safe: everything is read again.
            _ = changes.next() => {}
            () = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Checks one service and says what was found where that is new. Answers whether it can be asked.
async fn one(server: &Arc<Server>, tenant: &TenantName, object: &Value) -> bool {
    let Some(remote) = Remote::of(server, object) else { return false };
    let verdict = check(server, tenant, &remote).await;
    let place = (tenant.clone(), remote.name.clone());
    match verdict.told {
        Some(told) => drop(server.aggregation.told.insert(place, Arc::new(told))),
        None => drop(server.aggregation.told.remove(&place)),
    }
    let status = if verdict.is_available { "True" } else { "False" };
    let mut condition =
        json!({"type": "Available", "status": status, "reason": verdict.reason, "message": verdict.message});
    let held = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut held = held.filter(|held| held["type"] == "Available");
    let held = held.next().unwrap_or(&Value::Null);
    if ["status", "reason", "message"].iter().all(|field| held[*field] == condition[*field]) {
        return verdict.is_available;
    }
    condition["lastTransitionTime"] =
        if held["status"] == status { held["lastTransitionTime"].clone() } else { json!(Timestamp::now().to_string()) };
    let patch = json!({"metadata": {"uid": object["metadata"]["uid"]}, "status": {"conditions": [condition]}});
    let path = format!("/tenants/{tenant}/apis/apiregistration.k8s.io/v1/apiservices/{}/status", remote.name);
    let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
    if let Ok(request) = request.body(Body::from(patch.to_string())) {
        let identity = Identity::new(TenantName::system(), "system:kube-aggregator", &[policy::rbac::MASTERS]);
        let answer = in_process(server.clone(), Arc::new(identity), request).await;
        // What is gone needs no status.
        if !answer.status().is_success() && answer.status() != StatusCode::NOT_FOUND {
            tracing::debug!(%tenant, name = remote.name, code = %answer.status(), "the status of an APIService was not written");
        }
    }
    verdict.is_available
}

async fn check(server: &Server, tenant: &TenantName, remote: &Remote) -> Verdict {
    let no = |reason: &'static str, message: String| Verdict { is_available: false, reason, message, told: None };
    let Place::Service { namespace, name, port } = &remote.place else {
        return no("ServiceNotFound", "there is no service".into());
    };
    let found = match endpoints(&server.store.snapshot(), tenant, namespace, name, *port) {
        None => return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")),
        Some(found) => found,
    };
    if !found.has_port {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return no("ServicePortError", why);
    }
    if !found.has_slices {
        return no("EndpointsNotFound", format!("cannot find endpointslices for service/{name} in {namespace:?}"));
    }
    if !found.has_ready {
        let port_name = found.port_name;
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return no("MissingEndpoints", why);
    }
    let url = format!("https://{}:{port}{}", remote.server_name, remote.root());
    let asked = tokio::time::timeout(TIMEOUT, ask(server, tenant, remote)).await;
    match asked.unwrap_or_else(|_| {
        Err(format!("failing or missing response from {url}: Get {url:?}: context deadline exceeded"))
    }) {
        Ok(told) => {
            Verdict { is_available: true, reason: "Passed", message: "all checks passed".into(), told: Some(told) }
        }
        Err(why) => no("FailedDiscoveryCheck", why),
    }
}

/// What a service says of the resources of a version.
async fn ask(server: &Server, tenant: &TenantName, remote: &Remote) -> Result<Value, String> {
    let Place::Service { port, .. } = &remote.place else { return Err("there is no service".into()) };
    let url = format!("https://{}:{port}{}", remote.server_name, remote.root());
    let missing = |why: String| format!("failing or missing response from {url}: Get {url:?}: {why}");
    let tls = remote.tls.clone().map_err(missing)?;
    let stream = server.egress.connect(tenant, &remote.place, &remote.server_name, tls).await.map_err(missing)?;
    let request = Request::get(remote.root())
        .header(header::HOST, &remote.server_name)
        .header(header::ACCEPT, "application/json")
        .header("x-remote-user", "system:kube-aggregator")
        .header("x-remote-group", policy::rbac::MASTERS)
        .body(Body::empty());
    let request = request.map_err(|error| missing(error.to_string()))?;
    let answer = nodes::send((&server.stop, &server.tasks), stream, request).await;
    let answer = answer.map_err(|_| missing("EOF".into()))?;
    if !answer.status().is_success() {
        let code = answer.status().as_u16();
        return Err(format!("failing or missing response from {url}: bad status from {url}: {code}"));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| missing("unexpected EOF".into()))?.to_bytes();
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

impl Aggregation {
    /// What a service said of its resources when it was asked last.
    pub(super) fn told(&self, tenant: &TenantName, remote: &Remote) -> Option<Arc<Value>> {
        self.told.get(&(tenant.clone(), remote.name.clone())).map(|told| told.clone())
    }
}
