//! The start of a server on an empty store, and its memory while nobody asks it anything.

use crate::measure::memory_of;
use crate::report::Start;
use kit::{Options, Server};
use std::time::Duration;

/// The budgets of the design.
const BUDGET_READY: Duration = Duration::from_millis(100);
const BUDGET_MEMORY: u64 = 30_000_000;

/// One start alone tells little: the disk and the rest of the machine have their say.
const STARTS: usize = 5;

/// Controllers and caches have read all that there is by then.
const IDLE_FOR: Duration = Duration::from_secs(3);

/// Starts servers, each in an empty directory and after the one before has ended. Returns the last, which still runs.
pub async fn run(tiny: bool) -> (Server, Start) {
    let (starts, idle_for) = if tiny { (1, IDLE_FOR / 30) } else { (STARTS, IDLE_FOR) };
    let mut server = Server::start(Options::without_node()).await;
    let mut ready_after = vec![server.ready_after()];
    while ready_after.len() < starts {
        drop(server);
        server = Server::start(Options::without_node()).await;
        ready_after.push(server.ready_after());
    }
    kit::leave_alone(idle_for).await;
    let idle_memory = memory_of(server.pid());
    let start = Start { ready_after, ready_budget: BUDGET_READY, idle_memory, idle_for, memory_budget: BUDGET_MEMORY };
    (server, start)
}
