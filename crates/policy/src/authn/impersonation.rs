//! Acting as somebody else: what the headers ask for, and by which right it is granted.
//!
//! There are five ways, tried in this order. Four are constrained: their right names whom, and what may be done as them
//! (`impersonate:MODE` on the identity and `impersonate-on:MODE:VERB` on the request). The fifth is the old one, the verb
//! `impersonate` on each part of the identity, which says nothing about the request.
//!
//! Invariant: nobody changes the tenant by it. The caller decides which tenant the other identity is of, by the path of
//! its request, and only identities of `system` reach another than their own.

use crate::rbac::{Attributes, MASTERS};
use api::{Error, Identity, Result, TenantName, is_dns_subdomain};
use std::collections::BTreeMap;
use std::fmt;

/// Past so many checks of one list, the right over all is asked for first.
const MANY: usize = 4;

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_PREFIX: &str = "system:node:";
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// The identity that a request asks to act as, as its headers say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// Reads `Impersonate-*` headers; names in lower case. `None` when the request asks to act as nobody. 400 for parts
    /// of an identity without a user, and for what is no text: to pass it over would let the request run with the
    /// rights of the caller.
    pub fn from_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Option<Wanted>> {
        let mut wanted = Wanted::default();
        let (mut has_user, mut has_uid, mut has_more) = (false, false, false);
        for (name, value) in headers {
            let Some(part) = name.strip_prefix("impersonate-") else { continue };
            let value = std::str::from_utf8(value)
                .map_err(|_| Error::bad_request("an Impersonate header is not valid UTF-8"))?
                .to_owned();
            match part {
                // Of several, the first counts.
                "user" if !has_user => (has_user, wanted.user) = (true, value),
                "uid" if !has_uid => (has_uid, wanted.uid) = (true, value),
                "group" => wanted.groups.push(value),
                _ => {
                    let Some(key) = part.strip_prefix("extra-") else { continue };
                    has_more = true;
                    wanted.extra.entry(unescaped(key)).or_default().push(value);
                }
            }
        }
        if !wanted.user.is_empty() {
            return Ok(Some(wanted));
        }
        if has_more || !wanted.groups.is_empty() || !wanted.uid.is_empty() {
            return Err(Error::bad_request(format!("requested {wanted} without impersonating a user name")));
        }
        Ok(None)
    }

    fn only_user(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    /// The identity, once it is granted: with the groups that its name implies.
    fn identity(&self, tenant: TenantName, mode: Mode) -> Identity {
        let mut groups = self.groups.clone();
        if groups.is_empty() {
            if let Some((namespace, _)) = service_account(&self.user) {
                groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            }
            if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) {
                groups = vec!["system:nodes".to_owned()];
            }
        }
        let has = |group: &str| groups.iter().any(|g| g == group);
        let missing = match self.user.as_str() {
            super::ANONYMOUS if has(super::UNAUTHENTICATED) => None,
            super::ANONYMOUS => Some(super::UNAUTHENTICATED),
            _ if has(super::UNAUTHENTICATED) || has(Identity::AUTHENTICATED) => None,
            _ => Some(Identity::AUTHENTICATED),
        };
        groups.extend(missing.map(str::to_owned));
        let (user, uid, extra) = (self.user.clone(), self.uid.clone(), self.extra.clone());
        Identity { tenant, user, uid, groups, extra }
    }
}

/// As upstream's messages show it.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
        let groups = if self.groups.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", list(&self.groups)) };
        let extra = if self.extra.is_empty() {
            "(nil)".to_owned()
        } else {
            let entries = self.extra.iter().map(|(key, values)| format!("{key:?}:[]string{{{}}}", list(values)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        };
        let Wanted { user, uid, .. } = self;
        write!(
            f,
            "&user.DefaultInfo{{Name:{user:?}, UID:{uid:?}, Groups:[]string{groups}, Extra:map[string][]string{extra}}}"
        )
    }
}

/// A way of impersonation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A service account whose token is bound to a node acts as this node.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Users that are neither nodes nor service accounts, with all their parts.
    UserInfo,
    /// The verb `impersonate` on each part.
    Legacy,
}

impl Mode {
    const ALL: [Mode; 5] =
        [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

    /// The right that is asked for each part of the identity. It is also the constraint that audit records show.
    pub fn verb(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "impersonate:associated-node",
            Mode::ArbitraryNode => "impersonate:arbitrary-node",
            Mode::ServiceAccount => "impersonate:serviceaccount",
            Mode::UserInfo => "impersonate:user-info",
            Mode::Legacy => "impersonate",
        }
    }

    fn applies(self, wanted: &Wanted, caller: &Identity) -> bool {
        match self {
            Mode::AssociatedNode => {
                wanted.only_user()
                    && service_account(&caller.user).is_some()
                    && node(&wanted.user).is_some_and(|node| {
                        let bound = caller.extra.get("authentication.kubernetes.io/node-name");
                        matches!(bound.map(Vec::as_slice), Some([one]) if one == node)
                    })
            }
            Mode::ArbitraryNode => wanted.only_user() && node(&wanted.user).is_some(),
            Mode::ServiceAccount => wanted.only_user() && service_account(&wanted.user).is_some(),
            Mode::UserInfo => node(&wanted.user).is_none() && service_account(&wanted.user).is_none(),
            Mode::Legacy => true,
        }
    }
}

/// Grants `caller` to act as `wanted` in `tenant` for the request `what`, or answers with the refusal of the first way
/// that applies. `last` is the way that was granted to this caller before: it is tried first. `allows` asks whether the
/// caller may, in the tenant that was decided for it.
pub fn impersonate(
    caller: &Identity,
    wanted: &Wanted,
    tenant: &TenantName,
    what: &Attributes,
    last: Option<Mode>,
    allows: &dyn Fn(&Attributes) -> Result<()>,
) -> Result<(Identity, Mode)> {
    let mut refused = None;
    let rest = Mode::ALL.into_iter().filter(|mode| Some(*mode) != last);
    for mode in last.into_iter().chain(rest).filter(|mode| mode.applies(wanted, caller)) {
        match granted(mode, wanted, what, allows) {
            Ok(()) => return Ok((wanted.identity(tenant.clone(), mode), mode)),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::internal("there is always one way of impersonation that applies")))
}

fn granted(mode: Mode, wanted: &Wanted, what: &Attributes, allows: &dyn Fn(&Attributes) -> Result<()>) -> Result<()> {
    let constrained = mode != Mode::Legacy;
    if constrained {
        let (_, name) = mode.verb().split_once(':').unwrap_or_default();
        let verb = format!("impersonate-on:{name}:{}", what.verb);
        allows(&Attributes { verb: &verb, ..*what })?;
    }
    let group = if constrained { AUTHENTICATION } else { "" };
    let part = Attributes { verb: mode.verb(), tenant: what.tenant, version: "v1", ..Attributes::default() };
    let user = Attributes { group, resource: "users", name: &wanted.user, ..part };
    allows(&match (service_account(&wanted.user), node(&wanted.user)) {
        (Some((namespace, name)), _) => Attributes { resource: "serviceaccounts", namespace, name, ..user },
        // Whatever node it is: the caller's own, as its token says.
        (_, Some(_)) if mode == Mode::AssociatedNode => Attributes { resource: "nodes", name: "*", ..user },
        (_, Some(name)) if constrained => Attributes { resource: "nodes", name, ..user },
        _ => user,
    })?;
    if !wanted.uid.is_empty() {
        allows(&Attributes { group: AUTHENTICATION, resource: "uids", name: &wanted.uid, ..part })?;
    }
    groups(&wanted.groups, constrained, &Attributes { group, resource: "groups", ..part }, allows)?;
    extras(&wanted.extra, constrained, &Attributes { group: AUTHENTICATION, resource: "userextras", ..part }, allows)
}

fn groups(
    groups: &[String],
    constrained: bool,
    asked: &Attributes,
    allows: &dyn Fn(&Attributes) -> Result<()>,
) -> Result<()> {
    if constrained {
        let refused = |name: &str, why: &str| {
            let text = format!("impersonating the {why} is not allowed");
            Error::forbidden(asked.group, asked.resource, name, &text)
        };
        if groups.iter().any(String::is_empty) {
            return Err(refused("", "empty string group"));
        }
        if groups.iter().any(|group| group == MASTERS) {
            return Err(refused(MASTERS, "system:masters group"));
        }
        if groups.len() >= MANY && allows(&Attributes { name: "*", ..*asked }).is_ok() {
            return Ok(());
        }
    }
    groups.iter().try_for_each(|name| allows(&Attributes { name, ..*asked }))
}

fn extras(
    extra: &BTreeMap<String, Vec<String>>,
    constrained: bool,
    asked: &Attributes,
    allows: &dyn Fn(&Attributes) -> Result<()>,
) -> Result<()> {
    if constrained {
        if let Some(why) = extra.iter().find_map(|(key, values)| bad_extra(key, values)) {
            return Err(Error::forbidden(asked.group, asked.resource, "", &why));
        }
        let count: usize = extra.values().map(Vec::len).sum();
        let all = Attributes { subresource: "*", name: "*", ..*asked };
        if (extra.len() >= MANY || count >= MANY) && allows(&all).is_ok() {
            return Ok(());
        }
    }
    let each = extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    let mut each = each.map(|(key, value)| Attributes { subresource: key, name: value, ..*asked });
    each.try_for_each(|what| allows(&what))
}

/// What is wrong with a part of `extra`, where the way is constrained.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    let domain_prefixed =
        key.split_once('/').is_some_and(|(domain, path)| is_dns_subdomain(domain) && !path.is_empty());
    if key.is_empty() {
        Some("impersonating the empty string key in extra is not allowed".to_owned())
    } else if !domain_prefixed {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        Some(format!("impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: {why}"))
    } else if key.chars().any(char::is_uppercase) {
        Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"))
    } else if values.iter().any(String::is_empty) {
        Some("impersonating the empty string value in extra is not allowed".to_owned())
    } else {
        None
    }
}

/// Namespace and name of a service account, from the name of its user.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    (api::is_dns_label(namespace) && is_dns_subdomain(name)).then_some((namespace, name))
}

fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| is_dns_subdomain(name))
}

/// The key of an extra header: percent-decoded where that gives a text, else as it is.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let Some((high, low)) = digit().zip(digit()) else { return key.to_owned() };
        out.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests;
