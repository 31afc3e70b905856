//! The form of an object in etcd, where its revision is etcd's.
//!
//! ```text
//!   version (1) │ nonce (16) │ crc32 of key, nonce and body (4) │ body: the object's JSON, at revision 0
//! ```
//!
//! The nonce tells two writes of the same bytes apart: whether an unanswered transaction has happened can be asked.
//! Invariant: a record that is cut, altered or under another key does not decode.

use std::sync::atomic::{AtomicU64, Ordering};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 16 + 4;

pub(super) type Nonce = [u8; 16];

/// Makes nonces: a random part for the process, and a count.
pub(super) struct Nonces {
    process: [u8; 8],
    count: AtomicU64,
}

impl Nonces {
    pub(super) fn new() -> Nonces {
        Nonces { process: rand::random(), count: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> Nonce {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.process);
        nonce[8..].copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce
    }
}

pub(super) fn encode(key: &str, nonce: &Nonce, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.push(VERSION);
    record.extend_from_slice(nonce);
    record.extend_from_slice(&checksum(key, nonce, body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The body of a record of `key`, or what is wrong with it.
pub(super) fn decode<'a>(key: &str, record: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (&version, rest) = record.split_first().ok_or("is empty")?;
    if version != VERSION {
        return Err("has an unknown version");
    }
    let (nonce, rest) = rest.split_first_chunk().ok_or("is cut short")?;
    let (crc, body) = rest.split_first_chunk().ok_or("is cut short")?;
    if u32::from_le_bytes(*crc) != checksum(key, nonce, body) {
        return Err("does not match its checksum");
    }
    Ok(body)
}

/// Whether this very write has made the record.
pub(super) fn is_by(record: &[u8], nonce: &Nonce) -> bool {
    record.get(1..17) == Some(nonce)
}

fn checksum(key: &str, nonce: &Nonce, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(nonce);
    hasher.update(body);
    hasher.finalize()
}

/// Several records in one, each with its key.
pub(super) fn encode_all<'a>(records: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, record) in records {
        for part in [key.as_bytes(), &record] {
            let length = u32::try_from(part.len()).expect("an object is limited to megabytes on its way in");
            all.extend_from_slice(&length.to_le_bytes());
            all.extend_from_slice(part);
        }
    }
    all
}

/// Takes apart what [`encode_all`] has made; `None` when it is cut or no text.
pub(super) fn decode_all(mut all: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut part = || -> Option<&[u8]> {
        let (length, rest) = all.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        all = rest;
        Some(part)
    };
    let mut records = Vec::new();
    while let Some(key) = part() {
        records.push((std::str::from_utf8(key).ok()?, part()?));
    }
    all.is_empty().then_some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_that_flips_is_noticed() {
        let nonce = Nonces::new().next();
        let record = encode("/ursa/t/a/core/pods/default/web", &nonce, b"{}");
        assert_eq!(decode("/ursa/t/a/core/pods/default/web", &record), Ok(&b"{}"[..]));
        assert!(is_by(&record, &nonce) && !is_by(&record, &[0; 16]));
        for bit in 0..record.len() * 8 {
            let mut altered = record.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(decode("/ursa/t/a/core/pods/default/web", &altered).is_err(), "bit {bit}");
        }
        assert!(decode("/ursa/t/b/core/pods/default/web", &record).is_err());
    }

    #[test]
    fn records_of_several_keys_come_back_whole_or_not_at_all() {
        let all = encode_all([("a", b"1".to_vec()), ("b", Vec::new())].into_iter());
        assert_eq!(decode_all(&all), Some(vec![("a", &b"1"[..]), ("b", &b""[..])]));
        for length in 1..all.len() {
            let cut = decode_all(&all[..length]);
            assert!(cut.is_none() || cut == Some(vec![("a", &b"1"[..])]), "{length} bytes");
        }
    }
}
