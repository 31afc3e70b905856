//! Storage: claims, volumes, classes, and what CSI drivers say of themselves.

mod claims;
mod classes;
mod csi;
mod volumes;

use crate::value::text;
use serde_json::{Value, json};

pub(crate) use claims::{CLAIMS, claim_spec};
pub(crate) use classes::{STORAGE_CLASSES, VOLUME_ATTRIBUTES_CLASSES};
pub(crate) use csi::{CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS};
pub(crate) use volumes::VOLUMES;

/// Access modes as kubectl shortens them.
fn short_modes(modes: &Value) -> Value {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| crate::value::list(modes).iter().any(|m| m == mode);
    let shown: Vec<&str> = short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    json!(shown.join(","))
}

/// The class of a claim or a volume, which was an annotation once.
pub(crate) fn class_of(object: &Value) -> &str {
    match text(&object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]) {
        "" => text(&object["spec"]["storageClassName"]),
        class => class,
    }
}

/// How volumes are formatted.
fn mode_or_unset(object: &Value) -> Value {
    match text(&object["spec"]["volumeMode"]) {
        "" => json!("<unset>"),
        mode => json!(mode),
    }
}
