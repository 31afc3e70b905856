//! Which addresses a tenant's URL may reach: public ones, and what the operators open. Pure.
//!
//! What is refused is where control planes, their stores, clouds' metadata and other tenants live. `system` is the
//! operators' own and reaches everything.

use api::TenantName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks that tenants' URLs may reach although they are not public.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl FromStr for Networks {
    type Err = String;

    /// `10.1.0.0/16,fd00::/8`
    fn from_str(text: &str) -> Result<Networks, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Networks)
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("{text:?} is no network: write it as 10.1.0.0/16");
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if length > most { Err(wrong()) } else { Ok((address, length)) }
}

impl Networks {
    /// Whether a URL of a tenant may reach an address.
    pub fn permit(&self, tenant: &TenantName, address: IpAddr) -> bool {
        let address = address.to_canonical();
        tenant.is_system() || is_public(address) || self.0.iter().any(|network| holds(*network, address))
    }
}

fn holds((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => v4_in(address, network, length),
        (IpAddr::V6(network), IpAddr::V6(address)) => v6_in(address, network, length),
        _ => false,
    }
}

fn v4_in(address: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    (address.to_bits() ^ network.to_bits()).checked_shr(32 - u32::from(length)).unwrap_or(0) == 0
}

fn v6_in(address: Ipv6Addr, network: Ipv6Addr, length: u8) -> bool {
    (address.to_bits() ^ network.to_bits()).checked_shr(128 - u32::from(length)).unwrap_or(0) == 0
}

/// Networks of IPv4 that are not public (IANA's registry of special purposes), multicast among them.
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The public part of IPv6, and networks within it that are not: Teredo, documentation, and 6to4, which hides addresses of
/// IPv4.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(network, length)| v4_in(address, *network, *length)),
        IpAddr::V6(address) => {
            let within = |(network, length): (Ipv6Addr, u8)| v6_in(address, network, length);
            within(PUBLIC_V6) && !SPECIAL_V6.into_iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_reach_public_addresses_and_what_operators_open() {
        let acme = TenantName::new("acme").unwrap();
        let networks: Networks = "10.1.0.0/16, fd00:1::/32".parse().unwrap();
        for (address, permitted) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("10.1.2.3", true),
            ("fd00:1::5", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("127.255.0.9", false),
            ("::1", false),
            ("::", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("fd00:2::5", false),
            ("192.168.1.1", false),
            ("172.31.255.255", false),
            ("100.64.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(networks.permit(&acme, address), permitted, "{address}");
            assert!(networks.permit(&TenantName::system(), address), "{address}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_a_length() {
        assert!("0.0.0.0/0,::/0".parse::<Networks>().is_ok());
        for wrong in ["10.0.0.0", "10.0.0.0/33", "a/8", "10.0.0.0/x"] {
            assert!(wrong.parse::<Networks>().is_err_and(|why| why.contains(wrong)), "{wrong}");
        }
        let all: Networks = "0.0.0.0/0".parse().unwrap();
        assert!(all.permit(&TenantName::new("acme").unwrap(), IpAddr::from([127, 0, 0, 1])));
    }
}
