//! From a credential to an identity with a tenant, or to a refusal.

mod certificate;
pub mod impersonation;
mod oidc;
mod service_account;
mod token_file;

pub(crate) use certificate::API_SERVERS;
pub(crate) use certificate::requested_user;
pub use certificate::{CertifiedIdentity, identity_of_certificate, is_api_server};
pub use oidc::Issuers;
pub use service_account::{AUDIENCE, Bound, ServiceAccountKey, TokenSpec, VerifiedToken};
pub use token_file::TokenFile;

use api::{Identity, TenantName};
use std::fmt;

/// The user of requests without a credential.
pub const ANONYMOUS: &str = "system:anonymous";

/// The group of requests without a credential.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// The key of `extra` that tells which credential was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why a credential was refused: for the log and for TokenReview, never in a 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credential of this kind at all, or not from this server; another authenticator may know it.
    NotOurs(String),
    /// Ours, and not good: expired, for another audience, of a subject without a tenant.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotOurs(why) | Refusal::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for api::Error {
    /// 401, always with the same text; the reason stays in the log.
    fn from(refusal: Refusal) -> api::Error {
        api::Error::unauthorized().with_source(refusal)
    }
}

/// Who a request without a credential is, in the tenant that its path names.
pub fn anonymous(tenant: TenantName) -> Identity {
    Identity { groups: vec![UNAUTHENTICATED.to_owned()], ..Identity::new(tenant, ANONYMOUS, &[]) }
}
