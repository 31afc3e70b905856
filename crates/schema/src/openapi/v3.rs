//! An OpenAPI v3 document: the kinds of one group and version.

use super::REFERENCE;
use super::operations::{Contents, Operation, Parameter, TYPES};
use super::schemas::Schemas;
use api::Kind;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The document of some kinds.
pub(super) fn document(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Value {
    let contents = Contents::of(schemas, kinds);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": contents.print_paths(print, parameter),
        "components": {
            "schemas": contents.definitions,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer token authentication", "in": "header", "name": "authorization", "type": "apiKey",
            }},
        },
    })
}

/// The document of kinds that a tenant defines.
pub(super) fn custom_document(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Value {
    let contents = Contents::of_custom(schemas, kinds);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": contents.print_paths(print, parameter),
        "components": {"schemas": contents.definitions},
    })
}

fn print(operation: &Operation) -> Value {
    let answers = operation.codes.iter().map(|(code, text)| {
        ((*code).to_owned(), json!({"content": content(&TYPES, &operation.answer), "description": text}))
    });
    let unauthorized = [("401".to_owned(), json!({"description": "Unauthorized"}))];
    let mut printed = json!({
        "description": operation.description,
        "operationId": operation.id,
        "responses": answers.chain(unauthorized).collect::<Map<_, _>>(),
        "tags": [operation.tag],
    });
    if !operation.parameters.is_empty() {
        printed["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(definition) = operation.body.definition() {
        let content = content(operation.body.types(), &definition);
        printed["requestBody"] = json!({"content": content, "required": operation.body.is_required()});
    }
    if let Some([group, version, kind]) = &operation.kind {
        printed["x-kubernetes-action"] = json!(operation.action);
        printed["x-kubernetes-group-version-kind"] = json!({"group": group, "kind": kind, "version": version});
    }
    printed
}

fn content(types: &[&str], definition: &str) -> Value {
    let schema = json!({"schema": {"$ref": format!("{REFERENCE}{definition}")}});
    types.iter().map(|media| ((*media).to_owned(), schema.clone())).collect::<Map<_, _>>().into()
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { name, kind, in_path, description } = parameter;
    let schema = json!({"type": kind, "uniqueItems": true});
    if *in_path {
        return json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema});
    }
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}
