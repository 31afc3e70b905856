//! Why a pod gets a node or gets none: per node the reasons against it, or its scores.

use super::filter::{Evaluation, Verdict};
use super::score::{self, Wishes};
use super::snapshot::Snapshot;
use super::spread::SoftSpread;
use super::{Placement, Pod, PodKey, Workloads, check_promised};
use std::sync::Arc;

/// What the nodes come to for one pod.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Why no node will do, whichever it is.
    pub nowhere: Option<String>,
    pub nodes: Vec<ExplainedNode>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct ExplainedNode {
    pub name: Arc<str>,
    /// In upstream's words; none for a node that will do.
    pub reasons: Vec<String>,
    /// Each score's plugin, weight, and value from 0 to 100; of resources, the weighted sum with weight 1.
    pub scores: Vec<(&'static str, i64, i64)>,
}

impl ExplainedNode {
    /// What decides between nodes that will do: the more the better.
    pub fn total(&self) -> i64 {
        self.scores.iter().map(|(_, weight, score)| weight * score).sum()
    }
}

impl Placement {
    /// Looks at all nodes for a pod, which is not counted on any.
    pub fn explain(&mut self, key: &PodKey, pod: &Pod) -> Explanation {
        let explained =
            self.evaluate(key, pod, |snapshot, evaluation, workloads, _| nodes(snapshot, evaluation, workloads));
        match explained {
            Ok(nodes) => Explanation { nowhere: None, nodes },
            Err(why) => Explanation { nowhere: Some(why.message), nodes: Vec::new() },
        }
    }
}

fn nodes(snapshot: &mut Snapshot, evaluation: &mut Evaluation, workloads: &Workloads) -> Vec<ExplainedNode> {
    let mut verdicts = evaluation.check_all(snapshot);
    let promised = check_promised(snapshot, evaluation, &mut verdicts);
    let feasible: Vec<_> = snapshot.nodes().filter(|node| verdicts[node.index()] == Verdict::Feasible).collect();
    let (key, pod) = (evaluation.key, evaluation.pod);
    let strict = !pod.spread.is_empty();
    let defaults =
        if strict { Vec::new() } else { workloads.default_spread(&evaluation.profile.default_spread, key, pod) };
    let constraints = pod.spread.iter().chain(&defaults).filter(|c| !c.hard).collect();
    let (standings, fits, profile) = (evaluation.standings.clone(), evaluation.fits.clone(), evaluation.profile);
    let wishes =
        Wishes { key, pod, standings: &standings, fits: &fits, spread: SoftSpread { constraints, strict }, profile };
    let parts = score::parts(snapshot, evaluation.topologies(), &wishes, &feasible);
    let there = snapshot.nodes().filter(|node| verdicts[node.index()] != Verdict::Absent);
    there
        .map(|node| {
            let (mut reasons, mut scores) = (Vec::new(), Vec::new());
            match feasible.binary_search(&node) {
                Ok(at) => {
                    scores.push(("NodeResources", 1, fits[node.index()].score));
                    scores.extend(parts.iter().map(|(plugin, weight, all)| (*plugin, *weight, all[at])));
                }
                Err(_) => {
                    let own = || evaluation.reasons(snapshot, node, verdicts[node.index()]);
                    reasons = promised.get(&node).cloned().unwrap_or_else(own);
                }
            }
            ExplainedNode { name: snapshot.names[node.index()].clone(), reasons, scores }
        })
        .collect()
}
