//! The `AdmissionReview` that a webhook is sent, and what its answer says. Pure.

use crate::admission::Attempt;
use crate::admission::policies::user_info;
use api::{Error, Kind, Reason};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What a webhook may say in words, in bytes; more is cut.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// What a webhook may warn of, in all, in letters.
const WARNING_LETTERS_MAX: usize = 4096;

/// What a webhook's answer says.
#[derive(Debug)]
pub struct Verdict {
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
    /// Why the request is refused.
    pub denied: Option<Error>,
    /// A JSON patch of the object.
    pub patch: Option<Vec<u8>>,
}

/// What is sent about a write. `seen_as` is the view of the kind that the webhook's rules name, and the objects are in it.
pub fn request(attempt: Attempt<'_>, seen_as: &Kind, (new, old): (Option<&Value>, Option<&Value>), uid: &str) -> Value {
    let call = attempt.call;
    let sub = attempt.subresource();
    let shown = |kind: &Kind| {
        let sent = kind.subresource(sub).filter(|sub| !sub.kind.is_empty());
        match sent {
            Some(sub) => json!({"group": sub.group, "version": sub.version, "kind": sub.kind}),
            None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
        }
    };
    let resource = |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let mut request = json!({
        "uid": uid,
        "kind": shown(seen_as),
        "resource": resource(seen_as),
        "requestKind": shown(call.kind),
        "requestResource": resource(call.kind),
        "operation": attempt.operation.as_str(),
        "userInfo": user_info(call.identity),
        "object": new,
        "oldObject": old,
        "dryRun": attempt.options.dry_run(),
        "options": attempt.options.value(attempt.operation),
    });
    let named = new.or(old);
    for (field, value) in [
        ("name", attempt.name(named)),
        ("namespace", attempt.namespace(named)),
        ("subResource", sub),
        ("requestSubResource", sub),
    ] {
        if !value.is_empty() {
            request[field] = json!(value);
        }
    }
    json!({"kind": KIND, "apiVersion": API_VERSION, "request": request})
}

/// Reads an answer.
///
/// # Errors
/// Why it is none, in upstream's words.
pub fn verdict(answer: &Value, name: &str, uid: &str, mutating: bool) -> Result<Verdict, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
    }
    if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("expected webhook response of {API_VERSION}, Kind={KIND}, got {version}, Kind={kind}"));
    }
    let (patch, patch_type) = (text(&response["patch"]), response["patchType"].as_str());
    match (patch.is_empty(), patch_type) {
        (false, _) if !mutating => return Err("validating webhook may not return response.patch".into()),
        (_, Some(_)) if !mutating => return Err("validating webhook may not return response.patchType".into()),
        (false, None) => return Err("webhook returned response.patch but not response.patchType".into()),
        (true, Some(_)) => return Err("webhook returned response.patchType but not response.patch".into()),
        (false, Some("")) => return Err("webhook returned invalid response.patchType of \"\"".into()),
        (false, Some(other)) if other != "JSONPatch" => return Err(format!("unsupported patch type {other:?}")),
        _ => {}
    }
    let patch = match patch.is_empty() {
        true => None,
        false => Some(STANDARD.decode(&patch).map_err(|_| "response.patch is not base64".to_owned())?),
    };
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    let annotations = annotations.map(|(key, value)| (format!("{name}/{key}"), text(value)));
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut room = WARNING_LETTERS_MAX;
    let warnings = warnings.map(|warning| {
        let cut: String = warning.chars().take(room).collect();
        room -= cut.chars().count();
        cut
    });
    let denied = (response["allowed"] != true).then(|| refusal(name, &response["status"]));
    Ok(Verdict {
        warnings: warnings.filter(|warning| !warning.is_empty()).collect(),
        annotations: annotations.collect(),
        denied,
        patch,
    })
}

/// What the client is told of a refusal.
fn refusal(name: &str, status: &Value) -> Error {
    let by = format!("admission webhook {name:?} denied the request");
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {}", cut(reason)),
        (message, _) => format!("{by}: {}", cut(message)),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let mut told = json!({"message": message, "reason": status["reason"], "details": status["details"]});
    let reason = Reason::ALL.into_iter().find(|known| !known.as_str().is_empty() && known.as_str() == text("reason"));
    told["reason"] = json!(reason.map(Reason::as_str));
    Error::from_status(code, &told).with_reason(reason.unwrap_or(Reason::Unknown)).with_code(code)
}

fn cut(text: &str) -> &str {
    let end = (0..=MESSAGE_BYTES_MAX.min(text.len())).rev().find(|&i| text.is_char_boundary(i));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: Value, mutating: bool) -> Result<Verdict, String> {
        verdict(&json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}), "w.example.com", "u", mutating)
    }

    #[test]
    fn an_answer_that_is_none_is_told_as_upstream_tells_it() {
        for (response, mutating, why) in [
            (Value::Null, true, "webhook response was absent"),
            (json!({"uid": "x"}), true, "expected response.uid=\"u\", got \"x\""),
            (json!({"uid": "u", "patch": "W10="}), false, "validating webhook may not return response.patch"),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                false,
                "validating webhook may not return response.patchType",
            ),
            (json!({"uid": "u", "patch": "W10="}), true, "webhook returned response.patch but not response.patchType"),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (json!({"uid": "u", "patch": "W10=", "patchType": "Merge"}), true, "unsupported patch type \"Merge\""),
        ] {
            assert_eq!(read(response, mutating).expect_err(why), why);
        }
        let beta = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": KIND, "response": {"uid": "u"}});
        let why = verdict(&beta, "w", "u", false).expect_err("another version");
        assert_eq!(
            why,
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, \
             Kind=AdmissionReview"
        );
    }

    #[test]
    fn a_refusal_has_the_code_and_the_words_of_the_webhook() {
        let denied = |status: Value| {
            let verdict = read(json!({"uid": "u", "allowed": false, "status": status}), false).unwrap();
            let status = verdict.denied.expect("a refusal").to_status();
            (status["code"].clone(), status["reason"].clone(), status["message"].as_str().unwrap().to_owned())
        };
        let by = |rest: &str| format!("admission webhook \"w.example.com\" denied the request{rest}");
        assert_eq!(denied(Value::Null), (json!(400), Value::Null, by(" without explanation")));
        assert_eq!(denied(json!({"message": "no"})), (json!(400), Value::Null, by(": no")));
        let forbidden = json!({"message": "no", "code": 403, "reason": "Forbidden"});
        assert_eq!(denied(forbidden), (json!(403), json!("Forbidden"), by(": no")));
        assert_eq!(denied(json!({"reason": "own words", "code": 200})), (json!(400), Value::Null, by(": own words")));
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        assert!(denied(json!({"message": long})).2.len() < MESSAGE_BYTES_MAX + 100);
    }

    #[test]
    fn an_answer_may_warn_annotate_and_patch() {
        let response = json!({"uid": "u", "allowed": true, "warnings": ["a", "", "b".repeat(5000)],
            "auditAnnotations": {"k": "v"}, "patchType": "JSONPatch", "patch": "W10="});
        let verdict = read(response, true).unwrap();
        assert!(verdict.denied.is_none());
        assert_eq!(verdict.annotations, [("w.example.com/k".to_owned(), "v".to_owned())]);
        assert_eq!(verdict.patch.as_deref(), Some(b"[]".as_slice()));
        assert_eq!(verdict.warnings.iter().map(String::len).collect::<Vec<_>>(), [1, WARNING_LETTERS_MAX - 1]);
    }
}
