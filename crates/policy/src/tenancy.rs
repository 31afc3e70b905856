//! The tenant decision, made once per request before anything else looks at it.
//!
//! Invariant: only [`decide`] makes a [`Decision`], and none lets an identity of a tenant other than `system` out of its
//! own tenant. No answer tells whether another tenant exists.

use crate::rbac::{self, Attributes};
use api::{Identity, Result, TenantName};

/// Which tenant the path of a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// None: the identity's own.
    Own,
    Named(TenantName),
    /// `tenants/all`.
    All,
}

impl Requested {
    /// The one tenant that the path names.
    pub fn named(&self) -> Option<&TenantName> {
        match self {
            Requested::Named(tenant) => Some(tenant),
            Requested::Own | Requested::All => None,
        }
    }
}

/// By what right the target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The identity's own tenant; its rules decide.
    Own,
    /// Another tenant, or all of them: a grant in `system` must allow it.
    Granted,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tenant(TenantName),
    All,
}

/// The tenant that a request may address. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    target: Target,
    access: Access,
}

impl Decision {
    fn own(identity: &Identity) -> Decision {
        Decision { target: Target::Tenant(identity.tenant.clone()), access: Access::Own }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn access(&self) -> Access {
        self.access
    }

    /// The one tenant, if it is one.
    pub fn tenant(&self) -> Option<&TenantName> {
        match &self.target {
            Target::Tenant(tenant) => Some(tenant),
            Target::All => None,
        }
    }
}

/// Decides which tenant a request reaches, before it is known what is there. `what` only words the refusal; its tenant
/// is not looked at.
pub fn decide(identity: &Identity, requested: &Requested, what: &Attributes) -> Result<Decision> {
    match requested {
        Requested::Own => Ok(Decision::own(identity)),
        Requested::Named(tenant) if *tenant == identity.tenant => Ok(Decision::own(identity)),
        Requested::Named(tenant) if identity.tenant.is_system() => {
            Ok(Decision { target: Target::Tenant(tenant.clone()), access: Access::Granted })
        }
        Requested::All if identity.tenant.is_system() => Ok(Decision { target: Target::All, access: Access::Granted }),
        Requested::Named(tenant) => Err(rbac::denial(identity, what, Some(tenant))),
        Requested::All => Err(rbac::denial_in_all_tenants(identity, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantName {
        TenantName::new(name).expect("a tenant")
    }

    #[test]
    fn only_identities_of_system_leave_their_tenant() {
        let own = |name: &str| Some(Decision { target: Target::Tenant(tenant(name)), access: Access::Own });
        let granted = |target: Target| Some(Decision { target, access: Access::Granted });
        let named = |name: &str| Requested::Named(tenant(name));
        for (who, requested, expected) in [
            ("acme", Requested::Own, own("acme")),
            ("acme", named("acme"), own("acme")),
            ("acme", named("umbrella"), None),
            ("acme", named("system"), None),
            ("acme", named("acme1"), None),
            ("acme", Requested::All, None),
            ("system", Requested::Own, own("system")),
            ("system", named("system"), own("system")),
            ("system", named("acme"), granted(Target::Tenant(tenant("acme")))),
            ("system", Requested::All, granted(Target::All)),
        ] {
            let identity = Identity::new(tenant(who), "root", &[rbac::MASTERS]);
            let decision = decide(&identity, &requested, &Attributes::default());
            assert_eq!(decision.ok(), expected, "{who} to {requested:?}");
        }
    }
}
