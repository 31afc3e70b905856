//! Who makes a request.

use crate::TenantName;
use std::collections::BTreeMap;

/// An authenticated caller. There is no identity without a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub tenant: TenantName,
    pub user: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// The group of everyone who authenticated.
    pub const AUTHENTICATED: &'static str = "system:authenticated";

    /// An identity with `system:authenticated` added to its groups.
    pub fn new(tenant: TenantName, user: &str, groups: &[&str]) -> Identity {
        let mut groups: Vec<String> = groups.iter().map(|&g| g.to_owned()).collect();
        if !groups.iter().any(|g| g == Self::AUTHENTICATED) {
            groups.push(Self::AUTHENTICATED.to_owned());
        }
        Identity { tenant, user: user.to_owned(), uid: String::new(), groups, extra: BTreeMap::new() }
    }

    /// The service account `name` of `namespace` in `tenant`.
    pub fn service_account(tenant: TenantName, namespace: &str, name: &str) -> Identity {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let in_namespace = format!("system:serviceaccounts:{namespace}");
        Identity::new(tenant, &user, &["system:serviceaccounts", &in_namespace])
    }

    /// The agent of a node. Nodes belong to the operators.
    pub fn node(name: &str) -> Identity {
        Identity::new(TenantName::system(), &format!("system:node:{name}"), &["system:nodes"])
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
