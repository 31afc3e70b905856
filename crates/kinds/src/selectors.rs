//! Checks of label selectors and of the terms that select nodes.

use crate::causes::{Causes, Path};
use crate::generic::labels;
use crate::names;
use crate::value::{is_empty, list, members, text};
use api::selector::LabelSelector;
use serde_json::Value;

/// A `metav1.LabelSelector`; nothing is wrong with an absent one.
pub(crate) fn label_selector(selector: &Value, at: &Path, causes: &mut Causes) {
    labels(&selector["matchLabels"], &at.child("matchLabels"), causes);
    let expressions = at.child("matchExpressions");
    for (i, term) in list(&selector["matchExpressions"]).iter().enumerate() {
        let at = expressions.index(i);
        match text(&term["operator"]) {
            "In" | "NotIn" => {
                if is_empty(&term["values"]) {
                    causes.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !is_empty(&term["values"]) {
                    causes.forbidden(
                        &at.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            other => causes.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        causes.each_invalid(&at.child("key"), text(&term["key"]), names::label_key(text(&term["key"])));
        let values = at.child("values");
        for (i, value) in list(&term["values"]).iter().enumerate() {
            causes.each_invalid(&values.index(i), text(value), names::label_value(text(value)));
        }
    }
}

/// Whether a label selector has no term: it selects everything.
pub(crate) fn selects_all(selector: &Value) -> bool {
    is_empty(&selector["matchLabels"]) && is_empty(&selector["matchExpressions"])
}

/// Whether a label selector that is in order selects labels.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let labels = members(labels).map(|(key, value)| (key.to_owned(), text(value).to_owned())).collect();
    LabelSelector::from_value(selector).is_ok_and(|selector| selector.matches(&labels))
}

/// Terms that select nodes, of which one must hold.
pub(crate) fn node_selector(selector: &Value, at: &Path, causes: &mut Causes) {
    let terms = at.child("nodeSelectorTerms");
    if is_empty(&selector["nodeSelectorTerms"]) {
        causes.required(&terms, "must have at least one node selector term");
    }
    for (i, term) in list(&selector["nodeSelectorTerms"]).iter().enumerate() {
        node_selector_term(term, &terms.index(i), causes);
    }
}

/// One term: expressions on labels and on fields.
pub(crate) fn node_selector_term(term: &Value, at: &Path, causes: &mut Causes) {
    let expressions = at.child("matchExpressions");
    for (i, expression) in list(&term["matchExpressions"]).iter().enumerate() {
        node_selector_requirement(expression, &expressions.index(i), causes);
    }
    let fields = at.child("matchFields");
    for (i, field) in list(&term["matchFields"]).iter().enumerate() {
        let at = fields.index(i);
        match text(&field["operator"]) {
            "In" | "NotIn" => {
                if list(&field["values"]).len() != 1 {
                    let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    causes.required(&at.child("values"), why);
                }
            }
            other => causes.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        if field["key"] == "metadata.name" {
            let values = at.child("values");
            for (i, value) in list(&field["values"]).iter().enumerate() {
                causes.each_invalid(&values.index(i), text(value), names::dns_subdomain(text(value)));
            }
        } else {
            causes.invalid(&at.child("key"), text(&field["key"]), "not a valid field selector key");
        }
    }
}

fn node_selector_requirement(term: &Value, at: &Path, causes: &mut Causes) {
    let values = at.child("values");
    match text(&term["operator"]) {
        "In" | "NotIn" => {
            if is_empty(&term["values"]) {
                causes.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !is_empty(&term["values"]) {
                causes.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
        }
        "Gt" | "Lt" => {
            if list(&term["values"]).len() != 1 {
                causes.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        other => causes.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    causes.each_invalid(&at.child("key"), text(&term["key"]), names::label_key(text(&term["key"])));
}
