//! What webhooks see of an object, and what is taken from what they made of it.

use super::Attempt;
use crate::registry::{self, Part};
use api::{Error, Kind, Result};
use schema::{Expected, FieldValidation};
use serde_json::Value;

/// The object of a write in the view of a webhook.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub attempt: Attempt<'a>,
    /// The version of the kind that the webhook's rules name.
    pub seen_as: &'a Kind,
}

impl Subject<'_> {
    /// The new and the old object as the webhook sees them.
    pub async fn shown(&self, new: Option<&Value>) -> Result<(Option<Value>, Option<Value>)> {
        let (managers, old_managers) = self.attempt.managers;
        let new = match new {
            Some(new) => Some(self.one(new, managers).await?),
            None => None,
        };
        let old = match self.attempt.old {
            Some(old) => Some(self.one(old, old_managers).await?),
            None => None,
        };
        Ok((new, old))
    }

    async fn one(&self, object: &Value, managers: &str) -> Result<Value> {
        let call = self.attempt.call;
        match self.attempt.part {
            Part::Scale => return call.scale(object),
            // What is sent there is of a type of its own.
            Part::Own(name) if name != "finalize" => return Ok(object.clone()),
            Part::Object | Part::Status | Part::Subresource(_) | Part::Own(_) => {}
        }
        let mut shown = object.clone();
        registry::show_managers(&mut shown, managers);
        if *self.seen_as == **call.kind {
            return Ok(shown);
        }
        match call.custom {
            Some(custom) => {
                let definition = &custom.compiled.definition;
                let version = definition.version(&self.seen_as.api_version());
                custom.convert(shown, version.ok_or_else(Error::no_such_path)?).await
            }
            None => Ok(kinds::convert(shown, call.kind, self.seen_as)),
        }
    }

    /// What the webhook made of the object, as this request's kind has it: what the schema does not know is left out, and what
    /// the server alone decides stays as it was in `before`.
    pub async fn taken(&self, made: Value, before: &Value) -> Result<Value> {
        let call = self.attempt.call;
        if self.attempt.part == Part::Scale {
            let mut scaled = before.clone();
            call.set_scale(&mut scaled, &made)?;
            return Ok(scaled);
        }
        let mut made = match call.custom {
            _ if *self.seen_as == **call.kind => made,
            Some(custom) => custom.convert(made, &custom.version).await?,
            None => kinds::convert(made, self.seen_as, call.kind),
        };
        for field in ["apiVersion", "kind"] {
            if made[field] != before[field] {
                let why = format!("a webhook may not change {field}");
                return Err(Error::bad_request(why));
            }
        }
        let metadata = made["metadata"].as_object_mut();
        let metadata = metadata.ok_or_else(|| Error::bad_request("a webhook may not remove the metadata"))?;
        metadata.remove("managedFields");
        for field in OURS {
            match &before["metadata"][field] {
                Value::Null => drop(metadata.remove(field)),
                held => drop(metadata.insert(field.to_owned(), held.clone())),
            }
        }
        let kind = call.kind;
        let mut made = match call.custom {
            Some(custom) => {
                custom.version.decode(&mut made, FieldValidation::Ignore)?;
                made
            }
            None => {
                let expected = Expected { group: &kind.group, version: &kind.version, kind: &kind.kind };
                schema::decode_value(schema::builtin(), expected, made, FieldValidation::Ignore)?.value
            }
        };
        call.default(&mut made);
        Ok(made)
    }
}

/// What no webhook changes.
const OURS: [&str; 9] = [
    "name",
    "namespace",
    "tenant",
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];
