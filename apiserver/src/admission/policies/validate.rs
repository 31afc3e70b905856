//! ValidatingAdmissionPolicy: what policies refuse, warn of, or let pass.

use super::compile::{Binding, Policy, Rules, Validation};
use super::run::{Asked, Purse, resulted, with_variables};
use crate::admission::{Admitted, Attempt};
use api::{Cause, Error, Reason, Result};
use cel::{Bindings, Value as CelValue};
use serde_json::Value;

const MESSAGE_BYTES_MAX: usize = 5 << 10;

/// A refusal: what is said, and why.
struct Denial {
    message: String,
    reason: String,
}

/// Asks the policies of a tenant about an object or its change.
pub fn validate(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    ask(attempt, Some(new), admitted)
}

/// Asks the policies of a tenant about a delete.
pub fn validate_delete(attempt: Attempt<'_>, _: &Value) -> Result<()> {
    ask(attempt, None, &mut Admitted::default())
}

fn ask(attempt: Attempt<'_>, new: Option<&Value>, admitted: &mut Admitted) -> Result<()> {
    let Some(policies) = super::of_attempt(attempt)? else {
        return Ok(());
    };
    let mut asked = None;
    for policy in &policies.validating {
        let matched = policy.matching.matches(attempt, new);
        if matched == Ok(false) {
            continue;
        }
        let asked = asked.get_or_insert_with(|| Asked::new(attempt, new));
        let misconfigured = matched.err().or_else(|| asked.misconfigured(policy));
        if let Some(why) = misconfigured {
            if policy.fails {
                let denied = Denial { message: format!("failed to configure policy: {why}"), reason: String::new() };
                return Err(refusal(attempt, new, &told(policy, None, &denied.message), &denied));
            }
            continue;
        }
        for binding in &policy.bindings {
            one_binding(asked, policy, binding, new, admitted)?;
        }
    }
    Ok(())
}

fn one_binding(
    asked: &Asked<'_>,
    policy: &Policy,
    binding: &Binding,
    new: Option<&Value>,
    admitted: &mut Admitted,
) -> Result<()> {
    let attempt = asked.attempt;
    let matched = binding.matching.as_ref().map_or(Ok(true), |matching| matching.matches(attempt, new));
    let params = match matched {
        Ok(false) => return Ok(()),
        Ok(true) => asked.params(policy, binding),
        Err(why) => Err(why),
    };
    let params = match params {
        Ok(params) => params,
        Err(_) if !policy.fails => return Ok(()),
        Err(why) => {
            let denied = Denial { message: format!("failed to configure binding: {why}"), reason: String::new() };
            return Err(refusal(attempt, new, &told(policy, Some(binding), &denied.message), &denied));
        }
    };
    for params in &params {
        for denied in evaluate(asked, policy, new, params) {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => {
                        return Err(refusal(attempt, new, &told(policy, Some(binding), &denied.message), &denied));
                    }
                    "Warn" => admitted.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, denied.message
                    )),
                    _ => tracing::info!(policy = policy.name, binding = binding.name, why = denied.message, "audit"),
                }
            }
        }
    }
    Ok(())
}

fn told(policy: &Policy, binding: Option<&Binding>, message: &str) -> String {
    let with = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
    format!("ValidatingAdmissionPolicy '{}'{with} denied request: {message}", policy.name)
}

fn refusal(attempt: Attempt<'_>, new: Option<&Value>, message: &str, denied: &Denial) -> Error {
    let object = new.or(attempt.old).unwrap_or(&Value::Null);
    let reason = match denied.reason.as_str() {
        "Unauthorized" => Reason::Unauthorized,
        "Forbidden" => Reason::Forbidden,
        "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
        _ => Reason::Invalid,
    };
    let cause = Cause { reason: String::new(), message: message.to_owned(), field: String::new() };
    attempt.forbidden(object, message).with_reason(reason).with_causes(vec![cause])
}

/// What a policy finds wrong with a write.
fn evaluate(asked: &Asked<'_>, policy: &Policy, new: Option<&Value>, params: &Value) -> Vec<Denial> {
    let failed = |message: String| {
        if policy.fails { vec![Denial { message, reason: String::new() }] } else { Vec::new() }
    };
    match asked.conditions_hold(&policy.conditions, new, params) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return failed(why),
    }
    let Rules::Validating { validations, annotations } = &policy.rules else { return Vec::new() };
    let bindings = with_variables(policy, &asked.base(new, params));
    let mut purse = Purse::of_policy();
    let mut found = Vec::new();
    for validation in validations {
        match purse.evaluate(&validation.program, &bindings) {
            Ok(CelValue::Bool(true)) => {}
            Ok(_) => {
                let message = message(validation, &mut purse, &bindings);
                found.push(Denial { message, reason: validation.reason.clone() });
            }
            Err(fault) => found.extend(failed(resulted(&validation.source, &fault))),
        }
    }
    for (key, program) in annotations {
        match purse.evaluate(program, &bindings) {
            Ok(CelValue::String(text)) => {
                tracing::info!(policy = policy.name, key, value = &*text, "audit annotation");
            }
            Ok(_) => {}
            Err(fault) => found.extend(failed(resulted(key, &fault))),
        }
    }
    found
}

/// What is said of an expression that is false: what its message expression makes, its message, or itself.
fn message(validation: &Validation, purse: &mut Purse, bindings: &Bindings<'_>) -> String {
    if let Some(program) = &validation.message_program
        && let Ok(CelValue::String(text)) = purse.evaluate(program, bindings)
    {
        let text = text.trim();
        if !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX {
            return text.to_owned();
        }
    }
    match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.source),
        message => message.to_owned(),
    }
}
