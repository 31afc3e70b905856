//! The scopes of quotas: which objects a quota is about.

use crate::pods::qos;
use crate::value::{int, is_empty, list, text};
use serde_json::Value;

/// Which scopes an object can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Pod,
    Claim,
    /// None: a quota with scopes is not about such objects.
    Nothing,
}

/// Whether an object is in every scope of a quota.
pub(super) fn all_match(of: Of, quota: &Value, object: &Value) -> bool {
    let plain = list(&quota["scopes"]).iter().all(|scope| is_in(of, text(scope), "Exists", &Value::Null, object));
    let terms = list(&quota["scopeSelector"]["matchExpressions"]);
    let matches = |term: &Value| is_in(of, text(&term["scopeName"]), text(&term["operator"]), &term["values"], object);
    plain && terms.iter().all(matches)
}

fn is_in(of: Of, scope: &str, operator: &str, values: &Value, object: &Value) -> bool {
    let spec = &object["spec"];
    match (of, scope) {
        (Of::Pod, "Terminating") => is_terminating(spec),
        (Of::Pod, "NotTerminating") => !is_terminating(spec),
        (Of::Pod, "BestEffort") => qos::class(spec) == "BestEffort",
        (Of::Pod, "NotBestEffort") => qos::class(spec) != "BestEffort",
        (Of::Pod, "PriorityClass") => selects(operator, values, &[text(&spec["priorityClassName"])]),
        (Of::Pod, "CrossNamespacePodAffinity") => reaches_other_namespaces(spec),
        (Of::Claim, "VolumeAttributesClass") => {
            let status = &object["status"];
            let classes = [
                &spec["volumeAttributesClassName"],
                &status["currentVolumeAttributesClassName"],
                &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
            ];
            selects(operator, values, &classes.map(text))
        }
        _ => false,
    }
}

fn is_terminating(spec: &Value) -> bool {
    int(&spec["activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

/// Whether one of the names that are there is selected.
fn selects(operator: &str, values: &Value, names: &[&str]) -> bool {
    let named: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    let any = named.iter().any(|name| list(values).iter().any(|value| value == name));
    match operator {
        "In" => any,
        "NotIn" => !any,
        "Exists" => !named.is_empty(),
        "DoesNotExist" => named.is_empty(),
        _ => false,
    }
}

fn reaches_other_namespaces(spec: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let affinity = &spec["affinity"][kind];
        let required = list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = list(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        let mut terms = required.chain(preferred.map(|weighted| &weighted["podAffinityTerm"]));
        terms.any(|term| !is_empty(&term["namespaces"]) || !term["namespaceSelector"].is_null())
    })
}
