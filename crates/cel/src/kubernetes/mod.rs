//! Types that Kubernetes adds to the language.

pub(crate) mod address;
pub(crate) mod formats;
pub(crate) mod semver;
pub(crate) mod url;

use address::Cidr;
use api::Quantity;
use semver::Semver;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use url::Url;

/// A value of such a type.
#[derive(Clone, Debug)]
pub enum Foreign {
    Quantity(Quantity),
    Url(Rc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Semver(Rc<Semver>),
    /// A named format.
    Format(&'static str),
}

impl PartialEq for Foreign {
    fn eq(&self, other: &Foreign) -> bool {
        match (self, other) {
            (Foreign::Quantity(a), Foreign::Quantity(b)) => a.cmp(b).is_eq(),
            (Foreign::Url(a), Foreign::Url(b)) => a == b,
            (Foreign::Ip(a), Foreign::Ip(b)) => a == b,
            (Foreign::Cidr(a), Foreign::Cidr(b)) => a == b,
            (Foreign::Semver(a), Foreign::Semver(b)) => a.cmp(b).is_eq(),
            (Foreign::Format(a), Foreign::Format(b)) => a == b,
            _ => false,
        }
    }
}

impl Foreign {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Foreign::Quantity(_) => "kubernetes.Quantity",
            Foreign::Url(_) => "kubernetes.URL",
            Foreign::Ip(_) => "net.IP",
            Foreign::Cidr(_) => "net.CIDR",
            Foreign::Semver(_) => "kubernetes.Semver",
            Foreign::Format(_) => "kubernetes.NamedFormat",
        }
    }

    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Foreign::Ip(IpAddr::V4(_)) => 4,
            Foreign::Ip(IpAddr::V6(_)) => 16,
            Foreign::Cidr(cidr) => u64::from(cidr.bits()).div_ceil(8),
            _ => 1,
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Quantity(quantity) => quantity.fmt(f),
            Foreign::Url(url) => f.write_str(&url.source),
            Foreign::Ip(ip) => ip.fmt(f),
            Foreign::Cidr(cidr) => cidr.fmt(f),
            Foreign::Semver(version) => version.fmt(f),
            Foreign::Format(name) => f.write_str(name),
        }
    }
}
