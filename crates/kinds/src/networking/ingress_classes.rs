//! Classes of ingresses.

use super::{SPEC, typed_reference};
use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::names;
use crate::table::{AGE, NAME, age, explained};
use crate::value::{default, text};
use serde_json::{Value, json};

const CONTROLLER_BYTES_MAX: usize = 250;

pub(crate) static INGRESS_CLASSES: Strategy = Strategy {
    defaults: |class| {
        if class["spec"]["parameters"].is_object() {
            default(&mut class["spec"]["parameters"], "scope", "Cluster");
        }
    },
    validate: |class| Causes::of(|causes| validate(&class["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let controller = &new["spec"]["controller"];
            if controller != &old["spec"]["controller"] {
                causes.immutable(&SPEC.child("controller"), controller);
            }
        })
    },
    generation: Some(spec_changed),
    columns: &[
        NAME,
        explained("Controller", "Controller that is responsible for handling this class"),
        explained("Parameters", "A reference to a resource with additional parameters"),
        AGE,
    ],
    row: |class, now| {
        let parameters = &class["spec"]["parameters"];
        let shown = match parameters["apiGroup"].as_str() {
            _ if parameters.is_null() => "<none>".to_owned(),
            Some(group) => format!("{}.{group}/{}", text(&parameters["kind"]), text(&parameters["name"])),
            None => format!("{}/{}", text(&parameters["kind"]), text(&parameters["name"])),
        };
        vec![
            class["metadata"]["name"].clone(),
            json!(text(&class["spec"]["controller"])),
            json!(shown),
            age(class, now),
        ]
    },
    ..Strategy::PLAIN
};

fn validate(spec: &Value, causes: &mut Causes) {
    let controller = text(&spec["controller"]);
    if controller.len() > CONTROLLER_BYTES_MAX {
        causes.too_long(&SPEC.child("controller"), CONTROLLER_BYTES_MAX);
    }
    domain_prefixed_path(controller, &SPEC.child("controller"), causes);
    let (parameters, at) = (&spec["parameters"], SPEC.child("parameters"));
    if parameters.is_null() {
        return;
    }
    typed_reference(parameters, &at, causes);
    let (namespace, namespace_at) = (parameters["namespace"].as_str(), at.child("namespace"));
    match text(&parameters["scope"]) {
        "Cluster" if namespace.is_some() => {
            causes.forbidden(&namespace_at, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        "Namespace" => match namespace {
            None => causes.required(&namespace_at, "`parameters.scope` is set to 'Namespace'"),
            Some(namespace) => causes.each_invalid(&namespace_at, namespace, names::dns_label(namespace)),
        },
        other => causes.unsupported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

/// A domain, `/`, and a path.
fn domain_prefixed_path(value: &str, at: &Path, causes: &mut Causes) {
    const PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    let allowed = |b: u8| b.is_ascii_alphanumeric() || br"/-._~%!$&'()*+,;=:".contains(&b);
    if value.is_empty() {
        return causes.required(at, "");
    }
    match value.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty()) {
        None => causes.invalid(at, value, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
        Some((domain, path)) => {
            causes.each_invalid(at, domain, names::dns_subdomain(domain));
            if !path.bytes().all(allowed) {
                causes.invalid(at, path, &format!("Invalid path (regex used for validation is '{PATH}')"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_in_the_cluster_or_in_one_namespace() {
        for (scope, namespace, faults) in [
            ("Cluster", Value::Null, 0),
            ("Cluster", json!("n"), 1),
            ("Namespace", json!("n"), 0),
            ("Namespace", json!("N"), 1),
            ("Namespace", Value::Null, 1),
            ("", Value::Null, 1),
        ] {
            let parameters = json!({"kind": "K", "name": "n", "scope": scope, "namespace": namespace});
            let spec = json!({"controller": "a.io/b", "parameters": parameters});
            assert_eq!(Causes::of(|causes| validate(&spec, causes)).len(), faults, "{parameters}");
        }
    }

    #[test]
    fn a_controller_is_a_path_below_a_domain() {
        for (controller, faults) in [("a.io/b/c", 0), ("", 1), ("a.io", 1), ("/b", 1), ("A_/b c", 2)] {
            let spec = json!({"controller": controller});
            assert_eq!(Causes::of(|causes| validate(&spec, causes)).len(), faults, "{controller}");
        }
    }
}
