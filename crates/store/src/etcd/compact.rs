//! Compaction of etcd's history, by one of the API servers at a time.
//!
//! The version of a key is a clock that all of them share: whoever moves it on compacts to the revision of its last tick.

use super::members::Failure;
use super::{COMPACT_KEY, Shared};
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What is known of the shared clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clock {
    ticks: i64,
    /// The cluster's revision at the last look.
    revision: i64,
}

/// Compacts until the partition is closed, to what is older than `after`.
pub(super) async fn run(shared: Arc<Shared>, after: Duration) {
    let mut clock = Clock::default();
    while timeout(after, shared.stop.stopped()).await.is_err() {
        match tick(&shared, clock).await {
            Ok(next) => clock = next,
            Err(why) => tracing::debug!(partition = shared.partition, %why, "etcd was not compacted"),
        }
    }
}

async fn tick(shared: &Shared, clock: Clock) -> Result<Clock, Failure> {
    let unmoved = Compare::version(COMPACT_KEY, CompareOp::Equal, clock.ticks);
    let txn = Txn::new()
        .when([unmoved])
        .and_then([TxnOp::put(COMPACT_KEY, clock.revision.to_string(), None)])
        .or_else([TxnOp::get(COMPACT_KEY, None)]);
    let (answer, _) = shared.members.txn(txn).await?;
    let revision = answer.header().map_or(0, |header| header.revision());
    if !answer.succeeded() {
        // Another server has moved it on: its turn.
        let responses = answer.op_responses();
        let ticks = match responses.first() {
            Some(TxnOpResponse::Get(found)) => found.kvs().first().map_or(0, |kv| kv.version()),
            _ => 0,
        };
        return Ok(Clock { ticks, revision });
    }
    if clock.revision > 0 {
        match shared.members.compact(clock.revision).await {
            Ok(()) | Err(Failure::Compacted) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(Clock { ticks: clock.ticks + 1, revision })
}
