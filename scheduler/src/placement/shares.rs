//! What tenants have of the cluster, and what operators say they shall have: weights, guarantees, maxima, and whose pods
//! give way to whose.
//!
//! Invariant: what a tenant has is the sum of what its placed pods ask for; what is owed is the sum of what guarantees
//! lack. Both are kept current by one pod at a time.

use super::requests::{self, Requests};
use super::wire::Quantities;
use api::TenantName;
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// A tenant's dominant share is compared in parts of this.
const WHOLE: f64 = 1e12;

/// What a tenant without a word of the operators weighs.
const USUAL_WEIGHT: i64 = 1;

/// The heaviest a tenant can be.
const WEIGHT_MAX: i64 = 1_000_000;

type Amounts = BTreeMap<String, i64>;

/// `spec.scheduling` of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WireTenant")]
pub struct Share {
    /// How much of the cluster the tenant gets, compared with others; 0 for the usual weight.
    pub weight: i64,
    /// Tenants with more go first.
    pub priority: i32,
    /// Kept free for the tenant while it has less.
    pub guaranteed: Amounts,
    pub maximum: Amounts,
    /// Tenants whose pods of lower priority give way to this one's; `*` for all.
    pub preempts: Vec<String>,
}

/// When it is a tenant's turn: the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// It has what it is guaranteed.
    pub satisfied: bool,
    priority: Reverse<i32>,
    /// The largest part that it has of any resource, over its weight.
    share: u64,
}

/// Why a tenant's pod waits although a node may have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The tenant would have more than it may of this resource.
    Maximum(String),
    /// What is left of this resource is kept for tenants that are guaranteed it.
    Owed(String),
}

/// Shares of all tenants.
#[derive(Default)]
pub struct Shares {
    told: HashMap<TenantName, Share>,
    taken: HashMap<TenantName, HashMap<Box<str>, i128>>,
    /// What guarantees lack, over all tenants.
    owed: BTreeMap<String, i128>,
}

/// How much of a resource all nodes together offer, and how much is taken of it.
pub type Totals<'a> = dyn Fn(&str) -> (i128, i128) + 'a;

impl Shares {
    /// What operators say of a tenant; `None` for nothing.
    pub fn set(&mut self, tenant: &TenantName, share: Option<Share>) {
        self.count_owed(tenant, -1);
        match share.filter(|share| *share != Share::default()) {
            Some(share) => drop(self.told.insert(tenant.clone(), share)),
            None => drop(self.told.remove(tenant)),
        }
        self.count_owed(tenant, 1);
    }

    /// A pod of a tenant came to a node (`sign` 1), or left it (-1).
    pub fn take(&mut self, tenant: &TenantName, requests: &Requests, sign: i128) {
        self.count_owed(tenant, -1);
        let taken = self.taken.entry(tenant.clone()).or_default();
        for (resource, amount) in &requests.amounts {
            let sum = taken.entry(resource.clone()).or_default();
            *sum += sign * i128::from(*amount);
            if *sum == 0 {
                taken.remove(resource);
            }
        }
        if taken.is_empty() {
            self.taken.remove(tenant);
        }
        self.count_owed(tenant, 1);
    }

    pub fn of(&self, tenant: &TenantName) -> Option<&Share> {
        self.told.get(tenant)
    }

    /// What a tenant has of a resource.
    pub fn taken(&self, tenant: &TenantName, resource: &str) -> i128 {
        self.taken.get(tenant).and_then(|taken| taken.get(resource)).copied().unwrap_or(0)
    }

    /// When a tenant is served, compared with others.
    pub fn turn(&self, tenant: &TenantName, totals: &Totals) -> Turn {
        let share = self.of(tenant);
        let guaranteed = share.map(|share| &share.guaranteed).filter(|amounts| !amounts.is_empty());
        let lacks = |(resource, amount): (&String, &i64)| self.taken(tenant, resource) < i128::from(*amount);
        let weight = share.map_or(USUAL_WEIGHT, |share| if share.weight > 0 { share.weight } else { USUAL_WEIGHT });
        Turn {
            satisfied: !guaranteed.is_some_and(|amounts| amounts.iter().any(lacks)),
            priority: Reverse(share.map_or(0, |share| share.priority)),
            share: (self.dominant(tenant, totals) / weight as f64 * WHOLE) as u64,
        }
    }

    /// The largest part that a tenant has of any resource.
    pub fn dominant(&self, tenant: &TenantName, totals: &Totals) -> f64 {
        let parts = self.taken.get(tenant).into_iter().flatten().filter_map(|(resource, taken)| {
            let (offered, _) = totals(resource);
            (offered > 0).then(|| *taken as f64 / offered as f64)
        });
        parts.fold(0.0, f64::max)
    }

    /// Whether a tenant may have what a pod asks for.
    pub fn held(&self, tenant: &TenantName, requests: &Requests, totals: &Totals) -> Option<Held> {
        let share = self.of(tenant);
        for (resource, amount) in &requests.amounts {
            let (amount, after) = (i128::from(*amount), self.taken(tenant, resource) + i128::from(*amount));
            let limit = share.and_then(|share| share.maximum.get(&**resource));
            if limit.is_some_and(|&limit| after > i128::from(limit)) {
                return Some(Held::Maximum(resource.to_string()));
            }
            let own = share.and_then(|share| share.guaranteed.get(&**resource)).map_or(0, |&own| i128::from(own));
            let owed = self.owed.get(&**resource).copied().unwrap_or(0);
            if owed == 0 || after <= own {
                continue;
            }
            // What it lacks itself is not kept from it.
            let to_others = owed - (own - self.taken(tenant, resource)).max(0);
            let (offered, taken) = totals(resource);
            if to_others > 0 && offered - taken - amount < to_others {
                return Some(Held::Owed(resource.to_string()));
            }
        }
        None
    }

    /// Whether pods of one tenant give way to pods of another, of higher priority.
    pub fn gives_way(&self, victim: &TenantName, preemptor: &TenantName) -> bool {
        let granted = |share: &Share| share.preempts.iter().any(|name| name == "*" || name == victim.as_str());
        victim == preemptor || self.of(preemptor).is_some_and(granted)
    }

    fn count_owed(&mut self, tenant: &TenantName, sign: i128) {
        let Some(share) = self.told.get(tenant) else { return };
        for (resource, amount) in &share.guaranteed {
            let lacks = i128::from(*amount) - self.taken(tenant, resource);
            if lacks > 0 {
                let owed = self.owed.entry(resource.clone()).or_default();
                *owed += sign * lacks;
                if *owed == 0 {
                    self.owed.remove(resource);
                }
            }
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireTenant {
    spec: WireSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireSpec {
    scheduling: Option<WireShare>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireShare {
    weight: Option<i64>,
    priority: Option<i32>,
    guaranteed: Quantities,
    maximum: Quantities,
    preempts: Option<Vec<String>>,
}

impl From<WireTenant> for Share {
    fn from(wire: WireTenant) -> Share {
        let Some(wire) = wire.spec.scheduling else { return Share::default() };
        Share {
            weight: wire.weight.unwrap_or(0).clamp(0, WEIGHT_MAX),
            priority: wire.priority.unwrap_or(0),
            guaranteed: requests::amounts(&wire.guaranteed),
            maximum: requests::amounts(&wire.maximum),
            preempts: wire.preempts.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tenant(name: &str) -> TenantName {
        TenantName::new(name).expect("a tenant's name")
    }

    fn share(scheduling: Value) -> Option<Share> {
        Some(serde_json::from_value(json!({"spec": {"scheduling": scheduling}})).expect("a tenant"))
    }

    fn asks(cpu: i64, memory: i64) -> Requests {
        let amounts = [(requests::CPU.into(), cpu), (requests::MEMORY.into(), memory)].into();
        Requests { amounts, scored_cpu: cpu, scored_memory: memory }
    }

    /// A cluster of 10 CPUs and 1000 bytes, of which so much CPU is taken.
    fn totals(taken: i128) -> impl Fn(&str) -> (i128, i128) {
        move |resource| if resource == requests::CPU { (10_000, taken) } else { (1000, 0) }
    }

    #[test]
    fn who_has_less_of_what_it_has_most_of_is_served_first() {
        let mut shares = Shares::default();
        let (red, blue, heavy) = (tenant("red"), tenant("blue"), tenant("heavy"));
        shares.take(&red, &asks(4000, 100), 1);
        shares.take(&blue, &asks(1000, 500), 1);
        shares.take(&heavy, &asks(6000, 0), 1);
        let turn = |shares: &Shares, tenant| shares.turn(tenant, &totals(0));
        assert!(turn(&shares, &red) < turn(&shares, &blue), "40 % of CPU is less than 50 % of memory");
        assert!(turn(&shares, &heavy) > turn(&shares, &blue));
        shares.set(&heavy, share(json!({"weight": 2})));
        assert!(turn(&shares, &heavy) < turn(&shares, &red), "60 % over 2 is less than 40 %");
        shares.set(&blue, share(json!({"guaranteed": {"cpu": "2"}})));
        assert!(turn(&shares, &blue) < turn(&shares, &heavy), "it lacks what it is guaranteed");
    }

    #[test]
    fn a_maximum_holds_and_what_is_guaranteed_is_kept() {
        let mut shares = Shares::default();
        let (red, blue) = (tenant("red"), tenant("blue"));
        shares.set(&red, share(json!({"maximum": {"cpu": "2"}})));
        shares.take(&red, &asks(1500, 0), 1);
        assert_eq!(shares.held(&red, &asks(500, 0), &totals(1500)), None);
        assert_eq!(shares.held(&red, &asks(501, 0), &totals(1500)), Some(Held::Maximum("cpu".to_owned())));
        shares.set(&blue, share(json!({"guaranteed": {"cpu": "8"}})));
        assert_eq!(shares.held(&red, &asks(500, 0), &totals(1500)), None, "8 of 10 are left for the other");
        assert_eq!(shares.held(&red, &asks(500, 0), &totals(1600)), Some(Held::Owed("cpu".to_owned())));
        assert_eq!(shares.held(&blue, &asks(8000, 0), &totals(1600)), None);
        shares.take(&blue, &asks(8000, 0), 1);
        assert_eq!(shares.owed, BTreeMap::new());
        shares.take(&blue, &asks(8000, 0), -1);
        shares.set(&blue, None);
        assert_eq!(shares.owed, BTreeMap::new());
    }

    #[test]
    fn pods_give_way_to_another_tenants_where_operators_say_so() {
        let mut shares = Shares::default();
        let (red, blue) = (tenant("red"), tenant("blue"));
        assert!(shares.gives_way(&red, &red) && !shares.gives_way(&red, &blue));
        shares.set(&blue, share(json!({"preempts": ["red"]})));
        assert!(shares.gives_way(&red, &blue) && !shares.gives_way(&blue, &red));
    }
}
