//! Classes of container runtimes.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::labels;
use crate::golang;
use crate::names;
use crate::pods::spec::tolerations;
use crate::resources::requirements;
use crate::table::{AGE, NAME, age, explained};
use crate::value::{list, repeats, text};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(crate) static RUNTIME_CLASSES: Strategy = Strategy {
    validate: |class| Causes::of(|causes| validate(class, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["handler"] != old["handler"] {
                causes.immutable(&Path::new("handler"), &new["handler"]);
            }
        })
    },
    create_on_update: true,
    unconditional_update: false,
    columns: &[NAME, explained("Handler", ""), AGE],
    row: |class, now| vec![class["metadata"]["name"].clone(), class["handler"].clone(), age(class, now)],
    ..Strategy::PLAIN
};

fn validate(class: &Value, causes: &mut Causes) {
    match text(&class["handler"]) {
        "" => causes.required(&Path::new("handler"), ""),
        handler => causes.each_invalid(&Path::new("handler"), handler, names::dns_label(handler)),
    }
    let overhead = json!({"limits": class["overhead"]["podFixed"]});
    requirements(&overhead, &HashSet::new(), &Path::new("overhead"), causes);
    let at = Path::new("scheduling");
    labels(&class["scheduling"]["nodeSelector"], &at.child("nodeSelector"), causes);
    let at = at.child("tolerations");
    let all = list(&class["scheduling"]["tolerations"]);
    tolerations(all, &at, causes);
    let repeated = repeats(all);
    for (i, toleration) in all.iter().enumerate().filter(|(i, _)| repeated.contains(i)) {
        causes.duplicate(&at.index(i), golang::shown("Toleration", toleration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_class_says_what_it_costs_and_where_it_runs() {
        let toleration = json!({"key": "k", "operator": "Exists"});
        for (class, faults) in [
            (json!({"handler": "h", "overhead": {"podFixed": {"cpu": "1"}}}), 0),
            (json!({"handler": ""}), 1),
            (json!({"handler": "A_b"}), 1),
            (json!({"handler": "h", "overhead": {"podFixed": {"cpu": "-1"}}}), 1),
            (json!({"handler": "h", "scheduling": {"nodeSelector": {"a": "b c"}}}), 1),
            (json!({"handler": "h", "scheduling": {"tolerations": [toleration, toleration]}}), 1),
        ] {
            assert_eq!(Causes::of(|causes| validate(&class, causes)).len(), faults, "{class}");
        }
    }
}
