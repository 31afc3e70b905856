//! Every namespace has a config map with the certificate by which pods know the API server.

use super::each_namespace::{self, Kept};
use crate::context::Account;
use crate::runner::{Controller, Declaration, Setup};
use crate::view::{Meta, View};
use client::{CONFIG_MAPS, Resource};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const DECLARATION: Declaration = Declaration {
    name: "root-ca-certificate-publisher-controller",
    account: Account::Service("root-ca-cert-publisher"),
    make,
};

const DESCRIPTION: &str = "kubernetes.io/description";

/// What Kubernetes writes there.
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
    such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
    Kubernetes clusters.";

/// A config map of the name `kube-root-ca.crt`.
#[derive(Deserialize)]
struct RootCa {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl View for RootCa {
    const RESOURCE: Resource = CONFIG_MAPS;
    const FIELDS: &'static str = "metadata.name=kube-root-ca.crt";
}

impl Kept for RootCa {
    const NAME: &'static str = "kube-root-ca.crt";

    fn wanted(root_ca: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": Self::NAME, "annotations": {DESCRIPTION: TEXT}},
            "data": {"ca.crt": root_ca},
        })
    }

    fn corrected(&self, root_ca: &str) -> Option<Value> {
        let Meta { namespace, uid, resource_version, labels, annotations, .. } = &self.metadata;
        let right = self.data.len() == 1 && self.data.get("ca.crt").is_some_and(|ca| ca == root_ca);
        if right && annotations.get(DESCRIPTION).is_some_and(|text| text == TEXT) {
            return None;
        }
        let mut annotations = annotations.clone();
        annotations.insert(DESCRIPTION.to_owned(), TEXT.to_owned());
        Some(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": Self::NAME, "namespace": namespace, "uid": uid, "resourceVersion": resource_version,
                "labels": labels, "annotations": annotations,
            },
            "data": {"ca.crt": root_ca},
        }))
    }
}

fn make(setup: &mut Setup) -> Controller {
    each_namespace::make::<RootCa>(setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_put_right() {
        let mut wanted = RootCa::wanted("CA");
        let view = |value: &Value| serde_json::from_value::<RootCa>(value.clone()).expect("a config map");
        wanted["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(view(&wanted).corrected("CA"), None);
        for wrong in [json!({"ca.crt": "other"}), json!({"ca.crt": "CA", "more": "x"}), json!({})] {
            let mut changed = wanted.clone();
            changed["data"] = wrong;
            changed["metadata"]["resourceVersion"] = json!("7");
            let corrected = view(&changed).corrected("CA").expect("a correction");
            assert_eq!(corrected["data"], json!({"ca.crt": "CA"}));
            let metadata = &corrected["metadata"];
            assert_eq!((&metadata["resourceVersion"], &metadata["labels"]), (&json!("7"), &json!({"a": "b"})));
        }
        wanted["metadata"]["annotations"] = json!({"mine": "x"});
        let corrected = view(&wanted).corrected("CA").expect("a correction");
        assert_eq!(corrected["metadata"]["annotations"], json!({"mine": "x", DESCRIPTION: TEXT}));
    }
}
