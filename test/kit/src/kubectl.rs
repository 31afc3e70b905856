//! kubectl, as a person runs it.

use crate::{Answer, run};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// No line that a test waits for takes longer.
const LINE_DEADLINE: Duration = Duration::from_secs(60);

/// kubectl with one kubeconfig. `$KUBECTL` names another program than the one on the PATH.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    /// Its caches go there, where no other server's are.
    home: PathBuf,
}

impl Kubectl {
    pub fn new(kubeconfig: PathBuf, home: &Path) -> Kubectl {
        Kubectl { kubeconfig, home: home.to_owned() }
    }

    /// The program that is run.
    pub fn program() -> String {
        std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned())
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Panics
    /// Unless it succeeds.
    pub async fn ok(&self, args: &[&str]) -> String {
        let answer = self.run(args, "").await;
        assert_eq!(answer.code, Some(0), "kubectl {}: {answer}", args.join(" "));
        answer.stdout
    }

    /// As [`Kubectl::ok`], with `-o json`, parsed.
    pub async fn json(&self, args: &[&str]) -> Value {
        let printed = self.ok(&[args, &["-o", "json"]].concat()).await;
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("kubectl {}: {e} in {printed}", args.join(" ")))
    }

    /// Runs a command to its end, whatever that is.
    pub async fn run(&self, args: &[&str], stdin: &str) -> Answer {
        run(Kubectl::program(), args, &self.env(), stdin).await
    }

    /// Starts a command that does not end by itself.
    pub fn lines(&self, args: &[&str]) -> Lines {
        let mut command = Command::new(Kubectl::program());
        command.args(args).envs(self.env()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("there is kubectl");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Lines { child, stdout }
    }

    fn env(&self) -> [(&str, &OsStr); 2] {
        [("KUBECONFIG", self.kubeconfig.as_os_str()), ("HOME", self.home.as_os_str())]
    }
}

/// What a running command prints. Dropping it kills the command.
#[derive(Debug)]
pub struct Lines {
    child: Child,
    stdout: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Lines {
    /// The next line; `None` when the command has ended.
    ///
    /// # Panics
    /// When there is none within a minute.
    pub async fn next(&mut self) -> Option<String> {
        let line = tokio::time::timeout(LINE_DEADLINE, self.stdout.next_line()).await;
        line.expect("kubectl prints a line within a minute").expect("kubectl prints text")
    }

    /// The exit code, once the command has ended by itself.
    pub async fn ended(mut self) -> Option<i32> {
        while self.next().await.is_some() {}
        self.child.wait().await.expect("a child can be waited for").code()
    }
}
