//! Budgets of pods that may be disrupted.

use crate::causes::{Causes, Path};
use crate::conditions::conditions;
use crate::generic::spec_changed;
use crate::golang;
use crate::print::number;
use crate::selectors::label_selector;
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{int, text};
use crate::workloads::{at_most_all, int_or_percent};
use crate::{Revalidation, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");
const STATUS: Path = Path::new("status");
const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

pub(crate) static POD_DISRUPTION_BUDGETS: Strategy = Strategy {
    known_finalizers: false,
    validate: |budget| Causes::of(|causes| validate(&budget["spec"], causes)),
    validate_status: |budget, _| {
        Causes::of(|causes| {
            conditions(&budget["status"]["conditions"], &STATUS.child("conditions"), causes);
            for field in COUNTS {
                causes.not_negative(&STATUS.child(field), &budget["status"][field]);
            }
        })
    },
    update_revalidates: Revalidation::Content,
    generation: Some(spec_changed),
    unconditional_update: false,
    new_status: Some(|| json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0})),
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn validate(spec: &Value, causes: &mut Causes) {
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let shown = golang::shown("PodDisruptionBudgetSpec", spec);
        causes.invalid(&SPEC, shown, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(&spec[field], &SPEC.child(field), causes);
        at_most_all(&spec[field], &SPEC.child(field), causes);
    }
    label_selector(&spec["selector"], &SPEC.child("selector"), causes);
    let policy = &spec["unhealthyPodEvictionPolicy"];
    if !policy.is_null() {
        causes.one_of(&SPEC.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    explained("Min Available", "The minimum number of pods that must be available."),
    explained("Max Unavailable", "The maximum number of pods that may be unavailable."),
    explained("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.").integer(),
    AGE,
];

fn row(budget: &Value, now: Timestamp) -> Vec<Value> {
    let shown = |value: &Value| match int(value) {
        _ if value.is_null() => json!("N/A"),
        Some(count) => json!(count.to_string()),
        None => json!(text(value)),
    };
    let spec = &budget["spec"];
    vec![
        budget["metadata"]["name"].clone(),
        shown(&spec["minAvailable"]),
        shown(&spec["maxUnavailable"]),
        number(&budget["status"]["disruptionsAllowed"]),
        age(budget, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_sets_one_bound() {
        let selector = json!({"matchLabels": {"app": "a"}});
        for (min, max, faults) in [
            (json!(1), Value::Null, 0),
            (Value::Null, json!("50%"), 0),
            (Value::Null, Value::Null, 0),
            (json!("101%"), Value::Null, 1),
            (json!("half"), Value::Null, 1),
            (Value::Null, json!(-1), 1),
            (json!(1), json!(1), 1),
        ] {
            let spec = json!({"minAvailable": min, "maxUnavailable": max, "selector": selector});
            assert_eq!(Causes::of(|causes| validate(&spec, causes)).len(), faults, "{spec}");
        }
    }

    #[test]
    fn bounds_are_printed_as_they_are_given() {
        let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 1}});
        assert_eq!(row(&budget, Timestamp::default())[1..4], [json!("1"), json!("N/A"), json!(0)]);
    }
}
