//! Subjects with several values of one attribute.
//!
//! `rcgen` writes one value per attribute, and a user has as many groups as it has. So the subject is put in place of
//! the one that `rcgen` wrote, and the certificate is signed again.

use super::PkiError;
use super::der::{IDENTIFIER, SEQUENCE, SET, UTF8_STRING, bits, element, header_length, length};
use rcgen::SigningKey;
use x509_parser::parse_x509_certificate;

/// Attributes of a subject, by the last byte of their identifier 2.5.4.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    CommonName = 3,
    Organization = 10,
    OrganizationalUnit = 11,
}

/// Attributes with their values, in the order in which they are written.
pub(super) type Subject = Vec<(Attribute, String)>;

/// The subject as DER.
fn encode(subject: &Subject) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (attribute, value) in subject {
        let identifier = element(IDENTIFIER, &[&[0x55, 0x04, *attribute as u8]]);
        let pair = element(SEQUENCE, &[&identifier, &element(UTF8_STRING, &[value.as_bytes()])]);
        encoded.extend(element(SET, &[&pair]));
    }
    element(SEQUENCE, &[&encoded])
}

/// The certificate `der` with another subject, signed with the key of its issuer.
pub(super) fn with_subject(der: &[u8], subject: &Subject, issuer: &impl SigningKey) -> Result<Vec<u8>, PkiError> {
    let (_, certificate) = parse_x509_certificate(der).map_err(PkiError::certificate)?;
    // A certificate is a sequence of the signed part, the algorithm and the signature.
    let outer = &der[header_length(der)..];
    let (signed, rest) = outer.split_at(length(outer));
    let algorithm = &rest[..length(rest)];
    // The old subject is a part of `der`: where it starts tells what is before and after it.
    let old = certificate.tbs_certificate.subject.as_raw();
    let start = old.as_ptr() as usize - signed.as_ptr() as usize;
    let (before, after) = (&signed[header_length(signed)..start], &signed[start + old.len()..]);
    let signed = element(SEQUENCE, &[before, &encode(subject), after]);
    let signature = issuer.sign(&signed).map_err(PkiError::certificate)?;
    Ok(element(SEQUENCE, &[&signed, algorithm, &bits(&signature)]))
}
