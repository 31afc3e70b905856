//! Makes sure that the local index holds everything that was committed before a read began, by whichever API server.
//!
//! A linearizable read says the cluster's revision; then the watch has to reach it. A watch's own notices of progress are
//! not asked for: those of some versions of etcd 3.4 and 3.5 come before events that they claim to follow. The revision
//! may be of a key that is not Ursa's; then nothing comes, and a marker is written that does come.
//! Questions that are asked while a read is under way share the next one.

use super::members::Failure;
use super::{MARKER_KEY, Shared};
use crate::transaction::CommitError;
use etcd_client::{GetOptions, Txn, TxnOp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Answered once everything that was committed before the question is in the index.
pub(super) type Question = oneshot::Sender<Result<(), CommitError>>;

/// So long after a commit the watch has delivered it, unless there is nothing of Ursa's to deliver.
const DELIVERED_WITHIN: Duration = Duration::from_millis(20);

/// A watch that has not delivered a marker by now is made anew, from another member.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// Answers questions until the partition is closed.
pub(super) async fn run(shared: Arc<Shared>, mut asked: mpsc::UnboundedReceiver<Question>) {
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            biased;
            // Questions that are left are answered by being dropped: the partition has stopped.
            () = shared.stop.stopped() => return,
            // Cancel-safe. `waiting` is empty here, so that more than none means that there are some.
            count = asked.recv_many(&mut waiting, usize::MAX) => if count == 0 { return },
        }
        let answer = tokio::select! {
            biased;
            // Nothing is lost: a read changes nothing, and a marker is only a marker.
            () = shared.stop.stopped() => return,
            answer = reach_current(&shared) => answer,
        };
        for question in waiting.drain(..) {
            // Whoever asked may have given up waiting.
            _ = question.send(answer.clone());
        }
    }
}

async fn reach_current(shared: &Shared) -> Result<(), CommitError> {
    let seen = shared.revisions.load().to_etcd(shared.hub.snapshot().revision());
    let only_count = GetOptions::new().with_count_only();
    let answer = shared.members.get(MARKER_KEY, only_count).await?;
    let current = answer.header().map_or(0, |header| header.revision());
    if current < seen {
        shared.fail(format!(
            "the storage cluster has gone back from revision {seen} to {current}, as after restoring an old copy; start \
             the API servers again"
        ));
        return Err(CommitError::Stopped);
    }
    if shared.reaches(current, DELIVERED_WITHIN).await.is_some() {
        return Ok(());
    }
    let marked = mark(shared).await?;
    if shared.reaches(marked, STALLED_AFTER).await.is_some() {
        return Ok(());
    }
    shared.stalled.notify_one();
    if shared.reaches(marked, STALLED_AFTER).await.is_some() {
        return Ok(());
    }
    Err(CommitError::Unavailable("the storage cluster's watch does not deliver what was committed".to_owned()))
}

/// Writes the marker; the revision of etcd's that it has made.
async fn mark(shared: &Shared) -> Result<i64, Failure> {
    let (answer, _) = shared.members.txn(Txn::new().and_then([TxnOp::put(MARKER_KEY, "", None)])).await?;
    Ok(answer.header().map_or(0, |header| header.revision()))
}
