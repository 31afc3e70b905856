//! Access reviews: the question in the spec of a review, and the answer in its status.

use crate::rbac::{Attributes, Grounds, is_operators_path};
use api::{Cause, Error, Result, TenantName};
use serde_json::{Value, json};

const GROUP: &str = "authorization.k8s.io";

/// Reads the question of a SelfSubjectAccessReview, SubjectAccessReview or LocalSubjectAccessReview in `tenant`.
/// `is_cluster_kind` answers for a group and a resource. 422 unless the spec asks exactly one question.
pub fn attributes<'a>(
    spec: &'a Value,
    tenant: Option<&'a TenantName>,
    is_cluster_kind: &dyn Fn(&str, &str) -> bool,
) -> Result<Attributes<'a>> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_object(), path.is_object()) {
        (true, false) => {
            let cluster_scoped = is_cluster_kind(text(resource, "group"), text(resource, "resource"));
            Ok(Attributes {
                verb: text(resource, "verb"),
                tenant: tenant.filter(|_| !cluster_scoped),
                group: text(resource, "group"),
                version: text(resource, "version"),
                resource: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                namespace: text(resource, "namespace"),
                name: text(resource, "name"),
                cluster_scoped,
                ..Attributes::default()
            })
        }
        (false, true) => {
            let (verb, path) = (text(path, "verb"), text(path, "path"));
            let cluster_scoped = is_operators_path(path);
            Ok(Attributes { verb, tenant, path: Some(path), cluster_scoped, ..Attributes::default() })
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(invalid("spec.resourceAttributes", "null", why))
        }
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            Err(invalid("spec.nonResourceAttributes", &path_text(path), why))
        }
    }
}

/// Checks that a LocalSubjectAccessReview in `namespace` asks about this namespace.
pub fn check_local(spec: &Value, namespace: &str) -> Result<()> {
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        return Err(invalid("spec.nonResourceAttributes", &path_text(path), "disallowed on this kind of request"));
    }
    let asked = text(&spec["resourceAttributes"], "namespace");
    if asked != namespace {
        let value = format!("{asked:?}");
        return Err(invalid("spec.resourceAttributes.namespace", &value, "must match metadata.namespace"));
    }
    Ok(())
}

/// The status of an access review.
pub fn status(grounds: Option<&Grounds>) -> Value {
    let mut status = json!({"allowed": grounds.is_some()});
    let reason = grounds.map(Grounds::to_string).unwrap_or_default();
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn path_text(attributes: &Value) -> String {
    format!("{{\"Path\":{:?},\"Verb\":{:?}}}", text(attributes, "path"), text(attributes, "verb"))
}

fn invalid(field: &str, value: &str, why: &str) -> Error {
    let message = format!("Invalid value: {value}: {why}");
    let cause = Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.to_owned() };
    Error::invalid(GROUP, "", "", vec![cause])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_node(group: &str, resource: &str) -> bool {
        group.is_empty() && resource == "nodes"
    }

    #[test]
    fn a_review_asks_about_a_resource_or_a_path() {
        let acme = TenantName::new("acme").expect("a tenant");
        let spec = json!({"resourceAttributes": {
            "verb": "get", "group": "apps", "resource": "deployments", "subresource": "scale", "namespace": "n", "name": "d"}});
        let what = attributes(&spec, Some(&acme), &is_node).expect("a question");
        assert_eq!((what.verb, what.group, what.resource), ("get", "apps", "deployments"));
        assert_eq!((what.subresource, what.namespace, what.name), ("scale", "n", "d"));
        assert_eq!((what.tenant, what.cluster_scoped, what.path), (Some(&acme), false, None));

        let spec = json!({"resourceAttributes": {"verb": "get", "resource": "nodes"}});
        let what = attributes(&spec, Some(&acme), &is_node).expect("a question");
        assert_eq!((what.tenant, what.cluster_scoped), (None, true));

        let spec = json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}});
        assert_eq!(attributes(&spec, None, &is_node).expect("a question").path, Some("/metrics"));
    }

    #[test]
    fn a_review_of_a_path_of_the_operators_asks_what_a_request_would() {
        let acme = TenantName::new("acme").expect("a tenant");
        for (path, expected) in [("/metrics", true), ("/metrics/", false), ("/version", false), ("", false)] {
            let spec = json!({"nonResourceAttributes": {"verb": "get", "path": path}});
            let what = attributes(&spec, Some(&acme), &is_node).expect("a question");
            assert_eq!((what.tenant, what.cluster_scoped), (Some(&acme), expected), "{path}");
        }
    }

    #[test]
    fn a_review_with_no_or_two_questions_is_invalid() {
        let resource = json!({"verb": "get", "resource": "pods"});
        let path = json!({"verb": "get", "path": "/x"});
        let both = json!({"resourceAttributes": resource, "nonResourceAttributes": path});
        for (spec, expected) in [
            (
                json!({"user": "alice"}),
                ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
                 nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                both,
                ".authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: Invalid value: \
                 {\"Path\":\"/x\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes",
            ),
        ] {
            let error = attributes(&spec, None, &is_node).expect_err("no question");
            assert_eq!((error.message(), error.code()), (expected, 422));
        }
    }

    #[test]
    fn a_local_review_stays_in_its_namespace() {
        let spec = |namespace: &str| json!({"resourceAttributes": {"namespace": namespace, "verb": "get"}});
        assert!(check_local(&spec("a"), "a").is_ok());
        for bad in [spec("b"), spec(""), json!({"nonResourceAttributes": {"path": "/x"}})] {
            assert_eq!(check_local(&bad, "a").expect_err("elsewhere").code(), 422);
        }
    }
}
