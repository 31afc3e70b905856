//! The crate through its public door: tables of cases, and, where they are at hand, upstream's documents and answers.

mod openapi;
mod recorded;
