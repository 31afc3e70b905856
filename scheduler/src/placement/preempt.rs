//! Making room: which pods of lower priority have to leave which node so that a pod fits.
//!
//! Invariant: victims are pods of the same tenant, or of one whose pods give way to the preemptor's by an operator's word. The snapshot is afterwards what it was before.

use super::budget::Budgets;
use super::filter::{Evaluation, Verdict};
use super::profile::Candidates;
use super::snapshot::Snapshot;
use super::{NodeId, Pod, PodKey, Rng};
use api::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node and who leaves it.
#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: Arc<str>,
    /// The most important first.
    pub victims: Vec<(PodKey, Arc<Pod>)>,
}

/// Why nothing can be done.
pub enum NoPreemption {
    /// Nobody makes room.
    Off,
    /// The pod may not ask: the text says why.
    NotEligible(&'static str),
    /// How many nodes there are of each reason.
    NoCandidate(BTreeMap<String, usize>),
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

struct Candidate {
    node: NodeId,
    victims: Vec<(PodKey, Arc<Pod>)>,
    violations: usize,
}

/// Finds the node where making room hurts least.
pub fn preempt(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    verdicts: &[Verdict],
    budgets: &Budgets,
    rng: &mut Rng,
) -> Result<Preemption, NoPreemption> {
    if !evaluation.profile.filters.preemption {
        return Err(NoPreemption::Off);
    }
    if !evaluation.pod.may_preempt {
        return Err(NoPreemption::NotEligible("preemptionPolicy=Never"));
    }
    if awaits_victims(snapshot, evaluation, verdicts) {
        return Err(NoPreemption::NotEligible("a terminating pod on the nominated node"));
    }
    let Candidates { percentage, least } = evaluation.profile.preemption;
    let enough = least.max(snapshot.node_count() * percentage / 100);
    let all: Vec<NodeId> = snapshot.nodes().collect();
    let start = rng.below(all.len());
    let mut candidates: Vec<Candidate> = Vec::new();
    let (mut reasons, mut not_helpful) = (BTreeMap::new(), 0);
    for &node in all[start..].iter().chain(&all[..start]) {
        match verdicts[node.index()] {
            Verdict::Absent => continue,
            verdict if !verdict.others_could_leave() => not_helpful += 1,
            _ => match dry_run(snapshot, evaluation, budgets, node) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
            },
        }
        if candidates.len() >= enough {
            break;
        }
    }
    let Some(Candidate { node, victims, .. }) = candidates.into_iter().min_by_key(harm) else {
        reasons.extend((not_helpful > 0).then(|| (NOT_HELPFUL.to_owned(), not_helpful)));
        return Err(NoPreemption::NoCandidate(reasons));
    };
    Ok(Preemption { node: snapshot.names[node.index()].clone(), victims })
}

/// Whether room is being made already on the node that the pod is nominated for.
fn awaits_victims(snapshot: &Snapshot, evaluation: &Evaluation, verdicts: &[Verdict]) -> bool {
    let Evaluation { key, pod, .. } = evaluation;
    let Some(node) = snapshot.find(&pod.nominated) else { return false };
    let leaving = |(other_key, other): (&PodKey, &Arc<Pod>)| {
        snapshot.shares.gives_way(&other_key.tenant, &key.tenant) && other.preempted && other.priority < pod.priority
    };
    verdicts[node.index()].others_could_leave() && snapshot.pods_on(node).any(leaving)
}

/// Who would have to leave a node: removes all who could, then takes back whom it can, the most important first.
fn dry_run(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    budgets: &Budgets,
    node: NodeId,
) -> Result<Candidate, Vec<String>> {
    let gives_way = |key: &PodKey| snapshot.shares.gives_way(&key.tenant, &evaluation.key.tenant);
    let below = |key: &PodKey, pod: &Pod| pod.priority < evaluation.pod.priority && gives_way(key);
    let lower = snapshot.pods_on(node).filter(|(key, pod)| below(key, pod));
    let mut lower: Vec<(PodKey, Arc<Pod>)> = lower.map(|(key, pod)| (key.clone(), pod.clone())).collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    lower.sort_by(|(a_key, a), (b_key, b)| a.importance().cmp(&b.importance()).then_with(|| a_key.cmp(b_key)));
    for (key, pod) in &lower {
        evaluation.suppose_gone(snapshot, key, pod, node);
    }
    let (verdict, reasons) = refusal_with_nominated(snapshot, evaluation, node);
    let mut victims = Vec::new();
    let mut violations = 0;
    if verdict == Verdict::Feasible {
        let (violating, others) = budgets.violated_by(&lower);
        let protected = violating.len();
        for (position, (key, pod)) in violating.into_iter().chain(others).enumerate() {
            evaluation.suppose_placed(snapshot, &key, &pod, node);
            if check_with_nominated(snapshot, evaluation, node) != Verdict::Feasible {
                evaluation.suppose_gone(snapshot, &key, &pod, node);
                violations += usize::from(position < protected);
                victims.push((key, pod));
            }
        }
        for (key, pod) in &victims {
            evaluation.suppose_placed(snapshot, key, pod, node);
        }
        victims.sort_by_key(|(_, pod)| pod.importance());
        return Ok(Candidate { node, victims, violations });
    }
    for (key, pod) in &lower {
        evaluation.suppose_placed(snapshot, key, pod, node);
    }
    Err(reasons)
}

/// The verdict on a node with and without the pods whose promises hold against this one.
pub fn check_with_nominated(snapshot: &mut Snapshot, evaluation: &mut Evaluation, node: NodeId) -> Verdict {
    ask_with_nominated(snapshot, evaluation, node, |_, _, _| ()).0
}

/// The same, and the reasons for a refusal.
pub fn refusal_with_nominated(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    node: NodeId,
) -> (Verdict, Vec<String>) {
    ask_with_nominated(snapshot, evaluation, node, |evaluation, snapshot, verdict| {
        evaluation.reasons(snapshot, node, verdict)
    })
}

fn ask_with_nominated<R>(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    node: NodeId,
    ask: impl Fn(&Evaluation, &Snapshot, Verdict) -> R,
) -> (Verdict, R) {
    let look = |snapshot: &Snapshot, evaluation: &Evaluation| {
        let verdict = evaluation.check(snapshot, node);
        (verdict, ask(evaluation, snapshot, verdict))
    };
    let promised = snapshot.promised_on(node, evaluation.key, evaluation.pod);
    for (key, pod) in &promised {
        evaluation.suppose_placed(snapshot, key, pod, node);
    }
    let with = look(snapshot, evaluation);
    for (key, pod) in &promised {
        evaluation.suppose_gone(snapshot, key, pod, node);
    }
    if with.0 == Verdict::Feasible && !promised.is_empty() { look(snapshot, evaluation) } else { with }
}

/// Less is better: budgets violated, the highest victim's priority, the sum of priorities, the number of victims; then
/// the node whose most important victims started last.
fn harm(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let victims = || candidate.victims.iter().map(|(_, pod)| pod);
    let highest = victims().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    // Each counts, however low its priority is.
    let sum = victims().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
    let started = |pod: &Arc<Pod>| pod.importance().1;
    let first = victims().filter(|pod| pod.priority == highest).map(started).min().unwrap_or_default();
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(first))
}
