//! One watcher's end of the stream of events.

use crate::event::Delivery;
use api::Revision;

/// Why a watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnded {
    /// The watcher has fallen behind the history; it must list and watch again.
    #[error("the watch has fallen behind the history of events")]
    Lagged,
    /// The store has stopped.
    #[error("the store has stopped")]
    Closed,
}

/// Events of one scope as one selector sees them.
pub struct Watch;

impl Watch {
    /// The next event in view, in order of revisions. Cancel-safe: an event is either returned or kept.
    pub async fn next(&mut self) -> Result<Delivery, WatchEnded> {
        unimplemented!()
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Delivery, WatchEnded>> {
        unimplemented!()
    }

    /// Every event in view up to this revision has been handed out; what a bookmark may say.
    pub fn progress(&self) -> Revision {
        unimplemented!()
    }
}
