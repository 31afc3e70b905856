//! Questions about access: what they must say to be answered.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::value::{is_empty, text};
use serde::Serialize;
use serde_json::Value;

const SPEC: Path = Path::new("spec");

pub(crate) static SELF_SUBJECT_ACCESS_REVIEWS: Strategy =
    Strategy { validate: |review| Causes::of(|causes| attributes(&review["spec"], causes)), ..Strategy::PLAIN };

pub(crate) static SUBJECT_ACCESS_REVIEWS: Strategy =
    Strategy { validate: |review| Causes::of(|causes| subject(&review["spec"], causes)), ..Strategy::PLAIN };

pub(crate) static LOCAL_SUBJECT_ACCESS_REVIEWS: Strategy = Strategy {
    validate: |review| {
        Causes::of(|causes| {
            let spec = &review["spec"];
            subject(spec, causes);
            let asked = &spec["resourceAttributes"];
            if !asked.is_null() && text(&asked["namespace"]) != text(&review["metadata"]["namespace"]) {
                let at = SPEC.child("resourceAttributes");
                causes.invalid(&at.child("namespace"), text(&asked["namespace"]), "must match metadata.namespace");
            }
            if !spec["nonResourceAttributes"].is_null() {
                let at = SPEC.child("nonResourceAttributes");
                causes.invalid(&at, Shown::of(spec), "disallowed on this kind of request");
            }
        })
    },
    ..Strategy::PLAIN
};

fn subject(spec: &Value, causes: &mut Causes) {
    attributes(spec, causes);
    if is_empty(&spec["user"]) && is_empty(&spec["groups"]) {
        causes.invalid(&SPEC.child("user"), "", "at least one of user or group must be specified");
    }
}

/// Access is to a resource or to a path.
fn attributes(spec: &Value, causes: &mut Causes) {
    match (spec["resourceAttributes"].is_null(), spec["nonResourceAttributes"].is_null()) {
        (true, true) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            causes.invalid(&SPEC.child("resourceAttributes"), Value::Null, why);
        }
        (false, false) => {
            let at = SPEC.child("nonResourceAttributes");
            causes.invalid(&at, Shown::of(spec), "cannot be specified in combination with resourceAttributes");
        }
        _ => {}
    }
}

/// Access to a path, as causes show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    path: &'a str,
    verb: &'a str,
}

impl Shown<'_> {
    fn of(spec: &Value) -> Shown<'_> {
        let asked = &spec["nonResourceAttributes"];
        Shown { path: text(&asked["path"]), verb: text(&asked["verb"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_review_asks_one_thing_of_someone() {
        let (resource, path) = (json!({"namespace": "n", "verb": "get"}), json!({"path": "/", "verb": "get"}));
        for (spec, own, anyones) in [
            (json!({}), 1, 2),
            (json!({"resourceAttributes": resource}), 0, 1),
            (json!({"resourceAttributes": resource, "user": "u"}), 0, 0),
            (json!({"nonResourceAttributes": path, "groups": ["g"]}), 0, 0),
            (json!({"resourceAttributes": resource, "nonResourceAttributes": path, "user": "u"}), 1, 1),
        ] {
            let review = json!({"spec": spec});
            assert_eq!((SELF_SUBJECT_ACCESS_REVIEWS.validate)(&review).len(), own, "{spec}");
            assert_eq!((SUBJECT_ACCESS_REVIEWS.validate)(&review).len(), anyones, "{spec}");
        }
    }

    #[test]
    fn a_local_review_is_about_its_own_namespace() {
        let causes = |namespace: &str, spec: Value| {
            let review = json!({"metadata": {"namespace": namespace}, "spec": spec});
            (LOCAL_SUBJECT_ACCESS_REVIEWS.validate)(&review).len()
        };
        let spec = json!({"user": "u", "resourceAttributes": {"namespace": "n"}});
        assert_eq!(causes("n", spec.clone()), 0);
        assert_eq!(causes("m", spec), 1);
        assert_eq!(causes("n", json!({"user": "u", "nonResourceAttributes": {"path": "/"}})), 1);
    }
}
