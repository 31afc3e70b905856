//! Definitions that are written by hand, as tables: ` NUMBER:NAME TYPE [FACTS] [| DESCRIPTION]` below the line of their
//! definition, which is `NAME [FACTS] [| DESCRIPTION]`. Numbers are protobuf's, facts those of `overlay.txt`.
//!
//! A type with dots is a definition, whose package's common start is left out. A table is part of the program: a line that
//! cannot be read is a mistake of ours.

use crate::sources::REFERENCE;
use serde_json::{Map, Value, json};

/// One definition of a table.
pub(crate) struct Written {
    pub name: String,
    /// The facts of the definition, as words of the overlay.
    facts: &'static str,
    description: &'static str,
    fields: Vec<Field>,
}

struct Field {
    number: u32,
    name: &'static str,
    kind: &'static str,
    facts: &'static str,
    description: &'static str,
}

/// Reads a table.
pub(crate) fn read(table: &'static str) -> Vec<Written> {
    let mut found: Vec<Written> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty()) {
        let (line, description) = line.split_once(" | ").unwrap_or((line, ""));
        let Some(field) = line.strip_prefix(' ') else {
            let (name, facts) = line.split_once(' ').unwrap_or((line, ""));
            found.push(Written { name: full_name(name), facts, description, fields: Vec::new() });
            continue;
        };
        let mut words = field.splitn(3, ' ');
        let (number, name) = words.next().and_then(|word| word.split_once(':')).expect("a field has a number");
        let number = number.parse().expect("a field's number is a number");
        let kind = words.next().expect("a field has a type");
        let facts = words.next().unwrap_or_default();
        let last = found.last_mut().expect("a field follows its definition");
        last.fields.push(Field { number, name, kind, facts, description });
    }
    found
}

impl Written {
    /// As OpenAPI.
    pub fn schema(&self) -> Value {
        let mut properties = self.properties();
        if !self.facts.is_empty() {
            properties.extend(["apiVersion", "kind"].map(|field| (field.to_owned(), json!({"type": "string"}))));
        }
        described(json!({"type": "object", "properties": properties}), self.description)
    }

    /// The fields, as OpenAPI.
    pub fn properties(&self) -> Map<String, Value> {
        let property = |field: &Field| (field.name.to_owned(), described(schema_of(field.kind), field.description));
        self.fields.iter().map(property).collect()
    }

    /// As lines of the overlay, with some more facts.
    pub fn overlay(&self, more: &str) -> String {
        let fields = self.fields.iter().map(|field| format!(" {} {}\n", field.name, field.facts));
        format!("{} {more} {}\n{}", self.name, self.facts, fields.collect::<String>())
    }

    /// The numbers and the names of the fields.
    pub fn numbers(&self) -> Vec<(u32, &'static str)> {
        self.fields.iter().map(|field| (field.number, field.name)).collect()
    }
}

/// A reference with a description stands in an `allOf`.
fn described(mut schema: Value, description: &str) -> Value {
    if description.is_empty() {
        return schema;
    }
    if !schema["$ref"].is_null() {
        schema = json!({"allOf": [schema]});
    }
    schema["description"] = json!(description);
    schema
}

fn full_name(short: &str) -> String {
    let package = match short {
        "resource.Quantity" => "io.k8s.apimachinery.pkg.api.",
        "runtime.RawExtension" => "io.k8s.apimachinery.pkg.",
        _ if short.starts_with("meta.") => "io.k8s.apimachinery.pkg.apis.",
        _ => "io.k8s.api.",
    };
    format!("{package}{short}")
}

fn schema_of(kind: &str) -> Value {
    if let Some(item) = kind.strip_prefix("[]") {
        return json!({"type": "array", "items": schema_of(item)});
    }
    if let Some(item) = kind.strip_prefix("{}") {
        return json!({"type": "object", "additionalProperties": schema_of(item)});
    }
    match kind {
        "string" | "boolean" => json!({"type": kind}),
        "byte" => json!({"type": "string", "format": kind}),
        "int32" | "int64" => json!({"type": "integer", "format": kind}),
        definition => json!({"$ref": format!("{REFERENCE}{}", full_name(definition))}),
    }
}
