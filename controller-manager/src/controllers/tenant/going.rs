//! What a tenant that is being deleted says about itself, and how its operator ends a wait for finalizers of others.

use crate::context::unless_gone;
use crate::controllers::content::Remaining;
use api::{Result, Timestamp};
use client::{Client, DiscoveredResource, ListParams, PatchType};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An operator's word that finalizers in a tenant that is being deleted need not be waited for.
pub const FORCE: &str = "tenant.ursa.dev/force-delete";

/// A message tells so much and no more.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// What is left of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    /// How many objects of each resource.
    pub objects: BTreeMap<String, u64>,
    /// What waits for others, in words.
    pub waiting: Vec<String>,
    /// What could not be deleted or looked for.
    pub failures: Vec<String>,
}

impl Left {
    /// From the tenant's own count, what is beside its namespaces, and its namespaces as they are.
    pub fn of(counted: &Value, beside: &Remaining, namespaces: &[Value]) -> Left {
        let objects = counted["resources"].as_object().into_iter().flatten();
        let objects = objects.filter_map(|(resource, count)| Some((resource.clone(), count.as_u64()?))).collect();
        let mut waiting: Vec<String> =
            beside.finalizers.iter().map(|(name, count)| format!("{name} in {count} objects")).collect();
        for namespace in namespaces {
            let conditions = namespace["status"]["conditions"].as_array().into_iter().flatten();
            let stuck = conditions.filter(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True");
            for condition in stuck {
                let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
                let message = condition["message"].as_str().unwrap_or_default();
                waiting.push(format!("namespace {name}: {message}"));
            }
        }
        Left { objects, waiting, failures: beside.failures.clone() }
    }

    /// Writes it into the tenant's status; false when that says so already.
    pub fn tell(&self, tenant: &mut Value, now: Timestamp) -> bool {
        let before = tenant["status"].clone();
        let old = before["conditions"].as_array().cloned().unwrap_or_default();
        let total: u64 = self.objects.values().sum();
        let content = (total > 0).then(|| format!("{total} objects of {} resources are left", self.objects.len()));
        let made = [
            condition(&old, "ContentRemaining", ("SomeResourcesRemain", "ContentRemoved"), content, now),
            condition(
                &old,
                "FinalizersRemaining",
                ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
                joined(&self.waiting),
                now,
            ),
            condition(&old, "DeletionFailed", ("ContentDeletionFailed", "ContentDeleted"), joined(&self.failures), now),
        ];
        let kept = old.into_iter().filter(|c| !made.iter().any(|m| m["type"] == c["type"]));
        tenant["status"]["conditions"] = kept.chain(made.iter().cloned()).collect();
        tenant["status"]["remaining"] = json!(self.objects);
        tenant["status"] != before
    }
}

fn joined(texts: &[String]) -> Option<String> {
    let mut text = texts.join("; ");
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    (!text.is_empty()).then_some(text)
}

fn condition(old: &[Value], kind: &str, reasons: (&str, &str), trouble: Option<String>, now: Timestamp) -> Value {
    let status = if trouble.is_some() { "True" } else { "False" };
    let reason = if trouble.is_some() { reasons.0 } else { reasons.1 };
    let before = old.iter().find(|c| c["type"] == kind).filter(|c| c["status"] == status);
    let since = before.map_or_else(|| json!(now.to_string()), |c| c["lastTransitionTime"].clone());
    json!({"type": kind, "status": status, "reason": reason, "message": trouble.unwrap_or_default(), "lastTransitionTime": since})
}

/// Takes the finalizers from everything that is being deleted.
pub async fn release(client: &Client, resources: &[DiscoveredResource]) -> Result<()> {
    for resource in resources.iter().filter(|r| r.can("list") && r.can("patch")) {
        for object in client.list(resource, "", &ListParams::default()).await?.items {
            let metadata = &object["metadata"];
            let held = metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
            if !held || metadata["deletionTimestamp"].is_null() {
                continue;
            }
            let text = |field: &str| metadata[field].as_str().unwrap_or_default();
            let patch = json!({"metadata": {"uid": metadata["uid"], "finalizers": null}});
            unless_gone(client.patch(resource, text("namespace"), text("name"), PatchType::Merge, &patch, None).await)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_by_resource_and_with_what_it_waits_for() {
        let beside = Remaining { finalizers: BTreeMap::from([("a.b/hold".to_owned(), 2)]), ..Remaining::default() };
        let stuck = json!([{"type": "NamespaceFinalizersRemaining", "status": "True", "message": "x/y in 1 resource instances"}]);
        let namespaces = [json!({"metadata": {"name": "n"}, "status": {"conditions": stuck}})];
        let left = Left::of(&json!({"resources": {"configmaps": 3, "secrets": 1}}), &beside, &namespaces);
        let mut tenant = json!({"status": {"phase": "Terminating"}});
        assert!(left.tell(&mut tenant, Timestamp::from_unix_secs(1)));
        assert_eq!(tenant["status"]["remaining"], json!({"configmaps": 3, "secrets": 1}));
        let texts: Vec<String> = tenant["status"]["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .map(|c| {
                format!(
                    "{}={} {}",
                    c["type"].as_str().unwrap_or_default(),
                    c["status"].as_str().unwrap_or_default(),
                    c["message"].as_str().unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(
            texts,
            [
                "ContentRemaining=True 4 objects of 2 resources are left",
                "FinalizersRemaining=True a.b/hold in 2 objects; namespace n: x/y in 1 resource instances",
                "DeletionFailed=False ",
            ]
        );
        assert!(!left.tell(&mut tenant, Timestamp::from_unix_secs(2)), "what has not changed is not told again");
    }
}
