//! IP addresses and networks: what is wrong with a text, and what is right but not as it should be written.

use crate::causes::Path;
use crate::names::Problems;
use std::net::IpAddr;

/// An IP address, also in the forms that old objects may hold.
pub(crate) fn ip(text: &str) -> Problems {
    if parse_ip(text).is_some() {
        return Problems::new();
    }
    no_ip()
}

/// An IP address in a form that is read everywhere as the same one.
pub(crate) fn strict_ip(text: &str) -> Problems {
    match (text.parse(), parse_ip(text)) {
        (Ok(IpAddr::V6(ip)), _) if ip.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        (Ok(_), _) => Problems::new(),
        (Err(_), Some(_)) => vec!["must not have leading 0s".to_owned()],
        (Err(_), None) => no_ip(),
    }
}

fn no_ip() -> Problems {
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
}

/// Reads an address; leading zeros in the numbers of an IPv4 address are allowed.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()).then(|| n.parse::<u8>().ok())?;
    let numbers = || text.split('.').map(number).collect::<Option<Vec<u8>>>();
    text.parse().ok().or_else(|| <[u8; 4]>::try_from(numbers()?).ok().map(IpAddr::from))
}

/// A network: an address, `/`, and the length of its prefix.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = parse_ip(address)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    length.parse().ok().filter(|length| digits && *length <= bits).map(|length| (address, length))
}

/// A network.
pub(crate) fn cidr(text: &str) -> Problems {
    if parse_cidr(text).is_some() {
        return Problems::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
}

/// Whether a network holds all of another and more.
pub(crate) fn strictly_holds(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    outer.1 < inner.1
        && outer.0.is_ipv4() == inner.0.is_ipv4()
        && network(inner.0, outer.1) == network(outer.0, outer.1)
}

/// The first address of a network.
pub(crate) fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// An address that is not written as addresses are.
pub(crate) fn ip_warning(ip: &str, at: &Path) -> Option<String> {
    let parsed = parse_ip(ip)?;
    let canonical = parsed.to_string();
    if canonical == ip {
        return None;
    }
    Some(if parsed.is_ipv4() {
        format!("{at}: non-standard IP address {ip:?} is invalid: use {canonical:?}")
    } else {
        format!("{at}: IPv6 address {ip:?} should be in RFC 5952 canonical format ({canonical:?})")
    })
}

/// A network that is not written as networks are, or that could be meant to be one address.
pub(crate) fn cidr_warning(cidr: &str, at: &Path) -> Option<String> {
    let (address, length) = parse_cidr(cidr)?;
    let canonical = format!("{}/{length}", network(address, length));
    if canonical == cidr {
        return None;
    }
    Some(if network(address, length) != address {
        let one = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        format!("{at}: CIDR value {cidr:?} is ambiguous in this context (should be {canonical:?} or {one:?}?)")
    } else if address.is_ipv4() {
        format!("{at}: non-standard CIDR value {cidr:?} is invalid: use {canonical:?}")
    } else {
        format!("{at}: IPv6 CIDR value {cidr:?} should be in RFC 5952 canonical format ({canonical:?})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks() {
        for good in ["10.0.0.1", "01.2.3.4", "::1", "FD00::0001"] {
            assert!(ip(good).is_empty(), "{good}");
        }
        for bad in ["", "x", "1.2.3", "1.2.3.256", "1..2.3", "1.2.3.4.5"] {
            assert_eq!(ip(bad).len(), 1, "{bad}");
        }
        assert_eq!(parse_cidr("10.0.0.0/8").map(|(_, length)| length), Some(8));
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "x/8"] {
            assert_eq!(cidr(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn networks_hold_smaller_ones() {
        let holds = |outer: &str, inner: &str| {
            strictly_holds(parse_cidr(outer).expect("a network"), parse_cidr(inner).expect("a network"))
        };
        assert!(holds("10.0.0.0/8", "10.1.0.0/16"));
        assert!(holds("0.0.0.0/0", "10.0.0.0/8"));
        assert!(!holds("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0/16"));
        assert!(!holds("::/0", "10.0.0.0/8"));
        assert!(holds("fd00::/8", "fd00:1::/64"));
    }

    #[test]
    fn unusual_spellings_are_warned_of() {
        let at = Path::new("a");
        assert_eq!(ip_warning("10.0.0.1", &at), None);
        assert!(ip_warning("010.0.0.1", &at).is_some_and(|warning| warning.ends_with("use \"10.0.0.1\"")));
        assert_eq!(cidr_warning("10.0.0.0/8", &at), None);
        let ambiguous = cidr_warning("10.0.0.1/8", &at).expect("a warning");
        assert!(ambiguous.ends_with("(should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)"), "{ambiguous}");
        assert!(cidr_warning("FD00::/8", &at).is_some_and(|warning| warning.contains("RFC 5952")));
    }
}
