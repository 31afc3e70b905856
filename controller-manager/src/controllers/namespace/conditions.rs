//! What a namespace that is being deleted says about itself. Pure.

use crate::controllers::content::Remaining;
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What came of an attempt to empty a namespace.
pub enum Outcome {
    /// It is not known what kinds there are.
    Undiscovered(String),
    Swept(Remaining),
}

/// A condition's type, and its reason and message while it is false.
type Condition = (&'static str, &'static str, &'static str);

const DISCOVERY: Condition =
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered");
const PARSING: Condition =
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed");
const CONTENT: Condition = (
    "NamespaceDeletionContentFailure",
    "ContentDeleted",
    "All content successfully deleted, may be waiting on finalization",
);
const REMAINING: Condition = ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed");
const FINALIZERS: Condition =
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished");

/// The conditions after an attempt; what has not changed stays as it is.
pub fn updated(old: &[Value], outcome: &Outcome, now: Timestamp) -> Vec<Value> {
    let none = Remaining::default();
    let (undiscovered, remaining) = match outcome {
        Outcome::Undiscovered(why) => (Some(why.clone()), &none),
        Outcome::Swept(remaining) => (None, remaining),
    };
    let objects = list(&remaining.objects, "has");
    let finalizers = list(&remaining.finalizers, "in");
    let failures = (!remaining.failures.is_empty()).then(|| {
        let (count, all) = (remaining.failures.len(), remaining.failures.join(", "));
        format!("Failed to delete all resource types, {count} remaining: {all}")
    });
    let objects = objects.map(|o| format!("Some resources are remaining: {o}"));
    let finalizers = finalizers.map(|f| format!("Some content in the namespace has finalizers remaining: {f}"));
    [
        (DISCOVERY, "DiscoveryFailed", undiscovered),
        (PARSING, "GroupVersionParsingFailed", None),
        (CONTENT, "ContentDeletionFailed", failures),
        (REMAINING, "SomeResourcesRemain", objects),
        (FINALIZERS, "SomeFinalizersRemain", finalizers),
    ]
    .into_iter()
    .map(|((kind, fine, all_is_well), wrong, trouble)| {
        let (status, reason, message) = match trouble {
            Some(message) => ("True", wrong, message),
            None => ("False", fine, all_is_well.to_owned()),
        };
        let before = old.iter().find(|c| c["type"] == kind);
        if let Some(before) = before
            && before["status"] == status
            && before["reason"] == reason
            && before["message"] == *message
        {
            return before.clone();
        }
        let since = before.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
        let since = since.unwrap_or_else(|| json!(now.to_string()));
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    })
    .collect()
}

/// `configmaps. has 1 resource instances, …`
fn list(counts: &BTreeMap<String, usize>, verb: &str) -> Option<String> {
    let texts: Vec<String> =
        counts.iter().map(|(what, count)| format!("{what} {verb} {count} resource instances")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    /// `type=status: reason: message` of each condition.
    fn texts(conditions: &[Value]) -> Vec<String> {
        let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
        conditions
            .iter()
            .map(|c| format!("{}={}: {}", text(c, "type"), text(c, "status"), text(c, "message")))
            .collect()
    }

    fn left(objects: &[(&str, usize)], finalizers: &[(&str, usize)], failures: &[&str]) -> Outcome {
        let counted = |counts: &[(&str, usize)]| counts.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        let failures = failures.iter().map(|&f| f.to_owned()).collect();
        Outcome::Swept(Remaining { objects: counted(objects), finalizers: counted(finalizers), failures })
    }

    #[test]
    fn conditions_name_what_is_left_and_why() {
        let outcome = left(&[("configmaps.", 2), ("deployments.apps", 1)], &[("example.com/hold", 3)], &["pods.: no"]);
        let expected = [
            "NamespaceDeletionDiscoveryFailure=False: All resources successfully discovered",
            "NamespaceDeletionGroupVersionParsingFailure=False: All legacy kube types successfully parsed",
            "NamespaceDeletionContentFailure=True: Failed to delete all resource types, 1 remaining: pods.: no",
            "NamespaceContentRemaining=True: Some resources are remaining: configmaps. has 2 resource instances, \
             deployments.apps has 1 resource instances",
            "NamespaceFinalizersRemaining=True: Some content in the namespace has finalizers remaining: \
             example.com/hold in 3 resource instances",
        ];
        assert_eq!(texts(&updated(&[], &outcome, at(1))), expected);
    }

    #[test]
    fn what_does_not_change_keeps_its_time() {
        let first = updated(&[], &left(&[("a.", 2)], &[], &[]), at(1));
        assert_eq!(updated(&first, &left(&[("a.", 2)], &[], &[]), at(2)), first);
        let fewer = updated(&first, &left(&[("a.", 1)], &[], &[]), at(2));
        assert_eq!(fewer[3]["lastTransitionTime"], at(1).to_string());
        assert_ne!(fewer[3]["message"], first[3]["message"]);
        let empty = updated(&first, &left(&[], &[], &[]), at(2));
        assert_eq!(empty[3]["lastTransitionTime"], at(2).to_string());
    }
}
