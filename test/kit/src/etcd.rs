//! Real etcd clusters on loopback, each at an address of its own, so that no two tests meet.

use crate::server::{exit, open_log};
use crate::{Scratch, wait_for};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A cluster elects its first leader well within this.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// A cluster of etcd members. Dropping it kills them.
#[derive(Debug)]
pub struct Etcd {
    scratch: Scratch,
    address: Ipv4Addr,
    args: Vec<String>,
    members: Vec<Option<Child>>,
}

impl Etcd {
    /// Whether this machine has etcd. Where not, says so: the test is skipped.
    pub fn is_installed() -> bool {
        let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            println!("skipped: there is no etcd: hack/deps.sh --tests installs it");
        }
        found.is_ok()
    }

    /// Starts a cluster of so many members, with further arguments of each, and waits until it has a leader.
    pub async fn start(members: usize, args: &[&str]) -> Etcd {
        let address = free_address();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut cluster = Etcd { scratch: Scratch::new(), address, args, members: Vec::new() };
        cluster.members = (0..members).map(|_| None).collect();
        for member in 0..members {
            cluster.spawn(member);
        }
        for member in 0..members {
            cluster.serves(member).await;
        }
        cluster
    }

    /// The URLs of all members, those that do not run too.
    pub fn urls(&self) -> Vec<String> {
        (0..self.members.len()).map(|member| format!("http://{}", self.client_address(member))).collect()
    }

    /// Where a member answers clients, as `address:port`.
    pub fn client_address(&self, member: usize) -> String {
        format!("{}:{}", self.address, 2379 + 10 * member)
    }

    /// Kills a member as a power loss would.
    pub fn kill9(&mut self, member: usize) {
        let mut child = self.members[member].take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("a child can be waited for");
    }

    /// Lets a member stand still, as a machine without time does, until [`Etcd::resume`].
    pub fn pause(&self, member: usize) {
        self.signal(member, "-STOP");
    }

    pub fn resume(&self, member: usize) {
        self.signal(member, "-CONT");
    }

    fn signal(&self, member: usize, signal: &str) {
        let pid = self.members[member].as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("there is kill");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    /// Stops a member in order.
    pub async fn terminate(&mut self, member: usize) -> ExitStatus {
        let mut child = self.members[member].take().expect("it runs");
        exit(&mut child, "etcd").await
    }

    /// Starts a member again on its data, and waits until it is in touch with a leader.
    pub async fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.serves(member).await;
    }

    /// Starts members again together: none of them alone may have a quorum.
    pub async fn restart_all(&mut self, members: &[usize]) {
        members.iter().for_each(|&member| self.spawn(member));
        for &member in members {
            self.serves(member).await;
        }
    }

    fn peer_url(&self, member: usize) -> String {
        format!("http://{}:{}", self.address, 2380 + 10 * member)
    }

    fn spawn(&mut self, member: usize) {
        let log = open_log(&self.scratch.join(&format!("etcd-{member}.log")));
        let all: Vec<String> =
            (0..self.members.len()).map(|other| format!("m{other}={}", self.peer_url(other))).collect();
        let client = format!("http://{}", self.client_address(member));
        let child = Command::new("etcd")
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.scratch.join(&format!("m{member}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &self.peer_url(member)])
            .args(["--initial-advertise-peer-urls", &self.peer_url(member)])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap", "--log-level", "warn"])
            .args(&self.args)
            // Debian's etcd takes architectures beside amd64 as experimental unless told.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("etcd is installed: hack/deps.sh --tests");
        self.members[member] = Some(child);
    }

    /// Waits until a member says that it is healthy, which it is with a leader alone.
    async fn serves(&mut self, member: usize) {
        let address = self.client_address(member);
        wait_for("etcd to have a leader", READY_DEADLINE, async || {
            if let Some(child) = &mut self.members[member]
                && let Some(status) = child.try_wait().expect("a child can be waited for")
            {
                let log = std::fs::read_to_string(self.scratch.join(&format!("etcd-{member}.log")));
                panic!("etcd ended with {status}:\n{}", log.unwrap_or_default());
            }
            let address = address.clone();
            let asked = tokio::task::spawn_blocking(move || health(&address)).await.expect("it does not panic");
            match asked {
                Ok(answer) if answer.contains(r#""health":"true""#) => Ok(()),
                Ok(answer) => Err(answer),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.members.iter_mut().flatten() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn health(address: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET /health HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A loopback address at which nothing of etcd's listens. What connects from here takes its ports elsewhere.
fn free_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Each process has 63 addresses, of which none ends in 0.
        let number = std::process::id().wrapping_mul(64) + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 63;
        let [_, b, c, d] = number.to_be_bytes();
        // Not 127.0.0.x, where everything else is.
        let address = Ipv4Addr::new(127, b | 1, c, d);
        if TcpListener::bind((address, 2379)).is_ok() {
            return address;
        }
    }
}
