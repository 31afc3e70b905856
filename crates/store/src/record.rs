//! The durable form of an object.
//!
//! ```text
//!   version (1) │ revision (8) │ length (4) │ crc32 of key, revision and body (4) │ body: the object's JSON
//! ```
//!
//! Numbers are little-endian. Invariant: a record that is cut, altered or under another key does not decode.

use api::Revision;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 4 + 4;

/// Encodes a record for `key`.
pub(crate) fn encode(key: &str, revision: Revision, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("an object is limited to megabytes on its way in");
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.push(VERSION);
    record.extend_from_slice(&revision.to_le_bytes());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&checksum(key, revision, body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// Takes a record of `key` apart into revision and body, or says what is wrong with it.
pub(crate) fn decode<'a>(key: &str, record: &'a [u8]) -> Result<(Revision, &'a [u8]), &'static str> {
    let (&version, rest) = record.split_first().ok_or("is empty")?;
    if version != VERSION {
        return Err("has an unknown version");
    }
    let (revision, rest) = rest.split_first_chunk().ok_or("is cut short")?;
    let (length, rest) = rest.split_first_chunk().ok_or("is cut short")?;
    let (crc, body) = rest.split_first_chunk().ok_or("is cut short")?;
    let revision = Revision::from_le_bytes(*revision);
    if u32::from_le_bytes(*length) as usize != body.len() {
        return Err("has another length than it says");
    }
    if u32::from_le_bytes(*crc) != checksum(key, revision, body) {
        return Err("does not match its checksum");
    }
    Ok((revision, body))
}

/// Of a record: its key and revision are part of it, so that none is taken for another.
pub(crate) fn checksum(key: &str, revision: Revision, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(&revision.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_that_flips_is_noticed() {
        let record = encode("/ursa/t/a/core/pods/default/web", 7, b"{}");
        assert_eq!(decode("/ursa/t/a/core/pods/default/web", &record), Ok((7, &b"{}"[..])));
        for bit in 0..record.len() * 8 {
            let mut altered = record.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(decode("/ursa/t/a/core/pods/default/web", &altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_record_and_one_under_another_key_do_not_decode() {
        let record = encode("/ursa/t/a/core/pods/default/web", 7, b"{\"a\":1}");
        for length in 0..record.len() {
            assert!(decode("/ursa/t/a/core/pods/default/web", &record[..length]).is_err(), "{length} bytes");
        }
        assert!(decode("/ursa/t/b/core/pods/default/web", &record).is_err());
    }

    #[test]
    fn a_damaged_record_never_passes_for_another() {
        let key = "/ursa/t/a/core/pods/default/web";
        let whole = encode(key, 7, b"{\"kind\":\"Pod\"}");
        fuzz::fuzz(&[&whole], |bytes| assert!(bytes == whole || decode(key, bytes).is_err(), "it passes for whole"));
    }
}
