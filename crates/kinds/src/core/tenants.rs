//! Tenants: Ursa's own kind, with Arktos' names.

use super::namespaces::{FINALIZE, add_finalizer, phase};
use crate::causes::{Causes, Path};
use crate::table::{AGE, NAME, age, column};
use crate::value::{default, keep, object, text};
use crate::{Deletion, NameRule, Strategy};
use serde_json::json;

const FINALIZER: &str = "arktos";
/// Partitions are numbered from 0 to this.
const PARTITION_MAX: u8 = 63;
const SPEC: Path = Path::new("spec");

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
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (new, old) = (&new["spec"]["storageClusterId"], &old["spec"]["storageClusterId"]);
            if new != old {
                causes.immutable(&SPEC.child("storageClusterId"), new);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generic, registry};
    use serde_json::Value;

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
    fn a_tenant_stays_in_its_partition() {
        let kind = registry().find("", "v1", "tenants").expect("tenants");
        let old = created("acme", json!({"storageClusterId": "0"}));
        let mut new = old.clone();
        new["spec"]["storageClusterId"] = json!("1");
        new["spec"]["finalizers"] = json!([]);
        generic::prepare_update(kind, &mut new, &old);
        assert_eq!(new["spec"]["finalizers"], json!(["arktos"]), "only the finalize subresource changes finalizers");
        assert_eq!(generic::validate_update(kind, &new, &old).len(), 1);
    }
}
