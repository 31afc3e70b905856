//! The names of a kind that a definition asks for.

use super::kind_name;
use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{list, text};
use serde_json::Value;

/// Names that a definition must have.
pub fn required(given: &Value, at: &Path, causes: &mut Causes) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(&given[field]).is_empty() {
            causes.required(&at.child(field), "");
        }
    }
}

/// What is wrong with the names that are given.
pub fn resource_names(given: &Value, at: &Path, causes: &mut Causes) {
    let label = |name: &str, at: &Path, causes: &mut Causes| {
        let problems = names::dns_1035_label(name);
        if !problems.is_empty() {
            causes.invalid(at, name, &problems.join(","));
        }
    };
    for field in ["plural", "singular"] {
        match text(&given[field]) {
            "" => {}
            name => label(name, &at.child(field), causes),
        }
    }
    for field in ["kind", "listKind"] {
        match text(&given[field]) {
            "" => {}
            kind => kind_name(kind, &at.child(field), causes),
        }
    }
    let short = at.child("shortNames");
    for (i, name) in list(&given["shortNames"]).iter().enumerate() {
        label(text(name), &short.index(i), causes);
    }
    let (kind, list_kind) = (text(&given["kind"]), text(&given["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        causes.invalid(&at.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
    let categories = at.child("categories");
    for (i, name) in list(&given["categories"]).iter().enumerate() {
        label(text(name), &categories.index(i), causes);
    }
}
