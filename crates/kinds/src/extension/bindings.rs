//! Where policies of admission hold, and with what parameters.

use super::{SPEC, rules};
use crate::Strategy;
use crate::causes::Causes;
use crate::generic::spec_changed;
use crate::names;
use crate::print::selector;
use crate::selectors::label_selector;
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{list, repeats, text};
use api::Timestamp;
use serde_json::{Value, json};

pub(crate) static MUTATING_POLICY_BINDINGS: Strategy = Strategy {
    defaults: |binding| {
        if let Some(matched) = binding.pointer_mut("/spec/matchResources").filter(|matched| matched.is_object()) {
            rules::match_defaults(matched, &["resourceRules", "excludeResourceRules"]);
        }
    },
    validate: |binding| Causes::of(|causes| validate(&binding["spec"], causes)),
    known_finalizers: false,
    generation: Some(spec_changed),
    unconditional_update: false,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

pub(crate) static VALIDATING_POLICY_BINDINGS: Strategy = Strategy {
    validate: |binding| {
        Causes::of(|causes| {
            validate(&binding["spec"], causes);
            actions(list(&binding["spec"]["validationActions"]), causes);
        })
    },
    ..MUTATING_POLICY_BINDINGS
};

const COLUMNS: &[Column] = &[
    NAME,
    explained("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    explained("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];

fn row(binding: &Value, now: Timestamp) -> Vec<Value> {
    let params = &binding["spec"]["paramRef"];
    let shown = match (text(&params["namespace"]), text(&params["name"])) {
        (_, "") if params["selector"].is_null() => json!("<unset>"),
        (_, "") => selector(&params["selector"]),
        ("", name) => json!(format!("*/{name}")),
        (namespace, name) => json!(format!("{namespace}/{name}")),
    };
    let name = binding["metadata"]["name"].clone();
    vec![name, json!(text(&binding["spec"]["policyName"])), shown, age(binding, now)]
}

fn validate(spec: &Value, causes: &mut Causes) {
    match text(&spec["policyName"]) {
        "" => causes.required(&SPEC.child("policyName"), ""),
        name => causes.each_invalid(&SPEC.child("policyName"), name, names::dns_subdomain(name)),
    }
    if spec["paramRef"].is_object() {
        parameters(&spec["paramRef"], causes);
    }
    if spec["matchResources"].is_object() {
        rules::resources(&spec["matchResources"], &SPEC.child("matchResources"), causes);
    }
}

/// The parameters' name or a selector of them, and what to do when there are none.
fn parameters(reference: &Value, causes: &mut Causes) {
    const BOTH: &str = "name and selector are mutually exclusive";
    let at = SPEC.child("paramRef");
    let (name, has_selector) = (text(&reference["name"]), !reference["selector"].is_null());
    if !name.is_empty() {
        causes.each_invalid(&at.child("name"), name, names::path_segment(name, false));
        if has_selector {
            causes.forbidden(&at.child("name"), BOTH);
        }
    }
    if has_selector {
        label_selector(&reference["selector"], &at.child("selector"), causes);
        if !name.is_empty() {
            causes.forbidden(&at.child("selector"), BOTH);
        }
    } else if name.is_empty() {
        causes.required(&at, "one of name or selector must be specified");
    }
    let action_at = at.child("parameterNotFoundAction");
    match text(&reference["parameterNotFoundAction"]) {
        "" => causes.required(&action_at, ""),
        _ => causes.one_of(&action_at, &reference["parameterNotFoundAction"], &["Deny", "Allow"]),
    }
}

fn actions(actions: &[Value], causes: &mut Causes) {
    let at = SPEC.child("validationActions");
    if actions.is_empty() {
        causes.required(&at, "at least one validation action is required");
    }
    let repeated = repeats(actions);
    for (i, action) in actions.iter().enumerate() {
        causes.one_of(&at.index(i), action, &["Audit", "Deny", "Warn"]);
        if repeated.contains(&i) {
            causes.duplicate(&at.index(i), action);
        }
    }
    let has = |action: &str| actions.iter().any(|other| other == action);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        causes.invalid(&at, actions, why);
    }
}
