//! Counts for each PodDisruptionBudget how many pods may go, and takes back the mark of pods that were to go and did not.

mod plan;
mod scales;
#[cfg(test)]
mod tests;

use self::plan::{Observed, Plan};
use crate::context::{Account, Context};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Condition, Meta, Pod, Selector, Time, View, or_default};
use api::{Error, Result};
use client::{Cache, Change, ObjectRef, PODS, PatchType, Resource, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "disruption-controller", account: Account::Service("disruption-controller"), make };

const BUDGETS: Resource = Resource { group: "policy", version: "v1", plural: "poddisruptionbudgets", namespaced: true };

/// For so long a pod may be marked as a target of a disruption without going.
const STALE_MARK: Duration = Duration::from_secs(120);

const MARK: &str = "DisruptionTarget";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub min_available: Option<Value>,
    pub max_unavailable: Option<Value>,
    pub selector: Option<Selector>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub disrupted_pods: BTreeMap<String, Time>,
    pub disruptions_allowed: i64,
    pub current_healthy: i64,
    pub desired_healthy: i64,
    pub expected_pods: i64,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Value>,
}

impl View for Budget {
    const RESOURCE: Resource = BUDGETS;
}

impl Budget {
    /// An empty selector selects every pod of the namespace, none selects no pod.
    fn selects(&self, pod: &Pod) -> bool {
        self.spec.selector.as_ref().is_some_and(|s| s.is_empty() || s.matches(&pod.metadata.labels))
    }
}

impl Status {
    fn to_value(&self) -> Value {
        let disrupted: BTreeMap<&String, String> =
            self.disrupted_pods.iter().map(|(name, at)| (name, at.0.to_string())).collect();
        let mut value = json!({
            "disruptionsAllowed": self.disruptions_allowed, "currentHealthy": self.current_healthy,
            "desiredHealthy": self.desired_healthy, "expectedPods": self.expected_pods, "conditions": self.conditions,
        });
        if self.observed_generation != 0 {
            value["observedGeneration"] = json!(self.observed_generation);
        }
        if !disrupted.is_empty() {
            value["disruptedPods"] = json!(disrupted);
        }
        value
    }
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Budget(ObjectRef),
    /// A pod that is marked as the target of a disruption.
    Marked(ObjectRef),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Item::Budget(key) | Item::Marked(key)) = self;
        key.fmt(f)
    }
}

struct Budgets {
    context: Context,
    budgets: Cache<Budget>,
    pods: Cache<Pod>,
    scales: scales::Scales,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<Item> = WorkQueue::new();
    let informer = setup.informers.of::<Budget>();
    let budgets = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(Item::Budget(change.key.clone())));
    let scales = scales::Scales::new(setup);
    let informer = setup.informers.of::<Pod>();
    let pods = informer.cache();
    let (changed, known) = (queue.clone(), budgets.clone());
    informer.on_change(move |change| pod_changed(change, &known, &changed));
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Budgets { context, budgets, pods, scales }))
}

fn pod_changed(change: &Change<Pod>, budgets: &Cache<Budget>, queue: &WorkQueue<Item>) {
    let Some(tenant) = &change.key.tenant else { return };
    if change.new.as_ref().is_some_and(|pod| mark(pod).is_some()) {
        queue.add(Item::Marked(change.key.clone()));
    }
    let counts = |pod: &Option<Arc<Pod>>| {
        let pod = pod.as_ref()?;
        let owner = pod.metadata.controller().map(|o| o.uid.clone());
        Some((pod.metadata.labels.clone(), pod.is_ready(), pod.metadata.is_deleting(), owner))
    };
    if counts(&change.old) == counts(&change.new) {
        return;
    }
    let either: Vec<&Arc<Pod>> = [&change.old, &change.new].into_iter().flatten().collect();
    for (key, budget) in budgets.list_namespace(tenant, &change.key.namespace) {
        if either.iter().any(|pod| budget.selects(pod)) {
            queue.add(Item::Budget(key));
        }
    }
}

/// The mark of a pod that is to go and does not.
fn mark(pod: &Pod) -> Option<&Condition> {
    let marked = pod.status.conditions.iter().find(|c| c.kind == MARK && c.status == "True");
    marked.filter(|_| pod.is_active())
}

impl Reconcile<Item> for Budgets {
    async fn reconcile(&self, item: &Item) -> Result<Option<Duration>> {
        match item {
            Item::Budget(key) => self.sync(key).await,
            Item::Marked(key) => self.unmark(key).await,
        }
    }
}

impl Budgets {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let (Some(budget), Some(tenant)) = (self.budgets.get(key), &key.tenant) else { return Ok(None) };
        let pods = self.pods.list_namespace(tenant, &key.namespace);
        let pods: Vec<Arc<Pod>> = pods.into_iter().map(|(_, pod)| pod).filter(|p| budget.selects(p)).collect();
        if pods.is_empty() {
            self.tell(&budget, Severity::Normal, "NoPods", "No matching pods found".to_owned());
        }
        let scale = match plan::needs_scale(&budget) {
            false => Ok(plan::Scale::default()),
            true => self.scales.of(&self.context.client(key), &pods).await,
        };
        let now = self.context.now();
        let scale = match scale {
            Ok(scale) => scale,
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {}", error.message());
                self.tell(&budget, Severity::Warning, "CalculateExpectedPodCountFailed", message);
                let status = plan::failed(&budget, error.message(), now);
                self.write(key, &budget, &status).await?;
                return Ok(Some(STALE_MARK));
            }
        };
        if !scale.unmanaged.is_empty() {
            let message = plan::unmanaged_message(&budget);
            self.tell(&budget, Severity::Warning, "UnmanagedPods", message);
        }
        let Plan { status, overdue, again } =
            plan::plan(&Observed { budget: &budget, pods: &pods, scale: &scale, now });
        for pod in overdue {
            let message = format!("Pod was expected by PDB {}/{} to be deleted but it wasn't", key.namespace, key.name);
            let (about, severity, reason) = (pod.involved(), Severity::Warning, "NotDeleted");
            self.context.recorder.record(Event { about, severity, reason, message });
        }
        self.write(key, &budget, &status).await?;
        Ok(again)
    }

    async fn write(&self, key: &ObjectRef, budget: &Budget, status: &Status) -> Result<()> {
        if *status == budget.status {
            return Ok(());
        }
        let version = &budget.metadata.resource_version;
        let change = |object: &mut Value| object["status"] = status.to_value();
        self.context.rewrite(BUDGETS, key, version, Some("status"), change).await.map(drop)
    }

    /// Takes a mark back that is too old to be true.
    async fn unmark(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let Some(mark) = mark(&pod) else { return Ok(None) };
        let now = self.context.now();
        let left = STALE_MARK.saturating_sub(now.since(mark.last_transition_time.0));
        if !left.is_zero() {
            return Ok(Some(left + Duration::from_secs(1)));
        }
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": MARK, "status": "False", "reason": null, "message": null,
                "lastTransitionTime": now.to_string(), "observedGeneration": pod.metadata.generation,
            }]},
        });
        let client = self.context.client(key);
        let patched = client.patch(PODS, &key.namespace, &key.name, PatchType::Strategic, &patch, Some("status")).await;
        match patched {
            Err(error) if !error.is_not_found() => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn tell(&self, budget: &Budget, severity: Severity, reason: &'static str, message: String) {
        let about = Involved {
            key: budget.metadata.key(),
            api_version: "policy/v1".to_owned(),
            kind: "PodDisruptionBudget".to_owned(),
            uid: budget.metadata.uid.clone(),
        };
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}

/// What a number or a percentage, rounded up, is of a total.
pub fn scaled(value: &Value, total: i64) -> Result<i64> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let text = value.as_str().unwrap_or_default();
    let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok());
    let percent = percent
        .ok_or_else(|| Error::bad_request(format!("invalid value for IntOrString: {text:?} is no percentage")))?;
    Ok(percent.saturating_mul(total).saturating_add(99).div_euclid(100))
}
