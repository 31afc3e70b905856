//! The roles and bindings that Kubernetes 1.36 brings along, made from the table in `default_roles.txt`.

use super::{GROUP, Rule};
use serde_json::{Value, json};

/// The default objects of one tenant, without tenant, uid and times.
pub struct DefaultRoles {
    pub cluster_roles: Vec<Value>,
    pub cluster_role_bindings: Vec<Value>,
    pub roles: Vec<Value>,
    pub role_bindings: Vec<Value>,
}

const TABLE: &str = include_str!("default_roles.txt");

/// Roles that are made of others: their names and the label that selects the others.
const AGGREGATED: [(&str, &str); 3] = [
    ("admin", "rbac.authorization.k8s.io/aggregate-to-admin"),
    ("edit", "rbac.authorization.k8s.io/aggregate-to-edit"),
    ("view", "rbac.authorization.k8s.io/aggregate-to-view"),
];

/// Which roles carry such a label.
const AGGREGATED_INTO: [(&str, &str); 5] = [
    ("edit", "admin"),
    ("system:aggregate-to-admin", "admin"),
    ("system:aggregate-to-edit", "edit"),
    ("system:aggregate-to-view", "view"),
    ("view", "edit"),
];

/// The prefix of the roles of controllers; what follows is the name of their service account in `kube-system`.
const CONTROLLER: &str = "system:controller:";

/// Whom the other cluster roles are bound to, under their own name. `system:node` is bound to nobody: a node has
/// rights on what its pods need, not on what its role says.
const BOUND: [(&str, &[(&str, &str)]); 12] = [
    ("cluster-admin", &[("Group", "system:masters")]),
    ("system:basic-user", &[("Group", "system:authenticated")]),
    ("system:discovery", &[("Group", "system:authenticated")]),
    ("system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
    ("system:kube-dns", &[("ServiceAccount", "kube-dns")]),
    ("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:monitoring", &[("Group", "system:monitoring")]),
    ("system:node", &[]),
    ("system:node-proxier", &[("User", "system:kube-proxy")]),
    ("system:public-info-viewer", &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")]),
    ("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
    ("system:volume-scheduler", &[("User", "system:kube-scheduler")]),
];

/// Whom the roles in namespaces are bound to: namespace, binding, role, subjects.
const BOUND_IN_NAMESPACES: [(&str, &str, &str, &[(&str, &str)]); 7] = [
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[("ServiceAccount", "bootstrap-signer")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[("User", "system:kube-controller-manager"), ("User", "system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[
            ("User", "system:kube-controller-manager"),
            ("ServiceAccount", "kube-controller-manager"),
            ("ServiceAccount", "leader-election-controller"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[("User", "system:kube-scheduler"), ("ServiceAccount", "kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[("ServiceAccount", "bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[("ServiceAccount", "cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[("ServiceAccount", "token-cleaner")],
    ),
];

/// The default roles and bindings of Kubernetes 1.36, sorted by name, with the rules of aggregated roles filled in.
pub fn default_roles() -> DefaultRoles {
    let table = read_table();
    let mut defaults = DefaultRoles {
        cluster_roles: AGGREGATED.iter().map(|(name, label)| aggregated(name, label, &table)).collect(),
        cluster_role_bindings: Vec::new(),
        roles: Vec::new(),
        role_bindings: Vec::new(),
    };
    for (name, rules) in &table {
        let rules: Vec<Value> = rules.iter().map(Rule::to_value).collect();
        match name.split_once('/') {
            Some((namespace, name)) => {
                let mut role = object("Role", name);
                role["metadata"]["namespace"] = json!(namespace);
                role["rules"] = json!(rules);
                defaults.roles.push(role);
            }
            None => {
                let mut role = cluster_role(name);
                role["rules"] = json!(rules);
                defaults.cluster_roles.push(role);
            }
        }
        if let Some(controller) = name.strip_prefix(CONTROLLER) {
            defaults.cluster_role_bindings.push(binding("", name, name, &[("ServiceAccount", controller)]));
        }
    }
    defaults.cluster_role_bindings.extend(BOUND.iter().map(|(name, subjects)| binding("", name, name, subjects)));
    let namespaced = BOUND_IN_NAMESPACES.iter().map(|(ns, name, role, subjects)| binding(ns, name, role, subjects));
    defaults.role_bindings.extend(namespaced);
    for list in [&mut defaults.cluster_roles, &mut defaults.cluster_role_bindings] {
        list.sort_by(|a, b| a["metadata"]["name"].as_str().cmp(&b["metadata"]["name"].as_str()));
    }
    defaults
}

/// The roles of the table in its order; those of a namespace as `namespace/name`.
fn read_table() -> Vec<(&'static str, Vec<Rule>)> {
    let mut roles: Vec<(&str, Vec<Rule>)> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            None => roles.push((line, Vec::new())),
            Some(rule) => roles.last_mut().expect("the table starts with a role").1.push(read_rule(rule)),
        }
    }
    roles
}

fn read_rule(line: &str) -> Rule {
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let verbs = |text: &str| match text {
        "read" => list("get,list,watch"),
        "write" => list("create,delete,deletecollection,patch,update"),
        other => list(other),
    };
    let groups = |text: &str| list(text).into_iter().map(|g| if g == "core" { String::new() } else { g }).collect();
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["events"] => read_rule("core,events.k8s.io events create,patch,update"),
        ["url", paths, actions] => Rule { verbs: verbs(actions), non_resource_urls: list(paths), ..Rule::default() },
        [group, resources, actions, names @ ..] => Rule {
            verbs: verbs(actions),
            api_groups: groups(group),
            resources: list(resources),
            resource_names: names.first().map(|names| list(names)).unwrap_or_default(),
            ..Rule::default()
        },
        _ => panic!("{line:?} in the table of default roles is no rule"),
    }
}

/// An aggregated role with the rules of all that it is made of, in the order of their names.
fn aggregated(name: &str, label: &str, table: &[(&str, Vec<Rule>)]) -> Value {
    let mut role = cluster_role(name);
    let matching = json!({"matchLabels": {label: "true"}});
    role["aggregationRule"] = json!({"clusterRoleSelectors": [matching]});
    let mut rules = Vec::new();
    collect(name, table, &mut rules);
    role["rules"] = json!(rules);
    role
}

fn collect(name: &str, table: &[(&str, Vec<Rule>)], rules: &mut Vec<Value>) {
    for (part, _) in AGGREGATED_INTO.iter().filter(|(_, whole)| *whole == name) {
        let own = table.iter().filter(|(role, _)| role == part);
        rules.extend(own.flat_map(|(_, rules)| rules).map(Rule::to_value));
        collect(part, table, rules);
    }
}

fn cluster_role(name: &str) -> Value {
    let mut role = object("ClusterRole", name);
    for (_, whole) in AGGREGATED_INTO.iter().filter(|(part, _)| *part == name) {
        role["metadata"]["labels"][format!("{GROUP}/aggregate-to-{whole}")] = json!("true");
    }
    role
}

fn binding(namespace: &str, name: &str, role: &str, subjects: &[(&str, &str)]) -> Value {
    let cluster = namespace.is_empty();
    let mut binding = object(if cluster { "ClusterRoleBinding" } else { "RoleBinding" }, name);
    if !cluster {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    let kind = if cluster { "ClusterRole" } else { "Role" };
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(|(kind, name)| subject(kind, name)).collect();
    }
    binding
}

fn subject(kind: &str, name: &str) -> Value {
    match kind {
        "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "kube-system"}),
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    }
}

fn object(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules<'a>(defaults: &'a DefaultRoles, name: &str) -> &'a [Value] {
        let role = defaults.cluster_roles.iter().find(|role| role["metadata"]["name"] == name);
        role.and_then(|role| role["rules"].as_array()).unwrap_or_else(|| panic!("{name} is a role with rules"))
    }

    #[test]
    fn every_binding_has_its_role() {
        let defaults = default_roles();
        let names = |list: &[Value]| -> Vec<(Value, Value)> {
            list.iter().map(|o| (o["metadata"]["namespace"].clone(), o["metadata"]["name"].clone())).collect()
        };
        let roles = [names(&defaults.cluster_roles), names(&defaults.roles)].concat();
        for binding in defaults.cluster_role_bindings.iter().chain(&defaults.role_bindings) {
            let role = (binding["metadata"]["namespace"].clone(), binding["roleRef"]["name"].clone());
            assert!(roles.contains(&role), "{binding}");
        }
        assert_eq!((roles.len(), defaults.cluster_role_bindings.len()), (76, 50));
    }

    #[test]
    fn admin_holds_edit_and_edit_holds_view() {
        let defaults = default_roles();
        let (admin, edit, view) = (rules(&defaults, "admin"), rules(&defaults, "edit"), rules(&defaults, "view"));
        assert!(admin.starts_with(edit));
        assert!(edit.ends_with(view));
        assert_eq!(view[2], json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}));
    }
}
