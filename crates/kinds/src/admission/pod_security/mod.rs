//! Pod Security Standards: the policy that a namespace's labels ask for, and what a pod violates of a level.
//!
//! Pure. A version names the rules as they were in that minor version of Kubernetes; `latest` means those of 1.36.

mod checks;
mod restricted;

use crate::value::{list, text};
use api::Cause;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What labels of namespaces start with.
pub const PREFIX: &str = "pod-security.kubernetes.io/";

/// The rules of this minor version are the latest.
const LATEST_MINOR: u32 = 36;

/// How much a pod must keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// A level as of a minor version; `None` is the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    minor: Option<u32>,
}

impl Standard {
    /// A level by its latest rules.
    pub const fn latest(level: Level) -> Standard {
        Standard { level, minor: None }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.as_str()),
            None => write!(f, "{}:latest", self.level.as_str()),
        }
    }
}

/// What the labels of a namespace ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub warn: Standard,
}

/// The policy of labels, and what is wrong with them. An unreadable level is enforced as the strictest.
pub fn policy<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (Policy, Vec<Cause>) {
    let mut causes = Vec::new();
    let mut standard = |mode: &str, unreadable: Level| {
        let mut standard = Standard::default();
        let mut refuse = |name: String, given: &str, why: &str| {
            let (reason, field) = ("FieldValueInvalid".to_owned(), format!("metadata.labels[{name}]"));
            causes.push(Cause { reason, message: format!("Invalid value: {given:?}: {why}"), field });
        };
        let name = format!("{PREFIX}{mode}");
        if let Some(given) = label(&name) {
            standard.level = Level::parse(given).unwrap_or_else(|| {
                refuse(name, given, "must be one of privileged, baseline, restricted");
                unreadable
            });
        }
        let name = format!("{PREFIX}{mode}-version");
        if let Some(given) = label(&name).filter(|given| *given != "latest") {
            standard.minor = parse_version(given);
            if standard.minor.is_none() {
                refuse(name, given, "must be \"latest\" or \"v1.x\"");
            }
        }
        standard
    };
    let enforce = standard("enforce", Level::Restricted);
    standard("audit", Level::Privileged);
    let warn = standard("warn", Level::Privileged);
    (Policy { enforce, warn }, causes)
}

fn parse_version(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("v1.")?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok()).flatten()
}

/// One way in which a pod violates a standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

/// Several violations as one text: reasons, each with its detail.
pub fn details(violations: &[Violation]) -> String {
    let one = |v: &Violation| format!("{} ({})", v.reason, v.detail);
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// A rule: from which minor version on it holds, and what it finds.
struct Check {
    id: &'static str,
    level: Level,
    since: u32,
    /// The rule that it takes the place of.
    overrides: Option<&'static str>,
    run: fn(&Pod) -> Option<Violation>,
}

/// A pod, or the template of one, under rules of a minor version.
struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    minor: u32,
}

/// What a pod violates of a standard, in upstream's order: the baseline's rules, then those of restricted, each by name.
pub fn violations(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let minor = standard.minor.unwrap_or(LATEST_MINOR).min(LATEST_MINOR);
    let pod = Pod { metadata, spec, minor };
    let all = checks::BASELINE.iter().chain(restricted::RESTRICTED);
    let holding: Vec<&Check> = all.filter(|check| check.level <= standard.level && check.since <= minor).collect();
    let overridden: Vec<&str> = holding.iter().filter_map(|check| check.overrides).collect();
    holding.iter().filter(|check| !overridden.contains(&check.id)).filter_map(|check| (check.run)(&pod)).collect()
}

/// Whether an update of a pod changes what the standards look at.
pub fn is_significant(new: &Value, old: &Value) -> bool {
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    let images = |pod: &Value| -> Vec<Vec<String>> {
        let of = |field: &str| list(&pod["spec"][field]).iter().map(|c| text(&c["image"]).to_owned()).collect();
        LISTS.iter().map(|field| of(field)).collect()
    };
    let annotations = |pod: &Value| -> BTreeMap<String, Value> {
        let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
        let looked_at = |key: &str| {
            key.starts_with(checks::APP_ARMOR) || key.starts_with(checks::SECCOMP) || key == checks::SECCOMP_POD
        };
        all.filter(|(key, _)| looked_at(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    images(new) != images(old) || annotations(new) != annotations(old)
}

/// What a namespace's writer is told of the pods that violate a standard which is enforced from now on.
pub fn existing<'a>(namespace: &str, standard: Standard, pods: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        let violations = violations(standard, &pod["metadata"], &pod["spec"]);
        if !violations.is_empty() {
            found.entry(reasons(&violations)).or_default().push(text(&pod["metadata"]["name"]));
        }
    }
    let mut told: Vec<String> = found
        .into_iter()
        .filter_map(|(reasons, names)| {
            let first = names.iter().min()?;
            Some(match names.len() - 1 {
                0 => format!("{first}: {reasons}"),
                1 => format!("{first} (and 1 other pod): {reasons}"),
                others => format!("{first} (and {others} other pods): {reasons}"),
            })
        })
        .collect();
    told.sort_unstable();
    if !told.is_empty() {
        let all = format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        );
        told.insert(0, all);
    }
    told
}

/// Whether a namespace's new policy may refuse pods that the old one allowed.
pub fn is_stricter(new: Policy, old: Policy) -> bool {
    let (new, old) = (new.enforce, old.enforce);
    new.level != Level::Privileged && new != old && (new.minor != old.minor || new.level > old.level)
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> + Clone {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|field| list(&spec[field]))
}

/// Names of the containers that a test finds.
fn names_of<'a>(spec: &'a Value, test: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
    containers(spec).filter(|container| test(container)).map(|container| text(&container["name"])).collect()
}

/// `one "a"`, or `many "a", "b"`.
fn named(names: &[&str], one: &str, many: &str) -> String {
    format!("{} {}", if names.len() == 1 { one } else { many }, quoted(names))
}

fn of_containers(names: &[&str]) -> String {
    named(names, "container", "containers")
}

fn quoted(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("\"{}\"", names.join("\", \""))
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

/// `pod`, `container "a"`, or both: who says something wrong.
fn setters(pod: bool, containers: &[&str]) -> Vec<String> {
    let mut setters: Vec<String> = pod.then(|| "pod".to_owned()).into_iter().collect();
    if !containers.is_empty() {
        setters.push(of_containers(containers));
    }
    setters
}

#[cfg(test)]
mod tests;
