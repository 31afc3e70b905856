//! Tenants: each is a cluster of its own, closed to the others, and gone without a trace when deleted.

use kit::{Answer, Options, Server, wait_for};
use std::time::Duration;

const DELETION_DEADLINE: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_forbidden(answer: &Answer) {
    assert_eq!(answer.code, Some(1), "{answer}");
    assert!(answer.stderr.contains("(Forbidden)"), "{answer}");
}

#[tokio::test]
async fn a_tenant_starts_with_what_a_cluster_starts_with() {
    let server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("fresh").await;
    for namespace in ["default", "kube-system", "kube-public"] {
        tenant.kubectl.ok(&["get", "namespace", namespace]).await;
        wait_for("the namespace's account and CA", DELETION_DEADLINE, async || {
            let args = ["-n", namespace, "get", "serviceaccount/default", "configmap/kube-root-ca.crt"];
            let answer = tenant.kubectl.run(&args, "").await;
            if answer.code == Some(0) { Ok(()) } else { Err(answer) }
        })
        .await;
    }
    assert_eq!(tenant.kubectl.ok(&["auth", "can-i", "*", "*", "--all-namespaces"]).await.trim(), "yes");
    assert!(server.ursa(&["tenant", "list"]).await.ok().contains("fresh"));
}

#[tokio::test]
async fn a_tenant_reaches_nothing_of_another_nor_of_the_cluster() {
    let server = Server::start(Options::without_node()).await;
    let [inside, outside] = [server.tenant("inside").await, server.tenant("outside").await];
    for (tenant, value) in [(&inside, "secret"), (&outside, "own")] {
        tenant.kubectl.ok(&["create", "configmap", "same-name", &format!("--from-literal=value={value}")]).await;
    }
    for path in [
        "/tenants/inside/api/v1/namespaces/default/configmaps/same-name",
        "/tenants/inside/api/v1/configmaps",
        "/tenants/inside/apis",
        "/api/v1/tenants/inside/namespaces/default/configmaps/same-name",
        "/api/v1/tenants/inside/namespaces",
        "/api/v1/tenants/all/configmaps",
        "/api/v1/tenants",
        "/tenants/system/api/v1/nodes",
        "/api/v1/tenants/inside",
        "/tenants/system/api/v1/secrets",
        "/tenants/no-such-tenant/api/v1/configmaps",
    ] {
        // A kubeconfig's path, where it has one, is put in front of a raw path: ask the server itself.
        let args = ["get", "--raw", path, "--server", &server.url()];
        let answer = outside.kubectl.run(&args, "").await;
        assert_forbidden(&answer);
        assert!(!answer.stdout.contains("secret"), "{path}: {answer}");
    }
    let own = outside.kubectl.ok(&["get", "configmap", "same-name", "-o", "jsonpath={.data.value}"]).await;
    assert_eq!(own, "own");
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_objects_along() {
    let server = Server::start(Options::without_node()).await;
    let kubectl = server.tenant("spaces").await.kubectl;
    kubectl.ok(&["create", "namespace", "short"]).await;
    kubectl.ok(&["-n", "short", "create", "configmap", "inside"]).await;
    kubectl.ok(&["-n", "short", "create", "deployment", "web", "--image=ursa.local/web:1"]).await;
    kubectl.ok(&["delete", "namespace", "short", "--timeout=60s"]).await;
    kubectl.ok(&["create", "namespace", "short"]).await;
    let found = kubectl.ok(&["-n", "short", "get", "deployments,replicasets,pods,configmaps", "-o", "name"]).await;
    assert!(found.lines().all(|name| name == "configmap/kube-root-ca.crt"), "{found}");
}

#[tokio::test]
async fn a_deleted_tenant_leaves_nothing_behind() {
    let server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("gone").await;
    tenant.kubectl.ok(&["create", "configmap", "inside"]).await;
    tenant.kubectl.ok(&["create", "namespace", "more"]).await;
    server.ursa(&["tenant", "delete", "gone"]).await.ok();
    wait_for("the tenant to be gone", DELETION_DEADLINE, async || {
        let listed = server.ursa(&["tenant", "list"]).await.ok();
        if listed.contains("gone") { Err(listed) } else { Ok(()) }
    })
    .await;
    let answer = tenant.kubectl.run(&["get", "configmaps"], "").await;
    assert_ne!(answer.code, Some(0), "an identity of a deleted tenant is refused: {answer}");

    let again = server.tenant("gone").await;
    let found = again.kubectl.ok(&["get", "configmaps,namespaces", "--all-namespaces", "-o", "name"]).await;
    assert!(!found.contains("configmap/inside") && !found.contains("namespace/more"), "{found}");
}
