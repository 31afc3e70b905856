//! Access reviews: the question in the spec of a review, and the answer in its status.

use crate::rbac::{Attributes, Grounds, is_operators_path};
use api::selector::FieldSelector;
use api::{Result, TenantName};
use serde_json::{Value, json};

/// What a review asks, and what of it could not be read.
pub struct Question {
    /// The terms of its field selector that say one value.
    fields: Option<FieldSelector>,
    /// Empty when all was understood.
    pub evaluation_error: String,
}

impl Question {
    /// Reads the selectors of a valid spec. What cannot be read is left out, which only asks for more.
    pub fn of(spec: &Value) -> Question {
        let asked = &spec["resourceAttributes"];
        let (fields, wrong) = fields(&asked["fieldSelector"]);
        let mut errors = Vec::new();
        for (field, wrong) in [("fieldSelector", wrong), ("labelSelector", unreadable_labels(&asked["labelSelector"]))]
        {
            let how = match wrong {
                Read::All => continue,
                Read::Part => "partially ignored",
                Read::Nothing => "ignored",
            };
            errors.push(format!("spec.resourceAttributes.{field} {how} due to parse error"));
        }
        Question { fields, evaluation_error: errors.join("; ") }
    }

    /// What the review asks about, in `tenant`. `is_cluster_kind` answers for a group and a resource.
    pub fn attributes<'a>(
        &'a self,
        spec: &'a Value,
        tenant: Option<&'a TenantName>,
        is_cluster_kind: &dyn Fn(&str, &str) -> bool,
    ) -> Attributes<'a> {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        if resource.is_object() {
            let cluster_scoped = is_cluster_kind(text(resource, "group"), text(resource, "resource"));
            return Attributes {
                verb: text(resource, "verb"),
                tenant: tenant.filter(|_| !cluster_scoped),
                group: text(resource, "group"),
                version: text(resource, "version"),
                resource: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                namespace: text(resource, "namespace"),
                name: text(resource, "name"),
                cluster_scoped,
                fields: self.fields.as_ref(),
                path: None,
            };
        }
        let (verb, path) = (text(path, "verb"), text(path, "path"));
        Attributes { verb, tenant, path: Some(path), cluster_scoped: is_operators_path(path), ..Attributes::default() }
    }
}

/// The tenant that a review names besides the one it is made in; 400 for what is no name.
pub fn named_tenant(spec: &Value) -> Result<Option<TenantName>> {
    match text(&spec["resourceAttributes"], "tenant") {
        "" => Ok(None),
        name => TenantName::new(name).map(Some),
    }
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

/// How much of a selector could be read.
#[derive(PartialEq)]
enum Read {
    All,
    Part,
    Nothing,
}

fn fields(selector: &Value) -> (Option<FieldSelector>, Read) {
    if !selector.is_object() {
        return (None, Read::All);
    }
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return match FieldSelector::parse(raw) {
            Ok(fields) => (Some(fields), Read::All),
            Err(_) => (None, Read::Nothing),
        };
    }
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let terms: Vec<_> = requirements.iter().filter_map(field_term).collect();
    let read = how_much(terms.len(), requirements.len());
    ((!terms.is_empty()).then_some(FieldSelector::of(terms)), read)
}

fn field_term(requirement: &Value) -> Option<(String, String, bool)> {
    let equal = match text(requirement, "operator") {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    match requirement["values"].as_array()?.as_slice() {
        [one] => Some((text(requirement, "key").to_owned(), one.as_str()?.to_owned(), equal)),
        _ => None,
    }
}

/// RBAC does not look at labels: only whether they can be read is told.
fn unreadable_labels(selector: &Value) -> Read {
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return if api::selector::LabelSelector::parse(raw).is_ok() { Read::All } else { Read::Nothing };
    }
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |r: &&Value| matches!(text(r, "operator"), "In" | "NotIn" | "Exists" | "DoesNotExist");
    how_much(requirements.iter().filter(known).count(), requirements.len())
}

fn how_much(read: usize, all: usize) -> Read {
    match read {
        _ if read == all => Read::All,
        0 => Read::Nothing,
        _ => Read::Part,
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
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
        let question = Question::of(&spec);
        let what = question.attributes(&spec, Some(&acme), &is_node);
        assert_eq!((what.verb, what.group, what.resource), ("get", "apps", "deployments"));
        assert_eq!((what.subresource, what.namespace, what.name), ("scale", "n", "d"));
        assert_eq!((what.tenant, what.cluster_scoped, what.path), (Some(&acme), false, None));

        let spec = json!({"resourceAttributes": {"verb": "get", "resource": "nodes"}});
        let question = Question::of(&spec);
        let what = question.attributes(&spec, Some(&acme), &is_node);
        assert_eq!((what.tenant, what.cluster_scoped), (None, true));

        for (path, expected) in [("/metrics", true), ("/metrics/", false), ("/version", false), ("", false)] {
            let spec = json!({"nonResourceAttributes": {"verb": "get", "path": path}});
            let question = Question::of(&spec);
            let what = question.attributes(&spec, Some(&acme), &is_node);
            assert_eq!((what.tenant, what.path, what.cluster_scoped), (Some(&acme), Some(path), expected), "{path}");
        }
    }

    #[test]
    fn what_of_a_selector_cannot_be_read_is_told() {
        let require =
            |operator: &str, values: &[&str]| json!({"key": "metadata.name", "operator": operator, "values": values});
        let good = require("In", &["a"]);
        let ignored = "spec.resourceAttributes.fieldSelector ignored due to parse error";
        let part = "spec.resourceAttributes.fieldSelector partially ignored due to parse error";
        for (selector, name, error) in [
            (json!(null), None, ""),
            (json!({"rawSelector": "metadata.name=a"}), Some("a"), ""),
            (json!({"rawSelector": "metadata.name"}), None, ignored),
            (json!({"requirements": [good]}), Some("a"), ""),
            (json!({"requirements": [require("NotIn", &["a"])]}), None, ""),
            (json!({"requirements": [require("In", &["a", "b"])]}), None, ignored),
            (json!({"requirements": [require("Near", &["a"]), good]}), Some("a"), part),
        ] {
            let spec = json!({"resourceAttributes": {"verb": "list", "resource": "nodes", "fieldSelector": selector}});
            let question = Question::of(&spec);
            let what = question.attributes(&spec, None, &is_node);
            assert_eq!(what.fields.and_then(|fields| fields.required("metadata.name")), name, "{selector}");
            assert_eq!(question.evaluation_error, error, "{selector}");
        }
        let spec =
            json!({"resourceAttributes": {"labelSelector": {"requirements": [{"key": "a", "operator": "Near"}]}}});
        let expected = "spec.resourceAttributes.labelSelector ignored due to parse error";
        assert_eq!(Question::of(&spec).evaluation_error, expected);
    }
}
