//! Objects as a `meta.k8s.io/v1` Table, the form that kubectl prints.

use crate::value::{is_empty, remove, text};
use crate::{registry, strategy};
use api::{Kind, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the column of names.
    pub format: &'static str,
    pub description: Description,
    /// 0 is shown always, 1 with `-o wide`.
    pub priority: i64,
}

/// The text that explains a column.
#[derive(Clone, Copy, Debug)]
pub enum Description {
    Text(&'static str),
    /// What the schema says of the field of a definition.
    Field(&'static str, &'static str),
}

/// What a row holds of its object beside the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// What a row holds of an object, without some annotations.
    pub(crate) fn shown(self, object: &Value, hidden: &[&str]) -> Value {
        match self {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => {
                let metadata = without(&object["metadata"], hidden);
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            IncludeObject::Object => object.clone(),
        }
    }
}

/// A column of text, explained by a field of a definition.
pub(crate) const fn column(name: &'static str, definition: &'static str, field: &'static str) -> Column {
    Column { name, kind: "string", format: "", description: Description::Field(definition, field), priority: 0 }
}

/// A column of text, explained by a text.
pub(crate) const fn explained(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description: Description::Text(description), priority: 0 }
}

impl Column {
    /// Shown with `-o wide`.
    pub(crate) const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }

    /// Of numbers.
    pub(crate) const fn integer(self) -> Column {
        Column { kind: "integer", ..self }
    }

    /// Of yes and no.
    pub(crate) const fn boolean(self) -> Column {
        Column { kind: "boolean", ..self }
    }
}

/// The column of names.
pub(crate) const NAME: Column = Column { format: "name", ..column("Name", META, "name") };

/// The column of ages.
pub(crate) const AGE: Column = column("Age", META, "creationTimestamp");

/// Name and time of creation.
pub const DEFAULT_COLUMNS: &[Column] =
    &[NAME, Column { kind: "date", ..column("Created At", META, "creationTimestamp") }];

/// The cells of [`DEFAULT_COLUMNS`].
pub fn default_row(object: &Value, _now: Timestamp) -> Vec<Value> {
    let meta = &object["metadata"];
    vec![meta["name"].clone(), meta["creationTimestamp"].clone()]
}

/// The table of some objects of a kind. The caller sets `metadata.resourceVersion` and `continue`.
pub fn table<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    include_object: IncludeObject,
    now: Timestamp,
) -> Value {
    let strategy = strategy(kind);
    let row = |object: &Value| {
        let shown = include_object.shown(object, strategy.hidden_annotations);
        let mut row = json!({"cells": (strategy.row)(object, now), "object": shown});
        if let Some(condition) = (strategy.row_condition)(object) {
            row["conditions"] = json!([condition]);
        }
        row
    };
    let rows: Vec<Value> = objects.map(row).collect();
    let columns: Vec<Value> = strategy.columns.iter().map(definition).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows})
}

/// The metadata of an object where nothing else of it is shown.
pub fn shown_metadata(kind: &Kind, object: &Value) -> Value {
    without(&object["metadata"], strategy(kind).hidden_annotations)
}

fn without(metadata: &Value, annotations: &[&str]) -> Value {
    let mut metadata = metadata.clone();
    if let Some(present) = metadata.get_mut("annotations") {
        annotations.iter().for_each(|annotation| remove(present, annotation));
        if !annotations.is_empty() && is_empty(present) {
            remove(&mut metadata, "annotations");
        }
    }
    metadata
}

fn definition(column: &Column) -> Value {
    let description = match column.description {
        Description::Text(text) => text,
        Description::Field(definition, field) => described(definition, field),
    };
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": description,
        "priority": column.priority,
    })
}

/// What the schema says of a field that some column shows. Read once for all columns of all kinds.
pub(crate) fn described(definition: &'static str, field: &'static str) -> &'static str {
    static TEXTS: OnceLock<BTreeMap<(&str, &str), String>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let columns = registry().kinds().iter().flat_map(|kind| strategy(kind).columns);
        let columns = columns.chain(crate::autoscaling::SCALES.columns);
        let fields: BTreeSet<(&str, &str)> = columns
            .filter_map(|column| match column.description {
                Description::Text(_) => None,
                Description::Field(definition, field) => Some((definition, field)),
            })
            .collect();
        let fields: Vec<(&str, &str)> = fields.into_iter().collect();
        fields.iter().copied().zip(schema::descriptions(&fields)).collect()
    });
    texts.get(&(definition, field)).map_or("", String::as_str)
}

/// How long ago an object was made.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(since(&object["metadata"]["creationTimestamp"], now))
}

/// How long ago a time was, `<unknown>` without one.
pub(crate) fn since(time: &Value, now: Timestamp) -> String {
    match Timestamp::parse(text(time)) {
        Some(time) => duration(now.unix_secs() - time.unix_secs()),
        None => "<unknown>".to_owned(),
    }
}

/// Seconds in the two largest units that matter: `5d3h`.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 2 * 60 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 3 * 60 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 8 * 24 => two(hours / 24, 'd', hours % 24, 'h'),
        () if hours < 2 * 365 * 24 => format!("{}d", hours / 24),
        () if hours < 8 * 365 * 24 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        () => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn ages_are_rounded_as_kubectl_rounds_them() {
        const DAY: i64 = 24 * 3600;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (11 * 60 + 5, "11m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (9 * 3600 + 61, "9h"),
            (2 * DAY + 3600, "2d1h"),
            (9 * DAY + 3600, "9d"),
            (731 * DAY, "2y1d"),
            (9 * 365 * DAY, "9y"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_row_holds_as_much_of_its_object_as_was_asked_for() {
        let kind = registry().find("rbac.authorization.k8s.io", "v1", "roles").expect("a kind");
        let role = json!({"kind": "Role", "metadata": {"name": "r", "creationTimestamp": "2026-01-02T03:04:05Z"}, "rules": []});
        let row = |include| table(kind, std::iter::once(&role), include, Timestamp::default())["rows"][0].clone();
        assert_eq!(row(IncludeObject::None), json!({"cells": ["r", "2026-01-02T03:04:05Z"], "object": null}));
        assert_eq!(row(IncludeObject::Metadata)["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(row(IncludeObject::Object)["object"], role);
    }

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in registry().kinds() {
            let strategy = strategy(kind);
            let cells = (strategy.row)(&json!({}), Timestamp::default());
            assert_eq!(cells.len(), strategy.columns.len(), "{}", kind.kind);
        }
    }
}
