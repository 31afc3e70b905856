//! A tenant that is moved between storage clusters while it is in use: what its clients were told stays true.

use kit::history::record::Recording;
use kit::history::{linear, watches};
use kit::{Etcd, Options, Server, wait_for};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until so many more writes were acknowledged.
async fn goes_on(recording: &Recording, more: u64) {
    let goal = recording.acknowledged() + more;
    wait_for("acknowledged writes", DEADLINE, async || {
        let acknowledged = recording.acknowledged();
        if acknowledged >= goal { Ok(()) } else { Err(format!("{acknowledged} of {goal}")) }
    })
    .await;
}

async fn is_in(server: &Server, tenant: &str, id: &str) {
    wait_for("the tenant to be there", DEADLINE, async || {
        let at = ["get", "tenant", tenant, "-o", "jsonpath={.status.storageClusterId}"];
        let answer = server.admin().run(&at, "").await;
        if answer.stdout == id { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_moved_in_use_to_and_fro_though_a_server_dies_meanwhile() {
    if !Etcd::is_installed() {
        return;
    }
    let (system, further) = tokio::join!(Etcd::start(1, &[]), Etcd::start(1, &[]));
    let mut first = Server::start(Options::without_node().stored_in(&system)).await;
    let second = Server::start(Options::alone().stored_in(&system).beside(&first)).await;
    let cluster = format!(
        r#"{{"apiVersion":"v1","kind":"StorageCluster","metadata":{{"name":"one"}},"storageClusterId":"1","serviceAddress":"{}"}}"#,
        further.client_address(0)
    );
    first.admin().run(&["create", "-f", "-"], &cluster).await.ok();
    let tenant = first.tenant("nomad").await;
    let tenant = second.known_tenant(&tenant.name).await;
    let recording = Recording::start(&second, &tenant, 8, 4, 2);
    goes_on(&recording, 50).await;
    wait_for("the cluster to be attached", DEADLINE, async || {
        let answer = first.ursa(&["tenant", "move", "nomad", "--to", "1"]).await;
        if answer.code == Some(0) { Ok(()) } else { Err(answer) }
    })
    .await;
    is_in(&second, "nomad", "1").await;
    goes_on(&recording, 50).await;
    first.ursa(&["tenant", "move", "nomad", "--to", "0", "--no-wait"]).await.ok();
    first.kill9();
    is_in(&second, "nomad", "0").await;
    goes_on(&recording, 50).await;
    let history = recording.end().await;
    println!("{} operations, {} steps", history.operations.len(), history.seen.iter().map(Vec::len).sum::<usize>());
    linear::check(&history.without_moves()).unwrap_or_else(|why| panic!("{why}"));
    watches::check_together(&history.written(), &history.seen).unwrap_or_else(|why| panic!("{why}"));
    let kept = second.admin().run(&["delete", "storagecluster", "one"], "").await;
    assert!(kept.stderr.contains("it keeps tenant nomad"), "what is left there is not removed yet: {kept}");
}
