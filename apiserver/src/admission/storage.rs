//! Storage: the default class of claims, finalizers that keep what is in use, and which claims may grow.

use super::{Admitted, Attempt, classes};
use api::{Quantity, ResourceId, Result};
use serde_json::{Value, json};

const GROUP: &str = "storage.k8s.io";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// What each kind is protected by while it is in use.
const PROTECTION: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    (GROUP, "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// A claim that says nothing about its class gets the tenant's default one, the newest if there are several.
pub fn default_class(attempt: Attempt<'_>, claim: &mut Value) -> Result<()> {
    if !attempt.creates("", "persistentvolumeclaims")
        || !claim["spec"]["storageClassName"].is_null()
        || !claim["metadata"]["annotations"][CLASS_ANNOTATION].is_null()
    {
        return Ok(());
    }
    if let Some(name) = classes::default_of(attempt, ResourceId::new(GROUP, "storageclasses"), &IS_DEFAULT)?
        && claim["spec"].is_object()
    {
        claim["spec"]["storageClassName"] = json!(name);
    }
    Ok(())
}

/// What is in use stays until it is not: a finalizer that a controller takes away.
pub fn protect(attempt: Attempt<'_>, object: &mut Value) -> Result<()> {
    let Some((.., finalizer)) = PROTECTION.iter().find(|(group, plural, _)| attempt.creates(group, plural)) else {
        return Ok(());
    };
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|present| present == finalizer) {
        finalizers.push(json!(finalizer));
        object["metadata"]["finalizers"] = Value::Array(finalizers);
    }
    Ok(())
}

/// Only a claim whose class allows it may grow.
pub fn resize(attempt: Attempt<'_>, claim: &Value, _: &mut Admitted) -> Result<()> {
    let Some(old) = attempt.old.filter(|_| attempt.updates("", "persistentvolumeclaims")) else { return Ok(()) };
    let size = |claim: &Value| {
        let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
        Quantity::parse(text).unwrap_or(Quantity::ZERO)
    };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(attempt.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    let class_of = |claim: &Value| {
        let annotated = claim["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
        let class = annotated.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default();
        class.to_owned()
    };
    let class = class_of(claim);
    let stored = (!class.is_empty() && class == class_of(old))
        .then(|| attempt.stored(ResourceId::new(GROUP, "storageclasses"), "", &class))
        .flatten();
    let allows = stored.map(|class| class.to_value()).transpose()?;
    if allows.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
               resize";
    Err(attempt.forbidden(claim, why))
}
