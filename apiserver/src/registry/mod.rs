//! The one path of every kind: create, read, update, delete and watch, over the store, with no code per kind.
//!
//! What a kind needs beyond this is its [`kinds::Strategy`]: plain functions on values.

mod create;
mod delete;
mod list;
mod managers;
mod update;
mod watch;

pub use create::{class_of, commit_error, create, random_suffix};
pub use delete::{DeleteOptions, check_preconditions, delete, delete_collection};
pub use list::{get, list, object_response, value_response};
pub use managers::{Changed, Managers, apply, of_unstored, show as show_managers, subresource};
pub use update::{Part, check_uid, update};
pub use watch::watch;

use crate::custom::Custom;
use crate::fence::Fence;
use crate::projection::Projection;
use crate::server::Server;
use crate::target::Target;
use api::{Error, Identity, Kind, Object, ObjectKey, Result, Timestamp};
use serde_json::Value;
use std::borrow::Borrow;
use std::sync::Arc;

/// What every operation of a request works with.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub server: &'a Server,
    pub identity: &'a Identity,
    pub target: &'a Target,
    pub kind: &'a Arc<Kind>,
    /// The definition that the kind comes from, if it is the tenant's own.
    pub custom: Option<&'a Custom>,
    /// Empty for kinds without, and for a list over all namespaces.
    pub namespace: &'a str,
    /// Whose work a write is, where the caller says so.
    pub fence: Option<&'a Fence>,
    pub now: Timestamp,
}

impl Call<'_> {
    pub fn key(&self, name: &str) -> Result<ObjectKey> {
        self.target.key(self.kind, self.namespace, name)
    }

    fn not_found(&self, name: &str) -> api::Error {
        // Of what is not kept, upstream says the singular.
        let shown = if self.kind.allows(api::Verb::Watch) { &self.kind.plural } else { &self.kind.singular };
        api::Error::not_found(&self.kind.group, shown, name)
    }

    /// The object under a key: the tenant's own, or what all tenants share.
    fn find(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        let stored = self.server.store.snapshot().get(key).cloned();
        #[cfg(test)]
        let stored = stored.or_else(|| crate::planted::lookup(self.server, key));
        let shown = |object: &Arc<Object>| self.projection().is_none_or(|projection| projection.covers(object));
        stored.filter(shown).or_else(|| crate::shared::object(self.server, key))
    }

    /// The current object, or 404.
    pub fn current(&self, name: &str) -> Result<Arc<Object>> {
        let key = self.key(name)?;
        let found = self.find(&key).ok_or_else(|| self.not_found(name));
        #[cfg(test)]
        let found = found.map_err(|error| crate::planted::not_found(self.server, self.kind, error));
        found
    }

    /// How the caller is shown objects of this kind, if not as they are.
    pub fn projection(&self) -> Option<Projection> {
        Projection::of(self.kind, self.identity)
    }

    /// A stored object as this request's kind shows it.
    pub fn view(&self, object: &Object) -> Result<Value> {
        if let Some(custom) = self.custom {
            return custom.view(object);
        }
        let value = object.to_value()?;
        if let Some(projection) = self.projection() {
            return Ok(projection.shown(&value));
        }
        Ok(match self.server.storage_kind(self.kind) {
            Some(storage) => kinds::convert(value, storage, self.kind),
            None => value,
        })
    }

    /// Whether a stored object's bytes are what this request's kind shows.
    pub fn shows_stored(&self, object: &Object) -> bool {
        self.shows_all_stored(std::slice::from_ref(object))
    }

    /// [`Call::shows_stored`] of every one of some objects. Those of a built-in kind are alike, and asked about once.
    pub fn shows_all_stored(&self, objects: &[impl Borrow<Object>]) -> bool {
        match self.custom {
            Some(custom) => objects.iter().all(|object| custom.shows_stored(object.borrow())),
            None => self.server.storage_kind(self.kind).is_none() && self.projection().is_none(),
        }
    }

    /// Fills in defaults.
    pub fn default(&self, value: &mut Value) {
        match self.custom {
            Some(custom) => custom.version.default(value),
            None => self.server.default(self.kind, value),
        }
    }

    /// The Scale of an object; 404 for kinds that have none.
    pub fn scale(&self, object: &Value) -> Result<Value> {
        match self.custom {
            Some(custom) => custom.version.scale.as_ref().ok_or_else(Error::no_such_path)?.of(object),
            None => kinds::scale::scale_of(self.kind, object).ok_or_else(Error::no_such_path),
        }
    }

    /// The Scale that a change of it starts from.
    pub fn scale_to_change(&self, object: &Value) -> Result<Value> {
        match self.custom {
            Some(custom) => custom.version.scale.as_ref().ok_or_else(Error::no_such_path)?.to_change(object),
            None => self.scale(object),
        }
    }

    /// Takes the number of replicas from a Scale.
    pub fn set_scale(&self, object: &mut Value, scale: &Value) -> Result<()> {
        match self.custom {
            Some(custom) => custom.version.scale.as_ref().ok_or_else(Error::no_such_path)?.set(object, scale),
            None => {
                kinds::scale::set_scale(self.kind, object, scale);
                Ok(())
            }
        }
    }

    /// A stored object without its managers, and those as text.
    fn managed_view<'o>(&self, object: &'o Object) -> Result<(Value, &'o str)> {
        let (value, managed) = object.to_managed_value()?;
        if let Some(custom) = self.custom {
            return Ok((custom.view_of(object, value)?, managed));
        }
        let value = match self.server.storage_kind(self.kind) {
            Some(storage) => kinds::convert(value, storage, self.kind),
            None => value,
        };
        Ok((value, managed))
    }

    /// Makes stored objects ready to be viewed, where that takes a webhook.
    pub async fn ready(&self, objects: &[Arc<Object>]) -> Result<()> {
        match self.custom {
            Some(custom) => custom.ready(objects).await,
            None => Ok(()),
        }
    }

    /// This request's kind of value as it is stored.
    async fn stored_form(&self, value: Value) -> Result<Value> {
        if let Some(custom) = self.custom {
            return custom.to_stored(value).await;
        }
        Ok(match self.server.storage_kind(self.kind) {
            Some(storage) => kinds::convert(value, self.kind, storage),
            None => value,
        })
    }

    /// Encodes a value of this request's kind, which is without its managers, for the store.
    async fn encode(&self, key: ObjectKey, value: Value, managed: &str) -> Result<Object> {
        let fields = kinds::Registry::selectable(&key.resource);
        let mut value = self.stored_form(value).await?;
        Object::encode_managed(key, &mut value, managed, fields)
    }
}

/// An object before a change, without its managers, and those as text. Null where there is none.
#[derive(Clone, Copy)]
pub struct Live<'a> {
    pub value: &'a Value,
    pub managed: &'a str,
}

impl Live<'_> {
    /// The whole object.
    pub fn whole(&self) -> Value {
        let mut value = self.value.clone();
        managers::show(&mut value, self.managed);
        value
    }
}

/// What a write answers with.
pub enum Written {
    /// Stored as this object. `created` tells 201 from 200.
    Stored { object: Arc<Object>, created: bool },
    /// Not stored: a dry run, or a value that is only answered.
    Unstored { value: Value, created: bool },
}
