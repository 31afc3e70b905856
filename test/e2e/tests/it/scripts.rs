//! hack/up.sh and hack/down.sh, as the README tells a new user to run them.

use kit::{Answer, Containerd, Scratch, checkout, run};
use std::net::TcpListener;
use std::path::Path;

async fn script(name: &str, args: &[&str]) -> Answer {
    // The binary that is under test, instead of a build.
    let ursa = kit::binary();
    run(checkout(name), args, &[("URSA_BIN", ursa.as_os_str())], "").await
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port().to_string()
}

/// Programs that run with a directory among their arguments.
fn processes_with(dir: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(dir)).collect()
}

#[tokio::test]
async fn up_brings_the_demo_and_down_leaves_nothing() {
    if let Some(why) = Containerd::missing() {
        return println!("skipped: {why}");
    }
    let scratch = Scratch::new();
    let dir = scratch.join("ursa");
    let dir = dir.to_str().expect("a path of ours");
    let port = free_port();
    for time in ["first", "second"] {
        let printed = script("hack/up.sh", &["--data-dir", dir, "--port", &port]).await.ok();
        assert!(printed.contains("This is web 1 in pod web-"), "the {time} time: {printed}");
        assert!(printed.contains(&format!("{dir}/acme.kubeconfig")), "the {time} time: {printed}");
    }
    assert!(Containerd::bridge_of(Path::new(dir)).is_some());
    for _ in 0..2 {
        script("hack/down.sh", &["--data-dir", dir]).await.ok();
    }
    assert_eq!(processes_with(dir), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    assert!(!mounts.contains(dir), "{mounts}");
    assert_eq!(Containerd::bridge_of(Path::new(dir)), None);

    let printed = script("hack/up.sh", &["--data-dir", dir, "--port", &port]).await.ok();
    assert!(printed.contains("This is web 1 in pod web-"), "after a stop: {printed}");
    script("hack/down.sh", &["--data-dir", dir, "--purge"]).await.ok();
    assert!(!Path::new(dir).exists());
}

#[tokio::test]
async fn a_directory_of_someone_else_is_left_alone() {
    if let Some(why) = Containerd::missing() {
        return println!("skipped: {why}");
    }
    let scratch = Scratch::new();
    let home = scratch.path().to_str().expect("a path of ours");
    for dir in ["run", "logs", "store"] {
        std::fs::create_dir(scratch.join(dir)).expect("a fresh directory");
    }
    std::fs::write(scratch.join("letter"), "dear").expect("a fresh directory");
    for (name, flag) in [("hack/up.sh", "--no-demo"), ("hack/down.sh", "--purge")] {
        let answer = script(name, &["--data-dir", home, flag]).await;
        assert!(answer.code == Some(1) && answer.stderr.contains(home), "{answer}");
    }
    assert!(scratch.join("store").exists() && !scratch.join("run/data-directory").exists());

    // Even where Ursa keeps its data, what it did not make stays.
    std::fs::write(scratch.join("run/data-directory"), "").expect("a fresh directory");
    let printed = script("hack/down.sh", &["--data-dir", home, "--purge"]).await.ok();
    assert!(printed.contains("letter"), "{printed}");
    let left: Vec<_> = std::fs::read_dir(home).expect("it is there").filter_map(Result::ok).collect();
    assert!(left.len() == 1 && scratch.join("letter").exists(), "{left:?}");
}

#[tokio::test]
async fn a_wrong_flag_of_a_script_is_named() {
    for name in ["hack/up.sh", "hack/down.sh"] {
        let answer = script(name, &["--verbos"]).await;
        assert_eq!(answer.code, Some(64), "{answer}");
        assert!(answer.stderr.contains("--verbos") && answer.stderr.contains("--data-dir"), "{answer}");
    }
    let answer = script("hack/up.sh", &["--port", "ninety"]).await;
    assert!(answer.code == Some(1) && answer.stderr.contains("ninety"), "{answer}");
}
