//! Objects in request bodies: parsed, of the type that was to be sent, conforming to its definition. Refusals have
//! upstream's texts.

use crate::{Decoded, Definitions, Document, FieldValidation, conform, decode_json, decode_yaml};
use api::{Error, GroupVersion};
use serde_json::{Map, Value};
use std::fmt::Write;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

/// The type that a body is to be of.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

/// Reads an object. Where it does not name its type it is taken for the expected one; the value names it in any case.
/// An object of a type without a definition, as a custom resource, is taken as it is.
pub fn decode_object(
    defs: &Definitions,
    expected: Expected,
    bytes: &[u8],
    format: Format,
    mode: FieldValidation,
) -> api::Result<Decoded> {
    let mut document = match format {
        Format::Json => decode_json(bytes, mode).map_err(|error| expected.no_version(bytes, error.message()))?,
        Format::Yaml => decode_yaml(bytes, mode).map_err(|error| expected.unrecognized(bytes, error.message()))?,
    };
    let given = Given::of(&mut document, expected).map_err(|why| expected.no_version(bytes, &why))?;
    of_type(defs, expected, &given, document, mode)
}

/// Reads an object of a type without a definition, as a custom resource: its version is checked, its kind is the caller's to
/// check, and of its fields only those are told of that are given twice.
pub fn decode_untyped(expected: Expected, bytes: &[u8], format: Format, mode: FieldValidation) -> api::Result<Decoded> {
    let document = match format {
        Format::Json => decode_json(bytes, mode).map_err(|error| expected.no_version(bytes, error.message()))?,
        Format::Yaml => decode_yaml(bytes, mode).map_err(|error| expected.unrecognized(bytes, error.message()))?,
    };
    let warnings = if mode == FieldValidation::Ignore { Vec::new() } else { document.duplicates() };
    let mut document = Document::from(document.value);
    let named = |field: &str| document.value[field].as_str().is_some_and(|text| !text.is_empty());
    let missing = [("kind", "Kind"), ("apiVersion", "apiVersion")].into_iter().find(|(field, _)| !named(field));
    if let Some((_, name)) = missing.filter(|_| document.value.is_object()) {
        let text = String::from_utf8_lossy(bytes);
        return Err(expected.unrecognized(bytes, &format!("Object '{name}' is missing in '{text}'")));
    }
    let given = Given::of(&mut document, expected).map_err(|why| expected.no_version(bytes, &why))?;
    if given.group != expected.group || given.version != expected.version {
        let of = |group: &str, version: &str| GroupVersion { group: group.to_owned(), version: version.to_owned() };
        let (given, wanted) = (of(&given.group, &given.version), of(expected.group, expected.version));
        return Err(Error::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        )));
    }
    Ok(Decoded { value: document.value, warnings })
}

/// [`decode_object`] of what is a value already.
pub fn decode_value(
    defs: &Definitions,
    expected: Expected,
    value: Value,
    mode: FieldValidation,
) -> api::Result<Decoded> {
    let mut document = Document::from(value);
    let given = Given::of(&mut document, expected)
        .map_err(|why| expected.no_version(document.value.to_string().as_bytes(), &why))?;
    of_type(defs, expected, &given, document, mode)
}

impl Expected<'_> {
    fn unrecognized(self, bytes: &[u8], why: &str) -> Error {
        let (kind, shown) = (self.kind, summary(bytes));
        Error::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
    }

    fn no_version(self, bytes: &[u8], why: &str) -> Error {
        self.unrecognized(bytes, &format!("couldn't get version/kind; json parse error: {why}"))
    }
}

/// A document of the given type, conforming to it, if that is the expected one.
fn of_type(
    defs: &Definitions,
    expected: Expected,
    given: &Given,
    document: Document,
    mode: FieldValidation,
) -> api::Result<Decoded> {
    let mismatch = |why: &str| {
        let Given { kind, version, .. } = given;
        Error::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", expected.kind))
    };
    let def = defs.of_kind(&given.group, &given.version, &given.kind);
    let wanted = defs.of_kind(expected.group, expected.version, expected.kind);
    // Some types, as DeleteOptions, are of every group and version.
    let same = def.zip(wanted).is_some_and(|(def, wanted)| std::ptr::eq(def, wanted));
    let named = given.group == expected.group && given.version == expected.version && given.kind == expected.kind;
    let as_expected = same || named;
    let decoded = match def {
        Some(def) => conform(defs, def, document, mode).map_err(|error| mismatch(error.message()))?,
        None if as_expected => Decoded { value: document.value, warnings: Vec::new() },
        None => {
            let version = GroupVersion { group: given.group.clone(), version: given.version.clone() };
            let kind = &given.kind;
            return Err(mismatch(&format!(
                "no kind {kind:?} is registered for version \"{version}\" in scheme \"ursa\""
            )));
        }
    };
    if as_expected {
        return Ok(decoded);
    }
    let wanted = GroupVersion { group: expected.group.to_owned(), version: expected.version.to_owned() };
    if given.group == expected.group && given.kind == expected.kind {
        let (given, group) = (&given.version, &given.group);
        let given = GroupVersion { group: group.clone(), version: given.clone() };
        return Err(Error::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        )));
    }
    let Given { version, kind, .. } = given;
    let target = expected.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    Err(mismatch(&format!("converting ({version}.{kind}) to ({target}.{}): unknown conversion", expected.kind)))
}

/// The type that a body names.
struct Given {
    group: String,
    version: String,
    kind: String,
}

impl Given {
    /// Reads the type, and writes it where it is missing.
    fn of(document: &mut Document, expected: Expected) -> Result<Given, String> {
        if document.value.is_null() {
            document.value = Value::Object(Map::new());
        }
        let Value::Object(fields) = &mut document.value else {
            let go = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            let kind = crate::json::Tree::from(&document.value).go_kind();
            return Err(format!("json: cannot unmarshal {kind} into Go value of type {go}"));
        };
        let own = GroupVersion { group: expected.group.to_owned(), version: expected.version.to_owned() };
        let mut complete = |field: &str, default: &str| match fields.get(field) {
            Some(Value::String(given)) if !given.is_empty() => Ok(given.clone()),
            None | Some(Value::Null | Value::String(_)) => {
                fields.insert(field.to_owned(), default.into());
                Ok(default.to_owned())
            }
            Some(other) => {
                let kind = crate::json::Tree::from(other).go_kind();
                Err(format!("json: cannot unmarshal {kind} into Go struct field .{field} of type string"))
            }
        };
        let GroupVersion { group, version } = GroupVersion::parse(&complete("apiVersion", &own.to_string())?);
        Ok(Given { group, version, kind: complete("kind", expected.kind)? })
    }
}

/// The beginning of a body, as text if it looks like JSON.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let start = &bytes[..bytes.len().min(SHOWN)];
    let mut shown = match start {
        [] => return "<empty>".to_owned(),
        [b'{', ..] => String::from_utf8_lossy(start).into_owned(),
        _ => start.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes all that is written");
            hex
        }),
    };
    if bytes.len() > SHOWN {
        shown.push_str(" ...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    const CONFIG_MAP: Expected = Expected { group: "", version: "v1", kind: "ConfigMap" };

    fn decode(expected: Expected, body: &str, format: Format) -> api::Result<Decoded> {
        decode_object(builtin(), expected, body.as_bytes(), format, FieldValidation::Strict)
    }

    #[track_caller]
    fn check_fails(body: &str, message: &str) {
        let error = decode(CONFIG_MAP, body, Format::Json).expect_err(body);
        assert_eq!((error.code(), error.message()), (400, message), "{body}");
    }

    #[test]
    fn a_type_that_is_not_named_is_the_expected_one() {
        for body in [r#"{"metadata":{"name":"a"}}"#, r#"{"kind":"","apiVersion":"v1","metadata":{"name":"a"}}"#] {
            let decoded = decode(CONFIG_MAP, body, Format::Json).expect(body);
            assert_eq!((&decoded.value["kind"], &decoded.value["apiVersion"]), (&"ConfigMap".into(), &"v1".into()));
        }
        assert!(decode(CONFIG_MAP, "", Format::Yaml).is_ok());
        assert!(decode(CONFIG_MAP, "null", Format::Json).is_ok());
        let custom = Expected { group: "example.com", version: "v1", kind: "Thing" };
        let decoded = decode(custom, r#"{"spec":{"any":1}}"#, Format::Json).expect("a custom resource");
        assert_eq!(decoded.value["spec"]["any"], 1);
        let options = Expected { group: "apps", version: "v1", kind: "DeleteOptions" };
        assert!(decode(options, r#"{"apiVersion":"v1","kind":"DeleteOptions"}"#, Format::Json).is_ok());
    }

    #[test]
    fn a_value_is_read_as_its_text_is() {
        let bodies = [
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"kind":"ConfigMap","foo":1}"#,
            r#"{"kind":"Secret","apiVersion":"v1"}"#,
            r#"{"data":{"a":1}}"#,
            r#"{"apiVersion":"v1","kind":1}"#,
            r#"[1,2]"#,
        ];
        let shown = |decoded: api::Result<Decoded>| {
            decoded.map(|decoded| decoded.value).map_err(|error| error.message().to_owned())
        };
        for body in bodies {
            let value = serde_json::from_str(body).expect(body);
            let by_value = decode_value(builtin(), CONFIG_MAP, value, FieldValidation::Strict);
            assert_eq!(shown(by_value), shown(decode(CONFIG_MAP, body, Format::Json)), "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_unrecognized() {
        let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
                            json parse error: ";
        check_fails("", &format!("{unrecognized}unexpected end of JSON input (<empty>)"));
        check_fails("  ", &format!("{unrecognized}unexpected end of JSON input (2020)"));
        check_fails("{", &format!("{unrecognized}unexpected end of JSON input ({{)"));
        let go =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        check_fails("[]", &format!("{unrecognized}json: cannot unmarshal array into Go value of type {go} (5b5d)"));
        check_fails(
            r#"{"apiVersion":"v1","kind":1,"metadata":{}}"#,
            &format!(
                "{unrecognized}json: cannot unmarshal number into Go struct field .kind of type string \
                 ({{\"apiVersion\":\"v1\",\"kind\":1,\"m ...)"
            ),
        );
        let error = decode(CONFIG_MAP, "a: [", Format::Yaml).expect_err("no YAML");
        assert!(
            error.message().starts_with("the object provided is unrecognized (must be of type ConfigMap): yaml: line")
        );
    }

    #[test]
    fn another_type_is_refused() {
        let cannot = "cannot be handled as a ConfigMap";
        check_fails(
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            &format!(
                "Secret in version \"v1\" {cannot}: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
            ),
        );
        check_fails(
            r#"{"apiVersion":"v1","kind":"Nope"}"#,
            &format!(
                "Nope in version \"v1\" {cannot}: no kind \"Nope\" is registered for version \"v1\" in scheme \"ursa\""
            ),
        );
        check_fails(
            r#"{"apiVersion":"apps/v1","kind":"ConfigMap"}"#,
            &format!(
                "ConfigMap in version \"v1\" {cannot}: no kind \"ConfigMap\" is registered for version \"apps/v1\" in scheme \
                 \"ursa\""
            ),
        );
        let expected = Expected { group: "autoscaling", version: "v1", kind: "HorizontalPodAutoscaler" };
        let body = r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler"}"#;
        let error = decode(expected, body, Format::Json).expect_err("another version");
        let message =
            "the API version in the data (autoscaling/v2) does not match the expected API version (autoscaling/v1)";
        assert_eq!(error.message(), message);
    }

    #[test]
    fn a_body_that_does_not_conform_is_refused_by_name() {
        check_fails(
            r#"{"data":{"a":1}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct \
             field ConfigMap.data of type string",
        );
        check_fails(
            r#"{"foo":1,"metadata":{"name":"a","name":"b"}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\", \
             duplicate field \"metadata.name\"",
        );
    }
}
