//! Requests for certificates.

use crate::causes::{Causes, Path};
use crate::names;
use crate::table::{AGE, Column, NAME, age, column, duration, explained};
use crate::value::{first_by, int, is_empty, keep, list, list_mut, remove, repeats, set, text};
use crate::{Change, NameRule, Revalidation, Strategy};
use api::{Cause, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");
const STATUS: Path = Path::new("status");
const SECONDS_MIN: i64 = 600;
const SIGNER_BYTES_MAX: usize = 571;
const SIGNER_DOMAIN_BYTES_MAX: usize = 253;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

/// What approvers decide, and what only the approval subresource may add.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(crate) static CERTIFICATE_SIGNING_REQUESTS: Strategy = Strategy {
    name_rule: NameRule::PathSegment,
    // Who asks is the server's to say.
    prepare_update: |new, old| keep(new, old, "spec"),
    prepare_status: |new, old| {
        for decision in DECISIONS {
            if condition(new, decision).is_none()
                && let Some(kept) = condition(old, decision).cloned()
            {
                if !new["status"]["conditions"].is_array() {
                    new["status"]["conditions"] = json!([]);
                }
                new["status"]["conditions"].as_array_mut().into_iter().for_each(|all| all.push(kept.clone()));
            }
        }
    },
    stamp: |new, old, now| {
        let now = now.to_string();
        let before = first_by(list(&old["status"]["conditions"]), |old| (&old["type"], &old["status"]));
        for condition in list_mut(&mut new["status"], "conditions") {
            if is_empty(&condition["lastUpdateTime"]) {
                set(condition, "lastUpdateTime", now.as_str());
            }
            if is_empty(&condition["lastTransitionTime"]) {
                let same = before.get(&(&condition["type"], &condition["status"]));
                let since = same.map(|old| &old["lastTransitionTime"]);
                let since = since.filter(|time| !is_empty(time)).cloned().unwrap_or_else(|| json!(now));
                set(condition, "lastTransitionTime", since);
            }
        }
    },
    validate: |request| {
        Causes::of(|causes| {
            validate(&request["spec"], causes);
            conditions(&request["status"], causes);
        })
    },
    validate_update: |new, old| Causes::of(|causes| decisions_stay(new, old, true, causes)),
    validate_status: |new, old| {
        Causes::of(|causes| {
            conditions(&new["status"], causes);
            decisions_stay(new, old, true, causes);
            if !is_empty(&old["status"]["certificate"]) && new["status"]["certificate"] != old["status"]["certificate"]
            {
                causes.forbidden(&STATUS.child("certificate"), "updates may not modify existing certificate content");
            }
        })
    },
    subresources: &[("approval", APPROVAL)],
    update_revalidates: Revalidation::Content,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

/// Changes conditions alone.
const APPROVAL: Change = Change {
    prepare: |new, old| {
        let conditions = new["status"]["conditions"].take();
        keep(new, old, "spec");
        keep(new, old, "status");
        match conditions {
            Value::Null => remove(&mut new["status"], "conditions"),
            conditions => new["status"]["conditions"] = conditions,
        }
    },
    validate: |new, old| -> Vec<Cause> {
        Causes::of(|causes| {
            conditions(&new["status"], causes);
            decisions_stay(new, old, false, causes);
        })
    },
};

fn condition<'a>(request: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&request["status"]["conditions"]).iter().find(|condition| condition["type"] == kind)
}

fn validate(spec: &Value, causes: &mut Causes) {
    if !is_certificate_request(text(&spec["request"])) {
        let shown = spec.get("request").filter(|request| !is_empty(request));
        causes.invalid(&SPEC.child("request"), shown, "PEM block type must be CERTIFICATE REQUEST");
    }
    let (usages, at) = (list(&spec["usages"]), SPEC.child("usages"));
    if usages.is_empty() {
        causes.required(&at, "");
    }
    let repeated = repeats(usages);
    for (i, usage) in usages.iter().enumerate() {
        causes.one_of(&at.index(i), usage, &USAGES);
        if repeated.contains(&i) {
            causes.duplicate(&at.index(i), usage);
        }
    }
    match text(&spec["signerName"]) {
        LEGACY_SIGNER => {
            let why = "the legacy signerName is not allowed via this API version";
            causes.invalid(&SPEC.child("signerName"), LEGACY_SIGNER, why);
        }
        signer => signer_name(signer, &SPEC.child("signerName"), causes),
    }
    if let Some(seconds) = int(&spec["expirationSeconds"]).filter(|seconds| *seconds < SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.invalid(&SPEC.child("expirationSeconds"), seconds, why);
    }
}

/// Whether base64 holds a PEM block of the right type. Signers read what is in it.
fn is_certificate_request(base64: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(base64) else { return false };
    let pem = String::from_utf8_lossy(&bytes);
    let begins = |line: &str| line.trim_end() == "-----BEGIN CERTIFICATE REQUEST-----";
    pem.lines().find(|line| line.starts_with("-----BEGIN ")).is_some_and(begins)
        && pem.contains("-----END CERTIFICATE REQUEST-----")
}

/// A domain of at least two labels, `/`, and a name.
fn signer_name(signer: &str, at: &Path, causes: &mut Causes) {
    if signer.is_empty() {
        return causes.required(at, "");
    }
    let Some((domain, name)) = signer.split_once('/').filter(|(_, name)| !name.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return causes.invalid(at, signer, why);
    };
    if domain.len() > SIGNER_DOMAIN_BYTES_MAX {
        causes.too_long(at, SIGNER_DOMAIN_BYTES_MAX);
    }
    for label in domain.split('.') {
        for problem in names::dns_label(label) {
            causes.invalid(at, domain, &format!("validating label {label:?}: {problem}"));
        }
    }
    if !domain.contains('.') {
        causes.invalid(at, domain, "should be a domain with at least two segments separated by dots");
    }
    for label in name.split('.') {
        for problem in names::dns_subdomain(label) {
            causes.invalid(at, name, &format!("validating label {label:?}: {problem}"));
        }
    }
    if signer.len() > SIGNER_BYTES_MAX {
        causes.too_long(at, SIGNER_BYTES_MAX);
    }
}

fn conditions(status: &Value, causes: &mut Causes) {
    let at = STATUS.child("conditions");
    let conditions = list(&status["conditions"]);
    let repeated = repeats(conditions.iter().map(|condition| text(&condition["type"])));
    for (i, condition) in conditions.iter().enumerate() {
        let at = at.index(i);
        let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
        if kind.is_empty() {
            causes.required(&at.child("type"), "");
        }
        let supported: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        match status {
            "" => causes.required(&at.child("status"), ""),
            _ => causes.one_of(&at.child("status"), &condition["status"], supported),
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.child("type"), kind);
        }
    }
    let decided = |condition: &&Value| DECISIONS.contains(&text(&condition["type"]));
    let mut decided = conditions.iter().filter(decided).map(|condition| text(&condition["type"]));
    if let (Some(first), Some(second)) = (decided.next(), decided.next())
        && first != second
    {
        causes.invalid(&at, second, "Approved and Denied conditions are mutually exclusive");
    }
}

/// What was decided is not taken back, and decided only by way of the approval subresource.
fn decisions_stay(new: &Value, old: &Value, elsewhere: bool, causes: &mut Causes) {
    let at = STATUS.child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        match (condition(new, kind), condition(old, kind)) {
            (None, Some(_)) => causes.forbidden(&at, &format!("updates may not remove a condition of type {kind:?}")),
            (new, old) if !elsewhere || new == old || !DECISIONS.contains(&kind) => {}
            (Some(_), None) => causes.forbidden(&at, &format!("updates may not add a condition of type {kind:?}")),
            _ => causes.forbidden(&at, &format!("updates may not modify a condition of type {kind:?}")),
        }
    }
}

const SIGNER_NAME: &str = "Requested signer for the request. It is a qualified name in the form: \
    `scope-hostname.io/name`. If empty, it will be defaulted:\n \
    1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n \
    2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n \
    3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\n\
    Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.";
const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    explained("SignerName", SIGNER_NAME),
    explained("Requestor", "Base64-encoded PKCS#10 CSR data"),
    column("RequestedDuration", "io.k8s.api.certificates.v1.CertificateSigningRequestSpec", "expirationSeconds"),
    explained("Condition", "Conditions applied to the request, such as approval or denial."),
];

fn row(request: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &request["spec"];
    let has = |kind: &str| condition(request, kind).is_some();
    let decision = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if is_empty(&request["status"]["certificate"]) { "" } else { ",Issued" };
    vec![
        request["metadata"]["name"].clone(),
        age(request, now),
        json!(text(&spec["signerName"])),
        json!(text(&spec["username"])),
        json!(int(&spec["expirationSeconds"]).map_or_else(|| "<none>".to_owned(), duration)),
        json!(format!("{decision}{failed}{issued}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(conditions: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {}, "status": {"conditions": conditions}})
    }

    fn is(kind: &str) -> Value {
        json!({"type": kind, "status": "True"})
    }

    #[test]
    fn a_request_is_a_pem_block_for_a_signer() {
        let pem = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n");
        let other = STANDARD.encode("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        for (request, usages, signer, faults) in [
            (&pem, json!(["client auth"]), "example.com/none", 0),
            (&other, json!(["client auth"]), "example.com/none", 1),
            (&String::new(), json!(["client auth"]), "example.com/none", 1),
            (&pem, json!([]), "example.com/none", 1),
            (&pem, json!(["a"]), "example.com/none", 1),
            (&pem, json!(["any", "any"]), "example.com/none", 1),
            (&pem, json!(["any"]), "", 1),
            (&pem, json!(["any"]), LEGACY_SIGNER, 1),
            (&pem, json!(["any"]), "nodots/none", 1),
            (&pem, json!(["any"]), "example.com", 1),
            (&pem, json!(["any"]), "example.com/A_b", 1),
        ] {
            let spec = json!({"request": request, "usages": usages, "signerName": signer});
            assert_eq!(Causes::of(|causes| validate(&spec, causes)).len(), faults, "{usages} {signer}");
        }
    }

    #[test]
    fn a_decision_is_made_once_and_by_approval() {
        let approve = |new: Value, old: Value| (APPROVAL.validate)(&request(new), &request(old)).len();
        assert_eq!(approve(json!([is("Approved")]), json!([])), 0);
        assert_eq!(approve(json!([is("Approved"), is("Denied")]), json!([])), 1);
        assert_eq!(approve(json!([]), json!([is("Approved")])), 1);
        assert_eq!(approve(json!([{"type": "Approved", "status": "False"}]), json!([])), 1);
        let status =
            |new: Value, old: Value| (CERTIFICATE_SIGNING_REQUESTS.validate_status)(&request(new), &request(old)).len();
        assert_eq!(status(json!([is("Failed")]), json!([])), 0);
        assert_eq!(status(json!([is("Approved")]), json!([])), 1);
    }

    #[test]
    fn approval_changes_nothing_but_conditions() {
        let old = request(json!([]));
        let mut new = json!({"metadata": {"name": "a"}, "spec": {"signerName": "x"}, "status": {
            "certificate": "c", "conditions": [is("Approved")],
        }});
        (APPROVAL.prepare)(&mut new, &old);
        assert_eq!(new, request(json!([is("Approved")])));
    }

    #[test]
    fn conditions_tell_when_they_came() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").expect("a time");
        let mut new = request(json!([is("Approved"), is("Failed")]));
        let old =
            request(json!([{"type": "Approved", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]));
        (CERTIFICATE_SIGNING_REQUESTS.stamp)(&mut new, &old, now);
        let times: Vec<&str> =
            list(&new["status"]["conditions"]).iter().map(|c| text(&c["lastTransitionTime"])).collect();
        assert_eq!(times, ["2025-01-01T00:00:00Z", "2026-01-02T03:04:05Z"]);
    }

    #[test]
    fn a_request_is_pending_until_it_is_decided() {
        let condition = |conditions: Value| row(&request(conditions), Timestamp::default())[5].clone();
        assert_eq!(condition(json!([])), "Pending");
        assert_eq!(condition(json!([is("Approved"), is("Failed")])), "Approved,Failed");
        assert_eq!(condition(json!([is("Denied")])), "Denied");
    }
}
