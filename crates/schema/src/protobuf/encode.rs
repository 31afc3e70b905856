//! JSON values written in Kubernetes' protobuf encoding, as the Go types would write them: fields that are no pointers are
//! there also when they are empty, maps are sorted by key.
//!
//! Messages are written from their end to their start, so that a length is known when its place comes.

use super::{MAGIC, MESSAGES, URSA_NUMBERS};
use crate::definitions::{Absent, Definition, Definitions, Field, Schema};
use api::{Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

const LENGTH_DELIMITED: u8 = 2;

/// The encoding and the content type that an envelope names: none.
const ENVELOPE_END: &[u8] = &[0x1a, 0, 0x22, 0];

/// Whether objects of the kind have a protobuf encoding. Custom resources have none.
pub fn knows(definitions: &Definitions, group: &str, version: &str, kind: &str) -> bool {
    definitions.of_kind(group, version, kind).is_some_and(|definition| MESSAGES.contains_key(definition.name()))
}

/// An object in its envelope, of the type that it names.
pub fn encode(definitions: &Definitions, object: &Value) -> Result<Vec<u8>> {
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let raw = message(definitions, group, version, kind, object)?;
    Ok(envelope(api_version, kind, &raw))
}

/// An object without its envelope, as it stands in a list: of the type that is given, whatever it says.
pub fn message(definitions: &Definitions, group: &str, version: &str, kind: &str, object: &Value) -> Result<Vec<u8>> {
    let wrong = |why: String| Error::internal(format!("a {kind} has no protobuf encoding: {why}"));
    let definition = definitions.of_kind(group, version, kind).ok_or_else(|| wrong("its kind is unknown".into()))?;
    let mut out = Backwards::default();
    let encoder = Encoder { definitions };
    encoder.message(definition, definition.name(), object.as_object(), &mut out).map_err(wrong)?;
    Ok(out.finish())
}

/// Puts an encoded object into its envelope.
pub fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut head = Backwards::default();
    head.head(2, raw.len());
    head.type_meta(api_version, kind);
    let mut out = head.finish();
    out.reserve_exact(raw.len() + ENVELOPE_END.len());
    out.extend_from_slice(raw);
    out.extend_from_slice(ENVELOPE_END);
    out
}

/// A list in its envelope, made of the encodings of its items; `metadata` is its ListMeta.
pub fn list<T: AsRef<[u8]>>(
    definitions: &Definitions,
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: &[T],
) -> Result<Vec<u8>> {
    let metadata = list_meta(definitions, metadata)?;
    let heads: Vec<Vec<u8>> = items.iter().map(|item| head(2, item.as_ref().len())).collect();
    let items_length: usize = items.iter().zip(&heads).map(|(item, head)| item.as_ref().len() + head.len()).sum();
    let metadata_head = head(1, metadata.len());
    let mut start = Backwards::default();
    start.head(2, metadata_head.len() + metadata.len() + items_length);
    start.type_meta(api_version, kind);
    let mut out = start.finish();
    out.reserve_exact(metadata_head.len() + metadata.len() + items_length + ENVELOPE_END.len());
    out.extend_from_slice(&metadata_head);
    out.extend_from_slice(&metadata);
    for (item, head) in items.iter().zip(&heads) {
        out.extend_from_slice(head);
        out.extend_from_slice(item.as_ref());
    }
    out.extend_from_slice(ENVELOPE_END);
    Ok(out)
}

fn list_meta(definitions: &Definitions, metadata: &Value) -> Result<Vec<u8>> {
    const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    let mut out = Backwards::default();
    let definition = definitions.get(LIST_META).expect("every list refers to it");
    Encoder { definitions }.message(definition, LIST_META, metadata.as_object(), &mut out).map_err(Error::internal)?;
    Ok(out.finish())
}

/// A frame of a watch: its length in four bytes, and the event, which holds an object in its envelope.
pub fn watch_frame(event: &str, enveloped: &[u8]) -> Vec<u8> {
    let mut out = Backwards::default();
    out.nested(2, |out| out.field(1, enveloped));
    out.field(1, event.as_bytes());
    let length = u32::try_from(out.0.len()).unwrap_or(u32::MAX);
    out.bytes(&length.to_be_bytes());
    out.finish()
}

/// What stands before a length-delimited field.
fn head(number: u32, length: usize) -> Vec<u8> {
    let mut out = Backwards::default();
    out.head(number, length);
    out.0.reverse();
    out.0
}

/// A message, its last byte first.
#[derive(Default)]
struct Backwards(Vec<u8>);

impl Backwards {
    fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().rev());
    }

    fn varint(&mut self, mut value: u64) {
        let (mut encoded, mut length) = ([0u8; 10], 0);
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or(0);
            value >>= 7;
            encoded[length] = if value == 0 { low } else { low | 0x80 };
            length += 1;
            if value == 0 {
                break;
            }
        }
        self.bytes(&encoded[..length]);
    }

    fn tag(&mut self, number: u32, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    fn head(&mut self, number: u32, length: usize) {
        self.varint(length as u64);
        self.tag(number, LENGTH_DELIMITED);
    }

    fn field(&mut self, number: u32, bytes: &[u8]) {
        self.bytes(bytes);
        self.head(number, bytes.len());
    }

    fn integer(&mut self, number: u32, value: i64) {
        self.varint(value.cast_unsigned());
        self.tag(number, 0);
    }

    /// Writes a message as a field.
    fn nested<R>(&mut self, number: u32, write: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.0.len();
        let result = write(self);
        self.head(number, self.0.len() - before);
        result
    }

    /// The start of an envelope.
    fn type_meta(&mut self, api_version: &str, kind: &str) {
        self.nested(1, |out| {
            out.field(2, kind.as_bytes());
            out.field(1, api_version.as_bytes());
        });
        self.bytes(MAGIC);
    }
}

struct Encoder<'a> {
    definitions: &'a Definitions,
}

impl Encoder<'_> {
    /// Writes the fields of the message `name` that `definition` describes, and `None` as an empty object.
    fn message(
        &self,
        definition: &Definition,
        name: &str,
        object: Option<&Map<String, Value>>,
        out: &mut Backwards,
    ) -> Result<(), String> {
        let Some(numbers) = MESSAGES.get(name) else { return Ok(()) };
        for (number, json_name) in numbers.iter().rev() {
            if let Some(inline) = json_name.strip_prefix('@') {
                let package = name.rsplit_once('.').map_or("", |(package, _)| package);
                let inner = format!("{package}.{inline}");
                out.nested(*number, |out| self.message(definition, &inner, object, out))?;
            } else if let Some(field) = definition.field(json_name) {
                let value = object.and_then(|object| object.get(*json_name)).filter(|value| !value.is_null());
                self.field(field, *number, value, out).map_err(|why| format!("{json_name}: {why}"))?;
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, number: u32, value: Option<&Value>, out: &mut Backwards) -> Result<(), String> {
        let Some(value) = value else {
            self.absent(field, number, out)?;
            return Ok(());
        };
        match &field.schema {
            Schema::List(item) => {
                let items = value.as_array().ok_or("it is no list")?;
                items.iter().rev().try_for_each(|value| self.value(item, number, value, out))
            }
            Schema::Map(item) => {
                let mut entries: Vec<(&String, &Value)> = value.as_object().ok_or("it is no map")?.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                entries.into_iter().rev().try_for_each(|(key, value)| {
                    out.nested(number, |out| {
                        self.value(item, 2, value, out)?;
                        out.field(1, key.as_bytes());
                        Ok(())
                    })
                })
            }
            schema => self.value(schema, number, value, out),
        }
    }

    /// What Go writes of a field that has no value.
    fn absent(&self, field: &Field, number: u32, out: &mut Backwards) -> Result<(), String> {
        match &field.schema {
            _ if field.pointer || number >= URSA_NUMBERS => {}
            Schema::Bool | Schema::Int32 | Schema::Int64 => out.integer(number, 0),
            Schema::String => out.field(number, b""),
            Schema::Time | Schema::MicroTime if field.absent == Absent::Null => out.field(number, b""),
            Schema::Object(id) if field.absent == Absent::Zero => {
                let definition = self.definitions.at(*id);
                out.nested(number, |out| self.message(definition, definition.name(), None, out))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn value(&self, schema: &Schema, number: u32, value: &Value, out: &mut Backwards) -> Result<(), String> {
        match schema {
            // In a list or a map, no value is the empty one.
            Schema::Time | Schema::MicroTime | Schema::Object(_) if value.is_null() => out.field(number, b""),
            Schema::Bool => out.integer(number, value.as_bool().ok_or("it is no boolean")?.into()),
            Schema::Int32 | Schema::Int64 => out.integer(number, integer(value)?),
            Schema::Number => {
                out.bytes(&value.as_f64().ok_or("it is no number")?.to_bits().to_le_bytes());
                out.tag(number, 1);
            }
            Schema::String => out.field(number, value.as_str().ok_or("it is no text")?.as_bytes()),
            Schema::Bytes => {
                let bytes = STANDARD.decode(text(value)).map_err(|_| "it is no base64")?;
                out.field(number, &bytes);
            }
            Schema::Time => out.nested(number, |out| time(value, false, out))?,
            Schema::MicroTime => out.nested(number, |out| time(value, true, out))?,
            Schema::Quantity => out.nested(number, |out| match value {
                Value::String(text) => out.field(1, text.as_bytes()),
                other => out.field(1, other.to_string().as_bytes()),
            }),
            Schema::IntOrString => out.nested(number, |out| int_or_string(value, out))?,
            Schema::Any => out.nested(number, |out| out.field(1, value.to_string().as_bytes())),
            Schema::Object(id) => {
                let definition = self.definitions.at(*id);
                let object = value.as_object().ok_or("it is no object")?;
                out.nested(number, |out| self.message(definition, definition.name(), Some(object), out))?;
            }
            Schema::List(item) => {
                let items = value.as_array().ok_or("it is no list")?;
                out.nested(number, |out| items.iter().rev().try_for_each(|value| self.value(item, 1, value, out)))?;
            }
            Schema::Map(_) => return Err("a map stands where a map cannot".into()),
            Schema::OrBool(item) => out.nested(number, |out| {
                let allows = match value {
                    Value::Bool(allows) => *allows,
                    schema => {
                        self.value(item, 2, schema, out)?;
                        true
                    }
                };
                out.integer(1, allows.into());
                Ok::<_, String>(())
            })?,
            Schema::OrList(listed, alone) => out.nested(number, |out| match value {
                Value::Array(items) => items.iter().rev().try_for_each(|value| self.value(listed, 2, value, out)),
                value => self.value(alone, 1, value, out),
            })?,
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number as Go converts it: JSON may write an integer as a float.
fn integer(value: &Value) -> Result<i64, String> {
    value
        .as_i64()
        .or_else(|| value.as_u64().map(u64::cast_signed))
        .or_else(|| value.as_f64().and_then(|number| format!("{number}").parse().ok()))
        .ok_or_else(|| "it is no integer".to_owned())
}

/// Seconds, and nanoseconds where they count.
fn time(value: &Value, micros: bool, out: &mut Backwards) -> Result<(), String> {
    let time = Timestamp::parse(text(value)).ok_or("it is no time")?;
    let nanos = if micros { time.unix_micros().rem_euclid(1_000_000) * 1000 } else { 0 };
    out.integer(2, nanos);
    out.integer(1, time.unix_secs());
    Ok(())
}

/// All three members, of which the first says which of the others counts.
fn int_or_string(value: &Value, out: &mut Backwards) -> Result<(), String> {
    let (kind, number, text) = match value {
        Value::String(text) => (1, 0, text.as_str()),
        number => (0, integer(number)?, ""),
    };
    out.field(3, text.as_bytes());
    out.integer(2, number);
    out.integer(1, kind);
    Ok(())
}
