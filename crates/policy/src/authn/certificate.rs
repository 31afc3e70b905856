//! The identity that a client certificate names.
//!
//! Either `O=tenant:NAME` as the only Organization, the user as CN and its groups as OUs; or, as in Kubernetes, the
//! groups as Organizations, where the tenant is the part of the CN before its first colon (`system:node:a`). A subject
//! that names no tenant in one of these ways is refused.

use super::{CREDENTIAL_ID, Refusal};
use api::{Identity, TenantName};
use sha2::{Digest, Sha256};
use std::fmt;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, Oid};
use x509_parser::x509::X509Name;

const TENANT_PREFIX: &str = "tenant:";

/// Reads the subject of a certificate whose chain is verified already.
pub fn identity_of_certificate(der: &[u8]) -> Result<Identity, Refusal> {
    let malformed = |why: &dyn fmt::Display| Refusal::NotOurs(format!("malformed certificate: {why}"));
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).map_err(|e| malformed(&e))?;
    if !rest.is_empty() {
        return Err(malformed(&"bytes after its end"));
    }
    let Subject { user, tenant, groups } = Subject::read(certificate.subject())?;
    let tenant = match tenant {
        Some(name) => name,
        None => user.split_once(':').map(|(tenant, _)| tenant).ok_or_else(|| no_tenant(user))?,
    };
    let tenant = TenantName::new(tenant).map_err(|e| Refusal::Invalid(e.message().to_owned()))?;
    let mut identity = Identity::new(tenant, user, &groups);
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")]);
    Ok(identity)
}

/// User and groups that a signing request made in `tenant` asks for. It may name its tenant, and no other.
pub(crate) fn requested_user<'a>(name: &'a X509Name, tenant: &TenantName) -> Result<(&'a str, Vec<&'a str>), Refusal> {
    match Subject::read(name)? {
        Subject { tenant: Some(named), .. } if named != tenant.as_str() => {
            Err(Refusal::Invalid(format!("the subject is of tenant {named:?}, not {:?}", tenant.as_str())))
        }
        Subject { user, groups, .. } => Ok((user, groups)),
    }
}

struct Subject<'a> {
    user: &'a str,
    /// From an Organization.
    tenant: Option<&'a str>,
    groups: Vec<&'a str>,
}

impl Subject<'_> {
    fn read<'a>(name: &'a X509Name) -> Result<Subject<'a>, Refusal> {
        let users = values(name, &OID_X509_COMMON_NAME)?;
        let organizations = values(name, &OID_X509_ORGANIZATION_NAME)?;
        let user = match users.as_slice() {
            [user] if !user.is_empty() => *user,
            _ => return Err(Refusal::Invalid(format!("a subject has one common name, this has {users:?}"))),
        };
        if !organizations.iter().any(|o| o.starts_with(TENANT_PREFIX)) {
            return Ok(Subject { user, tenant: None, groups: organizations });
        }
        let [organization] = organizations.as_slice() else {
            let why = format!("a tenant is the only organization of a subject, this has {organizations:?}");
            return Err(Refusal::Invalid(why));
        };
        let groups = values(name, &OID_X509_ORGANIZATIONAL_UNIT)?;
        Ok(Subject { user, tenant: Some(&organization[TENANT_PREFIX.len()..]), groups })
    }
}

fn no_tenant(user: &str) -> Refusal {
    Refusal::Invalid(format!("the subject of user {user:?} names no tenant"))
}

/// All values of one attribute. Refuses texts that a person could misread: other alphabets' encodings, control bytes.
fn values<'a>(name: &'a X509Name, oid: &Oid) -> Result<Vec<&'a str>, Refusal> {
    let mut values = Vec::new();
    for attribute in name.iter_attributes().filter(|attribute| attribute.attr_type() == oid) {
        let value = attribute.as_str().map_err(|_| Refusal::Invalid("a subject is not in plain text".to_owned()))?;
        if value.chars().any(char::is_control) {
            return Err(Refusal::Invalid(format!("a subject holds control characters: {value:?}")));
        }
        values.push(value);
    }
    Ok(values)
}
