//! The one path of every kind: create, read, update, delete and watch, over the store, with no code per kind.
//!
//! What a kind needs beyond this is its [`kinds::Strategy`]: plain functions on values.

mod create;
mod delete;
mod list;
mod update;
mod watch;

pub use create::{class_of, create, random_suffix};
pub use delete::{DeleteOptions, delete, delete_collection};
pub use list::{get, list, object_response, value_response};
pub use update::{Part, check_uid, update};
pub use watch::watch;

use crate::server::Server;
use crate::target::Target;
use api::{Identity, Kind, Object, ObjectKey, Result, Timestamp};
use serde_json::Value;
use std::sync::Arc;

/// What every operation of a request works with.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub server: &'a Server,
    pub identity: &'a Identity,
    pub target: &'a Target,
    pub kind: &'a Arc<Kind>,
    /// Empty for kinds without, and for a list over all namespaces.
    pub namespace: &'a str,
    pub now: Timestamp,
}

impl Call<'_> {
    pub fn key(&self, name: &str) -> Result<ObjectKey> {
        self.target.key(self.kind, self.namespace, name)
    }

    fn not_found(&self, name: &str) -> api::Error {
        api::Error::not_found(&self.kind.group, &self.kind.plural, name)
    }

    /// The current object, or 404.
    pub fn current(&self, name: &str) -> Result<Arc<Object>> {
        let key = self.key(name)?;
        self.server.store.snapshot().get(&key).cloned().ok_or_else(|| self.not_found(name))
    }

    /// A stored object as this request's kind shows it.
    pub fn view(&self, object: &Object) -> Result<Value> {
        let value = object.to_value()?;
        Ok(match self.server.storage_kind(self.kind) {
            Some(storage) => kinds::convert(value, storage, self.kind),
            None => value,
        })
    }

    /// This request's kind of value as it is stored.
    fn stored_form(&self, value: Value) -> Value {
        match self.server.storage_kind(self.kind) {
            Some(storage) => kinds::convert(value, self.kind, storage),
            None => value,
        }
    }

    /// Encodes a value of this request's kind for the store.
    fn encode(&self, key: ObjectKey, value: Value) -> Result<Object> {
        let fields = kinds::Registry::selectable(&key.resource);
        let mut value = self.stored_form(value);
        Object::encode(key, &mut value, fields)
    }
}

/// What a write answers with.
pub enum Written {
    /// Stored as this object. `created` tells 201 from 200.
    Stored { object: Arc<Object>, created: bool },
    /// Not stored: a dry run, or a value that is only answered.
    Unstored { value: Value, created: bool },
}
