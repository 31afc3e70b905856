//! Owners and dependents: what a change of one asks of the other, and what is to become of an object. Pure.

use crate::view::{Time, or_default};
use api::OwnerRef;
use serde::Deserialize;
use serde_json::{Value, json};

/// The finalizer of an owner whose dependents are to go first.
pub const FOREGROUND: &str = "foregroundDeletion";

/// The finalizer of an owner whose dependents are to stay.
pub const ORPHAN: &str = "orphan";

/// What the collector needs to know of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub uid: String,
    pub resource_version: String,
    pub deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerRef>,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

impl Object {
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.metadata.finalizers.iter().any(|f| f == finalizer)
    }

    /// Is going, but only after its dependents.
    pub fn waits_for_dependents(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    /// Is going, but only after its dependents were let go.
    pub fn waits_for_orphaning(&self) -> bool {
        self.is_deleting() && self.has_finalizer(ORPHAN)
    }

    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.metadata.owner_references.iter().any(|o| o.uid == uid)
    }

    pub fn blocks(&self, owner_uid: &str) -> bool {
        self.metadata.owner_references.iter().any(|o| o.uid == owner_uid && o.block_owner_deletion)
    }
}

/// What a change asks to look at.
#[derive(Debug, Default, PartialEq)]
pub struct Look {
    /// The object itself.
    pub at_itself: bool,
    /// Its dependents, by the uid of the object that they own it to.
    pub at_dependents_of: Vec<String>,
    /// Owners that might have waited for it, by their uids.
    pub at_owners: Vec<String>,
}

/// What to look at after a change. `all_owners_known` tells whether a cache holds every owner of the new object.
pub fn look(old: Option<&Object>, new: Option<&Object>, all_owners_known: impl Fn(&Object) -> bool) -> Look {
    let mut look = Look::default();
    let same = old.zip(new).is_some_and(|(o, n)| o.metadata.uid == n.metadata.uid);
    let before = old.filter(|_| same);
    if let Some(gone) = old.filter(|_| !same) {
        look.at_dependents_of.push(gone.metadata.uid.clone());
        look.at_owners.extend(gone.metadata.owner_references.iter().map(|o| o.uid.clone()));
    }
    let Some(new) = new else { return look };
    if let Some(old) = before {
        let blocked = old.metadata.owner_references.iter().filter(|o| o.block_owner_deletion && !new.blocks(&o.uid));
        look.at_owners.extend(blocked.map(|o| o.uid.clone()));
    }
    let owners_changed = before.is_none_or(|old| old.metadata.owner_references != new.metadata.owner_references);
    look.at_itself = owners_changed && !new.metadata.owner_references.is_empty() && !all_owners_known(new);
    if new.waits_for_orphaning() && !before.is_some_and(Object::waits_for_orphaning) {
        look.at_itself = true;
    }
    if new.waits_for_dependents() && !before.is_some_and(Object::waits_for_dependents) {
        look.at_itself = true;
        look.at_dependents_of.push(new.metadata.uid.clone());
    }
    look
}

/// What the server said of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there, or may be.
    Solid,
    /// It is there and goes after its dependents.
    WaitsForDependents,
    /// There is none of this uid.
    Absent,
}

/// What is to become of an object.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Keep,
    /// It loses the references to these owners.
    Drop(Vec<String>),
    /// It goes with its own dependents first. Where those wait for it in turn, it has to stop blocking its owners.
    DeleteForeground,
    /// It goes, in the way that its own finalizers say.
    Delete,
}

/// Decides by the standing of each owner of an object.
pub fn verdict(owners: &[(&OwnerRef, Standing)], has_dependents: bool) -> Verdict {
    let with = |standing: Standing| owners.iter().filter(move |(_, s)| *s == standing).map(|(o, _)| o.uid.clone());
    let any_waits = owners.iter().any(|(_, s)| *s == Standing::WaitsForDependents);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if owners.iter().any(|(_, s)| *s == Standing::Solid) {
        let lost: Vec<String> = with(Standing::Absent).chain(with(Standing::WaitsForDependents)).collect();
        return if lost.is_empty() { Verdict::Keep } else { Verdict::Drop(lost) };
    }
    if any_waits && has_dependents { Verdict::DeleteForeground } else { Verdict::Delete }
}

/// A merge patch that leaves of an object's owners those that `keep` keeps, as it changes them.
pub fn owners_patch(object: &Value, keep: impl Fn(&mut Value) -> bool) -> Value {
    let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let kept: Vec<Value> = owners.into_iter().filter_map(|mut o| keep(&mut o).then_some(o)).collect();
    exactly(object, "ownerReferences", kept.into())
}

/// A merge patch that takes a finalizer away.
pub fn finalizer_patch(object: &Value, finalizer: &str) -> Value {
    let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let kept: Vec<Value> = finalizers.into_iter().filter(|f| f != finalizer).collect();
    exactly(object, "finalizers", kept.into())
}

/// A merge patch of one field of the metadata of exactly this version of an object.
fn exactly(object: &Value, field: &str, value: Value) -> Value {
    let metadata = &object["metadata"];
    json!({"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], field: value}})
}
