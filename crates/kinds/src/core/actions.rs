//! Actions on what runs of a pod, which clients ask for as a CustomAction of the pod: Arktos' own.

use crate::causes::{Causes, Path};
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{is_empty, text};
use crate::{Deletion, NameRule, Strategy};
use api::{Cause, Error, Result};
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");
/// What may be asked for, and the fields that say more: of the request and of the action.
const OPERATIONS: [(&str, &str, &str); 3] = [
    ("reboot", "rebootParams", "rebootAction"),
    ("snapshot", "snapshotParams", "snapshotAction"),
    ("restore", "restoreParams", "restoreAction"),
];

const COLUMNS: &[Column] = &[
    NAME,
    column("Pod", "io.k8s.api.core.v1.ActionSpec", "podName"),
    column("Node", "io.k8s.api.core.v1.ActionSpec", "nodeName"),
    column("Complete", "io.k8s.api.core.v1.ActionStatus", "complete"),
    column("Error", "io.k8s.api.core.v1.ActionStatus", "error"),
    AGE,
];

pub(crate) static ACTIONS: Strategy = Strategy {
    validate: |action| Causes::of(|causes| spec(&action["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["spec"] != old["spec"] {
                causes.immutable(&SPEC, &new["spec"]);
            }
        })
    },
    new_status: Some(|| json!({"complete": false})),
    name_rule: NameRule::DnsSubdomain,
    deletion: Deletion::Immediate,
    columns: COLUMNS,
    row: |action, now| {
        let (spec, status) = (&action["spec"], &action["status"]);
        let cells =
            [&action["metadata"]["name"], &spec["podName"], &spec["nodeName"], &status["complete"], &status["error"]];
        cells.into_iter().cloned().chain([age(action, now)]).collect()
    },
    ..Strategy::PLAIN
};

fn spec(spec: &Value, causes: &mut Causes) {
    for field in ["nodeName", "podName"] {
        if is_empty(&spec[field]) {
            causes.required(&SPEC.child(field), "");
        }
    }
    let asked = OPERATIONS.iter().filter(|(_, _, field)| spec[*field].is_object()).count();
    if asked != 1 {
        causes.wrong(&SPEC, "must specify exactly one of: `rebootAction`, `snapshotAction`, `restoreAction`");
    }
}

/// The spec of the action that a CustomAction asks for, and what it does. 422 for what cannot be asked for, 409 for a pod
/// that no node runs.
pub fn action_for(pod: &Value, asked: &Value) -> Result<(&'static str, Value)> {
    let name = text(&pod["metadata"]["name"]);
    let operation = text(&asked["operation"]);
    let Some((operation, params, field)) = OPERATIONS.iter().find(|(known, _, _)| *known == operation) else {
        let at = Path::new("operation");
        let causes = Causes::of(|causes| {
            if operation.is_empty() {
                causes.required(&at, "");
            } else {
                causes.unsupported(&at, operation, &OPERATIONS.map(|(known, _, _)| known));
            }
        });
        return Err(Error::invalid("", "CustomAction", name, causes));
    };
    let params_at = Path::new(params);
    let needed = match *operation {
        "snapshot" => Some("snapshotName"),
        "restore" => Some("snapshotID"),
        _ => None,
    };
    let causes: Vec<Cause> = Causes::of(|causes| {
        if let Some(needed) = needed.filter(|needed| is_empty(&asked[*params][*needed])) {
            causes.required(&params_at.child(needed), "");
        }
        if asked[*params]["delayInSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
            causes.not_negative(&params_at.child("delayInSeconds"), &asked[*params]["delayInSeconds"]);
        }
    });
    if !causes.is_empty() {
        return Err(Error::invalid("", "CustomAction", name, causes));
    }
    let node = text(&pod["spec"]["nodeName"]);
    if node.is_empty() {
        return Err(Error::conflict("", "pods/action", name, &format!("pod {name} is not assigned to a node")));
    }
    let given = if asked[*params].is_object() { asked[*params].clone() } else { json!({}) };
    let mut spec = json!({"nodeName": node, "podName": name, "podID": pod["metadata"]["uid"]});
    spec[*field] = given;
    Ok((operation, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_what_was_asked_for_of_a_pod_that_a_node_runs() {
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n"}});
        let asked = json!({"operation": "snapshot", "snapshotParams": {"snapshotName": "s"}});
        let spec = json!({"nodeName": "n", "podName": "p", "podID": "u", "snapshotAction": {"snapshotName": "s"}});
        assert_eq!(action_for(&pod, &asked).ok(), Some(("snapshot", spec)));
        let waiting = json!({"metadata": {"name": "p"}, "spec": {}});
        for (pod, asked, code) in [
            (&pod, json!({"operation": "reboot"}), None),
            (&pod, json!({"operation": "explode"}), Some(422)),
            (&pod, json!({}), Some(422)),
            (&pod, json!({"operation": "restore"}), Some(422)),
            (&pod, json!({"operation": "reboot", "rebootParams": {"delayInSeconds": -1}}), Some(422)),
            (&waiting, json!({"operation": "reboot"}), Some(409)),
        ] {
            assert_eq!(action_for(pod, &asked).err().map(|e| e.code()), code, "{asked}");
        }
    }

    #[test]
    fn an_action_does_one_thing_and_stays_what_it_is() {
        let action = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
        let good = action(json!({"nodeName": "n", "podName": "p", "rebootAction": {}}));
        assert!((ACTIONS.validate)(&good).is_empty());
        let fields = |causes: Vec<Cause>| causes.into_iter().map(|cause| cause.field).collect::<Vec<_>>();
        let none = action(json!({}));
        assert_eq!(fields((ACTIONS.validate)(&none)), ["spec.nodeName", "spec.podName", "spec"]);
        assert_eq!(fields((ACTIONS.validate_update)(&none, &good)), ["spec"]);
    }
}
