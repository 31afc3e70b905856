//! What a tenant may hold over all its namespaces, by `Tenant.spec.quota` and by the limits that the server has for everyone.
//!
//! The use of what is counted lies in the tenant's status, and every write charges the difference that it makes in its own
//! transaction, as with ResourceQuota. Objects and bytes are counted by the store for all tenants. So a tenant without a
//! quota costs one look at these two numbers, and one with a quota that names only them writes nothing more.

use super::{Admitted, Attempt};
use crate::registry::{Call, Part, class_of};
use api::{Error, Object, Reason, Result, Scope, TenantName};
use kinds::admission::quota::Write as What;
use kinds::admission::quota::tenant::{self, Held, Shift};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use store::{Change, Expect, Revise, Snapshot, Write};

/// The header's field with the quota, as JSON; empty for tenants without.
const QUOTA: &str = "spec.quota";

/// Charges a create, an update, or a delete (without `new`). The error is 403, or 429 for the limits of all.
pub fn charge(call: Call<'_>, part: Part, new: Option<&Value>, old: Option<&Value>) -> Result<Option<Write>> {
    let Some(name) = call.target.tenant().filter(|tenant| !tenant.is_system() && call.kind.scope != Scope::Cluster)
    else {
        return Ok(None);
    };
    let held = call.server.store.held(name);
    let limits = &call.server.limits;
    // Who takes something away, or says how it is, is let through.
    let adds = old.is_none() && new.is_some();
    if adds && (held.objects >= limits.tenant_objects || held.bytes >= limits.tenant_bytes) {
        let why =
            format!("tenant {name} holds as much as a tenant may: {} objects, {} bytes", held.objects, held.bytes);
        return Err(Error::new(Reason::Forbidden, why).with_details());
    }
    let Some(tenant) = call.server.tenant(name).filter(|tenant| !tenant.field(QUOTA).is_empty()) else {
        return Ok(None);
    };
    let subresource = match part {
        Part::Subresource(subresource) | Part::Own(subresource) => subresource,
        Part::Object | Part::Scale | Part::Status => "",
    };
    let what = What { group: call.kind.stored_as.group(), plural: call.kind.stored_as.resource(), subresource };
    let quota: Value = serde_json::from_str(tenant.field(QUOTA)).map_err(Error::internal)?;
    let of = if matches!(part, Part::Object | Part::Scale) { Shift::of } else { Shift::of_status };
    let shift = of(what, new, old);
    if !shift.concerns(&quota) {
        return Ok(None);
    }
    let held = Held { objects: held.objects + u64::from(adds), bytes: held.bytes };
    // Told now, with the object's name, where it is plain already.
    if let Err(why) = charged(&shift, name, &tenant.to_value()?, held) {
        let object = new.or(old).unwrap_or(&Value::Null);
        let shown = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Error::forbidden(&call.kind.group, &call.kind.plural, shown, &why));
    }
    let of = name.clone();
    let revise = Revise::metered(name.clone(), move |tenant, held| {
        let unreadable = |_| "its tenant cannot be read".to_owned();
        let mut value = tenant.to_value().map_err(unreadable)?;
        let held = Held { objects: held.objects, bytes: held.bytes };
        let Some(used) = charged(&shift, &of, &value, held)? else { return Ok(None) };
        value["status"]["used"] = Value::Object(used);
        let fields = kinds::Registry::selectable(&tenant.key.resource);
        Object::encode(tenant.key.clone(), &mut value, fields).map(Some).map_err(unreadable)
    });
    let (class, key) = (class_of(&tenant.key), tenant.key.clone());
    Ok(Some(Write { key, expect: Expect::Any, change: Change::Revise(revise), class }))
}

/// The plugin for creates and updates.
pub fn validate(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    // A binding or an eviction is sent to a pod and is none.
    if attempt.old.is_none() && matches!(attempt.part, Part::Own(_)) {
        return Ok(());
    }
    admitted.writes.extend(charge(attempt.call, attempt.part, Some(new), attempt.old)?);
    Ok(())
}

fn charged(shift: &Shift, name: &TenantName, tenant: &Value, held: Held) -> Result<Option<Map<String, Value>>, String> {
    shift.charge(name.as_str(), &tenant["spec"]["quota"], &tenant["status"]["used"], held)
}

/// A quota counts from what is there: its first use, and that of names that it did not have before.
pub fn count(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    let writes = attempt.creates("", "tenants") || attempt.updates("", "tenants");
    let quota = |tenant: &Value| tenant["spec"]["quota"].clone();
    if !writes || attempt.old.map(quota) == Some(quota(new)) {
        return Ok(());
    }
    let Ok(name) = TenantName::new(new["metadata"]["name"].as_str().unwrap_or_default()) else { return Ok(()) };
    if new["status"].is_object() {
        let held = attempt.call.server.store.held(&name);
        new["status"]["used"] = Value::Object(use_of(&attempt.call.server.store.snapshot(), &name, &quota(new), held)?);
    }
    Ok(())
}

/// What a tenant uses of what a quota names, from its objects themselves, and what it holds.
pub fn use_of(snapshot: &Snapshot, name: &TenantName, quota: &Value, held: store::Held) -> Result<Map<String, Value>> {
    let names: BTreeMap<&str, ()> =
        quota.as_object().into_iter().flatten().map(|(name, _)| (name.as_str(), ())).collect();
    let mut used = BTreeMap::new();
    if names.keys().any(|name| !matches!(*name, "objects" | "bytes")) {
        for object in snapshot.tenant_keys(name) {
            let what =
                What { group: object.key.resource.group(), plural: object.key.resource.resource(), subresource: "" };
            if !tenant::matters(what, names.keys().copied()) {
                continue;
            }
            for (resource, amount) in tenant::used(what, &object.to_value()?) {
                if names.contains_key(resource.as_str()) {
                    let sum = used.entry(resource).or_insert(api::Quantity::ZERO);
                    *sum = sum.plus(amount);
                }
            }
        }
    }
    let mut used: Map<String, Value> = used.into_iter().map(|(name, sum)| (name, json!(sum.to_string()))).collect();
    for name in names.into_keys() {
        used.entry(name).or_insert_with(|| json!("0"));
    }
    used.insert("objects".to_owned(), json!(held.objects.to_string()));
    used.insert("bytes".to_owned(), json!(held.bytes.to_string()));
    Ok(used)
}
