//! Storage clusters: Arktos' kind, by which further etcd clusters keep tenants.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::table::{AGE, NAME, age, column};
use crate::value::text;

const DEFINITION: &str = "io.k8s.api.core.v1.StorageCluster";

pub(crate) static STORAGE_CLUSTERS: Strategy = Strategy {
    validate: |cluster| {
        Causes::of(|causes| {
            let (id, at) = (text(&cluster["storageClusterId"]), Path::new("storageClusterId"));
            match id.parse::<u8>() {
                _ if id.is_empty() => causes.required(&at, ""),
                // 0 is the one that the API servers were started with.
                Ok(1..=63) if id.bytes().all(|b| b.is_ascii_digit()) => {}
                _ => causes.invalid(&at, id, "must be a number between 1 and 63"),
            }
            if text(&cluster["serviceAddress"]).is_empty() {
                causes.required(&Path::new("serviceAddress"), "");
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["storageClusterId"] != old["storageClusterId"] {
                causes.immutable(&Path::new("storageClusterId"), &new["storageClusterId"]);
            }
        })
    },
    columns: &[
        NAME,
        column("StorageClusterId", DEFINITION, "storageClusterId"),
        column("ServiceAddress", DEFINITION, "serviceAddress"),
        AGE,
    ],
    row: |cluster, now| {
        let (id, address) = (cluster["storageClusterId"].clone(), cluster["serviceAddress"].clone());
        vec![cluster["metadata"]["name"].clone(), id, address, age(cluster, now)]
    },
    ..Strategy::PLAIN
};

#[cfg(test)]
mod tests {
    use crate::{generic, registry};
    use serde_json::{Value, json};

    fn cluster(id: &str, address: &str) -> Value {
        json!({"metadata": {"name": "c", "resourceVersion": "1"}, "storageClusterId": id, "serviceAddress": address})
    }

    #[test]
    fn a_cluster_has_a_number_of_its_own_that_stays() {
        let kind = registry().find("", "v1", "storageclusters").expect("storage clusters");
        for (id, address, wrong) in
            [("1", "h:2379", 0), ("63", "h:2379", 0), ("0", "h:2379", 1), ("64", "h", 1), ("+1", "h", 1), ("", "", 2)]
        {
            assert_eq!(generic::validate_create(kind, &cluster(id, address)).len(), wrong, "{id} {address}");
        }
        assert_eq!(generic::validate_update(kind, &cluster("2", "h:1"), &cluster("1", "h:1")).len(), 1);
        assert!(generic::validate_update(kind, &cluster("1", "h:2"), &cluster("1", "h:1")).is_empty());
    }
}
