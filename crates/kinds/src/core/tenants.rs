//! Tenants: Ursa's own kind, with Arktos' names.

use super::namespaces::{FINALIZE, add_finalizer};
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::{amount, is_quota, named_amount, quantity};
use crate::table::{AGE, NAME, age, column};
use crate::value::{default, is_empty, keep, list, members, object, repeats, text};
use crate::{Deletion, NameRule, Strategy};
use serde_json::{Value, json};

const FINALIZER: &str = "arktos";
/// Partitions are numbered from 0 to this.
const PARTITION_MAX: u8 = 63;
const SPEC: Path = Path::new("spec");

/// What a quota may name at most.
const QUOTA_NAMES_MAX: usize = 64;

/// What the scheduler is told of a tenant at most: its weight, resources, and tenants whose pods give way.
const WEIGHT_MAX: i64 = 1_000_000;
const SHARE_NAMES_MAX: usize = 64;
const PREEMPTS_MAX: usize = 256;

/// Issuers that may speak for a tenant, and what the keys of one may weigh.
const ISSUERS_MAX: usize = 8;
const KEYS_BYTES_MAX: usize = 64 * 1024;

/// What a tenant's quota counts besides what resource quotas do.
pub(crate) const TENANT_RESOURCES: [&str; 4] = ["objects", "bytes", "storage", "virtualmachines"];

pub(crate) static TENANTS: Strategy = Strategy {
    defaults: |tenant| {
        if tenant["status"].is_object() {
            default(&mut tenant["status"], "phase", "Active");
        }
    },
    prepare_create: |tenant| add_finalizer(tenant, FINALIZER),
    prepare_update: |new, old| {
        if object(new, "spec").is_some() {
            keep(&mut new["spec"], &old["spec"], "finalizers");
        }
        let (wanted, before) = (&new["spec"]["storageClusterId"], &old["spec"]["storageClusterId"]);
        if wanted != before && is_empty(&old["status"]["storageClusterId"]) {
            new["status"]["storageClusterId"] = before.clone();
        }
    },
    prepare_status: |new, old| {
        // Where it is, is known to who moves it.
        ["storageClusterId", "move"].iter().for_each(|field| keep(&mut new["status"], &old["status"], field));
    },
    validate: |tenant| {
        Causes::of(|causes| {
            let name = text(&tenant["metadata"]["name"]);
            if name == api::ALL_TENANTS {
                let why = "stands for every tenant, and names none";
                causes.invalid(&Path::new("metadata").child("name"), name, why);
            }
            let (partition, at) = (text(&tenant["spec"]["storageClusterId"]), SPEC.child("storageClusterId"));
            let digits = partition.bytes().all(|b| b.is_ascii_digit());
            if partition.is_empty() {
                causes.required(&at, "");
            } else if !digits || partition.parse::<u8>().ok().is_none_or(|number| number > PARTITION_MAX) {
                causes.invalid(&at, partition, &format!("must be a number between 0 and {PARTITION_MAX}"));
            }
            quota(tenant, name, causes);
            issuers(tenant, name, causes);
            scheduling(&tenant["spec"]["scheduling"], name, causes);
            if name == api::SYSTEM_TENANT && tenant["spec"]["suspended"] == true {
                causes.invalid(&SPEC.child("suspended"), true, "the operators' tenant is never suspended");
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (wanted, at) = (&new["spec"]["storageClusterId"], SPEC.child("storageClusterId"));
            if *wanted == old["spec"]["storageClusterId"] {
            } else if text(&new["metadata"]["name"]) == api::SYSTEM_TENANT {
                causes.invalid(&at, wanted, "the operators' tenant stays where it is");
            } else if !is_empty(&old["metadata"]["deletionTimestamp"]) {
                causes.invalid(&at, wanted, "a tenant that is being deleted stays where it is");
            }
        })
    },
    validate_status: |new, _| Causes::of(|causes| phase(new, causes)),
    subresources: &[("finalize", FINALIZE)],
    name_rule: NameRule::DnsLabel,
    new_status: Some(|| json!({"phase": "Active"})),
    deletion: Deletion::Phased,
    columns: &[
        NAME,
        column("StorageId", "io.k8s.api.core.v1.TenantSpec", "storageClusterId"),
        column("Status", "io.k8s.api.core.v1.TenantStatus", "phase"),
        AGE,
    ],
    row: |tenant, now| {
        let partition = tenant["spec"]["storageClusterId"].clone();
        vec![tenant["metadata"]["name"].clone(), partition, tenant["status"]["phase"].clone(), age(tenant, now)]
    },
    ..Strategy::PLAIN
};

/// A tenant that is being deleted says so, and no other does.
fn phase(tenant: &Value, causes: &mut Causes) {
    let (phase, at) = (&tenant["status"]["phase"], Path::new("status"));
    let at = at.child("phase");
    let going = !is_empty(&tenant["metadata"]["deletionTimestamp"]);
    if going && phase != "Terminating" {
        causes.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    } else if !going && phase != "Active" && phase != "Suspended" {
        causes.invalid(&at, phase, "may only be 'Active' or 'Suspended' if `deletionTimestamp` is empty");
    }
}

fn quota(tenant: &Value, name: &str, causes: &mut Causes) {
    let at = SPEC.child("quota");
    let limits = members(&tenant["spec"]["quota"]);
    if limits.clone().count() > QUOTA_NAMES_MAX {
        causes.too_many(&at, limits.count(), QUOTA_NAMES_MAX);
        return;
    }
    if name == api::SYSTEM_TENANT && limits.clone().next().is_some() {
        causes.invalid(&at, name, "the operators' tenant has no quota");
    }
    for (resource, limit) in limits {
        let at = at.key(resource);
        let known = TENANT_RESOURCES.contains(&resource) || resource.contains('/') || is_quota(resource);
        causes.each_invalid(&at, resource, names::qualified_name(resource));
        if !known {
            causes.invalid(&at, resource, "is nothing that a tenant's quota counts");
        }
        amount(resource, limit, &at, causes);
    }
}

/// What the tenant shall have of the nodes.
fn scheduling(scheduling: &Value, name: &str, causes: &mut Causes) {
    let at = SPEC.child("scheduling");
    let weight = &scheduling["weight"];
    if weight.as_i64().is_some_and(|weight| !(0..=WEIGHT_MAX).contains(&weight)) {
        causes.invalid(&at.child("weight"), weight, &format!("must be between 0 and {WEIGHT_MAX}, inclusive"));
    }
    for field in ["guaranteed", "maximum"] {
        let (amounts, at) = (members(&scheduling[field]), at.child(field));
        if amounts.clone().count() > SHARE_NAMES_MAX {
            return causes.too_many(&at, amounts.count(), SHARE_NAMES_MAX);
        }
        for (resource, value) in amounts {
            named_amount(resource, value, &at.key(resource), causes);
        }
    }
    for (resource, guaranteed) in members(&scheduling["guaranteed"]) {
        let maximum = scheduling["maximum"].get(resource);
        if let Some(maximum) = maximum.filter(|maximum| quantity(guaranteed) > quantity(maximum)) {
            let why = format!("must be less than or equal to the maximum of {}", text(maximum));
            causes.invalid(&at.child("guaranteed").key(resource), guaranteed, &why);
        }
    }
    let (preempts, at) = (list(&scheduling["preempts"]), at.child("preempts"));
    if preempts.len() > PREEMPTS_MAX {
        return causes.too_many(&at, preempts.len(), PREEMPTS_MAX);
    }
    let repeated = repeats(preempts);
    for (i, other) in preempts.iter().enumerate() {
        let (at, other) = (at.index(i), text(other));
        if repeated.contains(&i) {
            causes.duplicate(&at, other);
        } else if other == name {
            causes.invalid(&at, other, "priorities decide between pods of one tenant");
        } else if other != "*" {
            causes.each_invalid(&at, other, names::dns_label(other));
        }
    }
}

fn issuers(tenant: &Value, name: &str, causes: &mut Causes) {
    let (issuers, at) = (list(&tenant["spec"]["issuers"]), SPEC.child("issuers"));
    if issuers.len() > ISSUERS_MAX {
        return causes.too_many(&at, issuers.len(), ISSUERS_MAX);
    }
    if name == api::SYSTEM_TENANT && !issuers.is_empty() {
        causes.invalid(&at, name, "issuers of operators are in the server's --authentication-config");
    }
    let repeated = repeats(issuers.iter().map(|issuer| text(&issuer["url"])));
    for (i, issuer) in issuers.iter().enumerate() {
        let (at, url) = (at.index(i), text(&issuer["url"]));
        if repeated.contains(&i) {
            causes.duplicate(&at.child("url"), url);
        } else if !url.starts_with("https://") {
            causes.invalid(&at.child("url"), url, "must start with https://");
        }
        if list(&issuer["audiences"]).iter().all(|audience| text(audience).is_empty()) {
            causes.required(&at.child("audiences"), "at least one is required");
        }
        let (keys, at) = (text(&issuer["jwks"]), at.child("jwks"));
        if keys.len() > KEYS_BYTES_MAX {
            causes.too_long(&at, KEYS_BYTES_MAX);
        } else if serde_json::from_str::<Value>(keys).map_or(true, |set| list(&set["keys"]).is_empty()) {
            causes.required(&at, "must be a JSON Web Key Set with at least one key");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generic, registry};

    fn created(name: &str, spec: Value) -> Value {
        let mut tenant = json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec});
        (TENANTS.defaults)(&mut tenant);
        generic::prepare_create(registry().find("", "v1", "tenants").expect("tenants"), &mut tenant);
        tenant
    }

    #[test]
    fn a_new_tenant_is_active_and_waits_for_its_content_to_go() {
        let tenant = created("acme", json!({"storageClusterId": "0"}));
        assert_eq!(tenant["spec"], json!({"storageClusterId": "0", "finalizers": ["arktos"]}));
        assert_eq!(tenant["status"], json!({"phase": "Active"}));
    }

    #[test]
    fn a_tenant_needs_a_name_and_a_partition() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let count = |name: &str, spec: Value| generic::validate_create(kind, &created(name, spec)).len();
        assert_eq!(count("acme", json!({"storageClusterId": "63"})), 0);
        for (name, partition) in
            [("all", "1"), ("a.b", "1"), ("acme", ""), ("acme", "64"), ("acme", "x"), ("acme", "-1")]
        {
            assert_eq!(count(name, json!({"storageClusterId": partition})), 1, "{name} {partition}");
        }
    }

    #[test]
    fn a_quota_names_what_can_be_counted() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let wrong = |quota: Value| {
            let spec = json!({"storageClusterId": "0", "quota": quota});
            generic::validate_create(kind, &created("acme", spec)).len()
        };
        for name in ["objects", "bytes", "pods", "cpu", "requests.memory", "storage", "virtualmachines", "secrets"] {
            assert_eq!(wrong(json!({name: "3"})), 0, "{name}");
        }
        assert_eq!(wrong(json!({"count/widgets.example.com": "3"})), 0);
        assert_eq!(wrong(json!({"wishes": "3"})), 1);
        assert_eq!(wrong(json!({"pods": "-3"})), 1);
        assert_eq!(wrong((0..65).map(|i| (format!("count/w{i}"), json!("1"))).collect()), 1);
    }

    #[test]
    fn a_share_of_the_nodes_can_be_given_and_kept() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let wrong = |scheduling: Value| {
            let spec = json!({"storageClusterId": "0", "scheduling": scheduling});
            generic::validate_create(kind, &created("acme", spec)).len()
        };
        for right in [
            json!({}),
            json!({"weight": 3, "priority": -1, "guaranteed": {"cpu": "2"}, "maximum": {"cpu": "2", "memory": "1Gi"}}),
            json!({"preempts": ["*", "batch"], "maximum": {"example.com/gpu": "4"}}),
        ] {
            assert_eq!(wrong(right.clone()), 0, "{right}");
        }
        for bad in [
            json!({"weight": -1}),
            json!({"weight": WEIGHT_MAX + 1}),
            json!({"guaranteed": {"cpu": "-2"}}),
            json!({"maximum": {"pods": "1"}}),
            json!({"maximum": {"example.com/gpu": "500m"}}),
            json!({"guaranteed": {"cpu": "3"}, "maximum": {"cpu": "2"}}),
            json!({"preempts": ["batch", "batch"]}),
            json!({"preempts": ["acme"]}),
            json!({"preempts": ["No"]}),
            json!({"preempts": (0..=PREEMPTS_MAX).map(|i| format!("t{i}")).collect::<Vec<_>>()}),
        ] {
            assert_eq!(wrong(bad.clone()), 1, "{bad}");
        }
    }

    #[test]
    fn an_issuer_says_who_it_is_for_whom_and_with_which_keys() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let wrong = |change: Value| {
            let mut issuer = json!({"url": "https://a", "audiences": ["ursa"], "jwks": "{\"keys\":[{}]}"});
            issuer.as_object_mut().expect("an issuer").extend(change.as_object().expect("fields").clone());
            let spec = json!({"storageClusterId": "0", "issuers": [issuer]});
            generic::validate_create(kind, &created("acme", spec)).len()
        };
        assert_eq!(wrong(json!({})), 0);
        for change in [
            json!({"url": "http://a"}),
            json!({"audiences": []}),
            json!({"jwks": "{"}),
            json!({"jwks": "{\"keys\":[]}"}),
            json!({"jwks": "x".repeat(KEYS_BYTES_MAX + 1)}),
        ] {
            assert_eq!(wrong(change.clone()), 1, "{change}");
        }
    }

    #[test]
    fn the_operators_tenant_is_not_limited() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        for more in [json!({"suspended": true}), json!({"quota": {"pods": "1"}})] {
            let mut spec = json!({"storageClusterId": "0"});
            spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
            assert_eq!(generic::validate_create(kind, &created("system", spec)).len(), 1);
        }
    }

    #[test]
    fn a_tenant_is_where_it_was_until_it_is_moved() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let old = created("acme", json!({"storageClusterId": "0"}));
        let mut new = old.clone();
        new["spec"]["storageClusterId"] = json!("1");
        new["spec"]["finalizers"] = json!([]);
        generic::prepare_update(kind, &mut new, &old);
        assert_eq!(new["spec"]["finalizers"], json!(["arktos"]), "only the finalize subresource changes finalizers");
        assert_eq!(generic::validate_update(kind, &new, &old).len(), 0);
        assert_eq!(new["status"], json!({"phase": "Active", "storageClusterId": "0"}));
        let mut told = new.clone();
        told["status"] = json!({"phase": "Active", "storageClusterId": "7", "move": {}});
        generic::prepare_status_update(kind, &mut told, &new);
        assert_eq!(told["status"], new["status"], "nobody but who moves it says where it is");
        new["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut back = new.clone();
        back["spec"]["storageClusterId"] = json!("0");
        assert_eq!(generic::validate_update(kind, &back, &new).len(), 1, "one that is being deleted stays");
    }
}
