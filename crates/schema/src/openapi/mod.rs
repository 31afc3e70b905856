//! Publishing: the OpenAPI documents of a set of kinds, v3 by group and version and v2 in one, with strong hashes.
//!
//! Documents are made when they are first asked for, and kept from then on. The index of the v3 documents needs only
//! their hashes, so it keeps nothing of them.

mod custom;
mod enums;
mod operations;
mod protobuf;
mod schemas;
mod v2;
mod v3;

pub use custom::{Addition, CustomKind, custom_document};

use crate::sources::REFERENCE;
use api::Kind;
use bytes::Bytes;
use schemas::Schemas;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The OpenAPI documents of a set of kinds.
pub struct Published {
    kinds: Vec<Arc<Kind>>,
    /// By path, `apis/apps/v1`.
    groups: BTreeMap<String, Group>,
    index: OnceLock<Hashed>,
    v2_json: OnceLock<SecondVersion>,
    v2_protobuf: OnceLock<Hashed>,
}

/// The v2 document, and where its definitions and its paths end.
struct SecondVersion {
    document: Hashed,
    ends: [usize; 2],
}

/// The kinds of one group and version, and their document.
struct Group {
    kinds: Vec<Arc<Kind>>,
    document: OnceLock<Hashed>,
}

/// A document with its hash.
#[derive(Clone, Debug)]
pub struct Hashed {
    pub bytes: Bytes,
    /// SHA-512 of the bytes, upper-case hexadecimal: the ETag without its quotes, and the `hash` of the index.
    pub hash: String,
}

impl Hashed {
    fn new(bytes: Vec<u8>) -> Hashed {
        let hash = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        Hashed { bytes: bytes.into(), hash }
    }

    fn of_json(value: &Value) -> Hashed {
        Hashed::new(value.to_string().into_bytes())
    }

    /// A document made of this one and what `hash` tells from anything else that was added.
    fn with(&self, hash: &str, parts: &[&[u8]]) -> Hashed {
        let Hashed { hash, .. } = Hashed::new(format!("{}/{hash}", self.hash).into_bytes());
        Hashed { bytes: parts.concat().into(), hash }
    }
}

impl Published {
    pub fn new(kinds: &[Arc<Kind>]) -> Published {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for kind in kinds {
            let group = groups
                .entry(path_of(&kind.group, &kind.version))
                .or_insert_with(|| Group { kinds: Vec::new(), document: OnceLock::new() });
            group.kinds.push(kind.clone());
        }
        Published {
            kinds: kinds.to_vec(),
            groups,
            index: OnceLock::new(),
            v2_json: OnceLock::new(),
            v2_protobuf: OnceLock::new(),
        }
    }

    /// `/openapi/v3`: where each document is, by a URL that holds its hash.
    pub fn v3_index(&self) -> &Hashed {
        self.index.get_or_init(|| {
            let schemas = Schemas::version_3();
            let paths: Map<String, Value> = self
                .groups
                .iter()
                .map(|(path, group)| {
                    let hash = match group.document.get() {
                        Some(document) => document.hash.clone(),
                        None => Hashed::of_json(&v3::document(&schemas, &group.kinds)).hash,
                    };
                    (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
                })
                .collect();
            Hashed::of_json(&json!({"paths": paths}))
        })
    }

    /// `/openapi/v3/{path}`, e.g. of `api/v1` or `apis/apps/v1`.
    pub fn v3_document(&self, path: &str) -> Option<&Hashed> {
        let group = self.groups.get(path)?;
        let make = || Hashed::of_json(&v3::document(&Schemas::version_3(), &group.kinds));
        Some(group.document.get_or_init(make))
    }

    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> &Hashed {
        &self.second_version().document
    }

    /// [`Published::v2_json`] with a tenant's own kinds. `hash` tells them from all others.
    pub fn v2_json_with(&self, addition: &Addition, hash: &str) -> Hashed {
        let SecondVersion { document, ends: [definitions, paths] } = self.second_version();
        let text = &document.bytes;
        let (own_definitions, own_paths) = (addition.definitions.as_bytes(), addition.paths.as_bytes());
        let parts = [&text[..*definitions], own_definitions, &text[*definitions..*paths], own_paths, &text[*paths..]];
        document.with(hash, &parts)
    }

    fn second_version(&self) -> &SecondVersion {
        self.v2_json.get_or_init(|| {
            let mut rest = self.v2_document();
            let (definitions, paths) = (rest["definitions"].take(), rest["paths"].take());
            if let Some(fields) = rest.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            let mut text = format!("{{\"definitions\":{definitions}");
            let definitions = text.len() - 1;
            text.push_str(&format!(",\"paths\":{paths}"));
            let paths = text.len() - 1;
            text.push_str(&rest.to_string().replacen('{', ",", 1));
            SecondVersion { document: Hashed::new(text.into_bytes()), ends: [definitions, paths] }
        })
    }

    /// `/openapi/v2` as `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`, which clients ask for with an `@`
    /// before `v1.0` as well; that cannot be a media type of an answer.
    pub fn v2_protobuf(&self) -> &Hashed {
        self.v2_protobuf.get_or_init(|| Hashed::new(protobuf::encode(&self.v2_document())))
    }

    /// [`Published::v2_protobuf`] with a tenant's own kinds.
    pub fn v2_protobuf_with(&self, addition: &Addition, hash: &str) -> Hashed {
        let document = self.v2_protobuf();
        document.with(hash, &[&document.bytes, &addition.protobuf])
    }

    fn v2_document(&self) -> Value {
        v2::document(&Schemas::published(), &self.kinds)
    }
}

/// `api/v1` or `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}
