//! Threads that give way to all others of the process.

use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// What the system's scheduler takes from a thread of ours: it gets a tenth of a processor that others want, and all of
/// one that is free.
const NICENESS: i32 = 10;

/// Threads for work that may wait: the system runs them when the others leave something, and seldom otherwise.
///
/// Dropped, it gives up what has not ended.
pub struct Background(Option<Runtime>);

impl Background {
    /// As many threads as there are processors. `Err` when they cannot be started.
    pub fn start() -> io::Result<Background> {
        let lower = || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::warn!(%error, "work in the background competes with all other");
            }
        };
        let runtime =
            Builder::new_multi_thread().thread_name("background").on_thread_start(lower).enable_all().build()?;
        Ok(Background(Some(runtime)))
    }

    /// Carries out work there, and returns what it makes of it; at once, whether that is waited for or not.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("it is there until dropped").spawn(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for its threads is not allowed on a thread that serves others.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).expect("a priority")
    }

    #[tokio::test]
    async fn the_background_is_nicer_than_who_started_it() {
        let before = niceness();
        let background = Background::start().expect("threads");
        assert_eq!(background.spawn(async { niceness() }).await.expect("no panic"), NICENESS);
        assert_eq!(niceness(), before);
    }
}
