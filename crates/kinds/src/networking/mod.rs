//! Ingresses, network policies, and the addresses of services.

mod addresses;
mod ingress_classes;
mod ingresses;
mod policies;

pub(crate) use addresses::{IP_ADDRESSES, SERVICE_CIDRS};
pub(crate) use ingress_classes::INGRESS_CLASSES;
pub(crate) use ingresses::INGRESSES;
pub(crate) use policies::NETWORK_POLICIES;

use crate::causes::{Causes, Path};
use crate::names;
use crate::value::text;
use serde_json::Value;

const SPEC: Path = Path::new("spec");

/// A reference to an object of some kind in the same namespace.
fn typed_reference(reference: &Value, at: &Path, causes: &mut Causes) {
    if let Some(group) = reference["apiGroup"].as_str() {
        causes.each_invalid(&at.child("apiGroup"), group, names::dns_subdomain(group));
    }
    path_segment(&reference["kind"], &at.child("kind"), causes);
    path_segment(&reference["name"], &at.child("name"), causes);
}

/// A text that must be there, and can be a segment of a path.
fn path_segment(value: &Value, at: &Path, causes: &mut Causes) {
    match text(value) {
        "" => causes.required(at, ""),
        segment => causes.each_invalid(at, segment, names::path_segment(segment, false)),
    }
}
