//! The table of who has which slots of which controller, and how it changes with the instances. Pure.

use super::slots::{COUNT, Slots};
use crate::view::{Meta, View, or_default};
use client::{CONTROLLER_INSTANCES, Resource};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of the object that is the table.
pub const TABLE: &str = "controllers";

/// A ControllerInstance: a process, or the table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    pub metadata: Meta,
    pub controller_type: String,
    #[serde(deserialize_with = "or_default")]
    pub controllers: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub slots: Vec<Row>,
}

impl View for Instance {
    const RESOURCE: Resource = CONTROLLER_INSTANCES;
    const ONLY_SYSTEM: bool = true;
}

/// Some slots of some controllers, whose names are separated by commas, and who has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Row {
    pub controller: String,
    pub instance: String,
    pub slots: String,
}

/// Slots by controller.
pub type Shares = BTreeMap<String, Slots>;

/// Who is there, and which controllers each runs.
pub type Living = BTreeMap<Arc<str>, BTreeSet<String>>;

type Owners = [Option<Arc<str>>; COUNT as usize];

/// Who has which slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(BTreeMap<String, Owners>);

impl Table {
    /// Reads what an object says; what cannot be read is nobody's.
    pub fn read(rows: &[Row]) -> Table {
        let mut table = Table::default();
        for row in rows {
            let Ok(slots) = row.slots.parse::<Slots>() else { continue };
            let instance: Arc<str> = row.instance.as_str().into();
            for controller in row.controller.split(',') {
                let owners = table.0.entry(controller.to_owned()).or_insert_with(nobody);
                slots.iter().for_each(|slot| owners[usize::from(slot)] = Some(instance.clone()));
            }
        }
        table
    }

    /// As the object says it: controllers of which an instance has the same slots in one row.
    pub fn rows(&self) -> Value {
        let mut rows: BTreeMap<(Arc<str>, u64), Vec<&str>> = BTreeMap::new();
        for (controller, owners) in &self.0 {
            let instances: BTreeSet<&Arc<str>> = owners.iter().flatten().collect();
            for instance in instances {
                let slots = slots_of(owners, instance);
                rows.entry((instance.clone(), slots.bits())).or_default().push(controller);
            }
        }
        let row = |((instance, slots), controllers): ((Arc<str>, u64), Vec<&str>)| {
            json!({
                "controller": controllers.join(","), "instance": &*instance,
                "slots": Slots::from_bits(slots).to_string(),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// What an instance has.
    pub fn held(&self, instance: &str) -> Shares {
        let held = |(controller, owners): (&String, &Owners)| (controller.clone(), slots_of(owners, instance));
        self.0.iter().map(held).filter(|(_, slots)| !slots.is_empty()).collect()
    }

    pub fn owner(&self, controller: &str, slot: u8) -> Option<&Arc<str>> {
        self.0.get(controller)?[usize::from(slot)].as_ref()
    }

    pub fn set(&mut self, controller: &str, slot: u8, instance: Option<Arc<str>>) {
        self.0.entry(controller.to_owned()).or_insert_with(nobody)[usize::from(slot)] = instance;
    }

    /// Forgets controllers that nobody runs.
    pub fn only(&mut self, living: &Living) {
        self.0.retain(|controller, _| living.values().any(|runs| runs.contains(controller)));
    }

    /// How the slots are to be had among the living: evenly, and moved as little as possible. Everyone who sees the same
    /// computes the same.
    pub fn wanted(&self, living: &Living) -> Table {
        let controllers: BTreeSet<&String> = living.values().flatten().collect();
        let wanted = |controller: &String| {
            let among: Vec<&Arc<str>> = living.iter().filter(|(_, c)| c.contains(controller)).map(|(n, _)| n).collect();
            let now = self.0.get(controller).cloned().unwrap_or_else(nobody);
            (controller.clone(), spread(now, &among))
        };
        Table(controllers.into_iter().map(wanted).collect())
    }
}

fn nobody() -> Owners {
    std::array::from_fn(|_| None)
}

fn slots_of(owners: &Owners, instance: &str) -> Slots {
    let own = (0..COUNT).filter(|&slot| owners[usize::from(slot)].as_deref() == Some(instance));
    own.fold(Slots::NONE, Slots::with)
}

/// Gives everyone as many slots; who has more than its due gives its last ones.
fn spread(now: Owners, among: &[&Arc<str>]) -> Owners {
    let Some(each) = usize::from(COUNT).checked_div(among.len()) else { return nobody() };
    let more = usize::from(COUNT) % among.len();
    let has = |instance: &str| (0..COUNT).filter(|&s| now[usize::from(s)].as_deref() == Some(instance)).count();
    let mut by_holdings: Vec<(usize, &Arc<str>)> = among.iter().map(|instance| (has(instance), *instance)).collect();
    by_holdings.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    // Who has the most keeps one more, where the slots cannot be shared evenly.
    let due = |(i, (_, instance)): (usize, (usize, &Arc<str>))| (instance.clone(), each + usize::from(i < more));
    let mut left: BTreeMap<Arc<str>, usize> = by_holdings.into_iter().enumerate().map(due).collect();
    let mut next = nobody();
    for (slot, owner) in now.into_iter().enumerate() {
        if let Some(owner) = owner
            && let Some(left) = left.get_mut(&owner).filter(|left| **left > 0)
        {
            *left -= 1;
            next[slot] = Some(owner);
        }
    }
    for owner in next.iter_mut().filter(|owner| owner.is_none()) {
        if let Some((instance, left)) = left.iter_mut().find(|(_, left)| **left > 0) {
            *left -= 1;
            *owner = Some(instance.clone());
        }
    }
    next
}
