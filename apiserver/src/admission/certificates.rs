//! Who may approve requests for certificates, and who may sign them: the right is over the signer that a request names.

use crate::registry::{Call, Part};
use api::{Error, Result};
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
    let Some(old) = old else { return Ok(()) };
    let (verb, what) = match part {
        Part::Subresource("approval") => ("approve", "approve requests"),
        Part::Status if new["status"] != old["status"] => ("sign", "sign requests"),
        Part::Object | Part::Status | Part::Subresource(_) | Part::Own => return Ok(()),
    };
    let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    if may(call, verb, signer)? || may(call, verb, &format!("{domain}/*"))? {
        return Ok(());
    }
    let why = format!("user not permitted to {what} with signerName {signer:?}");
    Err(Error::forbidden(GROUP, PLURAL, new["metadata"]["name"].as_str().unwrap_or_default(), &why))
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
