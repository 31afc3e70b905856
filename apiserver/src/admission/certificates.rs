//! Who may approve requests for certificates, and who may sign them: the right is over the signer that a request names.

use crate::registry::{Call, Part};
use api::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use policy::rbac::Attributes;
use serde_json::Value;

pub const GROUP: &str = "certificates.k8s.io";
pub const PLURAL: &str = "certificatesigningrequests";

/// Refuses an approval without the verb `approve`, and a certificate or a condition without the verb `sign`, on the
/// resource `signers` under the signer's name or, for all signers of its domain, under `DOMAIN/*`.
pub fn validate(call: Call<'_>, part: Part, new: &Value, old: Option<&Value>) -> Result<()> {
    if call.kind.group != GROUP || call.kind.plural != PLURAL {
        return Ok(());
    }
    let Some(old) = old else { return subject(call, new) };
    if part == Part::Status {
        issued(new)?;
    }
    let (verb, what) = match part {
        Part::Subresource("approval") => ("approve", "approve requests"),
        Part::Status if new["status"] != old["status"] => ("sign", "sign requests"),
        Part::Object | Part::Scale | Part::Status | Part::Subresource(_) | Part::Own(_) => return Ok(()),
    };
    let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    if may(call, verb, signer)? || may(call, verb, &format!("{domain}/*"))? {
        return Ok(());
    }
    let why = format!("user not permitted to {what} with signerName {signer:?}");
    Err(Error::forbidden(GROUP, PLURAL, new["metadata"]["name"].as_str().unwrap_or_default(), &why))
}

/// The signer of the API's own client certificates makes nobody a member of `system:masters`.
fn subject(call: Call<'_>, new: &Value) -> Result<()> {
    if new["spec"]["signerName"] != API_CLIENT {
        return Ok(());
    }
    let forbidden =
        |why: &str| Err(Error::forbidden(GROUP, PLURAL, new["metadata"]["name"].as_str().unwrap_or_default(), why));
    let pem = new["spec"]["request"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok()).unwrap_or_default();
    match policy::pki::names_masters(&pem) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let masters = policy::rbac::MASTERS;
            forbidden(&format!("use of {API_CLIENT} signer with {masters} group is not allowed"))
        }
        Err(why) => {
            tracing::debug!(tenant = ?call.target.tenant(), why, "a signing request cannot be read");
            forbidden(&format!("failed to parse CSR: {why}"))
        }
    }
}

const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// What a signer issues is one certificate or more, in PEM.
fn issued(new: &Value) -> Result<()> {
    let Some(certificate) = new["status"]["certificate"].as_str().filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let pem = BASE64_STANDARD.decode(certificate).unwrap_or_default();
    policy::pki::check_certificates(&pem).map_err(|why| {
        let cause = api::Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: format!("Invalid value: \"<certificate data>\": {why}"),
            field: "status.certificate".to_owned(),
        };
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        Error::invalid(GROUP, "CertificateSigningRequest", name, vec![cause])
    })
}

fn may(call: Call<'_>, verb: &str, signer: &str) -> Result<bool> {
    let what = Attributes {
        verb,
        tenant: call.target.tenant(),
        group: GROUP,
        version: "v1",
        resource: "signers",
        name: signer,
        ..Attributes::default()
    };
    super::permits(call, &what)
}
