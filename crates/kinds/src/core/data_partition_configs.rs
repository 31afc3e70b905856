//! Ranges of tenants and the groups of API servers that serve them: Arktos' kind.
//!
//! Here it is said what one range must be. That ranges neither overlap nor leave gaps is for admission, which sees all.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::table::{NAME, column};
use crate::value::text;
use serde_json::{Value, json};

const DEFINITION: &str = "io.k8s.api.core.v1.DataPartitionConfig";

/// As much as a label's value.
const GROUP_LENGTH_MAX: usize = 63;

pub(crate) static DATA_PARTITION_CONFIGS: Strategy = Strategy {
    validate: |config| {
        Causes::of(|causes| {
            let group = text(&config["serviceGroupId"]);
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if group.is_empty() {
                causes.required(&Path::new("serviceGroupId"), "");
            } else if group.len() > GROUP_LENGTH_MAX || !group.bytes().all(is_plain) {
                let why = "must be at most 63 letters, digits, '-', '_' and '.'";
                causes.invalid(&Path::new("serviceGroupId"), group, why);
            }
            let bound = |name: &str, flag: &str| (config[flag] == true).then(|| text(&config[name]));
            let (start, end) = (bound("rangeStart", "isRangeStartValid"), bound("rangeEnd", "isRangeEndValid"));
            for (name, bound) in [("rangeStart", start), ("rangeEnd", end)] {
                if bound.is_some_and(str::is_empty) {
                    causes.required(&Path::new(name), "");
                }
            }
            if let (Some(start), Some(end)) = (start, end)
                && !end.is_empty()
                && start >= end
            {
                causes.invalid(&Path::new("rangeEnd"), end, "must be behind rangeStart");
            }
        })
    },
    columns: &[
        NAME,
        column("RangeStart", DEFINITION, "rangeStart"),
        column("IsRangeStartValid", DEFINITION, "isRangeStartValid"),
        column("RangeEnd", DEFINITION, "rangeEnd"),
        column("IsRangeEndValid", DEFINITION, "isRangeEndValid"),
        column("ServiceGroupId", DEFINITION, "serviceGroupId"),
    ],
    row: |config, _| {
        let told = |field: &str| json!(text(&config[field]));
        let flag = |field: &str| Value::Bool(config[field] == true);
        vec![
            config["metadata"]["name"].clone(),
            told("rangeStart"),
            flag("isRangeStartValid"),
            told("rangeEnd"),
            flag("isRangeEndValid"),
            told("serviceGroupId"),
        ]
    },
    ..Strategy::PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generic, registry};

    #[test]
    fn a_range_begins_before_it_ends_and_has_a_group() {
        let kind = registry().find("", "v1", "datapartitionconfigs").expect("configs");
        let range = |start: Option<&str>, end: Option<&str>, group: &str| {
            json!({
                "metadata": {"name": "c"}, "serviceGroupId": group,
                "rangeStart": start.unwrap_or_default(), "isRangeStartValid": start.is_some(),
                "rangeEnd": end.unwrap_or_default(), "isRangeEndValid": end.is_some(),
            })
        };
        for (config, wrong) in [
            (range(None, None, "1"), 0),
            (range(Some("a"), Some("b"), "1"), 0),
            (range(Some("b"), Some("b"), "1"), 1),
            (range(Some("c"), Some("b"), "1"), 1),
            (range(Some(""), None, "1"), 1),
            (range(None, Some(""), "east_1.b"), 1),
            (range(None, None, ""), 1),
            (range(None, None, "a b"), 1),
            (range(None, None, &"1".repeat(64)), 1),
            (json!({"metadata": {"name": "c"}, "serviceGroupId": "0", "rangeStart": "z", "rangeEnd": "a"}), 0),
        ] {
            assert_eq!(generic::validate_create(kind, &config).len(), wrong, "{config}");
        }
    }
}
