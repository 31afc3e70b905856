//! The crate through its public door: tables of cases, and, where they are at hand, upstream's documents and answers.

mod conform;
mod hostile;
mod openapi;
mod recorded;
mod strategic;
