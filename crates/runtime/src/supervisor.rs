//! Every task has an owner, a name and a phase.
//!
//! A task that ends before shutdown, with an error or without, ends the process with its name. At shutdown the phases
//! stop in order (listeners, workers, storage), each after the one before has ended, all within one deadline.
//! [`Tasks`] holds the short-lived tasks of one owner (a connection, a reconcile); they may end at any time and a panic
//! in one touches no other.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells a task to end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Completes when the task should end. Cancel-safe.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }

    pub fn stop(&self) {
        self.0.cancel();
    }

    /// A stop that follows this one and can also be stopped alone.
    pub fn child(&self) -> Stop {
        Stop(self.0.child_token())
    }
}

/// When a task is stopped at shutdown: in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Listeners,
    Workers,
    Storage,
}

impl Phase {
    const ORDER: [Phase; 3] = [Phase::Listeners, Phase::Workers, Phase::Storage];
}

/// The task that ended the process.
#[derive(Debug)]
pub struct Died {
    pub task: &'static str,
    pub why: String,
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended: {}", self.task, self.why)
    }
}

impl std::error::Error for Died {}

/// Short-lived tasks of one owner.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// Starts a task; a panic in it is logged under `name`.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(name, Box::pin(task));
    }

    /// What starting takes is compiled once, not for every kind of task.
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.0.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "a task panicked");
            }
        });
    }

    /// Waits until all have ended. None may be started afterwards.
    pub async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Owns the long-lived tasks of a process.
#[derive(Default)]
pub struct Supervisor {
    stops: [Stop; 3],
    running: Vec<Running>,
}

struct Running {
    phase: Phase,
    task: &'static str,
    handle: tokio::task::JoinHandle<Result<(), String>>,
}

impl Supervisor {
    pub fn new() -> Supervisor {
        Supervisor::default()
    }

    /// Starts a task that runs until its `Stop`; ending earlier is a failure of the process.
    pub fn spawn<F, E>(&mut self, phase: Phase, name: &'static str, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let task = task(self.stop(phase));
        self.spawn_boxed(phase, name, Box::pin(async move { task.await.map_err(|e| e.to_string()) }));
    }

    /// What starting takes is compiled once, not for every kind of task.
    #[expect(clippy::disallowed_methods, reason = "the one place where long-lived tasks start")]
    fn spawn_boxed(&mut self, phase: Phase, name: &'static str, task: BoxFuture<'static, Result<(), String>>) {
        let guarded = async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            ended.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))))
        };
        self.running.push(Running { phase, task: name, handle: tokio::spawn(guarded) });
    }

    /// The stop of a phase, for parts that are not tasks of their own.
    pub fn stop(&self, phase: Phase) -> Stop {
        self.stops[phase as usize].clone()
    }

    /// Runs until `shutdown` completes or a task dies, then stops phase after phase. `Err` names the task that died,
    /// or one that did not end within `grace`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>, grace: Duration) -> Result<(), Died> {
        let death = tokio::select! {
            biased;
            // Cancelled when a task dies first: the process ends anyway.
            () = shutdown => None,
            // Cancelled at shutdown: the handles stay in `running`.
            died = first_death(&mut self.running) => Some(died),
        };
        let deadline = tokio::time::Instant::now() + grace;
        let mut outcome = death.map_or(Ok(()), Err);
        for phase in Phase::ORDER {
            self.stops[phase as usize].stop();
            for Running { task, handle, .. } in self.running.extract_if(.., |running| running.phase == phase) {
                let ended = tokio::time::timeout_at(deadline, handle).await;
                let why = match ended {
                    Ok(Ok(Ok(()))) => continue,
                    Ok(Ok(Err(why))) => why,
                    Ok(Err(join)) => join.to_string(),
                    Err(_) => format!("still running {} s after it was told to stop", grace.as_secs()),
                };
                if outcome.is_ok() {
                    outcome = Err(Died { task, why });
                }
            }
        }
        outcome
    }
}

/// Completes when any task ends, and takes it out. Pending while there is none.
async fn first_death(running: &mut Vec<Running>) -> Died {
    if running.is_empty() {
        return std::future::pending().await;
    }
    let handles = running.iter_mut().map(|running| &mut running.handle);
    let (ended, index, _) = futures::future::select_all(handles).await;
    let Running { task, .. } = running.remove(index);
    let why = match ended {
        Ok(Ok(())) => "without being told to stop".to_owned(),
        Ok(Err(why)) => why,
        Err(join) => join.to_string(),
    };
    Died { task, why }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("of unknown cause")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn phases_stop_in_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::new();
        for (phase, name) in [(Phase::Storage, "store"), (Phase::Listeners, "listener"), (Phase::Workers, "worker")] {
            let order = order.clone();
            supervisor.spawn(phase, name, |stop| async move {
                stop.stopped().await;
                order.lock().expect("no panic").push(name);
                Ok::<(), String>(())
            });
        }
        supervisor.run(async {}, Duration::from_secs(5)).await.expect("a clean stop");
        assert_eq!(*order.lock().expect("no panic"), ["listener", "worker", "store"]);
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process_with_its_name() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Phase::Workers, "fragile", |_| async {
            if true {
                panic!("broken");
            }
            Ok::<(), String>(())
        });
        let died = supervisor.run(std::future::pending(), Duration::from_secs(5)).await.expect_err("a death");
        assert_eq!(died.to_string(), "fragile ended: panicked: broken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_named_at_the_deadline() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Phase::Workers, "deaf", |_| std::future::pending::<Result<(), String>>());
        let died = supervisor.run(async {}, Duration::from_secs(3)).await.expect_err("a death");
        assert_eq!(died.task, "deaf");
    }
}
