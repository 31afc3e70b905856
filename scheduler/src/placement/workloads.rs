//! Which pods belong together without saying so: those of one service, replica set, stateful set or replication
//! controller. Pods without constraints of their own are spread over hosts and zones along these.

use super::profile::DefaultSpread;
use super::selector::{PodSelector, SpreadConstraint};
use super::{Pod, PodKey};
use api::TenantName;
use std::collections::{BTreeMap, HashMap};

/// The wishes that hold for pods without any: (node label, skew that is not noticed).
const DEFAULTS: [(&str, i64); 2] = [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];

type LabelMap = BTreeMap<String, String>;
type Place = (TenantName, Box<str>);

/// The kind and name of what owns pods.
type Controller = (Box<str>, Box<str>);

/// Selectors of services, and of what controls pods, by tenant and namespace.
#[derive(Default)]
pub struct Workloads {
    services: HashMap<Place, BTreeMap<Box<str>, LabelMap>>,
    controllers: HashMap<Place, HashMap<Controller, PodSelector>>,
}

impl Workloads {
    /// A service without a selector, or gone, is `None`.
    pub fn set_service(&mut self, tenant: &TenantName, namespace: &str, name: &str, selector: Option<LabelMap>) {
        let place = (tenant.clone(), namespace.into());
        match selector {
            Some(selector) => {
                self.services.entry(place).or_default().insert(name.into(), selector);
            }
            None => remove(&mut self.services, &place, |named| {
                named.remove(name);
                named.is_empty()
            }),
        }
    }

    /// `kind` as owner references name it; `None` for one that is gone.
    pub fn set_controller(
        &mut self,
        tenant: &TenantName,
        namespace: &str,
        kind: &str,
        name: &str,
        selector: Option<PodSelector>,
    ) {
        let place = (tenant.clone(), namespace.into());
        let key = (kind.into(), name.into());
        match selector {
            Some(selector) => {
                self.controllers.entry(place).or_default().insert(key, selector);
            }
            None => remove(&mut self.controllers, &place, |named| {
                named.remove(&key);
                named.is_empty()
            }),
        }
    }

    /// The wishes of a pod that has no constraints of its own.
    pub fn default_spread(&self, defaults: &DefaultSpread, key: &PodKey, pod: &Pod) -> Vec<SpreadConstraint> {
        let place = (key.tenant.clone(), Box::from(&*key.namespace));
        let mut labels = LabelMap::new();
        for service in self.services.get(&place).into_iter().flat_map(BTreeMap::values) {
            if service.iter().all(|(name, value)| pod.labels.get(name) == Some(value)) {
                labels.extend(service.clone());
            }
        }
        let mut selector = PodSelector::of_labels(&labels);
        let controllers = self.controllers.get(&place);
        let controller = pod.controller.as_ref().and_then(|controller| controllers?.get(controller));
        if let Some(controller) = controller {
            selector.and(controller);
        }
        if selector.is_empty() {
            return Vec::new();
        }
        let wish = |(topology_key, max_skew, hard): (&str, i64, bool)| SpreadConstraint {
            topology_key: topology_key.into(),
            max_skew,
            min_domains: 1,
            hard,
            selector: selector.clone(),
            honor_affinity: true,
            honor_taints: false,
        };
        match defaults {
            DefaultSpread::System => DEFAULTS.map(|(label, skew)| wish((label, skew, false))).into(),
            DefaultSpread::List(list) => list.iter().map(|(label, skew, hard)| wish((label, *skew, *hard))).collect(),
        }
    }
}

fn remove<V>(map: &mut HashMap<Place, V>, place: &Place, change: impl FnOnce(&mut V) -> bool) {
    if map.get_mut(place).is_some_and(change) {
        map.remove(place);
    }
}
