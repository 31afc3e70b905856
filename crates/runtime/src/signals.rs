//! Signals that end the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after a second signal, as a shell shows it for an interrupt.
const EXIT_INTERRUPTED: i32 = 130;

/// Completes at the first SIGTERM or SIGINT. From then on the next one exits at once, with status 130.
#[expect(clippy::disallowed_methods, reason = "outlives every supervisor: it is there for when one hangs at shutdown")]
pub async fn terminate() {
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    either(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(EXIT_INTERRUPTED);
    });
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("the kernel lets a process handle SIGTERM and SIGINT")
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        // Both are cancel-safe: a signal that arrived stays recorded.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const CHILD: &str = "RUNTIME_TEST_SIGNALS_CHILD";

    /// The test starts itself once more: the child reports the first signal and then hangs.
    #[tokio::test]
    async fn the_second_signal_ends_a_process_that_hangs() {
        if std::env::var_os(CHILD).is_some() {
            let first = terminate();
            tokio::pin!(first);
            // The first poll is what installs the handlers.
            assert!(futures::poll!(&mut first).is_pending());
            println!("\nlistening");
            first.await;
            println!("\nfirst");
            return std::future::pending().await;
        }
        let name = "signals::tests::the_second_signal_ends_a_process_that_hangs";
        let mut child = Command::new(std::env::current_exe().expect("a test has an executable"))
            .args(["--exact", "--nocapture", name])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        for (awaited, signal) in [("listening", "-TERM"), ("first", "-INT")] {
            assert!(lines.any(|line| line == awaited), "the child never said {awaited:?}");
            let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("there is kill");
            assert!(sent.success());
        }
        assert_eq!(child.wait().expect("the child ends").code(), Some(EXIT_INTERRUPTED));
    }
}
