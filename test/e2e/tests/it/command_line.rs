//! Bad input on the command line: one sentence that names the thing and the mend, and nothing changed.

use kit::{Answer, Options, Scratch, Server, ursa};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// Asserts that a command failed with one sentence on standard error that names all of `names`.
#[track_caller]
fn assert_refused(answer: &Answer, names: &[&str]) {
    assert!(answer.code.is_some_and(|code| code != 0), "{answer}");
    for name in names {
        assert!(answer.stderr.contains(name), "{name:?} is not named: {answer}");
    }
    assert!(!answer.stderr.contains("panicked"), "{answer}");
}

/// A server that is meant to fail; in a directory that it must not make.
async fn refused_server(args: &[&str], names: &[&str]) {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let data = data.to_str().expect("a path of ours");
    let answer = ursa(&[&["server", "--data-dir", data, "--secure-port", "0"], args].concat()).await;
    assert_refused(&answer, names);
    assert!(!Path::new(data).exists(), "a server that did not start made {data}");
}

/// Every file below a directory, with its content.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => contents(&path),
            false => BTreeMap::from([(path.clone(), std::fs::read(&path).expect("a file"))]),
        })
        .collect()
}

#[tokio::test]
async fn a_wrong_flag_is_named() {
    refused_server(&["--node-agents=false"], &["--node-agents"]).await;
    refused_server(&["--shutdown-grace", "seventy"], &["seventy", "--shutdown-grace"]).await;
    refused_server(&["--node-agent=false", "--controllers=deployment,no-such"], &["no-such"]).await;
    refused_server(&["--node-agent=false", "--token-auth-file=/no/such.csv"], &["/no/such.csv"]).await;
    assert_refused(&ursa(&["serve"]).await, &["serve"]);
    assert_refused(&ursa(&["server", "--node-agent=false"]).await, &["--data-dir"]);
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let data = data.to_str().expect("a path of ours");
    let answer = ursa(&["server", "--data-dir", data, "--node-agent=false", "--secure-port", &port]).await;
    assert_refused(&answer, &[&port, "--secure-port"]);
    assert!(!Path::new(data).exists(), "a server that did not start made {data}");
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_named() {
    let missing = "containerd,container,unix:///no/such.sock";
    refused_server(&["--container-runtime-endpoint", missing], &["/no/such.sock"]).await;
    refused_server(
        &["--container-runtime-endpoint", "a,zone,unix:///a.sock"],
        &["--container-runtime-endpoint", "zone"],
    )
    .await;
}

#[tokio::test]
async fn a_directory_of_something_else_is_left_alone() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("letter.txt"), "Dear all").expect("a fresh directory");
    let before = contents(scratch.path());
    let dir = scratch.path().to_str().expect("a path of ours");
    let answer = ursa(&["server", "--node-agent=false", "--secure-port", "0", "--data-dir", dir]).await;
    assert_refused(&answer, &[dir]);
    assert_eq!(contents(scratch.path()), before);

    let file = scratch.join("letter.txt");
    let file = file.to_str().expect("a path of ours");
    let answer = ursa(&["server", "--node-agent=false", "--secure-port", "0", "--data-dir", file]).await;
    assert_refused(&answer, &[file]);
    assert_eq!(contents(scratch.path()), before);
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let server = Server::start(Options::without_node()).await;
    let dir = server.data_dir().to_str().expect("a path of ours");
    let kubeconfig = std::fs::read(server.admin_kubeconfig()).expect("a ready server has written it");
    let answer = ursa(&["server", "--node-agent=false", "--secure-port", "0", "--data-dir", dir]).await;
    assert_refused(&answer, &[dir, "in use"]);
    assert_eq!(std::fs::read(server.admin_kubeconfig()).expect("it is still there"), kubeconfig);
    server.admin().ok(&["get", "--raw", "/readyz"]).await;
}

#[tokio::test]
async fn a_command_without_a_server_or_with_a_bad_name_is_told_so() {
    assert_refused(&ursa(&["tenant", "list"]).await, &["/nonexistent"]);
    let server = Server::start(Options::without_node()).await;
    assert_refused(&server.ursa(&["tenant", "create", "Not_A_Name"]).await, &["Not_A_Name"]);
    assert_refused(&server.ursa(&["tenant", "delete", "nobody"]).await, &["nobody"]);
    assert_refused(&server.ursa(&["kubeconfig", "--tenant", "nobody"]).await, &["nobody"]);
    server.ursa(&["tenant", "create", "twice"]).await.ok();
    assert_refused(&server.ursa(&["tenant", "create", "twice"]).await, &["twice", "exists"]);
}

/// The flags that a text names, without their values.
fn flags(text: &str, starts: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| line.trim_start().strip_prefix(starts));
    let flags = named.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default());
    flags.map(str::to_owned).filter(|flag| flag != "help").collect()
}

#[tokio::test]
async fn the_documented_flags_are_the_flags() {
    let mut documented = flags(include_str!("../../../../docs/operations.md"), "| `--");
    let mut known = flags(&ursa(&["server", "--help"]).await.ok(), "--");
    documented.sort();
    known.sort();
    assert!(known.len() > 5, "{known:?}");
    assert_eq!(documented, known);
}
