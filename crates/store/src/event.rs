//! One change of one object, and what a watcher with a selector sees of it.
//!
//! Invariant: an event is immutable and shared by history and all watchers; while it is new, its frame is encoded once for
//! all of them.

use api::selector::Selector;
use api::{Object, Revision};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// An event as its watchers get it.
#[derive(Debug, Default)]
enum Frame {
    #[default]
    Unmade,
    Kept(Bytes),
    GivenUp,
}

/// A committed change.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    /// The object after the change; for a deletion its last state, at the deletion's revision.
    pub object: Arc<Object>,
    /// The object before the change; `None` for an addition.
    pub previous: Option<Arc<Object>>,
    pub revision: Revision,
    /// It is the work of a move between partitions, and no watcher's business.
    pub(crate) silent: bool,
    pub(crate) committed: Instant,
    frame: Mutex<Frame>,
    departed: OnceLock<Arc<Object>>,
}

impl Event {
    pub(crate) fn new(
        kind: EventKind,
        object: Arc<Object>,
        previous: Option<Arc<Object>>,
        committed: Instant,
    ) -> Event {
        assert_eq!(kind == EventKind::Added, previous.is_none(), "every change but an addition has a previous state");
        let revision = object.revision;
        let (frame, departed) = (Mutex::default(), OnceLock::new());
        Event { kind, object, previous, revision, silent: false, committed, frame, departed }
    }

    /// Of which no watcher is told if so.
    pub(crate) fn silent(self, silent: bool) -> Event {
        Event { silent, ..self }
    }

    /// `{"type":"MODIFIED","object":…}` and a newline, encoded once for all watchers that keep up.
    pub fn frame(&self) -> Bytes {
        let mut frame = self.frame.lock();
        match &*frame {
            Frame::Kept(bytes) => bytes.clone(),
            Frame::GivenUp => encode(self.kind, &self.object),
            Frame::Unmade => {
                let bytes = encode(self.kind, &self.object);
                *frame = Frame::Kept(bytes.clone());
                bytes
            }
        }
    }

    /// Gives up the frame: who still wants it has fallen behind, and encodes it for itself.
    pub(crate) fn give_up_frame(&self) {
        *self.frame.lock() = Frame::GivenUp;
    }

    /// The object's previous content at this revision: what a selector that the object no longer matches sees last.
    fn departed(&self, previous: &Object) -> &Arc<Object> {
        self.departed.get_or_init(|| Arc::new(previous.at_revision(self.revision)))
    }
}

/// What one watcher gets of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// After the selector's view: entering it is Added, leaving it is Deleted.
    pub kind: EventKind,
    pub event: Arc<Event>,
    /// The event's object, except for a watcher whose selector it has left: then its previous content at the event's
    /// revision.
    pub object: Arc<Object>,
}

impl Delivery {
    /// The event as `selector` sees it; `None` when it is in view neither before nor after.
    pub(crate) fn of(event: Arc<Event>, selector: &Selector) -> Option<Delivery> {
        let before = event.previous.as_ref().filter(|previous| selector.matches(previous));
        let after = event.kind != EventKind::Deleted && selector.matches(&event.object);
        let (kind, object) = match (before, after) {
            (None, false) => return None,
            (None, true) => (EventKind::Added, &event.object),
            (Some(_), true) => (EventKind::Modified, &event.object),
            (Some(_), false) if event.kind == EventKind::Deleted => (EventKind::Deleted, &event.object),
            (Some(previous), false) => (EventKind::Deleted, event.departed(previous)),
        };
        let object = object.clone();
        Some(Delivery { kind, event, object })
    }

    /// The line that is sent to the watcher.
    pub fn frame(&self) -> Bytes {
        if self.kind == self.event.kind { self.event.frame() } else { encode(self.kind, &self.object) }
    }
}

fn encode(kind: EventKind, object: &Object) -> Bytes {
    let parts: [&[u8]; 5] = [b"{\"type\":\"", kind.as_str().as_bytes(), b"\",\"object\":", &object.bytes, b"}\n"];
    let mut frame = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}
