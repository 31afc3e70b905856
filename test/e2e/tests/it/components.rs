//! The components as processes of their own: each reaches the API over the network, as its own identity.

use kit::{Component, HollowNodes, Options, Server};

#[tokio::test]
async fn a_control_plane_in_four_processes_runs_a_tenants_pods() {
    let server = Server::start(Options::alone()).await;
    let pki = |file: &str| server.data_dir().join("pki").join(file).display().to_string();
    let signing = ["--cluster-signing-cert-file", &pki("ca.crt"), "--cluster-signing-key-file", &pki("ca.key")];
    let mut controllers = Component::start(&server, "controller-manager", &signing);
    let mut scheduler = Component::start(&server, "scheduler", &[]);
    let _nodes = HollowNodes::start(&server, &["--count", "3"]);
    let tenant = server.tenant("apart").await;
    tenant.kubectl.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=6"]).await;
    tenant.kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    let managers =
        ["get", "deployment", "web", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"];
    let managers = tenant.kubectl.ok(&managers).await;
    assert!(managers.contains("kube-controller-manager"), "{managers}");
    for component in [&mut controllers, &mut scheduler] {
        assert!(component.terminate().await.success(), "{}", component.log());
    }
    assert!(!scheduler.log().contains("orbidden"), "{}", scheduler.log());
}

#[tokio::test]
async fn a_component_without_a_kubeconfig_or_with_a_wrong_flag_says_so() {
    for (args, why) in [
        (&["controller-manager"][..], "--kubeconfig"),
        (&["controller-manager", "--kubeconfig=/nonexistent", "--controllers=nobody"], "there is no controller"),
        (&["scheduler", "--kubeconfig=/nonexistent"], "/nonexistent"),
        (&["node-agent", "--data-dir=/tmp", "--kubeconfig=/nonexistent", "--node-name=_"], "cannot name a node"),
    ] {
        let answer = kit::ursa(args).await;
        assert_ne!(answer.code, Some(0), "{answer}");
        assert!(answer.stderr.contains(why), "{answer}");
    }
}
