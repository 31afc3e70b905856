//! Policies of admission that are expressions.

use super::{SPEC, kind_name, rules};
use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::conditions;
use crate::generic::spec_changed;
use crate::names;
use crate::table::{AGE, NAME, age, explained};
use crate::value::{default, is_empty, list, repeats, text};
use cel::policy::{Role, Scope};
use serde_json::{Value, json};

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 << 10;
const STATUS: Path = Path::new("status");

const SHARED: Strategy = Strategy {
    defaults,
    known_finalizers: false,
    generation: Some(spec_changed),
    unconditional_update: false,
    status_keeps: &["labels", "annotations", "finalizers", "ownerReferences"],
    ..Strategy::PLAIN
};

pub(crate) static VALIDATING_POLICIES: Strategy = Strategy {
    validate: |policy| {
        Causes::of(|causes| validate_validating(text(&policy["metadata"]["name"]), &policy["spec"], causes))
    },
    validate_status: |policy, _| {
        Causes::of(|causes| {
            conditions::conditions(&policy["status"]["conditions"], &STATUS.child("conditions"), causes);
        })
    },
    columns: &[
        NAME,
        explained("Validations", "Validations indicates the number of validation rules defined in this configuration")
            .integer(),
        explained("ParamKind", PARAM_KIND),
        AGE,
    ],
    row: |policy, now| {
        let count = list(&policy["spec"]["validations"]).len();
        vec![policy["metadata"]["name"].clone(), json!(count), param_kind(policy), age(policy, now)]
    },
    ..SHARED
};

pub(crate) static MUTATING_POLICIES: Strategy = Strategy {
    validate: |policy| Causes::of(|causes| validate_mutating(&policy["spec"], causes)),
    columns: &[
        NAME,
        explained("Mutations", "Mutation indicates the number of mutations rules defined in this configuration")
            .integer(),
        explained("ParamKind", PARAM_KIND),
        AGE,
    ],
    row: |policy, now| {
        let count = list(&policy["spec"]["mutations"]).len();
        vec![policy["metadata"]["name"].clone(), json!(count), param_kind(policy), age(policy, now)]
    },
    ..SHARED
};

const PARAM_KIND: &str = "ParamKind specifies the kind of resources used to parameterize this policy";

fn param_kind(policy: &Value) -> Value {
    match &policy["spec"]["paramKind"] {
        Value::Null => json!("<unset>"),
        kind => json!(format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"]))),
    }
}

fn defaults(policy: &mut Value) {
    if let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) {
        default(spec, "failurePolicy", "Fail");
        if spec["matchConstraints"].is_object() {
            rules::match_defaults(&mut spec["matchConstraints"], &["resourceRules", "excludeResourceRules"]);
        }
    }
}

/// What both kinds of policies have. Answers with what their other expressions may name.
fn shared(spec: &Value, causes: &mut Causes) -> Scope {
    let mut scope = Scope::of_policy(spec["paramKind"].is_object());
    if !spec["failurePolicy"].is_null() {
        causes.one_of(&SPEC.child("failurePolicy"), &spec["failurePolicy"], &["Fail", "Ignore"]);
    }
    let (params, at) = (&spec["paramKind"], SPEC.child("paramKind"));
    if params.is_object() {
        match text(&params["apiVersion"]) {
            "" => causes.required(&at.child("apiVersion"), ""),
            version if version.matches('/').count() > 1 => {
                let why = format!("unexpected GroupVersion string: {version}");
                causes.invalid(&at.child("apiVersion"), version, &why);
            }
            _ => {}
        }
        let kind = text(&params["kind"]);
        if kind.is_empty() {
            causes.required(&at.child("kind"), "");
        } else {
            kind_name(kind, &at.child("kind"), causes);
        }
    }
    let (matched, at) = (&spec["matchConstraints"], SPEC.child("matchConstraints"));
    if matched.is_null() {
        causes.required(&at, "");
    } else {
        rules::resources(matched, &at, causes);
        if is_empty(&matched["resourceRules"]) {
            causes.required(&at.child("resourceRules"), "");
        }
    }
    rules::conditions(&spec["matchConditions"], &scope, &SPEC.child("matchConditions"), causes);
    let at = SPEC.child("variables");
    for (i, variable) in list(&spec["variables"]).iter().enumerate() {
        let (at, name) = (at.index(i), text(&variable["name"]));
        if name.trim().is_empty() {
            causes.required(&at.child("name"), "name is not specified");
        } else if !names::c_identifier(name).is_empty() {
            causes.invalid(&at.child("name"), name, "must be a valid CEL identifier");
        }
        let (source, at) = (text(&variable["expression"]), at.child("expression"));
        if source.trim().is_empty() {
            causes.required(&at, "expression is not specified");
        } else if !causes.is_full()
            && let Err(why) = scope.declare(name, source)
        {
            causes.invalid(&at, source, &why);
        }
    }
    scope
}

fn validate_validating(name: &str, spec: &Value, causes: &mut Causes) {
    let scope = shared(spec, causes);
    let annotations = list(&spec["auditAnnotations"]);
    if is_empty(&spec["validations"]) && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        causes.required(&SPEC.child("validations"), why);
        return causes.required(&SPEC.child("auditAnnotations"), why);
    }
    let at = SPEC.child("validations");
    for (i, validation) in list(&spec["validations"]).iter().enumerate() {
        self::validation(validation, &scope, &at.index(i), causes);
    }
    let at = SPEC.child("auditAnnotations");
    if annotations.len() > ANNOTATIONS_MAX {
        causes.invalid(&at, annotations, &format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations"));
    }
    let repeated = repeats(annotations.iter().map(|annotation| text(&annotation["key"])));
    for (i, annotation) in annotations.iter().enumerate() {
        let (at, key) = (at.index(i), text(&annotation["key"]));
        if key.is_empty() {
            causes.required(&at.child("key"), "key is not specified");
        } else {
            let full = format!("{name}/{key}");
            causes.each_invalid(&at.child("key"), &full, names::qualified_name(&full));
        }
        let value_at = at.child("valueExpression");
        let (value, absent) = (&annotation["valueExpression"], "valueExpression is not specified");
        rules::expression(value, absent, &scope, Role::AuditAnnotation, &value_at, causes);
        if text(&annotation["valueExpression"]).len() > ANNOTATION_BYTES_MAX {
            causes.too_long(&value_at, ANNOTATION_BYTES_MAX);
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.child("key"), key);
        }
    }
}

fn validation(validation: &Value, scope: &Scope, at: &Path, causes: &mut Causes) {
    const BREAKS: [char; 2] = ['\n', '\r'];
    let (expression, absent) = (&validation["expression"], "expression is not specified");
    rules::expression(expression, absent, scope, Role::Validation, &at.child("expression"), causes);
    let message = text(&validation["message"]);
    let message_at = at.child("message");
    if !message.is_empty() && message.trim().is_empty() {
        causes.invalid(&message_at, message, "message must be non-empty if specified");
    } else if message.trim().contains(BREAKS) {
        causes.invalid(&message_at, message, "must not contain line breaks");
    } else if message.is_empty() && text(&validation["expression"]).trim().contains(BREAKS) {
        causes.required(&message_at, "message must be specified if expression contains line breaks");
    }
    let composed = text(&validation["messageExpression"]);
    if !composed.is_empty() && composed.trim().is_empty() {
        causes.invalid(&at.child("messageExpression"), composed, "must be non-empty if specified");
    } else if !composed.is_empty() {
        let at = at.child("messageExpression");
        rules::expression(&validation["messageExpression"], "", scope, Role::Message, &at, causes);
    }
    if !is_empty(&validation["reason"]) {
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        causes.one_of(&at.child("reason"), &validation["reason"], &reasons);
    }
}

/// Nothing is left to mutate of what is deleted.
fn removals(matched: &Value, causes: &mut Causes) {
    let at = SPEC.child("matchConstraints");
    let at = at.child("resourceRules");
    for rule in list(&matched["resourceRules"]) {
        if list(&rule["operations"]).iter().any(|operation| operation == "DELETE") {
            causes.unsupported(&at.child("operations"), "DELETE", &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
}

fn validate_mutating(spec: &Value, causes: &mut Causes) {
    const FORMS: [(&str, &str); 2] = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
    let scope = shared(spec, causes);
    removals(&spec["matchConstraints"], causes);
    let at = SPEC.child("mutations");
    if is_empty(&spec["mutations"]) {
        causes.required(&at, "mutations must contain at least one item");
    }
    for (i, mutation) in list(&spec["mutations"]).iter().enumerate() {
        let (at, kind) = (at.index(i), text(&mutation["patchType"]));
        let Some((_, own)) = FORMS.into_iter().find(|(form, _)| *form == kind) else {
            match kind {
                "" => causes.required(&at.child("patchType"), ""),
                other => causes.unsupported(&at.child("patchType"), other, &FORMS.map(|(form, _)| form)),
            }
            continue;
        };
        if mutation[own].is_null() {
            causes.required(&at.child(own), &format!("must be specified when patchType is {kind}"));
        } else {
            let at = at.child(own);
            let role = if own == "jsonPatch" { Role::JsonPatch } else { Role::ApplyConfiguration };
            rules::expression(&mutation[own]["expression"], "", &scope, role, &at.child("expression"), causes);
        }
        for (_, other) in FORMS.into_iter().filter(|(_, form)| *form != own && !mutation[*form].is_null()) {
            let why = format!("must not be specified when patchType is {kind}");
            causes.invalid(&at.child(other), format!("{{{other}}}"), &why);
        }
    }
    let at = SPEC.child("reinvocationPolicy");
    match text(&spec["reinvocationPolicy"]) {
        "" => causes.required(&at, ""),
        _ => causes.one_of(&at, &spec["reinvocationPolicy"], &["IfNeeded", "Never"]),
    }
}
