//! Delete: at once, gracefully, or when the finalizers are gone (guarantees G16 to G19, G22).

use super::create::{class_of, commit_error};
use super::{Call, list};
use crate::admission::{self, Attempt};
use crate::allocation;
use crate::options::{ListOptions, Query, dry_run, parse_version};
use api::{Cause, Error, Object, Result, Revision};
use kinds::Deletion;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::{Change, CommitError, Expect, Write};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// How often a delete without a precondition starts over when others write the same object.
const CONFLICT_TRIES: usize = 64;

/// Kinds whose deletion answers with the object; the others answer with a `Status`.
const ANSWER_WITH_OBJECT: &[&str] = &[
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
    "deviceclasses",
    "resourceslices",
    "resourceclaims",
    "resourceclaimtemplates",
    "csidrivers",
    "csinodes",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
    "customresourcedefinitions",
];

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    grace_period_secs: Option<i64>,
    uid: Option<String>,
    resource_version: Option<Revision>,
    propagation: Option<Propagation>,
    /// The legacy field was given, as `false`: then 202 tells that the object stays for now.
    legacy_cascade: bool,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// The body wins; an empty one leaves the word to the query.
    pub fn parse(query: &Query, body: &Value) -> Result<DeleteOptions> {
        let body_given = body.as_object().is_some_and(|object| !object.is_empty());
        let field = |name: &str| if body_given { body[name].clone() } else { from_query(query, name) };
        let preconditions = &body["preconditions"];
        let policy = field("propagationPolicy");
        let orphan_dependents = field("orphanDependents").as_bool();
        let propagation = match policy.as_str() {
            None => orphan_dependents.map(|o| if o { Propagation::Orphan } else { Propagation::Background }),
            Some(_) if orphan_dependents.is_some() => {
                return Err(invalid(
                    "propagationPolicy",
                    "FieldValueInvalid",
                    format!("Invalid value: {policy}: orphanDependents and deletionPropagation cannot be both set"),
                ));
            }
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                return Err(invalid(
                    "propagationPolicy",
                    "FieldValueNotSupported",
                    format!(
                        "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                    ),
                ));
            }
        };
        let dry_runs = field("dryRun");
        let given = dry_runs.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(DeleteOptions {
            grace_period_secs: field("gracePeriodSeconds").as_i64(),
            uid: preconditions["uid"].as_str().map(str::to_owned),
            resource_version: parse_version(preconditions["resourceVersion"].as_str().unwrap_or_default())?,
            propagation,
            legacy_cascade: orphan_dependents == Some(false),
            dry_run: dry_run(given.chain(query.all("dryRun")))
                .map_err(|cause| Error::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]))?,
        })
    }
}

impl DeleteOptions {
    /// What a delete with these options is warned of.
    pub fn warnings(&self, kind: &api::Kind) -> Vec<String> {
        let warning = kinds::strategy(kind).warns_of_dependents.filter(|_| self.propagation.is_none());
        warning.into_iter().map(str::to_owned).collect()
    }

    /// Whether it is a version of the object that is to be deleted, and no other.
    pub fn has_version(&self) -> bool {
        self.resource_version.is_some()
    }

    /// The same for whatever version.
    pub fn without_version(self) -> DeleteOptions {
        DeleteOptions { resource_version: None, ..self }
    }

    /// The options as webhooks are told of them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions"});
        if let Some(secs) = self.grace_period_secs {
            value["gracePeriodSeconds"] = json!(secs);
        }
        if let Some(uid) = &self.uid {
            value["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = self.resource_version {
            value["preconditions"]["resourceVersion"] = json!(version.to_string());
        }
        if let Some(propagation) = self.propagation {
            value["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        value
    }
}

fn invalid(field: &str, reason: &str, message: String) -> Error {
    let cause = Cause { reason: reason.into(), message, field: field.into() };
    Error::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause])
}

fn from_query(query: &Query, name: &str) -> Value {
    match (name, query.get(name)) {
        (_, None) => Value::Null,
        ("gracePeriodSeconds", Some(text)) => text.parse::<i64>().map_or(Value::Null, Value::from),
        ("orphanDependents", Some(_)) => Value::from(query.flag(name)),
        (_, Some(text)) => Value::from(text),
    }
}

/// What a delete answers: a code and a body.
pub struct Deleted {
    pub code: u16,
    pub body: Value,
}

/// Deletes one object, or starts its deletion.
pub async fn delete(call: Call<'_>, name: &str, options: &DeleteOptions) -> Result<Deleted> {
    for _ in 0..CONFLICT_TRIES {
        let current = call.current(name)?;
        if call.server.store.snapshot().get(&current.key).is_none() {
            let why = crate::shared::cannot_be_deleted(call, name);
            return Err(Error::forbidden(&call.kind.group, &call.kind.plural, name, &why));
        }
        check_preconditions(call, name, &current, options)?;
        let old = current.to_value()?;
        call.ready(std::slice::from_ref(&current)).await?;
        let shown = if call.custom.is_some() { call.view(&current)? } else { old.clone() };
        admission::validate(Attempt::delete(call, options, &shown), None).await?;
        let step = next_step(call, &old, options);
        if options.dry_run {
            let (shown, removed) = match step {
                Step::Stay => (old, false),
                Step::Mark(value) => (value, false),
                Step::Remove(value) => (value, true),
            };
            return Ok(answer(call, name, &current, &shown, removed, options));
        }
        let (change, removed) = match step {
            Step::Stay => return Ok(answer(call, name, &current, &old, false, options)),
            Step::Remove(value) => (Change::DeleteAs(encode(&current, value)?), true),
            Step::Mark(value) => (Change::Put(encode(&current, value)?), false),
        };
        let key = current.key.clone();
        let write = Write { class: class_of(&key), key, expect: Expect::Revision(current.revision), change };
        let mut writes = vec![write];
        if removed {
            writes.extend(allocation::release(call, &old)?);
            writes.extend(crate::admission::charge(call, super::Part::Object, None, Some(&old))?);
        }
        match call.commit(writes).await? {
            Ok(stored) => {
                call.ready(&stored[..1]).await?;
                return Ok(answer(call, name, &stored[0], &stored[0].to_value()?, removed, options));
            }
            Err(CommitError::Stale { .. } | CommitError::Absent | CommitError::Exists(_)) => {}
            Err(other) => return Err(commit_error(other)),
        }
    }
    Err(Error::conflict(&call.kind.group, &call.kind.plural, name, "too many others write it"))
}

/// Deletes every object that a list selects, one by one, each by its own rules. Answers with the list.
pub async fn delete_collection(call: Call<'_>, selection: &ListOptions, options: &DeleteOptions) -> Result<Value> {
    let (objects, revision) = list::select(call, selection)?;
    call.ready(&objects).await?;
    let mut items = Vec::with_capacity(objects.len());
    for object in objects {
        let own = Call { namespace: &object.key.namespace, ..call };
        match delete(own, &object.key.name, options).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        items.push(list::item(call, call.view(&object)?));
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if call.custom.is_some() {
        metadata["continue"] = json!("");
    }
    Ok(json!({
        "kind": call.kind.list_kind, "apiVersion": call.kind.api_version(), "metadata": metadata, "items": items,
    }))
}

/// What a delete does to an object now.
enum Step {
    /// It is being deleted already and this delete changes nothing.
    Stay,
    Mark(Value),
    /// It goes now; this is its last state.
    Remove(Value),
}

fn encode(current: &Object, mut value: Value) -> Result<Object> {
    Object::encode(current.key.clone(), &mut value, kinds::Registry::selectable(&current.key.resource))
}

/// Decides the next step from the object and the options alone.
fn next_step(call: Call<'_>, old: &Value, options: &DeleteOptions) -> Step {
    let mut new = old.clone();
    let finalizers = finalizers_after(old, options.propagation, call.kind);
    set_finalizers(&mut new, &finalizers);
    let deleting = !old["metadata"]["deletionTimestamp"].is_null();
    if let Deletion::Begun(begin) = kinds::strategy(call.kind).deletion
        && !deleting
    {
        begin(&mut new, call.now);
        return Step::Mark(new);
    }
    let grace_secs = grace_secs(call, old, options.grace_period_secs);
    let phased = matches!(kinds::strategy(call.kind).deletion, Deletion::Phased);
    let in_spec = phased && old["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if finalizers.is_empty() && !in_spec && grace_secs == 0 {
        if matches!(kinds::strategy(call.kind).deletion, Deletion::Graceful(_)) {
            mark(&mut new, call, 0);
            count_generation(&mut new, old);
        }
        return Step::Remove(new);
    }
    if deleting {
        let left = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if grace_secs < left {
            mark(&mut new, call, grace_secs);
        }
    } else {
        mark(&mut new, call, grace_secs);
        count_generation(&mut new, old);
        if in_spec {
            new["status"]["phase"] = json!("Terminating");
        }
    }
    if new == *old { Step::Stay } else { Step::Mark(new) }
}

/// The start of a deletion counts as a change, once.
fn count_generation(new: &mut Value, old: &Value) {
    let counted = old["metadata"]["generation"].as_i64().filter(|&generation| generation > 0);
    if let Some(generation) = counted.filter(|_| old["metadata"]["deletionTimestamp"].is_null()) {
        new["metadata"]["generation"] = json!(generation + 1);
    }
}

fn mark(value: &mut Value, call: Call<'_>, grace_secs: i64) {
    let grace = Duration::from_secs(grace_secs.try_into().unwrap_or(0));
    value["metadata"]["deletionTimestamp"] = json!(call.now.plus(grace).to_string());
    // What goes in phases has no period.
    if !matches!(kinds::strategy(call.kind).deletion, Deletion::Phased) {
        value["metadata"]["deletionGracePeriodSeconds"] = json!(grace_secs);
    }
}

/// How long the object's owner gets to end it. Never longer than what is left of an earlier deletion.
fn grace_secs(call: Call<'_>, old: &Value, requested: Option<i64>) -> i64 {
    let wanted = match kinds::strategy(call.kind).deletion {
        Deletion::Graceful(secs) => secs(old, requested),
        Deletion::Immediate | Deletion::Phased | Deletion::Begun(_) => 0,
    };
    match old["metadata"]["deletionGracePeriodSeconds"].as_i64() {
        Some(left) if !old["metadata"]["deletionTimestamp"].is_null() => wanted.min(left),
        _ => wanted,
    }
}

/// The collector's two finalizers follow the policy of the latest delete; without one they stay.
fn finalizers_after(old: &Value, propagation: Option<Propagation>, kind: &api::Kind) -> Vec<String> {
    let present = old["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let present: Vec<String> = present.map(str::to_owned).collect();
    let default = kinds::strategy(kind).orphans_dependents.then_some(Propagation::Orphan);
    let untouched = present.iter().any(|f| f == ORPHAN || f == FOREGROUND);
    let Some(policy) = propagation.or(if untouched { None } else { default }) else { return present };
    let added = match policy {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let kept = present.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND);
    kept.chain(added.map(str::to_owned)).collect()
}

fn set_finalizers(value: &mut Value, finalizers: &[String]) {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), json!(finalizers));
        }
    }
}

/// Whether the object is the one that is to be deleted.
pub fn check_preconditions(call: Call<'_>, name: &str, current: &Object, options: &DeleteOptions) -> Result<()> {
    // Upstream names the kind here, in the group that it is stored in.
    let failed = |why: String| Err(Error::conflict(call.kind.stored_as.group(), &call.kind.kind, name, &why));
    if let Some(uid) = &options.uid
        && **uid != *current.header.uid()
    {
        let held = current.header.uid();
        return failed(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({held}). The object might have been \
             deleted and then recreated"
        ));
    }
    if let Some(version) = options.resource_version
        && version != current.revision
    {
        let held = current.revision;
        return failed(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({held}). \
             The object might have been modified"
        ));
    }
    Ok(())
}

fn answer(
    call: Call<'_>,
    name: &str,
    object: &Arc<Object>,
    shown: &Value,
    removed: bool,
    options: &DeleteOptions,
) -> Deleted {
    let stays = !removed;
    let code = if stays && options.legacy_cascade { 202 } else { 200 };
    let plural = &call.kind.plural;
    if stays || ANSWER_WITH_OBJECT.contains(&plural.as_str()) {
        let body = call.view(object).unwrap_or_else(|_| shown.clone());
        return Deleted { code, body: if options.dry_run { shown.clone() } else { body } };
    }
    let mut details = json!({"name": name, "kind": plural, "uid": object.header.uid()});
    if !call.kind.group.is_empty() {
        details["group"] = json!(call.kind.group);
    }
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Deleted { code, body }
}
