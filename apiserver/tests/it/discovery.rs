//! Discovery, against what a kube-apiserver tells of the same kinds, where its documents are at hand.

use crate::Api;
use serde_json::{Map, Value};
use std::path::Path;

/// Resources and subresources that only Ursa has.
const OURS: [&str; 6] =
    ["action", "actions", "controllerinstances", "datapartitionconfigs", "storageclusters", "tenants"];

/// A document without what may differ: order, hashes, addresses, Ursa's own kinds, and versions before v1.
fn normalized(value: &Value) -> Value {
    const OTHER: [&str; 3] = ["storageVersionHash", "serverAddressByClientCIDRs", "freshness"];
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !OTHER.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), normalized(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            let ours = |item: &&Value| {
                let name = ["name", "resource", "subresource"].iter().find_map(|field| item[*field].as_str());
                let ours = |name: &str| {
                    name == "pods/action" || name.split('/').next().is_some_and(|name| OURS.contains(&name))
                };
                !name.is_some_and(ours)
            };
            let is_final = |item: &&Value| !item["version"].as_str().unwrap_or_default().contains(['a', 'b']);
            let mut items: Vec<Value> = items.iter().filter(ours).filter(is_final).map(normalized).collect();
            items.retain(|item| item["versions"] != serde_json::json!([]));
            items.sort_by_key(Value::to_string);
            items.into()
        }
        scalar => scalar.clone(),
    }
}

#[tokio::test]
async fn every_document_of_discovery_is_upstreams() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/kubernetes-1.36/discovery");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: no documents of upstream at {}", folder.display());
        return;
    };
    let api = Api::start().await;
    let admin = api.admin("system");
    let mut compared = 0;
    for file in files.map(|file| file.expect("a file").path()) {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let theirs: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
        let (code, ours) = if name == "aggregated_v2" {
            let accept = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            admin.get_with("/apis", "accept", accept).await
        } else {
            admin.get(&format!("/{}", name.replace("__", "/"))).await
        };
        let theirs = normalized(&theirs);
        // A group without a final version.
        if theirs["versions"] == serde_json::json!([]) {
            assert_eq!(code, 404, "{name}");
            continue;
        }
        assert_eq!(code, 200, "{name}: {ours}");
        assert_eq!(normalized(&ours), theirs, "{name}");
        compared += 1;
    }
    assert!(compared > 40, "{compared} documents were compared");
}
