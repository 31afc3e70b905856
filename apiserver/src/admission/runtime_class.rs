//! A pod that names a runtime class takes over what the class costs and where it runs.

use api::{Error, Result};
use serde_json::{Map, Value, json};

/// Applies a class to a new pod. `class` is `None` when there is none of that name.
pub fn apply(pod: &mut Value, class: Option<&Value>) -> Result<()> {
    let Some(named) = pod["spec"]["runtimeClassName"].as_str().filter(|name| !name.is_empty()) else {
        return if pod["spec"]["overhead"].as_object().is_some_and(|overhead| !overhead.is_empty()) {
            Err(refused(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        } else {
            Ok(())
        };
    };
    let Some(class) = class else {
        return Err(refused(pod, &format!("pod rejected: RuntimeClass {named:?} not found")));
    };
    let fixed = &class["overhead"]["podFixed"];
    if fixed.is_object() {
        let given = &pod["spec"]["overhead"];
        if !given.is_null() && given != fixed {
            return Err(refused(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
        }
        pod["spec"]["overhead"] = fixed.clone();
    }
    select_nodes(pod, &class["scheduling"]["nodeSelector"])?;
    if let Some(tolerations) = class["scheduling"]["tolerations"].as_array() {
        let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let added = tolerations.iter().filter(|t| !all.contains(t)).cloned().collect::<Vec<_>>();
        all.extend(added);
        pod["spec"]["tolerations"] = json!(all);
    }
    Ok(())
}

fn select_nodes(pod: &mut Value, wanted: &Value) -> Result<()> {
    let Some(wanted) = wanted.as_object() else { return Ok(()) };
    let mut selector: Map<String, Value> = pod["spec"]["nodeSelector"].as_object().cloned().unwrap_or_default();
    for (label, value) in wanted {
        let Some(given) = selector.insert(label.clone(), value.clone()).filter(|given| given != value) else {
            continue;
        };
        let [wanted, given] = [value, &given].map(|value| value.as_str().unwrap_or_default());
        let why = format!(
            "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {wanted}; pod.spec.nodeSelector[{label}] = {given}"
        );
        return Err(refused(pod, &why));
    }
    pod["spec"]["nodeSelector"] = Value::Object(selector);
    Ok(())
}

fn refused(pod: &Value, why: &str) -> Error {
    Error::forbidden("", "pods", pod["metadata"]["name"].as_str().unwrap_or_default(), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, class: Option<Value>) -> Result<Value> {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        apply(&mut pod, class.as_ref()).map(|()| pod["spec"].clone())
    }

    #[test]
    fn a_class_adds_its_cost_and_its_place() {
        let class = json!({"overhead": {"podFixed": {"cpu": "100m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm"}]}});
        let spec = check(json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}}), Some(class.clone()))
            .expect("admitted");
        assert_eq!(
            (&spec["overhead"]["cpu"], &spec["nodeSelector"]),
            (&json!("100m"), &json!({"a": "b", "vm": "yes"}))
        );
        assert_eq!(spec["tolerations"], json!([{"key": "vm"}]));
        assert!(check(json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}), Some(class)).is_err());
    }

    #[test]
    fn a_class_that_is_missing_or_bypassed_refuses_the_pod() {
        assert_eq!(check(json!({"runtimeClassName": "x"}), None).expect_err("missing").code(), 403);
        assert_eq!(check(json!({"overhead": {"cpu": "1"}}), None).expect_err("bypassed").code(), 403);
        assert!(check(json!({}), None).is_ok());
    }
}
