//! Which volume a claim gets, and what becomes of volumes.

use super::plan::*;
use crate::view::{Claim, PersistentVolume, StorageClass};
use serde_json::{Value, from_value, json};

fn merged(mut base: Value, changes: &Value) -> Value {
    match (&mut base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, change) in changes {
                let old = base.remove(key).unwrap_or(Value::Null);
                base.insert(key.clone(), merged(old, change));
            }
        }
        (base, changes) => *base = changes.clone(),
    }
    base
}

fn a_claim(changes: Value) -> Claim {
    let base = json!({
        "metadata": {"namespace": "ns", "name": "c", "uid": "u"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "k", "resources": {"requests": {"storage": "2Gi"}},
        },
    });
    from_value(merged(base, &changes)).expect("a claim")
}

fn a_volume(name: &str, size: &str, changes: Value) -> PersistentVolume {
    let base = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "k", "capacity": {"storage": size}},
        "status": {"phase": "Available"},
    });
    from_value(merged(base, &changes)).expect("a volume")
}

fn a_class(changes: Value) -> StorageClass {
    let base = json!({"metadata": {"name": "k"}, "provisioner": "csi.example.com"});
    from_value(merged(base, &changes)).expect("a class")
}

/// In a word, what a claim's plan is.
fn outcome(claim: &Claim, volumes: &[PersistentVolume], class: Option<&StorageClass>) -> String {
    let volumes: Vec<&PersistentVolume> = volumes.iter().collect();
    match super::plan::claim(&Seen { claim, volumes: &volumes, class, default_class: None }) {
        ClaimPlan::Bind(volume) => format!("bind {}", volume.metadata.name),
        ClaimPlan::Wait(notice) => format!("wait {}", notice.map_or("", |n| n.reason)),
        ClaimPlan::WaitForConsumer => "wait for consumer".to_owned(),
        ClaimPlan::TakeClass(name) => format!("take {name}"),
        ClaimPlan::Provision(provisioner) => format!("provision {provisioner}"),
        ClaimPlan::Lost(notice) => format!("lost {}", notice.reason),
        ClaimPlan::Inconsistent => "inconsistent".to_owned(),
    }
}

#[test]
fn a_claim_gets_the_smallest_volume_that_fits_or_the_one_kept_for_it() {
    let kept = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c"}}});
    let others = json!({"spec": {"claimRef": {"namespace": "ns", "name": "d"}}});
    let block = json!({"spec": {"volumeMode": "Block"}});
    let gold = json!({"metadata": {"labels": {"tier": "gold"}}});
    let many = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    let class = json!({"spec": {"storageClassName": "other"}});
    let pending = json!({"status": {"phase": "Pending"}});
    let none = json!({});
    let v = |name: &str, size: &str, changes: &Value| a_volume(name, size, changes.clone());
    let cases = [
        (none.clone(), vec![v("a", "5Gi", &none), v("b", "2Gi", &none), v("s", "1Gi", &none)], "bind b"),
        (none.clone(), vec![v("a", "2Gi", &none), v("b", "9Gi", &kept)], "bind b"),
        (none.clone(), vec![v("s", "1Gi", &kept)], "wait ProvisioningFailed"),
        (none.clone(), vec![v("a", "2Gi", &others)], "wait ProvisioningFailed"),
        (none.clone(), vec![v("a", "2Gi", &block)], "wait ProvisioningFailed"),
        (block.clone(), vec![v("a", "2Gi", &none), v("b", "2Gi", &block)], "bind b"),
        (none.clone(), vec![v("a", "2Gi", &many)], "wait ProvisioningFailed"),
        (none.clone(), vec![v("a", "2Gi", &class)], "wait ProvisioningFailed"),
        (none.clone(), vec![v("a", "2Gi", &pending)], "wait ProvisioningFailed"),
        (json!({"spec": {"storageClassName": ""}}), vec![], "wait FailedBinding"),
        (json!({"spec": {"storageClassName": "other"}}), vec![v("a", "2Gi", &class)], "bind a"),
        (
            json!({"spec": {"selector": {"matchLabels": {"tier": "gold"}}}}),
            vec![v("a", "2Gi", &none), v("b", "3Gi", &gold)],
            "bind b",
        ),
    ];
    for (claim, volumes, expected) in cases {
        assert_eq!(outcome(&a_claim(claim.clone()), &volumes, None), expected, "{claim} {volumes:?}");
    }
}

#[test]
fn a_claim_that_names_its_volume_gets_it_or_none() {
    let named = json!({"spec": {"volumeName": "a"}});
    let mine = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": "u"}}});
    let before = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": "old"}}});
    for (volumes, expected) in [
        (vec![], "wait "),
        (vec![a_volume("a", "2Gi", json!({}))], "bind a"),
        (vec![a_volume("a", "1Gi", json!({}))], "wait VolumeMismatch"),
        (vec![a_volume("a", "2Gi", json!({"spec": {"storageClassName": "x"}}))], "wait VolumeMismatch"),
        (vec![a_volume("a", "1Gi", mine)], "bind a"),
        (vec![a_volume("a", "2Gi", before)], "wait FailedBinding"),
    ] {
        assert_eq!(outcome(&a_claim(named.clone()), &volumes, None), expected, "{volumes:?}");
    }
}

#[test]
fn without_a_volume_the_class_decides() {
    let waits = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    let selected = json!({"metadata": {"annotations": {SELECTED_NODE: "n1"}}});
    let internal = json!({"provisioner": "kubernetes.io/no-provisioner"});
    for (claim, class, expected) in [
        (json!({}), json!({}), "provision csi.example.com"),
        (json!({}), waits.clone(), "wait for consumer"),
        (selected, waits.clone(), "provision csi.example.com"),
        (json!({}), internal, "wait ProvisioningFailed"),
    ] {
        assert_eq!(outcome(&a_claim(claim.clone()), &[], Some(&a_class(class.clone()))), expected, "{claim} {class}");
    }
    // A free volume of such a class is the scheduler's to give; one that it has given is taken.
    let (free, class) = (a_volume("a", "2Gi", json!({})), a_class(waits));
    assert_eq!(outcome(&a_claim(json!({})), &[free], Some(&class)), "wait for consumer");
    let given = a_volume("a", "2Gi", json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": "u"}}}));
    assert_eq!(outcome(&a_claim(json!({})), &[given], Some(&class)), "bind a");
}

#[test]
fn a_claim_without_a_class_takes_the_default() {
    let default =
        a_class(json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}));
    assert!(default.is_default());
    let claim = a_claim(json!({"spec": {"storageClassName": null}}));
    let seen = Seen { claim: &claim, volumes: &[], class: None, default_class: Some(&default) };
    assert_eq!(super::plan::claim(&seen), ClaimPlan::TakeClass("k".to_owned()));
}

#[test]
fn a_bound_claim_without_its_volume_is_lost() {
    let bound = |name: &str| {
        a_claim(json!({
            "metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": name},
        }))
    };
    let of =
        |uid: &str| a_volume("a", "2Gi", json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": uid}}}));
    assert_eq!(outcome(&bound(""), &[], None), "lost ClaimLost");
    assert_eq!(outcome(&bound("a"), &[], None), "lost ClaimLost");
    assert_eq!(outcome(&bound("a"), &[of("u")], None), "bind a");
    assert_eq!(outcome(&bound("a"), &[of("v")], None), "lost ClaimMisbound");
    assert_eq!(outcome(&bound("a"), &[a_volume("a", "2Gi", json!({}))], None), "bind a");
}

#[test]
fn a_volume_follows_its_claim() {
    let claim = a_claim(json!({"spec": {"volumeName": "a"}}));
    let unbound = a_claim(json!({}));
    let elsewhere = a_claim(json!({"spec": {"volumeName": "b"}}));
    let of = |uid: &str, changes: Value| {
        let reference = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": uid}}});
        a_volume("a", "2Gi", merged(reference, &changes))
    };
    let provisioned = json!({"metadata": {"annotations": {PROVISIONED_BY: "csi.example.com"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    for (seen, claim, expected) in [
        (a_volume("a", "2Gi", json!({})), None, VolumePlan::Phase("Available")),
        (of("", json!({})), Some(&claim), VolumePlan::Phase("Available")),
        (of("u", json!({})), Some(&claim), VolumePlan::Phase("Bound")),
        (of("u", json!({})), Some(&unbound), VolumePlan::LookAtClaim),
        (of("u", json!({"spec": {"volumeMode": "Block"}})), Some(&unbound), VolumePlan::Mismatch),
        (of("u", json!({})), Some(&elsewhere), VolumePlan::Unbind),
        (of("u", provisioned.clone()), Some(&elsewhere), VolumePlan::Reclaim),
        (of("u", json!({})), None, VolumePlan::Reclaim),
        (of("old", json!({})), Some(&claim), VolumePlan::Reclaim),
    ] {
        assert_eq!(volume(&seen, claim), expected, "{seen:?}");
    }
}

#[test]
fn what_is_reclaimed_here_fails_and_the_rest_is_left_to_others() {
    let policy = |policy: &str, annotations: Value| {
        let changes =
            json!({"metadata": {"annotations": annotations}, "spec": {"persistentVolumeReclaimPolicy": policy}});
        reclaim_failure(&a_volume("a", "2Gi", changes)).map_or("", |n| n.reason)
    };
    assert_eq!(policy("Retain", json!({})), "");
    assert_eq!(policy("Delete", json!({PROVISIONED_BY: "csi.example.com"})), "");
    assert_eq!(policy("Delete", json!({})), "VolumeFailedDelete");
    let driver = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete", "csi": {"driver": "csi.example.com"}}});
    assert_eq!(reclaim_failure(&a_volume("a", "2Gi", driver)), None);
    assert_eq!(policy("Recycle", json!({})), "VolumeFailedRecycle");
    assert_eq!(policy("Other", json!({})), "VolumeUnknownReclaimPolicy");
}
