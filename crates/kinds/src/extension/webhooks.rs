//! Webhooks of admission.

use super::{clients, rules};
use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::content_changed;
use crate::names;
use crate::table::{AGE, NAME, age, explained};
use crate::value::{default, int, is_empty, list, list_mut, repeats, text};
use serde_json::{Value, json};

const SECONDS_MAX: i64 = 30;

pub(crate) static VALIDATING_WEBHOOKS: Strategy = Strategy {
    defaults: |configuration| list_mut(configuration, "webhooks").for_each(defaults),
    validate: |configuration| Causes::of(|causes| validate(list(&configuration["webhooks"]), causes)),
    known_finalizers: false,
    generation: Some(content_changed),
    unconditional_update: false,
    columns: &[
        NAME,
        explained("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration").integer(),
        AGE,
    ],
    row: |configuration, now| {
        let count = list(&configuration["webhooks"]).len();
        vec![configuration["metadata"]["name"].clone(), json!(count), age(configuration, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static MUTATING_WEBHOOKS: Strategy = Strategy {
    defaults: |configuration| {
        for webhook in list_mut(configuration, "webhooks") {
            defaults(webhook);
            default(webhook, "reinvocationPolicy", "Never");
        }
    },
    ..VALIDATING_WEBHOOKS
};

fn defaults(webhook: &mut Value) {
    rules::match_defaults(webhook, &["rules"]);
    default(webhook, "failurePolicy", "Fail");
    default(webhook, "timeoutSeconds", 10);
    if let Some(service) = webhook.pointer_mut("/clientConfig/service").filter(|service| service.is_object()) {
        default(service, "port", 443);
    }
}

fn validate(webhooks: &[Value], causes: &mut Causes) {
    let at = Path::new("webhooks");
    let repeated = repeats(webhooks.iter().map(|webhook| text(&webhook["name"])));
    for (i, webhook) in webhooks.iter().enumerate() {
        let at = at.index(i);
        self::webhook(webhook, &at, causes);
        review_versions(list(&webhook["admissionReviewVersions"]), &at.child("admissionReviewVersions"), causes);
        let name = text(&webhook["name"]);
        if !name.is_empty() && repeated.contains(&i) {
            causes.duplicate(&at.child("name"), name);
        }
    }
}

fn webhook(webhook: &Value, at: &Path, causes: &mut Causes) {
    full_name(text(&webhook["name"]), &at.child("name"), causes);
    let rules_at = at.child("rules");
    for (i, rule) in list(&webhook["rules"]).iter().enumerate() {
        rules::rule(rule, &rules_at.index(i), causes);
    }
    causes.one_of(&at.child("failurePolicy"), &webhook["failurePolicy"], &["Fail", "Ignore"]);
    let side_effects = at.child("sideEffects");
    match &webhook["sideEffects"] {
        Value::Null => causes.required(&side_effects, "must specify one of None, NoneOnDryRun"),
        class => causes.one_of(&side_effects, class, &["None", "NoneOnDryRun"]),
    }
    if let Some(seconds) = int(&webhook["timeoutSeconds"]).filter(|seconds| !(1..=SECONDS_MAX).contains(seconds)) {
        let why = format!("the timeout value must be between 1 and {SECONDS_MAX} seconds");
        causes.invalid(&at.child("timeoutSeconds"), seconds, &why);
    }
    rules::matching(webhook, at, causes);
    clients::client(&webhook["clientConfig"], &at.child("clientConfig"), causes);
    let scope = cel::policy::Scope::of_webhook();
    rules::conditions(&webhook["matchConditions"], &scope, &at.child("matchConditions"), causes);
    if !is_empty(&webhook["reinvocationPolicy"]) {
        causes.one_of(&at.child("reinvocationPolicy"), &webhook["reinvocationPolicy"], &["IfNeeded", "Never"]);
    }
}

/// A domain of at least three labels.
fn full_name(name: &str, at: &Path, causes: &mut Causes) {
    let problems = names::dns_subdomain(name);
    if name.is_empty() {
        causes.required(at, "");
    } else if !problems.is_empty() {
        causes.invalid(at, name, &problems.join(","));
    } else if name.split('.').count() < 3 {
        causes.invalid(at, name, "should be a domain with at least three segments separated by dots");
    }
}

/// Versions that the webhook understands, of which the server speaks one.
fn review_versions(versions: &[Value], at: &Path, causes: &mut Causes) {
    const SPOKEN: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        return causes.required(at, &format!("must specify one of {}", SPOKEN.join(", ")));
    }
    let repeated = repeats(versions);
    for (i, version) in versions.iter().enumerate() {
        let problems = names::dns_1035_label(text(version));
        if repeated.contains(&i) {
            causes.invalid(&at.index(i), version, "duplicate version");
        } else if !problems.is_empty() {
            causes.invalid(&at.index(i), version, &problems.join(","));
        }
    }
    if !versions.iter().any(|version| SPOKEN.contains(&text(version))) {
        causes.invalid(at, versions, &format!("must include at least one of {}", SPOKEN.join(", ")));
    }
}
