//! A component of the control plane as a process of its own, as the identity that the server made for it.

use crate::server::{binary, exit, open_log};
use crate::{Scratch, Server};
use std::process::{Child, Command, ExitStatus, Stdio};

/// `ursa NAME`, against a server. Dropping it kills the process.
#[derive(Debug)]
pub struct Component {
    name: &'static str,
    child: Child,
    /// The log lies here.
    scratch: Scratch,
}

impl Component {
    /// Starts `controller-manager`, `workload-controller-manager`, `scheduler` or `node-agent`, with further arguments of the command line.
    pub fn start(server: &Server, name: &'static str, args: &[&str]) -> Component {
        let scratch = Scratch::new();
        let log = open_log(&scratch.join("ursa.log"));
        let child = Command::new(binary())
            .args([name, "--kubeconfig"])
            .arg(server.data_dir().join(format!("{}.kubeconfig", name.trim_start_matches("workload-"))))
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the binary was found");
        Component { name, child, scratch }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has logged until now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("ursa.log")).expect("the log was made at the start")
    }

    /// Kills the process as a power loss would.
    pub fn kill9(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        exit(&mut self.child, self.name).await
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the log of {}\n{}", self.name, self.log());
        }
    }
}
