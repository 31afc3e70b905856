//! What the collector looks at after a change, and what it makes of what it finds.

use super::refs::{Look, Object, Standing, Verdict, finalizer_patch, look, owners_patch, verdict};
use api::OwnerRef;
use serde_json::{Value, from_value, json};

fn object(metadata: Value) -> Object {
    from_value(json!({"metadata": metadata})).expect("an object")
}

#[track_caller]
fn looks(
    old: Option<Value>,
    new: Option<Value>,
    owners_known: bool,
    itself: bool,
    dependents_of: &[&str],
    owners: &[&str],
) {
    let (old, new) = (old.map(object), new.map(object));
    let owned = |uids: &[&str]| uids.iter().map(|&u| u.to_owned()).collect();
    let expected = Look { at_itself: itself, at_dependents_of: owned(dependents_of), at_owners: owned(owners) };
    assert_eq!(look(old.as_ref(), new.as_ref(), |_| owners_known), expected);
}

#[test]
fn a_change_asks_to_look_at_whom_it_concerns() {
    let free = json!({"uid": "x"});
    let owned = json!({"uid": "x", "ownerReferences": [{"uid": "o", "blockOwnerDeletion": true}]});
    let unblocking = json!({"uid": "x", "ownerReferences": [{"uid": "o"}]});
    // What nobody owns is of no interest; what is owned is, if its owner is unknown.
    looks(None, Some(free.clone()), true, false, &[], &[]);
    looks(None, Some(owned.clone()), true, false, &[], &[]);
    looks(None, Some(owned.clone()), false, true, &[], &[]);
    looks(Some(free.clone()), Some(owned.clone()), false, true, &[], &[]);
    looks(Some(owned.clone()), Some(owned.clone()), false, false, &[], &[]);
    // What goes leaves dependents, and owners that may have waited for it.
    looks(Some(owned.clone()), None, true, false, &["x"], &["o"]);
    looks(Some(owned.clone()), Some(json!({"uid": "y"})), true, false, &["x"], &["o"]);
    // An owner may have waited for what blocks it no longer.
    looks(Some(owned.clone()), Some(unblocking), true, false, &[], &["o"]);
    looks(Some(owned), Some(free), true, false, &[], &["o"]);
}

#[test]
fn the_start_of_a_deletion_is_noticed_once() {
    let going =
        |finalizer: &str| json!({"uid": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]});
    let alive = json!({"uid": "x", "finalizers": ["orphan", "foregroundDeletion"]});
    for old in [None, Some(alive)] {
        looks(old.clone(), Some(going("foregroundDeletion")), true, true, &["x"], &[]);
        looks(old.clone(), Some(going("orphan")), true, true, &[], &[]);
        looks(old, Some(going("example.com/other")), true, false, &[], &[]);
    }
    looks(Some(going("orphan")), Some(going("orphan")), true, false, &[], &[]);
    looks(Some(going("foregroundDeletion")), Some(going("foregroundDeletion")), true, false, &[], &[]);
}

#[test]
fn an_object_goes_only_when_no_owner_is_left() {
    use Standing::{Absent, Solid, WaitsForDependents};
    let judge = |standings: &[Standing], has_dependents: bool| {
        let owners: Vec<OwnerRef> =
            (0..standings.len()).map(|i| from_value(json!({"uid": format!("o{i}")})).expect("a reference")).collect();
        let owners: Vec<_> = owners.iter().zip(standings.iter().copied()).collect();
        verdict(&owners, has_dependents)
    };
    let dropped = |uids: &[&str]| Verdict::Drop(uids.iter().map(|&u| u.to_owned()).collect());
    for has_dependents in [false, true] {
        assert_eq!(judge(&[], has_dependents), Verdict::Keep);
        assert_eq!(judge(&[Solid, Solid], has_dependents), Verdict::Keep);
        assert_eq!(judge(&[Absent, Solid], has_dependents), dropped(&["o0"]));
        assert_eq!(judge(&[Solid, WaitsForDependents, Absent], has_dependents), dropped(&["o2", "o1"]));
        assert_eq!(judge(&[Absent, Absent], has_dependents), Verdict::Delete);
    }
    assert_eq!(judge(&[WaitsForDependents], false), Verdict::Delete);
    assert_eq!(judge(&[WaitsForDependents, Absent], true), Verdict::DeleteForeground);
}

#[test]
fn patches_touch_only_what_they_mean_and_only_this_version() {
    let live = json!({"metadata": {
        "uid": "x", "resourceVersion": "7",
        "ownerReferences": [{"uid": "a", "extra": 1}, {"uid": "b"}],
        "finalizers": ["orphan", "example.com/other"],
    }});
    let patch = owners_patch(&live, |owner| owner["uid"] != "b");
    let expected = json!({"uid": "x", "resourceVersion": "7", "ownerReferences": [{"uid": "a", "extra": 1}]});
    assert_eq!(patch["metadata"], expected);
    let patch = finalizer_patch(&live, "orphan");
    assert_eq!(patch["metadata"], json!({"uid": "x", "resourceVersion": "7", "finalizers": ["example.com/other"]}));
}
