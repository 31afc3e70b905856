//! The identity that a client certificate names.
//!
//! Either `O=tenant:NAME` as the only Organization, the user as CN and its groups as OUs; or, as in Kubernetes, the
//! groups as Organizations, where the tenant is the part of the CN before its first colon (`system:node:a`). A subject
//! that names no tenant in one of these ways is refused.
//!
//! A certificate cannot be taken back, and a tenant's name can be given to somebody else once the tenant is deleted: it
//! counts only in a tenant that was there when it was issued.

use super::{CREDENTIAL_ID, Refusal};
use crate::pki::BACKDATED_SECS;
use api::{Identity, TenantName, Timestamp};
use sha2::{Digest, Sha256};
use std::fmt;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, Oid};
use x509_parser::x509::X509Name;

const TENANT_PREFIX: &str = "tenant:";

/// Who a certificate names, and when it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedIdentity {
    pub identity: Identity,
    pub issued: Timestamp,
}

impl CertifiedIdentity {
    /// Refuses a certificate that was issued before its tenant was created, and so for another one of that name. The
    /// tenant `system` is always the same.
    pub fn in_tenant_of(&self, created: Timestamp) -> Result<&Identity, Refusal> {
        if self.identity.tenant.is_system() || self.issued >= created {
            return Ok(&self.identity);
        }
        let (tenant, issued) = (&self.identity.tenant, self.issued);
        Err(Refusal::Invalid(format!("the certificate of {issued} is older than tenant {tenant} of {created}")))
    }
}

/// The organization in the certificates that API servers show each other. What is signed for clients names a tenant there.
pub(crate) const API_SERVERS: &str = "ursa:api-servers";

/// Whether a certificate whose chain is verified already is that of an API server.
pub fn is_api_server(der: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    values(certificate.subject(), &OID_X509_ORGANIZATION_NAME).is_ok_and(|organizations| organizations == [API_SERVERS])
}

/// Reads a certificate whose chain is verified already.
pub fn identity_of_certificate(der: &[u8]) -> Result<CertifiedIdentity, Refusal> {
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
    let valid_from = certificate.validity().not_before.timestamp();
    Ok(CertifiedIdentity { identity, issued: Timestamp::from_unix_secs(valid_from.saturating_add(BACKDATED_SECS)) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::tests::certificate_of;

    /// `expected` is `user@tenant [groups]`, or part of the refusal.
    #[track_caller]
    fn check(subject: &[(&str, &str)], expected: Result<&str, &str>) {
        match (identity_of_certificate(&certificate_of(subject)), expected) {
            (Ok(CertifiedIdentity { identity, .. }), Ok(expected)) => {
                let groups: Vec<&String> = identity.groups.iter().filter(|g| *g != Identity::AUTHENTICATED).collect();
                assert_eq!(format!("{}@{} {groups:?}", identity.user, identity.tenant), expected);
                assert!(identity.in_group(Identity::AUTHENTICATED));
            }
            (Err(refusal), Err(expected)) => assert!(refusal.to_string().contains(expected), "{refusal}"),
            (outcome, _) => panic!("{subject:?}: {outcome:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_organization_names_the_tenant_and_units_the_groups() {
        check(&[("CN", "john"), ("O", "tenant:aaa"), ("OU", "aaa-group")], Ok(r#"john@aaa ["aaa-group"]"#));
        check(&[("OU", "a"), ("O", "tenant:aaa"), ("OU", "b"), ("CN", "john")], Ok(r#"john@aaa ["a", "b"]"#));
        check(
            &[("CN", "system:node:x"), ("O", "tenant:aaa"), ("OU", "system:nodes")],
            Ok(r#"system:node:x@aaa ["system:nodes"]"#),
        );
        check(
            &[("CN", "root"), ("O", "tenant:system"), ("OU", "system:masters")],
            Ok(r#"root@system ["system:masters"]"#),
        );
    }

    #[test]
    fn without_it_the_user_names_the_tenant_and_organizations_the_groups() {
        check(&[("CN", "system:node:x"), ("O", "system:nodes")], Ok(r#"system:node:x@system ["system:nodes"]"#));
        check(&[("CN", "aaa:bob"), ("O", "a"), ("O", "b"), ("OU", "c")], Ok(r#"aaa:bob@aaa ["a", "b"]"#));
        check(&[("CN", "system:kube-scheduler")], Ok("system:kube-scheduler@system []"));
    }

    #[test]
    fn a_subject_without_a_tenant_is_nobody() {
        let no_tenant = Err("names no tenant");
        check(&[("CN", "bob")], no_tenant);
        check(&[("CN", "kubernetes-admin"), ("O", "system:masters")], no_tenant);
        check(&[("CN", "bob"), ("O", "tenant")], no_tenant);
        check(&[("CN", "bob"), ("OU", "tenant:aaa")], no_tenant);
        for name in ["", "all", "AAA", "a:b", "a/b"] {
            check(&[("CN", "bob"), ("O", &format!("tenant:{name}"))], Err("not a valid tenant name"));
        }
        check(&[("CN", ":bob")], Err("not a valid tenant name"));
        check(&[("CN", "all:bob")], Err("not a valid tenant name"));
    }

    #[test]
    fn a_subject_with_two_tenants_or_users_is_nobody() {
        let only = Err("only organization");
        check(&[("CN", "bob"), ("O", "tenant:aaa"), ("O", "tenant:bbb")], only);
        check(&[("CN", "bob"), ("O", "tenant:aaa"), ("O", "tenant:aaa")], only);
        check(&[("CN", "bob"), ("O", "tenant:aaa"), ("O", "system:masters")], only);
        check(&[("CN", "system:bob"), ("O", "system:masters"), ("O", "tenant:aaa")], only);
        let one = Err("one common name");
        check(&[("CN", "bob"), ("CN", "eve"), ("O", "tenant:aaa")], one);
        check(&[("CN", ""), ("O", "tenant:aaa")], one);
        check(&[("O", "tenant:aaa")], one);
        check(&[("CN", "bob\0"), ("O", "tenant:aaa")], Err("control characters"));
    }

    #[test]
    fn a_certificate_counts_in_the_tenant_that_it_was_issued_for() {
        let now = crate::pki::tests::now();
        let at = |seconds: i64| Timestamp::from_unix_secs(now.unix_secs() + seconds);
        let of = |subject| identity_of_certificate(&certificate_of(subject)).expect("an identity");
        let bob = of(&[("CN", "bob"), ("O", "tenant:aaa")]);
        assert_eq!(bob.issued, now);
        for created in [at(0), at(-1), at(-1_000_000)] {
            assert_eq!(bob.in_tenant_of(created), Ok(&bob.identity), "{created}");
        }
        for created in [at(1), at(300), at(1_000_000)] {
            let refusal = bob.in_tenant_of(created).expect_err("an older certificate");
            assert!(refusal.to_string().contains("is older than tenant aaa"), "{refusal}");
        }
        let node = of(&[("CN", "system:node:x"), ("O", "system:nodes")]);
        assert_eq!(node.in_tenant_of(at(1_000_000)), Ok(&node.identity));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let good = certificate_of(&[("CN", "bob"), ("O", "tenant:aaa")]);
        let longer = [good.as_slice(), &[0]].concat();
        for bad in [&[][..], b"x", &good[..good.len() - 1], &longer] {
            assert!(matches!(identity_of_certificate(bad), Err(Refusal::NotOurs(_))));
        }
    }
}
