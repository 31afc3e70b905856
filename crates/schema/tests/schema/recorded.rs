//! Bodies and patches of recorded conversations with a kube-apiserver: what this crate makes of them must be part of
//! what the server answered. Strategies, admission and defaults in code, which are not this crate's, may add to it.

use schema::{
    Definition, Document, FieldValidation, apply_defaults, builtin, conform, decode_json, decode_yaml, patch,
};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// What the server itself writes, whatever the body says.
const SERVERS_OWN: &[&str] = &["status", "metadata.generation", "metadata.managedFields", "metadata.selfLink"];

/// Cases in which the server changes more than defaults and admission add, with who does it.
const DIFFERENT: &[(&str, &str)] = &[
    ("certificatesigningrequests/patch/change", "strategy: the spec is immutable"),
    ("certificatesigningrequests/update/change", "strategy: the spec is immutable"),
    ("create/system-fields-are-cleared", "registry: deletion fields"),
    ("csr/approval/spec-immutable", "strategy: the spec is immutable"),
    ("csr/create/identity-is-overwritten", "strategy: the user's identity"),
    ("endpointslice/accepted/topology-too-many", "strategy: deprecated topology"),
    ("errors/type-mismatch-deep", "text: the path in Go names an embedded struct"),
    ("flowschemas/create/dry-run", "default in code: precedence"),
    ("flowschemas/create/minimal", "default in code: precedence"),
    ("flowschemas/status/put-keeps-spec", "default in code: precedence"),
    ("gc/owner-reference-duplicates", "registry: owners are unique"),
    ("hpa/convert/v1-annotation-behavior", "conversion"),
    ("hpa/convert/v1-annotation-broken", "conversion"),
    ("job/create/pod-failure-policy", "default in code: the status of a condition"),
    ("lease/accepted/preferred-without-strategy", "feature gate"),
    ("lease/create/strategy", "feature gate"),
    ("lease/invalid/time-without-micros", "text: the recording masks the time"),
    ("names/cluster-scoped-with-namespace", "registry: no namespace"),
    ("namespace/finalize-subresource", "registry: finalizers of namespaces"),
    ("patch/smp/containers/not-a-list", "text: of the second of upstream's converters"),
    ("patch/smp/deployment/type-mismatch", "text: of the second of upstream's converters"),
    ("pod/accepted/lifecycle-stop-signal-bad", "feature gate"),
    ("pod/create/grace-negative-becomes-one", "default in code"),
    ("pod/create/lifecycle-stop-signal", "feature gate"),
    ("pod/create/service-account-fields-differ", "conversion"),
    ("pod/update/toleration-added", "admission: patches count on default tolerations"),
    ("pod/update/toleration-removed", "admission: patches count on default tolerations"),
    ("pod/update/toleration-seconds-changed", "admission: patches count on default tolerations"),
    ("pod/volume/projected-cluster-trust-bundle", "feature gate"),
    ("pvc/create/data-source-core-other-dropped", "strategy"),
    ("rolebinding/create/role-ref-group-defaulted", "default in code"),
    ("secret/create/basic-auth", "conversion: string data"),
    ("secret/create/rich", "conversion: string data"),
    ("secret/create/ssh-auth", "conversion: string data"),
    ("selfsubjectrulesreview/create/user", "registry: the answer to a review"),
    ("service/create/session-affinity-none-drops-config", "default in code"),
    ("service/update/load-balancer-to-cluster-ip", "strategy: fields of another type"),
    ("statefulset/accepted/max-unavailable-zero", "feature gate"),
    ("statefulset/create/strategy-max-unavailable", "feature gate"),
];

#[test]
fn bodies_and_patches_come_out_as_recorded() {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle/api");
    if !oracle.exists() {
        println!("skipped: no recorded answers at {}", oracle.display());
        return;
    }
    let mut tally = Tally::default();
    for folder in ["kinds", "semantics"] {
        for file in std::fs::read_dir(oracle.join(folder)).expect("a folder") {
            let cases = std::fs::read(file.expect("a file").path()).expect("a file");
            for case in serde_json::from_slice::<Vec<Value>>(&cases).expect("cases") {
                replay(&case, &mut tally);
            }
        }
    }
    println!("{} recorded answers compared", tally.compared);
    let listed: BTreeSet<String> = DIFFERENT.iter().map(|(case, _)| (*case).to_owned()).collect();
    let found: BTreeSet<String> = tally.different.keys().cloned().collect();
    let unlisted: Vec<_> = tally.different.iter().filter(|(case, _)| !listed.contains(*case)).collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    assert_eq!(listed.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "listed, and yet the same");
    assert!(tally.compared > 4000, "the recordings were found");
}

#[derive(Default)]
struct Tally {
    compared: usize,
    different: HashMap<String, Vec<String>>,
}

struct Comparison<'a> {
    ignored: Vec<&'a str>,
    differences: Vec<String>,
}

impl Comparison<'_> {
    /// Whether all that is in `ours` is in `theirs` too.
    fn part_of(&mut self, ours: &Value, theirs: &Value, path: &str) {
        if self.ignored.contains(&path) || SERVERS_OWN.contains(&path) {
            return;
        }
        match (ours, theirs) {
            (_, Value::String(mask)) if mask.starts_with('<') || mask.contains("{ns}") => {}
            (Value::Object(ours), Value::Object(theirs)) => {
                for (name, value) in ours {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let masked = self.ignored.iter().any(|i| path.starts_with(i)) || SERVERS_OWN.contains(&&*path);
                    match theirs.get(name) {
                        Some(theirs) => self.part_of(value, theirs, &path),
                        None if masked => {}
                        None => self.differences.push(format!("{path} = {value} is not there")),
                    }
                }
            }
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() || grows(path, ours, theirs) => {
                for (i, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    self.part_of(ours, theirs, &format!("{path}[{i}]"));
                }
            }
            _ if ours == theirs => {}
            _ => self.differences.push(format!("{path} is {ours}, recorded {theirs}")),
        }
    }
}

/// Whether admission appends to a list, as the volume of a service-account token.
fn grows(path: &str, ours: &[Value], theirs: &[Value]) -> bool {
    let appended = ["volumes", "volumeMounts", "tolerations", "taints", "finalizers"];
    ours.len() < theirs.len() && appended.iter().any(|list| path.ends_with(list))
}

/// A path whose answers hold what is stored, not what was sent.
fn is_subresource(path: &str) -> bool {
    let names = [
        "approval",
        "binding",
        "bindings",
        "ephemeralcontainers",
        "eviction",
        "finalize",
        "resize",
        "scale",
        "status",
        "token",
    ];
    names.iter().any(|name| path.ends_with(&format!("/{name}")))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn definition_of(object: &Value) -> Option<&'static Definition> {
    let version = api::GroupVersion::parse(text(&object["apiVersion"]));
    builtin().of_kind(&version.group, &version.version, text(&object["kind"]))
}

fn complete(def: &Definition, document: Document, mode: FieldValidation) -> api::Result<Value> {
    let mut value = conform(builtin(), def, document, mode)?.value;
    apply_defaults(builtin(), def, &mut value);
    let again = conform(builtin(), def, value.clone(), FieldValidation::Strict)?;
    assert_eq!(again.value, value, "what conforms stays as it is");
    Ok(value)
}

/// Replays the writes of a case, each on what the one before it left.
fn replay(case: &Value, tally: &mut Tally) {
    let mut live = HashMap::new();
    for step in case["steps"].as_array().into_iter().flatten() {
        let (request, answer) = (&step["request"], &step["expect"]["body"]);
        let (path, query) = text(&request["path"]).split_once('?').unwrap_or((text(&request["path"]), ""));
        let given = query.split('&').find_map(|part| part.strip_prefix("fieldValidation=")).unwrap_or_default();
        let Ok(mode) = FieldValidation::parse(given) else { continue };
        if is_subresource(path) || !request["pad"].is_null() {
            continue;
        }
        let Some(outcome) = outcome(request, live.get(path), mode) else { continue };
        let code = step["expect"]["code"].as_u64().unwrap_or_default();
        if let Ok(object) = &outcome
            && code < 300
        {
            let name = text(&object["metadata"]["name"]);
            let path = if request["method"] == "POST" { format!("{path}/{name}") } else { path.to_owned() };
            let mut stored = object.clone();
            stored["metadata"]["uid"] = json!("a uid");
            live.insert(path, stored);
        }
        let ignored = step["ignore"].as_array().into_iter().flatten().map(text).collect();
        let mut comparison = Comparison { ignored, differences: Vec::new() };
        compare(outcome, code, answer, &mut comparison);
        tally.compared += 1;
        if !comparison.differences.is_empty() {
            tally.different.entry(text(&case["name"]).to_owned()).or_default().append(&mut comparison.differences);
        }
    }
}

/// What this crate makes of a write.
fn outcome(request: &Value, live: Option<&Value>, mode: FieldValidation) -> Option<api::Result<Value>> {
    let bytes = match request.get("rawBody") {
        Some(raw) => text(raw).as_bytes().to_vec(),
        None => request["body"].to_string().into_bytes(),
    };
    let apply =
        |patched: Value, told, live| complete(definition_of(live)?, Document::derived(&patched, told), mode).into();
    match (text(&request["method"]), text(&request["headers"]["Content-Type"])) {
        ("POST" | "PUT", "" | "application/json") => {
            let document = decode_json(&bytes, mode).ok()?;
            let def = definition_of(&document.value)?;
            Some(complete(def, document, mode))
        }
        ("POST" | "PUT", "application/yaml") => {
            let document = decode_yaml(&bytes, mode).ok()?;
            let def = definition_of(&document.value)?;
            Some(complete(def, document, mode))
        }
        ("PATCH", "application/json-patch+json") => {
            let live = live?;
            let applied = patch::decode_json(&bytes, mode)
                .and_then(|(operations, told)| Ok((patch::json(live.clone(), &operations)?, told)));
            match applied {
                Ok((patched, told)) => apply(patched, told, live),
                Err(error) => Some(Err(error)),
            }
        }
        ("PATCH", "application/merge-patch+json") => match patch::decode_merge(&bytes, mode) {
            Ok(document) => apply(patch::merge(live?.clone(), &document.value), document.duplicates(), live?),
            Err(error) => Some(Err(error)),
        },
        ("PATCH", "application/strategic-merge-patch+json") => {
            let document = match patch::decode_strategic(&bytes, mode) {
                Ok(document) => document,
                Err(error) => return Some(Err(error)),
            };
            match patch::strategic(builtin(), definition_of(live?)?, live?.clone(), &document.value) {
                Ok(patched) => apply(patched, document.duplicates(), live?),
                Err(error) => Some(Err(error)),
            }
        }
        _ => None,
    }
}

fn compare(outcome: api::Result<Value>, code: u64, answer: &Value, comparison: &mut Comparison) {
    let told = text(&answer["message"]);
    match outcome {
        Ok(_) if code >= 300 => {
            if told.contains("strict decoding error") || told.contains("json: cannot unmarshal") {
                comparison.differences.push(format!("accepted, recorded: {told}"));
            }
        }
        Ok(ours) if ours["kind"] == answer["kind"] => comparison.part_of(&ours, answer, ""),
        Ok(_) => {}
        Err(error) if told.ends_with(error.message()) => {}
        Err(error) => comparison.differences.push(format!("{error}, recorded: {told}")),
    }
}
