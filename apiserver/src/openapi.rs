//! `/openapi/v2` and `/openapi/v3`: everyone's documents, and what a tenant's own kinds make of them.
//!
//! What a tenant's kinds take is made when it is first asked for. Invariant: it is found by the tenant's uid and by the
//! definitions that it was made of; what is kept weighs no more than `KEPT_BYTES_MAX`, and what was asked for longest ago goes
//! first.

use crate::custom::Listing;
use crate::handler::header_text;
use crate::respond;
use crate::server::Server;
use api::{Error, Kind, ObjectKey, ResourceId, Result, Space, TenantName};
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kinds::custom::{GROUP, PLURAL};
use parking_lot::Mutex;
use schema::openapi::{Addition, CustomKind, Hashed, custom_document};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// What is kept of all tenants' documents.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Definitions of one document weigh no more than this together: kinds beyond are served and not described.
const DESCRIBED_BYTES_MAX: usize = 8 << 20;

const JSON: &str = "application/json";
/// Clients ask for it with an at sign and take it with a dot.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers `/openapi/v2`.
pub fn version_2(server: &Server, tenant: Option<&TenantName>, headers: &HeaderMap) -> Result<Response<Body>> {
    let published = &server.published;
    let protobuf = header_text(headers, &header::ACCEPT).is_some_and(|accept| accept.contains("proto-openapi.spec.v2"));
    let content_type = if protobuf { PROTOBUF } else { JSON };
    let own = tenant.map(|tenant| Own::of(server, tenant)).transpose()?.flatten();
    let Some(own) = own else {
        let document = if protobuf { published.v2_protobuf() } else { published.v2_json() };
        return Ok(answer(document, content_type, headers));
    };
    let kept = server.documents.get(&own, "", || {
        let versions = own.listing.groups.values().flatten();
        Ok(Document::Addition(Arc::new(Addition::of(own.described(versions.flat_map(|(_, kinds)| kinds))?))))
    })?;
    let Document::Addition(addition) = kept else {
        return Err(Error::internal("there is one document without a path"));
    };
    let hash = own.hash("");
    let document = match protobuf {
        true => published.v2_protobuf_with(&addition, &hash),
        false => published.v2_json_with(&addition, &hash),
    };
    Ok(answer(&document, content_type, headers))
}

/// Answers `/openapi/v3` and what is below it.
pub fn version_3(
    server: &Server,
    tenant: Option<&TenantName>,
    below: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>> {
    let path = below.trim_start_matches("/openapi/v3").trim_matches('/');
    let own = tenant.map(|tenant| Own::of(server, tenant)).transpose()?.flatten();
    let document = match tenant {
        Some(tenant) if path.is_empty() => index(server, tenant, own.as_ref())?,
        _ => own.map(|own| own.version_3(path)).transpose()?.flatten(),
    };
    let built_in = if path.is_empty() { Some(server.published.v3_index()) } else { server.published.v3_document(path) };
    let document = document.as_ref().or(built_in).ok_or_else(Error::no_such_path)?;
    Ok(answer(document, JSON, headers))
}

/// A document, or that the client has it.
fn answer(document: &Hashed, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
    let known =
        header_text(headers, &header::IF_NONE_MATCH).is_some_and(|etag| etag.trim_matches('"') == document.hash);
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::bytes(200, content_type, document.bytes.clone())
    };
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", document.hash)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// `apis/example.com/v1`
fn path_of(group: &str, version: &str) -> String {
    format!("apis/{group}/{version}")
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The index of a tenant whose own kinds or services make it another than everyone's.
fn index(server: &Server, tenant: &TenantName, own: Option<&Own>) -> Result<Option<Hashed>> {
    let remotes = server.aggregation.of(server, tenant)?;
    if own.is_none() && remotes.is_none() {
        return Ok(None);
    }
    let everyones = server.published.v3_index();
    let mut index: Value = serde_json::from_slice(&everyones.bytes).map_err(Error::internal)?;
    let mut hash = everyones.hash.clone();
    if let Some(own) = own {
        for (group, versions) in &own.listing.groups {
            for (version, _) in versions {
                let path = path_of(group, version);
                let url = format!("/openapi/v3/{path}?hash={}", own.hash(&path));
                index["paths"][path] = serde_json::json!({"serverRelativeURL": url});
            }
        }
        hash = digest(&format!("{hash}/{}", own.hash("")));
    }
    for remote in remotes.iter().flat_map(|remotes| remotes.iter()) {
        let path = path_of(&remote.group, &remote.version);
        index["paths"][&path] = serde_json::json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        hash = digest(&format!("{hash}/{path}"));
    }
    Ok(Some(Hashed { hash, bytes: index.to_string().into() }))
}

/// A tenant's own kinds.
struct Own<'a> {
    server: &'a Server,
    tenant: &'a TenantName,
    /// Of the tenant: one of the same name that comes after it is another.
    uid: Box<str>,
    listing: Arc<Listing>,
}

impl Own<'_> {
    /// `None` for a tenant without any.
    fn of<'a>(server: &'a Server, tenant: &'a TenantName) -> Result<Option<Own<'a>>> {
        let Some(listing) = server.catalogue.listing(server, tenant)? else { return Ok(None) };
        let Some(object) = server.tenant(tenant) else { return Ok(None) };
        Ok(Some(Own { server, tenant, uid: object.header.uid().into(), listing }))
    }

    /// Tells the document at a path from those of other definitions.
    fn hash(&self, path: &str) -> String {
        digest(&format!("{path}/{}", self.listing.print()))
    }

    fn version_3(&self, path: &str) -> Result<Option<Hashed>> {
        let mut versions =
            self.listing.groups.iter().flat_map(|(group, of)| of.iter().map(move |(v, k)| (group, v, k)));
        let Some((_, _, kinds)) = versions.find(|(group, version, _)| path_of(group, version) == path) else {
            return Ok(None);
        };
        let make = || Ok(Document::Whole(custom_document(self.described(kinds.iter())?)));
        match self.server.documents.get(self, path, make)? {
            Document::Whole(document) => Ok(Some(Hashed { hash: self.hash(path), ..document })),
            Document::Addition(_) => Err(Error::internal("a document with a path is whole")),
        }
    }

    /// Kinds with their schemas, as far as they may be described.
    fn described<'k>(&self, kinds: impl Iterator<Item = &'k Arc<Kind>>) -> Result<Vec<CustomKind>> {
        let snapshot = self.server.store.snapshot();
        let (mut described, mut bytes) = (Vec::new(), 0);
        for kind in kinds {
            let name = format!("{}.{}", kind.plural, kind.group);
            let key = ObjectKey::new(ResourceId::new(GROUP, PLURAL), Space::Tenant(self.tenant.clone()), "", &name)?;
            let forced = crate::shared::forced_definition(&snapshot, self.tenant, &name);
            let Some(object) = forced.or_else(|| snapshot.get(&key).cloned()) else { continue };
            bytes += object.bytes.len();
            if bytes > DESCRIBED_BYTES_MAX {
                break;
            }
            let mut value = object.to_value()?;
            let mut versions = value["spec"]["versions"].as_array_mut().into_iter().flatten();
            let Some(declared) = versions.find(|declared| declared["name"] == *kind.version) else { continue };
            let selectable = declared["selectableFields"].as_array().into_iter().flatten();
            let selectable = selectable.filter_map(|field| field["jsonPath"].as_str());
            described.push(CustomKind {
                kind: kind.clone(),
                selectable: selectable.map(|path| path.trim_start_matches('.').to_owned()).collect(),
                schema: declared["schema"]["openAPIV3Schema"].take(),
            });
        }
        Ok(described)
    }
}

/// What tenants' own kinds made, kept for who asks next.
#[derive(Default)]
pub struct Documents(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By the uid of the tenant, and the path below `/openapi/v3`, empty for version 2.
    documents: HashMap<(Box<str>, Box<str>), Entry>,
    bytes: usize,
    clock: u64,
}

struct Entry {
    /// Of the definitions.
    print: u64,
    document: Document,
    /// When it was asked for last, by the clock.
    used: u64,
}

#[derive(Clone)]
enum Document {
    Whole(Hashed),
    Addition(Arc<Addition>),
}

impl Document {
    fn bytes(&self) -> usize {
        match self {
            Document::Whole(document) => document.bytes.len(),
            Document::Addition(addition) => addition.bytes(),
        }
    }
}

impl Documents {
    /// The document at a path of a tenant, which is made if it is not known of these definitions.
    fn get(&self, own: &Own<'_>, path: &str, make: impl FnOnce() -> Result<Document>) -> Result<Document> {
        let key = (own.uid.clone(), path.into());
        let print = own.listing.print();
        if let Some(known) = self.0.lock().known(&key, print) {
            return Ok(known);
        }
        let document = make()?;
        self.0.lock().keep(key, print, document.clone());
        Ok(document)
    }
}

impl Kept {
    fn known(&mut self, key: &(Box<str>, Box<str>), print: u64) -> Option<Document> {
        self.clock += 1;
        let entry = self.documents.get_mut(key).filter(|entry| entry.print == print)?;
        entry.used = self.clock;
        Some(entry.document.clone())
    }

    fn keep(&mut self, key: (Box<str>, Box<str>), print: u64, document: Document) {
        self.clock += 1;
        self.bytes += document.bytes();
        let entry = Entry { print, document, used: self.clock };
        if let Some(before) = self.documents.insert(key, entry) {
            self.bytes -= before.document.bytes();
        }
        while self.bytes > KEPT_BYTES_MAX {
            let oldest = self.documents.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| self.documents.remove(&key)) else { return };
            self.bytes -= gone.document.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_found_by_what_it_was_made_of() {
        let mut kept = Kept::default();
        let key = |tenant: &str| (Box::from(tenant), Box::from("apis/e.com/v1"));
        for tenant in ["a", "b", "c"] {
            let document = Hashed { hash: tenant.to_owned(), bytes: vec![0; KEPT_BYTES_MAX / 3].into() };
            kept.keep(key(tenant), 1, Document::Whole(document));
        }
        assert!(kept.known(&key("a"), 2).is_none(), "of other definitions");
        assert!(kept.known(&key("a"), 1).is_some());
        kept.keep(key("d"), 1, Document::Whole(Hashed { hash: String::new(), bytes: vec![0; 100].into() }));
        let known = ["a", "b", "c", "d"].map(|tenant| kept.known(&key(tenant), 1).is_some());
        assert_eq!(known, [true, false, true, true], "the one that was asked for longest ago goes");
        assert!(kept.bytes <= KEPT_BYTES_MAX);
    }
}
