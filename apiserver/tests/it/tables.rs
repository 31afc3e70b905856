//! Truth tables: every combination of what a request may say, with the answer that Kubernetes' rules give.

mod errors;
mod mutants;
mod reads;
mod tokens;
mod writes;

use serde_json::{Value, json};

/// A kind that the tables go through: where its objects are, and a small one.
pub struct Sample {
    pub at: &'static str,
    pub object: Value,
    /// What a status of it may say; null for kinds without one.
    pub status: Value,
    /// A change of the spec that may be made.
    pub change: Value,
}

/// Kinds of many groups, each in namespace `default`.
pub fn samples() -> Vec<Sample> {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let rows = [
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"data": {"k": "v"}}),
            Value::Null,
            json!({"data": {"k": "w"}}),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"data": {"k": "dg=="}}),
            Value::Null,
            json!({"data": {"k": "dw=="}}),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"conditions": [{"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"phase": "Lost"}),
            json!({"metadata": {"labels": {"x": "y"}}}),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            json!({"spec": {"selector": {"a": "b"}, "template": template}}),
            json!({"replicas": 2}),
            json!({"spec": {"replicas": 3}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"spec": {"selector": selector, "template": template}}),
            json!({"replicas": 2}),
            json!({"spec": {"replicas": 3}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            json!({"spec": {"selector": selector, "template": template}}),
            json!({"replicas": 2}),
            json!({"spec": {"replicas": 3}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            json!({"spec": {"serviceName": "s", "selector": selector, "template": template}}),
            json!({"replicas": 2}),
            json!({"spec": {"replicas": 3}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets",
            json!({"spec": {"selector": selector, "template": template}}),
            json!({"currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 2, "numberReady": 0}),
            json!({"spec": {"minReadySeconds": 3}}),
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs",
            json!({"spec": {"template": job}}),
            json!({"active": 1, "startTime": "2026-01-01T00:00:00Z"}),
            json!({"spec": {"parallelism": 3}}),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": job}}}}),
            json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
            json!({"spec": {"suspend": true}}),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
            json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}),
            json!({"spec": {"defaultBackend": {"service": {"name": "t"}}}}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1, "selector": selector}}),
            json!({"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}),
            json!({"spec": {"minAvailable": 2}}),
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
            json!({"desiredReplicas": 2}),
            json!({"spec": {"maxReplicas": 4}}),
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({"spec": {"holderIdentity": "a"}}),
            Value::Null,
            json!({"spec": {"holderIdentity": "b"}}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            Value::Null,
            json!({"metadata": {"labels": {"x": "y"}}}),
        ),
    ];
    let sample = |(at, mut object, status, change): (&'static str, Value, Value, Value)| {
        object["metadata"] = json!({"name": "a"});
        Sample { at, object, status, change }
    };
    rows.into_iter().map(sample).collect()
}
