//! Volumes, quotas, tokens, certificates, autoscalers and ended jobs, by all controllers together.

use super::fake::Fake;
use super::start;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn meta(name: &str) -> Value {
    json!({"tenant": "acme", "namespace": "ns", "name": name})
}

fn at(fake: &Fake, group: &str, plural: &str, pointer: &str) -> Option<Value> {
    fake.list(group, plural, "acme").first()?.pointer(pointer).cloned()
}

#[tokio::test]
async fn a_claim_is_bound_protected_while_a_pod_uses_it_and_its_volume_released_after() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "k",
        "persistentVolumeReclaimPolicy": "Retain"});
    fake.put("", "persistentvolumes", json!({"metadata": {"tenant": "acme", "name": "v"}, "spec": spec}));
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "k",
        "resources": {"requests": {"storage": "1Gi"}}});
    fake.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": meta("c"), "spec": spec, "status": {"phase": "Pending"}}),
    );
    fake.until("both are bound", |f| {
        let phase = |plural| at(f, "", plural, "/status/phase");
        [phase("persistentvolumes"), phase("persistentvolumeclaims")].iter().all(|p| *p == Some(json!("Bound")))
    })
    .await;
    let finalizers = |f: &Fake| at(f, "", "persistentvolumeclaims", "/metadata/finalizers");
    fake.until("the claim is protected", |f| finalizers(f) == Some(json!(["kubernetes.io/pvc-protection"]))).await;
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]);
    fake.put("", "pods", json!({"metadata": meta("p"), "spec": {"nodeName": "n", "volumes": volumes}}));
    let mut claim = fake.list("", "persistentvolumeclaims", "acme").remove(0);
    claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.until("the pod is known", |f| !f.list("", "pods", "acme").is_empty()).await;
    fake.put("", "persistentvolumeclaims", claim);
    fake.until("it is still there", |f| finalizers(f) == Some(json!(["kubernetes.io/pvc-protection"]))).await;
    fake.remove("", "pods", "acme", "ns", "p");
    fake.until("the claim goes", |f| f.list("", "persistentvolumeclaims", "acme").is_empty()).await;
    let phase = |f: &Fake| at(f, "", "persistentvolumes", "/status/phase");
    fake.until("the volume is released", |f| phase(f) == Some(json!("Released"))).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn a_pod_brings_its_own_claim() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let spec = json!({"resources": {"requests": {"storage": "1Gi"}}});
    let volumes = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]);
    fake.put("", "pods", json!({"metadata": meta("p"), "spec": {"volumes": volumes}}));
    fake.until("the claim is made", |f| {
        at(f, "", "persistentvolumeclaims", "/metadata/name") == Some(json!("p-scratch"))
            && at(f, "", "persistentvolumeclaims", "/metadata/ownerReferences/0/uid") == Some(json!("uid-p"))
    })
    .await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn a_quota_counts_when_its_limits_change_and_when_something_goes() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    for name in ["a", "b"] {
        let resources = json!({"requests": {"cpu": "100m"}});
        fake.put("", "pods", json!({"metadata": meta(name), "spec": {"containers": [{"resources": resources}]}}));
        fake.put("", "configmaps", json!({"metadata": meta(name)}));
    }
    let hard = json!({"pods": "5", "requests.cpu": "1", "count/configmaps": "9"});
    fake.put("", "resourcequotas", json!({"metadata": meta("q"), "spec": {"hard": hard}}));
    let used = |f: &Fake| at(f, "", "resourcequotas", "/status/used");
    let counted =
        |pods: &str, cpu: &str, maps: &str| Some(json!({"pods": pods, "requests.cpu": cpu, "count/configmaps": maps}));
    fake.until("all is counted", |f| used(f) == counted("2", "200m", "2")).await;
    fake.remove("", "pods", "acme", "ns", "a");
    fake.until("less is counted", |f| used(f) == counted("1", "100m", "2")).await;
    // Config maps are followed since one quota counts them.
    super::pass(std::time::Duration::from_secs(1)).await;
    fake.remove("", "configmaps", "acme", "ns", "a");
    fake.until("the map is given back", |f| used(f) == counted("1", "100m", "1")).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn a_secret_gets_its_token_and_goes_with_its_account() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    fake.put("", "serviceaccounts", json!({"metadata": meta("robot")}));
    let mut metadata = meta("s");
    metadata["annotations"] = json!({"kubernetes.io/service-account.name": "robot"});
    fake.put("", "secrets", json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"}));
    let token = json!(STANDARD.encode("token of robot"));
    fake.until("it has a token", |f| at(f, "", "secrets", "/data/token") == Some(token.clone())).await;
    assert_eq!(at(&fake, "", "secrets", "/data/ca.crt"), Some(json!(STANDARD.encode("CA"))));
    fake.remove("", "serviceaccounts", "acme", "ns", "robot");
    fake.until("it goes", |f| f.list("", "secrets", "acme").is_empty()).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn a_kubelets_request_is_approved_signed_and_forgotten() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let spec = json!({
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "username": "bootstrap",
        "usages": ["client auth", "digital signature"], "request": STANDARD.encode("system:node:n1"),
    });
    const GROUP: &str = "certificates.k8s.io";
    // The test's clock stands at 2027-01-15T08:00:00Z.
    let metadata = json!({"tenant": "acme", "name": "r", "creationTimestamp": "2027-01-15T08:00:00Z"});
    fake.put(GROUP, "certificatesigningrequests", json!({"metadata": metadata, "spec": spec}));
    let signed = json!(STANDARD.encode("signed system:node:n1"));
    fake.until("it is signed", |f| {
        at(f, GROUP, "certificatesigningrequests", "/status/certificate") == Some(signed.clone())
    })
    .await;
    let reason = at(&fake, GROUP, "certificatesigningrequests", "/status/conditions/0/reason");
    assert_eq!(reason, Some(json!("AutoApproved")));
    let metadata = json!({"tenant": "acme", "name": "old", "creationTimestamp": "2027-01-14T07:00:00Z"});
    fake.put(GROUP, "certificatesigningrequests", json!({"metadata": metadata, "spec": {}}));
    fake.until("the old one is gone", |f| f.list(GROUP, "certificatesigningrequests", "acme").len() == 1).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn an_autoscaler_follows_what_is_measured() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let status = json!({"selector": "app=web"});
    fake.put("apps", "widgets", json!({"metadata": meta("web"), "spec": {"replicas": 2}, "status": status}));
    for name in ["a", "b"] {
        let mut metadata = meta(name);
        metadata["labels"] = json!({"app": "web"});
        fake.put(
            "metrics.k8s.io",
            "pods",
            json!({
                "metadata": metadata, "timestamp": "2027-01-15T08:00:00Z", "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": "900m"}}],
            }),
        );
        let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T07:00:00Z"}]);
        fake.put(
            "",
            "pods",
            json!({
                "metadata": metadata,
                "spec": {"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Running", "startTime": "2027-01-15T07:00:00Z", "conditions": conditions},
            }),
        );
    }
    let target = json!({"apiVersion": "apps/v1", "kind": "Widget", "name": "web"});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 45}}});
    let spec = json!({"scaleTargetRef": target, "maxReplicas": 9, "metrics": [metric]});
    fake.put("autoscaling", "horizontalpodautoscalers", json!({"metadata": meta("h"), "spec": spec}));
    fake.until("it asks for twice as many", |f| at(f, "apps", "widgets", "/spec/replicas") == Some(json!(4))).await;
    fake.until("it says so", |f| {
        at(f, "autoscaling", "horizontalpodautoscalers", "/status/desiredReplicas") == Some(json!(4))
    })
    .await;
    let metrics = at(&fake, "autoscaling", "horizontalpodautoscalers", "/status/currentMetrics/0/resource/current");
    assert_eq!(metrics, Some(json!({"averageUtilization": 90, "averageValue": "900m"})));
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn an_ended_job_goes_when_its_time_has_come() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let job = |name: &str, ended: &str| {
        let conditions = json!([{"type": "Complete", "status": "True", "lastTransitionTime": ended}]);
        json!({"metadata": meta(name), "spec": {"ttlSecondsAfterFinished": 60, "completions": 1}, "status": {"conditions": conditions}})
    };
    fake.put("batch", "jobs", job("old", "2027-01-15T07:00:00Z"));
    fake.put("batch", "jobs", job("new", "2027-01-15T08:00:00Z"));
    fake.until("the old one is gone", |f| f.list("batch", "jobs", "acme").len() == 1).await;
    assert_eq!(at(&fake, "batch", "jobs", "/metadata/name"), Some(json!("new")));
    stop.stop();
    tasks.ended().await;
}
