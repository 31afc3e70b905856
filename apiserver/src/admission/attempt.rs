//! A write on its way through admission: what is written, how, by whom, and what is there.

use crate::options::WriteOptions;
use crate::registry::{Call, DeleteOptions, Part};
use api::{Error, Object, ResourceId, Result, Space};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a request does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// The options of a request.
#[derive(Clone, Copy)]
pub enum Options<'a> {
    Write(&'a WriteOptions),
    Delete(&'a DeleteOptions),
    /// A connection has none.
    None,
}

impl Options<'_> {
    pub fn dry_run(self) -> bool {
        match self {
            Options::Write(options) => options.dry_run,
            Options::Delete(options) => options.dry_run,
            Options::None => false,
        }
    }

    /// The options as webhooks are told of them.
    pub fn value(self, operation: Operation) -> Value {
        let mut value = match self {
            Options::Delete(options) => options.to_value(),
            Options::Write(options) => {
                let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
                let mut value = json!({"kind": kind});
                let (manager, validation) = &options.named;
                for (field, given) in [("fieldManager", manager), ("fieldValidation", validation)] {
                    if !given.is_empty() {
                        value[field] = json!(given);
                    }
                }
                value
            }
            Options::None => return Value::Null,
        };
        value["apiVersion"] = json!("meta.k8s.io/v1");
        if self.dry_run() {
            value["dryRun"] = json!(["All"]);
        }
        value
    }
}

/// A write on its way.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub call: Call<'a>,
    pub part: Part,
    pub operation: Operation,
    pub options: Options<'a>,
    /// The stored object on an update or a delete, without its managers.
    pub old: Option<&'a Value>,
    /// The name in the request's path; empty where the object says it.
    pub named: &'a str,
    /// The managers of the new object and of the old one, as text.
    pub managers: (&'a str, &'a str),
}

impl<'a> Attempt<'a> {
    pub fn create(call: Call<'a>, options: &'a WriteOptions, managers: &'a str) -> Attempt<'a> {
        let options = Options::Write(options);
        let managers = (managers, "");
        Attempt { call, part: Part::Object, operation: Operation::Create, options, old: None, named: "", managers }
    }

    pub fn update(
        call: Call<'a>,
        part: Part,
        options: &'a WriteOptions,
        old: &'a Value,
        managers: (&'a str, &'a str),
    ) -> Attempt<'a> {
        let options = Options::Write(options);
        Attempt { call, part, operation: Operation::Update, options, old: Some(old), named: "", managers }
    }

    pub fn delete(call: Call<'a>, options: &'a DeleteOptions, old: &'a Value) -> Attempt<'a> {
        let options = Options::Delete(options);
        let managers = ("", "");
        Attempt { call, part: Part::Object, operation: Operation::Delete, options, old: Some(old), named: "", managers }
    }

    /// What is sent to a subresource and not stored itself: a binding, an eviction.
    pub fn create_in(
        call: Call<'a>,
        named: &'a str,
        subresource: &'static str,
        options: &'a WriteOptions,
    ) -> Attempt<'a> {
        let options = Options::Write(options);
        let (part, operation) = (Part::Own(subresource), Operation::Create);
        Attempt { call, part, operation, options, old: None, named, managers: ("", "") }
    }

    /// A stream or a proxied request.
    pub fn connect(call: Call<'a>, named: &'a str, subresource: &'static str) -> Attempt<'a> {
        let (part, operation) = (Part::Own(subresource), Operation::Connect);
        Attempt { call, part, operation, options: Options::None, old: None, named, managers: ("", "") }
    }

    /// The subresource that the write goes through; empty for the object itself.
    pub fn subresource(&self) -> &'static str {
        crate::registry::subresource(self.part)
    }

    /// Whether the tenant's own policies and webhooks have a say: not in what the server makes of what they were asked about,
    /// as the pod that a binding changes.
    pub fn is_asked_about(&self) -> bool {
        !matches!(self.part, Part::Own(name) if name != "finalize" && self.operation == Operation::Update)
    }

    /// The namespace of what is written; a namespace is its own.
    pub fn namespace<'o>(&'o self, object: Option<&'o Value>) -> &'o str {
        if self.is("", "namespaces") { self.name(object) } else { self.call.namespace }
    }

    /// The name of what is written.
    pub fn name<'o>(&'o self, object: Option<&'o Value>) -> &'o str {
        if !self.named.is_empty() {
            return self.named;
        }
        let named = object.or(self.old).and_then(|object| object["metadata"]["name"].as_str());
        named.unwrap_or_default()
    }

    pub(super) fn is(&self, group: &str, plural: &str) -> bool {
        self.call.kind.group == group && self.call.kind.plural == plural
    }

    /// Whether a new object of this kind is created.
    pub(super) fn creates(&self, group: &str, plural: &str) -> bool {
        self.old.is_none() && self.is(group, plural)
    }

    /// Whether an object of this kind itself is updated, not its status or another subresource.
    pub(super) fn updates(&self, group: &str, plural: &str) -> bool {
        self.old.is_some() && self.part == Part::Object && self.is(group, plural)
    }

    /// 403 of the object that is written.
    pub(super) fn forbidden(&self, object: &Value, why: &str) -> Error {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Error::forbidden(&self.call.kind.group, &self.call.kind.plural, name, why)
    }

    /// An object of the request's tenant.
    pub(super) fn stored(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let key = self.call.target.key_of(resource, namespace, name).ok()?;
        let stored = self.call.server.store.snapshot().get(&key).cloned();
        stored.or_else(|| crate::shared::object(self.call.server, &key))
    }

    /// The objects of a resource in one namespace of the request's tenant; an empty one stands for those without.
    pub(super) fn stored_in(&self, resource: ResourceId, namespace: &str) -> Result<Vec<Arc<Object>>> {
        let Space::Tenant(tenant) = self.call.target.space(self.call.kind)? else { return Ok(Vec::new()) };
        let snapshot = self.call.server.store.snapshot();
        let lent = crate::shared::lent_to(self.call.server, &snapshot, &resource, &tenant);
        let scope = store::Scope::Namespace(resource, tenant, namespace.into());
        Ok(snapshot.range(&scope, None).cloned().chain(lent).collect())
    }
}
