//! The audit log as its reader finds it.

use super::*;
use crate::{Config, Limits, NoNodes, Server, in_process};
use api::{Identity, TenantName, Timestamp};
use axum::body::Body;
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;

const ALL: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: RequestResponse\n";

struct Api {
    server: Arc<Server>,
    dir: TempDir,
    writer: Writer,
}

async fn start(policy: &str, change: impl FnOnce(&mut AuditConfig)) -> Api {
    let dir = TempDir::new().expect("a folder");
    let policy_file = dir.path().join("policy.yaml");
    std::fs::write(&policy_file, policy).expect("a file");
    let mut config = AuditConfig {
        policy_file,
        log_path: dir.path().join("audit").join("audit.log"),
        max_bytes: 1 << 30,
        max_backups: 2,
        blocking: true,
    };
    change(&mut config);
    let (audit, writer) = Audit::open(config).expect("a policy");
    let store = store::Store::open(&dir.path().join("store"), kinds::Registry::selectable, store::Limits::default());
    let config = Config {
        store: store.expect("a store"),
        pki: Arc::new(policy::pki::Pki::open(dir.path(), &[], Timestamp::now()).expect("keys")),
        token_file: policy::authn::TokenFile::default(),
        dial: Arc::new(NoNodes),
        advertise: None,
        stop: Stop::new(),
        limits: Limits::default(),
        audit: Some(audit),
        issuers: policy::authn::Issuers::default(),
        tenant_networks: crate::egress::Networks::default(),
        peering: crate::Peering::default(),
    };
    Api { server: Server::new(config).await.expect("a server"), dir, writer }
}

impl Api {
    async fn send(&self, tenant: &str, method: &str, path: &str, body: Value) -> u16 {
        let tenant = TenantName::new(tenant).expect("a tenant");
        let identity = Arc::new(Identity::new(tenant, "ann", &[policy::rbac::MASTERS]));
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        in_process(self.server.clone(), identity, request).await.status().as_u16()
    }

    /// Writes what is queued, and reads the lines of all files in the folder of the log, by file.
    async fn lines(self) -> BTreeMap<String, Vec<Value>> {
        let stop = Stop::new();
        stop.stop();
        self.writer.run(stop).await.expect("it ends");
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(self.dir.path().join("audit")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            files.insert(path.file_name().expect("a name").to_string_lossy().into_owned(), lines);
        }
        files
    }
}

/// T94, thin: every mutation that was answered with 2xx has exactly one record, with the right tenant and user.
#[tokio::test]
async fn every_mutation_has_exactly_one_record() {
    let api = start(ALL, |_| {}).await;
    for tenant in ["acme", "umbrella"] {
        let body = json!({"metadata": {"name": tenant}, "spec": {"storageClusterId": "0"}});
        assert_eq!(api.send("system", "POST", "/api/v1/tenants", body).await, 201);
        let body = json!({"metadata": {"name": "default"}});
        assert_eq!(api.send(tenant, "POST", "/api/v1/namespaces", body).await, 201);
    }
    let maps = "/api/v1/namespaces/default/configmaps";
    for i in 0..50 {
        let tenant = ["acme", "umbrella"][i % 2];
        let (name, body) = (format!("c{i}"), json!({"metadata": {"name": format!("c{i}")}, "data": {"k": "v"}}));
        assert_eq!(api.send(tenant, "POST", maps, body.clone()).await, 201);
        assert_eq!(api.send(tenant, "POST", maps, body).await, 409);
        let body = json!({"metadata": {"name": name}, "data": {"k": "w"}});
        assert_eq!(api.send(tenant, "PUT", &format!("{maps}/{name}"), body).await, 200);
        assert_eq!(api.send(tenant, "DELETE", &format!("{maps}/{name}"), json!({})).await, 200);
    }
    let files = api.lines().await;
    let lines = &files["audit.log"];
    let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["objectRef"]["resource"] == "configmaps") {
        let text = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!((text("/stage").as_str(), text("/user/username").as_str()), ("ResponseComplete", "ann"));
        assert_eq!(text("/user/tenant"), text("/objectRef/tenant"));
        assert_eq!(text("/annotations/authorization.k8s.io~1decision"), "allow");
        if line["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300) {
            *counts.entry((text("/user/tenant"), text("/verb"), text("/objectRef/name"))).or_default() += 1;
        } else {
            assert_eq!(text("/responseStatus/reason"), "AlreadyExists");
        }
    }
    assert_eq!(counts.len(), 150);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let ids: std::collections::BTreeSet<&str> = lines.iter().filter_map(|line| line["auditID"].as_str()).collect();
    assert_eq!(ids.len(), lines.len());
    let update = lines.iter().find(|line| line["verb"] == "update").expect("an update");
    assert_eq!(update["requestObject"]["data"]["k"], "w");
    assert_eq!(update["responseObject"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn each_tenant_has_a_file_where_the_policy_wants_it_and_large_files_are_renamed() {
    let policy = format!("{ALL}metadata:\n  annotations:\n    {}: PerTenant\n", policy::audit::FILES_ANNOTATION);
    let api = start(&policy, |config| {
        config.log_path = config.log_path.parent().expect("a folder").to_owned();
        config.max_bytes = 4000;
    });
    let api = api.await;
    let body = json!({"metadata": {"name": "acme"}, "spec": {"storageClusterId": "0"}});
    assert_eq!(api.send("system", "POST", "/api/v1/tenants", body).await, 201);
    for _ in 0..12 {
        assert_eq!(api.send("acme", "GET", "/api/v1/namespaces", Value::Null).await, 200);
    }
    let files = api.lines().await;
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["acme.log", "acme.log.1", "acme.log.2", "system.log"]);
    let of =
        |name: &str| files[name].iter().all(|line| line["user"]["tenant"] == name.split('.').next().expect("a name"));
    assert!(of("acme.log") && of("acme.log.1") && of("system.log"));
}

#[tokio::test]
async fn a_changed_policy_is_in_force_and_a_bad_one_is_not() {
    let mut api = start(ALL, |_| {}).await;
    assert_eq!(api.send("system", "GET", "/version", Value::Null).await, 200);
    assert_eq!(api.send("system", "GET", "/apis", Value::Null).await, 200);
    let policy_file = api.dir.path().join("policy.yaml");
    std::fs::write(&policy_file, "kind: Nothing").expect("a file");
    api.writer.look();
    assert_eq!(api.send("system", "GET", "/apis", Value::Null).await, 200);
    std::fs::write(&policy_file, ALL.replace("RequestResponse", "None")).expect("a file");
    api.writer.look();
    assert_eq!(api.send("system", "GET", "/apis", Value::Null).await, 200);
    let files = api.lines().await;
    assert_eq!(files["audit.log"].iter().filter(|line| line["requestURI"] == "/apis").count(), 2);
}

#[tokio::test]
async fn a_full_queue_loses_records_and_holds_nobody_up() {
    let api = start(ALL, |config| config.blocking = false).await;
    let path = api.server.audit.as_ref().expect("a log");
    for _ in 0..QUEUE_MAX + 10 {
        path.put(Line { tenant: "t".into(), text: String::new() });
    }
    assert_eq!(api.send("system", "GET", "/apis", Value::Null).await, 200);
    let stop = Stop::new();
    stop.stop();
    api.writer.run(stop).await.expect("it ends");
    let written = std::fs::read(api.dir.path().join("audit").join("audit.log")).expect("a file");
    assert_eq!(written.len(), QUEUE_MAX);
}
