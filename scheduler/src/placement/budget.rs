//! Disruption budgets, as far as preemption asks: how many more of the pods that each selects may leave.

use super::selector::PodSelector;
use super::{Pod, PodKey};
use api::TenantName;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One budget.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    pub selector: PodSelector,
    pub disruptions_allowed: i64,
    /// Names of pods whose leaving is accounted for already.
    pub disrupted: Vec<String>,
}

type Named = BTreeMap<Box<str>, Budget>;

/// All budgets, by tenant and namespace.
#[derive(Default)]
pub struct Budgets(HashMap<(TenantName, Box<str>), Named>);

type Pods = Vec<(PodKey, Arc<Pod>)>;

impl Budgets {
    pub fn set(&mut self, tenant: &TenantName, namespace: &str, name: &str, budget: Budget) {
        self.0.entry((tenant.clone(), namespace.into())).or_default().insert(name.into(), budget);
    }

    pub fn remove(&mut self, tenant: &TenantName, namespace: &str, name: &str) {
        let key = (tenant.clone(), namespace.into());
        if let Some(named) = self.0.get_mut(&key) {
            named.remove(name);
            if named.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Splits pods, in their order, into those whose leaving after all before them violates a budget, and the others.
    pub fn violated_by(&self, pods: &[(PodKey, Arc<Pod>)]) -> (Pods, Pods) {
        let mut left: HashMap<(&TenantName, &str, &str), i64> = HashMap::new();
        pods.iter().cloned().partition(|(key, _)| {
            let Some((key, pod)) = pods.iter().find(|(k, _)| k == key) else { return false };
            let namespace = (key.tenant.clone(), Box::from(&*key.namespace));
            let mut violated = false;
            for (name, budget) in self.0.get(&namespace).into_iter().flatten() {
                let counted = budget.disrupted.iter().any(|d| **d == *key.name);
                if counted || budget.selector.is_empty() || !budget.selector.matches(&pod.labels) {
                    continue;
                }
                let of_budget = (&key.tenant, &*key.namespace, &**name);
                let left = left.entry(of_budget).or_insert(budget.disruptions_allowed);
                // A tenant may write any number there.
                *left = left.saturating_sub(1);
                violated |= *left < 0;
            }
            violated
        })
    }
}
