//! Schemas of kinds: decoding with field validation, declarative defaults, patches, YAML, and publishing as OpenAPI.
//!
//! This crate knows no kind by name except through its schemas.

mod additions;
mod conform;
mod decode;
mod defaults;
mod definitions;
mod descriptions;
mod explain;
mod json;
pub mod managed;
mod messages;
mod object;
pub mod openapi;
mod overlay;
pub mod patch;
pub mod protobuf;
mod scalars;
mod sources;
pub mod structural;
mod unpublished;
mod written;
pub mod yaml;

pub use conform::{Decoded, FieldValidation, conform};
pub use decode::{Document, decode_json, decode_yaml};
pub use defaults::apply_defaults;
pub use definitions::{Definition, Definitions, builtin};
pub use descriptions::descriptions;
pub use json::go_kind;
pub use object::{Expected, Format, decode_object, decode_untyped, decode_value};
