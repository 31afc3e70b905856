//! Classes of devices.

use super::{ITEMS_MAX, SPEC, configuration, limited, selectors};
use crate::Strategy;
use crate::causes::Causes;
use crate::generic::spec_changed;
use crate::resources::is_extended;
use crate::table::{AGE, NAME, age};
use crate::value::text;

pub(crate) static DEVICE_CLASSES: Strategy = Strategy {
    validate: |class| {
        Causes::of(|causes| {
            let spec = &class["spec"];
            selectors(&spec["selectors"], &SPEC.child("selectors"), causes);
            let at = SPEC.child("config");
            for (i, config) in limited(&spec["config"], ITEMS_MAX, &at, causes).iter().enumerate() {
                configuration(config, &at.index(i), causes);
            }
            let name = text(&spec["extendedResourceName"]);
            if spec["extendedResourceName"].is_string() && !is_extended(name) {
                causes.invalid(&SPEC.child("extendedResourceName"), name, "must be a valid extended resource name");
            }
        })
    },
    generation: Some(spec_changed),
    columns: &[NAME, AGE],
    row: |class, now| vec![class["metadata"]["name"].clone(), age(class, now)],
    ..Strategy::PLAIN
};
