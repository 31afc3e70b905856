//! The life of a tenant, as an operator drives it with `kubectl tenant`: made, used, suspended, resumed, watched going, gone.

use kit::{Answer, Options, Scratch, Server, binary, wait_for};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// kubectl with the plugin, and a kubeconfig of its own that starts as the operator's.
struct Operator {
    scratch: Scratch,
    kubeconfig: PathBuf,
}

impl Operator {
    fn of(server: &Server) -> Operator {
        let scratch = Scratch::new();
        for name in ["kubectl-tenant", "kubectl_complete-tenant"] {
            std::os::unix::fs::symlink(binary(), scratch.join(name)).expect("a link");
        }
        let kubeconfig = scratch.join("config");
        std::fs::copy(server.admin_kubeconfig(), &kubeconfig).expect("a copy");
        Operator { scratch, kubeconfig }
    }

    async fn run(&self, args: &[&str]) -> Answer {
        let path = format!("{}:{}", self.scratch.path().display(), std::env::var("PATH").unwrap_or_default());
        let env: [(&str, &OsStr); 3] = [
            ("PATH", path.as_ref()),
            ("KUBECONFIG", self.kubeconfig.as_os_str()),
            ("HOME", self.scratch.path().as_os_str()),
        ];
        kit::run(kit::Kubectl::program(), args, &env, "").await
    }

    async fn ok(&self, args: &[&str]) -> String {
        self.run(args).await.ok()
    }
}

#[tokio::test]
async fn kubectl_tenant_makes_uses_finds_and_deletes_tenants() {
    let server = Server::start(Options::without_node()).await;
    let operator = Operator::of(&server);
    operator.ok(&["tenant", "create", "acme-east", "-l", "region=east", "--quota", "count/configmaps=6"]).await;
    operator.ok(&["tenant", "create", "acme-west", "-l", "region=west"]).await;
    let names = operator.ok(&["tenant", "list", "--names", "--search", "acme", "-l", "region=west"]).await;
    assert_eq!(names, "acme-west\n");
    assert_eq!(operator.ok(&["tenant", "list", "--names", "--search", "east"]).await, "acme-east\n");
    assert_eq!(operator.ok(&["tenant", "list", "--names", "--limit", "2"]).await.lines().count(), 2);

    operator.ok(&["tenant", "use", "acme-east"]).await;
    assert_eq!(operator.ok(&["config", "current-context"]).await, "acme-east\n");
    assert!(operator.ok(&["get", "namespaces", "-o", "name"]).await.contains("namespace/kube-public"));
    operator.ok(&["create", "configmap", "here"]).await;
    // From a tenant's context, the plugin finds the operators' of the same server.
    operator.ok(&["tenant", "use", "acme-west", "--user", "jane"]).await;
    let denied = operator.run(&["get", "configmaps"]).await;
    assert!(denied.stderr.contains(r#"User "jane" cannot list resource "configmaps""#), "{denied}");
    let usage = operator.ok(&["tenant", "usage", "acme-east"]).await;
    let counted = usage.lines().find(|line| line.starts_with("count/configmaps")).unwrap_or_default();
    assert!(counted.split_whitespace().eq(["count/configmaps", "5", "6"]), "{usage}");
    assert!(operator.ok(&["tenant", "describe", "acme-west"]).await.contains("region=west"));
    assert!(operator.ok(&["tenant", "usage"]).await.contains("acme-west"));
    let printed = operator.ok(&["tenant", "kubeconfig", "acme-east"]).await;
    assert!(printed.contains("/tenants/acme-east"), "{printed}");

    let offered = operator.ok(&["__complete", "tenant", "use", "acme-"]).await;
    assert!(offered.starts_with("acme-east\nacme-west\n"), "{offered}");
    let offered = operator.ok(&["__complete", "tenant", "sus"]).await;
    assert!(offered.starts_with("suspend\t"), "{offered}");

    operator.ok(&["tenant", "delete", "acme-west"]).await;
    assert_eq!(operator.ok(&["config", "current-context"]).await, "system\n");
    let contexts = operator.ok(&["config", "get-contexts", "-o", "name"]).await;
    assert_eq!(contexts, "acme-east\nsystem\n");
}

#[tokio::test]
async fn a_suspended_tenant_rests_and_comes_back_as_it_was() {
    let server = Server::start(Options::without_node()).await;
    let operator = Operator::of(&server);
    let tenant = server.tenant("sleepy").await;
    let kubectl = &tenant.kubectl;
    kubectl.ok(&["create", "deployment", "web", "--image=i", "--replicas=3"]).await;
    kubectl.ok(&["create", "cronjob", "tick", "--image=i", "--schedule=0 0 1 1 *"]).await;
    kubectl.ok(&["run", "alone", "--image=i"]).await;
    let pods = async || kubectl.ok(&["get", "pods", "-o", "name"]).await.lines().count();
    wait_for("four pods", DEADLINE, async || match pods().await {
        4 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;

    operator.ok(&["tenant", "suspend", "sleepy"]).await;
    assert_eq!(pods().await, 0);
    let spec = |field: &'static str, of: &'static str| async move {
        kubectl.ok(&["get", of, "-o", &format!("jsonpath={{.spec.{field}}}")]).await
    };
    assert_eq!(
        (spec("replicas", "deployment/web").await.as_str(), spec("suspend", "cronjob/tick").await.as_str()),
        ("0", "true")
    );
    for args in [
        &["create", "configmap", "no"][..],
        &["scale", "deployment", "web", "--replicas=1"],
        &["delete", "deployment", "web"],
    ] {
        let refused = kubectl.run(args, "").await;
        assert!(refused.stderr.contains("tenant sleepy is suspended: only its operators write in it"), "{refused}");
    }
    assert_eq!(kubectl.ok(&["auth", "can-i", "get", "pods"]).await.trim(), "yes", "a question writes nothing");
    let url = format!("{}/tenants/sleepy", server.url());
    operator.ok(&["--server", &url, "create", "configmap", "from-the-operator"]).await;
    assert!(operator.ok(&["get", "tenant", "sleepy"]).await.contains("Suspended"));

    operator.ok(&["tenant", "resume", "sleepy"]).await;
    assert_eq!(
        (spec("replicas", "deployment/web").await.as_str(), spec("suspend", "cronjob/tick").await.as_str()),
        ("3", "false")
    );
    wait_for("the pods to be back", DEADLINE, async || match pods().await {
        4 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    kubectl.ok(&["get", "pod", "alone"]).await;
    assert_eq!(kubectl.ok(&["get", "podtemplates", "-o", "name"]).await, "");
}

#[tokio::test]
async fn a_tenant_that_cannot_go_says_what_it_waits_for_until_its_operator_ends_the_wait() {
    let server = Server::start(Options::without_node()).await;
    let operator = Operator::of(&server);
    let tenant = server.tenant("sticky").await;
    tenant.kubectl.ok(&["create", "configmap", "held"]).await;
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    tenant.kubectl.ok(&["patch", "configmap", "held", "--type=merge", "-p", hold]).await;
    operator.ok(&["tenant", "delete", "sticky", "--no-wait"]).await;
    wait_for("the tenant to tell what it waits for", DEADLINE, async || {
        let shown = operator.ok(&["tenant", "describe", "sticky"]).await;
        let told = shown.contains("FinalizersRemaining  True")
            && shown.contains("example.com/hold")
            && shown.contains("configmaps");
        if told { Ok(()) } else { Err(shown) }
    })
    .await;
    operator.ok(&["tenant", "delete", "sticky", "--force"]).await;
    assert!(!operator.ok(&["tenant", "list", "--names"]).await.contains("sticky"));
}

/// A command of a page, and the lines that it says; after a `!`, what it refuses with.
struct Example {
    command: String,
    says: Vec<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match (line.strip_prefix("    $ kubectl "), line.strip_prefix("    ")) {
            (Some(command), _) => found.push(Example { command: command.to_owned(), says: Vec::new() }),
            (None, Some(said)) if open => found.last_mut().expect("a command").says.push(said.to_owned()),
            _ => {}
        }
        open = line.starts_with("    ");
    }
    found
}

/// A text with one blank between its words.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_examples_of_the_page_on_tenancy_work() {
    let server = Server::start(Options::without_node()).await;
    let operator = Operator::of(&server);
    let page = std::fs::read_to_string(kit::checkout("docs/tenancy.md")).expect("the page");
    let examples = examples(&page);
    assert!(examples.len() > 20, "{} examples", examples.len());
    for Example { command, says } in examples {
        let command = command.replace("\"$SERVER\"", &server.url());
        let args: Vec<&str> = command.split(' ').collect();
        let refused = says.iter().any(|line| line.starts_with("! "));
        let look = async || {
            let answer = operator.run(&args).await;
            let said = format!("{}\n{}", answer.stdout, answer.stderr);
            let lines: Vec<String> = said.lines().map(plain).collect();
            let is_said = |wanted: &String| match wanted.strip_prefix("! ") {
                Some(part) => plain(&said).contains(&plain(part)),
                None => lines.contains(&plain(wanted)),
            };
            let right = (answer.code == Some(0)) != refused && says.iter().all(is_said);
            if right { Ok(()) } else { Err(format!("{answer}")) }
        };
        // What only looks may look again; all else is done once.
        if ["get", "usage", "list"].iter().any(|verb| args.contains(verb)) {
            wait_for(&command, DEADLINE, look).await;
        } else if let Err(answer) = look().await {
            panic!("kubectl {command}: {answer}");
        }
    }
}
