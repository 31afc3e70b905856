//! CustomResourceDefinitions: defaults, what an update may change, and what is wrong with one, as upstream says it.
//!
//! Upstream checks an internal form, in which what all versions have in common stands once, in `spec.validation` and the
//! like; its paths name those places, and so do these.

mod conversion;
mod field_path;
mod names;
mod schemas;
mod structure;
mod versions;

use super::{SPEC, kind_name};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::value::{default, is_empty, is_true, list, remove, set, text};
use crate::{Deletion, NameRule, Revalidation, Strategy};
use serde_json::{Value, json};

/// The finalizer that keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

const APPROVED: &str = "api-approved.kubernetes.io";

pub(crate) static CUSTOM_RESOURCE_DEFINITIONS: Strategy = Strategy {
    defaults: |definition| {
        if let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) {
            let kind = text(&spec["names"]["kind"]).to_owned();
            if !kind.is_empty() {
                default(&mut spec["names"], "singular", kind.to_lowercase());
                default(&mut spec["names"], "listKind", format!("{kind}List"));
            }
            default(spec, "conversion", json!({"strategy": "None"}));
            let service = spec.pointer_mut("/conversion/webhook/clientConfig/service");
            if let Some(service) = service.filter(|service| service.is_object()) {
                default(service, "port", 443);
            }
            if spec["preserveUnknownFields"] == false {
                remove(spec, "preserveUnknownFields");
            }
        }
    },
    prepare_create: store_version,
    prepare_update: |new, _| store_version(new),
    name_rule: NameRule::Any,
    validate_create: |definition| {
        Causes::of(|causes| {
            let name = text(&definition["metadata"]["name"]);
            let (group, plural) = (text(&definition["spec"]["group"]), text(&definition["spec"]["names"]["plural"]));
            if !name.is_empty() {
                let at = Path::new("metadata");
                causes.each_invalid(&at.child("name"), name, crate::names::dns_subdomain(name));
                if name != format!("{plural}.{group}") {
                    causes.invalid(&at.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
                }
            }
            if crate::registry().kinds().iter().any(|kind| kind.group == group && kind.plural == plural) {
                // Its objects would be stored as that resource's, and be taken for them.
                let why = "is a resource of this group that is built in";
                causes.invalid(&SPEC.child("names").child("plural"), plural, why);
            }
            validate(definition, causes);
            approval(&definition["metadata"], None, group, causes);
            preserved(&definition["spec"], &Value::Null, causes);
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            validate_changed(new, old, causes);
            let (spec, old_spec) = (&new["spec"], &old["spec"]);
            let mut fixed = |path: &[&str], at: &Path| {
                let of = |spec: &Value| path.iter().fold(spec.clone(), |value, field| value[*field].clone());
                if of(spec) != of(old_spec) {
                    causes.immutable(at, of(spec));
                }
            };
            let names = SPEC.child("names");
            if established(old) {
                fixed(&["scope"], &SPEC.child("scope"));
                fixed(&["names", "kind"], &names.child("kind"));
            }
            fixed(&["group"], &SPEC.child("group"));
            fixed(&["names", "plural"], &names.child("plural"));
            approval(&new["metadata"], Some(&old["metadata"]), text(&spec["group"]), causes);
            preserved(spec, old_spec, causes);
        })
    },
    validate_status: |new, _| {
        Causes::of(|causes| {
            let status = Path::new("status");
            names::resource_names(&new["status"]["acceptedNames"], &status.child("acceptedNames"), causes);
        })
    },
    update_revalidates: Revalidation::Nothing,
    deletion: Deletion::Begun(begin_deletion),
    generation: Some(spec_changed),
    unconditional_update: false,
    new_status: Some(
        || json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null}),
    ),
    ..Strategy::PLAIN
};

/// What the first delete of a definition makes of it: it waits until its objects are gone.
fn begin_deletion(definition: &mut Value, now: api::Timestamp) {
    let metadata = &mut definition["metadata"];
    set(metadata, "deletionTimestamp", now.to_string());
    let mut finalizers = list(&metadata["finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.into());
    }
    set(metadata, "finalizers", finalizers);
    let condition = json!({
        "type": "Terminating", "status": "True", "lastTransitionTime": now.to_string(),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    let mut conditions = list(&definition["status"]["conditions"]).to_vec();
    conditions.retain(|condition| condition["type"] != "Terminating");
    conditions.push(condition);
    set(&mut definition["status"], "conditions", conditions);
}

/// Notes that objects may be stored in the version that is marked so.
fn store_version(definition: &mut Value) {
    let storage = list(&definition["spec"]["versions"]).iter().filter(|version| is_true(&version["storage"]));
    let names: Vec<Value> = storage.map(|version| version["name"].clone()).take(1).collect();
    let Some(name) = names.into_iter().next() else { return };
    let mut stored = list(&definition["status"]["storedVersions"]).to_vec();
    if !stored.contains(&name) && definition["status"].is_object() {
        stored.push(name);
        set(&mut definition["status"], "storedVersions", stored);
    }
}

/// Whether resources of the definition were served once.
fn established(definition: &Value) -> bool {
    let is = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    list(&definition["status"]["conditions"]).iter().any(is)
}

/// What is wrong with a definition after an update. Where nothing changed that is checked at length, nothing is wrong: so
/// that a label is written in no time.
fn validate_changed(new: &Value, old: &Value, causes: &mut Causes) {
    if new["spec"] != old["spec"] {
        validate(new, causes);
    }
}

fn validate(definition: &Value, causes: &mut Causes) {
    let (spec, status) = (&definition["spec"], &definition["status"]);
    let group = text(&spec["group"]);
    let problems = crate::names::dns_subdomain(group);
    if group.is_empty() {
        causes.required(&SPEC.child("group"), "");
    } else if !problems.is_empty() {
        causes.invalid(&SPEC.child("group"), group, &problems.join(","));
    } else if !group.contains('.') {
        causes.invalid(&SPEC.child("group"), group, "should be a domain with at least one dot");
    }
    match text(&spec["scope"]) {
        "" => causes.required(&SPEC.child("scope"), ""),
        _ => causes.one_of(&SPEC.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]),
    }
    versions::validate(spec, causes);
    names::required(&spec["names"], &SPEC.child("names"), causes);
    names::resource_names(&spec["names"], &SPEC.child("names"), causes);
    versions::common(spec, causes);
    conversion::validate(&spec["conversion"], &SPEC.child("conversion"), causes);
    let at = Path::new("status");
    names::resource_names(&status["acceptedNames"], &at.child("acceptedNames"), causes);
    stored_versions(&status["storedVersions"], list(&spec["versions"]), &at.child("storedVersions"), causes);
}

fn stored_versions(stored: &Value, versions: &[Value], at: &Path, causes: &mut Causes) {
    if is_empty(stored) {
        return causes.invalid(at, Value::Null, "must have at least one stored version");
    }
    for version in versions.iter().filter(|version| is_true(&version["storage"])) {
        if !list(stored).contains(&version["name"]) {
            causes.invalid(at, stored, &format!("must have the storage version {}", text(&version["name"])));
        }
    }
    for (i, name) in list(stored).iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            causes.invalid(&at.index(i), name, "must appear in spec.versions");
        }
    }
}

fn preserved(spec: &Value, old: &Value, causes: &mut Causes) {
    if is_true(&spec["preserveUnknownFields"]) && !is_true(&old["preserveUnknownFields"]) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.invalid(&SPEC.child("preserveUnknownFields"), true, why);
    }
}

/// Whether and why a group of Kubernetes' own may be defined: the state, and words for it.
fn approval_state(metadata: &Value) -> (Approval, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let given = text(&metadata["annotations"][APPROVED]);
    if given.is_empty() {
        let why = format!("protected groups must have approval annotation {APPROVED:?}, {SEE}");
        return (Approval::Missing, why);
    }
    if given.starts_with("unapproved") {
        return (Approval::Bypassed, format!("not approved: {given:?}"));
    }
    let host = given.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or_default()));
    match host {
        Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() => {
            (Approval::Approved, format!("approved in {given}"))
        }
        _ => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {SEE}"
            );
            (Approval::Invalid, why)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approval {
    Missing,
    Invalid,
    Bypassed,
    Approved,
}

fn approval(metadata: &Value, old: Option<&Value>, group: &str, causes: &mut Causes) {
    let own = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !own("k8s.io") && !own("kubernetes.io") {
        return;
    }
    let (state, why) = approval_state(metadata);
    if old.is_some_and(|old| approval_state(old).0 == state) {
        return;
    }
    let at = Path::new("metadata");
    let at = at.child("annotations");
    match state {
        Approval::Missing => causes.required(&at.key(APPROVED), &why),
        Approval::Invalid => causes.invalid(&at.key(APPROVED), &metadata["annotations"][APPROVED], &why),
        Approval::Bypassed | Approval::Approved => {}
    }
}
