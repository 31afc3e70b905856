//! What a program answered.

use std::ffi::OsStr;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// No program that a test runs to its end needs longer.
const DEADLINE: Duration = Duration::from_secs(180);

/// How a program ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// What it wrote to standard output.
    ///
    /// # Panics
    /// Unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        write!(f, "exit {code}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end, with `stdin` as its whole input.
///
/// # Panics
/// When it cannot be started, or runs for more than three minutes; it is killed then.
pub async fn run(program: impl AsRef<OsStr>, args: &[&str], env: &[(&str, &OsStr)], stdin: &str) -> Answer {
    let shown = format!("{} {}", program.as_ref().display(), args.join(" "));
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
    let mut input = child.stdin.take().expect("a pipe");
    let stdin = stdin.to_owned();
    let ended = async {
        // A program may well end without reading its input; what matters then is how it ended.
        let write = async move { drop(input.write_all(stdin.as_bytes()).await) };
        tokio::join!(write, child.wait_with_output()).1
    };
    let output = tokio::time::timeout(DEADLINE, ended)
        .await
        .unwrap_or_else(|_| panic!("{shown} still runs after {} s", DEADLINE.as_secs()))
        .unwrap_or_else(|e| panic!("cannot wait for {shown}: {e}"));
    Answer {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
