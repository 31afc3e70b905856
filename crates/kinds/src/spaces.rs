//! Namespaces and tenants: what holds other objects, and ends when they are gone.

use crate::causes::{Causes, Path};
use crate::print::or_none;
use crate::table::{AGE, NAME, age, column, explained};
use crate::value::{keep, list, object, set, text};
use crate::{Deletion, NameRule, Strategy};
use serde_json::{Value, json};

/// By which selectors find a namespace under its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Who removes the content of a namespace and of a tenant.
const NAMESPACE_FINALIZER: &str = "kubernetes";
const TENANT_FINALIZER: &str = "arktos";

/// As many storage clusters as a revision's bits can tell apart.
const STORAGE_CLUSTERS_MAX: u32 = 64;

pub(crate) static NAMESPACES: Strategy = Strategy {
    defaults: |namespace| {
        let name = text(&namespace["metadata"]["name"]).to_owned();
        if let Some(labels) = object(&mut namespace["metadata"], "labels").filter(|_| !name.is_empty()) {
            labels.insert(NAME_LABEL.to_owned(), json!(name));
        }
    },
    prepare_create: |namespace| {
        add_finalizer(namespace, NAMESPACE_FINALIZER);
        set(namespace, "status", json!({"phase": "Active"}));
    },
    prepare_update: |new, old| keep(&mut new["spec"], &old["spec"], "finalizers"),
    validate_status: |new, old| {
        Causes::of(|causes| {
            let deleting = !old["metadata"]["deletionTimestamp"].is_null();
            let phase = text(&new["status"]["phase"]);
            if (phase == "Terminating") != deleting {
                let wanted = if deleting { "Terminating" } else { "Active" };
                let why = format!("may only be '{wanted}' if `deletionTimestamp` is {}empty", if deleting { "not " } else { "" });
                causes.invalid(&Path::new("status").child("Phase"), phase, &why);
            }
        })
    },
    name_rule: NameRule::DnsLabel,
    deletion: Deletion::Phased,
    columns: &[NAME, explained("Status", "The status of the namespace"), AGE],
    row: |namespace, now| {
        vec![namespace["metadata"]["name"].clone(), or_none(&namespace["status"]["phase"]), age(namespace, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static TENANTS: Strategy = Strategy {
    prepare_create: |tenant| {
        add_finalizer(tenant, TENANT_FINALIZER);
        set(tenant, "status", json!({"phase": "Active"}));
    },
    prepare_update: |new, old| keep(&mut new["spec"], &old["spec"], "finalizers"),
    validate: |tenant| {
        Causes::of(|causes| {
            let name = text(&tenant["metadata"]["name"]);
            if name == api::ALL_TENANTS {
                causes.invalid(&Path::new("metadata").child("name"), name, "stands for all tenants");
            }
            let (at, id) = (Path::new("spec"), text(&tenant["spec"]["storageClusterId"]));
            let at = at.child("storageClusterId");
            if id.is_empty() {
                causes.required(&at, "");
            } else if !id.parse::<u32>().is_ok_and(|id| id < STORAGE_CLUSTERS_MAX) {
                causes.invalid(&at, id, "must be a number from 0 to 63");
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["spec"]["storageClusterId"] != old["spec"]["storageClusterId"] {
                causes.immutable(&Path::new("spec").child("storageClusterId"), &new["spec"]["storageClusterId"]);
            }
        })
    },
    name_rule: NameRule::DnsLabel,
    deletion: Deletion::Phased,
    columns: &[
        NAME,
        column("StorageId", "io.k8s.api.core.v1.TenantSpec", "storageClusterId"),
        explained("Status", "The status of the tenant"),
        AGE,
    ],
    row: |tenant, now| {
        vec![
            tenant["metadata"]["name"].clone(),
            or_none(&tenant["spec"]["storageClusterId"]),
            or_none(&tenant["status"]["phase"]),
            age(tenant, now),
        ]
    },
    ..Strategy::PLAIN
};

fn add_finalizer(value: &mut Value, finalizer: &str) {
    let mut finalizers = list(&value["spec"]["finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(json!(finalizer));
    }
    if let Some(spec) = object(value, "spec") {
        spec.insert("finalizers".to_owned(), json!(finalizers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_found_by_its_name_and_ends_by_its_finalizer() {
        let mut namespace = json!({"metadata": {"name": "n"}});
        (NAMESPACES.defaults)(&mut namespace);
        (NAMESPACES.prepare_create)(&mut namespace);
        assert_eq!(namespace["metadata"]["labels"][NAME_LABEL], "n");
        assert_eq!((&namespace["spec"]["finalizers"], &namespace["status"]["phase"]), (&json!(["kubernetes"]), &json!("Active")));
    }

    #[test]
    fn a_tenant_names_where_it_is_stored() {
        let check = |name: &str, id: &str| {
            let tenant = json!({"metadata": {"name": name}, "spec": {"storageClusterId": id}});
            (TENANTS.validate)(&tenant).into_iter().map(|cause| cause.field).collect::<Vec<_>>()
        };
        assert!(check("acme", "0").is_empty() && check("acme", "63").is_empty());
        for bad in ["", "64", "-1", "x"] {
            assert_eq!(check("acme", bad), ["spec.storageClusterId"], "{bad}");
        }
        assert_eq!(check("all", "0"), ["metadata.name"]);
    }
}
