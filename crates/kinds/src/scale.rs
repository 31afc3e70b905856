//! The scale subresource: `autoscaling/v1` Scale of the kinds that run replicas.

use crate::print;
use crate::value::{int, set, text};
use api::Kind;
use serde_json::{Value, json};

/// The Scale of an object; `None` for kinds that have none.
pub fn scale_of(kind: &Kind, object: &Value) -> Option<Value> {
    kind.subresource("scale")?;
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut metadata = json!({});
    for field in ["name", "namespace", "tenant", "uid", "resourceVersion", "creationTimestamp"] {
        if !object["metadata"][field].is_null() {
            set(&mut metadata, field, object["metadata"][field].clone());
        }
    }
    let selector = match kind.kind.as_str() {
        "ReplicationController" => print::labels(&spec["selector"]),
        _ => print::selector(&spec["selector"]),
    };
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {},
        "status": {"replicas": int(&status["replicas"]).unwrap_or(0)},
    });
    if let Some(replicas) = int(&spec["replicas"]).filter(|replicas| *replicas != 0) {
        set(&mut scale["spec"], "replicas", replicas);
    }
    if selector != "<none>" {
        set(&mut scale["status"], "selector", text(&selector));
    }
    Some(scale)
}

/// Takes the number of replicas from a Scale.
pub fn set_scale(kind: &Kind, object: &mut Value, scale: &Value) {
    if kind.subresource("scale").is_some() && object["spec"].is_object() {
        set(&mut object["spec"], "replicas", int(&scale["spec"]["replicas"]).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn a_scale_says_how_many_replicas_there_are_and_shall_be() {
        let kind = registry().find("apps", "v1", "deployments").expect("a kind");
        let meta = json!({"name": "a", "uid": "u", "labels": {"x": "y"}});
        let selector = json!({"matchLabels": {"app": "a"}});
        let mut object =
            json!({"metadata": meta, "spec": {"replicas": 3, "selector": selector}, "status": {"replicas": 2}});
        let scale = scale_of(kind, &object).expect("a scale");
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=a"}));
        assert_eq!(scale["metadata"], json!({"name": "a", "uid": "u"}));
        set_scale(kind, &mut object, &json!({"spec": {}}));
        assert_eq!(object["spec"]["replicas"], 0);
        let pods = registry().find("", "v1", "pods").expect("a kind");
        assert!(scale_of(pods, &object).is_none());
    }
}
