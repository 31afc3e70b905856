//! Deletes everything of some kinds, in one namespace or in a whole tenant, and tells what is left.

use crate::view::{Time, or_default};
use api::{Reason, Result};
use client::{Client, DeleteParams, DiscoveredResource, ListParams, Propagation};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is left after everything was asked to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remaining {
    /// How many there are of each kind, as `plural.group`; only of kinds with any.
    pub objects: BTreeMap<String, usize>,
    /// How many objects wait for each finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// What could not be deleted or looked for.
    pub failures: Vec<String>,
}

impl Remaining {
    pub fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

#[derive(Deserialize)]
struct Listed {
    metadata: ListedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMeta {
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    namespace: String,
    deletion_timestamp: Option<Time>,
    #[serde(default, deserialize_with = "or_default")]
    finalizers: Vec<String>,
}

/// Waits before looking again at what waits for others: for agents to end pods, for finalizers of other controllers. A
/// look costs a discovery and a list of every kind, so what has been going for long is looked at less often.
const LOOK_AGAIN_FIRST: Duration = Duration::from_secs(3);
const LOOK_AGAIN_LONGEST: Duration = Duration::from_secs(30);

/// When to look again at what has been going for a time.
pub fn look_again(going_for: Duration) -> Duration {
    (going_for / 4).clamp(LOOK_AGAIN_FIRST, LOOK_AGAIN_LONGEST)
}

/// Deletes all objects of the kinds that can be listed and deleted, and counts those that stay.
pub async fn sweep(
    client: &Client,
    resources: impl Iterator<Item = &DiscoveredResource>,
    namespace: &str,
) -> Remaining {
    let mut remaining = Remaining::default();
    for resource in resources.filter(|r| r.can("list") && r.can("delete")) {
        if let Err(error) = sweep_kind(client, resource, namespace, &mut remaining).await {
            remaining.failures.push(format!("{}: {error}", qualified(resource)));
        }
    }
    remaining
}

async fn sweep_kind(
    client: &Client,
    resource: &DiscoveredResource,
    namespace: &str,
    remaining: &mut Remaining,
) -> Result<()> {
    let list = || async {
        match client.list_as::<Listed>(resource, namespace, &ListParams::default()).await {
            // Discovery is ahead of, or behind, what is served.
            Err(error) if error.is_not_found() || error.reason() == Reason::MethodNotAllowed => Ok(Vec::new()),
            other => other.map(|list| list.items),
        }
    };
    let found = list().await?;
    let to_delete: Vec<&ListedMeta> =
        found.iter().map(|o| &o.metadata).filter(|m| m.deletion_timestamp.is_none()).collect();
    let background = DeleteParams { propagation: Some(Propagation::Background), ..DeleteParams::default() };
    if !to_delete.is_empty() && resource.can("deletecollection") {
        client.delete_collection(resource, namespace, &background, &ListParams::default()).await?;
    } else {
        for object in to_delete {
            let exactly = DeleteParams { uid: Some(object.uid.clone()), ..background.clone() };
            match client.delete(resource, &object.namespace, &object.name, &exactly).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    let left = if found.is_empty() { found } else { list().await? };
    if !left.is_empty() {
        *remaining.objects.entry(qualified(resource)).or_default() += left.len();
    }
    for finalizer in left.into_iter().flat_map(|o| o.metadata.finalizers) {
        *remaining.finalizers.entry(finalizer).or_default() += 1;
    }
    Ok(())
}

/// `plural.group`; the group of core kinds is empty, which leaves the dot.
fn qualified(resource: &DiscoveredResource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_going_for_long_is_looked_at_less_often() {
        let waits = [0, 12, 40, 100_000].map(|secs| look_again(Duration::from_secs(secs)).as_secs());
        assert_eq!(waits, [3, 3, 10, 30]);
    }
}
