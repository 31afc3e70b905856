//! The table of built-in kinds, and what each does beyond what all do.
//!
//! One path serves every kind (decision D2): a kind is a row of [`registry`], and has a [`Strategy`] only for what
//! differs: defaults that take code, validation, printing, deletion. Pure: values in, values out; time and randomness
//! are arguments.

mod addresses;
pub mod admission;
mod autoscaling;
mod causes;
mod certificates;
mod conditions;
mod convert;
mod coordination;
mod core;
pub mod custom;
mod devices;
mod extension;
mod fields;
mod flowcontrol;
pub mod generic;
mod golang;
mod names;
mod networking;
mod node;
mod pods;
mod policy;
mod print;
mod rbac;
mod registry;
#[cfg(test)]
mod repeats;
mod resources;
mod reviews;
mod rows;
pub mod scale;
mod scheduling;
mod selectors;
pub mod services;
mod storage;
mod strategy;
mod table;
#[cfg(test)]
mod testing;
mod value;
mod workloads;

pub use convert::convert;
pub use core::action_for;
pub use extension::{defined_api_service, local_api_services};
pub use fields::field_selector;
pub use registry::{Group, Registry, registry};
pub use scheduling::{SYSTEM_PRIORITIES, is_system_priority};
pub use strategy::{Change, Deletion, NameRule, Revalidation, Strategy, deprecation, strategy};
pub use table::{Column, Description, IncludeObject, shown_metadata, table};
