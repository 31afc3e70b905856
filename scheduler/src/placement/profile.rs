//! How one scheduler decides: which plugins look at a pod, what each score weighs, and the plugins' arguments.
//!
//! Invariant: the default is that of kube-scheduler 1.36.

use super::TOP_SCORE;
use super::requests::{CPU, MEMORY};
use super::selector::NodeSelector;

/// The most that is looked at of each list of resources, as each costs time for every node.
pub const RESOURCES_MAX: usize = 16;

/// One scheduler's ways.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Pods with this `spec.schedulerName` are decided by it.
    pub scheduler_name: Box<str>,
    pub filters: Filters,
    pub weights: Weights,
    pub fit: FitArguments,
    /// Whose shares are to be near each other.
    pub balanced: Box<[ScoredResource]>,
    /// What counts for a running pod's required affinity when nodes are scored.
    pub hard_pod_affinity: i64,
    pub ignore_preferred_terms_of_existing: bool,
    /// How pods without constraints of their own are spread.
    pub default_spread: DefaultSpread,
    /// What every pod of this scheduler asks of a node besides.
    pub added_affinity: Option<NodeSelector>,
    pub preemption: Candidates,
    pub bind_timeout_seconds: u64,
}

/// Filters that can be turned off; those that are not listed cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters {
    pub unschedulable: bool,
    pub taints: bool,
    pub node_affinity: bool,
    pub ports: bool,
    pub resources: bool,
    pub volumes: bool,
    pub spread: bool,
    pub pod_affinity: bool,
    pub preemption: bool,
}

/// What each score counts in the sum; none where the plugin is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    pub taints: i64,
    pub node_affinity: i64,
    pub spread: i64,
    pub pod_affinity: i64,
    pub images: i64,
    pub resources: i64,
    pub balanced: i64,
}

/// Arguments of `NodeResourcesFit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FitArguments {
    pub strategy: Strategy,
    pub resources: Box<[ScoredResource]>,
    /// Extended resources that no node has to offer.
    pub ignored: Box<[Box<str>]>,
    /// As [`FitArguments::ignored`], by what stands before the slash.
    pub ignored_groups: Box<[Box<str>]>,
}

/// A resource that counts for a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredResource {
    pub name: Box<str>,
    pub weight: i64,
}

/// Which node is better as far as resources go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    LeastAllocated,
    MostAllocated,
    /// Points of a line: percent in use, and score from 0 to 10.
    RequestedToCapacityRatio(Box<[(i64, i64)]>),
}

/// The constraints of pods that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultSpread {
    /// Over hosts and zones, along services and what controls the pods.
    System,
    /// Node label, skew, and whether it is a must.
    List(Box<[(Box<str>, i64, bool)]>),
}

/// So many nodes that would do are compared when room is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    pub percentage: usize,
    pub least: usize,
}

impl Default for Profile {
    fn default() -> Profile {
        let both = || [CPU, MEMORY].map(|name| ScoredResource { name: name.into(), weight: 1 }).into();
        Profile {
            scheduler_name: "default-scheduler".into(),
            filters: Filters {
                unschedulable: true,
                taints: true,
                node_affinity: true,
                ports: true,
                resources: true,
                volumes: true,
                spread: true,
                pod_affinity: true,
                preemption: true,
            },
            weights: Weights {
                taints: 3,
                node_affinity: 2,
                spread: 2,
                pod_affinity: 2,
                images: 1,
                resources: 1,
                balanced: 1,
            },
            fit: FitArguments {
                strategy: Strategy::LeastAllocated,
                resources: both(),
                ignored: Box::default(),
                ignored_groups: Box::default(),
            },
            balanced: both(),
            hard_pod_affinity: 1,
            ignore_preferred_terms_of_existing: false,
            default_spread: DefaultSpread::System,
            added_affinity: None,
            preemption: Candidates { percentage: 10, least: 100 },
            bind_timeout_seconds: 600,
        }
    }
}

impl FitArguments {
    /// Whether a resource is somebody else's business.
    pub fn ignores(&self, resource: &str) -> bool {
        self.ignored.iter().any(|name| **name == *resource)
            || resource.split_once('/').is_some_and(|(group, _)| self.ignored_groups.iter().any(|g| **g == *group))
    }

    pub fn ignores_nothing(&self) -> bool {
        self.ignored.is_empty() && self.ignored_groups.is_empty()
    }
}

impl Strategy {
    /// How good it is that a share is taken, from 0 to the top score. `None` says nothing of this resource.
    pub fn score(&self, taken: i128, offered: i64) -> Option<i64> {
        let offered = i128::from(offered);
        let percent = |amount: i128| {
            let share = amount.clamp(0, offered) * i128::from(TOP_SCORE) / offered;
            i64::try_from(share).expect("a share of the whole is at most the top score")
        };
        match self {
            // More pods than fit leave nothing, however many they are.
            Strategy::LeastAllocated => Some(percent(offered - taken)),
            Strategy::MostAllocated => Some(percent(taken)),
            Strategy::RequestedToCapacityRatio(line) => {
                Some(on_line(line, if taken > offered { TOP_SCORE } else { percent(taken) })).filter(|&score| score > 0)
            }
        }
    }

    /// The mean of weighted scores.
    pub fn mean(&self, sum: i64, weights: i64) -> i64 {
        match self {
            _ if weights == 0 => 0,
            Strategy::LeastAllocated | Strategy::MostAllocated => sum / weights,
            Strategy::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
        }
    }
}

/// The height of a line of points at `at`, scaled to the top score.
fn on_line(line: &[(i64, i64)], at: i64) -> i64 {
    let scaled = |score: i64| score * (TOP_SCORE / 10);
    let mut before: Option<(i64, i64)> = None;
    for &(percent, score) in line {
        if at <= percent {
            return before.map_or(scaled(score), |(left, low)| {
                scaled(low) + (scaled(score) - scaled(low)) * (at - left) / (percent - left)
            });
        }
        before = Some((percent, score));
    }
    before.map_or(0, |(_, score)| scaled(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_points_is_followed_between_them() {
        let line = Strategy::RequestedToCapacityRatio([(0, 0), (50, 8), (100, 10)].into());
        let scores = [0, 25, 50, 75, 100, 200].map(|taken| line.score(taken, 100));
        assert_eq!(scores, [None, Some(40), Some(80), Some(90), Some(100), Some(100)]);
    }

    #[test]
    fn most_allocated_is_least_allocated_upside_down() {
        for taken in [0, 30, 100] {
            let [least, most] = [Strategy::LeastAllocated, Strategy::MostAllocated].map(|s| s.score(taken, 100));
            assert_eq!(least.zip(most).map(|(l, m)| l + m), Some(TOP_SCORE));
        }
    }
}
