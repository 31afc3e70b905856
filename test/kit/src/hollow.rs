//! `ursa hollow-nodes` as a process of its own.

use crate::server::{binary, exit, open_log};
use crate::{Scratch, Server};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Nodes without machines. Dropping it kills the process, as a power loss would the nodes.
#[derive(Debug)]
pub struct HollowNodes {
    child: Child,
    log: PathBuf,
    /// The log lies here.
    _scratch: Scratch,
}

impl HollowNodes {
    /// Starts nodes of a server, with further arguments of the command line.
    pub fn start(server: &Server, args: &[&str]) -> HollowNodes {
        let scratch = Scratch::new();
        let log = scratch.join("hollow-nodes.log");
        let file = open_log(&log);
        let child = Command::new(binary())
            .arg("hollow-nodes")
            .args(args)
            .env("KUBECONFIG", server.admin_kubeconfig())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("the binary was found");
        HollowNodes { child, log, _scratch: scratch }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has logged until now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log was made at the start")
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        exit(&mut self.child, "the hollow nodes").await
    }
}

impl Drop for HollowNodes {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- hollow-nodes.log\n{}", self.log());
        }
    }
}
