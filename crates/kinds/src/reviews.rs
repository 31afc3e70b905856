//! Questions about access: what they must say to be answered.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::value::{is_empty, list, text};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

const SPEC: Path = Path::new("spec");

pub(crate) static SELF_SUBJECT_ACCESS_REVIEWS: Strategy = Strategy {
    validate: |review| {
        Causes::of(|causes| {
            attributes(&review["spec"], causes);
            no_metadata(&review["metadata"], &[], "must be empty", causes);
        })
    },
    ..Strategy::PLAIN
};

pub(crate) static SUBJECT_ACCESS_REVIEWS: Strategy = Strategy {
    validate: |review| {
        Causes::of(|causes| {
            subject(&review["spec"], causes);
            no_metadata(&review["metadata"], &[], "must be empty", causes);
        })
    },
    ..Strategy::PLAIN
};

pub(crate) static LOCAL_SUBJECT_ACCESS_REVIEWS: Strategy = Strategy {
    validate: |review| {
        Causes::of(|causes| {
            let spec = &review["spec"];
            subject(spec, causes);
            no_metadata(&review["metadata"], &["namespace"], "must be empty except for namespace", causes);
            let asked = &spec["resourceAttributes"];
            if !asked.is_null() && text(&asked["namespace"]) != text(&review["metadata"]["namespace"]) {
                let at = SPEC.child("resourceAttributes");
                causes.invalid(&at.child("namespace"), text(&asked["namespace"]), "must match metadata.namespace");
            }
            if !spec["nonResourceAttributes"].is_null() {
                let at = SPEC.child("nonResourceAttributes");
                causes.invalid(
                    &at,
                    golang::shown("NonResourceAttributes", &spec["nonResourceAttributes"]),
                    "disallowed on this kind of request",
                );
            }
        })
    },
    ..Strategy::PLAIN
};

fn subject(spec: &Value, causes: &mut Causes) {
    one_question(spec, causes);
    if is_empty(&spec["user"]) && is_empty(&spec["groups"]) {
        causes.invalid(&SPEC.child("user"), "", "at least one of user or group must be specified");
    }
    selectors(&spec["resourceAttributes"], causes);
}

fn attributes(spec: &Value, causes: &mut Causes) {
    one_question(spec, causes);
    selectors(&spec["resourceAttributes"], causes);
}

/// Access is to a resource or to a path.
fn one_question(spec: &Value, causes: &mut Causes) {
    match (spec["resourceAttributes"].is_null(), spec["nonResourceAttributes"].is_null()) {
        (true, true) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            causes.invalid(&SPEC.child("resourceAttributes"), Value::Null, why);
        }
        (false, false) => {
            let at = SPEC.child("nonResourceAttributes");
            causes.invalid(
                &at,
                golang::shown("NonResourceAttributes", &spec["nonResourceAttributes"]),
                "cannot be specified in combination with resourceAttributes",
            );
        }
        _ => {}
    }
}

/// The selectors of a list: as text or as requirements. Operators that are not known are left to the answer.
fn selectors(asked: &Value, causes: &mut Causes) {
    let at = SPEC.child("resourceAttributes");
    for field in ["fieldSelector", "labelSelector"] {
        let (selector, at) = (&asked[field], at.child(field));
        if selector.is_null() {
            continue;
        }
        let requirements = at.child("requirements");
        match (is_empty(&selector["rawSelector"]), is_empty(&selector["requirements"])) {
            (false, false) => {
                let why = "may not specified at the same time as requirements";
                causes.invalid(&at.child("rawSelector"), text(&selector["rawSelector"]), why);
            }
            (true, true) => {
                causes.required(
                    &requirements,
                    &format!("when {at} is specified, requirements or rawSelector is required"),
                );
            }
            _ => {}
        }
        for (i, each) in list(&selector["requirements"]).iter().enumerate() {
            let at = requirements.index(i);
            let values = at.child("values");
            match text(&each["operator"]) {
                "In" | "NotIn" if is_empty(&each["values"]) => {
                    causes.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
                }
                "Exists" | "DoesNotExist" if !is_empty(&each["values"]) => {
                    causes.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
                _ => {}
            }
            let key = text(&each["key"]);
            if field == "labelSelector" {
                causes.each_invalid(&at.child("key"), key, names::qualified_name(key));
            } else if key.is_empty() {
                causes.required(&at.child("key"), "must be specified");
            }
        }
    }
}

/// A question has no name and no labels. Whose tenant it is asked in, the path says.
fn no_metadata(metadata: &Value, besides: &[&str], why: &str, causes: &mut Causes) {
    let ignored = |field: &str| matches!(field, "managedFields" | "tenant") || besides.contains(&field);
    let filled = metadata.as_object().into_iter().flatten();
    if filled.into_iter().any(|(field, value)| !ignored(field) && !is_empty(value)) {
        causes.invalid(&Path::new("metadata"), Metadata(metadata), why);
    }
}

/// Metadata in the order of upstream's fields.
struct Metadata<'a>(&'a Value);

const METADATA: [&str; 14] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

const MANAGED: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in METADATA {
            match &self.0[field] {
                Value::Null => {}
                Value::Array(entries) if field == "managedFields" => {
                    map.serialize_entry(field, &entries.iter().map(Managed).collect::<Vec<_>>())?;
                }
                value => map.serialize_entry(field, value)?,
            }
        }
        map.end()
    }
}

struct Managed<'a>(&'a Value);

impl Serialize for Managed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in MANAGED {
            if !self.0[field].is_null() {
                map.serialize_entry(field, &self.0[field])?;
            }
        }
        map.end()
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
