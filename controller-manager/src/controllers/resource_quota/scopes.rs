//! Which objects a quota speaks of. Pure.

use super::pods::Pod;
use super::usage::Claim;
use super::{ScopeTerm, Spec};

/// Whether a quota speaks of all objects, as it has to for those other than pods and claims.
pub fn are_none(spec: &Spec) -> bool {
    spec.scopes.is_empty() && spec.scope_selector.as_ref().is_none_or(|s| s.match_expressions.is_empty())
}

fn terms(spec: &Spec) -> impl Iterator<Item = ScopeTerm> {
    let exists =
        |scope: &String| ScopeTerm { scope_name: scope.clone(), operator: "Exists".to_owned(), values: Vec::new() };
    let selected = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().cloned());
    spec.scopes.iter().map(exists).chain(selected)
}

pub fn matches(spec: &Spec, pod: &Pod) -> bool {
    terms(spec).all(|term| match term.scope_name.as_str() {
        "Terminating" => pod.has_deadline(),
        "NotTerminating" => !pod.has_deadline(),
        "BestEffort" => pod.is_best_effort(),
        "NotBestEffort" => !pod.is_best_effort(),
        "PriorityClass" => holds(&term, [pod.spec.priority_class_name.as_str()]),
        "CrossNamespacePodAffinity" => pod.looks_at_other_namespaces(),
        _ => false,
    })
}

pub fn matches_claim(spec: &Spec, claim: &Claim) -> bool {
    terms(spec).all(|term| {
        let names = [&claim.spec.volume_attributes_class_name, &claim.status.current_volume_attributes_class_name];
        let names = names.map(|n| n.as_deref().unwrap_or_default());
        term.scope_name == "VolumeAttributesClass" && holds(&term, names)
    })
}

/// Whether a term holds for an object that has one of these names; an empty name is none.
fn holds<const N: usize>(term: &ScopeTerm, names: [&str; N]) -> bool {
    let mut names = names.into_iter().filter(|n| !n.is_empty());
    match term.operator.as_str() {
        "Exists" => names.next().is_some(),
        "DoesNotExist" => names.next().is_none(),
        "In" => names.any(|n| term.values.iter().any(|v| v == n)),
        "NotIn" => !names.any(|n| term.values.iter().any(|v| v == n)),
        _ => false,
    }
}
