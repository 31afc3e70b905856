//! Fences: a write that names a ControllerInstance and an epoch happens only while that instance is there in that epoch.
//!
//! Whose share of the work was taken by others, because it did not say that it lives, cannot undo what they did since:
//! neither with what it sends late nor with what was on its way. The header can only keep a write from happening, so that
//! everyone may send it.

use crate::registry::Call;
use crate::server::Server;
use api::{Error, Object, ObjectKey, ResourceId, Result, Space};
use http::HeaderMap;
use std::sync::Arc;
use store::{Change, Class, CommitError, Expect, Revise, Write};

/// `NAME/EPOCH` of a ControllerInstance.
pub const HEADER: &str = "ursa-controller-instance";

/// The paths of an instance's epoch in its header.
const EPOCH: &str = "epoch";

/// An instance in an epoch.
#[derive(Debug)]
pub struct Fence {
    key: ObjectKey,
    epoch: String,
}

impl Fence {
    /// What a request's headers ask for. 400 for what is no instance and epoch.
    pub fn of(headers: &HeaderMap) -> Result<Option<Fence>> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        let bad = || Error::bad_request(format!("the header {HEADER} is not of the form NAME/EPOCH"));
        let (name, epoch) = value.to_str().ok().and_then(|text| text.rsplit_once('/')).ok_or_else(bad)?;
        let epoch = epoch.parse::<u64>().map_err(|_| bad())?.to_string();
        let resource = ResourceId::new("", "controllerinstances");
        let key = ObjectKey::new(resource, Space::Cluster, "", name).map_err(|_| bad())?;
        Ok(Some(Fence { key, epoch }))
    }

    /// A write of a transaction that changes nothing, and without which nothing happens.
    fn guard(&self) -> Write {
        let epoch = self.epoch.clone();
        let check = move |instance: &Object| match instance.field(EPOCH) == epoch {
            true => Ok(None),
            false => Err("the instance is in another epoch".to_owned()),
        };
        let change = Change::Revise(Revise::new(check));
        Write { key: self.key.clone(), expect: Expect::Present, change, class: Class::Relaxed }
    }

    fn holds(&self, server: &Server) -> bool {
        server.store.snapshot().get(&self.key).is_some_and(|instance| instance.field(EPOCH) == self.epoch)
    }
}

impl Call<'_> {
    /// Commits the writes of a request. The outer error is for a request that came from an instance whose share of the
    /// work others have by now.
    pub async fn commit(&self, mut writes: Vec<Write>) -> Result<Result<Vec<Arc<Object>>, CommitError>> {
        let Some(fence) = self.fence else { return Ok(self.server.store.commit(writes).await) };
        writes.push(fence.guard());
        let done = self.server.store.commit(writes).await;
        match &done {
            Err(CommitError::Absent | CommitError::Refused(_)) if !fence.holds(self.server) => {
                let (name, epoch) = (&fence.key.name, &fence.epoch);
                let why = format!("it is written by {name} in epoch {epoch}, whose work others do by now");
                Err(Error::conflict(&self.kind.group, &self.kind.plural, self.namespace, &why))
            }
            _ => Ok(done),
        }
    }
}
