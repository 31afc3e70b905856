//! The keys that the API servers over one etcd cluster have in common: the first makes them, and the cluster keeps them,
//! sealed with the operators' token, for all others.
//!
//! Invariant: no two servers over a cluster work with different keys. What is kept is no object of any kind: no request
//! reaches it.

use api::{Object, ObjectKey, ResourceId, Space, Timestamp};
use policy::pki::{Pki, SharedKeys, TOKEN_BYTES_MIN};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use store::{Change, Class, CommitError, Expect, Store, Write};

/// Reads the token with which the keys are sealed.
pub fn token(path: Option<&Path>) -> Result<Option<String>, String> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|e| format!("--server-token-file {name} cannot be read: {e}"))?;
    match text.trim() {
        token if token.len() >= TOKEN_BYTES_MIN => Ok(Some(token.to_owned())),
        _ => Err(format!("--server-token-file {name}: a token has {TOKEN_BYTES_MIN} characters or more")),
    }
}

/// Opens the keys of a data directory: those that the cluster knows, or new ones, which it knows from then on.
pub async fn open(store: &Store, dir: &Path, names: &[String], token: Option<&str>) -> Result<Pki, String> {
    let open = || Pki::open(dir, names, Timestamp::now()).map_err(|e| e.to_string());
    let own = || SharedKeys::read(dir).map_err(|e| e.to_string());
    let before = own()?;
    store.current().await.map_err(|e| e.to_string())?;
    let mut kept = kept(store)?;
    if kept.is_none() {
        open()?;
        let keys = own()?.ok_or("the keys were not written")?;
        kept = keep(store, None, &keys, token).await?;
        if kept.is_none() {
            return open();
        }
        // Another server was faster: what was just made has never been used.
    }
    let Some(kept) = kept else { return open() };
    let (fingerprint, sealed) = (kept.field_text("fingerprint"), kept.field_text("sealed"));
    match before {
        Some(keys) if keys.fingerprint() == fingerprint => {
            if sealed.is_empty() && token.is_some() {
                keep(store, Some(&kept.0), &keys, token).await?;
            }
        }
        Some(_) => {
            let dir = dir.display();
            return Err(format!("{dir}/pki holds other keys than those of the etcd cluster: move it away"));
        }
        None => {
            let missing = || {
                "the API servers of this etcd cluster have keys already: give their --server-token-file, or copy ca.crt, \
                 ca.key, front-proxy-ca.crt, front-proxy-ca.key and sa.key to DIR/pki"
                    .to_owned()
            };
            let token = token.filter(|_| !sealed.is_empty()).ok_or_else(missing)?;
            let keys = SharedKeys::unseal(&sealed, token).map_err(|e| e.to_string())?;
            let keys = keys.ok_or("--server-token-file: this is not the token of the cluster's other API servers")?;
            keys.write(dir).map_err(|e| e.to_string())?;
        }
    }
    open()
}

/// What the cluster knows of the keys.
struct Kept(Arc<Object>);

impl Kept {
    fn field_text(&self, field: &str) -> String {
        let value = self.0.to_value().unwrap_or_default();
        value[field].as_str().unwrap_or_default().to_owned()
    }
}

fn key() -> Result<ObjectKey, String> {
    ObjectKey::new(ResourceId::new("ursa.dev", "keys"), Space::Cluster, "", "apiserver").map_err(|e| e.to_string())
}

fn kept(store: &Store) -> Result<Option<Kept>, String> {
    Ok(store.snapshot().get(&key()?).cloned().map(Kept))
}

/// Keeps keys where there are none, or in place of `old`. What another server has kept meanwhile, if any.
async fn keep(
    store: &Store,
    old: Option<&Object>,
    keys: &SharedKeys,
    token: Option<&str>,
) -> Result<Option<Kept>, String> {
    let sealed = token.map(|token| keys.seal(token)).transpose().map_err(|e| e.to_string())?;
    let mut value = json!({
        "metadata": {"name": "apiserver"}, "fingerprint": keys.fingerprint(), "sealed": sealed.unwrap_or_default(),
    });
    let key = key()?;
    let object = Object::encode(key.clone(), &mut value, &[]).map_err(|e| e.to_string())?;
    let expect = old.map_or(Expect::Absent, |old| Expect::Revision(old.revision));
    let write = Write { key, expect, change: Change::Put(object), class: Class::Durable };
    match store.commit(vec![write]).await {
        Ok(_) => Ok(None),
        Err(CommitError::Exists(kept)) => Ok(Some(Kept(kept))),
        Err(CommitError::Stale { current: Some(kept) }) => Ok(Some(Kept(kept))),
        Err(other) => Err(other.to_string()),
    }
}
