//! Create: complete, admit, validate, store.

use super::{Call, Managers, Written, managers};
use crate::admission::{self, Attempt};
use crate::allocation;
use crate::options::WriteOptions;
use api::{Error, Result};
use rand::RngExt;
use serde_json::{Map, Value, json};
use store::{Change, Class, CommitError, Expect, Write};

/// How often a generated name, or an address or port that was free, may be taken by others before the create fails.
const TRIES: usize = 8;

/// Letters and digits of generated names: none that form words or are mistaken for another.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const NAME_SUFFIX_LENGTH: usize = 5;

/// The random end of a generated name.
pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..NAME_SUFFIX_LENGTH).map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())])).collect()
}

/// Creates an object from a value that conforms to its kind's schema.
/// What is likely a mistake is added to `warnings`.
pub async fn create(
    call: Call<'_>,
    value: Value,
    managers: Managers,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Written> {
    let base = value["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    let generated = value["metadata"]["name"].as_str().unwrap_or_default().is_empty() && !base.is_empty();
    let allocates = allocation::applies(call);
    if !generated && !allocates {
        return create_named(call, value, managers, options, warnings).await;
    }
    let mut last = None;
    for _ in 0..TRIES {
        let mut named = value.clone();
        if generated {
            named["metadata"]["name"] = json!(generated_name(&base));
        }
        match create_named(call, named, managers.clone(), options, warnings).await {
            Err(error) if generated && error.is_already_exists() => last = Some(error.retry_after(1)),
            // Another object was faster to claim what this one was to get.
            Err(error) if allocates && error.is_conflict() => last = Some(error),
            other => return other,
        }
    }
    Err(last.expect("at least one try was made"))
}

/// The base, cut so that the suffix fits into a name of 63 bytes, and the suffix.
fn generated_name(base: &str) -> String {
    let room = 63 - NAME_SUFFIX_LENGTH;
    let end = (0..=room.min(base.len())).rev().find(|&i| base.is_char_boundary(i)).unwrap_or(0);
    format!("{}{}", &base[..end], random_suffix())
}

async fn create_named(
    call: Call<'_>,
    mut value: Value,
    managers: Managers,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Written> {
    let kind = call.kind;
    complete_metadata(call, &mut value)?;
    call.default(&mut value);
    let repeated = kinds::generic::dedup_owners(&mut value);
    let managing = managers::of_new(call, options, &mut value, managers);
    let attempt = Attempt::create(call, options, &managing.text);
    let mutated = admission::mutate(attempt, &mut value).await?;
    kinds::generic::prepare_create(kind, &mut value);
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    crate::custom::admit_definition(call)?;
    let causes = managing.validated(&mut value, |value| {
        let mut causes = kinds::generic::validate_create(kind, value);
        causes.extend(call.custom.iter().flat_map(|custom| custom.version.validate_create(value)));
        causes
    });
    if !causes.is_empty() {
        return Err(Error::invalid(kind.stored_as.group(), &kind.kind, &name, causes));
    }
    let claims = allocation::assign(call, &mut value, None)?;
    let admitted = admission::validate(attempt, Some(&value)).await?;
    let mut told = (kinds::strategy(kind).warnings)(&value, None);
    told.extend(mutated.warnings);
    told.extend(admitted.warnings);
    told.extend(repeated);
    let key = call.key(&name)?;
    let exists = |deleting: bool| {
        let error = Error::already_exists(&kind.group, &kind.plural, &name);
        if deleting { error.with_prefix("object is being deleted: ") } else { error }
    };
    if crate::shared::object(call.server, &key).is_some() {
        return Err(exists(false));
    }
    if options.dry_run {
        return match call.server.store.snapshot().get(&key) {
            Some(present) => Err(exists(present.header.deleting)),
            None => {
                warnings.extend(told);
                managers::show(&mut value, &managing.text);
                Ok(Written::Unstored { value, created: true })
            }
        };
    }
    let object = call.encode(key.clone(), value, &managing.text).await?;
    let write = Write { class: class_of(&key), key: key.clone(), expect: Expect::Absent, change: Change::Put(object) };
    let mut writes = vec![write];
    writes.extend(claims);
    writes.extend(admitted.writes);
    writes.extend(admission::guard(call, class_of(&key))?);
    match call.commit(writes).await? {
        Ok(mut stored) => {
            warnings.extend(told);
            call.ready(&stored[..1]).await?;
            Ok(Written::Stored { object: stored.remove(0), created: true })
        }
        // Admission says in its own words what has happened meanwhile.
        Err(error) if admission::is_gone(&error) => {
            admission::place_is_there(attempt, &name)?;
            Err(Error::conflict(&kind.group, &kind.plural, &name, "what it is created in came and went meanwhile"))
        }
        Err(CommitError::Refused(why)) => Err(Error::forbidden(&kind.group, &kind.plural, &name, &why)),
        Err(CommitError::Exists(present)) if present.key == key => Err(exists(present.header.deleting)),
        Err(CommitError::Exists(taken)) => {
            let why = format!("{} {:?} was taken meanwhile", taken.key.resource, taken.key.name);
            Err(Error::conflict(&kind.group, &kind.plural, &name, &why))
        }
        // Only admission's own writes go with a create and say what they have seen.
        Err(CommitError::Stale { .. }) => {
            let why = "what it depends on has changed meanwhile, please try again";
            Err(Error::conflict(&kind.group, &kind.plural, &name, why))
        }
        Err(other) => Err(commit_error(other)),
    }
}

/// Sets what the server alone decides: uid, creation time, tenant and namespace.
fn complete_metadata(call: Call<'_>, value: &mut Value) -> Result<()> {
    let kind = call.kind;
    if !value["metadata"].is_object() {
        value["metadata"] = Value::Object(Map::new());
    }
    let space = call.target.space(kind)?;
    let metadata = value["metadata"].as_object_mut().expect("set above");
    let given = |metadata: &Map<String, Value>, field: &str| {
        metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if given(metadata, "resourceVersion").is_some() {
        return Err(Error::bad_request("resourceVersion should not be set on objects to be created"));
    }
    match given(metadata, "namespace") {
        Some(namespace) if kind.namespaced() && namespace != call.namespace => return Err(namespace_mismatch()),
        _ if kind.namespaced() => drop(metadata.insert("namespace".into(), json!(call.namespace))),
        _ => drop(metadata.remove("namespace")),
    }
    set_tenant(metadata, &space)?;
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".into(), json!(call.now.to_string()));
    Ok(())
}

fn namespace_mismatch() -> Error {
    Error::bad_request("the namespace of the provided object does not match the namespace sent on the request")
}

/// Fills `metadata.tenant` from the target; another value given by the client is refused.
pub fn set_tenant(metadata: &mut Map<String, Value>, space: &api::Space) -> Result<()> {
    match space {
        api::Space::Cluster => drop(metadata.remove("tenant")),
        api::Space::Tenant(tenant) => {
            let given = metadata.get("tenant").and_then(Value::as_str).unwrap_or_default();
            if !given.is_empty() && given != tenant.as_str() {
                return Err(Error::bad_request(
                    "the tenant of the provided object does not match the tenant sent on the request",
                ));
            }
            metadata.insert("tenant".into(), json!(tenant.as_str()));
        }
    }
    Ok(())
}

/// The namespace of the leases that nodes renew.
const NODE_LEASES: &str = "kube-node-lease";

/// Events and the leases of nodes are acknowledged before their sync (D6); everything else after.
pub fn class_of(key: &api::ObjectKey) -> Class {
    match (key.resource.group(), key.resource.resource()) {
        ("", "events") => Class::Relaxed,
        ("coordination.k8s.io", "leases") if *key.namespace == *NODE_LEASES => Class::Relaxed,
        _ => Class::Durable,
    }
}

/// What the store refused beyond preconditions.
pub fn commit_error(error: CommitError) -> Error {
    match error {
        CommitError::Full => {
            Error::new(api::Reason::TooManyRequests, "too many writes are waiting, please try again later")
                .retry_after(1)
        }
        CommitError::NoRoom(why) | CommitError::Unavailable(why) => Error::new(api::Reason::ServiceUnavailable, why),
        CommitError::Moving => Error::new(api::Reason::ServiceUnavailable, error.to_string()).retry_after(1),
        CommitError::TooLarge(why) => Error::new(api::Reason::RequestEntityTooLarge, why),
        CommitError::Stopped => Error::new(api::Reason::ServiceUnavailable, "the store has stopped accepting writes"),
        CommitError::Exists(_) | CommitError::Stale { .. } | CommitError::Absent | CommitError::Refused(_) => {
            Error::internal("a precondition of a write failed where its caller set none")
        }
    }
}
