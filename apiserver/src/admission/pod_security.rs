//! PodSecurity: pods keep the standard that their namespace's labels ask for.
//!
//! Beside that, the pods of every tenant but `system` keep the baseline, as they share nodes with others. The operators
//! lift it for one tenant with the label `pod-security.kubernetes.io/enforce: privileged` on the Tenant object, which the
//! tenant itself cannot write.

use super::{Admitted, Attempt};
use crate::registry::Part;
use api::{Error, Object, ResourceId, Result};
use kinds::admission::pod_security::{self as standards, Level, PREFIX, Policy, Standard};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How many pods of a namespace are looked at when its labels change, and for how long.
const EXISTING_MAX: usize = 3000;
const EXISTING_TIME: Duration = Duration::from_secs(1);

/// Where a kind has the template of its pods.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

pub fn validate(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    if attempt.is("", "pods") {
        return pod(attempt, new, admitted);
    }
    if attempt.part != Part::Object {
        return Ok(());
    }
    if attempt.is("", "namespaces") {
        return namespace(attempt, new, admitted);
    }
    let template = TEMPLATES.iter().find(|(group, plural, _)| attempt.is(group, plural));
    if let Some(template) = template.and_then(|(.., pointer)| new.pointer(pointer)) {
        warn(policy_here(attempt).warn, template, admitted);
    }
    Ok(())
}

fn pod(attempt: Attempt<'_>, pod: &Value, admitted: &mut Admitted) -> Result<()> {
    let looked_at = matches!(attempt.part, Part::Object | Part::Subresource("ephemeralcontainers"));
    if !looked_at || attempt.old.is_some_and(|old| !standards::is_significant(pod, old)) {
        return Ok(());
    }
    let policy = policy_here(attempt);
    for standard in [policy.enforce, of_tenant(attempt)] {
        let found = standards::violations(standard, &pod["metadata"], &pod["spec"]);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{standard}\": {}", standards::details(&found));
            return Err(attempt.forbidden(pod, &why));
        }
    }
    warn(policy.warn, pod, admitted);
    Ok(())
}

fn warn(standard: Standard, template: &Value, admitted: &mut Admitted) {
    let found = standards::violations(standard, &template["metadata"], &template["spec"]);
    if !found.is_empty() {
        admitted.warnings.push(format!("would violate PodSecurity \"{standard}\": {}", standards::details(&found)));
    }
}

/// What the labels of the request's namespace ask for.
fn policy_here(attempt: Attempt<'_>) -> Policy {
    let namespace = attempt.stored(ResourceId::new("", "namespaces"), "", attempt.call.namespace);
    namespace.map(|namespace| policy_of(&namespace)).unwrap_or_default()
}

fn policy_of(namespace: &Object) -> Policy {
    if !namespace.header.labels().any(|(name, _)| name.starts_with(PREFIX)) {
        return Policy::default();
    }
    standards::policy(|name| namespace.header.label(name)).0
}

/// What the operators ask of the tenant.
fn of_tenant(attempt: Attempt<'_>) -> Standard {
    let call = attempt.call;
    let Some(tenant) = call.target.tenant().filter(|tenant| !tenant.is_system()) else { return Standard::default() };
    let label = format!("{PREFIX}enforce");
    let tenant = call.server.tenant(tenant);
    let lifted = tenant.is_some_and(|tenant| tenant.header.label(&label) == Some("privileged"));
    Standard::latest(if lifted { Level::Privileged } else { Level::Baseline })
}

/// Labels must make sense, and whoever makes them stricter is told which pods are there already.
fn namespace(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    let policy_in = |namespace: &Value| standards::policy(|name| namespace["metadata"]["labels"][name].as_str());
    let (policy, causes) = policy_in(new);
    let (before, old_causes) = attempt.old.map(policy_in).unwrap_or_default();
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    if !causes.is_empty() && causes != old_causes {
        return Err(Error::invalid("", "Namespace", name, causes));
    }
    if attempt.old.is_none() || !standards::is_stricter(policy, before) {
        return Ok(());
    }
    let stored = attempt.stored_in(ResourceId::new("", "pods"), name)?;
    let started = Instant::now();
    let pods: Vec<Value> = stored
        .iter()
        .take(EXISTING_MAX)
        .take_while(|_| started.elapsed() < EXISTING_TIME)
        .filter_map(|pod| pod.to_value().ok())
        .collect();
    if pods.len() < stored.len() {
        let (checked, all) = (pods.len(), stored.len());
        let why =
            format!("new PodSecurity enforce level only checked against the first {checked} of {all} existing pods");
        admitted.warnings.push(why);
    }
    admitted.warnings.extend(standards::existing(name, policy.enforce, pods.iter()));
    Ok(())
}
