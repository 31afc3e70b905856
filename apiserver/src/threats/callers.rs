//! Who sends requests: identities of the tenant that attacks, of its neighbours, of nodes and of operators.

use super::{Answer, World, request};
use crate::authn::Peer;
use api::{Identity, TenantName, Timestamp};
use axum::body::Body;
use http::Request;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What a caller may get an answer of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Nothing,
    /// Everything in its own tenant.
    OwnTenant,
    /// To get, list and watch pods of all tenants, by a grant in `system`.
    PodsEverywhere,
    /// What a node's agent without pods needs.
    Node,
    Everything,
}

/// One identity, with its credentials.
#[derive(Clone)]
pub struct Caller {
    pub name: &'static str,
    /// Empty for who is anonymous.
    pub tenant: &'static str,
    pub right: Right,
    peer: Peer,
    headers: Vec<(String, String)>,
}

impl Caller {
    fn token(name: &'static str, tenant: &'static str, right: Right, token: &str) -> Caller {
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        Caller { name, tenant, right, peer: Peer::Unknown, headers }
    }

    fn with(mut self, headers: &[(&str, &str)]) -> Caller {
        self.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<(&str, &str)> = own.chain(headers.iter().copied()).collect();
        request(method, path, &all, body.to_owned())
    }

    pub async fn ask(&self, world: &World, method: &str, path: &str, body: &str) -> Answer {
        world.answer(self.peer.clone(), self.request(method, path, &[], body)).await
    }

    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    pub fn node(name: &'static str) -> Caller {
        let peer = Peer::InProcess(Arc::new(Identity::node(name)));
        Caller { name: "node", tenant: "system", right: Right::Node, peer, headers: Vec::new() }
    }
}

/// A peer with a client certificate of a tenant.
fn certified(world: &World, tenant: &str, user: &str, groups: &[&str]) -> Peer {
    let (tenant, now) = (TenantName::new(tenant).expect("a tenant"), Timestamp::now());
    let issued = world.server.pki.client_certificate(&tenant, user, groups, Duration::from_secs(3600), now);
    let der = CertificateDer::from_pem_slice(issued.expect("a certificate").cert_pem.as_bytes()).expect("PEM");
    Peer::Certificate(policy::authn::identity_of_certificate(&der))
}

/// Everyone who asks. Those of `acme` attack; who may do everything in its own tenant shows that the questions are good.
pub async fn all(world: &World) -> Vec<Caller> {
    let accounts = "/tenants/acme/api/v1/namespaces/default/serviceaccounts";
    let token = world.make("op", &format!("{accounts}/plain/token"), json!({"spec": {}})).await;
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let account = json!({"metadata": {"name": "account"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "plain"}]});
    world.make("op", &format!("/tenants/acme{rbac}/clusterrolebindings"), account).await;
    let reads = json!({"metadata": {"name": "reads-pods"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]});
    world.make("op", &format!("{rbac}/clusterroles"), reads).await;
    let granted = json!({"metadata": {"name": "reads-pods"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reads-pods"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "rita"}]});
    world.make("op", &format!("{rbac}/clusterrolebindings"), granted).await;
    let legacy = legacy_token(world).await;
    let of = |tenant, user: &str, groups: &[&str]| certified(world, tenant, user, groups);
    let by_certificate = |name, tenant, right, peer| Caller { name, tenant, right, peer, headers: Vec::new() };
    let forged = [
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("x-tenant", "umbrella"),
        ("tenant", "umbrella"),
        ("x-forwarded-uri", "/tenants/umbrella/api/v1/secrets"),
        ("x-original-url", "/tenants/umbrella/api/v1/secrets"),
    ];
    let other = [("impersonate-user", "system:admin"), ("impersonate-group", "system:masters")];
    vec![
        Caller { headers: Vec::new(), ..Caller::token("anonymous", "", Right::Nothing, "") },
        Caller::token("user without roles", "acme", Right::Nothing, "user"),
        Caller::token("administrator", "acme", Right::OwnTenant, "admin"),
        by_certificate("certificate", "acme", Right::OwnTenant, of("acme", "admin", &["system:masters"])),
        by_certificate(
            "certificate of a node's name",
            "acme",
            Right::Nothing,
            of("acme", "system:node:n1", &["system:nodes"]),
        ),
        Caller::token("service account", "acme", Right::OwnTenant, &token),
        Caller::token("service account, legacy", "acme", Right::OwnTenant, &legacy),
        Caller::token("forged headers", "acme", Right::OwnTenant, "admin").with(&forged),
        Caller::token("impersonation", "acme", Right::OwnTenant, "admin").with(&other),
        Caller::token("neighbour", "acme1", Right::OwnTenant, "neighbour"),
        Caller::token("victim", "umbrella", Right::OwnTenant, "victim"),
        by_certificate("operator without roles", "system", Right::Nothing, of("system", "otto", &[])),
        by_certificate("operator with a grant", "system", Right::PodsEverywhere, of("system", "rita", &[])),
        Caller::node("n1"),
        Caller::token("operator", "system", Right::Everything, "op"),
    ]
}

/// A token that a secret of `acme` holds.
async fn legacy_token(world: &World) -> String {
    let at = "/tenants/acme/api/v1/namespaces/default";
    let account = world.get("op", &format!("{at}/serviceaccounts/plain")).await.json();
    let uid = account["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let bound = policy::authn::Bound { name: "plain".to_owned(), uid };
    let acme = TenantName::new("acme").expect("a tenant");
    let token = world.server.service_account_key().issue_legacy(&acme, "default", &bound, "legacy");
    let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &token);
    let secret: Value = json!({"metadata": {"name": "legacy"}, "data": {"token": data}});
    world.make("op", &format!("{at}/secrets"), secret).await;
    token
}
