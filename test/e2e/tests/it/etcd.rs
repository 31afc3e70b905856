//! Several API servers on one etcd cluster: any of them answers as one server would, whatever is lost.

use kit::{Etcd, HollowNodes, Options, Scratch, Server, Tenant, wait_for};
use std::collections::HashSet;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn two_api_servers_on_one_cluster_are_as_one() {
    if !Etcd::is_installed() {
        return;
    }
    let mut etcd = Etcd::start(3, &[]).await;
    let mut first = Server::start(Options::without_node().stored_in(&etcd)).await;
    let second = Server::start(Options::alone().stored_in(&etcd).beside(&first)).await;
    let _nodes = HollowNodes::start(&second, &["--count", "2"]);
    let a = first.tenant("t").await;
    let b = second.known_tenant("t").await;
    for round in 0..4 {
        let name = format!("map-{round}");
        let (one, other) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        one.kubectl.ok(&["create", "configmap", &name]).await;
        other.kubectl.ok(&["get", "configmap", &name]).await;
        assert!(other.kubectl.ok(&["get", "configmaps", "-o", "name"]).await.contains(&name));
        other.kubectl.ok(&["delete", "configmap", &name]).await;
        let gone = one.kubectl.run(&["get", "configmap", &name], "").await;
        assert!(gone.stderr.contains("NotFound"), "{gone}");
    }
    addresses_are_given_once(&a, &b).await;
    a_quota_holds_over_both(&a, &b).await;
    b.kubectl.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=4"]).await;
    b.kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;

    etcd.kill9(0);
    // Others become leader within seconds.
    wait_for("another leader", DEADLINE, async || {
        let answer = a.kubectl.run(&["create", "configmap", "without-a-member"], "").await;
        if answer.code == Some(0) || answer.stderr.contains("AlreadyExists") { Ok(()) } else { Err(answer) }
    })
    .await;
    b.kubectl.ok(&["get", "configmap", "without-a-member"]).await;
    first.kill9();
    b.kubectl.ok(&["create", "configmap", "without-a-server"]).await;
    etcd.kill9(1);
    let refused = b.kubectl.run(&["get", "configmap", "without-a-server"], "").await;
    assert!(refused.stderr.contains("the storage cluster is not available"), "{refused}");
    let cached = "/api/v1/namespaces/default/configmaps?resourceVersion=0";
    let answer = b.kubectl.run(&["get", "--raw", &format!("/tenants/t{cached}"), "--server", &second.url()], "").await;
    assert!(answer.stdout.contains("without-a-server"), "a client may say that it takes what was seen: {answer}");
    etcd.restart_all(&[0, 1]).await;
    wait_for("the storage cluster to be back", DEADLINE, async || {
        let answer = b.kubectl.run(&["create", "configmap", "after"], "").await;
        if answer.code == Some(0) || answer.stderr.contains("AlreadyExists") { Ok(()) } else { Err(answer) }
    })
    .await;
    first.restart().await;
    for name in ["without-a-member", "without-a-server", "after"] {
        a.kubectl.ok(&["get", "configmap", name]).await;
    }
}

async fn addresses_are_given_once(a: &Tenant, b: &Tenant) {
    let create = async |tenant: &Tenant, from: usize| {
        for number in (from..8).step_by(2) {
            tenant.kubectl.ok(&["create", "service", "clusterip", &format!("s{number}"), "--tcp=80"]).await;
        }
    };
    tokio::join!(create(a, 0), create(b, 1));
    let addresses = a.kubectl.ok(&["get", "services", "-o", "jsonpath={.items[*].spec.clusterIP}"]).await;
    let addresses: Vec<&str> = addresses.split_whitespace().collect();
    let different: HashSet<&&str> = addresses.iter().collect();
    assert_eq!((addresses.len(), different.len()), (9, 9), "{addresses:?}");
}

async fn a_quota_holds_over_both(a: &Tenant, b: &Tenant) {
    a.kubectl.ok(&["create", "quota", "few", "--hard=count/secrets=3"]).await;
    wait_for("the quota to be counted", DEADLINE, async || {
        let used = a.kubectl.ok(&["get", "quota", "few", "-o", "jsonpath={.status.used}"]).await;
        if used.contains("secrets") { Ok(()) } else { Err(used) }
    })
    .await;
    let create = async |tenant: &Tenant, name: String| {
        let answer = tenant.kubectl.run(&["create", "secret", "generic", &name], "").await;
        usize::from(answer.code == Some(0))
    };
    let created = tokio::join!(
        create(a, "q0".to_owned()),
        create(b, "q1".to_owned()),
        create(a, "q2".to_owned()),
        create(b, "q3".to_owned()),
        create(a, "q4".to_owned()),
        create(b, "q5".to_owned()),
    );
    assert_eq!(created.0 + created.1 + created.2 + created.3 + created.4 + created.5, 3, "{created:?}");
}

#[tokio::test]
async fn a_tenant_is_kept_where_its_storage_cluster_is() {
    if !Etcd::is_installed() {
        return;
    }
    let (system, mut further) = tokio::join!(Etcd::start(1, &[]), Etcd::start(1, &[]));
    let first = Server::start(Options::without_node().stored_in(&system)).await;
    let second = Server::start(Options::alone().stored_in(&system).beside(&first)).await;
    let early = first.ursa(&["tenant", "create", "far", "--storagecluster", "1"]).await;
    assert!(early.stderr.contains("storage cluster 1 is not attached"), "{early}");
    let cluster = format!(
        r#"{{"apiVersion":"v1","kind":"StorageCluster","metadata":{{"name":"one"}},"storageClusterId":"1","serviceAddress":"{}"}}"#,
        further.client_address(0)
    );
    first.admin().run(&["create", "-f", "-"], &cluster).await.ok();
    wait_for("the cluster to be attached", DEADLINE, async || {
        let answer = first.ursa(&["tenant", "create", "far", "--storagecluster", "1"]).await;
        if answer.code == Some(0) { Ok(()) } else { Err(answer) }
    })
    .await;
    let near = first.tenant("near").await;
    let far = second.known_tenant("far").await;
    for tenant in [&near, &far] {
        wait_for("the tenant's namespace", DEADLINE, async || {
            let answer = tenant.kubectl.run(&["create", "configmap", "mine"], "").await;
            if answer.code == Some(0) || answer.stderr.contains("AlreadyExists") { Ok(()) } else { Err(answer) }
        })
        .await;
    }
    let all = ["get", "--raw", "/api/v1/tenants/all/configmaps?fieldSelector=metadata.name%3Dmine"];
    let list: serde_json::Value = serde_json::from_str(&second.admin().ok(&all).await).expect("JSON");
    let items = list["items"].as_array().expect("items").iter();
    let tenants: Vec<&str> = items.filter_map(|item| item["metadata"]["tenant"].as_str()).collect();
    assert_eq!(tenants, ["far", "near"]);
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version");
    assert!(version.starts_with("0.") && version.contains("-1."), "{version}");
    let kept = first.admin().run(&["delete", "storagecluster", "one"], "").await;
    assert!(kept.stderr.contains("it keeps tenant far"), "{kept}");
    further.kill9(0);
    let refused = far.kubectl.run(&["get", "configmaps"], "").await;
    assert!(refused.stderr.contains("the storage cluster is not available"), "{refused}");
    near.kubectl.ok(&["get", "configmap", "mine"]).await;
    further.restart(0).await;
    wait_for("the tenant to be back", DEADLINE, async || {
        let answer = far.kubectl.run(&["get", "configmap", "mine"], "").await;
        if answer.code == Some(0) { Ok(()) } else { Err(answer) }
    })
    .await;
    first.ursa(&["tenant", "delete", "far"]).await.ok();
    first.admin().ok(&["delete", "storagecluster", "one"]).await;
}

#[tokio::test]
async fn what_an_etcd_flag_cannot_mean_is_said() {
    for (args, why) in [
        (["--etcd-servers=localhost:2379", "--secure-port=0"], "is not of the form https://HOST:PORT"),
        (["--etcd-servers=http://127.0.0.1:1", "--etcd-cafile=/nonexistent"], "--etcd-cafile /nonexistent"),
    ] {
        let answer = kit::ursa(&[&["apiserver", "--data-dir=/nonexistent/ursa"], &args[..]].concat()).await;
        assert_ne!(answer.code, Some(0), "{answer}");
        assert!(answer.stderr.contains(why), "{answer}");
    }
}

#[tokio::test]
async fn servers_of_two_groups_serve_all_tenants_at_each_address() {
    if !Etcd::is_installed() {
        return;
    }
    let (etcd, scratch) = (Etcd::start(1, &[]).await, Scratch::new());
    let token = scratch.join("token");
    std::fs::write(&token, "a token of the operators").expect("a fresh directory");
    // With it the second gets its keys from the first.
    let with_keys = |options: Options| options.stored_in(&etcd).arg(format!("--server-token-file={}", token.display()));
    let first = Server::start(with_keys(Options::without_node()).arg("--service-group-id=1")).await;
    let second = with_keys(Options::alone()).arg("--service-group-id=2");
    let mut second = Server::start(second).await;
    let _nodes = HollowNodes::start(&second, &["--count", "2"]);
    first.share_out("m").await;
    let (acme, zeta) = (first.tenant("acme").await, first.tenant("zeta").await);
    // Each at the address of the other group, and its controllers and scheduler there too.
    let (acme, zeta) = (second.known_tenant(&acme.name).await, first.known_tenant(&zeta.name).await);
    for tenant in [&acme, &zeta] {
        tenant.kubectl.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=2"]).await;
        // It watches.
        tenant.kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    }
    second.kill9();
    let refused = zeta.kubectl.run(&["get", "deployment", "web"], "").await;
    assert!(refused.stderr.contains("no API server of group \"2\""), "{refused}");
    first.known_tenant("acme").await.kubectl.ok(&["get", "deployment", "web"]).await;
    first.admin().ok(&["delete", "datapartitionconfig", "high"]).await;
    zeta.kubectl.ok(&["get", "deployment", "web"]).await;
    second.restart().await;
    acme.kubectl.ok(&["delete", "deployment", "web"]).await;
}
