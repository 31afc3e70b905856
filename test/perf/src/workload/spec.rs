//! A workload's file.

use crate::connection::Error;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What is in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    /// What figures are to be, by their names: rates at least, all else at most.
    #[serde(default)]
    pub budgets: BTreeMap<String, f64>,
    #[serde(default)]
    pub nodes: Nodes,
    pub steps: Vec<Step>,
}

/// The hollow nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    pub count: usize,
    /// Further flags of `ursa hollow-nodes`. Pods start after an hour unless they say otherwise.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// Requests that are sent, all at once or at a rate, and what is waited for then.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Stands before the names of its figures.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub verb: Verb,
    /// How many; of `wait`, for how many seconds.
    pub count: usize,
    /// The count is the same for every share of the load.
    #[serde(default)]
    pub fixed: bool,
    /// The path that is asked. Here and in the object, `{n}` is the request's number, and `{n%7}` its rest by 7.
    #[serde(default)]
    pub path: String,
    /// What is sent.
    #[serde(default)]
    pub object: Value,
    /// Figures are told of it.
    #[serde(default)]
    pub measured: bool,
    /// Requests per second; as fast as the server takes them without it.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Goes on, over and over and unmeasured, beside all steps that follow.
    #[serde(default)]
    pub background: bool,
    /// Until when the step lasts, where its objects bring pods.
    #[serde(default)]
    pub until: Until,
    /// In its midst the server is killed and started again; what fails by that is sent again.
    #[serde(default)]
    pub restart: bool,
}

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    #[default]
    Create,
    Get,
    List,
    /// A merge patch.
    Patch,
    Delete,
    /// Creates an object in a collection and deletes it again.
    Churn,
    /// Opens watches, which stay open.
    Watch,
    Wait,
}

/// What has happened to all pods when a step is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Until {
    #[default]
    Bound,
    Running,
    Gone,
}

impl Workload {
    /// Reads a file, with fewer of everything where `share` is below 1.
    pub fn read(file: &Path, share: f64) -> Result<Workload, Error> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
        let mut workload: Workload = serde_saphyr::from_str(&text).map_err(|e| format!("{shown}: {e}"))?;
        if !workload.steps.iter().any(|step| step.measured) {
            return Err(format!("{shown}: no step is measured"));
        }
        let scaled = |count: usize| ((count as f64 * share).ceil() as usize).max(1);
        if workload.nodes.count > 0 {
            workload.nodes.count = scaled(workload.nodes.count);
        }
        for step in workload.steps.iter_mut().filter(|step| !step.fixed) {
            step.count = scaled(step.count);
        }
        Ok(workload)
    }
}

impl Step {
    /// Whether its objects are pods themselves.
    pub fn makes_pods(&self) -> bool {
        self.verb == Verb::Create && self.pods_each() == 1 && self.object["kind"] == "Pod"
    }

    /// How many pods that a scheduler binds come of one of its objects in the end.
    pub fn pods_each(&self) -> usize {
        let spec = &self.object["spec"];
        let number = |of: &Value| of.as_u64().map_or(1, |count| count as usize);
        match self.object["kind"].as_str() {
            _ if self.verb != Verb::Create => 0,
            Some("Pod") => usize::from(spec["nodeName"].is_null() && spec["schedulerName"].is_null()),
            Some("Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController") => number(&spec["replicas"]),
            Some("Job") => number(&spec["completions"]),
            _ => 0,
        }
    }

    pub fn path(&self, number: usize) -> String {
        numbered(&self.path, number)
    }

    pub fn body(&self, number: usize) -> Vec<u8> {
        numbered(&self.object.to_string(), number).into_bytes()
    }
}

/// Puts a number into a text, where `{n}` or `{n%7}` stands.
fn numbered(text: &str, number: usize) -> String {
    let mut parts = text.split("{n");
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (modulus, rest) = part.split_once('}').unwrap_or(("", part));
        let modulus = modulus.strip_prefix('%').and_then(|digits| digits.parse().ok()).filter(|&m: &usize| m > 0);
        done += &modulus.map_or(number, |modulus| number % modulus).to_string();
        done += rest;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn files() -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let entries = std::fs::read_dir(folder).expect("it is there").filter_map(Result::ok);
        let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        assert!(!files.is_empty());
        files
    }

    #[test]
    fn every_workload_of_the_checkout_can_be_read() {
        for file in files() {
            let workload = Workload::read(&file, 0.01).expect("a workload");
            for step in &workload.steps {
                let body: Value = serde_json::from_slice(&step.body(7)).expect("JSON");
                assert!(!body.to_string().contains("{n") && !step.path(7).contains("{n"), "{body}");
            }
        }
    }

    #[test]
    fn whatever_the_share_objects_are_sent_only_to_namespaces_that_an_earlier_step_makes() {
        for (file, share) in files().into_iter().flat_map(|file| [1.0, 0.2, 0.002].map(|share| (file.clone(), share))) {
            let workload = Workload::read(&file, share).expect("a workload");
            let mut made = BTreeSet::from(["default".to_owned()]);
            for step in &workload.steps {
                // More would only repeat.
                for number in 0..step.count.min(200) {
                    let path = step.path(number);
                    let named = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split('/').next());
                    assert!(named.is_none_or(|name| made.contains(name)), "{} at {share}: {path}", file.display());
                    if path == "/api/v1/namespaces" {
                        let body: Value = serde_json::from_slice(&step.body(number)).expect("JSON");
                        made.extend(body["metadata"]["name"].as_str().map(str::to_owned));
                    }
                }
            }
        }
    }

    #[test]
    fn the_pods_that_come_of_objects_are_known() {
        let pods = |text: &str| serde_saphyr::from_str::<Step>(text).expect("a step").pods_each();
        let cases = [
            ("{count: 1, object: {kind: Pod, spec: {}}}", 1),
            ("{count: 1, object: {kind: Pod, spec: {nodeName: a}}}", 0),
            ("{count: 1, verb: churn, object: {kind: Pod, spec: {}}}", 0),
            ("{count: 1, object: {kind: Deployment, spec: {replicas: 30}}}", 30),
            ("{count: 1, object: {kind: Job, spec: {}}}", 1),
            ("{count: 1, object: {kind: Secret}}", 0),
        ];
        for (text, wanted) in cases {
            assert_eq!(pods(text), wanted, "{text}");
        }
    }

    #[test]
    fn numbers_are_put_in_whole_and_as_rests() {
        assert_eq!(numbered("a-{n}/b-{n%4}-{n}", 7), "a-7/b-3-7");
        assert_eq!(numbered("none", 7), "none");
    }
}
