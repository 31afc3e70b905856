//! The keys that all API servers of one cluster have in common, sealed with a token so that the store may keep them.
//!
//! With them a certificate or a token from one server is good at each. The seal is AES-256-GCM under a key that PBKDF2
//! makes of the token, with a salt of its own each time: without the token the store's operators learn nothing from it.

use super::{PkiError, file};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{pbkdf2, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

/// What is shared of the folder `pki`.
const FILES: [&str; 5] = ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"];

/// How often a guess has to be hashed.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not zero");

const SALT_BYTES: usize = 16;

/// The shortest token that is taken.
pub const TOKEN_BYTES_MIN: usize = 16;

/// The common keys, as the files that hold them.
#[derive(PartialEq, Eq)]
pub struct SharedKeys(BTreeMap<String, String>);

impl std::fmt::Debug for SharedKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SharedKeys").field(&self.fingerprint()).finish()
    }
}

impl SharedKeys {
    /// Those of a data directory; `None` where one is missing.
    pub fn read(dir: &Path) -> Result<Option<SharedKeys>, PkiError> {
        let texts = FILES.map(|name| Ok(file::read(&dir.join("pki").join(name))?.map(|text| (name.to_owned(), text))));
        let texts: Result<Option<BTreeMap<_, _>>, PkiError> = texts.into_iter().collect();
        texts.map(|texts| texts.map(SharedKeys))
    }

    /// Writes them into a data directory, in place of others that are there.
    pub fn write(&self, dir: &Path) -> Result<(), PkiError> {
        let folder = dir.join("pki");
        file::create_folder(&folder)?;
        self.0.iter().try_for_each(|(name, text)| file::write(&folder.join(name), text))
    }

    /// Tells keys from others, and nothing about them.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in &self.0 {
            for part in [name, text] {
                hash.update(part.len().to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys as a text that only those can read who have the token.
    pub fn seal(&self, token: &str) -> Result<String, PkiError> {
        let broken = |_| PkiError::Certificate("the keys cannot be sealed".to_owned());
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
        rand::fill(&mut salt).map_err(broken)?;
        rand::fill(&mut nonce).map_err(broken)?;
        let mut sealed = serde_json::to_vec(&self.0).map_err(PkiError::certificate)?;
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        key(token, &salt)?.seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed).map_err(broken)?;
        Ok(BASE64_STANDARD.encode([&salt[..], &nonce, &sealed].concat()))
    }

    /// Reads what [`SharedKeys::seal`] has made. `None` with another token, or of a text that was changed.
    pub fn unseal(text: &str, token: &str) -> Result<Option<SharedKeys>, PkiError> {
        let Ok(bytes) = BASE64_STANDARD.decode(text) else { return Ok(None) };
        let Some((salt, rest)) = bytes.split_at_checked(SALT_BYTES) else { return Ok(None) };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_LEN>() else { return Ok(None) };
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(opened) = key(token, salt)?.open_in_place(nonce, Aad::empty(), &mut sealed) else { return Ok(None) };
        let files: BTreeMap<String, String> = serde_json::from_slice(opened).map_err(PkiError::certificate)?;
        Ok(files.keys().eq(FILES.iter()).then_some(SharedKeys(files)))
    }
}

fn key(token: &str, salt: &[u8]) -> Result<LessSafeKey, PkiError> {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, token.as_bytes(), &mut key);
    let key =
        UnboundKey::new(&AES_256_GCM, &key).map_err(|_| PkiError::Certificate("a key has no such length".into()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Pki;
    use api::Timestamp;

    const TOKEN: &str = "a token of the operators";

    #[test]
    fn keys_come_back_with_the_token_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(SharedKeys::read(dir.path()).unwrap(), None);
        Pki::open(dir.path(), &[], Timestamp::now()).unwrap();
        let keys = SharedKeys::read(dir.path()).unwrap().unwrap();
        let sealed = keys.seal(TOKEN).unwrap();
        assert!(!sealed.contains("PRIVATE") && sealed != keys.seal(TOKEN).unwrap(), "a salt each time");
        assert_eq!(SharedKeys::unseal(&sealed, "a token of the operatorz").unwrap(), None);
        let opened = SharedKeys::unseal(&sealed, TOKEN).unwrap().unwrap();
        assert_eq!(opened, keys);
        let other = tempfile::TempDir::new().unwrap();
        opened.write(other.path()).unwrap();
        assert_eq!(SharedKeys::read(other.path()).unwrap().unwrap().fingerprint(), keys.fingerprint());
        let ca = |dir: &tempfile::TempDir| Pki::open(dir.path(), &[], Timestamp::now()).unwrap().ca_pem().to_owned();
        assert_eq!(ca(&dir), ca(&other));
        let other_salt = if sealed.starts_with('A') { "B" } else { "A" };
        for changed in ["", "AAAA", &sealed[..sealed.len() - 4], &format!("{other_salt}{}", &sealed[1..])] {
            assert_eq!(SharedKeys::unseal(changed, TOKEN).unwrap(), None);
        }
    }
}
