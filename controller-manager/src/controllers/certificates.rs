//! Requests for certificates: which are approved by rule, which are signed, and when they are forgotten.

pub mod approving;
pub mod cleaning;
pub mod signing;

use crate::runner::Requested;
use crate::view::{Condition, Meta, View, or_default};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Resource;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SIGNING_REQUESTS: Resource =
    Resource { group: "certificates.k8s.io", version: "v1", plural: "certificatesigningrequests", namespaced: false };

/// The signer of what identifies clients to the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// The signer of what identifies kubelets to the API server.
const KUBELET_CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

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
    #[serde(deserialize_with = "or_default")]
    usages: BTreeSet<String>,
    username: String,
    uid: String,
    #[serde(deserialize_with = "or_default")]
    groups: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    certificate: String,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

impl View for SigningRequest {
    const RESOURCE: Resource = SIGNING_REQUESTS;
}

impl SigningRequest {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    fn has(&self, kind: &str) -> bool {
        self.condition(kind).is_some()
    }

    fn lifetime(&self) -> Duration {
        self.spec.expiration_seconds.map_or(LIFETIME_DEFAULT, Duration::from_secs)
    }

    /// The request, PEM.
    fn pem(&self) -> Result<String, String> {
        let bytes = STANDARD.decode(&self.spec.request).ok();
        bytes.and_then(|b| String::from_utf8(b).ok()).ok_or_else(|| "the request is no PEM in base64".to_owned())
    }
}

/// Whether a signer may sign this; the error says why not, as upstream does.
fn check(signer: &str, usages: &BTreeSet<String>, requested: &Requested) -> Result<(), String> {
    match signer {
        KUBELET_CLIENT_SIGNER => check_kubelet_client(usages, requested),
        _ => check_client(usages),
    }
}

fn check_client(usages: &BTreeSet<String>) -> Result<(), String> {
    let allowed = ["client auth", "digital signature", "key encipherment"];
    let wrong: Vec<&str> = usages.iter().map(String::as_str).filter(|u| !allowed.contains(u)).collect();
    if !wrong.is_empty() {
        return Err(format!("invalid usage for client certificate: {}", wrong.join(", ")));
    }
    if !usages.contains("client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

fn check_kubelet_client(usages: &BTreeSet<String>, requested: &Requested) -> Result<(), String> {
    if requested.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    for (names, kind) in [
        (requested.dns_names, "DNS"),
        (requested.email_addresses, "Email"),
        (requested.ip_addresses, "IP"),
        (requested.uris, "URI"),
    ] {
        if names {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    if !requested.common_name.starts_with("system:node:") {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    let least = ["client auth", "digital signature"];
    let is_one = least.iter().all(|u| usages.contains(*u))
        && usages.iter().all(|u| least.contains(&u.as_str()) || u == "key encipherment");
    if is_one {
        Ok(())
    } else {
        Err("usages did not match [client auth digital signature key encipherment]".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(usages: &[&str]) -> BTreeSet<String> {
        usages.iter().map(|u| (*u).to_owned()).collect()
    }

    #[test]
    fn a_client_certificate_is_for_clients_alone() {
        let check = |u: &[&str]| check_client(&usages(u));
        assert_eq!(check(&["client auth", "digital signature", "key encipherment"]), Ok(()));
        assert_eq!(check(&["server auth"]).expect_err("no"), "invalid usage for client certificate: server auth");
        assert!(check(&["digital signature"]).is_err());
    }

    #[test]
    fn a_kubelets_certificate_names_a_node_and_nothing_else() {
        let node = Requested {
            common_name: "system:node:n1".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            ..Requested::default()
        };
        let fit = usages(&["client auth", "digital signature"]);
        assert_eq!(check_kubelet_client(&fit, &node), Ok(()));
        for wrong in [
            Requested { common_name: "n1".to_owned(), ..node.clone() },
            Requested { organizations: vec!["dev".to_owned()], ..node.clone() },
            Requested { organizations: vec!["system:nodes".to_owned(), "dev".to_owned()], ..node.clone() },
            Requested { dns_names: true, ..node.clone() },
            Requested { ip_addresses: true, ..node.clone() },
        ] {
            assert!(check_kubelet_client(&fit, &wrong).is_err(), "{wrong:?}");
        }
        assert!(check_kubelet_client(&usages(&["client auth", "server auth"]), &node).is_err());
    }
}
