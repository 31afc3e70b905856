//! Reads a store back: every record verified, every header rebuilt.
//!
//! Besides objects there are two keys: the last committed revision, so that revisions never return after deletions, and
//! a mark that is there while a process has the store open.
//! Invariant: a revision that was ever handed out is not given to another change. Relaxed writes may be lost with the
//! power, so a store that was not closed goes on behind all revisions that they can have had.

use crate::engine::{Change, Durability, Engine};
use crate::open_error::OpenError;
use crate::record;
use crate::snapshot::State;
use crate::store::FieldsOf;
use api::{Object, ObjectKey, Revision};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

pub(crate) const REVISION_KEY: &str = "/ursa/m/revision";
const OPEN_KEY: &str = "/ursa/m/open";
const RESTORING_KEY: &str = "/ursa/m/restoring";

/// Before the first commit. Not 0, which asks for "any" as a `resourceVersion`.
const FIRST_REVISION: Revision = 1;

/// Revisions that may be handed out between two syncs.
pub(crate) const UNSYNCED_REVISIONS_MAX: Revision = 1_000_000;

/// What lies between a backup and the store that is made of it: more than a store can hand out in a year.
pub(crate) const REVISIONS_SKIPPED: Revision = 1 << 40;

/// A verified record.
pub(crate) struct Stored {
    pub(crate) revision: Revision,
    /// The revision that the body says.
    pub(crate) written: Revision,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct Found {
    objects: HashMap<Box<str>, Stored>,
    revision: Option<Revision>,
    open: bool,
    restoring: bool,
}

/// Loads everything and marks the store as open.
pub(crate) fn load(engine: &mut dyn Engine, dir: &Path, fields: FieldsOf) -> Result<State, OpenError> {
    let damaged = |what: String| OpenError::damaged(dir, what);
    let mut found = Found::default();
    let synced = engine.load(&mut |key, record| found.visit(key, record))?;
    if found.restoring {
        return Err(OpenError::HalfRestored { dir: dir.to_owned() });
    }
    let newest = found.objects.iter().max_by_key(|(_, stored)| stored.revision);
    let last = match (found.revision, newest) {
        (None, Some((any, _))) => return Err(damaged(format!("the last revision is missing beside record {any}"))),
        (Some(last), Some((key, Stored { revision, .. }))) if *revision > last => {
            return Err(damaged(format!("record {key} is at revision {revision}, after the last one, {last}")));
        }
        (last, _) => last.unwrap_or(FIRST_REVISION),
    };
    if last < synced {
        return Err(damaged(format!("revisions {} to {synced} were written and are missing", last + 1)));
    }
    let mut state = State::default();
    for object in decode_all(found.objects, fields).map_err(damaged)? {
        state.put(Arc::new(object));
    }
    state.revision = if found.open { last + UNSYNCED_REVISIONS_MAX } else { last };
    let opened = vec![
        (OPEN_KEY.to_owned(), Some(record::encode(OPEN_KEY, state.revision, b""))),
        revision_record(state.revision),
    ];
    let marked = engine.commit(&opened, state.revision, Durability::Synced);
    marked.map_err(|failed| OpenError::Unreadable { path: dir.to_owned(), why: failed.to_string() })?;
    Ok(state)
}

/// What is written when a store is closed in order.
pub(crate) fn closing() -> Vec<Change> {
    vec![(OPEN_KEY.to_owned(), None)]
}

/// Every record of a state that is open, as keys and records.
pub(crate) fn contents(state: &State) -> impl Iterator<Item = Change> {
    let open = (OPEN_KEY.to_owned(), Some(record::encode(OPEN_KEY, state.revision, b"")));
    let objects = state.objects().map(|object| {
        let key = object.key.durable();
        let record = record::encode(&key, object.revision, &object.bytes);
        (key, Some(record))
    });
    objects.chain([open, revision_record(state.revision)])
}

/// Marks a store of which a part is still to be restored, or takes the mark away.
pub(crate) fn restoring(is_restoring: bool) -> Change {
    (RESTORING_KEY.to_owned(), is_restoring.then(|| record::encode(RESTORING_KEY, 0, b"")))
}

/// Says which revision was committed last; part of every batch.
pub(crate) fn revision_record(revision: Revision) -> Change {
    (REVISION_KEY.to_owned(), Some(record::encode(REVISION_KEY, revision, b"")))
}

impl Found {
    fn visit(&mut self, key: &[u8], record: Option<&[u8]>) -> Result<(), String> {
        let key = str::from_utf8(key).map_err(|_| format!("key {:?} is not text", String::from_utf8_lossy(key)))?;
        let decoded = record.map(|record| record::decode(key, record)).transpose();
        let decoded = decoded.map_err(|what| format!("record {key} {what}"))?;
        match (key, decoded) {
            (REVISION_KEY, decoded) => self.revision = decoded.map(|(revision, _)| revision),
            (OPEN_KEY, decoded) => self.open = decoded.is_some(),
            (RESTORING_KEY, decoded) => self.restoring = decoded.is_some(),
            (_, Some((revision, body))) => {
                let stored = Stored { revision, written: revision, body: Bytes::copy_from_slice(body) };
                match self.objects.get_mut(key) {
                    Some(replaced) => *replaced = stored,
                    None => _ = self.objects.insert(key.into(), stored),
                }
            }
            (_, None) => {
                let removed = self.objects.remove(key);
                removed.ok_or_else(|| format!("record {key} is removed and was never there"))?;
            }
        }
        Ok(())
    }
}

/// Parses headers on all cores.
pub(crate) fn decode_all(stored: HashMap<Box<str>, Stored>, fields: FieldsOf) -> Result<Vec<Object>, String> {
    let mut stored: Vec<(Box<str>, Stored)> = stored.into_iter().collect();
    // Neighbours share memory.
    stored.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let count = stored.len();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let mut parts = Vec::new();
        while !stored.is_empty() {
            let part = stored.split_off(stored.len().saturating_sub(share));
            parts.push(scope.spawn(move || decode_part(part, fields)));
        }
        let mut objects = Vec::with_capacity(count);
        for part in parts {
            objects.append(&mut part.join().expect("decoding does not panic")?);
        }
        Ok(objects)
    })
}

fn decode_part(stored: Vec<(Box<str>, Stored)>, fields: FieldsOf) -> Result<Vec<Object>, String> {
    let mut objects: Vec<Object> = Vec::with_capacity(stored.len());
    for (durable, Stored { revision, written, body }) in stored {
        let mut key = ObjectKey::parse_durable(&durable).ok_or_else(|| format!("key {durable:?} names no object"))?;
        if let Some(neighbour) = objects.last() {
            share(&mut key, &neighbour.key);
        }
        let fields = fields(&key.resource);
        let object = Object::decode(key, written, body, fields);
        let object = object.map_err(|error| format!("record {durable} holds no object ({})", source_of(&error)))?;
        objects.push(if written == revision { object } else { object.at_revision(revision) });
    }
    Ok(objects)
}

/// Lets a key use the memory of its neighbour for what they have in common.
fn share(key: &mut ObjectKey, neighbour: &ObjectKey) {
    if key.resource == neighbour.resource {
        key.resource = neighbour.resource.clone();
    }
    if key.space == neighbour.space {
        key.space = neighbour.space.clone();
    }
    if key.namespace == neighbour.namespace {
        key.namespace = neighbour.namespace.clone();
    }
}

/// The reason that an API error keeps to itself.
fn source_of(error: &api::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
