//! Field selectors: which fields of a kind a selector may name, and where the stored object holds them.
//!
//! Stored objects lack fields that hold their zero value (`false`, 0), so a selector for the zero value selects the
//! absent field. Two kinds that share their objects name the same fields differently.

use api::selector::FieldSelector;
use api::{Error, Kind, ResourceId, Result};

/// The fields beyond name and namespace that a selector may name, as clients name them.
pub(crate) fn of_kind(group: &str, plural: &str) -> &'static [&'static str] {
    match (group, plural) {
        ("", "actions") => &["spec.nodeName", "status.complete"],
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "namespaces") => &["status.phase"],
        ("", "tenants") => &["status.phase", "spec.suspended"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "replicationcontrollers") => &["status.replicas"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        ("resource.k8s.io", "resourceslices") => &["spec.nodeName", "spec.driver"],
        _ => &[],
    }
}

/// The paths of those fields in the stored object, and of what the server itself wants at hand.
pub(crate) fn stored(resource: &ResourceId) -> &'static [&'static str] {
    match (resource.group(), resource.resource()) {
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source.component",
            "type",
        ],
        ("batch", "jobs") => &["status.succeeded"],
        // Read for every write that names an instance.
        ("", "controllerinstances") => &["epoch"],
        // Read for every certificate, which must not be older than its tenant, and for every access to it: where it is kept.
        ("", "tenants") => &[
            "status.phase",
            "metadata.creationTimestamp",
            "spec.suspended",
            "spec.quota",
            "spec.storageClusterId",
            "status.storageClusterId",
            "status.move.from",
            "status.move.to",
        ],
        ("", "storageclusters") => &["storageClusterId"],
        (group, plural) => of_kind(group, plural),
    }
}

/// Checks that a kind's objects can be selected so, and says it in terms of the stored object.
pub fn field_selector(kind: &Kind, selector: &FieldSelector) -> Result<FieldSelector> {
    selector.translate(|(label, value, equal)| {
        let path = stored_path(kind, label).ok_or_else(|| unsupported(kind, label))?;
        let zero = match label.as_str() {
            "spec.hostNetwork" | "spec.unschedulable" | "spec.suspended" => "false",
            "status.successful" => "0",
            _ => "",
        };
        let value = if value == zero { String::new() } else { value.clone() };
        Ok((path, value, *equal))
    })
}

fn stored_path(kind: &Kind, label: &str) -> Option<String> {
    match label {
        "metadata.name" | "metadata.tenant" => return Some(label.to_owned()),
        "metadata.namespace" => return (kind.namespaced() || kind.selectable.is_empty()).then(|| label.to_owned()),
        _ if !kind.selectable.contains(&label) => return None,
        _ => {}
    }
    let path = match label {
        "source" => "source.component".to_owned(),
        "reportingController" => "reportingComponent".to_owned(),
        "status.successful" => "status.succeeded".to_owned(),
        _ => match label.strip_prefix("regarding.") {
            Some(field) => format!("involvedObject.{field}"),
            None => label.to_owned(),
        },
    };
    Some(path)
}

fn unsupported(kind: &Kind, label: &str) -> Error {
    Error::bad_request(match kind.kind.as_str() {
        _ if kind.selectable.is_empty() => {
            format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        "Job" => format!("field label {label:?} not supported for Job"),
        "ResourceSlice" => format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {label}"),
        _ => format!("field label not supported: {label}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[track_caller]
    fn check(group: &str, plural: &str, selector: &str, expected: Result<&str, &str>) {
        let kind = registry().find(group, "v1", plural).expect("a kind");
        let found = field_selector(kind, &FieldSelector::parse(selector).expect("a selector"));
        let text = |selector: FieldSelector| -> String {
            let sign = |equal| if equal { "=" } else { "!=" };
            selector.terms.iter().map(|(path, value, equal)| format!("{path}{}{value}", sign(*equal))).collect()
        };
        let found = found.map(text).map_err(|e| e.message().to_owned());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{plural}?{selector}");
    }

    #[test]
    fn selectors_name_what_the_stored_object_holds() {
        check("", "pods", "spec.nodeName!=n1", Ok("spec.nodeName!=n1"));
        check("", "pods", "spec.hostNetwork=false", Ok("spec.hostNetwork="));
        check("", "pods", "spec.hostNetwork!=true", Ok("spec.hostNetwork!=true"));
        check("batch", "jobs", "status.successful=0", Ok("status.succeeded="));
        check("events.k8s.io", "events", "regarding.kind=Pod", Ok("involvedObject.kind=Pod"));
        check("events.k8s.io", "events", "reportingController=x", Ok("reportingComponent=x"));
        check("", "configmaps", "metadata.namespace=a", Ok("metadata.namespace=a"));
    }

    #[test]
    fn other_fields_are_refused_as_upstream_words_it() {
        check("", "pods", "spec.foo=x", Err("field label not supported: spec.foo"));
        check("", "nodes", "metadata.namespace=x", Err("field label not supported: metadata.namespace"));
        check("events.k8s.io", "events", "source=x", Err("field label not supported: source"));
        check("batch", "jobs", "status.succeeded=1", Err("field label \"status.succeeded\" not supported for Job"));
        let only = "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        check("", "configmaps", "x=y", Err(only));
    }
}
