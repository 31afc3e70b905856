//! Classes of priority.

use crate::causes::{Causes, Path};
use crate::print::number;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, int, is_true, text};
use crate::{Revalidation, Strategy};
use serde_json::{Value, json};

/// The greatest priority of a class that is not the system's own.
const USER_VALUE_MAX: i64 = 1_000_000_000;

/// The classes whose names users may not take for other values.
/// The priority classes that every tenant has: name, value and description.
pub const SYSTEM_PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Whether a priority class is one of those that every tenant has and keeps.
pub fn is_system_priority(name: &str) -> bool {
    SYSTEM_PRIORITIES.iter().any(|(system, ..)| *system == name)
}

pub(crate) static PRIORITY_CLASSES: Strategy = Strategy {
    defaults: |class| default(class, "preemptionPolicy", "PreemptLowerPriority"),
    validate: |class| Causes::of(|causes| validate(class, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if int(&new["value"]) != int(&old["value"]) {
                causes.forbidden(&Path::new("value"), "may not be changed in an update.");
            }
            if new["preemptionPolicy"] != old["preemptionPolicy"] {
                causes.immutable(&Path::new("preemptionPolicy"), &new["preemptionPolicy"]);
            }
        })
    },
    update_revalidates: Revalidation::Nothing,
    // Set once; classes do not change.
    generation: Some(|_, _| false),
    columns: COLUMNS,
    row: |class, now| {
        vec![
            class["metadata"]["name"].clone(),
            number(&class["value"]),
            json!(is_true(&class["globalDefault"])),
            age(class, now),
            json!(text(&class["preemptionPolicy"])),
        ]
    },
    ..Strategy::PLAIN
};

const CLASS: &str = "io.k8s.api.scheduling.v1.PriorityClass";
const COLUMNS: &[Column] = &[
    NAME,
    column("Value", CLASS, "value").integer(),
    column("Global-Default", CLASS, "globalDefault").boolean(),
    AGE,
    column("PreemptionPolicy", CLASS, "preemptionPolicy"),
];

fn validate(class: &Value, causes: &mut Causes) {
    let (name, value) = (text(&class["metadata"]["name"]), int(&class["value"]).unwrap_or(0));
    if name.starts_with("system-") {
        if let Some(why) = not_of_the_system(name, value, is_true(&class["globalDefault"])) {
            let metadata = Path::new("metadata");
            let why =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            causes.forbidden(&metadata.child("name"), &why);
        }
    } else if value > USER_VALUE_MAX {
        let why = format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
        causes.forbidden(&Path::new("value"), &why);
    }
    let policies = ["PreemptLowerPriority", "Never"];
    causes.one_of(&Path::new("preemptionPolicy"), &class["preemptionPolicy"], &policies);
}

fn not_of_the_system(name: &str, value: i64, global_default: bool) -> Option<String> {
    match SYSTEM_PRIORITIES.into_iter().find(|(system, ..)| *system == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, right, _)) if right != value => Some(format!("value of {name} PriorityClass must be {right}")),
        Some(_) if global_default => Some(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_priorities_are_the_systems_own() {
        for (name, value, faults) in [
            ("a", 10, 0),
            ("a", 1_000_000_000, 0),
            ("a", 1_000_000_001, 1),
            ("system-node-critical", 2_000_001_000, 0),
            ("system-node-critical", 10, 1),
            ("system-mine", 10, 1),
        ] {
            let class = json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"});
            assert_eq!(Causes::of(|causes| validate(&class, causes)).len(), faults, "{name} {value}");
        }
    }
}
