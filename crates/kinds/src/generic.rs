//! Rules that hold for objects of every kind: metadata, the separation of status, the counting of generations.
//!
//! Checks run as often as upstream runs them, so that a fault in metadata appears as many times in the causes of an
//! update.

use crate::causes::{Causes, Path};
use crate::names::{self, by_rule};
use crate::strategy::ALL_METADATA;
use crate::value::{int, is_empty, is_true, keep, list, members, remove, repeats, set, text};
use crate::{Change, NameRule, Revalidation, Strategy, strategy};
use api::{Cause, Kind, Timestamp};
use schema::managed::FieldSet;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

/// What annotations of one object may weigh, keys and values.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;
const MANAGER_BYTES_MAX: usize = 128;
/// How many owners that repeat a warning names.
const WARNED_OWNERS_MAX: usize = 20;
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
const UNKNOWN_FINALIZER: &str = "name is neither a standard finalizer name nor is it fully qualified";
const METADATA: Path = Path::new("metadata");

/// Makes a new object of what a client sent, as far as that takes neither time nor randomness.
pub fn prepare_create(kind: &Kind, value: &mut Value) {
    let strategy = strategy(kind);
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        remove(&mut value["metadata"], field);
    }
    if let Some(status) = new_status(kind, strategy) {
        match status() {
            Value::Null => remove(value, "status"),
            status => set(value, "status", status),
        }
    }
    if strategy.generation.is_some() {
        set(&mut value["metadata"], "generation", 1);
    }
    (strategy.prepare_create)(value);
}

/// Leaves of an update what it may change, and counts generations.
pub fn prepare_update(kind: &Kind, new: &mut Value, old: &Value) {
    let strategy = strategy(kind);
    keep_system_metadata(new, old);
    if new_status(kind, strategy).is_some() {
        keep(new, old, "status");
    }
    (strategy.prepare_update)(new, old);
    count_generation(strategy, new, old);
}

/// Leaves of an update through the status subresource what it may change.
pub fn prepare_status_update(kind: &Kind, new: &mut Value, old: &Value) {
    let strategy = strategy(kind);
    keep_system_metadata(new, old);
    let kept = |field: &String| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status");
    let fields =
        |value: &Value| -> Vec<String> { value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect() };
    for field in fields(new).iter().chain(&fields(old)).filter(|f| kept(f)) {
        keep(new, old, field);
    }
    if strategy.status_keeps == ALL_METADATA {
        let mut metadata = old["metadata"].clone();
        keep(&mut metadata, &new["metadata"], "managedFields");
        new["metadata"] = metadata;
    } else {
        strategy.status_keeps.iter().for_each(|field| keep(&mut new["metadata"], &old["metadata"], field));
    }
    (strategy.prepare_status)(new, old);
}

/// Leaves of an update through another subresource what it may change. `false` if the kind has no such subresource.
pub fn prepare_subresource_update(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) -> bool {
    let Some(change) = change(kind, subresource) else { return false };
    keep_system_metadata(new, old);
    (change.prepare)(new, old);
    count_generation(strategy(kind), new, old);
    true
}

/// Whether objects of a kind say who manages their fields. As recorded, signing requests do not.
pub fn has_managers(kind: &Kind) -> bool {
    kind.group != "certificates.k8s.io"
}

/// The fields that a write through a subresource, empty for the object itself, does not change whatever it holds.
pub fn reset_fields(kind: &Kind, subresource: &str) -> Cow<'static, FieldSet> {
    static OF_OBJECT: OnceLock<FieldSet> = OnceLock::new();
    static OF_STATUS: OnceLock<FieldSet> = OnceLock::new();
    let without_status = || OF_OBJECT.get_or_init(|| FieldSet::of_fields(&[&["status"]]));
    match subresource {
        "status" => match strategy(kind).status_keeps {
            ALL_METADATA => Cow::Owned(FieldSet::of_fields(&[&["metadata"], &["spec"]])),
            [] => Cow::Borrowed(OF_STATUS.get_or_init(|| FieldSet::of_fields(&[&["spec"]]))),
            kept => {
                let kept: Vec<[&str; 2]> = kept.iter().map(|field| ["metadata", field]).collect();
                let paths: Vec<&[&str]> = kept.iter().map(|path| &path[..]).chain([&["spec"][..]]).collect();
                Cow::Owned(FieldSet::of_fields(&paths))
            }
        },
        "approval" => Cow::Owned(FieldSet::of_fields(&[&["spec"], &["status", "certificate"]])),
        _ if kind.subresource("status").is_some() => Cow::Borrowed(without_status()),
        _ => Cow::Owned(FieldSet::default()),
    }
}

/// Writes the times that the server itself notes when an update, through any subresource, changed something: after
/// `prepare_…`, before validation.
pub fn stamp(kind: &Kind, new: &mut Value, old: &Value, now: Timestamp) {
    (strategy(kind).stamp)(new, old, now);
}

/// What is wrong with a new object.
pub fn validate_create(kind: &Kind, value: &Value) -> Vec<Cause> {
    let strategy = strategy(kind);
    Causes::of(|causes| {
        as_new(kind, strategy, value, causes);
        causes.extend((strategy.validate_create)(value));
    })
}

/// What is wrong with an update.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let strategy = strategy(kind);
    Causes::of(|causes| {
        common_update(kind, strategy, new, old, causes);
        match strategy.update_revalidates {
            Revalidation::Nothing => {}
            Revalidation::Content => causes.extend((strategy.validate)(new)),
            Revalidation::Everything => as_new(kind, strategy, new, causes),
            Revalidation::Twice => {
                as_new(kind, strategy, new, causes);
                causes.extend((strategy.validate)(new));
            }
        }
        causes.extend((strategy.validate_update)(new, old));
    })
}

/// What is wrong with an update through the status subresource.
pub fn validate_status_update(kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let strategy = strategy(kind);
    Causes::of(|causes| {
        common_update(kind, strategy, new, old, causes);
        causes.extend((strategy.validate_status)(new, old));
    })
}

/// What is wrong with an update through another subresource.
pub fn validate_subresource_update(kind: &Kind, subresource: &str, new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        common_update(kind, strategy(kind), new, old, causes);
        causes.extend(change(kind, subresource).map(|c| (c.validate)(new, old)).unwrap_or_default());
    })
}

/// What is wrong with the metadata of an object, apart from changes to it.
pub(crate) fn object_meta_causes(meta: &Value, namespaced: bool, rule: NameRule) -> Vec<Cause> {
    Causes::of(|causes| {
        let at = METADATA;
        let generate = text(&meta["generateName"]);
        if !generate.is_empty() {
            causes.each_invalid(&at.child("generateName"), generate, by_rule(rule, generate, true));
        }
        match text(&meta["name"]) {
            "" => causes.required(&at.child("name"), "name or generateName is required"),
            name => causes.each_invalid(&at.child("name"), name, by_rule(rule, name, false)),
        }
        match text(&meta["namespace"]) {
            "" if namespaced => causes.required(&at.child("namespace"), ""),
            "" => {}
            namespace if namespaced => {
                causes.each_invalid(&at.child("namespace"), namespace, names::dns_label(namespace));
            }
            _ => causes.forbidden(&at.child("namespace"), "not allowed on this type"),
        }
        causes.not_negative(&at.child("generation"), &meta["generation"]);
        labels(&meta["labels"], &at.child("labels"), causes);
        annotations(&meta["annotations"], &at.child("annotations"), causes);
        owner_references(&meta["ownerReferences"], causes);
        finalizers(&meta["finalizers"], causes);
        managed_fields(&meta["managedFields"], causes);
    })
}

/// What is wrong with the change of an object's metadata.
fn object_meta_update_causes(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let at = METADATA;
        if !old["deletionTimestamp"].is_null() {
            let before: HashSet<&Value> = list(&old["finalizers"]).iter().collect();
            let added: Vec<&str> = list(&new["finalizers"]).iter().filter(|f| !before.contains(f)).map(text).collect();
            if !added.is_empty() {
                let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
                let added: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
                causes.forbidden(&at.child("finalizers"), &format!("{why} []string{{{}}}", added.join(", ")));
            }
        }
        if text(&new["resourceVersion"]).is_empty() {
            causes.invalid(&at.child("resourceVersion"), "", "must be specified for an update");
        }
        if int(&new["generation"]) < int(&old["generation"]) {
            causes.invalid(&at.child("generation"), &new["generation"], "must not be decremented");
        }
        for field in
            ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            if new[field] != old[field] && !(is_empty(&new[field]) && is_empty(&old[field])) {
                causes.immutable(&at.child(field), &new[field]);
            }
        }
        labels(&new["labels"], &at.child("labels"), causes);
        annotations(&new["annotations"], &at.child("annotations"), causes);
        owner_references(&new["ownerReferences"], causes);
        managed_fields(&new["managedFields"], causes);
    })
}

/// Labels: keys and values.
pub(crate) fn labels(labels: &Value, at: &Path, causes: &mut Causes) {
    for (key, value) in members(labels) {
        causes.each_invalid(at, key, names::label_key(key));
        causes.each_invalid(at, text(value), names::label_value(text(value)));
    }
}

/// Annotations: keys, and the weight of all.
pub(crate) fn annotations(annotations: &Value, at: &Path, causes: &mut Causes) {
    let mut bytes = 0;
    for (key, value) in members(annotations) {
        causes.each_invalid(at, key, names::qualified_name(&key.to_lowercase()));
        bytes += key.len() + text(value).len();
    }
    if bytes > ANNOTATION_BYTES_MAX {
        causes.too_long(at, ANNOTATION_BYTES_MAX);
    }
}

/// Whether anything but metadata and status differs: generations of kinds whose content is not a spec.
pub(crate) fn content_changed(new: &Value, old: &Value) -> bool {
    let is_content = |(field, _): &(&str, &Value)| !matches!(*field, "metadata" | "status" | "apiVersion" | "kind");
    let content = |value| members(value).filter(is_content);
    content(new).count() != content(old).count() || content(new).any(|(field, value)| old.get(field) != Some(value))
}

/// Whether the spec differs.
pub(crate) fn spec_changed(new: &Value, old: &Value) -> bool {
    new["spec"] != old["spec"]
}

fn count_generation(strategy: &Strategy, new: &mut Value, old: &Value) {
    if strategy.generation.is_some_and(|changed| changed(new, old)) {
        let generation = int(&old["metadata"]["generation"]).unwrap_or(0);
        set(&mut new["metadata"], "generation", generation.saturating_add(1));
    }
}

fn change(kind: &Kind, subresource: &str) -> Option<&'static Change> {
    strategy(kind).subresources.iter().find(|(name, _)| *name == subresource).map(|(_, change)| change)
}

fn new_status(kind: &Kind, strategy: &Strategy) -> Option<fn() -> Value> {
    strategy.new_status.filter(|_| kind.subresource("status").is_some())
}

/// What the system wrote into metadata stays, and comes back where a client left it out.
fn keep_system_metadata(new: &mut Value, old: &Value) {
    let (meta, old) = (&mut new["metadata"], &old["metadata"]);
    remove(meta, "selfLink");
    keep(meta, old, "generation");
    if !is_empty(&old["creationTimestamp"]) {
        keep(meta, old, "creationTimestamp");
    }
    for field in ["uid", "creationTimestamp", "deletionGracePeriodSeconds"] {
        if is_empty(&meta[field]) {
            keep(meta, old, field);
        }
    }
    if !old["deletionTimestamp"].is_null() {
        keep(meta, old, "deletionTimestamp");
    }
}

fn as_new(kind: &Kind, strategy: &Strategy, value: &Value, causes: &mut Causes) {
    causes.extend(object_meta_causes(&value["metadata"], kind.namespaced(), strategy.name_rule));
    known_finalizers(strategy, value, causes);
    causes.extend((strategy.validate)(value));
}

/// What upstream checks of every update, and once more in the strategy's own check of metadata.
fn common_update(kind: &Kind, strategy: &Strategy, new: &Value, old: &Value, causes: &mut Causes) {
    causes.extend(object_meta_causes(&new["metadata"], kind.namespaced(), NameRule::PathSegment));
    causes.extend(object_meta_update_causes(&new["metadata"], &old["metadata"]));
    causes.extend(object_meta_update_causes(&new["metadata"], &old["metadata"]));
    known_finalizers(strategy, new, causes);
}

fn known_finalizers(strategy: &Strategy, value: &Value, causes: &mut Causes) {
    let at = METADATA.child("finalizers");
    for (i, finalizer) in
        list(&value["metadata"]["finalizers"]).iter().enumerate().filter(|_| strategy.known_finalizers)
    {
        if !text(finalizer).contains('/') && !STANDARD_FINALIZERS.contains(&text(finalizer)) {
            causes.invalid(&at.index(i), finalizer, UNKNOWN_FINALIZER);
        }
    }
}

/// What is wrong with the finalizers in a namespace's spec.
pub fn namespace_finalizer_causes(finalizers: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let spec = Path::new("spec");
        let at = spec.child("finalizers");
        for (i, finalizer) in list(finalizers).iter().enumerate() {
            causes.each_invalid(&at.index(i), text(finalizer), names::label_key(text(finalizer)));
            if !text(finalizer).contains('/') && !STANDARD_FINALIZERS.contains(&text(finalizer)) {
                causes.invalid(&at.index(i), finalizer, UNKNOWN_FINALIZER);
            }
        }
    })
}

/// Takes those owner references away that repeat an earlier one. Gives the warning about them.
pub fn dedup_owners(value: &mut Value) -> Option<String> {
    let owners = value.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let repeated = repeats(owners.iter().map(|owner| (text(&owner["uid"]).to_owned(), owner.to_string())));
    if repeated.is_empty() {
        return None;
    }
    let uids: Vec<String> = owners.iter().map(|owner| text(&owner["uid"]).to_owned()).collect();
    let mut at = 0;
    owners.retain(|_| {
        at += 1;
        !repeated.contains(&(at - 1))
    });
    let mut uids: Vec<&str> = repeated.iter().map(|i| uids[*i].as_str()).collect();
    uids.sort_unstable();
    uids.dedup();
    uids.truncate(WARNED_OWNERS_MAX);
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such \
         requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        uids.join(", ")
    ))
}

fn finalizers(finalizers: &Value, causes: &mut Causes) {
    let at = METADATA.child("finalizers");
    for finalizer in list(finalizers) {
        causes.each_invalid(&at, text(finalizer), names::label_key(text(finalizer)));
    }
    let has = |name: &str| list(finalizers).iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        causes.invalid(&at, finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn owner_references(owners: &Value, causes: &mut Causes) {
    let at = METADATA.child("ownerReferences");
    let mut controller = None;
    for owner in list(owners) {
        let (api_version, kind) = (text(&owner["apiVersion"]), text(&owner["kind"]));
        if api_version.is_empty() || api_version.ends_with('/') || api_version.matches('/').count() > 1 {
            causes.invalid(&at.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if is_empty(&owner[field]) {
                causes.invalid(&at.child(field), text(&owner[field]), "must not be empty");
            }
        }
        if (api_version, kind) == ("v1", "Event") {
            causes.invalid(&at, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if is_true(&owner["controller"]) {
            let name = format!("{kind}/{}", text(&owner["name"]));
            match &controller {
                // The words hold names that are as long as clients like.
                Some(_) if causes.is_full() => {}
                Some(first) => {
                    let why = "Only one reference can have Controller set to true. Found \"true\" in references for";
                    causes.invalid(&at, owners, &format!("{why} {first} and {name}"));
                }
                None => controller = Some(name),
            }
        }
    }
}

fn managed_fields(entries: &Value, causes: &mut Causes) {
    let at = METADATA.child("managedFields");
    for (i, entry) in list(entries).iter().enumerate() {
        let at = at.index(i);
        if !matches!(text(&entry["operation"]), "Apply" | "Update") {
            causes.invalid(&at.child("operation"), text(&entry["operation"]), "must be `Apply` or `Update`");
        }
        if !matches!(text(&entry["fieldsType"]), "" | "FieldsV1") {
            causes.invalid(&at.child("fieldsType"), &entry["fieldsType"], "must be `FieldsV1`");
        }
        let manager = text(&entry["manager"]);
        if manager.len() > MANAGER_BYTES_MAX {
            causes.too_long(&at.child("manager"), MANAGER_BYTES_MAX);
        }
        if manager.chars().any(char::is_control) {
            causes.invalid(&at.child("manager"), manager, "should only contain printable characters");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use crate::testing::check;
    use serde_json::json;

    fn kind(group: &str, plural: &str) -> &'static Kind {
        registry().find(group, "v1", plural).expect("a kind")
    }

    #[test]
    fn faults_of_metadata_name_their_field() {
        let meta = json!({
            "name": "A", "namespace": "n", "labels": {"a b": "c d"}, "annotations": {"x y": ""}, "finalizers": ["a/b/c"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod"}],
        });
        let causes = object_meta_causes(&meta, true, NameRule::DnsSubdomain);
        let expected = [
            "Invalid metadata.name",
            "Invalid metadata.labels",
            "Invalid metadata.labels",
            "Invalid metadata.annotations",
            "Invalid metadata.ownerReferences.name",
            "Invalid metadata.ownerReferences.uid",
            "Invalid metadata.finalizers",
        ];
        check(&causes, &expected);
        let cluster_scoped = object_meta_causes(&json!({"name": "a", "namespace": "n"}), false, NameRule::Any);
        check(&cluster_scoped, &["Forbidden metadata.namespace"]);
        let nameless = object_meta_causes(&json!({"generateName": "A_-"}), true, NameRule::DnsLabel);
        check(&nameless, &["Invalid metadata.generateName", "Required metadata.name", "Required metadata.namespace"]);
    }

    #[test]
    fn annotations_have_a_limit() {
        let meta = json!({"name": "a", "annotations": {"a": "x".repeat(ANNOTATION_BYTES_MAX)}});
        check(&object_meta_causes(&meta, false, NameRule::Any), &["TooLong metadata.annotations"]);
    }

    #[test]
    fn an_update_keeps_what_the_system_wrote() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3, "deletionTimestamp": "d"},
            "spec": {}, "status": {"phase": "x"}});
        let mut new =
            json!({"metadata": {"name": "a", "generation": 9, "selfLink": "s"}, "spec": {}, "status": {"phase": "y"}});
        prepare_update(kind("", "resourcequotas"), &mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn a_status_update_changes_the_status_and_metadata_alone() {
        let old = json!({"metadata": {"name": "a", "generation": 3}, "spec": {"a": 1}, "status": {"phase": "x"}});
        let mut new = json!({"metadata": {"name": "a", "labels": {"l": "m"}}, "spec": {"a": 2}, "data": 1, "status": {"phase": "y"}});
        prepare_status_update(kind("", "resourcequotas"), &mut new, &old);
        let expected = json!({"metadata": {"name": "a", "generation": 3, "labels": {"l": "m"}}, "spec": {"a": 1}, "status": {"phase": "y"}});
        assert_eq!(new, expected);
    }

    #[test]
    fn a_fault_in_an_update_appears_as_often_as_upstream_checks_it() {
        let meta = |label: &str| json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": "1", "labels": {"a": label}}});
        let causes = validate_update(kind("", "configmaps"), &meta("c d"), &meta("c"));
        check(&causes, &["Invalid metadata.labels"; 4]);
    }

    #[test]
    fn content_is_all_but_metadata_and_status() {
        let object = |data: Value, status: &str| json!({"apiVersion": "v1", "metadata": {"uid": status}, "data": data, "status": status});
        let old = object(json!({"a": 1}), "x");
        assert!(!content_changed(&object(json!({"a": 1}), "y"), &old));
        assert!(content_changed(&object(json!({"a": 2}), "x"), &old));
        let mut more = old.clone();
        more["rules"] = Value::Null;
        assert!(content_changed(&more, &old) && content_changed(&old, &more));
        let mut other = more.clone();
        remove(&mut other, "data");
        assert!(content_changed(&other, &old));
    }

    #[test]
    fn no_finalizer_comes_to_an_object_that_goes() {
        let meta = |finalizers: Value| json!({"name": "a", "resourceVersion": "1", "deletionTimestamp": "d", "finalizers": finalizers});
        let causes = object_meta_update_causes(&meta(json!(["a/b", "a/c"])), &meta(json!(["a/b"])));
        check(&causes, &["Forbidden metadata.finalizers"]);
        assert!(object_meta_update_causes(&meta(json!([])), &meta(json!(["a/b"]))).is_empty());
    }
}
