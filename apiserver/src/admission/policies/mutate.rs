//! MutatingAdmissionPolicy: what policies change of an object before it is validated.

use super::compile::{Binding, Mutation, Policy, Rules};
use super::run::{Asked, Purse, resulted, with_variables};
use crate::admission::Attempt;
use api::{Cause, Error, Reason, Result};
use cel::Value as CelValue;
use schema::FieldValidation;
use schema::patch;
use serde_json::Value;

/// Lets the policies of a tenant change an object. Those that ask for it see it again if a later one changed it.
pub fn mutate(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    let Some(policies) = super::of_attempt(attempt)?.filter(|policies| !policies.mutating.is_empty()) else {
        return Ok(());
    };
    let before = new.clone();
    let mut seen = Vec::with_capacity(policies.mutating.len());
    for policy in &policies.mutating {
        apply(attempt, policy, new)?;
        seen.push(new.clone());
    }
    for (policy, seen) in policies.mutating.iter().zip(seen) {
        if policy.reinvoked && seen != *new {
            apply(attempt, policy, new)?;
        }
    }
    // Names and the like are not a policy's to change, nor is what was mutated to nonsense anybody's.
    if *new != before {
        attempt.call.server.default(attempt.call.kind, new);
    }
    Ok(())
}

fn apply(attempt: Attempt<'_>, policy: &Policy, new: &mut Value) -> Result<()> {
    let matched = policy.matching.matches(attempt, Some(new));
    if matched == Ok(false) {
        return Ok(());
    }
    let refuse = |binding: Option<&Binding>, new: &Value, why: &str| match policy.fails {
        true => Err(refusal(attempt, policy, binding, new, why)),
        false => Ok(()),
    };
    let asked = Asked::new(attempt, Some(new));
    if let Some(why) = matched.err().or_else(|| asked.misconfigured(policy)) {
        return refuse(None, new, &format!("failed to configure policy: {why}"));
    }
    let Rules::Mutating(mutations) = &policy.rules else { return Ok(()) };
    for binding in &policy.bindings {
        let matched = binding.matching.as_ref().map_or(Ok(true), |matching| matching.matches(attempt, Some(new)));
        let params = match matched {
            Ok(false) => continue,
            Ok(true) => asked.params(policy, binding),
            Err(why) => Err(why),
        };
        let params = match params {
            Ok(params) => params,
            Err(why) => {
                refuse(Some(binding), new, &format!("failed to configure binding: {why}"))?;
                continue;
            }
        };
        for params in &params {
            match asked.conditions_hold(&policy.conditions, Some(new), params) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    refuse(Some(binding), new, &why)?;
                    continue;
                }
            }
            let mut purse = Purse::of_policy();
            for mutation in mutations {
                match one(&asked, policy, mutation, new, params, &mut purse) {
                    Ok(changed) => *new = changed,
                    Err(why) => {
                        refuse(Some(binding), new, &why)?;
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}

fn refusal(attempt: Attempt<'_>, policy: &Policy, binding: Option<&Binding>, new: &Value, why: &str) -> Error {
    let with = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
    let message = format!("policy '{}'{with} denied request: {why}", policy.name);
    let kind = attempt.call.kind;
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let cause = Cause { reason: String::new(), message: message.clone(), field: String::new() };
    Error::new(Reason::Invalid, message).about(&kind.group, &kind.plural, name).with_causes(vec![cause]).with_code(403)
}

/// What one mutation makes of an object.
fn one(
    asked: &Asked<'_>,
    policy: &Policy,
    mutation: &Mutation,
    new: &Value,
    params: &Value,
    purse: &mut Purse,
) -> std::result::Result<Value, String> {
    let bindings = with_variables(policy, &asked.base(Some(new), params));
    let found = purse.evaluate(&mutation.program, &bindings);
    let found = found.map_err(|fault| resulted(&mutation.source, &fault))?;
    if mutation.is_json_patch {
        let operations = found.to_json().map_err(|fault| resulted(&mutation.source, &fault))?;
        let bytes = operations.to_string().into_bytes();
        let (operations, _) = patch::decode_json(&bytes, FieldValidation::Ignore)
            .map_err(|error| format!("JSON Patch: {}", error.message()))?;
        let changed = patch::json(new.clone(), &operations);
        return changed.map_err(|error| format!("JSON Patch: {}", error.message()));
    }
    places(&found, "Object")?;
    let applied = found.to_json().map_err(|fault| resulted(&mutation.source, &fault))?;
    for field in ["apiVersion", "kind", "metadata"] {
        let object = &applied[field];
        let forbidden = match field {
            "metadata" => ["name", "namespace", "uid", "generateName"].into_iter().find(|f| !object[*f].is_null()),
            _ => (!object.is_null()).then_some(field),
        };
        if let Some(name) = forbidden {
            return Err(format!("ApplyConfiguration may not set {name}"));
        }
    }
    let kind = asked.attempt.call.kind;
    let definitions = schema::builtin();
    match definitions.of_kind(&kind.group, &kind.version, &kind.kind) {
        Some(definition) => patch::strategic(definitions, definition, new.clone(), &applied)
            .map_err(|error| format!("error applying patch: {}", error.message())),
        None => Ok(patch::merge(new.clone(), &applied)),
    }
}

/// Objects within an object are named by where they are: `Object.spec.template`.
fn places(value: &CelValue<'_>, path: &str) -> std::result::Result<(), String> {
    match value {
        CelValue::Object(made) => {
            if *made.name != *path {
                return Err(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    &*made.name
                ));
            }
            made.fields.iter().try_for_each(|(name, value)| places(value, &format!("{path}.{name}")))
        }
        CelValue::List(cel::List::Made(items)) => items.iter().try_for_each(|item| places(item, path)),
        CelValue::Optional(Some(value)) => places(value, path),
        _ => Ok(()),
    }
}
