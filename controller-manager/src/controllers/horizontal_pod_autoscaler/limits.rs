//! How far and how fast the number of replicas may change. Pure: what was recommended and done before is an argument.

use super::Behavior;
use api::Timestamp;
use std::time::Duration;

/// For so long the highest recommendation holds, where nothing else is said.
const STABILIZATION: u64 = 300;

/// What was recommended and done for one autoscaler.
#[derive(Clone, Debug, Default)]
pub struct History {
    recommendations: Vec<(Timestamp, i64)>,
    /// How much was added and taken, and when.
    ups: Vec<(Timestamp, i64)>,
    downs: Vec<(Timestamp, i64)>,
}

/// What is longer ago than any policy may look.
const FORGET: Duration = Duration::from_secs(3600);

/// A condition: whether it holds, why, and in which words.
pub type Verdict = (bool, &'static str, &'static str);

/// The number of replicas in the end, and what is said about it.
#[derive(Debug, PartialEq)]
pub struct Limited {
    pub replicas: i64,
    /// Of `AbleToScale`.
    pub able: Verdict,
    /// Of `ScalingLimited`.
    pub limited: Verdict,
}

pub struct Bounds {
    pub current: i64,
    pub min: i64,
    pub max: i64,
}

const TOO_FEW: Verdict = (true, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Verdict = (true, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Verdict =
    (true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Verdict =
    (true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const IN_RANGE: Verdict = (false, "DesiredWithinRange", "the desired count is within the acceptable range");
const READY: Verdict = (true, "ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Verdict = (
    true,
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Verdict = (
    true,
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);

impl History {
    /// What it starts with: the number of replicas that there are.
    pub fn of(current: i64, now: Timestamp) -> History {
        History { recommendations: vec![(now, current)], ..History::default() }
    }

    /// Notes that the number of replicas was changed.
    pub fn note(&mut self, from: i64, to: i64, now: Timestamp) {
        if to > from {
            self.ups.push((now, to - from));
        } else {
            self.downs.push((now, from - to));
        }
    }

    fn forget(&mut self, now: Timestamp) {
        for list in [&mut self.recommendations, &mut self.ups, &mut self.downs] {
            list.retain(|(at, _)| now.since(*at) <= FORGET);
        }
    }

    fn recent(&self, secs: u64, now: Timestamp) -> impl Iterator<Item = i64> {
        let within = Duration::from_secs(secs);
        self.recommendations.iter().filter(move |(at, _)| now.since(*at) < within).map(|(_, n)| *n)
    }
}

fn changed(events: &[(Timestamp, i64)], secs: u64, now: Timestamp) -> i64 {
    let within = Duration::from_secs(secs);
    events.iter().filter(|(at, _)| now.since(*at) < within).map(|(_, n)| *n).sum()
}

/// Limits a recommendation and notes it.
pub fn limit(
    desired: i64,
    bounds: &Bounds,
    behavior: Option<&Behavior>,
    history: &mut History,
    now: Timestamp,
) -> Limited {
    history.forget(now);
    let (stabilized, able) = stabilize(desired, bounds.current, behavior, history, now);
    history.recommendations.push((now, desired));
    let (replicas, limited) = match behavior {
        None => by_rules(stabilized, bounds),
        Some(behavior) => by_rates(stabilized, bounds, behavior, history, now),
    };
    Limited { replicas, able, limited }
}

fn stabilize(
    desired: i64,
    current: i64,
    behavior: Option<&Behavior>,
    history: &History,
    now: Timestamp,
) -> (i64, Verdict) {
    let Some(behavior) = behavior else {
        let highest = history.recent(STABILIZATION, now).fold(desired, i64::max);
        return (highest, if highest == desired { READY } else { DOWN_STABILIZED });
    };
    let up = behavior.scale_up.stabilization_window_seconds.unwrap_or(0);
    let down = behavior.scale_down.stabilization_window_seconds.unwrap_or(STABILIZATION);
    let lowest = history.recent(up, now).fold(desired, i64::min);
    let highest = history.recent(down, now).fold(desired, i64::max);
    let stabilized = current.max(lowest).min(highest);
    let verdict = match stabilized == desired {
        true => READY,
        false if desired < current => DOWN_STABILIZED,
        false => UP_STABILIZED,
    };
    (stabilized, verdict)
}

/// Without policies: at most twice as many, or four.
fn by_rules(desired: i64, bounds: &Bounds) -> (i64, Verdict) {
    let fastest = (2 * bounds.current).max(4);
    let (most, verdict) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    if desired < bounds.min {
        (bounds.min, TOO_FEW)
    } else if desired > most {
        (most, verdict)
    } else {
        (desired, IN_RANGE)
    }
}

fn by_rates(desired: i64, bounds: &Bounds, behavior: &Behavior, history: &History, now: Timestamp) -> (i64, Verdict) {
    let current = bounds.current;
    if desired > current {
        let rules = &behavior.scale_up;
        let fastest = [("Percent", 100, 15), ("Pods", 4, 15)];
        let allowed = rules.policies(&fastest).map(|(kind, value, secs)| {
            let before = current - changed(&history.ups, secs, now) + changed(&history.downs, secs, now);
            match kind {
                "Pods" => before + value,
                _ => (before * (100 + value) + 99) / 100,
            }
        });
        let allowed = match rules.select_policy.as_deref() {
            Some("Disabled") => Some(current),
            Some("Min") => allowed.min(),
            _ => allowed.max(),
        };
        let allowed = allowed.unwrap_or(current).max(current);
        let (most, verdict) = if bounds.max > allowed { (allowed, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        return if desired > most { (most, verdict) } else { (desired, IN_RANGE) };
    }
    if desired < current {
        let rules = &behavior.scale_down;
        let allowed = rules.policies(&[("Percent", 100, 15)]).map(|(kind, value, secs)| {
            let before = current + changed(&history.downs, secs, now) - changed(&history.ups, secs, now);
            match kind {
                "Pods" => before - value,
                _ => before * (100 - value) / 100,
            }
        });
        let allowed = match rules.select_policy.as_deref() {
            Some("Disabled") => Some(current),
            Some("Min") => allowed.max(),
            _ => allowed.min(),
        };
        let allowed = allowed.unwrap_or(current).min(current);
        let (least, verdict) = if bounds.min < allowed { (allowed, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
        return if desired < least { (least, verdict) } else { (desired, IN_RANGE) };
    }
    (desired, IN_RANGE)
}
