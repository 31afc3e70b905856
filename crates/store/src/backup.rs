//! Backups: a file with the objects of everything or of one tenant, as they were at one revision.
//!
//! ```text
//!   {"format":"ursa-backup/1","revision":"42","tenant":"acme"}         what it is; of everything, without tenant
//!   record /ursa/t/acme/core/pods/default/web 17 345 9f3c0a11          key, revision, length, checksum
//!   {"apiVersion":"v1", …}                                             the object, as clients receive it
//!   …
//!   {"objects":"1","sha256":"…"}                                       how many, and a checksum of all before it
//! ```
//!
//! Written from a snapshot, piece by piece, while the store goes on. Invariant: a file that is cut, altered or unfinished is
//! refused as a whole, and the first record that is damaged is named.

use crate::record::checksum;
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use api::{ObjectKey, ResourceId, Revision, Space, TenantName};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{self, BufRead};

const FORMAT: &str = "ursa-backup/1";

/// What a piece holds, about.
const PIECE_BYTES: usize = 256 << 10;

/// What an object may have: far more than any that the API lets in.
const OBJECT_BYTES_MAX: usize = 64 << 20;

/// What a line may have beside objects: a key is of a few names.
const LINE_BYTES_MAX: u64 = 4096;

/// A backup that is being written: an iterator of pieces.
pub struct Backup {
    snapshot: Snapshot,
    /// What is still to be written, and after which key of the first.
    scopes: VecDeque<Scope>,
    after: Option<ObjectKey>,
    /// The object that a tenant is to the operators.
    tenant: Option<ObjectKey>,
    encoder: Encoder,
    is_done: bool,
}

impl Backup {
    /// Of everything, or of a tenant with its Tenant object.
    pub fn new(snapshot: Snapshot, tenant: Option<&TenantName>) -> Backup {
        let mut scopes = VecDeque::new();
        for resource in snapshot.resources() {
            match tenant {
                Some(tenant) => scopes.push_back(Scope::Tenant(resource, tenant.clone())),
                None => scopes.extend([Scope::Cluster(resource.clone()), Scope::AllTenants(resource)]),
            }
        }
        let resource = tenant_resource();
        let of = tenant.map_or(Scope::AllTenants(resource.clone()), |tenant| Scope::Tenant(resource, tenant.clone()));
        let encoder = Encoder::new(snapshot.version(&of).newest(), tenant);
        Backup { snapshot, scopes, after: None, tenant: tenant.map(tenant_key), encoder, is_done: false }
    }

    fn fill(&mut self) {
        let snapshot = self.snapshot.clone();
        if let Some(object) = self.tenant.take().and_then(|key| snapshot.get(&key)) {
            self.encoder.write(&object.key, object.revision, &object.bytes);
        }
        while let Some(scope) = self.scopes.front().cloned() {
            for object in snapshot.range(&scope, self.after.clone().as_ref()) {
                self.encoder.write(&object.key, object.revision, &object.bytes);
                if self.encoder.piece.len() >= PIECE_BYTES {
                    self.after = Some(object.key.clone());
                    return;
                }
            }
            self.after = None;
            self.scopes.pop_front();
        }
        self.is_done = true;
    }
}

impl Iterator for Backup {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        self.fill();
        Some(if self.is_done { self.encoder.end() } else { self.encoder.piece() }.into())
    }
}

/// The tenant's part of a backup of everything, as a backup of its own; `None` when the tenant is not in it.
pub fn extract<R: BufRead>(from: &mut Restore<R>, tenant: &TenantName) -> Result<Option<Vec<u8>>, BackupError> {
    let mut encoder = Encoder::new(from.revision(), Some(tenant));
    let mut is_there = false;
    while let Some(Record { key, revision, body }) = from.record()? {
        let is_tenant = key == tenant_key(tenant);
        is_there |= is_tenant;
        if is_tenant || key.tenant() == Some(tenant) {
            encoder.write(&key, revision, &body);
        }
    }
    Ok(is_there.then(|| encoder.end()))
}

/// Puts a backup into bytes.
struct Encoder {
    piece: Vec<u8>,
    digest: Sha256,
    objects: u64,
}

impl Encoder {
    fn new(revision: Revision, tenant: Option<&TenantName>) -> Encoder {
        let tenant = tenant.map(|tenant| format!(",\"tenant\":\"{tenant}\"")).unwrap_or_default();
        let head = format!("{{\"format\":\"{FORMAT}\",\"revision\":\"{revision}\"{tenant}}}\n");
        Encoder { piece: head.into_bytes(), digest: Sha256::new(), objects: 0 }
    }

    fn write(&mut self, key: &ObjectKey, revision: Revision, body: &[u8]) {
        let key = key.durable();
        let crc = checksum(&key, revision, body);
        self.piece.extend_from_slice(format!("record {key} {revision} {} {crc:08x}\n", body.len()).as_bytes());
        self.piece.extend_from_slice(body);
        self.piece.push(b'\n');
        self.objects += 1;
    }

    /// What was written since the last piece.
    fn piece(&mut self) -> Vec<u8> {
        self.digest.update(&self.piece);
        std::mem::take(&mut self.piece)
    }

    /// The last piece.
    fn end(&mut self) -> Vec<u8> {
        let mut piece = self.piece();
        piece.extend_from_slice(last_line(&self.digest, self.objects).as_bytes());
        piece
    }
}

fn last_line(digest: &Sha256, objects: u64) -> String {
    let sum: String = digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"objects\":\"{objects}\",\"sha256\":\"{sum}\"}}\n")
}

/// One object of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: ObjectKey,
    pub revision: Revision,
    pub body: Bytes,
}

/// Why a backup was refused.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("it is no backup of Ursa")]
    Foreign,
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Reads a backup. What it hands out counts only when the end has been reached without an error: [`Restore::record`] says
/// `None`.
pub struct Restore<R> {
    from: R,
    revision: Revision,
    tenant: Option<TenantName>,
    digest: Sha256,
    objects: u64,
}

impl<R: BufRead> Restore<R> {
    pub fn open(mut from: R) -> Result<Restore<R>, BackupError> {
        let mut digest = Sha256::new();
        let head = line(&mut from)?;
        digest.update(&head);
        let fields = fields(&head).ok_or(BackupError::Foreign)?;
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        if field("format") != Some(FORMAT) {
            return Err(BackupError::Foreign);
        }
        let revision = field("revision").and_then(|revision| revision.parse().ok());
        let revision = revision.ok_or_else(|| damaged("its first line names no revision"))?;
        let tenant = field("tenant").map(TenantName::new).transpose();
        let tenant = tenant.map_err(|_| damaged("its first line names no tenant"))?;
        Ok(Restore { from, revision, tenant, digest, objects: 0 })
    }

    /// The revision that everything in it was at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whose it is; `None` for everything.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.tenant.as_ref()
    }

    /// The next object; `None` when all of the file has been read and is sound.
    pub fn record(&mut self) -> Result<Option<Record>, BackupError> {
        let head = line(&mut self.from)?;
        let text = std::str::from_utf8(&head).map_err(|_| damaged("a line is no text"))?;
        let Some(text) = text.strip_prefix("record ") else {
            return self.end(&head).map(|()| None);
        };
        let mut parts = text.trim_end().split(' ');
        let mut part = || parts.next().unwrap_or_default();
        let (durable, revision, length, crc) = (part(), part(), part(), part());
        let key = ObjectKey::parse_durable(durable).ok_or_else(|| damaged(format!("{durable:?} names no object")))?;
        let malformed = || damaged(format!("record {durable} is malformed"));
        let revision: Revision = revision.parse().map_err(|_| malformed())?;
        let length: usize = length.parse().ok().filter(|&length| length <= OBJECT_BYTES_MAX).ok_or_else(malformed)?;
        let crc = u32::from_str_radix(crc, 16).map_err(|_| malformed())?;
        let mut body = vec![0; length + 1];
        self.from.read_exact(&mut body).map_err(|error| cut(error, durable))?;
        self.digest.update(&head);
        self.digest.update(&body);
        let is_ended = body.pop() == Some(b'\n');
        if !is_ended || checksum(durable, revision, &body) != crc {
            return Err(damaged(format!("record {durable} does not match its checksum")));
        }
        if self.tenant.as_ref().is_some_and(|tenant| key.tenant() != Some(tenant) && key != tenant_key(tenant)) {
            return Err(damaged(format!("record {durable} is of another tenant")));
        }
        self.objects += 1;
        Ok(Some(Record { key, revision, body: body.into() }))
    }

    fn end(&mut self, last: &[u8]) -> Result<(), BackupError> {
        let expected = last_line(&self.digest, self.objects);
        if last.is_empty() {
            return Err(damaged(format!("it ends after {} objects, without its last line", self.objects)));
        }
        if last != expected.as_bytes() {
            return Err(damaged("its last line is not that of what is before it"));
        }
        match line(&mut self.from)?.is_empty() {
            true => Ok(()),
            false => Err(damaged("something follows its last line")),
        }
    }
}

/// The Tenant object of a tenant.
pub(crate) fn tenant_key(tenant: &TenantName) -> ObjectKey {
    ObjectKey::new(tenant_resource(), Space::Cluster, "", tenant.as_str()).expect("a tenant's name is a valid name")
}

/// The resource of Tenant objects.
pub(crate) fn tenant_resource() -> ResourceId {
    ResourceId::new("", "tenants")
}

fn damaged(what: impl Into<String>) -> BackupError {
    BackupError::Damaged(what.into())
}

fn cut(error: io::Error, key: &str) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(format!("it ends within record {key}")),
        _ => BackupError::Unreadable(error),
    }
}

/// A line with its end; empty at the end of the file.
fn line(from: &mut impl BufRead) -> Result<Vec<u8>, BackupError> {
    let mut line = Vec::new();
    io::Read::take(from, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if !line.is_empty() && line.last() != Some(&b'\n') {
        return Err(damaged("a line is cut or too long"));
    }
    Ok(line)
}

/// The members of an object of strings without escapes, as this file writes them.
fn fields(line: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(line).ok()?.trim_end().strip_prefix('{')?.strip_suffix('}')?;
    text.split(',')
        .map(|member| {
            let (name, value) = member.split_once(':')?;
            let unquoted = |text: &str| Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            Some((unquoted(name)?, unquoted(value)?))
        })
        .collect()
}
