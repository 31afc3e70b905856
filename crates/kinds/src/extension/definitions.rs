//! Definitions of custom resources: their names, scope and versions. Schemas are checked where they are used.

use super::{SPEC, kind_name};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::names;
use crate::value::{default, is_empty, is_true, list, list_mut, set, text};
use crate::{NameRule, Revalidation, Strategy};
use serde_json::{Value, json};

pub(crate) static CUSTOM_RESOURCE_DEFINITIONS: Strategy = Strategy {
    defaults: |definition| {
        if let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) {
            let kind = text(&spec["names"]["kind"]).to_owned();
            if !kind.is_empty() {
                default(&mut spec["names"], "singular", kind.to_lowercase());
                default(&mut spec["names"], "listKind", format!("{kind}List"));
            }
            default(spec, "conversion", json!({"strategy": "None"}));
            let service = spec.pointer_mut("/conversion/webhook/clientConfig/service");
            if let Some(service) = service.filter(|service| service.is_object()) {
                default(service, "port", 443);
            }
            for version in list_mut(spec, "versions") {
                list_mut(version, "additionalPrinterColumns").for_each(|column| default(column, "type", "string"));
            }
        }
    },
    prepare_create: store_version,
    prepare_update: |new, _| store_version(new),
    name_rule: NameRule::DnsSubdomain,
    validate: |definition| Causes::of(|causes| validate(definition, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (spec, old) = (&new["spec"], &old["spec"]);
            if !established(new) {
                return;
            }
            for field in ["group", "scope"].into_iter().filter(|field| spec[*field] != old[*field]) {
                causes.immutable(&SPEC.child(field), &spec[field]);
            }
            let at = SPEC.child("names");
            for field in ["kind", "plural"].into_iter().filter(|field| spec["names"][*field] != old["names"][*field]) {
                causes.immutable(&at.child(field), &spec["names"][field]);
            }
        })
    },
    update_revalidates: Revalidation::Everything,
    generation: Some(spec_changed),
    unconditional_update: false,
    new_status: Some(
        || json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null}),
    ),
    ..Strategy::PLAIN
};

/// Notes that objects may be stored in the version that is marked so.
fn store_version(definition: &mut Value) {
    let storage = list(&definition["spec"]["versions"]).iter().find(|version| is_true(&version["storage"]));
    let Some(name) = storage.map(|version| version["name"].clone()) else { return };
    let mut stored = list(&definition["status"]["storedVersions"]).to_vec();
    if !stored.contains(&name) && definition["status"].is_object() {
        stored.push(name);
        set(&mut definition["status"], "storedVersions", stored);
    }
}

/// Whether resources of the definition were served once.
fn established(definition: &Value) -> bool {
    let is = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    list(&definition["status"]["conditions"]).iter().any(is)
}

fn validate(definition: &Value, causes: &mut Causes) {
    let (spec, status) = (&definition["spec"], &definition["status"]);
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let name = text(&definition["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        let metadata = Path::new("metadata");
        causes.invalid(&metadata.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    let problems = names::dns_subdomain(group);
    if group.is_empty() {
        causes.required(&SPEC.child("group"), "");
    } else if problems.is_empty() && !group.contains('.') {
        causes.invalid(&SPEC.child("group"), group, "should be a domain with at least one dot");
    } else {
        causes.each_invalid(&SPEC.child("group"), group, problems);
    }
    match text(&spec["scope"]) {
        "" => causes.required(&SPEC.child("scope"), ""),
        _ => causes.one_of(&SPEC.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]),
    }
    versions(&spec["versions"], causes);
    resource_names(&spec["names"], causes);
    if is_empty(&status["storedVersions"]) {
        let status = Path::new("status");
        causes.invalid(&status.child("storedVersions"), Value::Null, "must have at least one stored version");
    }
}

fn versions(versions: &Value, causes: &mut Causes) {
    let at = SPEC.child("versions");
    let all = list(versions);
    for (i, version) in all.iter().enumerate() {
        let (at, name) = (at.index(i), text(&version["name"]));
        causes.each_invalid(&at.child("name"), name, names::dns_1035_label(name));
        if version["schema"]["openAPIV3Schema"].is_null() {
            let at = at.child("schema");
            causes.required(&at.child("openAPIV3Schema"), "schemas are required");
        }
    }
    let mut names: Vec<&str> = all.iter().map(|version| text(&version["name"])).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        causes.invalid(&at, all, "must contain unique version names");
    }
    if all.iter().filter(|version| is_true(&version["storage"])).count() != 1 {
        causes.invalid(&at, all, "must have exactly one version marked as storage version");
    }
}

fn resource_names(resource: &Value, causes: &mut Causes) {
    let at = SPEC.child("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        match text(&resource[field]) {
            "" => causes.required(&at.child(field), ""),
            name if matches!(field, "plural" | "singular") => {
                causes.each_invalid(&at.child(field), name, names::dns_1035_label(name));
            }
            kind => kind_name(kind, &at.child(field), causes),
        }
    }
    for field in ["shortNames", "categories"] {
        let at = at.child(field);
        for (i, name) in list(&resource[field]).iter().enumerate() {
            causes.each_invalid(&at.index(i), text(name), names::dns_1035_label(text(name)));
        }
    }
    let (kind, list_kind) = (text(&resource["kind"]), text(&resource["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        causes.invalid(&at.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
}
