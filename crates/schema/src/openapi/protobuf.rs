//! The OpenAPI v2 document as the protobuf message `openapi.v2.Document` that clients of before 1.27 ask for.
//!
//! Numbers are those of the message's fields; what a document of ours never has is left out.

use serde_json::{Map, Value};

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| {
        for (name, item) in fields(&document["paths"]) {
            paths.named(2, name, |message| path_item(message, item));
        }
    });
    out.message(9, |definitions| {
        for (name, definition) in fields(&document["definitions"]) {
            definitions.named(1, name, |message| schema(message, definition));
        }
    });
    for requirement in items(&document["security"]) {
        out.message(12, |message| {
            for (name, _) in fields(requirement) {
                message.named(1, name, |_| {});
            }
        });
    }
    out.message(13, |definitions| {
        for (name, definition) in fields(&document["securityDefinitions"]) {
            definitions.named(1, name, |item| {
                item.message(2, |key| {
                    key.text(1, &definition["type"]);
                    key.text(2, &definition["name"]);
                    key.text(3, &definition["in"]);
                    key.text(4, &definition["description"]);
                });
            });
        }
    });
    out.bytes
}

fn path_item(out: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(number, |message| operation(message, &item[method]));
        }
    }
    for value in items(&item["parameters"]) {
        out.message(9, |message| parameter(message, value));
    }
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for value in items(&operation["parameters"]) {
        out.message(8, |message| parameter(message, value));
    }
    out.message(9, |responses| {
        for (code, response) in fields(&operation["responses"]) {
            responses.named(1, code, |value| {
                value.message(1, |message| {
                    message.text(1, &response["description"]);
                    if response["schema"].is_object() {
                        message.message(2, |item| item.message(1, |message| schema(message, &response["schema"])));
                    }
                });
            });
        }
    });
    out.texts(10, &operation["schemes"]);
    extensions(out, 13, operation);
}

/// A `ParametersItem` that holds a `Parameter`.
fn parameter(out: &mut Message, parameter: &Value) {
    out.message(1, |out| {
        if parameter["in"] == "body" {
            out.message(1, |body| {
                body.text(2, &parameter["name"]);
                body.text(3, &parameter["in"]);
                body.flag(4, &parameter["required"]);
                body.message(5, |message| schema(message, &parameter["schema"]));
            });
            return;
        }
        let (kind, type_number, unique_number) = if parameter["in"] == "path" { (4, 5, 19) } else { (3, 6, 20) };
        out.message(2, |out| {
            out.message(kind, |out| {
                out.flag(1, &parameter["required"]);
                out.text(2, &parameter["in"]);
                out.text(3, &parameter["description"]);
                out.text(4, &parameter["name"]);
                out.text(type_number, &parameter["type"]);
                out.flag(unique_number, &parameter["uniqueItems"]);
            });
        });
    });
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    out.texts(19, &value["required"]);
    if value["additionalProperties"].is_object() {
        out.message(21, |item| item.message(1, |message| schema(message, &value["additionalProperties"])));
    }
    if value["type"].is_string() {
        out.message(22, |item| item.text(1, &value["type"]));
    }
    if value["items"].is_object() {
        out.message(23, |item| item.message(1, |message| schema(message, &value["items"])));
    }
    if value["properties"].is_object() {
        out.message(25, |properties| {
            for (name, property) in fields(&value["properties"]) {
                properties.named(1, name, |message| schema(message, property));
            }
        });
    }
    extensions(out, 31, value);
}

/// Vendor extensions, whose values are YAML; JSON is.
fn extensions(out: &mut Message, number: u32, value: &Value) {
    for (name, extension) in fields(value).filter(|(name, _)| name.starts_with("x-")) {
        out.named(number, name, |any| any.string(2, &extension.to_string()));
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A protobuf message that is being written. What is empty is not written.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    fn delimited(&mut self, number: u32, bytes: &[u8]) {
        const LENGTH_DELIMITED: u32 = 2;
        self.varint(u64::from(number << 3 | LENGTH_DELIMITED));
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn string(&mut self, number: u32, text: &str) {
        self.delimited(number, text.as_bytes());
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str() {
            self.string(number, text);
        }
    }

    fn texts(&mut self, number: u32, values: &Value) {
        items(values).for_each(|value| self.text(number, value));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value == true {
            self.varint(u64::from(number << 3));
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut message = Message::default();
        write(&mut message);
        self.delimited(number, &message.bytes);
    }

    /// An entry of a map: a message of a name and a value.
    fn named(&mut self, number: u32, name: &str, write: impl FnOnce(&mut Message)) {
        self.message(number, |entry| {
            entry.string(1, name);
            entry.message(2, write);
        });
    }
}
