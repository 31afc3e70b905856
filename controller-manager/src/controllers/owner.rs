//! Who controls an object: adopting orphans that a selector matches, and releasing what it no longer matches.

use crate::view::{Meta, Selector};
use api::{Error, Reason, Result};
use client::{Client, Names, ObjectRef, PatchType, Resource};
use serde_json::{Value, json};

/// An object that controls others.
pub struct Owner<'a> {
    pub resource: Resource,
    pub kind: &'static str,
    pub metadata: &'a Meta,
    pub selector: &'a Selector,
    /// What keeps an owned object until its owner has counted it.
    pub finalizer: Option<&'static str>,
}

/// What an object is to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Controlled by it, rightly.
    Owned,
    /// Controlled by nobody, and to be.
    Adopt,
    /// Controlled by it, and to be no longer.
    Release,
    /// None of its business.
    None,
}

impl Owner<'_> {
    pub fn claim<A>(&self, object: &Meta<A>) -> Claim {
        let matches = self.selector.matches(&object.labels);
        match object.controller() {
            Some(other) if other.uid != self.metadata.uid => Claim::None,
            Some(_) if matches => Claim::Owned,
            Some(_) if self.metadata.is_deleting() => Claim::None,
            Some(_) => Claim::Release,
            None if self.metadata.is_deleting() || object.is_deleting() || !matches => Claim::None,
            None => Claim::Adopt,
        }
    }

    /// The owner reference that makes this owner the controller of another object.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": self.resource.api_version(),
            "kind": self.kind,
            "name": self.metadata.name,
            "uid": self.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }

    /// Adopts or releases an object where that is due, and tells what it is to the owner then.
    pub async fn settle<A>(
        &self,
        client: &Client,
        recheck: &mut Recheck<'_>,
        resource: Resource,
        object: &Meta<A>,
    ) -> Result<Claim> {
        let claim = self.claim(object);
        let patch = match claim {
            Claim::None | Claim::Owned => return Ok(claim),
            Claim::Release => self.release(object),
            Claim::Adopt => {
                recheck.may_adopt(self).await?;
                self.adoption(object)
            }
        };
        match client.patch(resource, &object.namespace, &object.name, PatchType::Strategic, &patch, None).await {
            Ok(_) => Ok(claim),
            // It is gone meanwhile, or another object has its name.
            Err(error) if error.is_not_found() || matches!(error.reason(), Reason::Conflict | Reason::Invalid) => {
                Ok(Claim::None)
            }
            Err(error) => Err(error),
        }
    }

    /// A strategic merge patch that makes exactly this object an owned one.
    fn adoption<A>(&self, object: &Meta<A>) -> Value {
        let mut patch = json!({"metadata": {"uid": object.uid, "ownerReferences": [self.reference()]}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        patch
    }

    /// A strategic merge patch that lets exactly this object go.
    fn release<A>(&self, object: &Meta<A>) -> Value {
        let reference = json!({"$patch": "delete", "uid": self.metadata.uid});
        let mut patch = json!({"metadata": {"uid": object.uid, "ownerReferences": [reference]}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
        }
        patch
    }
}

/// Looks once, before the first adoption, whether the owner still is there: a cache may not have noticed that it is gone.
pub struct Recheck<'a> {
    client: &'a Client,
    key: &'a ObjectRef,
    passed: bool,
}

impl<'a> Recheck<'a> {
    pub fn new(client: &'a Client, key: &'a ObjectRef) -> Recheck<'a> {
        Recheck { client, key, passed: false }
    }

    async fn may_adopt(&mut self, owner: &Owner<'_>) -> Result<()> {
        if self.passed {
            return Ok(());
        }
        let Resource { group, plural, .. } = owner.resource;
        let live = self.client.get(owner.resource, &self.key.namespace, &self.key.name).await?;
        if live["metadata"]["uid"] != *owner.metadata.uid || !live["metadata"]["deletionTimestamp"].is_null() {
            return Err(Error::conflict(group, plural, &self.key.name, "it is gone or going, and adopts nothing"));
        }
        self.passed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    /// Claims an object for the owner `u1` whose selector is `a=b`.
    fn claim(owner_deleting: bool, object: Value) -> Claim {
        let mut metadata: Meta = from_value(json!({"name": "o", "uid": "u1"})).expect("metadata");
        metadata.deletion_timestamp = owner_deleting.then(Default::default);
        let selector = from_value(json!({"matchLabels": {"a": "b"}})).expect("a selector");
        let owner = Owner {
            resource: client::REPLICA_SETS,
            kind: "ReplicaSet",
            metadata: &metadata,
            selector: &selector,
            finalizer: None,
        };
        owner.claim::<Value>(&from_value(object).expect("an object"))
    }

    #[test]
    fn an_owner_takes_orphans_that_match_and_lets_go_what_does_not() {
        let own = json!([{"uid": "u1", "controller": true}]);
        let foreign = json!([{"uid": "u2", "controller": true}]);
        let uncontrolled = json!([{"uid": "u2"}]);
        let matching = json!({"a": "b"});
        let cases = [
            (json!({"labels": matching, "ownerReferences": own}), Claim::Owned, Claim::Owned),
            (json!({"ownerReferences": own}), Claim::Release, Claim::None),
            (json!({"labels": matching, "ownerReferences": foreign}), Claim::None, Claim::None),
            (json!({"labels": matching, "ownerReferences": uncontrolled}), Claim::Adopt, Claim::None),
            (json!({"labels": matching}), Claim::Adopt, Claim::None),
            (json!({"labels": matching, "deletionTimestamp": "2026-01-01T00:00:00Z"}), Claim::None, Claim::None),
            (json!({"labels": {"a": "c"}}), Claim::None, Claim::None),
        ];
        for (object, living, deleting) in cases {
            assert_eq!(claim(false, object.clone()), living, "{object}");
            assert_eq!(claim(true, object.clone()), deleting, "owner being deleted: {object}");
        }
    }
}
