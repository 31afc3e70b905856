//! Devices: classes of them, claims to some, and slices of what there is.

mod claims;
mod classes;
mod slices;
#[cfg(test)]
mod tests;

pub(crate) use claims::{RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS};
pub(crate) use classes::DEVICE_CLASSES;
pub(crate) use slices::RESOURCE_SLICES;

use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{is_empty, list, text};
use serde_json::Value;

const SPEC: Path = Path::new("spec");
const DRIVER_BYTES_MAX: usize = 63;
const ITEMS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 << 10;
const PARAMETER_BYTES_MAX: usize = 10 << 10;

/// A list of no more than `max` items.
fn limited<'a>(value: &'a Value, max: usize, at: &Path, causes: &mut Causes) -> &'a [Value] {
    let items = list(value);
    if items.len() > max {
        causes.too_many(at, items.len(), max);
    }
    items
}

/// The name of a driver.
fn driver(name: &str, at: &Path, causes: &mut Causes) {
    if name.is_empty() {
        return causes.required(at, "");
    }
    if name.len() > DRIVER_BYTES_MAX {
        causes.too_long(at, DRIVER_BYTES_MAX);
    }
    causes.each_invalid(at, name, names::dns_subdomain(&name.to_lowercase()));
}

/// Subdomains with `/` between.
fn pool(name: &str, at: &Path, causes: &mut Causes) {
    if name.is_empty() {
        return causes.required(at, "");
    }
    if name.len() > 253 {
        causes.too_long(at, 253);
    }
    for part in name.split('/') {
        causes.each_invalid(at, part, names::dns_subdomain(part));
    }
}

/// What expressions that select devices see.
fn device_env() -> cel::Env {
    use cel::Type;
    let by_domain = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
    let fields = [
        ("driver", Type::String),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(Type::quantity())),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, ty)| (name.to_owned(), ty));
    cel::Env::new().with("device", Type::object("kubernetes.DRADevice", fields))
}

/// Expressions that select devices.
fn selectors(selectors: &Value, at: &Path, causes: &mut Causes) {
    for (i, selector) in limited(selectors, ITEMS_MAX, at, causes).iter().enumerate() {
        let at = at.index(i);
        let at = at.child("cel");
        if selector["cel"].is_null() {
            causes.required(&at, "");
        } else if text(&selector["cel"]["expression"]).len() > EXPRESSION_BYTES_MAX {
            causes.too_long(&at.child("expression"), EXPRESSION_BYTES_MAX);
        } else if !causes.is_full() {
            let source = text(&selector["cel"]["expression"]);
            match cel::Program::compile(source, &device_env()) {
                Ok(program) if matches!(program.output(), cel::Type::Bool | cel::Type::Dyn) => {}
                Ok(program) => {
                    let why = format!("must evaluate to bool or the unknown type, not {}", program.output());
                    causes.invalid(&at.child("expression"), source, &why);
                }
                Err(why) => {
                    causes.invalid(&at.child("expression"), source, &format!("compilation failed: {why}"));
                }
            }
        }
    }
}

/// Parameters that only a driver understands.
fn configuration(configuration: &Value, at: &Path, causes: &mut Causes) {
    let (opaque, at) = (&configuration["opaque"], at.child("opaque"));
    if opaque.is_null() {
        return causes.required(&at, "");
    }
    driver(text(&opaque["driver"]), &at.child("driver"), causes);
    let at = at.child("parameters");
    match &opaque["parameters"] {
        Value::Null => causes.required(&at, ""),
        parameters @ Value::Object(_) if parameters.to_string().len() > PARAMETER_BYTES_MAX => {
            causes.too_long(&at, PARAMETER_BYTES_MAX);
        }
        Value::Object(_) => {}
        _ => causes.invalid(&at, "<value omitted>", "must be a valid JSON object"),
    }
}

/// The name of an attribute: a C identifier, after a domain if it is not the driver's own.
fn attribute(name: &str, qualified: bool, at: &Path, causes: &mut Causes) {
    let (domain, identifier) = match name.split_once('/') {
        Some((domain, identifier)) => (Some(domain), identifier),
        None if name.is_empty() => return causes.required(at, "name required"),
        None if qualified => {
            let why = "a fully qualified name must be a domain and a name separated by a slash";
            return causes.invalid(at, name, why);
        }
        None => (None, name),
    };
    match domain {
        Some("") => causes.required(at, "the domain must not be empty"),
        Some(domain) => causes.each_invalid(at, domain, names::dns_subdomain(domain)),
        None => {}
    }
    if identifier.is_empty() {
        causes.required(at, "the name must not be empty");
    } else {
        causes.each_invalid(at, identifier, names::c_identifier(identifier));
    }
}

/// What a taint does, or what of it is tolerated.
fn effect(effect: &Value, supported: &[&str], at: &Path, causes: &mut Causes) {
    if is_empty(effect) {
        causes.required(at, "");
    } else {
        causes.one_of(at, effect, supported);
    }
}
