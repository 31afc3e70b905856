//! What is free in a tenant: addresses of its ServiceCIDRs, and ports of nodes.

use super::{address_key, port_key};
use crate::registry::Call;
use api::{ResourceId, Result, Space};
use rand::RngExt;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use store::{Scope, Snapshot};

/// The addresses of services in every tenant: tenants' networks are apart, so that all may use the same.
pub const DEFAULT_RANGE: &str = "10.96.0.0/16";

/// The first of them, which the service `kubernetes` has.
pub const FIRST_ADDRESS: &str = "10.96.0.1";

/// Ports of nodes that services may have.
const PORTS: RangeInclusive<u16> = 30000..=32767;

const ALLOCATED: &str = "provided IP is already allocated";
const OUT_OF_RANGE: &str = "the provided network does not match the current range";

/// Usable addresses of a range, and where those begin that are given without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    /// Below it is room for addresses that people choose: less likely given, so less likely taken.
    dynamic: u32,
}

impl Range {
    /// A range without its network's and broadcast address; `None` for what is no IPv4 network or has no room.
    fn parse(cidr: &str) -> Option<Range> {
        let (address, length) = cidr.split_once('/')?;
        let (address, length): (Ipv4Addr, u32) = (address.parse().ok()?, length.parse().ok()?);
        if length > 30 {
            return None;
        }
        let size = 1u64 << (32 - length);
        let base = u64::from(u32::from(address)) & !(size - 1);
        let [first, last] = [base + 1, base + size - 2].map(|address| u32::try_from(address).ok());
        let (first, last) = (first?, last?);
        let offset = u32::try_from((size / 16).clamp(16, 256)).ok()?;
        let dynamic = if size < 32 { first } else { (first - 1).saturating_add(offset).min(last) };
        Some(Range { first, last, dynamic })
    }

    fn holds(&self, address: u32) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// All addresses, each once: first the dynamic ones from a random place on, then the others.
    fn search(self, start: u32) -> impl Iterator<Item = u32> {
        let start = start.clamp(self.dynamic, self.last);
        (start..=self.last).chain(self.dynamic..start).chain(self.first..self.dynamic)
    }
}

/// What is free, as of a snapshot and without what was claimed since.
pub struct Pool<'a> {
    call: Call<'a>,
    snapshot: &'a Snapshot,
    ranges: Vec<Range>,
    /// Claimed for this service, and not stored yet.
    claimed: BTreeSet<u16>,
}

impl<'a> Pool<'a> {
    pub fn of(call: Call<'a>, snapshot: &'a Snapshot) -> Result<Pool<'a>> {
        let Space::Tenant(tenant) = call.target.space(call.kind)? else {
            return Ok(Pool { call, snapshot, ranges: Vec::new(), claimed: BTreeSet::new() });
        };
        let scope = Scope::Tenant(ResourceId::new("networking.k8s.io", "servicecidrs"), tenant);
        let stored: Vec<_> = snapshot.range(&scope, None).collect();
        let mut ranges = Vec::new();
        for range in &stored {
            let value = range.to_value()?;
            let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready && !range.header.deleting {
                let cidrs = value["spec"]["cidrs"].as_array().into_iter().flatten();
                ranges.extend(cidrs.filter_map(|cidr| Range::parse(cidr.as_str()?)));
            }
        }
        if stored.is_empty() {
            ranges.extend(Range::parse(DEFAULT_RANGE));
        }
        Ok(Pool { call, snapshot, ranges, claimed: BTreeSet::new() })
    }

    fn is_free(&self, address: &str) -> bool {
        address_key(self.call, address).is_ok_and(|key| self.snapshot.get(&key).is_none())
    }

    fn is_port_free(&self, port: u16) -> bool {
        let stored = || port_key(self.call, port).is_ok_and(|key| self.snapshot.get(&key).is_none());
        !self.claimed.contains(&port) && stored()
    }
}

impl kinds::services::Pool for Pool<'_> {
    fn address(&mut self, address: &str) -> Result<(), String> {
        let parsed: Ipv4Addr = address.parse().map_err(|_| OUT_OF_RANGE.to_owned())?;
        if !self.ranges.iter().any(|range| range.holds(parsed.into())) {
            return Err(OUT_OF_RANGE.to_owned());
        }
        if self.is_free(address) { Ok(()) } else { Err(ALLOCATED.to_owned()) }
    }

    fn any_address(&mut self) -> Result<String, String> {
        for range in &self.ranges {
            let start = rand::rng().random_range(range.dynamic..=range.last);
            let mut addresses = range.search(start).map(|address| Ipv4Addr::from(address).to_string());
            if let Some(free) = addresses.find(|address| self.is_free(address)) {
                return Ok(free);
            }
        }
        Err("range is full".to_owned())
    }

    fn port(&mut self, port: u16) -> Result<(), String> {
        if !PORTS.contains(&port) {
            let (first, last) = (PORTS.start(), PORTS.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if !self.is_port_free(port) {
            return Err("provided port is already allocated".to_owned());
        }
        self.claimed.insert(port);
        Ok(())
    }

    fn any_port(&mut self) -> Result<u16, String> {
        let start = rand::rng().random_range(PORTS);
        let free = (start..=*PORTS.end()).chain(*PORTS.start()..start).find(|port| self.is_port_free(*port));
        let port = free.ok_or("range is full")?;
        self.claimed.insert(port);
        Ok(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_every_address_of_a_range_once() {
        let range = Range::parse("10.0.0.0/24").expect("a range");
        let last = range.last;
        for start in [range.dynamic, range.dynamic + 7, last] {
            let found: Vec<u32> = range.search(start).collect();
            let distinct: BTreeSet<u32> = found.iter().copied().collect();
            assert_eq!((found.len(), distinct.len()), (254, 254));
            assert!(found[0] >= range.dynamic);
        }
    }

    #[test]
    fn the_ends_of_a_network_are_no_addresses() {
        let address = |text: &str| u32::from(text.parse::<Ipv4Addr>().expect("an address"));
        let range = Range::parse("10.96.0.0/16").expect("a range");
        for (text, held) in [
            ("10.96.0.0", false),
            ("10.96.0.1", true),
            ("10.96.255.254", true),
            ("10.96.255.255", false),
            ("10.97.0.1", false),
        ] {
            assert_eq!(range.holds(address(text)), held, "{text}");
        }
        assert_eq!(range.dynamic, address("10.96.1.0"));
        for none in ["10.0.0.0/31", "fd00::/64", "x", "10.0.0.0"] {
            assert_eq!(Range::parse(none), None, "{none}");
        }
        assert!(Range::parse("0.0.0.0/0").is_some());
    }
}
