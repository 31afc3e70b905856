//! What a tenant may hold over all its namespaces, and how a write changes what it holds.
//!
//! Unlike a ResourceQuota's, this use follows every write, deletes and changes of status too, by the difference that the
//! write makes: what ends is given back at once. Pure, as its neighbours.

use super::{Amounts, Write, usage};
use crate::resources::quantity;
use crate::value::{is_empty, members, text};
use api::Quantity;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What a tenant's quota calls what claims for storage ask for, and pods that are virtual machines.
const STORAGE: &str = "storage";
const MACHINES: &str = "virtualmachines";

/// The objects of a tenant and their encoded bytes, as the store counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub objects: u64,
    pub bytes: u64,
}

/// The difference that a write makes to what a tenant holds.
#[derive(Debug)]
pub struct Shift {
    before: Amounts,
    after: Amounts,
    /// Whether the write adds an object, and whether one that is larger.
    adds: bool,
    grows: bool,
    /// What the object has to say, where a quota counts it.
    unsaid: Vec<(String, String)>,
}

impl Shift {
    /// The difference of a create (without `old`), an update, or a delete (without `new`).
    pub fn of(write: Write<'_>, new: Option<&Value>, old: Option<&Value>) -> Shift {
        let of = |object: Option<&Value>| object.map(|object| used(write, object)).unwrap_or_default();
        let size = |object: Option<&Value>| object.map_or(0, |object| object.to_string().len());
        let adds = old.is_none();
        let unsaid = new.filter(|_| adds || write.subresource == "resize").map(|new| unsaid(write, new));
        Shift {
            before: of(old),
            after: of(new),
            adds,
            grows: new.is_some() && (adds || size(new) > size(old)),
            unsaid: unsaid.unwrap_or_default(),
        }
    }

    /// The same, where the number of bytes does not matter: nobody is kept from saying how something is.
    pub fn of_status(write: Write<'_>, new: Option<&Value>, old: Option<&Value>) -> Shift {
        Shift { grows: false, ..Shift::of(write, new, old) }
    }

    /// Whether a quota has a say in the write.
    pub fn concerns(&self, quota: &Value) -> bool {
        let limited = |resource: &str| !quota[resource].is_null();
        let moved = |resource: &str| self.before.get(resource) != self.after.get(resource);
        (self.adds && limited("objects"))
            || (self.grows && limited("bytes"))
            || members(quota).any(|(resource, _)| moved(resource))
            || self.unsaid.iter().any(|(resource, _)| limited(resource))
    }

    /// Charges the quota of the tenant `name`: its use after this write, `None` if it does not change, or why the write
    /// is refused. `held` is what the store holds with this write done.
    pub fn charge(
        &self,
        name: &str,
        quota: &Value,
        used: &Value,
        held: Held,
    ) -> Result<Option<Map<String, Value>>, String> {
        let limited = |resource: &str| !quota[resource].is_null();
        let unsaid: Vec<&str> =
            self.unsaid.iter().filter(|(resource, _)| limited(resource)).map(|(_, why)| why.as_str()).collect();
        if !unsaid.is_empty() {
            return Err(format!("failed quota of tenant {name}: must specify {}", unsaid.join("; ")));
        }
        for (resource, now, asks) in [("objects", held.objects, self.adds), ("bytes", held.bytes, self.grows)] {
            let limit = quantity(&quota[resource]);
            let now = Quantity::from_units(i64::try_from(now).unwrap_or(i64::MAX));
            if asks && limited(resource) && now > limit {
                return Err(format!("exceeded quota of tenant {name}: {resource} would be {now}, limited to {limit}"));
            }
        }
        let mut charged = used.as_object().cloned().unwrap_or_default();
        let mut changed = false;
        for (resource, limit) in members(quota) {
            let amount = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or(Quantity::ZERO);
            let (before, after) = (amount(&self.before), amount(&self.after));
            if before == after {
                continue;
            }
            let (limit, was) = (quantity(limit), quantity(&used[resource]));
            let now = was.plus(after).minus(before);
            if after > before && now > limit {
                let more = after.minus(before);
                return Err(format!(
                    "exceeded quota of tenant {name}: requested: {resource}={more}, used: {resource}={was}, limited: {resource}={limit}"
                ));
            }
            let now = if now.is_negative() { Quantity::ZERO } else { now };
            charged.insert(resource.to_owned(), now.to_string().into());
            changed = true;
        }
        Ok(changed.then_some(charged))
    }
}

/// What an object adds to the use of its tenant.
pub fn used(write: Write<'_>, object: &Value) -> Amounts {
    let pod = write.group.is_empty() && write.plural == "pods";
    let counted = usage::counted(write.group, write.plural);
    if pod && matches!(text(&object["status"]["phase"]), "Succeeded" | "Failed") {
        return usage::count(&counted, object);
    }
    let mut used = (usage::evaluator(write.group, write.plural).usage)(&counted, object);
    if pod && !is_empty(&object["spec"]["virtualMachine"]) {
        used.insert(MACHINES.to_owned(), Quantity::from_units(1));
    }
    if let Some(storage) = used.get("requests.storage").copied() {
        used.insert(STORAGE.to_owned(), storage);
    }
    used
}

/// Whether objects of a kind may use any of some resources.
pub fn matters<'a>(write: Write<'_>, mut resources: impl Iterator<Item = &'a str>) -> bool {
    match (write.group, write.plural) {
        ("", "pods" | "services" | "persistentvolumeclaims") => true,
        (group, plural) => {
            let counted = usage::counted(group, plural);
            resources.any(|resource| counted.iter().any(|name| name == resource))
        }
    }
}

/// What a pod leaves open of what quotas count, by resource.
fn unsaid(write: Write<'_>, object: &Value) -> Vec<(String, String)> {
    if !write.group.is_empty() || write.plural != "pods" {
        return Vec::new();
    }
    let demanded = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let one = |resource: &str| {
        let counted = BTreeSet::from([resource]);
        let why = (usage::evaluator("", "pods").constraints)(&counted, object)?;
        Some((resource.to_owned(), why.trim_start_matches("must specify ").to_owned()))
    };
    demanded.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PODS: Write<'_> = Write { group: "", plural: "pods", subresource: "" };

    fn pod(cpu: &str) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn charged(shift: &Shift, quota: Value, used: Value) -> Result<Option<Value>, String> {
        let charged = shift.charge("acme", &quota, &used, Held::default());
        charged.map(|used| used.map(Value::Object))
    }

    #[test]
    fn a_pod_is_charged_when_it_comes_and_given_back_when_it_ends() {
        let quota = || json!({"pods": "2", "cpu": "1"});
        let comes = Shift::of(PODS, Some(&pod("600m")), None);
        assert_eq!(charged(&comes, quota(), json!({})), Ok(Some(json!({"pods": "1", "cpu": "600m"}))));
        let refused = charged(&comes, quota(), json!({"pods": "1", "cpu": "600m"})).expect_err("a refusal");
        assert_eq!(refused, "exceeded quota of tenant acme: requested: cpu=600m, used: cpu=600m, limited: cpu=1");
        let mut ended = pod("600m");
        ended["status"] = json!({"phase": "Succeeded"});
        let ends = Shift::of(PODS, Some(&ended), Some(&pod("600m")));
        assert_eq!(
            charged(&ends, quota(), json!({"pods": "1", "cpu": "600m"})),
            Ok(Some(json!({"pods": "0", "cpu": "0"})))
        );
        let goes = Shift::of(PODS, None, Some(&ended));
        assert_eq!(charged(&goes, quota(), json!({"pods": "0", "cpu": "0"})), Ok(None));
    }

    #[test]
    fn what_a_quota_counts_a_pod_must_say() {
        let silent = json!({"spec": {"containers": [{"name": "c"}]}});
        let shift = Shift::of(PODS, Some(&silent), None);
        assert_eq!(charged(&shift, json!({"pods": "1"}), json!({})), Ok(Some(json!({"pods": "1"}))));
        let refused = charged(&shift, json!({"memory": "1"}), json!({})).expect_err("a refusal");
        assert_eq!(refused, "failed quota of tenant acme: must specify memory for: c");
    }

    #[test]
    fn objects_and_bytes_are_counted_by_the_store() {
        let map = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
        let write = Write { group: "", plural: "configmaps", subresource: "" };
        let quota = json!({"objects": "10", "bytes": "1Ki"});
        let judge = |shift: &Shift, objects: u64, bytes: u64| {
            shift.charge("acme", &quota, &json!({}), Held { objects, bytes }).is_ok()
        };
        let comes = Shift::of(write, Some(&map), None);
        assert!(judge(&comes, 10, 1024));
        assert!(!judge(&comes, 11, 1024) && !judge(&comes, 10, 1025));
        let smaller = Shift::of(write, Some(&json!({"metadata": {"name": "m"}})), Some(&map));
        assert!(judge(&smaller, 11, 4096), "who is over the limit may still shrink");
        assert!(judge(&Shift::of(write, None, Some(&map)), 11, 4096));
        assert!(!judge(&Shift::of(write, Some(&map), Some(&json!({}))), 10, 1025));
    }

    #[test]
    fn machines_and_storage_have_names_of_their_own() {
        let mut machine = pod("1");
        machine["spec"]["virtualMachine"] = json!({"name": "vm"});
        let machine = used(PODS, &machine);
        assert_eq!(machine.get(MACHINES), Some(&Quantity::from_units(1)));
        let claim = json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}});
        let claims = Write { group: "", plural: "persistentvolumeclaims", subresource: "" };
        assert_eq!(used(claims, &claim).get(STORAGE).map(ToString::to_string).as_deref(), Some("5Gi"));
    }
}
