//! Which names a definition gets, and what its conditions say of it. Pure.

use super::condition;
use crate::view::{CustomResourceDefinition, CustomResourceNames};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;

const APPROVED: &str = "api-approved.kubernetes.io";
const APPROVAL: &str = "KubernetesAPIApprovalPolicyConformant";

/// The fields of the status that change, by the names that other definitions of the tenant have; `None` for no change.
pub fn plan<'a>(
    definition: &CustomResourceDefinition,
    others: impl Iterator<Item = &'a CustomResourceDefinition>,
    now: Timestamp,
) -> Option<Vec<(&'static str, Value)>> {
    let (wanted, had) = (&definition.spec.names, &definition.status.accepted_names);
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    for other in others.filter(|other| other.spec.group == definition.spec.group) {
        let names = &other.status.accepted_names;
        resources.extend([names.plural.as_str(), names.singular.as_str()]);
        resources.extend(names.short_names.iter().map(String::as_str));
        kinds.extend([names.kind.as_str(), names.list_kind.as_str()]);
    }
    let mut accepted = had.clone();
    let mut conflict: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    let mut take = |reason: &'static str, wanted: &String, had: &String, used: &HashSet<&str>, slot: &mut String| {
        if wanted != had && used.contains(wanted.as_str()) {
            conflict = Some((reason, in_use(wanted)));
        } else {
            slot.clone_from(wanted);
        }
    };
    take("PluralConflict", &wanted.plural, &had.plural, &resources, &mut accepted.plural);
    take("SingularConflict", &wanted.singular, &had.singular, &resources, &mut accepted.singular);
    let fresh = wanted.short_names.iter().filter(|name| !had.short_names.contains(name));
    let taken: Vec<String> = fresh.filter(|name| resources.contains(name.as_str())).map(|name| in_use(name)).collect();
    let mut short_conflict = None;
    match taken.as_slice() {
        [] => accepted.short_names.clone_from(&wanted.short_names),
        [one] => short_conflict = Some(one.clone()),
        many => short_conflict = Some(format!("[{}]", many.join(", "))),
    }
    let before_kinds = conflict.take();
    let mut take = |reason: &'static str, wanted: &String, had: &String, slot: &mut String| {
        if wanted != had && kinds.contains(wanted.as_str()) {
            conflict = Some((reason, in_use(wanted)));
        } else {
            slot.clone_from(wanted);
        }
    };
    take("KindConflict", &wanted.kind, &had.kind, &mut accepted.kind);
    take("ListKindConflict", &wanted.list_kind, &had.list_kind, &mut accepted.list_kind);
    accepted.categories.clone_from(&wanted.categories);
    // The last conflict is the one that is told.
    let conflict = conflict.or(short_conflict.map(|why| ("ShortNamesConflict", why))).or(before_kinds);

    let mut conditions = definition.status.conditions.iter().map(crate::view::Condition::to_value).collect();
    match &conflict {
        Some((reason, why)) => set(&mut conditions, "NamesAccepted", "False", reason, why, now),
        None => set(&mut conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    }
    if !definition.has("Established") {
        match conflict {
            Some(_) => set(&mut conditions, "Established", "False", "NotAccepted", "not all names are accepted", now),
            None => {
                let why = "the initial names have been accepted";
                set(&mut conditions, "Established", "True", "InitialNamesAccepted", why, now);
            }
        }
    }
    approval(definition, &mut conditions, now);
    let old: Vec<Value> = definition.status.conditions.iter().map(crate::view::Condition::to_value).collect();
    if accepted == *had && conditions == old {
        return None;
    }
    Some(vec![("acceptedNames", to_value(&accepted)), ("conditions", Value::Array(conditions))])
}

/// Sets a condition; its time changes with its status alone.
fn set(conditions: &mut Vec<Value>, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let mut new = condition(kind, status, reason, message, now);
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Groups of Kubernetes' own say that, and where, they were approved.
fn approval(definition: &CustomResourceDefinition, conditions: &mut Vec<Value>, now: Timestamp) {
    let group = &definition.spec.group;
    let own = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !own("k8s.io") && !own("kubernetes.io") {
        return;
    }
    let given = definition.metadata.annotations.get(APPROVED).map(String::as_str).unwrap_or_default();
    let url = given.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    match given {
        "" => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {SEE}");
            set(conditions, APPROVAL, "False", "MissingAnnotation", &why, now);
        }
        given if given.starts_with("unapproved") => {
            let why = format!("not approved: {given:?}");
            set(conditions, APPROVAL, "False", "UnapprovedAnnotation", &why, now);
        }
        given if url => set(conditions, APPROVAL, "True", "ApprovedAnnotation", &format!("approved in {given}"), now),
        _ => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {SEE}"
            );
            set(conditions, APPROVAL, "False", "InvalidAnnotation", &why, now);
        }
    }
}

fn to_value(names: &CustomResourceNames) -> Value {
    let mut value = json!({"plural": names.plural, "kind": names.kind});
    for (field, text) in [("singular", &names.singular), ("listKind", &names.list_kind)] {
        if !text.is_empty() {
            value[field] = json!(text);
        }
    }
    for (field, list) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !list.is_empty() {
            value[field] = json!(list);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: &str, short: &[&str]) -> CustomResourceDefinition {
        let names = json!({
            "plural": name, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": short,
        });
        let value = json!({"metadata": {"name": name}, "spec": {"group": "example.com", "names": names}});
        serde_json::from_value(value).expect("a definition")
    }

    fn accepted(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
        definition.status.accepted_names = definition.spec.names.clone();
        definition
    }

    fn told(definition: &CustomResourceDefinition, others: &[CustomResourceDefinition]) -> Vec<String> {
        let plan = plan(definition, others.iter(), Timestamp::default()).expect("a change");
        let conditions = plan.iter().find(|(field, _)| *field == "conditions").map(|(_, value)| value.clone());
        let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
        let line = |c: &Value| format!("{}={} {}", text(c, "type"), text(c, "status"), text(c, "reason"));
        conditions.and_then(|c| c.as_array().cloned()).unwrap_or_default().iter().map(line).collect()
    }

    #[test]
    fn names_that_nobody_has_are_accepted_and_the_definition_is_established() {
        let all = ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"];
        assert_eq!(told(&definition("things", "Thing", &["th"]), &[]), all);
        let mut elsewhere = accepted(definition("things", "Thing", &["th"]));
        elsewhere.spec.group = "other.example.com".to_owned();
        assert_eq!(told(&definition("things", "Thing", &["th"]), &[elsewhere]), all);
    }

    #[test]
    fn names_that_another_has_are_refused_and_the_last_of_them_is_told() {
        let first = accepted(definition("things", "Thing", &["th"]));
        for (name, kind, short, reason) in [
            ("others", "Thing", "x", "ListKindConflict"),
            ("others", "Other", "th", "ShortNamesConflict"),
            ("things", "Other", "x", "PluralConflict"),
        ] {
            let conditions = told(&definition(name, kind, &[short]), std::slice::from_ref(&first));
            assert_eq!(
                conditions,
                [format!("NamesAccepted=False {reason}"), "Established=False NotAccepted".to_owned()]
            );
        }
    }

    #[test]
    fn what_is_settled_is_left_alone() {
        let mut settled = definition("things", "Thing", &[]);
        let now = Timestamp::from_unix_secs(7);
        let planned = plan(&settled, [].into_iter(), now).expect("a change");
        for (field, value) in planned {
            match field {
                "conditions" => settled.status.conditions = serde_json::from_value(value).expect("conditions"),
                _ => settled.status.accepted_names = serde_json::from_value(value).expect("names"),
            }
        }
        assert_eq!(plan(&settled, [].into_iter(), Timestamp::from_unix_secs(9)), None);
    }
}
