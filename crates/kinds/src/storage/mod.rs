//! Storage: claims, volumes and classes.

mod claims;

pub(crate) use claims::claim_spec;
