//! The flow schemas and priority levels of Kubernetes 1.36.

use super::GROUP;
use serde_json::{Value, json};

/// The default objects of one tenant, without tenant, uid and times.
pub struct DefaultFlows {
    pub flow_schemas: Vec<Value>,
    pub priority_levels: Vec<Value>,
}

/// A level that queues: its name, shares, what it lends in percent, queues and hand.
const LEVELS: [(&str, u32, u32, u32, u32); 6] = [
    ("global-default", 20, 50, 128, 6),
    ("leader-election", 10, 0, 16, 4),
    ("node-high", 40, 25, 64, 6),
    ("system", 30, 33, 64, 6),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
];

/// Requests in one queue.
const QUEUE_LENGTH: u32 = 50;

/// The default flow schemas and priority levels of Kubernetes 1.36, sorted by name.
pub fn default_flows() -> DefaultFlows {
    let mut priority_levels = vec![
        level(
            "catch-all",
            &json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
        ),
        level("exempt", &json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
    ];
    priority_levels.extend(LEVELS.map(|(name, shares, lendable, queues, hand)| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH});
        level(
            name,
            &json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing}}}),
        )
    }));
    let controllers = || user("system:kube-controller-manager");
    let scheduler = || user("system:kube-scheduler");
    let kube_system = || json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}});
    let everyone = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let nodes = || vec![group("system:nodes")];
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let all = || (vec![resources("*", &["*"], &["*"], true)], vec![paths(&["*"], &["*"])]);
    let leases = |verbs: &[&str]| resources("coordination.k8s.io", &["leases"], verbs, false);
    let node_high = vec![resources("", &["nodes", "nodes/status"], &["*"], true), leases(&["*"])];
    let elections = vec![leases(&["get", "create", "update"])];
    let probes = vec![paths(&["/healthz", "/readyz", "/livez"], &["get"])];
    let flow_schemas = vec![
        schema("catch-all", "catch-all", 10_000, by_user, everyone(), all()),
        schema("exempt", "exempt", 1, None, vec![group("system:masters")], all()),
        schema("global-default", "global-default", 9900, by_user, everyone(), all()),
        schema("kube-controller-manager", "workload-high", 800, by_namespace, vec![controllers()], all()),
        schema("kube-scheduler", "workload-high", 800, by_namespace, vec![scheduler()], all()),
        schema("kube-system-service-accounts", "workload-high", 900, by_namespace, vec![kube_system()], all()),
        schema("probes", "exempt", 2, None, everyone(), (Vec::new(), probes)),
        schema("service-accounts", "workload-low", 9000, by_user, vec![group("system:serviceaccounts")], all()),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            by_user,
            vec![controllers(), scheduler(), kube_system()],
            (elections, Vec::new()),
        ),
        schema("system-node-high", "node-high", 400, by_user, nodes(), (node_high, Vec::new())),
        schema("system-nodes", "system", 500, by_user, nodes(), all()),
    ];
    priority_levels.sort_by_key(|level| level["metadata"]["name"].to_string());
    DefaultFlows { flow_schemas, priority_levels }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "generation": 1, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec, "status": {},
    })
}

fn level(name: &str, spec: &Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

fn schema(
    name: &str,
    level: &str,
    precedence: u32,
    distinguisher: Option<&str>,
    subjects: Vec<Value>,
    (resource_rules, path_rules): (Vec<Value>, Vec<Value>),
) -> Value {
    let mut rule = json!({"subjects": subjects});
    for (field, rules) in [("resourceRules", resource_rules), ("nonResourceRules", path_rules)] {
        if !rules.is_empty() {
            rule[field] = json!(rules);
        }
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, &spec)
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn resources(group: &str, resources: &[&str], verbs: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster_scope {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn paths(urls: &[&str], verbs: &[&str]) -> Value {
    json!({"verbs": verbs, "nonResourceURLs": urls})
}
