//! What is published, against what a kube-apiserver publishes of the same kinds.

use api::{GroupVersion, Kind, ResourceId, Scope, Subresource, Verb};
use schema::openapi::{Addition, CustomKind, Published};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What only Ursa has: fields by definition and name.
const OURS: &[(&str, &str)] = &[
    ("io.k8s.api.core.v1.PodSpec", "nics"),
    ("io.k8s.api.core.v1.PodSpec", "virtualMachine"),
    ("io.k8s.api.core.v1.PodSpec", "vpc"),
    ("io.k8s.api.core.v1.PodSpec", "workloadInfo"),
    ("io.k8s.api.core.v1.PodStatus", "nicStatuses"),
    ("io.k8s.api.core.v1.PodStatus", "virtualMachineStatus"),
];

/// Fields of ours in upstream's definitions that version 2 alone tells of.
const OURS_IN_VERSION_2: &[(&str, &str)] = &[
    ("io.k8s.api.core.v1.ObjectReference", "tenant"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "hashKey"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "tenant"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", "hashKey"),
];

/// Definitions that only Ursa has and upstream's refer to.
const OUR_DEFINITIONS: [&str; 5] = ["CommonInfo", "Nic", "NicStatus", "VirtualMachine", "VirtualMachineStatus"];

fn is_ours(name: &str) -> bool {
    name.strip_prefix("io.k8s.api.core.v1.").is_some_and(|name| OUR_DEFINITIONS.contains(&name))
}

/// Upstream's documents, where they are at hand.
fn upstream() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/kubernetes-1.36");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: no documents of upstream at {}", folder.display());
    None
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn verbs(resource: &Value) -> Vec<Verb> {
    resource["verbs"].as_array().into_iter().flatten().filter_map(|verb| Verb::parse(text(verb))).collect()
}

/// The kinds of one group and version, from its discovery document.
fn kinds(discovery: &Value) -> Vec<Arc<Kind>> {
    let own = GroupVersion::parse(text(&discovery["groupVersion"]));
    let resources = discovery["resources"].as_array().expect("resources");
    let of = |resource: &Value| {
        let (group, version) = (&resource["group"], &resource["version"]);
        let group = group.as_str().map_or_else(|| own.group.clone(), str::to_owned);
        (group, version.as_str().map_or_else(|| own.version.clone(), str::to_owned))
    };
    let subresources = |plural: &str| {
        let own = |resource: &&Value| text(&resource["name"]).starts_with(&format!("{plural}/"));
        let subresource = |resource: &Value| {
            let (group, version) = of(resource);
            let name = text(&resource["name"])[plural.len() + 1..].to_owned();
            Subresource { name, verbs: verbs(resource), group, version, kind: text(&resource["kind"]).to_owned() }
        };
        resources.iter().filter(own).map(subresource).collect()
    };
    let kind = |resource: &Value| {
        let plural = text(&resource["name"]);
        Arc::new(Kind {
            group: own.group.clone(),
            version: own.version.clone(),
            kind: text(&resource["kind"]).to_owned(),
            list_kind: format!("{}List", text(&resource["kind"])),
            plural: plural.to_owned(),
            singular: text(&resource["singularName"]).to_owned(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: if resource["namespaced"] == true { Scope::Namespaced } else { Scope::Tenant },
            verbs: verbs(resource),
            subresources: subresources(plural),
            stored_as: ResourceId::new(&own.group, plural),
            selectable: &[],
        })
    };
    resources.iter().filter(|resource| !text(&resource["name"]).contains('/')).map(kind).collect()
}

/// All kinds of upstream, and the paths of their documents.
fn all_kinds(folder: &Path) -> (Vec<Arc<Kind>>, Vec<String>) {
    let (mut found, mut paths) = (Vec::new(), Vec::new());
    for file in std::fs::read_dir(folder.join("discovery")).expect("a folder") {
        let file = file.expect("a file").path();
        let discovery = read(&file);
        let of_group = kinds_of_file(&discovery);
        if !of_group.is_empty() {
            paths.push(file.file_stem().expect("a name").to_string_lossy().replace("__", "/"));
            found.extend(of_group);
        }
    }
    (found, paths)
}

fn kinds_of_file(discovery: &Value) -> Vec<Arc<Kind>> {
    if discovery["kind"] == "APIResourceList" { kinds(discovery) } else { Vec::new() }
}

/// A schema without what may differ: texts, the wrapping of references, order.
fn normalized(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut normal = Map::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    // Upstream's documents were made without its closed sets of words.
                    ("description", Value::String(_)) | ("enum", Value::Array(_)) => {}
                    ("allOf", Value::Array(all)) if all.len() == 1 => {
                        normal.extend(normalized(&all[0]).as_object().cloned().unwrap_or_default());
                    }
                    ("required", Value::Array(names)) => {
                        let mut names = names.clone();
                        names.sort_by_key(Value::to_string);
                        normal.insert(key.clone(), names.into());
                    }
                    _ => {
                        normal.insert(key.clone(), normalized(value));
                    }
                }
            }
            normal.into()
        }
        Value::Array(items) => items.iter().map(normalized).collect(),
        scalar => scalar.clone(),
    }
}

#[track_caller]
fn assert_same(what: &str, ours: &Value, theirs: &Value) {
    assert_eq!(normalized(ours), normalized(theirs), "{what}");
}

#[test]
fn every_definition_is_the_same_as_upstreams() {
    let Some(folder) = upstream() else { return };
    let (kinds, paths) = all_kinds(&folder);
    let published = Published::new(&kinds);
    let mut compared = 0;
    for path in paths {
        let file = folder.join("openapi-v3").join(format!("{}_openapi.json", path.replace('/', "__")));
        let theirs = read(&file);
        let ours = published.v3_document(&path).unwrap_or_else(|| panic!("a document at {path}"));
        let ours: Value = serde_json::from_slice(&ours.bytes).expect("JSON");
        let (ours, theirs) = (&ours["components"]["schemas"], &theirs["components"]["schemas"]);
        for (name, theirs) in theirs.as_object().expect("definitions") {
            let mut ours = ours[name].clone();
            assert!(ours.is_object(), "{path} lacks {name}");
            for (definition, field) in OURS {
                if definition == name {
                    ours["properties"].as_object_mut().expect("an object").remove(*field).expect("a field of ours");
                }
            }
            assert_same(&format!("{name} in {path}"), &ours, theirs);
            compared += 1;
        }
        let superfluous = ours
            .as_object()
            .expect("definitions")
            .keys()
            .find(|name| theirs[name.as_str()].is_null() && !is_ours(name));
        assert_eq!(superfluous, None, "{path}");
    }
    assert!(compared > 1000, "{compared} definitions were compared");
}

#[test]
fn the_second_version_has_the_same_definitions_as_upstreams() {
    let Some(folder) = upstream() else { return };
    let theirs = read(&folder.join("swagger.json"));
    let published = Published::new(&all_kinds(&folder).0);
    let ours: Value = serde_json::from_slice(&published.v2_json().bytes).expect("JSON");
    for (name, ours) in ours["definitions"].as_object().expect("definitions").iter().filter(|(name, _)| !is_ours(name))
    {
        let mut ours = ours.clone();
        for (definition, field) in OURS.iter().chain(OURS_IN_VERSION_2) {
            if definition == name {
                ours["properties"].as_object_mut().expect("an object").remove(*field);
            }
        }
        let mut theirs = theirs["definitions"][name].clone();
        for everywhere in ["DeleteOptions", "WatchEvent"] {
            if name.ends_with(everywhere) {
                theirs["x-kubernetes-group-version-kind"] = ours["x-kubernetes-group-version-kind"].clone();
            }
        }
        assert_same(name, &ours, &theirs);
    }
}

/// Two kinds: one in a namespace, with a subresource, and one of a tenant.
fn some_kinds() -> Vec<Arc<Kind>> {
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let core = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "pods", "kind": "Pod", "namespaced": true, "verbs": all},
        {"name": "pods/status", "kind": "Pod", "namespaced": true, "verbs": ["get", "patch", "update"]},
        {"name": "pods/eviction", "kind": "Eviction", "group": "policy", "version": "v1", "verbs": ["create"]},
        {"name": "pods/log", "kind": "Nothing", "verbs": ["get"]},
        {"name": "tenants", "kind": "Tenant", "namespaced": false, "verbs": all},
    ]});
    let rbac = json!({"groupVersion": "rbac.authorization.k8s.io/v1", "resources": [
        {"name": "clusterroles", "kind": "ClusterRole", "namespaced": false, "verbs": all},
    ]});
    [kinds(&core), kinds(&rbac)].concat()
}

#[test]
fn patch_operations_name_their_kind_and_take_field_validation() {
    let published = Published::new(&some_kinds());
    let document: Value =
        serde_json::from_slice(&published.v3_document("api/v1").expect("a document").bytes).expect("JSON");
    let one = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    let patch = &one["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "kind": "Pod", "version": "v1"}));
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    assert_eq!(patch["tags"], json!(["core_v1"]));
    let named = |name: &str| patch["parameters"].as_array().expect("a list").iter().any(|p| p["name"] == name);
    assert!(named("fieldValidation") && named("dryRun"));
    let eviction = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"];
    assert_eq!(eviction["x-kubernetes-group-version-kind"]["kind"], "Eviction");
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    let expected = [
        "/api/v1/",
        "/api/v1/namespaces/{namespace}/pods",
        "/api/v1/namespaces/{namespace}/pods/{name}",
        "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
        "/api/v1/namespaces/{namespace}/pods/{name}/status",
        "/api/v1/pods",
        "/api/v1/tenants",
        "/api/v1/tenants/{name}",
    ];
    assert_eq!(paths, expected);
    let tenant = &document["components"]["schemas"]["io.k8s.api.core.v1.Tenant"];
    assert_eq!(tenant["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Tenant", "version": "v1"}]));
    let rbac = published.v3_document("apis/rbac.authorization.k8s.io/v1").expect("a document");
    assert!(String::from_utf8_lossy(&rbac.bytes).contains("\"listRbacAuthorizationV1ClusterRole\""));
    assert!(published.v3_document("apis/nope/v1").is_none());
}

#[test]
fn the_index_names_every_document_by_its_hash() {
    let published = Published::new(&some_kinds());
    let index: Value = serde_json::from_slice(&published.v3_index().bytes).expect("JSON");
    let document = published.v3_document("api/v1").expect("a document");
    assert_eq!(document.hash.len(), 128);
    assert_eq!(document.hash, document.hash.to_uppercase());
    let expected = format!("/openapi/v3/api/v1?hash={}", document.hash);
    assert_eq!(index["paths"]["api/v1"]["serverRelativeURL"], expected);
    assert_eq!(index["paths"].as_object().map(Map::len), Some(2));
    assert_ne!(published.v2_json().hash, published.v2_protobuf().hash);
}

/// The first value of a field of a protobuf message, and the rest of it.
fn field(message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let length = varint(&mut rest);
        if key & 7 == 0 {
            continue;
        }
        let (value, after) = rest.split_at(usize::try_from(length).expect("a length"));
        if key >> 3 == wanted {
            found.push(value);
        }
        rest = after;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a byte");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

#[test]
fn the_protobuf_form_holds_definitions_with_their_kinds() {
    let published = Published::new(&some_kinds());
    let document = &published.v2_protobuf().bytes;
    assert_eq!(field(document, 1), [b"2.0"]);
    let definitions = field(document, 9);
    let definitions = field(definitions[0], 1);
    let named =
        |name: &str| definitions.iter().find(|entry| field(entry, 1) == [name.as_bytes()]).map(|d| field(d, 2)[0]);
    let pod = named("io.k8s.api.core.v1.Pod").expect("a definition");
    assert!(field(pod, 4)[0].starts_with(b"Pod is a collection of containers"));
    let extension = field(pod, 31);
    assert_eq!(field(extension[0], 1), [b"x-kubernetes-group-version-kind"]);
    assert_eq!(field(field(extension[0], 2)[0], 2), [br#"[{"group":"","kind":"Pod","version":"v1"}]"#]);
    let properties = field(pod, 25);
    assert_eq!(field(properties[0], 1).len(), 5);
    let json: Value = serde_json::from_slice(&published.v2_json().bytes).expect("JSON");
    assert_eq!(definitions.len(), json["definitions"].as_object().expect("definitions").len());
    let paths = field(field(document, 8)[0], 2);
    assert_eq!(paths.len(), json["paths"].as_object().expect("paths").len());
}

/// What a tenant defines, as the second version describes it.
#[test]
fn the_second_version_takes_in_custom_kinds_without_what_old_clients_misread() {
    let schema = json!({
        "type": "object", "required": ["maybe", "spec"], "anyOf": [{"required": ["spec"]}],
        "properties": {
            "maybe": {"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}},
            "spec": {"type": "object", "default": {}, "properties": {
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"b": {"type": "string"}}},
                "port": {"x-kubernetes-int-or-string": true},
                "list": {"type": "array", "items": {"type": "string", "pattern": "^a"}},
            }},
        },
    });
    let row = |name: &str| {
        let kind = &some_kinds()[0];
        let (group, version) = ("example.com".to_owned(), "v1".to_owned());
        let list_kind = format!("{name}List");
        Arc::new(Kind {
            group,
            version,
            kind: name.to_owned(),
            list_kind,
            subresources: Vec::new(),
            ..(**kind).clone()
        })
    };
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let kinds = [("Thing", schema), ("Any", any)];
    let kinds = kinds.map(|(name, schema)| CustomKind { kind: row(name), schema, selectable: Vec::new() });
    let addition = Addition::of(kinds.into());

    let published = Published::new(&some_kinds());
    let document = published.v2_json_with(&addition, "a");
    assert_ne!(document.hash, published.v2_json().hash);
    assert_ne!(document.hash, published.v2_json_with(&addition, "b").hash);
    let document: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let thing = &document["definitions"]["com.example.v1.Thing"];
    assert_eq!((&thing["required"], &thing["anyOf"]), (&json!(["spec"]), &Value::Null));
    assert_eq!(thing["properties"]["maybe"], json!({}));
    let spec = json!({"type": "object", "properties": {
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "string", "pattern": "^a"}},
    }});
    assert_eq!(thing["properties"]["spec"], spec);
    assert_eq!(document["definitions"]["com.example.v1.Any"]["properties"], Value::Null);
    assert!(document["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let everyones: Value = serde_json::from_slice(&published.v2_json().bytes).expect("JSON");
    let count = |document: &Value| document["definitions"].as_object().map_or(0, Map::len);
    assert_eq!(count(&document), count(&everyones) + 4);

    let message = published.v2_protobuf_with(&addition, "a");
    let parts = field(&message.bytes, 9);
    let names: Vec<&[u8]> = field(parts[1], 1).iter().map(|entry| field(entry, 1)[0]).collect();
    assert!(names.contains(&&b"com.example.v1.Thing"[..]), "the second part adds to the first");
}

#[test]
fn a_closed_set_of_words_is_published_with_what_they_mean() {
    let published = Published::new(&some_kinds());
    let document: Value =
        serde_json::from_slice(&published.v3_document("api/v1").expect("a document").bytes).expect("JSON");
    let of = |definition: &str, field: &str| {
        document["components"]["schemas"][format!("io.k8s.api.core.v1.{definition}")]["properties"][field].clone()
    };
    assert_eq!(of("PodSpec", "restartPolicy")["enum"], json!(["Always", "Never", "OnFailure"]));
    let effect = of("Toleration", "effect");
    assert!(
        text(&effect["description"])
            .contains("\n\nPossible enum values:\n - `\"NoExecute\"` Evict any already-running")
    );
    assert!(of("VirtualMachine", "powerSpec")["description"].is_string());
    assert!(of("ObjectReference", "tenant").is_null());
}

#[test]
fn what_kubectl_checks_edited_objects_by_knows_their_tenant() {
    let published = Published::new(&some_kinds());
    let document: Value = serde_json::from_slice(&published.v2_json().bytes).expect("JSON");
    let metadata = &document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"];
    assert_eq!(metadata["tenant"]["type"], "string");
}
