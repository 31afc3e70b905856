//! Kinds that a tenant defines: a CustomResourceDefinition, compiled into what the one path of all kinds needs of a row.
//!
//! A [`Definition`] is made of the stored object once per version of it. It knows nothing of tenants and of where it is
//! kept: its user finds it by tenant and name.
//!
//! Conversion by webhook is its user's: what comes here is converted, or changes its version by name.

mod columns;
mod embedded;
mod json_path;
mod rules;
mod scale;
mod validate;

pub use embedded::coerce_metadata;
pub(crate) use embedded::{resource as validate_resource, validate as validate_embedded};
pub use scale::Scale;

use crate::table::IncludeObject;
use crate::value::{is_true, list, text};
use api::selector::FieldSelector;
use api::{Cause, Error, Kind, ResourceId, Result, Scope, Subresource, Timestamp, Verb};
use schema::FieldValidation;
use schema::structural::{self, Structural};
use serde_json::Value;
use std::sync::Arc;

/// The API group of definitions.
pub const GROUP: &str = "apiextensions.k8s.io";

/// The plural of definitions.
pub const PLURAL: &str = "customresourcedefinitions";

/// One CustomResourceDefinition, compiled.
#[derive(Debug)]
pub struct Definition {
    pub uid: Box<str>,
    pub group: Box<str>,
    /// Served ones and others, in the order of the definition.
    pub versions: Vec<Arc<Version>>,
    /// The place of the version that objects are stored in.
    storage: usize,
    /// Whether objects are served at all.
    pub established: bool,
    pub deleting: bool,
    /// Objects are converted by a webhook.
    by_webhook: bool,
}

/// One version of a kind that a tenant defines.
#[derive(Debug)]
pub struct Version {
    pub kind: Arc<Kind>,
    pub served: bool,
    pub schema: Structural,
    rules: cel::rules::Rules,
    /// What is merged field by field when objects are applied.
    pub types: schema::managed::Types,
    pub scale: Option<Scale>,
    /// Fields that selectors may name, as `spec.color`.
    pub selectable: Vec<String>,
    /// What every request is warned of.
    pub deprecation: Option<String>,
    columns: Vec<columns::Column>,
}

impl Definition {
    /// Compiles a definition that is valid.
    pub fn compile(definition: &Value) -> Definition {
        let spec = &definition["spec"];
        let group = text(&spec["group"]);
        let condition = |kind: &str| {
            let is = |c: &&Value| c["type"] == kind && c["status"] == "True";
            list(&definition["status"]["conditions"]).iter().any(|c| is(&c))
        };
        let all = list(&spec["versions"]);
        let versions = all.iter().map(|version| Arc::new(Version::compile(definition, version)));
        Definition {
            uid: text(&definition["metadata"]["uid"]).into(),
            group: group.into(),
            versions: versions.collect(),
            storage: all.iter().position(|version| is_true(&version["storage"])).unwrap_or(0),
            established: condition("Established"),
            deleting: !definition["metadata"]["deletionTimestamp"].is_null(),
            by_webhook: spec["conversion"]["strategy"] == "Webhook",
        }
    }

    /// The version that an `apiVersion` names, served or not.
    pub fn version(&self, api_version: &str) -> Option<&Version> {
        self.versions.iter().map(|known| &**known).find(|known| known.kind.api_version() == api_version)
    }

    /// The version of a name, if it is served.
    pub fn served(&self, version: &str) -> Option<&Arc<Version>> {
        let served = self.established.then_some(&self.versions)?;
        served.iter().find(|known| known.served && known.kind.version == version)
    }

    /// The version that objects are stored in.
    pub fn storage(&self) -> &Version {
        &self.versions[self.storage]
    }

    /// A request's object, which is in the storage version or changes to it by name, as it is stored: without what that does
    /// not know, with its defaults.
    pub fn to_stored(&self, mut value: Value) -> Result<Value> {
        let storage = self.storage();
        self.convert(&mut value, storage)?;
        storage.conform(&mut value);
        Ok(value)
    }

    /// A stored object as a version shows it. `current` tells that it was stored under this very definition, so that
    /// it conforms to it.
    pub fn view(&self, mut value: Value, version: &Version, current: bool) -> Result<Value> {
        if !current {
            self.conform_stored(&mut value);
        }
        let stored_as = self.stored_version(&value);
        if stored_as.kind.version != version.kind.version {
            self.convert(&mut value, version)?;
            return Ok(self.shown(value, version));
        }
        Ok(value)
    }

    /// Makes an object that was stored under another definition conform to this one, in the version that it has.
    pub fn conform_stored(&self, value: &mut Value) {
        self.stored_version(value).conform(value);
    }

    fn stored_version(&self, value: &Value) -> &Version {
        let stored_as = text(&value["apiVersion"]).rsplit('/').next().unwrap_or_default();
        let stored = self.versions.iter().find(|known| known.kind.version == stored_as);
        stored.map_or_else(|| self.storage(), |stored| &**stored)
    }

    /// What was converted to a version, without what that does not know.
    pub fn shown(&self, mut value: Value, version: &Version) -> Value {
        structural::prune(&version.schema, &mut value, structural::Pruned::Forgotten);
        value
    }

    /// Whether the stored form of objects is what a version shows.
    pub fn is_stored_as(&self, version: &Version) -> bool {
        self.storage().kind.version == version.kind.version
    }

    /// Changes the name of an object's version, which is all that changes without a webhook. What takes one is refused.
    pub fn convert(&self, value: &mut Value, to: &Version) -> Result<()> {
        let wanted = to.kind.api_version();
        if value["apiVersion"] == *wanted {
            return Ok(());
        }
        if self.by_webhook {
            let (group, kind) = (&self.group, &to.kind.kind);
            let from = text(&value["apiVersion"]).to_owned();
            return Err(Error::new(
                api::Reason::InternalError,
                format!(
                    "conversion webhook for {group}, Kind={kind} failed: objects of {from} cannot be converted to {wanted}"
                ),
            ));
        }
        value["apiVersion"] = wanted.into();
        Ok(())
    }
}

impl Version {
    fn compile(definition: &Value, version: &Value) -> Version {
        let spec = &definition["spec"];
        let (group, name) = (text(&spec["group"]), text(&version["name"]));
        let accepted = &definition["status"]["acceptedNames"];
        let names = if text(&accepted["kind"]).is_empty() { &spec["names"] } else { accepted };
        let texts =
            |field: &str| -> Vec<String> { list(&names[field]).iter().map(|name| text(name).to_owned()).collect() };
        let kind = text(&spec["names"]["kind"]);
        let subresource = |name: &str, (group, version, kind): (&str, &str, &str)| Subresource {
            name: name.to_owned(),
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        };
        let declared = &version["subresources"];
        let mut subresources = Vec::new();
        if declared["status"].is_object() {
            subresources.push(subresource("status", (group, name, kind)));
        }
        let scale = declared["scale"].is_object().then(|| Scale::compile(&declared["scale"]));
        if scale.is_some() {
            subresources.push(subresource("scale", ("autoscaling", "v1", "Scale")));
        }
        let singular = Some(text(&names["singular"])).filter(|singular| !singular.is_empty());
        let list_kind = Some(text(&names["listKind"])).filter(|kind| !kind.is_empty());
        let row = Kind {
            group: group.to_owned(),
            version: name.to_owned(),
            kind: kind.to_owned(),
            list_kind: list_kind.map_or_else(|| format!("{kind}List"), str::to_owned),
            plural: text(&spec["names"]["plural"]).to_owned(),
            singular: singular.map_or_else(|| kind.to_lowercase(), str::to_owned),
            short_names: texts("shortNames"),
            categories: texts("categories"),
            scope: if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Tenant },
            verbs: VERBS.to_vec(),
            subresources,
            stored_as: ResourceId::new(group, text(&spec["names"]["plural"])),
            selectable: &[],
        };
        let selectable = list(&version["selectableFields"]).iter();
        let deprecation = is_true(&version["deprecated"]).then(|| match version["deprecationWarning"].as_str() {
            Some(warning) => warning.to_owned(),
            None => deprecation(group, kind, name, list(&spec["versions"])),
        });
        Version {
            kind: Arc::new(row),
            served: is_true(&version["served"]),
            schema: Structural::compile(&version["schema"]["openAPIV3Schema"]),
            rules: cel::rules::Rules::compile(&version["schema"]["openAPIV3Schema"], "").0,
            types: schema::managed::Types::of_schema(&version["schema"]["openAPIV3Schema"]),
            scale,
            selectable: selectable.map(|f| text(&f["jsonPath"]).trim_start_matches('.').to_owned()).collect(),
            deprecation,
            columns: columns::compile(list(&version["additionalPrinterColumns"])),
        }
    }

    /// Removes what the schema does not know, and fills in what it has defaults for.
    pub fn conform(&self, value: &mut Value) {
        embedded::coerce(&self.schema, value);
        structural::prune(&self.schema, value, structural::Pruned::Forgotten);
        structural::drop_nulls(&self.schema, value);
        structural::default(&self.schema, value);
    }

    /// A body's object as the schema has it, and what is unknown of it: `unknown field "spec.a"`. 422 for another kind.
    pub fn decode(&self, value: &mut Value, mode: FieldValidation) -> Result<Vec<String>> {
        if let Some(cause) = validate::type_cause(self, value) {
            let name = text(&value["metadata"]["name"]).to_owned();
            return Err(Error::invalid(&self.kind.group, text(&value["kind"]), &name, vec![cause]));
        }
        let mut told = coerce_metadata(&mut value["metadata"], "metadata.", mode)?;
        embedded::coerce(&self.schema, value);
        let want =
            if mode == FieldValidation::Ignore { structural::Pruned::Forgotten } else { structural::Pruned::Told };
        let pruned = structural::prune(&self.schema, value, want);
        told.extend(pruned.into_iter().map(|path| format!("unknown field {path:?}")));
        self.default(value);
        Ok(told)
    }

    /// Fills in what the schema has defaults for.
    pub fn default(&self, value: &mut Value) {
        structural::drop_nulls(&self.schema, value);
        structural::default(&self.schema, value);
    }

    /// What is wrong with a new object beside its metadata.
    pub fn validate_create(&self, value: &Value) -> Vec<Cause> {
        validate::create(self, value)
    }

    /// What is wrong with an update beside its metadata; a fault in what did not change is none.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<Cause> {
        validate::update(self, new, old)
    }

    /// What is wrong with the status that an update brings.
    pub fn validate_status(&self, new: &Value, old: &Value) -> Vec<Cause> {
        validate::status(self, new, old)
    }

    /// Checks that objects can be selected so, and says it as the store reads it: fields of theirs start with a dot.
    pub fn field_selector(&self, selector: &FieldSelector) -> Result<FieldSelector> {
        let term = |(label, value, equal): &(String, String, bool)| {
            let path = match label.as_str() {
                "metadata.name" | "metadata.namespace" | "metadata.tenant" => label.clone(),
                _ if self.selectable.contains(label) => format!(".{label}"),
                _ => return Err(Error::bad_request(format!("field label not supported: {label}"))),
            };
            Ok((path, value.clone(), *equal))
        };
        selector.translate(term)
    }

    /// The objects as a Table. The caller sets `metadata`.
    pub fn table<'a>(&self, objects: impl Iterator<Item = &'a Value>, include: IncludeObject, now: Timestamp) -> Value {
        columns::table(&self.columns, objects, include, now)
    }
}

/// In the order in which upstream lists them for custom kinds.
const VERBS: [Verb; 8] =
    [Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Create, Verb::Update, Verb::Watch];

/// What upstream says of a version that is deprecated without words of its own: which served version is the newest that
/// is not, if there is one.
fn deprecation(group: &str, kind: &str, version: &str, versions: &[Value]) -> String {
    let live = versions.iter().filter(|v| is_true(&v["served"]) && !is_true(&v["deprecated"]));
    let newest = live.map(|v| text(&v["name"])).min_by(|a, b| compare_versions(a, b));
    match newest.filter(|newest| compare_versions(newest, version).is_lt()) {
        Some(newest) => format!("{group}/{version} {kind} is deprecated; use {group}/{newest} {kind}"),
        None => format!("{group}/{version} {kind} is deprecated"),
    }
}

/// The order of versions in discovery: stable ones first, newer ones before older ones, and names that are no versions of
/// Kubernetes last, by the alphabet.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    let (parsed_a, parsed_b) = (parse_version(a), parse_version(b));
    parsed_b.cmp(&parsed_a).then_with(|| a.cmp(b))
}

/// Stability (2 for stable, 1 for beta, 0 for alpha), major and minor; `None` is less than any.
fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let number = |text: &str| (!text.is_empty() && !text.starts_with('0')).then(|| text.parse::<u64>().ok()).flatten();
    let major = number(major)?;
    match rest {
        "" => Some((2, major, 0)),
        _ => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => Some((1, major, number(minor)?)),
            (_, Some(minor)) => Some((0, major, number(minor)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        let schema = |default: &str| {
            json!({"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "string", "default": default}}},
            }}})
        };
        json!({
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": schema("one"), "deprecated": true},
                    {"name": "v2", "served": true, "storage": false, "schema": schema("two")},
                    {"name": "v3", "served": false, "storage": false, "schema": schema("three")},
                ],
            },
            "status": {"conditions": [{"type": "Established", "status": "True"}]},
        })
    }

    #[test]
    fn only_what_is_served_of_an_established_definition_is_found() {
        let mut value = definition();
        let compiled = Definition::compile(&value);
        assert!(compiled.served("v1").is_some() && compiled.served("v3").is_none());
        let warned = compiled.served("v1").and_then(|v| v.deprecation.clone());
        assert_eq!(warned.as_deref(), Some("example.com/v1 Thing is deprecated; use example.com/v2 Thing"));
        value["status"] = json!({});
        assert!(Definition::compile(&value).served("v1").is_none());
    }

    #[test]
    fn objects_change_their_version_by_name_and_are_pruned_and_completed_as_stored() {
        let compiled = Definition::compile(&definition());
        let v2 = compiled.served("v2").expect("a version");
        let sent =
            json!({"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {}, "spec": {"a": null, "b": 1}});
        let stored = compiled.to_stored(sent).expect("an object");
        assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("example.com/v1"), &json!({"a": "one"})));
        let shown = compiled.view(stored, v2, true).expect("an object");
        assert_eq!((&shown["apiVersion"], &shown["spec"]), (&json!("example.com/v2"), &json!({"a": "one"})));
    }

    #[test]
    fn what_only_a_webhook_converts_is_refused() {
        let mut value = definition();
        value["spec"]["conversion"] = json!({"strategy": "Webhook"});
        let compiled = Definition::compile(&value);
        let sent = |version: &str| json!({"apiVersion": format!("example.com/{version}"), "spec": {}});
        assert!(compiled.to_stored(sent("v1")).is_ok());
        assert_eq!(compiled.to_stored(sent("v2")).expect_err("a webhook").code(), 500);
    }

    #[test]
    fn stable_and_newer_versions_come_first() {
        let mut versions = ["foo", "v10", "v2", "v11beta2", "v3alpha1", "bar", "v11beta1"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["v10", "v2", "v11beta2", "v11beta1", "v3alpha1", "bar", "foo"]);
    }
}
