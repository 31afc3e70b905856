//! Client libraries, as the programs of tenants use them.

use e2e::Cluster;
use kit::{Options, Server, checkout, run};
use std::path::{Path, PathBuf};

/// The interpreter with the official client, where `hack/deps.sh --tests` could install it.
fn python() -> Option<PathBuf> {
    let python = checkout("target/clients/bin/python");
    if python.exists() {
        return Some(python);
    }
    println!("skipped: the Python client is not there: hack/deps.sh --tests installs it");
    None
}

async fn python_client(kubeconfig: &Path, pod: Option<&str>) {
    let Some(python) = python() else { return };
    let script = checkout("test/e2e/clients/python_client.py");
    let (script, kubeconfig) = (script.to_string_lossy().into_owned(), kubeconfig.to_string_lossy().into_owned());
    let args: Vec<&str> = [script.as_str(), &kubeconfig].into_iter().chain(pod).collect();
    let answer = run(&python, &args, &[], "").await;
    assert_eq!(answer.code, Some(0), "{answer}");
}

#[tokio::test]
async fn the_python_client_creates_pages_watches_and_applies() {
    let server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("python").await;
    python_client(tenant.kubectl.kubeconfig(), None).await;
}

#[tokio::test]
async fn the_python_client_gets_into_a_container() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("python-exec").await;
    let pod = &demo.pods(2).await[0];
    python_client(demo.kubectl.kubeconfig(), Some(&pod.name)).await;
}
