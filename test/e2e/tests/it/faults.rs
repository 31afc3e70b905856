//! Servers that die at work: what clients were told stays true, and what watchers see has no gap.
//!
//! | Check | Test |
//! |---|---|
//! | T01 kills, T07 linearizability, T08 lists, T10 watches, T16 expired versions | `through_kills_every_answer_stays_true` |
//! | T06 damage, T02 to T05 power, syncs and room | in the store: its tests of corruption and of power |
//! | T09 backups | the tests of backups beside this one |
//! | T99 the checkers | in the kit: its tests of histories |

use kit::history::record::Recording;
use kit::history::{linear, watches};
use kit::{Options, Server, wait_for};
use std::time::Duration;

const KEYS: usize = 8;
const WRITERS: usize = 8;
const WATCHERS: usize = 4;

const RESTART_MAX: Duration = Duration::from_secs(5);

fn is_full() -> bool {
    std::env::var("URSA_TEST_FULL").is_ok_and(|full| full == "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_every_answer_stays_true() {
    let kills = if is_full() { 200 } else { 10 };
    let mut server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("faults").await;
    let recording = Recording::start(&server, &tenant, KEYS, WRITERS, WATCHERS);
    for kill in 0..kills {
        let goal = recording.acknowledged() + 20 + (kill * 37) % 50;
        wait_for("acknowledged writes", Duration::from_secs(60), async || {
            let acknowledged = recording.acknowledged();
            if acknowledged >= goal { Ok(()) } else { Err(format!("{acknowledged} of {goal}")) }
        })
        .await;
        server.kill9();
        recording.killed();
        server.restart().await;
        assert!(server.ready_after() < RESTART_MAX, "{:?} until ready", server.ready_after());
    }
    let history = recording.end().await;
    let (operations, seen) = (history.operations.len(), history.seen.iter().map(Vec::len).sum::<usize>());
    println!("{kills} kills, {operations} operations, {seen} steps of watchers");
    linear::check(&history.operations).unwrap_or_else(|why| panic!("{why}"));
    watches::check_together(&history.written(), &history.seen).unwrap_or_else(|why| panic!("{why}"));
}
