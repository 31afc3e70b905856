//! The history of an owner's pod templates, kept in controller revisions: what `kubectl rollout history` lists and
//! `kubectl rollout undo` goes back to.
//!
//! Guarantees that a template has one revision, however often it comes back, and that the newest is the current one's.

use super::owner::{Claim, Owner, Recheck};
use super::template;
use crate::context::{Context, unless_gone};
use crate::informers::orphans_of;
use crate::view::ControllerRevision;
use api::{Error, Result};
use client::{CONTROLLER_REVISIONS, Client, DeleteParams, Index, ObjectRef};
use serde_json::{Value, json};
use std::sync::Arc;

/// The label of pods that tells which revision of a template they are of.
pub const POD_LABEL: &str = "controller-revision-hash";

/// The longest name of an owner that the names of its revisions begin with.
const OWNER_CHARS_MAX: usize = 223;

/// Names that are tried at once where each is another template's.
const COLLISIONS_AT_ONCE_MAX: usize = 10;

/// What the revisions of an object are made from.
pub struct Source<'a> {
    pub owner: Owner<'a>,
    /// The pod template, whole.
    pub template: &'a Value,
    pub collisions: Option<i64>,
    /// The label that holds a revision's hash.
    pub hash_label: &'static str,
}

/// What is to be done so that the newest revision is that of the current template.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It is: the one at this index.
    Keep(usize),
    /// The one at this index is of this template, and gets a new number.
    Raise(usize, i64),
    /// There is none: one is made, with this number.
    Create(i64),
}

/// What makes an object's spec that with this template.
pub fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template of a revision.
pub fn template_of(revision: &ControllerRevision) -> Value {
    let mut template = revision.data["spec"]["template"].clone();
    if let Some(members) = template.as_object_mut() {
        members.remove("$patch");
    }
    template
}

/// The oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    let order = |r: &ControllerRevision| (r.revision, r.metadata.creation_timestamp, r.metadata.name.clone());
    revisions.sort_by_key(|r| order(r));
}

/// Compares sorted revisions with the current template.
pub fn plan(revisions: &[Arc<ControllerRevision>], template: &Value) -> Step {
    let data = data(template);
    let next = revisions.last().map_or(1, |newest| newest.revision.saturating_add(1));
    match revisions.iter().rposition(|r| template::same(&r.data, &data)) {
        None => Step::Create(next),
        Some(index) if index + 1 == revisions.len() => Step::Keep(index),
        Some(index) => Step::Raise(index, next),
    }
}

/// The oldest of those that are not in use, at most so many.
pub fn oldest_unused(
    sorted: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool,
    count: usize,
) -> Vec<Arc<ControllerRevision>> {
    sorted.iter().filter(|r| !in_use(r)).take(count).cloned().collect()
}

/// Adopts and releases, and returns the revisions that are the owner's in the end, the oldest first.
pub async fn claim(
    client: &Client,
    index: &Index<ControllerRevision>,
    key: &ObjectRef,
    owner: &Owner<'_>,
) -> Result<Vec<Arc<ControllerRevision>>> {
    let candidates = index.get(&owner.metadata.uid).into_iter().chain(index.get(&orphans_of(key)));
    let mut recheck = Recheck::new(client, key);
    let mut claimed = Vec::new();
    for (_, revision) in candidates {
        match owner.settle(client, &mut recheck, CONTROLLER_REVISIONS, &revision.metadata).await? {
            Claim::Owned | Claim::Adopt => claimed.push(revision),
            Claim::Release | Claim::None => {}
        }
    }
    sort(&mut claimed);
    Ok(claimed)
}

/// Carries out a plan. Returns the revision of the current template, and how many collisions of names there were.
pub async fn settle(
    context: &Context,
    key: &ObjectRef,
    source: &Source<'_>,
    revisions: &[Arc<ControllerRevision>],
) -> Result<(Arc<ControllerRevision>, i64)> {
    let collisions = source.collisions.unwrap_or(0);
    match plan(revisions, source.template) {
        Step::Keep(index) => Ok((revisions[index].clone(), collisions)),
        Step::Raise(index, number) => {
            let known = &revisions[index];
            let name = known.metadata.key();
            let change = |object: &mut Value| object["revision"] = json!(number);
            let version = &known.metadata.resource_version;
            let raised = context.rewrite(CONTROLLER_REVISIONS, &name, version, None, change).await?;
            Ok((Arc::new(view(raised)?), collisions))
        }
        Step::Create(number) => create(context, key, source, number).await,
    }
}

async fn create(
    context: &Context,
    key: &ObjectRef,
    source: &Source<'_>,
    number: i64,
) -> Result<(Arc<ControllerRevision>, i64)> {
    let client = context.client(key);
    let mut collisions = source.collisions.unwrap_or(0);
    for _ in 0..COLLISIONS_AT_ONCE_MAX {
        let object = new(source, number, collisions);
        let error = match client.create(CONTROLLER_REVISIONS, &key.namespace, &object).await {
            Ok(created) => return Ok((Arc::new(view(created)?), collisions)),
            Err(error) => error,
        };
        if !error.is_already_exists() {
            return Err(error);
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let existing = view(client.get(CONTROLLER_REVISIONS, &key.namespace, name).await?)?;
        if existing.metadata.is_controlled_by(&source.owner.metadata.uid)
            && template::same(&existing.data, &object["data"])
        {
            return Ok((Arc::new(existing), collisions));
        }
        collisions = collisions.saturating_add(1);
    }
    Err(Error::internal("too many revisions share one name"))
}

/// A revision of the current template, to be created.
fn new(source: &Source<'_>, number: i64, collisions: i64) -> Value {
    let data = data(source.template);
    let hash = template::hash(&data, Some(collisions).filter(|c| *c > 0));
    let owner: String = source.owner.metadata.name.chars().take(OWNER_CHARS_MAX).collect();
    let mut labels = source.template["metadata"]["labels"].clone();
    labels[source.hash_label] = json!(hash);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": format!("{owner}-{hash}"),
            "labels": labels,
            "annotations": source.owner.metadata.annotations,
            "ownerReferences": [source.owner.reference()],
        },
        "data": data,
        "revision": number,
    })
}

/// Deletes exactly these revisions.
pub async fn delete(client: &Client, key: &ObjectRef, revisions: &[Arc<ControllerRevision>]) -> Result<()> {
    for revision in revisions {
        let exactly = DeleteParams::of_uid(&revision.metadata.uid);
        unless_gone(client.delete(CONTROLLER_REVISIONS, &key.namespace, &revision.metadata.name, &exactly).await)?;
    }
    Ok(())
}

fn view(object: Value) -> Result<ControllerRevision> {
    serde_json::from_value(object).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Meta;

    fn revision(number: i64, image: &str) -> Arc<ControllerRevision> {
        let data = data(&json!({"spec": {"image": image}}));
        let name = format!("r{number}");
        Arc::new(view(json!({"metadata": {"name": name}, "revision": number, "data": data})).expect("a revision"))
    }

    #[test]
    fn a_template_that_comes_back_gets_a_new_number_and_a_new_one_a_revision() {
        let known = [revision(3, "a"), revision(7, "b")];
        let cases = [("b", Step::Keep(1)), ("a", Step::Raise(0, 8)), ("c", Step::Create(8))];
        for (image, expected) in cases {
            assert_eq!(plan(&known, &json!({"spec": {"image": image}})), expected, "{image}");
        }
        assert_eq!(plan(&[], &json!({})), Step::Create(1));
        assert_eq!(template_of(&known[0]), json!({"spec": {"image": "a"}}));
    }

    #[test]
    fn the_oldest_that_no_one_uses_go_first() {
        let known = [revision(1, "a"), revision(2, "b"), revision(3, "c")];
        let gone = oldest_unused(&known, |r| r.revision == 1, 1);
        assert_eq!(gone.iter().map(|r| r.revision).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_revision_is_named_after_its_owner_and_template() {
        let selector = Default::default();
        let metadata: Meta =
            serde_json::from_value(json!({"name": "web", "uid": "u", "annotations": {"why": "x"}})).expect("metadata");
        let owner = Owner {
            resource: client::STATEFUL_SETS,
            kind: "StatefulSet",
            metadata: &metadata,
            selector: &selector,
            finalizer: None,
        };
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {}});
        let source = Source { owner, template: &template, collisions: None, hash_label: "hash" };
        let (first, other) = (new(&source, 1, 0), new(&source, 1, 1));
        assert_ne!(first["metadata"]["name"], other["metadata"]["name"]);
        let hash = first["metadata"]["labels"]["hash"].as_str().expect("a hash");
        assert_eq!(first["metadata"]["name"], format!("web-{hash}"));
        assert_eq!(first["metadata"]["annotations"], json!({"why": "x"}));
        assert_eq!(first["data"]["spec"]["template"]["$patch"], "replace");
    }
}
