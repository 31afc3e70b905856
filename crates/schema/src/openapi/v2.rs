//! The OpenAPI v2 document of all kinds, for clients that know no other.

use super::REFERENCE;
use super::operations::{Contents, Operation, Parameter, TYPES};
use super::schemas::Schemas;
use api::Kind;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The document of some kinds.
pub(super) fn document(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Value {
    let contents = Contents::of(schemas, kinds);
    let definitions = contents.definitions.iter().map(|(name, definition)| (name.clone(), schema(definition)));
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": contents.print_paths(print, parameter),
        "definitions": definitions.collect::<Map<_, _>>(),
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// What kinds that a tenant defines add to it.
pub(super) fn custom_document(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Value {
    let contents = Contents::of_custom(schemas, kinds);
    let own = contents.definitions.iter().filter(|(name, _)| schemas.is_added(name));
    let definitions = own.map(|(name, definition)| (name.clone(), schema(definition)));
    json!({"paths": contents.print_paths(print, parameter), "definitions": definitions.collect::<Map<_, _>>()})
}

/// A schema of v3 in the words of v2, which has no defaults here, no alternatives, and other references.
fn schema(v3: &Value) -> Value {
    let Value::Object(v3) = v3 else { return v3.clone() };
    let mut v2 = Map::new();
    for (key, value) in v3 {
        match (key.as_str(), value) {
            ("default" | "anyOf", _) => {}
            ("oneOf", _) => {
                v2.insert("type".to_owned(), json!("string"));
            }
            ("allOf", value) => v2.extend(schema(&value[0]).as_object().cloned().unwrap_or_default()),
            ("$ref", Value::String(reference)) => {
                v2.insert(key.clone(), json!(reference.replace(REFERENCE, "#/definitions/")));
            }
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, property)| (name.clone(), schema(property)));
                v2.insert(key.clone(), Value::Object(properties.collect()));
            }
            ("items" | "additionalProperties", value) => {
                v2.insert(key.clone(), schema(value));
            }
            (_, value) => {
                v2.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(v2)
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/definitions/{definition}")})
}

fn print(operation: &Operation) -> Value {
    let answer = reference(&operation.answer);
    let answers =
        operation.codes.iter().map(|(code, text)| ((*code).to_owned(), json!({"description": text, "schema": answer})));
    let unauthorized = [("401".to_owned(), json!({"description": "Unauthorized"}))];
    let body = operation.body.definition().map(|definition| {
        let required = operation.body.is_required();
        json!({"in": "body", "name": "body", "required": required, "schema": reference(&definition)})
    });
    let mut printed = json!({
        "consumes": operation.body.types(),
        "description": operation.description,
        "operationId": operation.id,
        "parameters": body.into_iter().chain(operation.parameters.iter().map(parameter)).collect::<Vec<_>>(),
        "produces": TYPES,
        "responses": answers.chain(unauthorized).collect::<Map<_, _>>(),
        "schemes": ["https"],
        "tags": [operation.tag],
    });
    if let Some([group, version, kind]) = &operation.kind {
        printed["x-kubernetes-action"] = json!(operation.action);
        printed["x-kubernetes-group-version-kind"] = json!({"group": group, "kind": kind, "version": version});
    }
    printed
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { name, kind, in_path, description } = parameter;
    if *in_path {
        return json!({"name": name, "in": "path", "required": true, "description": description, "type": kind, "uniqueItems": true});
    }
    json!({"name": name, "in": "query", "description": description, "type": kind, "uniqueItems": true})
}
