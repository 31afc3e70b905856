//! Endpoints of services, and the slices that took their place.

use crate::Strategy;
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::generic::content_changed;
use crate::names;
use crate::print::or_none;
use crate::services::special_address;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, int, is_empty, list, list_mut, remove, repeats, text};
use api::Timestamp;
use serde_json::{Value, json};

const SHOWN_MAX: usize = 3;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const SLICE_ENDPOINTS_MAX: usize = 1000;
const SLICE_PORTS_MAX: usize = 20000;
const SLICE_ADDRESSES_MAX: usize = 100;
const SLICE_HINTS_MAX: usize = 8;

pub(crate) static ENDPOINTS: Strategy = Strategy {
    defaults: |endpoints| {
        for port in list_mut(endpoints, "subsets").flat_map(|subset| list_mut(subset, "ports")) {
            default(port, "protocol", "TCP");
        }
    },
    validate: |endpoints| Causes::of(|causes| subsets(list(&endpoints["subsets"]), causes)),
    create_on_update: true,
    columns: &[NAME, column("Endpoints", "io.k8s.api.core.v1.Endpoints", "subsets"), AGE],
    row: |endpoints, now| {
        vec![endpoints["metadata"]["name"].clone(), or_none(&json!(shown(endpoints))), age(endpoints, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static ENDPOINT_SLICES: Strategy = Strategy {
    defaults: |slice| {
        default(slice, "endpoints", Value::Null);
        for port in list_mut(slice, "ports") {
            default(port, "protocol", "TCP");
            if port["name"].is_null() {
                default(port, "name", "");
            }
        }
    },
    validate: |slice| Causes::of(|causes| validate_slice(slice, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["addressType"] != old["addressType"] {
                causes.immutable(&Path::new("addressType"), &new["addressType"]);
            }
        })
    },
    warnings: |slice, _| {
        let named = slice["addressType"] == "FQDN";
        let why = "spec.addressType: FQDN endpoints are deprecated";
        named.then(|| why.to_owned()).into_iter().collect()
    },
    prepare_create: without_old_topology,
    prepare_update: |new, old| {
        if new["endpoints"] != old["endpoints"] {
            without_old_topology(new);
        }
    },
    generation: Some(|new, old| content_changed(new, old) || new["metadata"]["labels"] != old["metadata"]["labels"]),
    columns: SLICE_COLUMNS,
    row: slice_row,
    ..Strategy::PLAIN
};

fn subsets(subsets: &[Value], causes: &mut Causes) {
    let at = Path::new("subsets");
    for (i, subset) in subsets.iter().enumerate() {
        let at = at.index(i);
        if is_empty(&subset["addresses"]) && is_empty(&subset["notReadyAddresses"]) {
            causes.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            let at = at.child(field);
            for (i, entry) in list(&subset[field]).iter().enumerate() {
                address(entry, &at.index(i), causes);
            }
        }
        let (ports, ports_at) = (list(&subset["ports"]), at.child("ports"));
        for (i, port) in ports.iter().enumerate() {
            let at = ports_at.index(i);
            match text(&port["name"]) {
                "" if ports.len() > 1 => causes.required(&at.child("name"), ""),
                "" => {}
                name => causes.each_invalid(&at.child("name"), name, names::dns_label(name)),
            }
            names::port(int(&port["port"]).unwrap_or(0), &at.child("port"), causes);
            causes.one_of(&at.child("protocol"), &port["protocol"], &PROTOCOLS);
            if let Some(protocol) = port["appProtocol"].as_str() {
                causes.each_invalid(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
            }
        }
    }
}

fn address(entry: &Value, at: &Path, causes: &mut Causes) {
    let (ip, ip_at) = (text(&entry["ip"]), at.child("ip"));
    causes.each_invalid(&ip_at, ip, addresses::strict_ip(ip));
    match addresses::parse_ip(ip) {
        None => causes.invalid(&ip_at, ip, "must be a valid IP address"),
        Some(parsed) => {
            if let Some(why) = special_address(parsed) {
                causes.invalid(&ip_at, ip, why);
            }
        }
    }
    let host = text(&entry["hostname"]);
    if !host.is_empty() {
        causes.each_invalid(&at.child("hostname"), host, names::dns_label(host));
    }
    if let Some(node) = entry["nodeName"].as_str() {
        causes.each_invalid(&at.child("nodeName"), node, names::dns_subdomain(node));
    }
}

fn shown(endpoints: &Value) -> String {
    let (mut places, mut more): (Vec<String>, usize) = (Vec::new(), 0);
    for subset in list(&endpoints["subsets"]) {
        let ports = list(&subset["ports"]);
        for address in list(&subset["addresses"]).iter().map(|address| text(&address["ip"])) {
            let bracketed = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            let of_ports = ports.iter().map(|port| format!("{bracketed}:{}", int(&port["port"]).unwrap_or(0)));
            let of_address: Vec<String> = if ports.is_empty() { vec![address.to_owned()] } else { of_ports.collect() };
            for place in of_address {
                if places.len() < SHOWN_MAX { places.push(place) } else { more += 1 }
            }
        }
    }
    let shown = places.join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn validate_slice(slice: &Value, causes: &mut Causes) {
    let kind = text(&slice["addressType"]);
    match kind {
        "" => causes.required(&Path::new("addressType"), ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => causes.unsupported(&Path::new("addressType"), other, &["FQDN", "IPv4", "IPv6"]),
    }
    let (endpoints, at) = (list(&slice["endpoints"]), Path::new("endpoints"));
    if endpoints.len() > SLICE_ENDPOINTS_MAX {
        causes.too_many(&at, endpoints.len(), SLICE_ENDPOINTS_MAX);
    } else {
        for (i, endpoint) in endpoints.iter().enumerate() {
            slice_endpoint(endpoint, kind, &at.index(i), causes);
        }
    }
    slice_ports(list(&slice["ports"]), causes);
}

/// Topology is written no more.
fn without_old_topology(slice: &mut Value) {
    list_mut(slice, "endpoints").for_each(|endpoint| remove(endpoint, "deprecatedTopology"));
}

fn slice_endpoint(endpoint: &Value, kind: &str, at: &Path, causes: &mut Causes) {
    let (addresses, addresses_at) = (list(&endpoint["addresses"]), at.child("addresses"));
    if addresses.is_empty() {
        causes.required(&addresses_at, "must contain at least 1 address");
    }
    if addresses.len() > SLICE_ADDRESSES_MAX {
        causes.too_many(&addresses_at, addresses.len(), SLICE_ADDRESSES_MAX);
    } else {
        for (i, address) in addresses.iter().enumerate() {
            slice_address(text(address), kind, &addresses_at, i, causes);
        }
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        causes.each_invalid(&at.child("nodeName"), node, names::dns_subdomain(node));
    }
    if let Some(host) = endpoint["hostname"].as_str() {
        causes.each_invalid(&at.child("hostname"), host, names::dns_label(host));
    }
    let (given, at) = (&endpoint["hints"], at.child("hints"));
    hints(list(&given["forZones"]), &at.child("forZones"), names::label_value, causes);
    hints(list(&given["forNodes"]), &at.child("forNodes"), names::dns_subdomain, causes);
}

/// The zones or the nodes that an endpoint is for.
fn hints(places: &[Value], at: &Path, rule: fn(&str) -> names::Problems, causes: &mut Causes) {
    if places.len() > SLICE_HINTS_MAX {
        return causes.too_many(at, places.len(), SLICE_HINTS_MAX);
    }
    let repeated = repeats(places.iter().map(|place| text(&place["name"])));
    for (i, place) in places.iter().enumerate() {
        let (name, at) = (text(&place["name"]), at.index(i));
        let at = at.child("name");
        if repeated.contains(&i) {
            causes.duplicate(&at, name);
        } else {
            causes.each_invalid(&at, name, rule(name));
        }
    }
}

fn slice_address(address: &str, kind: &str, at: &Path, index: usize, causes: &mut Causes) {
    match kind {
        "FQDN" => causes.each_invalid(at, address, names::dns_subdomain(address)),
        "IPv4" | "IPv6" => match addresses::parse_ip(address) {
            None => causes.each_invalid(&at.index(index), address, addresses::ip(address)),
            Some(ip) if ip.is_ipv4() != (kind == "IPv4") => {
                causes.invalid(at, address, &format!("must be an {kind} address"));
            }
            Some(ip) => {
                if let Some(why) = special_address(ip) {
                    causes.invalid(&at.index(index), address, why);
                }
            }
        },
        _ => {}
    }
}

fn slice_ports(ports: &[Value], causes: &mut Causes) {
    let at = Path::new("ports");
    if ports.len() > SLICE_PORTS_MAX {
        return causes.too_many(&at, ports.len(), SLICE_PORTS_MAX);
    }
    let repeated = repeats(ports.iter().map(|port| text(&port["name"])));
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = text(&port["name"]);
        if !name.is_empty() {
            causes.each_invalid(&at.child("name"), name, names::dns_label(name));
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.child("name"), name);
        }
        if let Some(number) = int(&port["port"]) {
            names::port(number, &at.child("port"), causes);
        }
        causes.one_of(&at.child("protocol"), &port["protocol"], &PROTOCOLS);
        if let Some(protocol) = port["appProtocol"].as_str() {
            causes.each_invalid(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

const SLICE: &str = "io.k8s.api.discovery.v1.EndpointSlice";
const SLICE_COLUMNS: &[Column] = &[
    NAME,
    column("AddressType", SLICE, "addressType"),
    column("Ports", SLICE, "ports"),
    column("Endpoints", SLICE, "endpoints"),
    AGE,
];

fn slice_row(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports = list(&slice["ports"]).iter().map(|port| match int(&port["port"]) {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    });
    let addresses =
        list(&slice["endpoints"]).iter().flat_map(|endpoint| list(&endpoint["addresses"])).map(|a| text(a).to_owned());
    vec![
        slice["metadata"]["name"].clone(),
        slice["addressType"].clone(),
        some(ports.collect(), if is_empty(&slice["ports"]) { "<unset>" } else { "" }),
        some(addresses.collect(), "<unset>"),
        age(slice, now),
    ]
}

/// The first few of many, or what stands for none.
fn some(items: Vec<String>, none: &str) -> Value {
    match items.len() {
        0 => json!(none),
        count if count > SHOWN_MAX => {
            json!(format!("{} + {} more...", items[..SHOWN_MAX].join(","), count - SHOWN_MAX))
        }
        _ => json!(items.join(",")),
    }
}
