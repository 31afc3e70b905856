//! From stored configurations to what is called. What cannot be read fails when it is called, as its failure policy says.

use crate::admission::matching::Match;
use crate::egress::Endpoint;
use cel::Program;
use cel::policy::{Role, Scope};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How many webhooks a tenant may have. Those past it fail.
const WEBHOOKS_MAX: usize = 500;

/// What the match conditions of a tenant's webhooks may weigh together, in bytes of their sources. Webhooks past it fail.
const SOURCES_MAX: usize = 4 << 20;

/// How long a webhook has that says nothing of it.
const TIMEOUT_SECS: u64 = 10;

/// The webhooks of a tenant, in the order in which they are called.
pub struct TenantWebhooks {
    pub mutating: Vec<Webhook>,
    pub validating: Vec<Webhook>,
}

/// One webhook of a configuration.
pub struct Webhook {
    pub name: String,
    /// The name of its configuration.
    pub configuration: String,
    /// Whether a call that fails is refused.
    pub fails: bool,
    pub timeout: Duration,
    /// Whether it may be called about a dry run.
    pub is_free_of_side_effects: bool,
    /// Whether it sees an object again that others changed after it.
    pub reinvoked: bool,
    pub matching: Match,
    pub conditions: Vec<(String, Arc<Program>)>,
    pub endpoint: Option<Endpoint>,
    /// Why it cannot be called.
    pub broken: Option<String>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl TenantWebhooks {
    /// Reads configurations, which come in the order of their names.
    pub fn compile(mutating: &[Value], validating: &[Value]) -> TenantWebhooks {
        let (mut weight, mut count) = (0, 0);
        let mut of = |configurations: &[Value]| -> Vec<Webhook> {
            let webhooks = configurations.iter().flat_map(|configuration| {
                items(&configuration["webhooks"])
                    .iter()
                    .map(move |webhook| (text(&configuration["metadata"], "name"), webhook))
            });
            webhooks
                .map(|(configuration, webhook)| {
                    count += 1;
                    self::webhook(configuration, webhook, &mut weight, count > WEBHOOKS_MAX)
                })
                .collect()
        };
        TenantWebhooks { mutating: of(mutating), validating: of(validating) }
    }
}

fn webhook(configuration: &str, webhook: &Value, weight: &mut usize, is_too_many: bool) -> Webhook {
    let speaks = items(&webhook["admissionReviewVersions"]).iter().any(|version| version == "v1");
    let mut compiled = Webhook {
        name: text(webhook, "name").to_owned(),
        configuration: configuration.to_owned(),
        fails: text(webhook, "failurePolicy") != "Ignore",
        timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECS)),
        is_free_of_side_effects: matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun"),
        reinvoked: text(webhook, "reinvocationPolicy") == "IfNeeded",
        matching: Match::of_webhook(webhook),
        conditions: Vec::new(),
        endpoint: None,
        broken: None,
    };
    if is_too_many {
        compiled.broken = Some(format!("there are more than {WEBHOOKS_MAX} webhooks"));
        return compiled;
    }
    if !speaks {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1)";
        compiled.broken = Some(why.to_owned());
    }
    match Endpoint::of(&webhook["clientConfig"]) {
        Ok(endpoint) => compiled.endpoint = Some(endpoint),
        Err(why) => compiled.broken = Some(format!("could not get REST client: {why}")),
    }
    let scope = Scope::of_webhook();
    for condition in items(&webhook["matchConditions"]) {
        let source = text(condition, "expression");
        *weight += source.len();
        let program = if *weight > SOURCES_MAX {
            Err(format!("the match conditions of all webhooks together are longer than {SOURCES_MAX} bytes"))
        } else {
            scope.compile(source, Role::Condition)
        };
        match program {
            Ok(program) => compiled.conditions.push((source.to_owned(), Arc::new(program))),
            Err(why) => compiled.broken = Some(why),
        }
    }
    compiled
}
