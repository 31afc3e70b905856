//! Patches: which type a request sends, and what it makes of an object.

use crate::body;
use crate::handler::header_text;
use crate::options::{WriteOptions, WriteVerb};
use crate::registry::{self, Call, Changed, Live};
use api::{Error, GroupVersion, Kind, Reason, Result};
use bytes::Bytes;
use http::{HeaderMap, header};
use kinds::custom::Version;
use schema::patch::{self, Operations};
use schema::{Decoded, Document, FieldValidation};
use serde_json::{Map, Value};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A patch, parsed as far as it can be without the object.
pub enum Patch {
    /// Says what changes.
    Change(Change),
    /// Says what is to be.
    Apply(Config),
}

/// Which options go with the request's type of patch. 415 for other types.
pub fn verb(headers: &HeaderMap) -> Result<WriteVerb> {
    match media_type(headers) {
        JSON | MERGE | STRATEGIC => Ok(WriteVerb::Patch),
        APPLY => Ok(WriteVerb::Apply),
        _ => Err(Error::new(api::Reason::UnsupportedMediaType, "415: Unsupported Media Type").with_details()),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    header_text(headers, &header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

impl Patch {
    /// Reads the type from the header, and the body. 415 for other types.
    pub fn parse(headers: &HeaderMap, bytes: Bytes, validation: FieldValidation) -> Result<Patch> {
        let (how, messages) = match media_type(headers) {
            JSON => {
                let (operations, messages) = patch::decode_json(&bytes, validation)?;
                (How::Json(operations), messages)
            }
            MERGE => {
                let document = patch::decode_merge(&bytes, validation)?;
                let messages = document.duplicates();
                (How::Merge(document.value), messages)
            }
            STRATEGIC => {
                let document = patch::decode_strategic(&bytes, validation)?;
                let messages = document.duplicates();
                (How::Strategic(document.value), messages)
            }
            _ => {
                verb(headers)?;
                return Config::parse(&bytes, validation).map(Patch::Apply);
            }
        };
        Ok(Patch::Change(Change { how, messages, validation }))
    }
}

/// A patch of changes.
pub struct Change {
    how: How,
    /// What the client is to be told about the patch's own fields.
    messages: Vec<String>,
    validation: FieldValidation,
}

enum How {
    Json(Operations),
    Merge(Value),
    Strategic(Value),
}

impl Change {
    /// The patched object of a kind that a tenant defines.
    pub fn apply_custom(&self, version: &Version, live: Live<'_>) -> Result<Decoded> {
        let target = if self.sees_managers() { live.whole() } else { live.value.clone() };
        let mut value = match &self.how {
            How::Json(operations) => patch::json(target, operations).map_err(Error::with_details)?,
            How::Merge(patch) => patch::merge(target, patch),
            How::Strategic(_) => return Err(body::unsupported_custom(&[JSON, MERGE, APPLY].join(", "))),
        };
        let outcome = value.clone();
        if !value.is_object() || !value["metadata"].is_object() {
            return Err(patch::invalid(&outcome, &Error::bad_request("it is no object with metadata")));
        }
        let mut warnings = self.messages.clone();
        warnings.extend(version.decode(&mut value, self.validation).map_err(|error| match error.reason() {
            Reason::BadRequest => patch::invalid(&outcome, &error),
            _ => error,
        })?);
        if self.validation == FieldValidation::Strict && !warnings.is_empty() {
            let why = format!("strict decoding error: {}", warnings.join(", "));
            return Err(patch::invalid(&outcome, &Error::bad_request(why)));
        }
        if self.validation == FieldValidation::Ignore {
            warnings.clear();
        }
        Ok(Decoded { value, warnings })
    }

    /// The patched object, conforming to its schema.
    pub fn apply(&self, kind: &Kind, live: Live<'_>) -> Result<Decoded> {
        let definitions = schema::builtin();
        let definition = definitions.of_kind(&kind.group, &kind.version, &kind.kind);
        let target = if self.sees_managers() { live.whole() } else { live.value.clone() };
        // What a patch removes of the type is taken for what it was.
        let retyped = |patched: &Value, field: &str| {
            !patched[field].is_null() && patched[field] != "" && patched[field] != live.value[field]
        };
        let mut patched = match &self.how {
            // What cannot be applied is a generic error upstream, with empty details.
            How::Json(operations) => patch::json(target, operations).map_err(Error::with_details)?,
            How::Merge(patch) => patch::merge(target, patch),
            How::Strategic(patch) => match definition {
                Some(definition) => patch::strategic(definitions, definition, target, patch)?,
                None => return Err(body::unsupported(&[JSON, MERGE, APPLY].join(", ")).with_details()),
            },
        };
        let Some(definition) = definition else { return Ok(Decoded { value: patched, warnings: Vec::new() }) };
        if retyped(&patched, "kind") || retyped(&patched, "apiVersion") {
            let why = Error::bad_request("the type of an object cannot be changed");
            return Err(patch::invalid(&patched, &why));
        }
        for field in ["apiVersion", "kind"] {
            if patched.is_object() {
                patched[field] = live.value[field].clone();
            }
        }
        let document = Document::derived(&patched, self.messages.clone());
        schema::conform(definitions, definition, document, self.validation).map_err(|why| match &self.how {
            How::Strategic(patch) => patch::invalid_strategic(patch, &why),
            How::Json(_) | How::Merge(_) => patch::invalid(&patched, &why),
        })
    }

    /// Whether the managers of fields have to be in the object that is patched. Most patches do not look at them.
    fn sees_managers(&self) -> bool {
        match &self.how {
            How::Json(operations) => operations.reach(&["metadata", "managedFields"]),
            How::Merge(patch) | How::Strategic(patch) => {
                patch["metadata"].get("managedFields").is_some() || patch["metadata"].get("$patch").is_some()
            }
        }
    }
}

/// What an object is to be, as far as its author has an opinion.
pub struct Config {
    value: Value,
    warnings: Vec<String>,
}

impl Config {
    fn parse(bytes: &[u8], validation: FieldValidation) -> Result<Config> {
        let undecodable = |why: &str| Error::bad_request(format!("error decoding YAML: {why}"));
        let document = schema::decode_yaml(bytes, validation)
            .map_err(|error| undecodable(&format!("error converting YAML to JSON: {}", error.message())))?;
        let duplicates = document.duplicates();
        let value = match document.value {
            Value::Object(map) => Value::Object(map),
            Value::Null => Value::Object(Map::new()),
            other => {
                let json = "error unmarshaling JSON: while decoding JSON: json";
                let kind = schema::go_kind(&other);
                let why = format!("{json}: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
                return Err(undecodable(&why));
            }
        };
        Ok(Config { value, warnings: duplicates })
    }

    /// What the client is to be told.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The configuration of the kind's object, which is at hand as `live` or absent: its null value.
    pub fn apply(&self, call: Call<'_>, options: &WriteOptions, subresource: &str, live: Live<'_>) -> Result<Changed> {
        let kind = call.kind;
        self.check_type(&kind.group, &kind.version, &kind.kind)?;
        let given = Some(live).filter(|live| !live.value.is_null());
        let mut applied = registry::apply(call, options, subresource, given, &self.value)?;
        self.check_duplicates(options)?;
        let definitions = schema::builtin();
        if let Some(definition) = definitions.of_kind(&kind.group, &kind.version, &kind.kind) {
            applied.value = schema::conform(definitions, definition, applied.value, FieldValidation::Ignore)?.value;
        }
        if let Some(custom) = call.custom {
            let told = custom.version.decode(&mut applied.value, options.validation)?;
            if options.validation == FieldValidation::Strict && !told.is_empty() {
                return Err(Error::bad_request(format!("strict decoding error: {}", told.join(", "))));
            }
        }
        Ok(applied)
    }

    /// The configuration of an object's scale, as one of the object.
    pub fn apply_scale(&self, call: Call<'_>, options: &WriteOptions, live: Live<'_>) -> Result<Changed> {
        self.check_type("autoscaling", "v1", "Scale")?;
        schema::managed::check("autoscaling", "v1", "Scale", &self.value)
            .map_err(|why| Error::new(Reason::Unknown, why))?;
        let mut config = serde_json::json!({
            "apiVersion": call.kind.api_version(), "kind": call.kind.kind, "metadata": {}, "spec": {},
        });
        if !self.value["spec"]["replicas"].is_null() {
            call.set_scale(&mut config, &self.value)?;
        }
        let mut applied = registry::apply(call, options, "scale", Some(live), &config)?;
        self.check_duplicates(options)?;
        for field in ["resourceVersion", "uid"] {
            let given = &self.value["metadata"][field];
            if !given.is_null() {
                applied.value["metadata"][field] = given.clone();
            }
        }
        Ok(applied)
    }

    /// The object that is to be, as it was sent.
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn check_type(&self, group: &str, version: &str, kind: &str) -> Result<()> {
        let text = |field: &str| self.value[field].as_str().unwrap_or_default();
        let given = GroupVersion::parse(text("apiVersion"));
        if given.group == group && given.version == version && text("kind") == kind {
            if !self.value["metadata"]["managedFields"].is_null() {
                return Err(Error::bad_request("metadata.managedFields must be nil"));
            }
            return Ok(());
        }
        let GroupVersion { group, version } = given;
        Err(Error::bad_request(format!("invalid object type: {group}/{version}, Kind={}", text("kind"))))
    }

    fn check_duplicates(&self, options: &WriteOptions) -> Result<()> {
        match self.warnings.first() {
            Some(told) if options.validation == FieldValidation::Strict => {
                Err(Error::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {told}")))
            }
            _ => Ok(()),
        }
    }
}
