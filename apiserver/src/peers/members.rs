//! The API servers that are there: each keeps a Lease in `kube-system` of `system` which says its address and its group.
//!
//! As upstream's, the leases have a label by which they are found. Whether a server lives is judged by changes of its lease
//! and by this server's own clock, never by comparing clocks. One that ends takes its lease back.

use crate::listen::in_process;
use crate::server::Server;
use api::selector::Selector;
use api::{Identity, Object, ResourceId, TenantName, Timestamp};
use axum::body::Body;
use http::{Method, Request, header};
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Scope, Snapshot};
use tokio::time::Instant;

/// How often a server says that it lives, and after what time without it is taken to be gone.
const RENEW_EVERY: Duration = Duration::from_secs(3);
const LEASE_TIME: Duration = Duration::from_secs(12);

const NAMESPACE: &str = "kube-system";

/// By which the leases are found, as upstream's are.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");

const ADDRESS: &str = "apiserver.ursa.dev/address";
const GROUP: &str = "apiserver.ursa.dev/service-group-id";

/// An API server that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: SocketAddr,
    pub group: String,
}

fn leases() -> ResourceId {
    ResourceId::new("coordination.k8s.io", "leases")
}

/// When a lease was last seen to change, and what it said then.
type Seen = HashMap<SocketAddr, (String, Instant)>;

/// Says that this server lives, where others can reach it, and learns which others do, until `stop`.
pub async fn keep(server: Arc<Server>, stop: Stop) {
    let own = server.peers.address.map(|address| (address, path(address)));
    let (mut seen, mut renew_at) = (Seen::new(), Instant::now());
    while !stop.is_stopped() {
        let now = Instant::now();
        if let Some((address, path)) = own.as_ref().filter(|_| renew_at <= now) {
            let lease = lease(*address, &server.peers.group, Timestamp::now());
            // A store that does not answer must not hide that others are gone.
            let renewed =
                tokio::time::timeout(RENEW_EVERY, send(&server, Method::PATCH, path, lease.to_string())).await;
            if !renewed.is_ok_and(|code| code < 300) {
                tracing::warn!(%address, "the lease by which other API servers find this one was not renewed");
            }
            renew_at = Instant::now() + RENEW_EVERY;
        }
        let snapshot = server.store.snapshot();
        let members = members(&snapshot, &mut seen, Instant::now());
        server.peers.learn(members);
        // Of what has expired nothing is expected any more but a change.
        let expiry = seen.values().map(|(_, at)| *at + LEASE_TIME).filter(|at| *at > now).min();
        let next = own.as_ref().map(|_| renew_at).into_iter().chain(expiry).min();
        let changes = server.store.watch(&scope(), &Selector::default(), &snapshot.version(&scope()));
        tokio::select! {
            biased;
            // Shutdown.
            () = stop.stopped() => {}
            // Cancel-safe: everything is read again.
            () = async {
                // Where so much has happened that there is no watch, it is read again at once.
                if let Ok(mut changes) = changes {
                    drop(changes.next().await);
                }
            } => {}
            () = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
    if let Some((_, path)) = own {
        drop(tokio::time::timeout(RENEW_EVERY, send(&server, Method::DELETE, &path, String::new())).await);
    }
}

fn scope() -> Scope {
    Scope::Namespace(leases(), TenantName::system(), NAMESPACE.into())
}

/// One name for each address: a server that comes back takes its old lease.
fn path(address: SocketAddr) -> String {
    let name = format!("apiserver-{address}").replace(['.', ':', '[', ']'], "-");
    format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{name}")
}

fn lease(address: SocketAddr, group: &str, now: Timestamp) -> Value {
    let name = path(address).rsplit('/').next().unwrap_or_default().to_owned();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": {LABEL.0: LABEL.1},
            "annotations": {ADDRESS: address.to_string(), GROUP: group},
        },
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": LEASE_TIME.as_secs(), "renewTime": now.to_micro_string(),
        },
    })
}

async fn send(server: &Arc<Server>, method: Method, path: &str, body: String) -> u16 {
    // Applied, so that a lease is made or renewed, whichever it takes.
    let is_applied = method == Method::PATCH;
    let query = if is_applied { "?fieldManager=kube-apiserver&force=true" } else { "" };
    let request = Request::builder().method(method).uri(format!("{path}{query}"));
    let content = if is_applied { "application/apply-patch+yaml" } else { "application/json" };
    let request = request.header(header::CONTENT_TYPE, content);
    let Ok(request) = request.body(Body::from(body)) else { return 0 };
    let identity = Identity::new(TenantName::system(), "system:apiserver", &[policy::rbac::MASTERS]);
    in_process(server.clone(), Arc::new(identity), request).await.status().as_u16()
}

/// The servers whose leases have changed of late.
fn members(snapshot: &Snapshot, seen: &mut Seen, now: Instant) -> Vec<Member> {
    let of_servers = |lease: &&Arc<Object>| lease.header.label(LABEL.0) == Some(LABEL.1);
    let leases = snapshot.range(&scope(), None).filter(of_servers).filter_map(|lease| lease.to_value().ok());
    let told: Vec<(Member, String)> = leases.filter_map(|lease| read(&lease)).collect();
    seen.retain(|address, _| told.iter().any(|(member, _)| member.address == *address));
    for (member, renewed) in &told {
        match seen.get_mut(&member.address) {
            Some(last) if last.0 == *renewed => {}
            _ => drop(seen.insert(member.address, (renewed.clone(), now))),
        }
    }
    let lives = |member: &Member| seen.get(&member.address).is_some_and(|(_, at)| now < *at + LEASE_TIME);
    told.into_iter().map(|(member, _)| member).filter(lives).collect()
}

fn read(lease: &Value) -> Option<(Member, String)> {
    let told = &lease["metadata"]["annotations"];
    let member = Member { address: told[ADDRESS].as_str()?.parse().ok()?, group: told[GROUP].as_str()?.to_owned() };
    Some((member, lease["spec"]["renewTime"].as_str()?.to_owned()))
}
