//! `ursa kubeconfig`: a certificate for a user of a tenant, asked for like any other and printed as a kubeconfig.
//!
//! The private key is made here and never leaves: the server gets a signing request and answers with a certificate.

use crate::args::KubeconfigArgs;
use crate::tenant::{Access, Context, block_on, wait};
use api::{Error, TenantName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Client, DeleteParams, Resource};
use policy::pki::{Credential, client_request};
use policy::{KubeAuth, kubeconfig};
use serde_json::json;
use std::cell::RefCell;

const SIGNING_REQUESTS: Resource =
    Resource { group: "certificates.k8s.io", version: "v1", plural: "certificatesigningrequests", namespaced: false };

/// Signs what identifies a client to the API server.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Prints a kubeconfig. `Err` is one sentence for the user.
pub fn main(args: KubeconfigArgs) -> Result<(), String> {
    let text = block_on(async {
        let access = Access::new(&args.client)?;
        let issued = access.issue(&args.tenant, &args.user).await?;
        let context = Context { tenant: &args.tenant, user: &args.user }.name();
        Ok(kubeconfig(&issued.server, &issued.ca_pem, &args.user, &KubeAuth::Certificate(issued.credential), &context))
    })?;
    print!("{text}");
    Ok(())
}

/// What a user of a tenant reaches it with.
pub struct Issued {
    pub server: String,
    pub ca_pem: String,
    pub credential: Credential,
}

impl Access {
    /// Has a certificate made for a user of a tenant.
    pub async fn issue(&self, tenant: &str, user: &str) -> Result<Issued, String> {
        let tenant = TenantName::new(tenant).map_err(|e| e.to_string())?;
        let credential = issue(&self.client, &tenant, user).await.map_err(|e| e.to_string())?;
        let ca_pem = String::from_utf8_lossy(&self.kubeconfig.certificate_authority).into_owned();
        Ok(Issued { server: self.server_of(tenant.as_str()), ca_pem, credential })
    }
}

/// Has a certificate signed by way of a CertificateSigningRequest in the tenant, which is removed afterwards.
async fn issue(client: &Client, tenant: &TenantName, user: &str) -> api::Result<Credential> {
    let client = client.in_tenant(tenant);
    let (request_pem, key_pem) = client_request(tenant, user).map_err(Error::internal)?;
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "kubeconfig-"},
        "spec": {"request": STANDARD.encode(request_pem), "signerName": SIGNER, "usages": ["client auth"]}});
    let mut created = client.create(SIGNING_REQUESTS, "", &request).await?;
    let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    created["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "AskedForByOperator",
        "message": "approved by ursa kubeconfig"}]);
    client.update_sub(SIGNING_REQUESTS, "", "approval", &created).await?;
    let signed = RefCell::new(String::new());
    let waited = wait("the certificate to be signed", async || {
        let current = client.get(SIGNING_REQUESTS, "", &name).await?;
        let failed = current["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Failed");
        if let Some(failed) = failed {
            return Err(Error::bad_request(failed["message"].as_str().unwrap_or_default()));
        }
        *signed.borrow_mut() = current["status"]["certificate"].as_str().unwrap_or_default().to_owned();
        Ok(!signed.borrow().is_empty())
    })
    .await;
    client.delete(SIGNING_REQUESTS, "", &name, &DeleteParams::default()).await?;
    waited?;
    let pem = STANDARD.decode(signed.into_inner()).map_err(Error::internal)?;
    let cert_pem = String::from_utf8(pem).map_err(Error::internal)?;
    Ok(Credential { cert_pem, key_pem })
}
