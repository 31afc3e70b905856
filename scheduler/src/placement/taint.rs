//! Taints and what tolerates them.

use super::wire::{Taint, Toleration};

pub const NO_SCHEDULE: &str = "NoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// The taint that stands for `spec.unschedulable`.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Whether one of the tolerations covers the taint.
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| covers(t, taint))
}

/// Whether a taint that is not tolerated keeps the pod away.
pub fn repelled(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    let binding = taints.iter().filter(|t| t.effect == NO_SCHEDULE || t.effect == NO_EXECUTE);
    binding.into_iter().any(|t| !tolerated(t, tolerations))
}

/// How many taints ask the pod to stay away. Only tolerations of that effect, or of all, answer them.
pub fn discouraged(taints: &[Taint], tolerations: &[Toleration]) -> u32 {
    let answers = |t: &Toleration| t.effect.as_deref().is_none_or(|e| e.is_empty() || e == PREFER_NO_SCHEDULE);
    let asking = taints.iter().filter(|t| t.effect == PREFER_NO_SCHEDULE);
    let unanswered = asking.filter(|taint| !tolerations.iter().any(|t| answers(t) && covers(t, taint)));
    u32::try_from(unanswered.count()).unwrap_or(u32::MAX)
}

/// Whether a pod goes to nodes that are marked unschedulable.
pub fn ignores_unschedulable(tolerations: &[Toleration]) -> bool {
    let mark = Taint { key: UNSCHEDULABLE.to_owned(), value: None, effect: NO_SCHEDULE.to_owned() };
    tolerated(&mark, tolerations)
}

/// Whether a pod goes to nodes whatever keeps others away.
pub fn ignores_everything(tolerations: &[Toleration]) -> bool {
    let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    let any_effect = |t: &Toleration| empty(&t.effect) || t.effect.as_deref() == Some(NO_SCHEDULE);
    tolerations.iter().any(|t| empty(&t.key) && t.operator.as_deref() == Some("Exists") && any_effect(t))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let field = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect) = (field(&toleration.key), field(&toleration.effect));
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let (own, theirs) = (field(&toleration.value), field(&taint.value));
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => own == theirs,
        "Exists" => true,
        "Gt" => numbers(&theirs, &own).is_some_and(|(taint, bound)| taint > bound),
        "Lt" => numbers(&theirs, &own).is_some_and(|(taint, bound)| taint < bound),
        _ => false,
    }
}

fn numbers(taint: &str, bound: &str) -> Option<(i64, i64)> {
    Some((taint.parse().ok()?, bound.parse().ok()?))
}
