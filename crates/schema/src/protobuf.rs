//! Kubernetes' protobuf encoding, read into JSON values and written from them: what stock clients send for built-in kinds
//! and like to be answered.
//!
//! An object comes in an envelope: four magic bytes and a message with its type and its encoding. The numbers of fields
//! are one table (`protobuf/fields.txt`), a message per line; types are those of the schemas. A name with `@` is a
//! message whose fields stand among those of the one that holds it.
//! Invariant: no input makes this panic or allocate more than a multiple of its own size.

use crate::definitions::{Definition, Definitions, Field, Schema};
use crate::json::{MAX_DEPTH, measure};
use crate::{additions, unpublished};
use api::{Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

mod encode;

pub use encode::{encode, envelope, knows, list, message, watch_frame};

const MAGIC: &[u8; 4] = b"k8s\0";

/// Messages may nest this deep; JSONSchemaProps nests without end.
const DEPTH_MAX: usize = 100;

/// Numbers from here on are of Ursa's fields in upstream's messages: far from upstream's own, so that none will ever mean
/// something else. Such fields are written only where they have a value.
const URSA_NUMBERS: u32 = 1000;

/// Messages and fields that only Ursa has.
static URSA: &str = "\
io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta 1001:tenant 1002:hashKey
io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference 1002:hashKey
io.k8s.api.core.v1.ObjectReference 1001:tenant
io.k8s.api.core.v1.ControllerInstance 1:metadata 2:controllerType 3:controllerKey 4:workloadNum 5:isLocked \
6:controllers 7:epoch 8:slots 9:renewTime 10:leaseDurationSeconds
io.k8s.api.core.v1.ControllerInstanceList 1:metadata 2:items
io.k8s.api.core.v1.ControllerSlots 1:controller 2:instance 3:slots
io.k8s.api.core.v1.DataPartitionConfig 1:metadata 2:rangeStart 3:isRangeStartValid 4:rangeEnd 5:isRangeEndValid \
6:serviceGroupId
io.k8s.api.core.v1.DataPartitionConfigList 1:metadata 2:items
io.k8s.api.core.v1.StorageCluster 1:metadata 2:storageClusterId 3:serviceAddress 4:tlsSecretName
io.k8s.api.core.v1.StorageClusterList 1:metadata 2:items
io.k8s.api.core.v1.Tenant 1:metadata 2:spec 3:status
io.k8s.api.core.v1.TenantList 1:metadata 2:items
io.k8s.api.core.v1.TenantSpec 1:storageClusterId 2:finalizers 3:suspended 4:quota 8:scheduling 9:issuers
io.k8s.api.core.v1.TenantIssuer 1:url 2:audiences 3:jwks 4:usernameClaim 5:usernamePrefix 6:groupsClaim 7:groupsPrefix \
8:requiredClaims
io.k8s.api.core.v1.TenantScheduling 1:weight 2:priority 3:guaranteed 4:maximum 5:preempts
io.k8s.api.core.v1.TenantMove 1:from 2:to 3:holder 4:renewTime
io.k8s.api.core.v1.TenantStatus 1:phase 2:conditions 3:used 4:remaining 5:storageClusterId 6:move
";

/// Numbers and JSON names of the fields of each message, by number.
static MESSAGES: LazyLock<HashMap<String, Vec<(u32, &str)>>> = LazyLock::new(|| {
    let mut messages: HashMap<String, Vec<(u32, &str)>> = HashMap::new();
    for line in include_str!("protobuf/fields.txt").lines().chain(URSA.lines()) {
        let (name, fields) = line.split_once(' ').expect("a message has fields");
        let field = |field: &'static str| {
            let (number, name) = field.split_once(':').expect("a field has a number");
            (number.parse().expect("a field's number is a number"), name)
        };
        messages.entry(name.to_owned()).or_default().extend(fields.split(' ').map(field));
    }
    for message in unpublished::table().into_iter().chain(additions::table()) {
        messages.entry(message.name.clone()).or_default().extend(message.numbers());
    }
    messages
});

/// Reads an object in its envelope. 400 for what is none, and for types that the schemas do not hold.
pub fn decode(definitions: &Definitions, bytes: &[u8]) -> Result<Value> {
    let bad = |why: &str| Error::bad_request(format!("the protobuf object is malformed: {why}"));
    let envelope = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("it does not start with the magic bytes"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field.map_err(|e| bad(&e))? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field.map_err(|e| bad(&e))? {
                        (1, wire) => api_version = text(&wire).map_err(|e| bad(&e))?,
                        (2, wire) => kind = text(&wire).map_err(|e| bad(&e))?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let definition = definitions.of_kind(group, version, &kind);
    let definition = definition.ok_or_else(|| bad(&format!("there is no kind {kind:?} in version {api_version:?}")))?;
    let mut object = Map::new();
    Decoder { definitions }.message(definition, definition.name(), raw, &mut object, 0).map_err(|e| bad(&e))?;
    object.insert("apiVersion".into(), json!(api_version));
    object.insert("kind".into(), json!(kind));
    let object = Value::Object(object);
    // Raw JSON in a message may nest as deep as a whole body.
    if measure(&object).0 > MAX_DEPTH { Err(bad("exceeded max depth")) } else { Ok(object) }
}

struct Decoder<'a> {
    definitions: &'a Definitions,
}

impl Decoder<'_> {
    /// Reads the fields of the message `name` into the object whose fields `definition` describes.
    fn message(
        &self,
        definition: &Definition,
        name: &str,
        bytes: &[u8],
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("it is nested too deeply".into());
        }
        let Some(numbers) = MESSAGES.get(name) else { return Ok(()) };
        for field in Fields(bytes) {
            let (number, wire) = field?;
            let Some((_, json_name)) = numbers.iter().find(|(n, _)| *n == number) else { continue };
            if let Some(inline) = json_name.strip_prefix('@') {
                let package = name.rsplit_once('.').map_or("", |(package, _)| package);
                let inner = format!("{package}.{inline}");
                self.message(definition, &inner, bytes_of(&wire)?, object, depth + 1)?;
            } else if let Some(field) = definition.field(json_name) {
                self.field(field, &wire, object, depth)?;
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, wire: &Wire, object: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
        let name = &*field.name;
        match &field.schema {
            Schema::List(item) => {
                let list = object.entry(name).or_insert_with(|| json!([]));
                let list = list.as_array_mut().ok_or("a field is a list and is not")?;
                match (&**item, wire) {
                    // Numbers may come packed.
                    (Schema::Int32 | Schema::Int64, Wire::Bytes(packed)) => {
                        let mut rest = *packed;
                        while !rest.is_empty() {
                            list.push(json!(varint(&mut rest)?.cast_signed()));
                        }
                    }
                    _ => list.push(self.value(item, wire, depth)?),
                }
            }
            Schema::Map(item) => {
                let (key, value) = self.entry(item, bytes_of(wire)?, depth)?;
                let map = object.entry(name).or_insert_with(|| json!({}));
                map.as_object_mut().ok_or("a field is a map and is not")?.insert(key, value);
            }
            schema => {
                let value = self.value(schema, wire, depth)?;
                // Go's encoder writes zeros of fields that are no pointers; in JSON they are not there.
                if field.pointer || !is_zero(&value) {
                    object.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn entry(&self, item: &Schema, bytes: &[u8], depth: usize) -> Result<(String, Value), String> {
        let (mut key, mut value) = (String::new(), None);
        for field in Fields(bytes) {
            match field? {
                (1, wire) => key = text(&wire)?,
                (2, wire) => value = Some(self.value(item, &wire, depth)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| json!(""))))
    }

    fn value(&self, schema: &Schema, wire: &Wire, depth: usize) -> Result<Value, String> {
        Ok(match schema {
            Schema::Bool => json!(number(wire)? != 0),
            Schema::Int32 | Schema::Int64 => json!(number(wire)?.cast_signed()),
            Schema::Number => match wire {
                Wire::Fixed64(bits) => Number::from_f64(f64::from_bits(*bits)).map_or(Value::Null, Value::Number),
                _ => json!(number(wire)?),
            },
            Schema::String => json!(text(wire)?),
            Schema::Bytes => json!(STANDARD.encode(bytes_of(wire)?)),
            Schema::Time => time(bytes_of(wire)?, |time| time.to_string())?,
            Schema::MicroTime => time(bytes_of(wire)?, Timestamp::to_micro_string)?,
            Schema::Quantity => {
                member(bytes_of(wire)?, 1)?.map_or(Ok(json!("")), |wire| text(&wire).map(Value::from))?
            }
            Schema::IntOrString => int_or_string(bytes_of(wire)?)?,
            Schema::Any => raw_json(bytes_of(wire)?)?,
            Schema::Object(id) => {
                let definition = self.definitions.at(*id);
                let mut object = Map::new();
                self.message(definition, definition.name(), bytes_of(wire)?, &mut object, depth + 1)?;
                Value::Object(object)
            }
            // A list in a map or a list: a message whose first field repeats.
            Schema::List(item) => {
                let mut list = Vec::new();
                for field in Fields(bytes_of(wire)?) {
                    if let (1, wire) = field? {
                        list.push(self.value(item, &wire, depth + 1)?);
                    }
                }
                Value::Array(list)
            }
            Schema::Map(item) => {
                let (key, value) = self.entry(item, bytes_of(wire)?, depth + 1)?;
                json!({key: value})
            }
            Schema::OrBool(item) => {
                let bytes = bytes_of(wire)?;
                match (member(bytes, 2)?, member(bytes, 1)?) {
                    (Some(schema), _) => self.value(item, &schema, depth + 1)?,
                    (None, Some(allows)) => json!(number(&allows)? != 0),
                    (None, None) => json!(false),
                }
            }
            Schema::OrList(listed, alone) => {
                let (mut list, mut single) = (Vec::new(), None);
                for field in Fields(bytes_of(wire)?) {
                    match field? {
                        (1, wire) => single = Some(self.value(alone, &wire, depth + 1)?),
                        (2, wire) => list.push(self.value(listed, &wire, depth + 1)?),
                        _ => {}
                    }
                }
                single.unwrap_or(Value::Array(list))
            }
        })
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Seconds and nanoseconds; an empty message is no time.
fn time(bytes: &[u8], print: impl Fn(Timestamp) -> String) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let part = |n| -> Result<i64, String> {
        Ok(member(bytes, n)?.map(|w| number(&w)).transpose()?.unwrap_or(0).cast_signed())
    };
    let nanos = u32::try_from(part(2)?).map_err(|_| "a time has no nanoseconds")?;
    let time = Timestamp::from_unix_secs(part(1)?).plus(Duration::from_nanos(nanos.into()));
    Ok(json!(print(time)))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let kind = member(bytes, 1)?.map(|wire| number(&wire)).transpose()?.unwrap_or(0);
    if kind == 1 {
        return Ok(json!(member(bytes, 3)?.map(|wire| text(&wire)).transpose()?.unwrap_or_default()));
    }
    Ok(json!(member(bytes, 2)?.map(|wire| number(&wire)).transpose()?.unwrap_or(0).cast_signed()))
}

/// JSON as bytes in a message's first field: raw extensions, managed fields, defaults in schemas.
fn raw_json(bytes: &[u8]) -> Result<Value, String> {
    match member(bytes, 1)? {
        Some(Wire::Bytes(json)) if !json.is_empty() => crate::decode_json(json, crate::FieldValidation::Ignore)
            .map(|document| document.value)
            .map_err(|e| e.message().to_owned()),
        _ => Ok(json!({})),
    }
}

/// The last field of that number.
fn member(bytes: &[u8], wanted: u32) -> Result<Option<Wire<'_>>, String> {
    let mut found = None;
    for field in Fields(bytes) {
        let (number, wire) = field?;
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}

/// A field's value as it is on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

fn number(wire: &Wire) -> Result<u64, String> {
    match wire {
        Wire::Varint(value) | Wire::Fixed64(value) => Ok(*value),
        Wire::Fixed32(value) => Ok(u64::from(*value)),
        Wire::Bytes(_) => Err("a number is not a number".into()),
    }
}

fn bytes_of<'a>(wire: &Wire<'a>) -> Result<&'a [u8], String> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_) => Err("a message is a number".into()),
    }
}

fn text(wire: &Wire) -> Result<String, String> {
    let bytes = bytes_of(wire)?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text is not UTF-8".into())
}

/// The fields of a message in the order of the wire.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Wire<'a>), String> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field's number is too large")?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.0)?),
            1 => Wire::Fixed64(u64::from_le_bytes(take(&mut self.0, 8)?.try_into().map_err(|_| "it is cut off")?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| "a length is too large")?;
                Wire::Bytes(take(&mut self.0, length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(take(&mut self.0, 4)?.try_into().map_err(|_| "it is cut off")?)),
            _ => return Err("a field is of no known type".into()),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (head, rest) = bytes.split_at_checked(length).ok_or("it is cut off")?;
    *bytes = rest;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it is cut off")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".into())
}

#[cfg(test)]
mod tests;
