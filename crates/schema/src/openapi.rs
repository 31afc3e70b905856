//! Signatures being filled in.
use api::Kind;
use bytes::Bytes;
use std::sync::Arc;

/// The OpenAPI documents of a set of kinds, computed on first use and kept.
pub struct Published {}

/// A document with its ETag.
#[derive(Clone, Debug)]
pub struct Hashed {
    pub bytes: Bytes,
    /// SHA-512 of the bytes, upper-case hexadecimal, without quotes.
    pub hash: String,
}

impl Published {
    pub fn new(_kinds: &[Arc<Kind>]) -> Published {
        Published {}
    }

    /// `/openapi/v3`.
    pub fn v3_index(&self) -> &Hashed {
        self.v2_json()
    }

    /// `/openapi/v3/{path}`, e.g. of `api/v1` or `apis/apps/v1`.
    pub fn v3_document(&self, _path: &str) -> Option<&Hashed> {
        None
    }

    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> &Hashed {
        static EMPTY: Hashed = Hashed { bytes: Bytes::new(), hash: String::new() };
        &EMPTY
    }

    /// `/openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
    pub fn v2_protobuf(&self) -> &Hashed {
        self.v2_json()
    }
}
