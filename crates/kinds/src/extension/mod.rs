//! Kinds that extend the API: webhooks and policies of admission, services of APIs, definitions of resources.

mod api_services;
mod bindings;
mod clients;
mod definitions;
mod local_api_services;
mod policies;
mod rules;
#[cfg(test)]
mod tests;
mod webhooks;

pub(crate) use api_services::API_SERVICES;
pub(crate) use bindings::{MUTATING_POLICY_BINDINGS, VALIDATING_POLICY_BINDINGS};
pub(crate) use definitions::CUSTOM_RESOURCE_DEFINITIONS;
pub use local_api_services::{defined_api_service, local_api_services};
pub(crate) use policies::{MUTATING_POLICIES, VALIDATING_POLICIES};
pub(crate) use webhooks::{MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS};

use crate::causes::{Causes, Path};
use crate::names;

const SPEC: Path = Path::new("spec");

/// The name of a kind.
fn kind_name(kind: &str, at: &Path, causes: &mut Causes) {
    let problems = names::dns_1035_label(&kind.to_lowercase());
    if !problems.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        causes.invalid(at, kind, &why);
    }
}
