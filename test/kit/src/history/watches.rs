//! What watchers may see: every change after where they began, once, in order, and nothing else.

use super::Revision;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub kind: Kind,
    /// What the object holds; of a deleted one, what it held.
    pub value: u64,
}

/// What happened, by revision.
pub type Truth = BTreeMap<Revision, Change>;

/// What a watcher saw, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A list at a revision: keys and values. A watch goes on from it.
    Listed(Revision, BTreeMap<String, u64>),
    /// A watch was opened after this revision.
    Resumed(Revision),
    Changed(Revision, Change),
    /// Nothing up to this revision is still to come.
    Bookmark(Revision),
}

/// Checks what one watcher saw. `Err` says what cannot be.
pub fn check(truth: &Truth, seen: &[Seen]) -> Result<(), String> {
    // Everything up to here has been seen; `None` before the first list.
    let mut at: Option<Revision> = None;
    for (index, seen) in seen.iter().enumerate() {
        let told = |what: &str| Err(format!("number {index}, {seen:?}: {what}"));
        match seen {
            Seen::Listed(revision, objects) => {
                if at.is_some_and(|at| *revision < at) {
                    return told("a list of before");
                }
                if state_at(truth, *revision) != *objects {
                    return told("is not what was there at that revision");
                }
                at = Some(*revision);
            }
            Seen::Resumed(revision) => {
                if at.is_some_and(|at| at != *revision) {
                    return told("does not go on where it was");
                }
                at = Some(*revision);
            }
            Seen::Changed(revision, change) => {
                match truth.get(revision) {
                    Some(true_change) if true_change == change => {}
                    Some(_) => return told("is not what happened at that revision"),
                    None => return told("never happened"),
                }
                let Some(last) = at else { return told("came before a watch was opened") };
                if *revision <= last {
                    return told("came again, or too late");
                }
                if let Some((missed, _)) = truth.range(last + 1..*revision).next() {
                    return told(&format!("came without {missed} before it"));
                }
                at = Some(*revision);
            }
            Seen::Bookmark(revision) => {
                let Some(last) = at else { return told("came before a watch was opened") };
                if *revision < last {
                    return told("goes back");
                }
                if let Some((missed, _)) = truth.range(last + 1..revision + 1).next() {
                    return told(&format!("came without {missed} before it"));
                }
                at = Some(*revision);
            }
        }
    }
    Ok(())
}

/// Every object as it was at a revision.
pub fn state_at(truth: &Truth, revision: Revision) -> BTreeMap<String, u64> {
    let mut objects = BTreeMap::new();
    for change in truth.range(..=revision).map(|(_, change)| change) {
        match change.kind {
            Kind::Added | Kind::Modified => objects.insert(change.key.clone(), change.value),
            Kind::Deleted => objects.remove(&change.key),
        };
    }
    objects
}

/// Checks what several watchers saw against each other, and against writes that were acknowledged: their keys and values
/// by revision. For histories in which not all that happened is known.
pub fn check_together(written: &BTreeMap<Revision, (String, u64)>, streams: &[Vec<Seen>]) -> Result<(), String> {
    let mut truth = Truth::new();
    for (revision, change) in streams.iter().flatten().filter_map(changed) {
        let first = truth.entry(revision).or_insert_with(|| change.clone());
        if first != change {
            return Err(format!("at revision {revision} one watcher saw {first:?}, another {change:?}"));
        }
        let wrote = written.get(&revision);
        if wrote
            .is_some_and(|(key, value)| *key != change.key || *value != change.value || change.kind == Kind::Deleted)
        {
            return Err(format!("at revision {revision} {wrote:?} was written, and {change:?} was seen"));
        }
    }
    streams.iter().try_for_each(|seen| check_view(written, &truth, seen))
}

fn changed(seen: &Seen) -> Option<(Revision, &Change)> {
    match seen {
        Seen::Changed(revision, change) => Some((*revision, change)),
        Seen::Listed(..) | Seen::Resumed(_) | Seen::Bookmark(_) => None,
    }
}

/// Follows one watcher's view of the objects.
fn check_view(written: &BTreeMap<Revision, (String, u64)>, truth: &Truth, seen: &[Seen]) -> Result<(), String> {
    let (mut at, mut view): (Revision, BTreeMap<String, u64>) = (0, BTreeMap::new());
    for (index, seen) in seen.iter().enumerate() {
        let told = |what: &str| Err(format!("number {index}, {seen:?}: {what}"));
        let missed = |to: Revision| {
            let of_others = truth.range(at + 1..to).map(|(revision, _)| *revision);
            of_others.chain(written.range(at + 1..to).map(|(revision, _)| *revision)).next()
        };
        match seen {
            Seen::Listed(revision, _) | Seen::Bookmark(revision) if *revision < at => return told("goes back"),
            Seen::Listed(revision, objects) => (at, view) = (*revision, objects.clone()),
            Seen::Resumed(revision) if *revision != at => return told("does not go on where it was"),
            Seen::Resumed(_) => {}
            Seen::Bookmark(revision) => {
                if let Some(missed) = missed(revision + 1) {
                    return told(&format!("came without {missed} before it"));
                }
                at = *revision;
            }
            Seen::Changed(revision, change) => {
                if *revision <= at {
                    return told("came again, or too late");
                }
                if let Some(missed) = missed(*revision) {
                    return told(&format!("came without {missed} before it"));
                }
                let before = match change.kind {
                    Kind::Added | Kind::Modified => view.insert(change.key.clone(), change.value),
                    Kind::Deleted => view.remove(&change.key),
                };
                if (change.kind == Kind::Added) == before.is_some() {
                    return told(&format!("of what was {before:?}"));
                }
                at = *revision;
            }
        }
    }
    Ok(())
}
