//! A workload's file.

use crate::connection::Error;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// What is in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    /// Pods bound per second, at least.
    pub threshold: f64,
    /// The time from a pod's creation to its binding that 99 of 100 keep, in milliseconds. For steps with a rate.
    #[serde(default)]
    pub p99_millis: Option<f64>,
    pub nodes: Nodes,
    pub steps: Vec<Step>,
}

/// The hollow nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    pub count: usize,
    /// Further flags of `ursa hollow-nodes`.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// Objects that are created, all at once or at a rate. Then all pods among them are waited for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    pub count: usize,
    /// The path of the collection. Here and in the object, `{n}` is the object's number, and `{n%7}` its rest by 7.
    pub path: String,
    pub object: Value,
    /// The step that the figures are of: the last one with this mark.
    #[serde(default)]
    pub measured: bool,
    /// Objects per second; as fast as the server takes them without it.
    #[serde(default)]
    pub rate: Option<f64>,
}

impl Workload {
    /// Reads a file, with fewer of everything where `share` is below 1.
    pub fn read(file: &Path, share: f64) -> Result<Workload, Error> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
        let mut workload: Workload = serde_saphyr::from_str(&text).map_err(|e| format!("{shown}: {e}"))?;
        if workload.steps.iter().filter(|step| step.measured).count() != 1 {
            return Err(format!("{shown}: exactly one step is measured"));
        }
        let scaled = |count: usize| ((count as f64 * share).ceil() as usize).max(1);
        workload.nodes.count = scaled(workload.nodes.count);
        for step in &mut workload.steps {
            step.count = scaled(step.count);
        }
        Ok(workload)
    }
}

impl Step {
    /// Whether the objects are pods that a scheduler is to bind.
    pub fn makes_pods(&self) -> bool {
        self.object["kind"] == "Pod" && self.object["spec"]["nodeName"].is_null()
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

    #[test]
    fn every_workload_of_the_checkout_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let files: Vec<_> = std::fs::read_dir(folder).expect("it is there").filter_map(Result::ok).collect();
        assert!(!files.is_empty());
        for file in files {
            let workload = Workload::read(&file.path(), 0.01).expect("a workload");
            for step in &workload.steps {
                let body: Value = serde_json::from_slice(&step.body(7)).expect("JSON");
                assert!(!body.to_string().contains("{n") && !step.path(7).contains("{n"), "{body}");
            }
        }
    }

    #[test]
    fn numbers_are_put_in_whole_and_as_rests() {
        assert_eq!(numbered("a-{n}/b-{n%4}-{n}", 7), "a-7/b-3-7");
        assert_eq!(numbered("none", 7), "none");
    }
}
