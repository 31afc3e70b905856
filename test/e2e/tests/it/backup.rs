//! Backups of a running server, restored as docs/storage.md says (check T09).

use kit::{Options, Scratch, Server, Tenant, checkout, wait_for};
use std::time::Duration;

/// The uid of a ConfigMap, and its resource version.
async fn identity(tenant: &Tenant, name: &str) -> (String, u64) {
    let object = tenant.kubectl.json(&["get", "configmap", name]).await;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("uid"), text("resourceVersion").parse().expect("a version"))
}

#[tokio::test]
async fn a_deleted_tenant_comes_back_with_its_objects_and_their_uids() {
    let server = Server::start(Options::without_node()).await;
    let scratch = Scratch::new();
    let tenant = server.tenant("phoenix").await;
    tenant.kubectl.ok(&["create", "configmap", "kept", "--from-literal=a=1"]).await;
    let before = identity(&tenant, "kept").await;
    let [whole, part] = ["whole", "part"].map(|name| scratch.join(name).display().to_string());
    server.ursa(&["backup", &whole]).await.ok();
    server.ursa(&["backup", &part, "--tenant", "phoenix"]).await.ok();
    let again = server.ursa(&["backup", &whole]).await;
    assert!(again.code == Some(1) && again.stderr.contains("exists already"), "{again}");

    let there = server.ursa(&["restore", &part, "--tenant", "phoenix"]).await;
    assert!(there.code == Some(1) && there.stderr.contains("tenant phoenix exists"), "{there}");
    for file in [&part, &whole] {
        server.ursa(&["tenant", "delete", "phoenix"]).await.ok();
        let said = server.ursa(&["restore", file, "--tenant", "phoenix"]).await.ok();
        assert!(said.starts_with("tenant/phoenix restored with "), "{said}");
        let after = identity(&tenant, "kept").await;
        assert!(after.0 == before.0 && after.1 > before.1, "{after:?} after {before:?}");
        // It is a cluster as before: what its users hold is taken, and its controllers work.
        tenant.kubectl.ok(&["create", "namespace", "more"]).await;
        wait_for("the account of a new namespace", Duration::from_secs(60), async || {
            let answer = tenant.kubectl.run(&["-n", "more", "get", "serviceaccount", "default"], "").await;
            if answer.code == Some(0) { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    let mut bytes = std::fs::read(&part).expect("the backup");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).expect("a damaged backup");
    let refused = server.ursa(&["restore", &part, "--tenant", "phoenix"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("nothing was changed"), "{refused}");

    let of_tenant = tenant.kubectl.run(&["get", "--raw", "/backup"], "").await;
    assert!(of_tenant.code == Some(1), "a tenant cannot read a backup: {of_tenant}");
}

#[tokio::test]
async fn everything_comes_back_in_an_empty_directory_and_watches_of_before_start_anew() {
    let mut server = Server::start(Options::without_node()).await;
    let scratch = Scratch::new();
    let tenant = server.tenant("moved").await;
    tenant.kubectl.ok(&["create", "configmap", "kept"]).await;
    let before = identity(&tenant, "kept").await;
    let file = scratch.join("backup").display().to_string();
    server.ursa(&["backup", &file]).await.ok();
    tenant.kubectl.ok(&["create", "configmap", "later"]).await;
    let later = identity(&tenant, "later").await;
    server.terminate().await;

    let dir = scratch.join("data");
    let shown = dir.display().to_string();
    server.ursa(&["restore", &file, "--data-dir", &shown]).await.ok();
    let twice = server.ursa(&["restore", &file, "--data-dir", &shown]).await;
    assert!(twice.code == Some(1) && twice.stderr.contains("holds a store already"), "{twice}");
    let restored = Server::start(Options::without_node().data_dir(dir)).await;
    let tenant = restored.known_tenant("moved").await;
    assert_eq!(identity(&tenant, "kept").await, before);
    let gone = tenant.kubectl.run(&["get", "configmap", "later"], "").await;
    assert!(gone.stderr.contains("NotFound"), "{gone}");
    let path = format!("/api/v1/configmaps?watch=1&resourceVersion={}", later.1);
    let expired = tenant.kubectl.run(&["get", "--raw", &path], "").await;
    assert!(format!("{expired}").contains("too old resource version"), "{expired}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_storage_work() {
    let server = Server::start(Options::without_node()).await;
    let scratch = Scratch::new();
    server.tenant("acme").await;
    let page = std::fs::read_to_string(checkout("docs/storage.md")).expect("the page");
    let (_, section) = page.split_once("## Backup and restore").expect("its section");
    let (section, _) = section.split_once("\n## ").expect("the next one");
    let examples: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ursa ")).collect();
    assert_eq!(examples.len(), 5, "{examples:?}");
    for example in examples {
        // Files in a directory of this test.
        let words = example.split(' ').map(|word| match word.rsplit('/').next() {
            Some(name) if word.ends_with(".backup") || word.starts_with('/') => {
                scratch.join(name).display().to_string()
            }
            _ => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        server.ursa(&words.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
    }
}
