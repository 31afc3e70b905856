//! Conditions of a status, in the form that most kinds share (`metav1.Condition`).

use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{int, is_empty, list, repeats, text};
use serde_json::Value;

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// What conditions must be.
pub(crate) fn conditions(conditions: &Value, at: &Path, causes: &mut Causes) {
    let conditions = list(conditions);
    let repeated = repeats(conditions.iter().map(|condition| &condition["type"]));
    for (i, condition) in conditions.iter().enumerate() {
        let at = at.index(i);
        if repeated.contains(&i) {
            causes.duplicate(&at.child("type"), &condition["type"]);
        }
        match text(&condition["type"]) {
            "" => causes.required(&at.child("type"), ""),
            kind => causes.each_invalid(&at.child("type"), kind, names::qualified_name(kind)),
        }
        causes.one_of(&at.child("status"), &condition["status"], &["False", "True", "Unknown"]);
        if let Some(generation) = int(&condition["observedGeneration"]).filter(|generation| *generation < 0) {
            let why = "must be greater than or equal to zero";
            causes.invalid(&at.child("observedGeneration"), generation, why);
        }
        if is_empty(&condition["lastTransitionTime"]) {
            causes.required(&at.child("lastTransitionTime"), "");
        }
        match text(&condition["reason"]) {
            "" => causes.required(&at.child("reason"), ""),
            reason => {
                causes.each_invalid(&at.child("reason"), reason, names::condition_reason(reason));
                if reason.len() > REASON_BYTES_MAX {
                    causes.too_long(&at.child("reason"), REASON_BYTES_MAX);
                }
            }
        }
        if text(&condition["message"]).len() > MESSAGE_BYTES_MAX {
            causes.too_long(&at.child("message"), MESSAGE_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_tells_what_when_and_why() {
        let good =
            json!({"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-02T03:04:05Z"});
        let faults = |field: &str, value: Value| {
            let mut condition = good.clone();
            condition[field] = value;
            Causes::of(|causes| conditions(&json!([condition]), &Path::new("conditions"), causes)).len()
        };
        assert_eq!(faults("message", json!("m")), 0);
        assert_eq!(faults("type", json!("a/b/c")), 1);
        assert_eq!(faults("status", json!("Maybe")), 1);
        assert_eq!(faults("reason", json!("a b")), 1);
        assert_eq!(faults("reason", json!("")), 1);
        assert_eq!(faults("lastTransitionTime", Value::Null), 1);
        assert_eq!(faults("observedGeneration", json!(-1)), 1);
        let twice = json!([good, good]);
        assert_eq!(Causes::of(|causes| conditions(&twice, &Path::new("conditions"), causes)).len(), 1);
    }
}
