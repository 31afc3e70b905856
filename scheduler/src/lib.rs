//! The scheduler: gives every waiting pod of every tenant a node.
//!
//! ```text
//!   API ──watch──▶ follow ──Event──▶ state (queue + placement) ──Action──▶ effects ──POST binding, PATCH status──▶ API
//!                                      ▲                                      │
//!                                      └─────────────── Failure ──────────────┘
//! ```
//!
//! Invariant: decisions are pure ([`placement`], `queue`, `state`); one loop owns the state.
//! Invariant: it knows the API alone, and acts on a pod in the pod's own tenant.

mod config;
mod effects;
mod explain;
mod follow;
#[cfg(test)]
mod oracle;
pub mod placement;
mod queue;
mod state;
#[cfg(test)]
mod tests;
mod wake;

pub use config::Config;
pub use explain::explain;
pub use placement::PodKey;

use api::{Error, Identity, Result, TenantName, Timestamp};
use effects::Effects;
use follow::Followed;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use placement::Rng;
use runtime::{Phase, Stop, Supervisor, Tasks};
use state::{Event, Failure, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// So many changes are taken in before the next decision, so that neither starves the other.
const EVENTS_PER_DECISION_MAX: usize = 1024;

/// So many decisions are made before other tasks get their turn.
const DECISIONS_PER_TURN_MAX: usize = 32;

/// How long the parts may take to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Schedules until it is told to stop.
///
/// Boxed, so that all of the scheduler is compiled in this crate, and not in the one that runs it.
pub fn run(connect: Arc<dyn client::Connect>, config: Config, stop: Stop) -> BoxFuture<'static, Result<()>> {
    Box::pin(schedule(connect, config, stop))
}

async fn schedule(connect: Arc<dyn client::Connect>, config: Config, stop: Stop) -> Result<()> {
    let client = connect.connect(Identity::new(TenantName::system(), "system:kube-scheduler", &[]));
    let mut supervisor = Supervisor::new();
    let tasks = Tasks::new();
    let followed = follow::follow(&client, &mut supervisor);
    let (effects, failures) = Effects::start(&client, &tasks, &supervisor.stop(Phase::Workers));
    supervisor.spawn(Phase::Workers, "scheduler-decisions", |stop| {
        Loop { state: State::new(config.profiles), rng: seeded(), effects, failures }.run(followed, stop)
    });
    let ended = supervisor.run(stop.stopped(), SHUTDOWN_GRACE).await;
    tasks.ended().await;
    ended.map_err(Error::internal)
}

/// Which of equally good nodes a pod gets differs from start to start.
fn seeded() -> Rng {
    Rng::new(Timestamp::now().unix_micros().unsigned_abs())
}

/// The owner of the state.
struct Loop {
    state: State,
    rng: Rng,
    effects: Effects,
    failures: mpsc::UnboundedReceiver<Failure>,
}

impl Loop {
    async fn run(mut self, followed: Followed, stop: Stop) -> Result<()> {
        let Followed { mut events, mut synced } = followed;
        let mut all_known = false;
        loop {
            for _ in 0..EVENTS_PER_DECISION_MAX {
                let Some(event) = events.next().now_or_never() else { break };
                match event {
                    Some(event) => self.apply(event),
                    None => return ended(&stop),
                }
            }
            while let Ok(failure) = self.failures.try_recv() {
                self.apply(Event::Failed(failure));
            }
            let busy = all_known && self.decide();
            if busy {
                if stop.is_stopped() {
                    return Ok(());
                }
                tokio::task::yield_now().await;
                continue;
            }
            let timer = self.timer();
            tokio::select! {
                biased;
                // The only way out; the others lose nothing when they are dropped.
                () = stop.stopped() => return Ok(()),
                () = &mut synced, if !all_known => all_known = true,
                event = events.next() => match event {
                    Some(event) => self.apply(event),
                    None => return ended(&stop),
                },
                // Never closed: the effects that send are owned here.
                Some(failure) = self.failures.recv() => self.apply(Event::Failed(failure)),
                () = self.effects.ready(), if self.effects.permit().is_none() => {}
                () = tokio::time::sleep(timer) => {}
            }
        }
    }

    /// Makes some decisions. False when there are none to be made now.
    fn decide(&mut self) -> bool {
        for _ in 0..DECISIONS_PER_TURN_MAX {
            let Some(permit) = self.effects.permit() else { return false };
            let Some(actions) = self.state.schedule_next(Timestamp::now(), &mut self.rng) else { return false };
            self.effects.submit(actions, Some(permit));
        }
        true
    }

    fn apply(&mut self, event: Event) {
        let actions = self.state.apply(event, Timestamp::now());
        self.effects.submit(actions, None);
    }

    /// Until a pod's time has come, or long if none waits for one.
    fn timer(&self) -> Duration {
        const SHORT: Duration = Duration::from_millis(1);
        const LONG: Duration = Duration::from_secs(3600);
        self.state.next_time().map_or(LONG, |next| next.since(Timestamp::now()).max(SHORT))
    }
}

/// The sources of events end only at shutdown.
fn ended(stop: &Stop) -> Result<()> {
    if stop.is_stopped() { Ok(()) } else { Err(Error::internal("the watches of the scheduler ended")) }
}
