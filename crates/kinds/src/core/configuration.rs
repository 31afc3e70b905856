//! Config maps, secrets and service accounts.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::names;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, is_empty, is_true, keep, list, members, object, remove, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What the values of one object may weigh.
const BYTES_MAX: usize = 1 << 20;
const DATA: Path = Path::new("data");

pub(crate) static CONFIG_MAPS: Strategy = Strategy {
    validate: |object| {
        Causes::of(|causes| {
            let mut bytes = 0;
            for (key, value) in members(&object["data"]) {
                causes.each_invalid(&DATA.key(key), key, names::config_map_key(key));
                if object["binaryData"].get(key).is_some() {
                    causes.invalid(&DATA.key(key), key, "duplicate of key present in binaryData");
                }
                bytes += text(value).len();
            }
            let binary = Path::new("binaryData");
            for (key, value) in members(&object["binaryData"]) {
                causes.each_invalid(&binary.key(key), key, names::config_map_key(key));
                bytes += decoded_bytes(value);
            }
            if bytes > BYTES_MAX {
                // As a path without steps is written.
                causes.too_long(&Path::new("[]"), BYTES_MAX);
            }
        })
    },
    validate_update: |new, old| Causes::of(|causes| unchanged(new, old, &["data", "binaryData"], causes)),
    columns: &[NAME, column("Data", "io.k8s.api.core.v1.ConfigMap", "data"), AGE],
    row: |object, now| {
        let count = members(&object["data"]).count() + members(&object["binaryData"]).count();
        vec![object["metadata"]["name"].clone(), json!(count), age(object, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static SECRETS: Strategy = Strategy {
    defaults: |secret| {
        default(secret, "type", "Opaque");
        merge_string_data(secret);
    },
    prepare_update: |new, old| {
        if is_empty(&new["type"]) {
            keep(new, old, "type");
        }
    },
    validate: |secret| Causes::of(|causes| validate_secret(secret, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["type"] != old["type"] {
                causes.immutable(&Path::new("type"), &new["type"]);
            }
            unchanged(new, old, &["data"], causes);
        })
    },
    columns: SECRET_COLUMNS,
    row: |object, now| {
        let count = members(&object["data"]).count();
        vec![object["metadata"]["name"].clone(), object["type"].clone(), json!(count), age(object, now)]
    },
    ..Strategy::PLAIN
};

const SECRET_COLUMNS: &[Column] = &[
    NAME,
    column("Type", "io.k8s.api.core.v1.Secret", "type"),
    column("Data", "io.k8s.api.core.v1.Secret", "data"),
    AGE,
];

pub(crate) static SERVICE_ACCOUNTS: Strategy = Strategy {
    columns: &[NAME, column("Secrets", "io.k8s.api.core.v1.ServiceAccount", "secrets").wide(), AGE],
    row: |object, now| {
        vec![object["metadata"]["name"].clone(), json!(list(&object["secrets"]).len()), age(object, now)]
    },
    ..Strategy::PLAIN
};

/// What an immutable object may not change.
fn unchanged(new: &Value, old: &Value, fields: &[&str], causes: &mut Causes) {
    if !is_true(&old["immutable"]) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !is_true(&new["immutable"]) {
        causes.forbidden(&Path::new("immutable"), why);
    }
    let same = |field: &str| new[field] == old[field] || (is_empty(&new[field]) && is_empty(&old[field]));
    for field in fields.iter().filter(|field| !same(field)) {
        causes.forbidden(&Path::new(field), why);
    }
}

/// `stringData` is written into `data`, and never read.
fn merge_string_data(secret: &mut Value) {
    let texts = secret["stringData"].clone();
    remove(secret, "stringData");
    if is_empty(&texts) {
        return;
    }
    if let Some(data) = object(secret, "data") {
        for (key, value) in members(&texts) {
            data.insert(key.to_owned(), Value::from(STANDARD.encode(text(value))));
        }
    }
}

fn decoded_bytes(value: &Value) -> usize {
    text(value).trim_end_matches('=').len() * 3 / 4
}

fn validate_secret(secret: &Value, causes: &mut Causes) {
    let data = &secret["data"];
    let mut bytes = 0;
    for (key, value) in members(data) {
        causes.each_invalid(&DATA.key(key), key, names::config_map_key(key));
        bytes += decoded_bytes(value);
    }
    if bytes > BYTES_MAX {
        causes.too_long(&DATA, BYTES_MAX);
    }
    let required = |keys: &[&str], causes: &mut Causes| {
        for key in keys.iter().filter(|key| data.get(**key).is_none()) {
            causes.required(&DATA.key(key), "");
        }
    };
    match text(&secret["type"]) {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if is_empty(&secret["metadata"]["annotations"][name]) {
                causes.required(&Path::new("metadata").child("annotations").key(name), "");
            }
        }
        "kubernetes.io/dockercfg" => docker_config(data, ".dockercfg", causes),
        "kubernetes.io/dockerconfigjson" => docker_config(data, ".dockerconfigjson", causes),
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            required(&["username", "password"], causes);
        }
        "kubernetes.io/ssh-auth" if is_empty(&data["ssh-privatekey"]) => {
            causes.required(&DATA.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => required(&["tls.crt", "tls.key"], causes),
        _ => {}
    }
}

fn docker_config(data: &Value, key: &str, causes: &mut Causes) {
    match data[key].as_str() {
        None => causes.required(&DATA.key(key), ""),
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).unwrap_or_default();
            let mut refuse = |why: &str| causes.invalid(&DATA.key(key), "<secret contents redacted>", why);
            match schema::decode_json(&bytes, schema::FieldValidation::Ignore) {
                Ok(document) if document.value.is_object() || document.value.is_null() => {}
                Ok(_) => refuse("json: cannot unmarshal into Go value of type map[string]interface {}"),
                Err(why) => refuse(why.message()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check;

    #[test]
    fn keys_of_config_maps_are_file_names() {
        let of = |value: Value| (CONFIG_MAPS.validate)(&value);
        check(&of(json!({"data": {"a.b_c-d": "x"}, "binaryData": {"e": "AAA="}})), &[]);
        check(&of(json!({"data": {"..": "", "a/b": ""}})), &["Invalid data[..]", "Invalid data[a/b]"]);
        check(&of(json!({"data": {"a": ""}, "binaryData": {"a": ""}})), &["Invalid data[a]"]);
        check(&of(json!({"data": {"a": "x".repeat(BYTES_MAX + 1)}})), &["TooLong []"]);
    }

    #[test]
    fn secrets_hold_what_their_type_needs() {
        let of = |kind: &str, data: Value| (SECRETS.validate)(&json!({"type": kind, "data": data}));
        check(&of("Opaque", json!({})), &[]);
        check(&of("kubernetes.io/tls", json!({"tls.crt": "eA=="})), &["Required data[tls.key]"]);
        check(&of("kubernetes.io/basic-auth", json!({"username": "eA=="})), &[]);
        check(
            &of("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "eA=="})),
            &["Invalid data[.dockerconfigjson]"],
        );
        check(&of("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="})), &[]);
        let token = "metadata.annotations[kubernetes.io/service-account.name]";
        check(&of("kubernetes.io/service-account-token", json!({})), &[&format!("Required {token}")]);
    }

    #[test]
    fn texts_of_a_secret_become_data() {
        let mut secret = json!({"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "z"}});
        (SECRETS.defaults)(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "eA==", "b": "eg=="}}));
    }

    #[test]
    fn an_immutable_object_stays() {
        let old = json!({"immutable": true, "data": {"a": "b"}});
        let of = |new: Value| (CONFIG_MAPS.validate_update)(&new, &old);
        check(&of(old.clone()), &[]);
        check(&of(json!({"data": {}})), &["Forbidden immutable", "Forbidden data"]);
    }
}
