//! Addresses of services, and the networks they come from.

use super::{SPEC, path_segment};
use crate::addresses::{cidr, ip, network, parse_cidr, parse_ip};
use crate::causes::{Causes, Path};
use crate::names;
use crate::print::joined;
use crate::table::{AGE, NAME, age, column};
use crate::value::{is_empty, list, text};
use crate::{NameRule, Revalidation, Strategy};
use serde_json::{Value, json};

pub(crate) static IP_ADDRESSES: Strategy = Strategy {
    name_rule: NameRule::Any,
    validate: |address| Causes::of(|causes| validate_address(address, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let parent = &new["spec"]["parentRef"];
            if parent != &old["spec"]["parentRef"] {
                causes.immutable(&SPEC.child("parentRef"), parent);
            }
        })
    },
    columns: &[NAME, column("ParentRef", "io.k8s.api.networking.v1.IPAddressSpec", "parentRef")],
    row: |address, _| vec![address["metadata"]["name"].clone(), json!(parent(&address["spec"]["parentRef"]))],
    ..Strategy::PLAIN
};

pub(crate) static SERVICE_CIDRS: Strategy = Strategy {
    validate: |range| Causes::of(|causes| validate_range(list(&range["spec"]["cidrs"]), causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (cidrs, at) = (list(&new["spec"]["cidrs"]), SPEC.child("cidrs"));
            let before = list(&old["spec"]["cidrs"]);
            if cidrs.len() < before.len() {
                causes.invalid(&at, cidrs, "can not remove existing CIDRs, only a single network can be added");
            } else if let Some(i) = before.iter().zip(cidrs).position(|(old, new)| old != new) {
                causes.immutable(&at.index(i), &cidrs[i]);
            }
        })
    },
    update_revalidates: Revalidation::Content,
    columns: &[NAME, column("CIDRs", "io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs"), AGE],
    row: |range, now| {
        let cidrs = joined(list(&range["spec"]["cidrs"]).iter().map(text));
        vec![range["metadata"]["name"].clone(), json!(cidrs), age(range, now)]
    },
    ..Strategy::PLAIN
};

fn validate_address(address: &Value, causes: &mut Causes) {
    let name = text(&address["metadata"]["name"]);
    let name_at = Path::new("metadata");
    let name_at = name_at.child("name");
    match parse_ip(name) {
        None => causes.each_invalid(&name_at, name, ip(name)),
        Some(parsed) if parsed.to_string() != name => {
            causes.invalid(&name_at, name, &format!("must be in canonical form ({:?})", parsed.to_string()));
        }
        Some(_) => {}
    }
    let (parent, at) = (&address["spec"]["parentRef"], SPEC.child("parentRef"));
    if parent.is_null() {
        return causes.required(&at, "");
    }
    let (group, namespace) = (text(&parent["group"]), text(&parent["namespace"]));
    if !group.is_empty() {
        causes.each_invalid(&at.child("group"), group, names::dns_subdomain(group));
    }
    path_segment(&parent["resource"], &at.child("resource"), causes);
    path_segment(&parent["name"], &at.child("name"), causes);
    causes.each_invalid(&at.child("namespace"), namespace, names::path_segment(namespace, false));
}

fn validate_range(cidrs: &[Value], causes: &mut Causes) {
    let at = SPEC.child("cidrs");
    if cidrs.is_empty() {
        return causes.required(&at, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        return causes.invalid(&at, json!({"CIDRs": cidrs}), "may only hold up to 2 values");
    }
    let mut families = Vec::new();
    for (i, value) in cidrs.iter().enumerate() {
        let (text, at) = (text(value), at.index(i));
        let Some((address, length)) = parse_cidr(text) else {
            causes.each_invalid(&at, text, cidr(text));
            continue;
        };
        families.push(address.is_ipv4());
        let canonical = format!("{}/{length}", network(address, length));
        if network(address, length) != address {
            causes.invalid(&at, text, "must not have bits set beyond the prefix length");
        } else if canonical != text {
            causes.invalid(&at, text, &format!("must be in canonical form ({canonical:?})"));
        }
    }
    if matches!(families[..], [a, b] if a == b) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        causes.invalid(&at, cidrs, why);
    }
}

/// What an address belongs to, as in `services/default/kubernetes`.
fn parent(reference: &Value) -> String {
    if reference.is_null() {
        return "<none>".to_owned();
    }
    let dot = if is_empty(&reference["group"]) { "" } else { "." };
    let resource = format!("{}{dot}{}", text(&reference["resource"]), text(&reference["group"])).to_lowercase();
    let parts = [resource.as_str(), text(&reference["namespace"]), text(&reference["name"])];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_by_itself() {
        let faults = |name: &str| {
            let parent = json!({"resource": "services", "name": "s", "namespace": "n"});
            let address = json!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
            Causes::of(|causes| validate_address(&address, causes)).len()
        };
        assert_eq!(faults("10.0.0.1"), 0);
        assert_eq!(faults("fd00::1"), 0);
        assert_eq!(faults("FD00::1"), 1);
        assert_eq!(faults("x"), 1);
    }

    #[test]
    fn a_range_has_one_network_of_each_family() {
        for (cidrs, expected) in [
            (json!(["10.0.0.0/24"]), 0),
            (json!(["10.0.0.0/24", "fd00::/112"]), 0),
            (json!(["10.0.0.0/24", "10.1.0.0/24"]), 1),
            (json!(["10.0.0.1/24"]), 1),
            (json!([]), 1),
            (json!(["10.0.0.0/24", "fd00::/112", "x"]), 1),
        ] {
            assert_eq!(Causes::of(|causes| validate_range(list(&cidrs), causes)).len(), expected, "{cidrs}");
        }
    }

    #[test]
    fn a_range_only_grows() {
        let range = |cidrs: Value| json!({"spec": {"cidrs": cidrs}});
        let change = |new: Value| (SERVICE_CIDRS.validate_update)(&range(new), &range(json!(["10.0.0.0/24"]))).len();
        assert_eq!(change(json!(["10.0.0.0/24", "fd00::/112"])), 0);
        assert_eq!(change(json!(["10.1.0.0/24"])), 1);
        assert_eq!(change(json!([])), 1);
    }
}
