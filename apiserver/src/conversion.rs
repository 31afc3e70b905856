//! Conversion of a tenant's objects between versions by the webhook that their definition names.
//!
//! What is to be shown is converted ahead, in batches, and kept for the request; what shows it finds it there.
//!
//! Invariant: a webhook changes neither what an object is nor anything of its metadata but labels and annotations.

use crate::egress::{Egress, Endpoint};
use api::{Error, Object, Reason, Result, Revision, TenantName};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many objects, and of which size together, one review holds.
const BATCH_OBJECTS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 2 << 20;

const API_VERSION: &str = "apiextensions.k8s.io/v1";
const KIND: &str = "ConversionReview";

/// How a definition's webhook is reached.
#[derive(Debug)]
pub struct Webhook(std::result::Result<Endpoint, String>);

impl Webhook {
    /// Reads `spec.conversion` of a definition; `None` where its objects change their version by name.
    pub fn of(conversion: &Value) -> Option<Webhook> {
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let mut speaks = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        if !speaks.any(|version| version == "v1") {
            let why = "the webhook does not accept known ConversionReview versions (v1)";
            return Some(Webhook(Err(why.to_owned())));
        }
        Some(Webhook(Endpoint::of(&webhook["clientConfig"])))
    }
}

/// Converts for one request, and keeps what it converted of stored objects.
pub struct Converter {
    egress: Arc<Egress>,
    tenant: TenantName,
    converted: Mutex<HashMap<(Box<str>, Revision), Value>>,
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

fn place(object: &Object) -> (Box<str>, Revision) {
    (object.header.uid().into(), object.revision)
}

impl Converter {
    pub fn new(egress: Arc<Egress>, tenant: TenantName) -> Converter {
        Converter { egress, tenant, converted: Mutex::default() }
    }

    /// What a stored object was converted to.
    pub fn converted(&self, object: &Object) -> Option<Value> {
        self.converted.lock().get(&place(object)).cloned()
    }

    pub fn knows(&self, object: &Object) -> bool {
        self.converted.lock().contains_key(&place(object))
    }

    /// Keeps what stored objects were converted to.
    pub fn keep<'a>(&self, objects: impl Iterator<Item = &'a Arc<Object>>, converted: Vec<Value>) {
        self.converted.lock().extend(objects.map(|object| place(object)).zip(converted));
    }

    pub fn forget(&self) {
        self.converted.lock().clear();
    }

    /// Converts objects, which are of one version each, to another, in their order.
    pub async fn convert(&self, webhook: &Webhook, objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>> {
        let mut done = Vec::with_capacity(objects.len());
        let mut waiting = objects.into_iter().peekable();
        while waiting.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(object) = waiting.next_if(|_| batch.len() < BATCH_OBJECTS_MAX && bytes < BATCH_BYTES_MAX) {
                let text = object.to_string();
                bytes += text.len();
                batch.push(object);
            }
            done.extend(self.batch(webhook, batch, wanted).await?);
        }
        Ok(done)
    }

    async fn batch(&self, webhook: &Webhook, objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>> {
        let first = objects.first().map(named).unwrap_or_default();
        // Upstream has no reason for these: it is the webhook's author who can mend them.
        let failed = |why: String| Error::new(Reason::Unknown, format!("conversion webhook for {first} {why}"));
        let endpoint = webhook.0.as_ref().map_err(|why| failed(format!("failed: {why}")))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = json!({"uid": uid, "desiredAPIVersion": wanted, "objects": objects});
        let review = json!({"kind": KIND, "apiVersion": API_VERSION, "request": request});
        let body = Bytes::from(review.to_string());
        drop(review);
        let answer = self.egress.post(&self.tenant, endpoint, body, TIMEOUT, TIMEOUT).await;
        let answer = answer.map_err(|why| failed(format!("failed: {why}")))?;
        let converted = answered(answer, &uid).map_err(|why| failed(format!("failed: {why}")))?;
        if converted.len() != objects.len() {
            return Err(failed(format!("returned {} objects, expected {}", converted.len(), objects.len())));
        }
        let pairs = objects.iter().zip(converted).enumerate();
        pairs.map(|(i, (original, converted))| taken(original, converted, wanted, i).map_err(&failed)).collect()
    }
}

/// `example.com/v1, Kind=Thing`
fn named(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

/// The objects of an answer.
fn answered(mut answer: Value, uid: &str) -> std::result::Result<Vec<Value>, String> {
    let told = named(&answer);
    let response = &mut answer["response"];
    if !response.is_object() {
        return Err("no response provided".into());
    }
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response["uid"].as_str().unwrap_or_default()));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let status = result["status"].as_str().unwrap_or_default();
        return Err(match result["message"].as_str().unwrap_or_default() {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.chars().take(4096).collect(),
        });
    }
    if told != format!("{API_VERSION}, Kind={KIND}") {
        return Err(format!("expected webhook response of {API_VERSION}, Kind={KIND}, got {told}"));
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// One converted object, with the metadata of the original but for labels and annotations.
fn taken(original: &Value, mut converted: Value, wanted: &str, i: usize) -> std::result::Result<Value, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let invalid = |why: String| format!("returned invalid converted object at index {i}: {why}");
    if converted["apiVersion"] != wanted {
        let received = text(&converted["apiVersion"]);
        return Err(invalid(format!("invalid groupVersion (expected {wanted}, received {received})")));
    }
    if converted["kind"] != original["kind"] {
        let (e, a) = (text(&original["kind"]), text(&converted["kind"]));
        return Err(invalid(format!("must have the same kind: {e} != {a}")));
    }
    for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (e, a) = (text(&original["metadata"][field]), text(&converted["metadata"][field]));
        if e != a {
            return Err(invalid(format!("must have the same {called}: {e} != {a}")));
        }
    }
    let bad = |why: &str| format!("returned invalid metadata in object at index {i}: {why}");
    let given = converted["metadata"].as_object().ok_or_else(|| bad("must be a map"))?;
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_else(Map::new);
    for field in ["labels", "annotations"] {
        match given.get(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(texts)) if texts.values().all(Value::is_string) => {
                metadata.insert(field.to_owned(), Value::Object(texts.clone()));
            }
            Some(_) => return Err(bad(&format!("metadata.{field}: must be a map of strings"))),
        }
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_uid_of_its_request_and_says_success() {
        let review = |response: Value| json!({"apiVersion": API_VERSION, "kind": KIND, "response": response});
        for (answer, why) in [
            (review(Value::Null), "no response provided"),
            (review(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\""),
            (review(json!({"uid": "u"})), "response.result.status was '', not 'Success'"),
            (review(json!({"uid": "u", "result": {"status": "Failed", "message": "no"}})), "no"),
            (
                json!({"apiVersion": "v1", "kind": "X", "response": {"uid": "u", "result": {"status": "Success"}}}),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=X",
            ),
        ] {
            assert_eq!(answered(answer, "u").expect_err(why), why);
        }
    }

    #[test]
    fn of_the_metadata_only_labels_and_annotations_are_the_webhooks() {
        let original = json!({"apiVersion": "e/v1", "kind": "T", "metadata": {"name": "a", "uid": "u", "labels": {"a": "b"},
            "finalizers": ["f"], "tenant": "acme"}});
        let made = json!({"apiVersion": "e/v2", "kind": "T", "spec": {}, "metadata": {"name": "a", "uid": "u",
            "annotations": {"c": "d"}, "finalizers": [], "tenant": "umbrella"}});
        let metadata = taken(&original, made.clone(), "e/v2", 0).unwrap()["metadata"].clone();
        let expected =
            json!({"name": "a", "uid": "u", "annotations": {"c": "d"}, "finalizers": ["f"], "tenant": "acme"});
        assert_eq!(metadata, expected);
        for (field, value, why) in [
            ("/apiVersion", json!("e/v1"), "invalid groupVersion (expected e/v2, received e/v1)"),
            ("/kind", json!("U"), "must have the same kind: T != U"),
            ("/metadata/name", json!("b"), "must have the same name: a != b"),
            ("/metadata/uid", json!("v"), "must have the same UID: u != v"),
            ("/metadata/annotations", json!({"a": 1}), "metadata.annotations: must be a map of strings"),
        ] {
            let mut made = made.clone();
            *made.pointer_mut(field).unwrap() = value;
            assert!(taken(&original, made, "e/v2", 0).expect_err(why).ends_with(why), "{why}");
        }
    }
}
