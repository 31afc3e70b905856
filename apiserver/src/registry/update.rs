//! Update: read, change, admit, validate, store with a precondition; again on a conflict that the client did not ask for.

use super::create::{class_of, commit_error, set_tenant};
use super::managers::{self, Changed, Managing};
use super::{Call, Live, Written, create};
use crate::admission::{self, Admitted, Attempt};
use crate::allocation;
use crate::options::{WriteOptions, parse_version};
use api::{Cause, Error, Object, Result};
use kinds::generic;
use serde_json::Value;
use std::sync::Arc;
use store::{Change, CommitError, Expect, Write};

/// How often an update without a precondition starts over when others write the same object.
const CONFLICT_TRIES: usize = 64;

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status, where the kind has a status subresource.
    Object,
    /// As `Object`: only the number of replicas was changed.
    Scale,
    Status,
    /// What the kind's strategy lets this subresource change.
    Subresource(&'static str),
    /// Nothing is left to the client: the caller made the change through this subresource, as a binding.
    Own(&'static str),
}

/// Updates the object `name` to what `change` makes of the current one. `change` may run several times.
/// A `metadata.resourceVersion` in its result is a precondition. What is likely a mistake is added to `warnings`.
pub async fn update(
    call: Call<'_>,
    name: &str,
    part: Part,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
    mut change: impl FnMut(Live<'_>) -> Result<Changed>,
) -> Result<Written> {
    let key = match call.key(name) {
        // What cannot be a name is told as for every other create.
        Err(_) if options.creates && part == Part::Object => {
            let Changed { value, managers } = change(Live { value: &Value::Null, managed: "" })?;
            return Box::pin(create(call, without_version(value), managers, options, warnings)).await;
        }
        key => key?,
    };
    for _ in 0..CONFLICT_TRIES {
        let stored = call.server.store.snapshot().get(&key).cloned();
        // What all tenants share becomes the tenant's own with its first change.
        let is_stored = stored.is_some();
        let Some(current) = stored.or_else(|| crate::shared::object(call.server, &key)) else {
            let strategy = kinds::strategy(call.kind);
            return match part {
                Part::Object if strategy.create_on_update || options.creates => {
                    let absent = Live { value: &Value::Null, managed: "" };
                    let Changed { value, managers } = change(absent)?;
                    Box::pin(create(call, without_version(value), managers, options, warnings)).await
                }
                Part::Object | Part::Scale | Part::Status | Part::Subresource(_) | Part::Own(_) => {
                    Err(call.not_found(name))
                }
            };
        };
        call.ready(std::slice::from_ref(&current)).await?;
        let (old, managed) = call.managed_view(&current)?;
        let live = Live { value: &old, managed };
        let changed = change(live)?;
        let (mut prepared, managing, admitted) = prepare(call, name, part, &current, options, live, changed).await?;
        let changes = prepared != old;
        if !changes && schema::managed::same_but_times(&managing.text, managed) {
            return Ok(Written::Stored { object: current, created: false });
        }
        if changes {
            generic::stamp(call.kind, &mut prepared, &old, call.now);
        }
        let mut told = match part {
            Part::Object | Part::Scale => (kinds::strategy(call.kind).warnings)(&prepared, Some(&old)),
            Part::Status | Part::Subresource(_) | Part::Own(_) => Vec::new(),
        };
        told.extend(admitted.warnings);
        if options.dry_run {
            warnings.extend(told);
            managers::show(&mut prepared, &managing.text);
            return Ok(Written::Unstored { value: prepared, created: false });
        }
        // What goes with this is last seen as it was before.
        let gone = is_finished(&prepared, &old).then(|| {
            let mut value = prepared.clone();
            managers::show(&mut value, &managing.text);
            value
        });
        let change = match gone {
            Some(_) => Change::DeleteAs((*current).clone()),
            None => Change::Put(call.encode(key.clone(), prepared, &managing.text).await?),
        };
        let expect = if is_stored { Expect::Revision(current.revision) } else { Expect::Absent };
        let write = Write { class: class_of(&key), key: key.clone(), expect, change };
        let mut writes = vec![write];
        if gone.is_some() {
            writes.extend(allocation::release(call, &old)?);
            writes.extend(admission::charge(call, Part::Object, None, Some(&old))?);
        } else {
            writes.extend(admitted.writes);
        }
        match call.commit(writes).await? {
            Ok(mut stored) => {
                warnings.extend(told);
                call.ready(&stored[..1]).await?;
                return Ok(match gone {
                    Some(value) => Written::Unstored { value, created: false },
                    None => Written::Stored { object: stored.remove(0), created: false },
                });
            }
            Err(CommitError::Refused(why)) => {
                return Err(Error::forbidden(&call.kind.group, &call.kind.plural, name, &why));
            }
            // Read again: either the client's own precondition fails now, or its change is made on the newer object.
            Err(CommitError::Stale { .. } | CommitError::Absent | CommitError::Exists(_)) => {}
            Err(other) => return Err(commit_error(other)),
        }
    }
    Err(conflict(call, name, MODIFIED))
}

fn conflict(call: Call<'_>, name: &str, why: &str) -> Error {
    Error::conflict(&call.kind.group, &call.kind.plural, name, why)
}

fn without_version(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    value
}

/// From what the client wants to what is stored: preconditions, immutable metadata, defaults, admission, validation.
async fn prepare(
    call: Call<'_>,
    name: &str,
    part: Part,
    current: &Arc<Object>,
    options: &WriteOptions,
    live: Live<'_>,
    changed: Changed,
) -> Result<(Value, Managing, Admitted)> {
    let kind = call.kind;
    let old = live.value;
    let Changed { value: mut new, managers } = changed;
    check_version(call, name, current, &new)?;
    keep_metadata(call, old, &mut new)?;
    call.default(&mut new);
    let repeated = generic::dedup_owners(&mut new);
    let managing = managers::of_update(call, options, managers::subresource(part), live, &mut new, managers);
    confine(kind, part, &mut new, old)?;
    let attempt = Attempt::update(call, part, options, old, (&managing.text, live.managed));
    let mutated = admission::mutate(attempt, &mut new).await?;
    if mutated.is_changed {
        confine(kind, part, &mut new, old)?;
    }
    let mut causes = managing.validated(&mut new, |new| match part {
        Part::Object | Part::Scale => generic::validate_update(kind, new, old),
        Part::Status => generic::validate_status_update(kind, new, old),
        Part::Subresource(subresource) => generic::validate_subresource_update(kind, subresource, new, old),
        Part::Own(_) => Vec::new(),
    });
    if let Some(custom) = call.custom {
        causes.extend(match part {
            Part::Object | Part::Scale => custom.version.validate_update(&new, old),
            Part::Status => custom.version.validate_status(&new, old),
            Part::Subresource(_) | Part::Own(_) => Vec::new(),
        });
    }
    if !causes.is_empty() {
        return Err(Error::invalid(kind.stored_as.group(), &kind.kind, name, causes));
    }
    let claims = if part == Part::Object { allocation::assign(call, &mut new, Some(old))? } else { Vec::new() };
    let mut admitted = admission::validate(attempt, Some(&new)).await?;
    admitted.warnings.splice(..0, mutated.warnings);
    admitted.warnings.extend(repeated);
    admitted.writes.extend(claims);
    Ok((new, managing, admitted))
}

/// Takes back what a write of a part may not change.
fn confine(kind: &api::Kind, part: Part, new: &mut Value, old: &Value) -> Result<()> {
    match part {
        Part::Object | Part::Scale => generic::prepare_update(kind, new, old),
        Part::Status => generic::prepare_status_update(kind, new, old),
        Part::Subresource(subresource) => {
            if !generic::prepare_subresource_update(kind, subresource, new, old) {
                return Err(Error::no_such_path());
            }
        }
        Part::Own(_) => {}
    }
    Ok(())
}

/// A uid in the body of a PUT is a precondition: the client means this incarnation and no other.
pub fn check_uid(call: Call<'_>, name: &str, current: &Value, sent: &Value) -> Result<()> {
    let wanted = sent["metadata"]["uid"].as_str().unwrap_or_default();
    let held = current["metadata"]["uid"].as_str().unwrap_or_default();
    if wanted.is_empty() || wanted == held {
        return Ok(());
    }
    let group = if call.custom.is_some() { call.kind.group.as_str() } else { "" };
    let place = [group, call.kind.plural.as_str(), call.namespace, name].into_iter().filter(|part| !part.is_empty());
    let key = place.collect::<Vec<_>>().join("/");
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {wanted}, UID in object meta: {held}"
    );
    Err(conflict(call, name, &why))
}

/// A resourceVersion in the body is a precondition, which some kinds demand.
fn check_version(call: Call<'_>, name: &str, current: &Object, new: &Value) -> Result<()> {
    let version = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    match parse_version(version).map_err(|_| invalid_version(call, name, version))? {
        None | Some(0) if call.custom.is_some() => {
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: "Invalid value: 0: must be specified for an update".into(),
                field: "metadata.resourceVersion".into(),
            };
            return Err(Error::invalid(&call.kind.group, &call.kind.plural, name, vec![cause]));
        }
        None | Some(0) if !kinds::strategy(call.kind).unconditional_update => {
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: "Invalid value: 0: must be specified for an update".into(),
                field: "metadata.resourceVersion".into(),
            };
            // Upstream names the resource here, not the kind.
            return Err(Error::invalid(call.kind.stored_as.group(), &call.kind.plural, name, vec![cause]));
        }
        None | Some(0) => {}
        Some(version) if version != current.revision => return Err(conflict(call, name, MODIFIED)),
        Some(_) => {}
    }
    Ok(())
}

fn invalid_version(call: Call<'_>, name: &str, version: &str) -> Error {
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"),
        field: "metadata.resourceVersion".into(),
    };
    Error::invalid(&call.kind.group, &call.kind.kind, name, vec![cause])
}

/// Fills in what a client may leave out, and the version that was checked. The kind's rules see to the rest.
fn keep_metadata(call: Call<'_>, old: &Value, new: &mut Value) -> Result<()> {
    let space = call.target.space(call.kind)?;
    let metadata = new["metadata"].as_object_mut().ok_or_else(|| Error::bad_request("metadata is missing"))?;
    set_tenant(metadata, &space)?;
    metadata.insert("resourceVersion".to_owned(), old["metadata"]["resourceVersion"].clone());
    for field in ["namespace", "name"] {
        let given = metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        if given.is_empty() && !old["metadata"][field].is_null() {
            metadata.insert(field.to_owned(), old["metadata"][field].clone());
        }
    }
    Ok(())
}

/// Whether the update took the last thing that kept a deleted object: it is removed in the same request (G16).
fn is_finished(new: &Value, old: &Value) -> bool {
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let metadata = &new["metadata"];
    let deleting = !metadata["deletionTimestamp"].is_null();
    let waits = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    let had = !empty(&old["metadata"]["finalizers"]) || !empty(&old["spec"]["finalizers"]);
    deleting && had && !waits && empty(&metadata["finalizers"]) && empty(&new["spec"]["finalizers"])
}
