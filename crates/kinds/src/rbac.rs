//! Roles and their bindings.

use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::selectors::label_selector;
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{default, is_empty, list, list_mut, text};
use crate::{NameRule, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What all four have in common.
const SHARED: Strategy = Strategy { name_rule: NameRule::PathSegment, create_on_update: true, ..Strategy::PLAIN };

pub(crate) static ROLES: Strategy =
    Strategy { validate: |role| Causes::of(|causes| rules(role, true, causes)), ..SHARED };

pub(crate) static CLUSTER_ROLES: Strategy = Strategy {
    validate: |role| {
        Causes::of(|causes| {
            rules(role, false, causes);
            aggregation(&role["aggregationRule"], causes);
        })
    },
    ..SHARED
};

/// What both bindings have in common.
const BINDINGS: Strategy = Strategy {
    defaults: binding_defaults,
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["roleRef"] != old["roleRef"] {
                causes.invalid(
                    &Path::new("roleRef"),
                    golang::shown("RoleRef", &new["roleRef"]),
                    "cannot change roleRef",
                );
            }
        })
    },
    row: binding_row,
    ..SHARED
};

pub(crate) static ROLE_BINDINGS: Strategy = Strategy {
    validate: |binding| Causes::of(|causes| validate_binding(binding, &["Role", "ClusterRole"], causes)),
    columns: &[
        NAME,
        explained(
            "Role",
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef \
             cannot be resolved, the Authorizer must return an error.",
        ),
        AGE,
        SUBJECTS[0],
        SUBJECTS[1],
        SUBJECTS[2],
    ],
    ..BINDINGS
};

pub(crate) static CLUSTER_ROLE_BINDINGS: Strategy = Strategy {
    validate: |binding| Causes::of(|causes| validate_binding(binding, &["ClusterRole"], causes)),
    columns: &[
        NAME,
        explained(
            "Role",
            "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the \
             Authorizer must return an error.",
        ),
        AGE,
        explained("Users", "Users in the clusterRoleBinding").wide(),
        explained("Groups", "Groups in the clusterRoleBinding").wide(),
        explained("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
    ],
    ..BINDINGS
};

const SUBJECTS: [Column; 3] = [
    explained("Users", "Users in the roleBinding").wide(),
    explained("Groups", "Groups in the roleBinding").wide(),
    explained("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
];

fn rules(role: &Value, namespaced: bool, causes: &mut Causes) {
    let at = Path::new("rules");
    for (i, rule) in list(&role["rules"]).iter().enumerate() {
        let at = at.index(i);
        if is_empty(&rule["verbs"]) {
            causes.required(&at.child("verbs"), "verbs must contain at least one value");
        }
        let urls = &rule["nonResourceURLs"];
        if !is_empty(urls) {
            let at = at.child("nonResourceURLs");
            if namespaced {
                causes.invalid(&at, urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !is_empty(&rule[*field])) {
                causes.invalid(&at, urls, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if is_empty(&rule["apiGroups"]) {
            causes.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if is_empty(&rule["resources"]) {
            causes.required(&at.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn aggregation(rule: &Value, causes: &mut Causes) {
    if rule.is_null() {
        return;
    }
    let at = Path::new("aggregationRule");
    let at = at.child("clusterRoleSelectors");
    let selectors = list(&rule["clusterRoleSelectors"]);
    if selectors.is_empty() {
        causes.required(&at, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (i, selector) in selectors.iter().enumerate() {
        let faults = Causes::of(|causes| label_selector(selector, &at.index(i), causes));
        if !faults.is_empty() {
            causes.extend(faults);
            causes.invalid(&at.index(i), Value::Null, "invalid label selector.");
        }
    }
}

fn binding_defaults(binding: &mut Value) {
    if let Some(role) = binding.get_mut("roleRef").filter(|role| role.is_object()) {
        default(role, "apiGroup", GROUP);
    }
    for subject in list_mut(binding, "subjects") {
        if matches!(text(&subject["kind"]), "User" | "Group") {
            default(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_binding(binding: &Value, roles: &[&str], causes: &mut Causes) {
    let (role, at) = (&binding["roleRef"], Path::new("roleRef"));
    causes.one_of(&at.child("apiGroup"), &role["apiGroup"], &[GROUP]);
    causes.one_of(&at.child("kind"), &role["kind"], roles);
    match text(&role["name"]) {
        "" => causes.required(&at.child("name"), ""),
        name => causes.each_invalid(&at.child("name"), name, names::path_segment(name, false)),
    }
    let in_namespace = roles.contains(&"Role");
    let at = Path::new("subjects");
    for (i, subject) in list(&binding["subjects"]).iter().enumerate() {
        let at = at.index(i);
        let name = text(&subject["name"]);
        if name.is_empty() {
            causes.required(&at.child("name"), "");
        }
        let group_at = at.child("apiGroup");
        match text(&subject["kind"]) {
            "ServiceAccount" => {
                if !name.is_empty() {
                    causes.each_invalid(&at.child("name"), name, names::dns_subdomain(name));
                }
                causes.one_of(&group_at, &subject["apiGroup"], &[""]);
                if !in_namespace && is_empty(&subject["namespace"]) {
                    causes.required(&at.child("namespace"), "");
                }
            }
            "User" | "Group" => causes.one_of(&group_at, &subject["apiGroup"], &[GROUP]),
            other => causes.unsupported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
        }
    }
}

fn binding_row(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    let of_kind = |kind: &str| {
        let subjects = list(&binding["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let shown: Vec<String> = subjects
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", text(&subject["namespace"]), text(&subject["name"])),
                _ => text(&subject["name"]).to_owned(),
            })
            .collect();
        json!(shown.join(", "))
    };
    vec![
        binding["metadata"]["name"].clone(),
        json!(format!("{}/{}", text(&role["kind"]), text(&role["name"]))),
        age(binding, now),
        of_kind("User"),
        of_kind("Group"),
        of_kind("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check;

    #[test]
    fn rules_say_what_may_be_done_to_what() {
        let role = |rule: Value| (ROLES.validate)(&json!({"rules": [rule]}));
        check(&role(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})), &[]);
        check(
            &role(json!({})),
            &["Required rules[0].verbs", "Required rules[0].apiGroups", "Required rules[0].resources"],
        );
        let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
        check(&role(urls.clone()), &["Invalid rules[0].nonResourceURLs"]);
        check(&(CLUSTER_ROLES.validate)(&json!({"rules": [urls]})), &[]);
    }

    #[test]
    fn bindings_name_a_role_and_subjects() {
        let binding = |strategy: &Strategy, role: &str, subject: Value| {
            let mut binding = json!({"roleRef": {"kind": role, "name": "r"}, "subjects": [subject]});
            (strategy.defaults)(&mut binding);
            (strategy.validate)(&binding)
        };
        let user = json!({"kind": "User", "name": "u"});
        check(&binding(&ROLE_BINDINGS, "Role", user.clone()), &[]);
        check(&binding(&CLUSTER_ROLE_BINDINGS, "Role", user), &["NotSupported roleRef.kind"]);
        let account = json!({"kind": "ServiceAccount", "name": "A_", "apiGroup": "x"});
        check(
            &binding(&CLUSTER_ROLE_BINDINGS, "ClusterRole", account),
            &["Invalid subjects[0].name", "NotSupported subjects[0].apiGroup", "Required subjects[0].namespace"],
        );
    }
}
