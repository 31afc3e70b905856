//! What is allowed in a service but likely a mistake.

use super::{is_external_name, is_headless};
use crate::addresses::ip_warning;
use crate::causes::Path;
use crate::value::{is_empty, list, text};
use serde_json::Value;

pub(super) fn service(new: &Value, old: Option<&Value>) -> Vec<String> {
    let spec = &new["spec"];
    let mut warnings = Vec::new();
    if old.is_some_and(|old| &old["spec"] == spec) {
        return warnings;
    }
    let external = !is_empty(&spec["externalIPs"]);
    let at = Path::new("spec");
    if is_headless(spec) {
        if external {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec["sessionAffinity"] == "ClientIP" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if !is_empty(&spec["loadBalancerIP"]) {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
    } else {
        for field in ["clusterIPs", "externalIPs"] {
            let at = at.child(field);
            for (i, ip) in list(&spec[field]).iter().enumerate() {
                warnings.extend(ip_warning(text(ip), &at.index(i)));
            }
        }
        if external && !is_external_name(spec) {
            let why = "is deprecated and may no longer be implemented in some clusters";
            warnings.push(format!("{} {why}", at.child("externalIPs")));
        }
        warnings.extend(ip_warning(text(&spec["loadBalancerIP"]), &at.child("loadBalancerIP")));
    }
    if is_external_name(spec) && external {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_external_name(spec) && !is_empty(&spec["externalName"]) {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec["trafficDistribution"] == "PreferClose" {
        let at = at.child("trafficDistribution");
        warnings.push(format!("{at}: \"PreferClose\" is deprecated; use \"PreferSameZone\""));
    }
    warnings
}
