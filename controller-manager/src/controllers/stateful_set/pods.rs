//! The pods and claims of a stateful set: who is which ordinal, and what each has to look like. Pure.

use crate::controllers::revisions::POD_LABEL;
use crate::view::{Claim as PersistentVolumeClaim, Meta, Pod, StatefulSet, Volume};
use serde_json::{Value, json};
use std::sync::Arc;

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of a pod of this name, if it can be the set's.
pub fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let (parent, digits) = pod.rsplit_once('-')?;
    let counts = parent == set && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<i32>().ok().filter(|_| counts).map(i64::from)
}

pub fn name(set: &StatefulSet, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.metadata.name)
}

/// The first ordinal that a set has, and the one after its last.
pub fn range(set: &StatefulSet) -> (i64, i64) {
    let start = set.spec.ordinals.as_ref().map_or(0, |o| o.start);
    (start, start.saturating_add(set.spec.replicas.max(0)))
}

/// The revision that a pod says to be of.
pub fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(POD_LABEL).map_or("", String::as_str)
}

/// The names of the volumes and claims of the pod of an ordinal.
pub fn claim_names(set: &StatefulSet, ordinal: i64) -> impl Iterator<Item = (&str, String)> {
    set.spec.volume_claim_templates.iter().filter_map(move |template| {
        let volume = template["metadata"]["name"].as_str()?;
        Some((volume, format!("{volume}-{}-{ordinal}", set.metadata.name)))
    })
}

/// The claims of the pod of an ordinal, to be created.
pub fn claims(set: &StatefulSet, ordinal: i64, owners: &[Value]) -> Vec<Value> {
    let claim = |(template, (_, name)): (&Value, (&str, String))| {
        let mut claim = template.clone();
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        if let Some(object) = claim.as_object_mut() {
            object.remove("status");
        }
        claim["metadata"]["name"] = json!(name);
        claim["metadata"]["namespace"] = json!(set.metadata.namespace);
        for (key, value) in set.spec.selector.value["matchLabels"].as_object().into_iter().flatten() {
            claim["metadata"]["labels"][key] = value.clone();
        }
        if !owners.is_empty() {
            claim["metadata"]["ownerReferences"] = json!(owners);
        }
        claim
    };
    set.spec.volume_claim_templates.iter().zip(claim_names(set, ordinal)).map(claim).collect()
}

/// The pod of an ordinal, to be created from the template of a revision.
pub fn new(set: &StatefulSet, owner: Value, ordinal: i64, revision: &str, template: &Value) -> Value {
    let mut metadata = json!({
        "name": name(set, ordinal),
        "generateName": format!("{}-", set.metadata.name),
        "ownerReferences": [owner],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    pod["spec"]["hostname"] = json!(name(set, ordinal));
    if !set.spec.service_name.is_empty() {
        pod["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    align(set, ordinal, &mut pod);
    pod["metadata"]["labels"][POD_LABEL] = json!(revision);
    pod
}

/// Gives a pod the identity and the storage of its ordinal.
pub fn align(set: &StatefulSet, ordinal: i64, pod: &mut Value) {
    pod["metadata"]["labels"][NAME_LABEL] = json!(name(set, ordinal));
    pod["metadata"]["labels"][INDEX_LABEL] = json!(ordinal.to_string());
    let claims: Vec<(&str, String)> = claim_names(set, ordinal).collect();
    if claims.is_empty() {
        return;
    }
    let volume = |(name, claim): &(&str, String)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
    let mut volumes: Vec<Value> = claims.iter().map(volume).collect();
    let others = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.extend(others.filter(|v| !claims.iter().any(|(name, _)| v["name"] == **name)).cloned());
    pod["spec"]["volumes"] = json!(volumes);
}

/// Whether a pod has the identity and the storage of its ordinal.
pub fn is_aligned(set: &StatefulSet, ordinal: i64, pod: &Pod) -> bool {
    let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
    label(NAME_LABEL) == Some(&pod.metadata.name)
        && label(INDEX_LABEL) == Some(&ordinal.to_string())
        && claim_names(set, ordinal).all(|(volume, claim)| {
            let is_it = |v: &Volume| v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim);
            pod.spec.volumes.iter().any(|v| v.name == volume && is_it(v))
        })
}

/// Who has to own the claims of a pod, by what the set says is to become of them.
pub fn claim_owners(set: &StatefulSet, owner: &Value, ordinal: i64, pod: Option<&Pod>) -> Vec<Value> {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|w| w == "Delete");
    let (start, end) = range(set);
    let is_wanted = (start..end).contains(&ordinal);
    match (deletes(policy.map(|p| &p.when_scaled)), deletes(policy.map(|p| &p.when_deleted)), is_wanted) {
        (true, _, false) => pod.map(|p| pod_reference(&p.metadata)).into_iter().collect(),
        (false, true, _) | (true, true, true) => vec![owner.clone()],
        (false, false, _) | (true, false, true) => Vec::new(),
    }
}

fn pod_reference<A>(pod: &Meta<A>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether an owner reference is to the set, or to the pod of an ordinal.
fn is_ours(set: &StatefulSet, pod: &str, kind: &str, name: &str) -> bool {
    (kind == "StatefulSet" && name == set.metadata.name) || (kind == "Pod" && name == pod)
}

/// Whether a claim is owned by others than it has to be. One that something else controls is left to it.
pub fn is_owned_wrongly(set: &StatefulSet, ordinal: i64, claim: &PersistentVolumeClaim, wanted: &[Value]) -> bool {
    let pod = name(set, ordinal);
    let (ours, others): (Vec<_>, Vec<_>) =
        claim.metadata.owner_references.iter().partition(|r| is_ours(set, &pod, &r.kind, &r.name));
    if others.iter().any(|r| r.controller) {
        return !ours.is_empty();
    }
    let is_there = |w: &Value| ours.iter().any(|r| w["uid"] == *r.uid && r.controller);
    ours.len() != wanted.len() || !wanted.iter().all(is_there)
}

/// Makes a claim owned as it has to be.
pub fn own(set: &StatefulSet, ordinal: i64, claim: &mut Value, wanted: &[Value]) {
    let pod = name(set, ordinal);
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut owners = claim["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    owners.retain(|r| !is_ours(set, &pod, &text(&r["kind"]), &text(&r["name"])));
    if !owners.iter().any(|r| r["controller"] == true) {
        owners.extend(wanted.iter().cloned());
    }
    claim["metadata"]["ownerReferences"] = json!(owners);
}

/// Whether a claim still belongs to an earlier pod of the same name, with which it will go.
pub fn is_stale(set: &StatefulSet, ordinal: i64, claim: &PersistentVolumeClaim) -> bool {
    let scaled = set.spec.persistent_volume_claim_retention_policy.as_ref().is_some_and(|p| p.when_scaled == "Delete");
    let pod = name(set, ordinal);
    scaled && claim.metadata.owner_references.iter().any(|r| r.kind == "Pod" && r.name == pod)
}

/// Finds claims by name.
pub type Claims<'a> = dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Send + Sync + 'a;
