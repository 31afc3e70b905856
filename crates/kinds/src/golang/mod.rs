//! Values in messages as upstream shows them: its internal types, with Go's names of fields in Go's order, and what is
//! absent as Go has it.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The internal types, a line each: fields with what stands for an absent one (`*` null, `#` 0, nothing the empty text)
/// and the type of a field of more than one value.
static TYPES: &str = "\
DaemonSetUpdateStrategy Type RollingUpdate*RollingUpdateDaemonSet
RollingUpdateDaemonSet MaxUnavailable# MaxSurge#
DeploymentStrategy Type RollingUpdate*RollingUpdateDeployment
RollingUpdateDeployment MaxUnavailable# MaxSurge#
StatefulSetUpdateStrategy Type RollingUpdate*RollingUpdateStatefulSet
RollingUpdateStatefulSet Partition# MaxUnavailable*
PodFailurePolicy Rules*PodFailurePolicyRule
PodFailurePolicyRule Action OnExitCodes*OnExitCodes OnPodConditions*OnPodCondition
OnExitCodes ContainerName* Operator Values*
OnPodCondition Type Status
SuccessPolicy Rules*SuccessPolicyRule
SuccessPolicyRule SucceededIndexes* SucceededCount*
ServicePort Name Protocol AppProtocol* Port# TargetPort# NodePort#
Taint Key Value Effect TimeAdded*
";

/// A value that is written with its fields in this order.
pub(crate) enum Shown {
    Plain(Value),
    List(Vec<Shown>),
    Fields(Vec<(String, Shown)>),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Shown::Plain(value) => value.serialize(serializer),
            Shown::List(items) => serializer.collect_seq(items),
            Shown::Fields(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// A value of a type, or the values of a list of them. A type that is not known is a mistake of ours.
pub(crate) fn shown(name: &str, value: &Value) -> Shown {
    if let Value::Array(items) = value {
        return Shown::List(items.iter().map(|item| shown(name, item)).collect());
    }
    if !value.is_object() {
        return Shown::Plain(value.clone());
    }
    let fields = TYPES.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a known type");
    let field = |field: &str| {
        let (name, absent, inner) = match field.find(['*', '#']) {
            Some(at) if field.as_bytes()[at] == b'*' => (&field[..at], Value::Null, &field[at + 1..]),
            Some(at) => (&field[..at], json!(0), &field[at + 1..]),
            None => (field, json!(""), ""),
        };
        let found = match &value[lower(name)] {
            Value::Null => Shown::Plain(absent),
            given if inner.is_empty() => Shown::Plain(given.clone()),
            given => shown(inner, given),
        };
        (name.to_owned(), found)
    };
    Shown::Fields(fields.split(' ').map(field).collect())
}

/// The template of a workload's pods: its metadata stands beside its spec.
pub(crate) fn template(template: &Value) -> Shown {
    let metadata = ["name", "generateName", "labels", "annotations", "finalizers"].into_iter();
    let of_metadata = |field: &str| Some((field.to_owned(), Shown::Plain(template["metadata"].get(field)?.clone())));
    let spec = ("Spec".to_owned(), Shown::Plain(template["spec"].clone()));
    Shown::Fields(metadata.filter_map(of_metadata).chain([spec]).collect())
}

fn lower(field: &str) -> String {
    let (first, rest) = field.split_at(1);
    first.to_ascii_lowercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_with_go_names_in_go_order() {
        for (name, value, expected) in [
            ("DeploymentStrategy", json!({"type": "Blue"}), r#"{"Type":"Blue","RollingUpdate":null}"#),
            (
                "Taint",
                json!({"effect": "NoSchedule", "key": "k"}),
                r#"{"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}"#,
            ),
            (
                "SuccessPolicy",
                json!({"rules": [{"succeededCount": 1}]}),
                r#"{"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}"#,
            ),
            (
                "ServicePort",
                json!({"port": 80, "protocol": "TCP"}),
                r#"{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&shown(name, &value)).expect("JSON"), expected, "{name}");
        }
    }
}
