//! Makes a store of a backup of everything, in a directory that holds none yet.
//!
//! Tenants that were in other partitions are in this one then. The store goes on far behind every revision that the lost one can have handed out after the backup, so that a client
//! that knows of later ones is told to list again. Until all is written the directory is marked, and refused if the restore
//! was interrupted.

use crate::backup::{BackupError, Record, Restore, tenant_resource};
use crate::data_dir::DataDir;
use crate::engine::{Durability, Engine, Failed};
use crate::load::{REVISIONS_SKIPPED, restoring, revision_record};
use crate::log::Log;
use crate::open_error::OpenError;
use crate::record;
use crate::store::FieldsOf;
use api::{Object, Revision};
use bytes::Bytes;
use std::io::BufRead;
use std::path::Path;

/// What keeps a Tenant object until its move has ended: nobody moves it on where everything is in one partition.
pub const MOVE_FINALIZER: &str = "ursa.dev/move";

/// What is written at once.
const BATCH_BYTES: usize = 4 << 20;

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub objects: u64,
    /// Where the store goes on.
    pub revision: Revision,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the backup cannot be used: {0}")]
    Backup(#[from] BackupError),
    #[error("the backup is of tenant {0} alone; restore it into a running server")]
    OneTenant(String),
    #[error("the backup cannot be used: record {0} holds no object")]
    NoObject(String),
    #[error("{0} holds a store already; choose an empty directory")]
    Taken(String),
    #[error(transparent)]
    Dir(#[from] OpenError),
    #[error("{0}")]
    Failed(String),
}

impl From<Failed> for RestoreError {
    fn from(failed: Failed) -> RestoreError {
        RestoreError::Failed(failed.to_string())
    }
}

/// Writes a backup of everything into `dir`, which is made. Blocks.
pub fn restore(dir: &Path, from: impl BufRead, fields: FieldsOf) -> Result<Restored, RestoreError> {
    let mut backup = Restore::open(from)?;
    if let Some(tenant) = backup.tenant() {
        return Err(RestoreError::OneTenant(tenant.to_string()));
    }
    let data_dir = DataDir::claim(dir)?;
    if !data_dir.is_new() {
        return Err(RestoreError::Taken(dir.display().to_string()));
    }
    let mut log = Log::new(data_dir, u64::MAX);
    log.begin_restore(&[restoring(true)])?;
    let (mut batch, mut bytes, mut objects) = (Vec::new(), 0, 0);
    while let Some(found) = backup.record()? {
        let key = found.key.durable();
        let Ok(body) = body(&found, fields) else {
            return Err(RestoreError::NoObject(key));
        };
        bytes += body.len();
        objects += 1;
        let record = record::encode(&key, found.revision, &body);
        batch.push((key, Some(record)));
        if bytes >= BATCH_BYTES {
            log.commit(&batch, backup.revision(), Durability::Buffered)?;
            (batch, bytes) = (Vec::new(), 0);
        }
    }
    let revision = backup.revision() + REVISIONS_SKIPPED;
    batch.extend([revision_record(revision), restoring(false)]);
    log.commit(&batch, revision, Durability::Synced)?;
    Ok(Restored { objects, revision })
}

/// What is restored of an object: all of it, but that a tenant is here now.
fn body(found: &Record, fields: FieldsOf) -> api::Result<Bytes> {
    let fields = fields(&found.key.resource);
    let object = Object::decode(found.key.clone(), found.revision, found.body.clone(), fields)?;
    if found.key.resource != tenant_resource() {
        return Ok(object.bytes);
    }
    let mut value = object.to_value()?;
    let is_here = value["spec"]["storageClusterId"].as_str().is_none_or(|id| id == "0");
    if is_here && value["status"]["storageClusterId"].is_null() {
        return Ok(object.bytes);
    }
    value["spec"]["storageClusterId"] = "0".into();
    if let Some(status) = value["status"].as_object_mut() {
        status.remove("storageClusterId");
        status.remove("move");
    }
    if let Some(finalizers) = value["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != MOVE_FINALIZER);
    }
    Ok(Object::encode(object.key, &mut value, fields)?.at_revision(found.revision).bytes)
}
