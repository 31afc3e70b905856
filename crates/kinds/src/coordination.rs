//! Leases.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::table::{AGE, NAME, age, column};
use crate::value::{int, remove, text};
use serde_json::{Value, json};

/// Drops what is off by default in Kubernetes 1.36. Whoever gave it still counts as its manager.
fn without_coordinated_election(lease: &mut Value) {
    if let Some(spec) = lease.get_mut("spec") {
        ["preferredHolder", "strategy"].iter().for_each(|field| remove(spec, field));
    }
}

pub(crate) static LEASES: Strategy = Strategy {
    prepare_create: without_coordinated_election,
    prepare_update: |lease, _| without_coordinated_election(lease),
    validate: |lease| {
        Causes::of(|causes| {
            let (spec, at) = (&lease["spec"], Path::new("spec"));
            if let Some(seconds) = int(&spec["leaseDurationSeconds"]).filter(|seconds| *seconds <= 0) {
                causes.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
            }
            causes.not_negative(&at.child("leaseTransitions"), &spec["leaseTransitions"]);
        })
    },
    known_finalizers: false,
    unconditional_update: false,
    create_on_update: true,
    columns: &[NAME, column("Holder", "io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"), AGE],
    row: |lease, now| {
        let holder = json!(text(&lease["spec"]["holderIdentity"]));
        vec![lease["metadata"]["name"].clone(), holder, age(lease, now)]
    },
    ..Strategy::PLAIN
};
