//! Reads a whole cluster: every record verified, every header rebuilt, all at one revision.

use super::members::{Failure, Members};
use super::revisions::Revisions;
use super::{FORMAT_KEY, PREFIX, RAISES_KEY, record};
use crate::load::{Stored, decode_all};
use crate::snapshot::State;
use crate::store::FieldsOf;
use api::{Object, ObjectKey, Revision};
use bytes::Bytes;
use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys that are asked for at a time.
const PAGE: i64 = 1000;

/// What keeps something else than objects.
const META: &[u8] = b"/ursa/m/";

/// What the cluster holds, which is marked as this partition if it is empty. The error is the end of a sentence.
pub(super) async fn open(members: &Members, partition: u8, fields: FieldsOf) -> Result<(State, Revisions), String> {
    let format = format!("1 {partition}");
    let absent = Compare::version(FORMAT_KEY, CompareOp::Equal, 0);
    let txn = Txn::new()
        .when([absent])
        .and_then([TxnOp::put(FORMAT_KEY, format.clone(), None)])
        .or_else([TxnOp::get(FORMAT_KEY, None)]);
    let (answer, _) = members.txn(txn).await.map_err(|failure| failure.to_string())?;
    if let Some(TxnOpResponse::Get(found)) = answer.op_responses().first() {
        let found = found.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned()).unwrap_or_default();
        match found.split_once(' ') {
            Some(("1", _)) if found == format => {}
            Some(("1", other)) => return Err(format!("it is storage cluster {other}, not {partition}")),
            _ => return Err(format!("it has format {found:?}, unknown to this version of Ursa")),
        }
    }
    load(members, fields).await
}

/// Everything at the current revision.
pub(super) async fn load(members: &Members, fields: FieldsOf) -> Result<(State, Revisions), String> {
    loop {
        match load_at_once(members, fields).await {
            // Between two pages: begin again.
            Err(Trouble::Cluster(Failure::Compacted)) => {}
            Err(Trouble::Cluster(failure)) => return Err(failure.to_string()),
            Err(Trouble::Damaged(what)) => return Err(format!("it is damaged: {what}")),
            Ok(loaded) => return Ok(loaded),
        }
    }
}

enum Trouble {
    Cluster(Failure),
    Damaged(String),
}

async fn load_at_once(members: &Members, fields: FieldsOf) -> Result<(State, Revisions), Trouble> {
    let mut found: HashMap<Box<str>, Stored> = HashMap::new();
    let mut revisions = Revisions::default();
    let mut read_at = 0;
    let (mut from, end) = (PREFIX.as_bytes().to_vec(), successor(PREFIX));
    loop {
        let mut options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
        if read_at > 0 {
            options = options.with_revision(read_at);
        }
        let from_key = String::from_utf8_lossy(&from).into_owned();
        let mut page = members.get(&from_key, options).await.map_err(Trouble::Cluster)?;
        if read_at == 0 {
            read_at = page.header().map_or(0, |header| header.revision());
        }
        let more = page.more();
        let kvs = page.take_kvs();
        if let Some(last) = kvs.last().filter(|_| more) {
            from = [last.key(), b"\0"].concat();
        }
        for kv in kvs {
            if kv.key() == RAISES_KEY.as_bytes() {
                let malformed = || Trouble::Damaged(format!("record {RAISES_KEY} is malformed"));
                revisions = Revisions::parse(kv.value(), kv.mod_revision()).ok_or_else(malformed)?;
            } else if !kv.key().starts_with(META) {
                let (key, stored) = stored(kv).map_err(Trouble::Damaged)?;
                found.insert(key, stored);
            }
        }
        if !more {
            break;
        }
    }
    // The record of raises comes after most objects.
    for stored in found.values_mut() {
        stored.revision = revisions.of_etcd(stored.revision.cast_signed());
    }
    let mut state = State::default();
    state.revision = revisions.of_etcd(read_at);
    for object in decode_all(found, fields).map_err(Trouble::Damaged)? {
        state.put(Arc::new(object));
    }
    Ok((state, revisions))
}

fn stored(kv: KeyValue) -> Result<(Box<str>, Stored), String> {
    let revision = kv.mod_revision().cast_unsigned();
    let (key, record) = kv.into_key_value();
    let key = String::from_utf8(key).map_err(|e| format!("key {:?} is not text", e.to_string()))?;
    let body = record::decode(&key, &record).map_err(|what| format!("record {key} {what}"))?;
    let body = Bytes::copy_from_slice(body);
    Ok((key.into(), Stored { revision, written: 0, body }))
}

/// The object that a record holds, at a revision.
pub(super) fn object(key: &str, record: &[u8], revision: Revision, fields: FieldsOf) -> Result<Object, String> {
    let body = record::decode(key, record).map_err(|what| format!("record {key} {what}"))?;
    let parsed = ObjectKey::parse_durable(key).ok_or_else(|| format!("key {key:?} names no object"))?;
    let fields = fields(&parsed.resource);
    let object = Object::decode(parsed, 0, Bytes::copy_from_slice(body), fields);
    Ok(object.map_err(|error| format!("record {key} holds no object ({error})"))?.at_revision(revision))
}

/// The first key after all keys with a prefix.
fn successor(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix is not empty") += 1;
    end
}
