//! Logs and exec: bytes between a terminal and a container.

use e2e::{Cluster, page};
use kit::{Kubectl, run};

#[tokio::test]
async fn logs_can_be_read_and_followed() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("logs").await;
    let pod = &demo.pods(2).await[0];
    let logs = demo.kubectl.ok(&["logs", &pod.name]).await;
    assert_eq!(logs.lines().next(), Some("web 1 on port 8080"), "{logs}");
    let mut followed = demo.kubectl.lines(&["logs", "--follow", "--tail=1", &pod.name]);
    followed.next().await.expect("a running container's log does not end");
    page(pod).await;
    loop {
        let line = followed.next().await.expect("a running container's log does not end");
        if line.contains("url:/") {
            break;
        }
    }
    demo.kubectl.ok(&["delete", "pod", &pod.name]).await;
    assert_eq!(followed.ended().await, Some(0));
}

#[tokio::test]
async fn exec_passes_input_output_and_the_exit_code() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("exec").await;
    let pod = &demo.pods(2).await[0];
    assert_eq!(demo.kubectl.ok(&["exec", &pod.name, "--", "hostname"]).await.trim(), pod.name);
    let script = "cat; echo to stderr >&2; exit 3";
    let answer = demo.kubectl.run(&["exec", "-i", &pod.name, "--", "sh", "-c", script], "to stdin\n").await;
    assert_eq!(answer.code, Some(3), "{answer}");
    assert_eq!(answer.stdout, "to stdin\n");
    assert!(answer.stderr.starts_with("to stderr\n"), "{answer}");
    let large = "0123456789abcdef".repeat(64 * 1024);
    let answer = demo.kubectl.run(&["exec", "-i", &pod.name, "--", "wc", "-c"], &large).await;
    assert_eq!(answer.ok().trim(), large.len().to_string());
}

#[tokio::test]
async fn exec_gives_a_terminal() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("tty").await;
    let pod = &demo.pods(2).await[0];
    let (kubectl, kubeconfig) = (Kubectl::program(), demo.kubectl.kubeconfig().display());
    let command = format!("{kubectl} --kubeconfig {kubeconfig} exec -it {} -- tty", pod.name);
    let answer = run("script", &["--quiet", "--return", "--command", &command, "/dev/null"], &[], "").await;
    assert!(answer.stdout.contains("/dev/pts/"), "{answer}");
}
