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

/// The default roles and bindings of Kubernetes 1.36, sorted by name, with the rules of aggregated roles filled in.
pub fn default_roles() -> DefaultRoles {
    let table = read_table();
    let mut defaults = DefaultRoles {
        cluster_roles: AGGREGATED.iter().map(|(name, label)| aggregated(name, label, &table)).collect(),
        cluster_role_bindings: Vec::new(),
        roles: Vec::new(),
        role_bindings: Vec::new(),
    };
    for Row { namespace, name, rules, bindings } in &table {
        let bindings = bindings.iter().map(|line| binding(namespace, name, line));
        let (mut role, roles) = if namespace.is_empty() {
            defaults.cluster_role_bindings.extend(bindings);
            (cluster_role(name), &mut defaults.cluster_roles)
        } else {
            defaults.role_bindings.extend(bindings);
            (object("Role", namespace, name), &mut defaults.roles)
        };
        role["rules"] = rules.iter().map(Rule::to_value).collect();
        roles.push(role);
    }
    for list in [&mut defaults.cluster_roles, &mut defaults.role_bindings] {
        list.sort_by_key(|object| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            (text("namespace"), text("name"))
        });
    }
    defaults
}

/// A role of the table.
struct Row {
    /// Empty for cluster roles.
    namespace: &'static str,
    name: &'static str,
    rules: Vec<Rule>,
    /// What follows the word `binding`.
    bindings: Vec<&'static str>,
}

fn read_table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let Some(line) = line.strip_prefix("    ") else {
            let (namespace, name) = line.split_once('/').unwrap_or(("", line));
            rows.push(Row { namespace, name, rules: Vec::new(), bindings: Vec::new() });
            continue;
        };
        let row = rows.last_mut().expect("the table starts with a role");
        match line.strip_prefix("binding ") {
            Some(binding) => row.bindings.push(binding),
            None => row.rules.push(read_rule(line)),
        }
    }
    rows
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
fn aggregated(name: &str, label: &str, table: &[Row]) -> Value {
    let mut role = cluster_role(name);
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    let mut rules = Vec::new();
    collect(name, table, &mut rules);
    role["rules"] = json!(rules);
    role
}

fn collect(whole: &str, table: &[Row], rules: &mut Vec<Value>) {
    for (part, _) in AGGREGATED_INTO.iter().filter(|(_, into)| *into == whole) {
        let own = table.iter().filter(|row| row.name == *part);
        rules.extend(own.flat_map(|row| &row.rules).map(Rule::to_value));
        collect(part, table, rules);
    }
}

fn cluster_role(name: &str) -> Value {
    let mut role = object("ClusterRole", "", name);
    for (_, whole) in AGGREGATED_INTO.iter().filter(|(part, _)| *part == name) {
        role["metadata"]["labels"][format!("{GROUP}/aggregate-to-{whole}")] = json!("true");
    }
    role
}

/// `line` is the name of the binding and, unless it binds nobody, its subjects as `Kind/name`.
fn binding(namespace: &str, role: &str, line: &str) -> Value {
    let (name, subjects) = line.split_once(' ').unwrap_or((line, ""));
    let (kind, role_kind) =
        if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut binding = object(kind, namespace, name);
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.split(',').map(subject).collect();
    }
    binding
}

fn subject(text: &str) -> Value {
    match text.split_once('/') {
        Some((kind @ "ServiceAccount", name)) => json!({"kind": kind, "name": name, "namespace": "kube-system"}),
        Some((kind, name)) => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
        None => panic!("{text:?} in the table of default roles is no subject"),
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
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
