//! `ursa server` as a process of its own, on a free port, with a fresh data directory.

use crate::wait::time_until;
use crate::{Answer, Containerd, Etcd, Kubectl, Scratch, run, wait_for};
use bytes::Bytes;
use client::Client;
use http::Request;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A debug build on a busy machine is ready well within this.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// A server drains and syncs well within this.
const EXIT_DEADLINE: Duration = Duration::from_secs(40);

/// Of a server's log, when a test fails; the rest is in the directory that stays.
const LOG_LINES_SHOWN: usize = 30;

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Without controllers, scheduler and node agent.
    alone: bool,
    data_dir: Option<PathBuf>,
    /// Whose keys it shares.
    keys_from: Option<PathBuf>,
    args: Vec<String>,
}

impl Options {
    /// Without a node: nothing runs pods.
    pub fn without_node() -> Options {
        Options::default().arg("--node-agent=false")
    }

    /// An API server and nothing else.
    pub fn alone() -> Options {
        Options { alone: true, ..Options::default() }
    }

    /// With this machine as its node, on the containerd's data directory.
    pub fn on(containerd: &Containerd) -> Options {
        let options = Options { data_dir: Some(containerd.dir().to_owned()), ..Options::default() };
        options.arg("--container-runtime-endpoint").arg(containerd.endpoint())
    }

    /// With its objects in an etcd cluster.
    pub fn stored_in(self, etcd: &Etcd) -> Options {
        self.arg(format!("--etcd-servers={}", etcd.urls().join(",")))
    }

    /// As another API server beside one: with the same authority, so that all clients can use both.
    pub fn beside(self, server: &Server) -> Options {
        Options { keys_from: Some(server.data_dir().join("pki")), ..self }
    }

    /// On a directory of the caller's.
    pub fn data_dir(mut self, dir: PathBuf) -> Options {
        self.data_dir = Some(dir);
        self
    }

    /// One more argument of the command line.
    pub fn arg(mut self, arg: impl Into<String>) -> Options {
        self.args.push(arg.into());
        self
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    options: Options,
    /// Where `URSA_TEST_STORE` asks for it: another API server, whose address tenants get, and what both store in.
    peer: Option<Box<Server>>,
    _etcd: Option<Etcd>,
    /// What is not asked for elsewhere lies here; the log always.
    scratch: Scratch,
    port: u16,
    child: Child,
    ready_after: Duration,
}

/// One tenant of a server.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    /// As an administrator of the tenant.
    pub kubectl: Kubectl,
}

impl Server {
    /// Starts a server and waits until it is ready. With `URSA_TEST_STORE=etcd` it stores in an etcd cluster, and its
    /// tenants get the address of another API server beside it, which serves half of them and passes on the others'
    /// requests.
    pub async fn start(options: Options) -> Server {
        let own_store = options.args.iter().any(|arg| arg.starts_with("--etcd-servers"));
        if own_store || std::env::var_os("URSA_TEST_STORE").is_none_or(|store| store != "etcd") {
            return Server::start_alone(options).await;
        }
        let etcd = Etcd::start(1, &[]).await;
        let mut server = Server::start_alone(options.stored_in(&etcd).arg("--service-group-id=1")).await;
        let peer = Options::alone().stored_in(&etcd).arg("--service-group-id=2").beside(&server);
        let peer = Server::start_alone(peer).await;
        server.share_out("m").await;
        (server.peer, server._etcd) = (Some(Box::new(peer)), Some(etcd));
        server
    }

    async fn start_alone(options: Options) -> Server {
        let scratch = Scratch::new();
        let options = Options { data_dir: Some(options.data_dir.unwrap_or_else(|| scratch.join("data"))), ..options };
        if let Some(keys) = &options.keys_from {
            let pki = options.data_dir.as_ref().expect("set just now").join("pki");
            std::fs::create_dir_all(&pki).expect("a fresh directory");
            for key in ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"] {
                std::fs::copy(keys.join(key), pki.join(key)).expect("a server has made its keys");
            }
        }
        let child = spawn(&options, 0, &scratch);
        let mut server =
            Server { options, peer: None, _etcd: None, scratch, port: 0, child, ready_after: Duration::ZERO };
        server.ready().await;
        server
    }

    pub fn data_dir(&self) -> &Path {
        self.options.data_dir.as_deref().expect("set at the start")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the last start of the process to its first answer that it is ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What the server has logged until now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("ursa.log")).expect("the log was made at the start")
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// kubectl of the cluster's administrator.
    pub fn admin(&self) -> Kubectl {
        Kubectl::new(self.admin_kubeconfig(), self.scratch.path())
    }

    /// A client of the cluster's administrator. It belongs to the caller's tokio runtime.
    pub fn client(&self) -> Client {
        Client::from_kubeconfig(&self.admin_kubeconfig()).expect("a ready server has written its kubeconfig")
    }

    /// The status code of an answer to one who shows no credential.
    pub async fn code_for_strangers(&self, method: &str, path: &str) -> u16 {
        let known = client::Kubeconfig::read(&self.admin_kubeconfig()).expect("a ready server has written it");
        let nobody = client::Kubeconfig { client_certificate: None, token: None, ..known };
        let client = Client::new(std::sync::Arc::new(client::HttpTransport::new(&nobody).expect("an address")));
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).expect("a plain request");
        match client.request(request).await {
            Ok(answer) => answer.status().as_u16(),
            Err(error) => error.code(),
        }
    }

    /// Runs `ursa` as the cluster's administrator.
    pub async fn ursa(&self, args: &[&str]) -> Answer {
        run(binary(), args, &[("KUBECONFIG", self.admin_kubeconfig().as_os_str())], "").await
    }

    /// Gives the tenants before a name to the API servers of group 1, and the others to those of group 2.
    pub async fn share_out(&self, border: &str) {
        let low = format!("metadata: {{name: low}}\nrangeEnd: {border}\nisRangeEndValid: true\nserviceGroupId: '1'");
        let high =
            format!("metadata: {{name: high}}\nrangeStart: {border}\nisRangeStartValid: true\nserviceGroupId: '2'");
        let configs = [low, high].map(|config| format!("apiVersion: v1\nkind: DataPartitionConfig\n{config}\n"));
        self.admin().run(&["create", "-f", "-"], &configs.join("---\n")).await.ok();
    }

    /// Makes a tenant and waits until pods can be created in its default namespace.
    pub async fn tenant(&self, name: &str) -> Tenant {
        self.ursa(&["tenant", "create", name]).await.ok();
        let tenant = self.known_tenant(name).await;
        wait_for("the default ServiceAccount", Duration::from_secs(30), async || {
            let answer = tenant.kubectl.run(&["get", "serviceaccount", "default"], "").await;
            if answer.code == Some(0) { Ok(()) } else { Err(answer) }
        })
        .await;
        tenant
    }

    /// A tenant that is there already.
    pub async fn known_tenant(&self, name: &str) -> Tenant {
        let kubeconfig = self.scratch.join(&format!("{name}.kubeconfig"));
        let mut text = self.ursa(&["kubeconfig", "--tenant", name]).await.ok();
        if let Some(peer) = &self.peer {
            text = text.replace(&self.url(), &peer.url());
        }
        std::fs::write(&kubeconfig, text).expect("a fresh directory");
        Tenant { name: name.to_owned(), kubectl: Kubectl::new(kubeconfig, self.scratch.path()) }
    }

    /// Kills the process as a power loss would, without a chance to finish anything.
    pub fn kill9(&mut self) {
        if let Some(peer) = &mut self.peer {
            peer.kill9();
        }
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts again on the same data and port, and waits until it is ready.
    pub async fn restart(&mut self) {
        if let Some(peer) = &mut self.peer {
            peer.child = spawn(&peer.options, peer.port, &peer.scratch);
            peer.ready().await;
        }
        self.child = spawn(&self.options, self.port, &self.scratch);
        self.ready().await;
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        exit(&mut self.child, "the server").await
    }

    /// Waits until the server answers ready, and learns its port.
    async fn ready(&mut self) {
        let kubeconfig = self.admin_kubeconfig();
        self.ready_after = time_until("the server to be ready", READY_DEADLINE, async || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("ursa server ended with {status}:\n{}", self.log());
            }
            let client = Client::from_kubeconfig(&kubeconfig).map_err(|e| e.to_string())?;
            let request = Request::get("/readyz").body(Bytes::new()).expect("a plain request");
            let answer = client.request(request).await.map_err(|e| format!("{e}\n{}", self.log()))?;
            if answer.status() == 200 { Ok(()) } else { Err(format!("{}\n{}", answer.status(), self.log())) }
        })
        .await;
        let server = client::Kubeconfig::read(&kubeconfig).expect("it was read just now").server;
        self.port = port(&server).unwrap_or_else(|| panic!("{server} names no port"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of ursa.log\n{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"));
        }
    }
}

/// Runs `ursa` to its end, without a kubeconfig.
pub async fn ursa(args: &[&str]) -> Answer {
    run(binary(), args, &[("KUBECONFIG", "/nonexistent".as_ref())], "").await
}

fn spawn(options: &Options, port: u16, scratch: &Scratch) -> Child {
    let log = open_log(&scratch.join("ursa.log"));
    Command::new(binary())
        .args([if options.alone { "apiserver" } else { "server" }, "--secure-port", &port.to_string(), "--data-dir"])
        .arg(options.data_dir.as_deref().expect("set at the start"))
        .args(&options.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("the binary was found")
}

/// Sends SIGTERM to a child and waits for its end.
pub(crate) async fn exit(child: &mut Child, what: &str) -> ExitStatus {
    run("kill", &["-TERM", &child.id().to_string()], &[], "").await.ok();
    wait_for(&format!("{what} to end after SIGTERM"), EXIT_DEADLINE, async || {
        child.try_wait().expect("a child can be waited for").ok_or("it runs")
    })
    .await
}

pub(crate) fn open_log(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a fresh directory")
}

fn port(url: &str) -> Option<u16> {
    url.strip_prefix("https://")?.split('/').next()?.rsplit_once(':')?.1.parse().ok()
}

/// `$URSA_BIN`, or the `ursa` that was built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("URSA_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test has an executable");
    let built = test.ancestors().skip(1).take(2).map(|dir| dir.join("ursa")).find(|path| path.exists());
    built.unwrap_or_else(|| panic!("there is no ursa beside {}: build it with cargo build -p ursa", test.display()))
}
