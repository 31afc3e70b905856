//! Objects as a `meta.k8s.io/v1` Table, the form that kubectl prints.

use api::{Kind, Timestamp};
use serde_json::Value;

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

/// Name and time of creation.
pub const DEFAULT_COLUMNS: &[Column] = &[];

/// The cells of [`DEFAULT_COLUMNS`].
pub fn default_row(_object: &Value, _now: Timestamp) -> Vec<Value> {
    Vec::new()
}

/// The table of some objects of a kind. The caller sets `metadata.resourceVersion` and `continue`.
pub fn table<'a>(
    _kind: &Kind,
    _objects: impl Iterator<Item = &'a Value>,
    _include_object: IncludeObject,
    _now: Timestamp,
) -> Value {
    Value::Null
}
