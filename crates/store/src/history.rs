//! The last events of one resource, so that a watch can resume and an old state can be made.
//!
//! Invariant: events are in order of revision, and every event after `reaches` is held. A read that starts before the
//! window fails; it never skips.

use crate::event::Event;
use crate::store::{Limits, TooOld};
use api::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// What an event costs beyond the bytes of its object.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// The newest events keep their frames: a second copy of each object, for watchers that keep up.
const FRAMES_MAX: usize = 64;

/// A window on the sequence of events of a resource. Positions count events from the first one ever pushed.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// The position of the oldest event that is held.
    first: u64,
    bytes: usize,
    reaches: Revision,
}

impl History {
    /// An empty history that knows of no change after `reaches`.
    pub(crate) fn new(reaches: Revision) -> History {
        History { events: VecDeque::new(), first: 0, bytes: 0, reaches }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        let newest = self.events.back().map_or(self.reaches, |newest| newest.revision);
        assert!(event.revision >= newest, "events are published in order of revision");
        self.bytes += cost(&event);
        if let Some(oldest) = self.events.len().checked_sub(FRAMES_MAX) {
            self.events[oldest].give_up_frame();
        }
        self.events.push_back(event);
    }

    /// Forgets what the limits do not allow to keep.
    pub(crate) fn trim(&mut self, limits: &Limits, now: Instant) {
        while let Some(oldest) = self.events.front() {
            let full = self.events.len() > limits.history_events_max || self.bytes > limits.history_bytes_max;
            if !full && now.saturating_duration_since(oldest.committed) <= limits.history_age_max {
                break;
            }
            self.reaches = oldest.revision;
            self.bytes -= cost(oldest);
            self.first += 1;
            self.events.pop_front();
        }
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// The position of the first event after a revision.
    pub(crate) fn position_after(&self, revision: Revision) -> Result<u64, TooOld> {
        if revision < self.reaches {
            return Err(TooOld { oldest: self.reaches });
        }
        Ok(self.first + self.events.partition_point(|event| event.revision <= revision) as u64)
    }

    /// The position of the next event to be pushed.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The events from a position on; `None` when the first of them is no longer held.
    pub(crate) fn from(&self, position: u64) -> Option<impl DoubleEndedIterator<Item = &Arc<Event>>> {
        let skipped = usize::try_from(position.checked_sub(self.first)?).expect("a position in memory fits");
        Some(self.events.range(skipped..))
    }
}

fn cost(event: &Event) -> usize {
    event.object.bytes.len() + EVENT_OVERHEAD_BYTES
}
