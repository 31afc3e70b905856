//! Classes that are a tenant's default by an annotation: of several the newest, and of those the first by name.

use super::Attempt;
use api::{ResourceId, Result};
use serde_json::{Value, json};

const INGRESS_GROUP: &str = "networking.k8s.io";
const DEFAULT_INGRESS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

/// The name of the tenant's default among its classes.
pub fn default_of(attempt: Attempt<'_>, resource: ResourceId, annotations: &[&str]) -> Result<Option<String>> {
    let mut found: Option<(String, String)> = None;
    for class in attempt.stored_in(resource, "")? {
        let class = class.to_value()?;
        if !annotations.iter().any(|annotation| class["metadata"]["annotations"][annotation] == "true") {
            continue;
        }
        let text = |field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (created, name) = (text("creationTimestamp"), text("name"));
        // In the order of names, so that of the newest the first stays.
        if found.as_ref().is_none_or(|(newest, _)| created > *newest) {
            found = Some((created, name));
        }
    }
    Ok(found.map(|(_, name)| name))
}

/// An ingress that says nothing about its class gets the tenant's default one.
pub fn default_ingress_class(attempt: Attempt<'_>, ingress: &mut Value) -> Result<()> {
    if !attempt.creates(INGRESS_GROUP, "ingresses")
        || !ingress["spec"]["ingressClassName"].is_null()
        || !ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null()
    {
        return Ok(());
    }
    let resource = ResourceId::new(INGRESS_GROUP, "ingressclasses");
    if let Some(name) = default_of(attempt, resource, &DEFAULT_INGRESS)?
        && ingress["spec"].is_object()
    {
        ingress["spec"]["ingressClassName"] = json!(name);
    }
    Ok(())
}
