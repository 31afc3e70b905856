//! The pods of a job, to be created. Pure.

use super::policy::{self, FINALIZER, Verdict};
use crate::view::{Job, Pod};
use serde_json::{Value, json};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The environment variable that tells a pod its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The longest prefix of a name that is made.
const PREFIX_CHARS_MAX: usize = 58;

/// A pod without an index.
pub fn new(job: &Job, owner: Value) -> Value {
    let template = &job.spec.template;
    let mut metadata = json!({"generateName": prefix(&job.metadata.name, "-"), "ownerReferences": [owner]});
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(json!(FINALIZER));
    }
    metadata["finalizers"] = json!(finalizers);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The pod of an index, made from one without. `kept` counts how often the index has failed.
pub fn with_index(job: &Job, pod: &Value, index: i64, kept: Option<&Pod>) -> Value {
    let mut pod = pod.clone();
    let metadata = &mut pod["metadata"];
    metadata["generateName"] = json!(prefix(&job.metadata.name, &format!("-{index}-")));
    metadata["labels"][INDEX] = json!(index.to_string());
    metadata["annotations"][INDEX] = json!(index.to_string());
    if job.spec.backoff_limit_per_index.is_some() {
        let (counted, ignored) = failures(job, kept);
        metadata["annotations"][FAILURES] = json!(counted.to_string());
        if ignored > 0 {
            metadata["annotations"][IGNORED_FAILURES] = json!(ignored.to_string());
        }
    }
    pod["spec"]["hostname"] = json!(format!("{}-{index}", job.metadata.name));
    let field = json!({"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}});
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            let mut variables = container["env"].as_array().cloned().unwrap_or_default();
            if !variables.iter().any(|v| v["name"] == INDEX_VARIABLE) {
                variables.push(json!({"name": INDEX_VARIABLE, "valueFrom": field}));
                container["env"] = json!(variables);
            }
        }
    }
    pod
}

/// The failures of an index that count, and those that are ignored, with that of its last pod.
fn failures(job: &Job, last: Option<&Pod>) -> (i64, i64) {
    let Some(last) = last else { return (0, 0) };
    let (counted, all) = policy::index_failures(last);
    let ignored = all - counted;
    match policy::judge(job, last) {
        Verdict::Ignore => (counted, ignored + 1),
        Verdict::Count | Verdict::FailIndex | Verdict::FailJob(_) => (counted + 1, ignored),
    }
}

/// The beginning of a name, cut so that its end stays.
fn prefix(job: &str, end: &str) -> String {
    let room = PREFIX_CHARS_MAX.saturating_sub(end.len());
    let job: String = job.chars().take(room).collect();
    format!("{job}{end}")
}
