//! Tables of objects of kinds that a tenant defines: the columns that the definition asks for, or the age.

use super::json_path::JsonPath;
use crate::table::{self, IncludeObject, since};
use crate::value::{int, text};
use api::Timestamp;
use serde_json::{Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

#[derive(Debug)]
pub(super) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: JsonPath,
}

/// The columns of a version. With a path that is none, upstream falls back to its default for all of them.
pub(super) fn compile(declared: &[Value]) -> Vec<Column> {
    let column = |column: &Value| {
        let path = text(&column["jsonPath"]);
        let description = Some(text(&column["description"])).filter(|text| !text.is_empty());
        Some(Column {
            name: text(&column["name"]).to_owned(),
            kind: text(&column["type"]).to_owned(),
            format: text(&column["format"]).to_owned(),
            description: description.map_or_else(
                || format!("Custom resource definition column (in JSONPath format): {path}"),
                str::to_owned,
            ),
            priority: int(&column["priority"]).unwrap_or(0),
            path: JsonPath::parse(path)?,
        })
    };
    let columns: Option<Vec<Column>> = declared.iter().map(column).collect();
    columns.filter(|columns| !columns.is_empty()).unwrap_or_else(|| vec![age()])
}

fn age() -> Column {
    Column {
        name: "Age".to_owned(),
        kind: "date".to_owned(),
        format: String::new(),
        description: described("creationTimestamp"),
        priority: 0,
        path: JsonPath::parse(".metadata.creationTimestamp").expect("it is a path"),
    }
}

fn described(field: &'static str) -> String {
    table::described(META, field).to_owned()
}

pub(super) fn table<'a>(
    columns: &[Column],
    objects: impl Iterator<Item = &'a Value>,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "description": described("name"), "priority": 0,
    });
    let definitions = columns.iter().map(|column| {
        let Column { name, kind, format, description, priority, .. } = column;
        json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
    });
    let definitions: Vec<Value> = std::iter::once(name).chain(definitions).collect();
    let rows = objects.map(|object| {
        let cells = columns.iter().map(|column| cell(column, object, now));
        let cells: Vec<Value> = std::iter::once(object["metadata"]["name"].clone()).chain(cells).collect();
        json!({"cells": cells, "object": include.shown(object, &[])})
    });
    let rows: Vec<Value> = rows.collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": definitions, "rows": rows})
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(value) = column.path.first(object) else { return Value::Null };
    match (column.kind.as_str(), value) {
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", Value::Null) => Value::Null,
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(int) => int.into(),
            #[expect(clippy::cast_possible_truncation, reason = "as upstream cuts it")]
            None => number.as_f64().map_or(Value::Null, |float| (float as i64).into()),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if Timestamp::parse(text).is_some() => since(value, now).into(),
        ("date", Value::String(_)) => "<invalid>".into(),
        _ => Value::Null,
    }
}
