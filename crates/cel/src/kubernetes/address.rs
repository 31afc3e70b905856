//! Addresses and networks, read as Go's netip reads them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, with the address that it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub length: u8,
}

/// An address without zone that is no IPv4 address in the clothes of another.
pub(crate) fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let wrap = |why: String| format!("IP Address {text:?} parse error during conversion from string: {why}");
    let address = parse_address(text).map_err(wrap)?;
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    refuse_mapped(text, address)
}

fn refuse_mapped(text: &str, address: IpAddr) -> Result<IpAddr, String> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        address => Ok(address),
    }
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let told = |why: &str| format!("ParseAddr({text:?}): {why}");
    match text.find(['.', ':', '%']).map(|i| text.as_bytes()[i]) {
        Some(b'.') => parse_v4(text).map(IpAddr::V4).map_err(|why| told(&why)),
        Some(b':') => {
            let (address, zone) = text.split_once('%').unwrap_or((text, "x"));
            if zone.is_empty() {
                return Err(told("zone must be a non-empty string"));
            }
            address.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| told(&fault_v6(address)))
        }
        Some(_) => Err(told("missing IPv6 address")),
        None => Err(told("unable to parse IP")),
    }
}

fn parse_v4(text: &str) -> Result<Ipv4Addr, String> {
    let mut bytes = [0u8; 4];
    let mut count = 0;
    let mut at = 0;
    for field in text.split('.') {
        if let Some(bad) = field.find(|c: char| !c.is_ascii_digit()) {
            return Err(format!("unexpected character (at {:?})", &text[at + bad..]));
        }
        if field.is_empty() {
            return Err(format!(
                "IPv4 field must have at least one digit (at {:?})",
                text.get(at.max(1) - 1..).unwrap_or("")
            ));
        }
        if field.len() > 1 && field.starts_with('0') {
            return Err("IPv4 field has octet with leading zero".into());
        }
        let value = field.parse().map_err(|_| "IPv4 field has value >255".to_owned())?;
        if count == 4 {
            return Err("IPv4 address too long".into());
        }
        bytes[count] = value;
        count += 1;
        at += field.len() + 1;
    }
    if count < 4 { Err("IPv4 address too short".into()) } else { Ok(bytes.into()) }
}

fn fault_v6(text: &str) -> String {
    if let Some(at) = text.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.') {
        return format!("unexpected character, want colon (at {:?})", &text[at..]);
    }
    if text.split(':').any(|group| group.len() > 4 && !group.contains('.')) {
        return format!("each group must have 4 or less digits (at {text:?})");
    }
    if text.matches("::").count() > 1 {
        return format!("multiple :: in address (at {text:?})");
    }
    "address string too short".into()
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Result<Cidr, String> {
        let told = |why: &str| {
            format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}")
        };
        let (address, length) = text.rsplit_once('/').ok_or_else(|| told("no '/'"))?;
        if address.contains('%') {
            return Err(told("IPv6 zones cannot be present in a prefix"));
        }
        let parsed = parse_address(address).map_err(|why| told(&why))?;
        let numeric = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        if !numeric || (length.len() > 1 && length.starts_with('0')) {
            return Err(told(&format!("bad bits after slash: {length:?}")));
        }
        let bits = if parsed.is_ipv4() { 32 } else { 128 };
        let length = length.parse::<u8>().ok().filter(|length| *length <= bits);
        let length = length.ok_or_else(|| told("prefix length out of range"))?;
        Ok(Cidr { address: refuse_mapped(text, parsed)?, length })
    }

    pub(crate) fn bits(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    pub(crate) fn masked(&self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(v4) => {
                IpAddr::V4((u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                IpAddr::V6((u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0)).into())
            }
        };
        Cidr { address, length: self.length }
    }

    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Cidr { address, length: self.length }.masked().address == self.masked().address
    }

    pub(crate) fn covers(&self, other: &Cidr) -> bool {
        other.length >= self.length && self.holds(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

pub(crate) fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

pub(crate) fn is_link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

pub(crate) fn is_global_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !is_link_local_unicast(address)
        && !broadcast
}
