//! Resource quotas: what a write uses, and what is left of a quota after it.
//!
//! A quota is any object with `status.hard` and `status.used`, and perhaps scopes in its spec. Pure: whoever stores the
//! new use sees to it that nobody else has charged the quota in between.

mod scopes;
pub mod tenant;
mod usage;

use crate::resources::quantity;
use crate::value::{list, members, text};
use api::Quantity;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use usage::Evaluator;

/// Amounts by the names that quotas give them.
pub type Amounts = BTreeMap<String, Quantity>;

/// What a write asks of the quotas that apply to it.
#[derive(Debug)]
pub struct Demand {
    evaluator: &'static Evaluator,
    object: Value,
    used: Amounts,
    /// What is used more than before.
    more: Amounts,
}

/// What a write is about.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub group: &'a str,
    pub plural: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
}

impl Demand {
    /// The demand of a create (without `old`) or an update; `None` when no quota has a say in it.
    pub fn of(write: Write<'_>, new: &Value, old: Option<&Value>) -> Option<Demand> {
        let evaluator = usage::evaluator(write.group, write.plural);
        if !(evaluator.handles)(write.subresource, old.is_some()) {
            return None;
        }
        let usage = |object: &Value| (evaluator.usage)(&usage::counted(write.group, write.plural), object);
        let used = usage(new);
        let mut more = used.clone();
        for (name, before) in old.map(usage).unwrap_or_default() {
            if let Some(amount) = more.get_mut(&name) {
                *amount = if *amount > before { amount.minus(before) } else { Quantity::ZERO };
            }
        }
        more.retain(|_, amount| !amount.is_zero());
        Some(Demand { evaluator, object: new.clone(), used, more })
    }

    /// Charges a quota: its use after this write, `None` if it does not change, or why the write is refused.
    pub fn charge(&self, quota: &Value) -> Result<Option<Map<String, Value>>, String> {
        let name = text(&quota["metadata"]["name"]);
        let (hard, used) = (&quota["status"]["hard"], &quota["status"]["used"]);
        let counted = members(hard).map(|(resource, _)| resource).filter(|resource| self.counts(resource));
        let counted: BTreeSet<&str> = counted.collect();
        if counted.is_empty() || !scopes::all_match(self.evaluator.scopes, &quota["spec"], &self.object) {
            return Ok(None);
        }
        if let Some(why) = (self.evaluator.constraints)(&counted, &self.object) {
            return Err(format!("failed quota: {name}: {why}"));
        }
        if counted.iter().any(|resource| used.get(*resource).is_none()) {
            let names: Vec<&str> = counted.into_iter().collect();
            return Err(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        let negative: Vec<&str> =
            self.used.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        let asked: Vec<(&str, Quantity)> = self
            .more
            .iter()
            .filter(|(resource, _)| hard.get(resource.as_str()).is_some())
            .map(|(resource, amount)| (resource.as_str(), *amount))
            .collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let after = |resource: &str, more: Quantity| quantity(&used[resource]).plus(more);
        let exceeded: Vec<_> =
            asked.iter().filter(|(resource, more)| after(resource, *more) > quantity(&hard[*resource])).collect();
        if !exceeded.is_empty() {
            let shown = |amount: &dyn Fn(&str, Quantity) -> String| {
                let each = exceeded.iter().map(|(resource, more)| format!("{resource}={}", amount(resource, *more)));
                each.collect::<Vec<_>>().join(",")
            };
            let of = |amounts: &Value, resource: &str| quantity(&amounts[resource]).to_string();
            return Err(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                shown(&|_, more| more.to_string()),
                shown(&|resource, _| of(used, resource)),
                shown(&|resource, _| of(hard, resource)),
            ));
        }
        let mut charged = used.as_object().cloned().unwrap_or_default();
        for (resource, more) in asked {
            charged.insert(resource.to_owned(), after(resource, more).to_string().into());
        }
        Ok(Some(charged))
    }

    /// Whether a quota's resource is about objects of this kind at all.
    fn counts(&self, resource: &str) -> bool {
        (self.evaluator.counts)(resource, &self.used)
    }
}

#[cfg(test)]
mod tests;
