//! Runs one benchmark as a process of its own, so that one which fails, panics or hangs costs its own figures and no others.

use super::plan::Run;
use super::sample::{EVERY, Sampler};
use crate::connection::{Error, text};
use crate::figures::Figures;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Of what a failed benchmark said, so many characters are kept of its begin, which says why, and of its end.
const WORDS_MAX: usize = 1500;

/// What one benchmark came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub name: String,
    /// The arguments with which this program does it again.
    pub command: String,
    pub seconds: f64,
    /// Of each document that it printed.
    pub figures: Vec<Figures>,
    /// Why there are none, or not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Measured {
    pub fn passes(&self) -> bool {
        self.failure.is_none() && self.figures.iter().all(Figures::passes)
    }
}

/// Runs it, with a look at its processes twice a second.
pub async fn run(run: &Run) -> Measured {
    let began = Instant::now();
    let mut measured = Measured {
        name: run.name.clone(),
        command: format!("perf {}", run.args.join(" ")),
        seconds: 0.0,
        figures: Vec::new(),
        failure: None,
    };
    if let Err(why) = observed(run, &mut measured).await {
        measured.failure = Some(why);
    }
    measured.seconds = began.elapsed().as_secs_f64();
    measured
}

async fn observed(run: &Run, measured: &mut Measured) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(text)?;
    // What is left of servers that were killed goes with it.
    let scratch = Scratch::new()?;
    let mut command = Command::new(program);
    command
        .args(&run.args)
        .arg("--json")
        .env("TMPDIR", &scratch.0)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // In a group of its own, so that all that it started ends with it.
    let mut child = command.process_group(0).spawn().map_err(text)?;
    let group = Group(child.id().ok_or("it ended before it began")?);
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let read = async {
        tokio::join!(
            async {
                if let Some(pipe) = &mut stdout {
                    drop(pipe.read_to_end(&mut out).await)
                }
            },
            async {
                if let Some(pipe) = &mut stderr {
                    drop(pipe.read_to_end(&mut errors).await)
                }
            },
        )
    };
    let mut sampler = Sampler::new(group.0);
    let watched = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            sampler.look();
        }
    };
    let ended = tokio::select! {
        _ = read => Ok(()),
        () = kit::leave_alone(run.patience) => Err(format!("broken off after {} s", run.patience.as_secs())),
        () = watched => Err("nobody looks any longer".to_owned()),
    };
    drop(group);
    let status = child.wait().await.map_err(text)?;
    read_documents(&String::from_utf8_lossy(&out), measured);
    if let Some(last) = measured.figures.last_mut() {
        sampler.add_to(last);
    }
    ended?;
    if measured.figures.is_empty() {
        let said = String::from_utf8_lossy(&errors);
        return Err(format!("ended with {status} and no figures: {}", gist(said.trim())));
    }
    Ok(())
}

/// The begin and the end of a long text.
fn gist(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= 2 * WORDS_MAX {
        return text.to_owned();
    }
    let (begin, end) = (&characters[..WORDS_MAX], &characters[characters.len() - WORDS_MAX..]);
    begin.iter().chain(&[' ', '…', ' ']).chain(end).collect()
}

/// A benchmark and all that it started, which end with this value, also where the suite itself is broken off.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0);
        drop(std::process::Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
    }
}

/// A directory that goes when this is dropped, whatever is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Error> {
        let path = std::env::temp_dir().join(format!("ursa-perf-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn read_documents(out: &str, measured: &mut Measured) {
    for line in out.lines().filter(|line| line.starts_with('{')) {
        match serde_json::from_str(line) {
            Ok(figures) => measured.figures.push(figures),
            Err(why) => measured.failure = Some(format!("what it printed is not understood: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// This program is the tests themselves here, which print no document and end.
    #[tokio::test]
    async fn a_benchmark_without_figures_has_failed_and_says_how() {
        let run_of =
            Run { name: "none".to_owned(), args: vec!["--no-such-flag".to_owned()], patience: Duration::from_secs(60) };
        let measured = run(&run_of).await;
        assert!(!measured.passes());
        let failure = measured.failure.expect("a reason");
        assert!(failure.contains("no figures") && failure.contains("no-such-flag"), "{failure}");
    }

    #[test]
    fn of_a_long_text_begin_and_end_are_kept() {
        assert_eq!(gist("short"), "short");
        let long = format!("why {} µend", "x".repeat(3 * WORDS_MAX));
        let kept = gist(&long);
        assert!(kept.starts_with("why x") && kept.ends_with("x µend") && kept.chars().count() == 2 * WORDS_MAX + 3);
    }

    #[test]
    fn documents_are_read_by_line() {
        let mut measured =
            Measured { name: "n".to_owned(), command: String::new(), seconds: 0.0, figures: Vec::new(), failure: None };
        read_documents("words\n{\"title\":\"a\",\"figures\":[]}\n{\"title\":\"b\",\"figures\":[]}\n", &mut measured);
        assert_eq!(measured.figures.len(), 2);
        assert!(measured.passes());
        read_documents("{\"other\":1}\n", &mut measured);
        assert!(!measured.passes());
    }
}
