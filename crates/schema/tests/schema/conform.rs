//! What decoding and defaults make of bodies.

use schema::{FieldValidation, apply_defaults, builtin, conform, decode_json, decode_yaml, patch};
use serde_json::{Value, json};

fn decoded(kind: &str, body: &Value) -> api::Result<Value> {
    let def = builtin().of_kind("", "v1", kind).or_else(|| builtin().of_kind("apps", "v1", kind)).expect(kind);
    conform(builtin(), def, body.clone(), FieldValidation::Strict).map(|decoded| decoded.value)
}

/// Checks one place of a decoded body; `null` for a field that is not there.
#[track_caller]
fn check(kind: &str, body: Value, pointer: &str, expected: Value) {
    let value = decoded(kind, &body).unwrap_or_else(|error| panic!("{body}: {error}"));
    assert_eq!(value.pointer(pointer).unwrap_or(&Value::Null), &expected, "{body}");
}

#[track_caller]
fn check_fails(kind: &str, body: Value, message: &str) {
    let error = decoded(kind, &body).expect_err("an error");
    assert_eq!((error.code(), error.message()), (400, message), "{body}");
}

fn container(fields: Value) -> Value {
    json!({"spec": {"containers": [fields]}})
}

#[test]
fn empty_fields_are_left_out_as_go_leaves_them_out() {
    for (field, empty) in [
        ("hostNetwork", json!(false)),
        ("nodeName", json!("")),
        ("nodeSelector", json!({})),
        ("tolerations", json!([])),
        ("affinity", json!(null)),
    ] {
        check("Pod", json!({"spec": {field: empty}}), &format!("/spec/{field}"), json!(null));
    }
    check("ConfigMap", json!({"data": {}}), "/data", json!(null));
}

#[test]
fn empty_values_behind_pointers_are_kept() {
    for (field, empty) in [
        ("hostUsers", json!(false)),
        ("priority", json!(0)),
        ("runtimeClassName", json!("")),
        ("affinity", json!({})),
        ("securityContext", json!({})),
    ] {
        check("Pod", json!({"spec": {field: empty}}), &format!("/spec/{field}"), empty);
    }
    check("Deployment", json!({"spec": {"replicas": 0}}), "/spec/replicas", json!(0));
    check("Pod", json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}), "/spec/volumes/0/emptyDir", json!({}));
}

#[test]
fn fields_without_omitempty_are_always_there() {
    check("Pod", container(json!({})), "/spec/containers/0", json!({"name": "", "resources": {}}));
    check("Pod", json!({}), "/status", json!({}));
    check("Deployment", json!({}), "/spec/template", json!({"metadata": {}, "spec": {"containers": null}}));
    check("LimitRange", json!({"spec": {"limits": []}}), "/spec", json!({"limits": null}));
    let condition = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let expected = json!({"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null});
    check("Pod", condition, "/status/conditions/0", expected);
    let reference =
        json!({"spec": {"containers": [{"env": [{"valueFrom": {"resourceFieldRef": {"resource": "a"}}}]}]}});
    check("Pod", reference, "/spec/containers/0/env/0/valueFrom/resourceFieldRef/divisor", json!("0"));
}

#[test]
fn nulls_in_lists_and_maps_are_empty_values() {
    check("ConfigMap", json!({"data": {"a": null}}), "/data", json!({"a": ""}));
    check("Pod", json!({"spec": {"containers": [null]}}), "/spec/containers/0/name", json!(""));
    check("Pod", container(json!({"args": [null, "x"]})), "/spec/containers/0/args", json!(["", "x"]));
}

#[test]
fn scalars_are_brought_into_their_canonical_form() {
    let limits = json!({"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "example.com/x": 2, "y": null}}});
    let expected = json!({"cpu": "500m", "memory": "1Gi", "example.com/x": "2", "y": "0"});
    check("Pod", container(limits), "/spec/containers/0/resources/limits", expected);
    let time = json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.9+01:00"}});
    check("Pod", time, "/metadata/creationTimestamp", json!("2026-01-02T02:04:05Z"));
    check("Secret", json!({"data": {"a": "aG\nk="}}), "/data/a", json!("aGk="));
    let probe = |port: Value| container(json!({"livenessProbe": {"tcpSocket": {"port": port}}}));
    check("Pod", probe(json!("web")), "/spec/containers/0/livenessProbe/tcpSocket/port", json!("web"));
    check("Pod", probe(json!(80)), "/spec/containers/0/livenessProbe/tcpSocket/port", json!(80));
}

#[test]
fn ursas_own_fields_are_known() {
    check("Pod", json!({"metadata": {"tenant": "acme", "hashKey": 7}}), "/metadata/tenant", json!("acme"));
    check(
        "Pod",
        json!({"metadata": {"ownerReferences": [{"hashKey": 7}]}}),
        "/metadata/ownerReferences/0/hashKey",
        json!(7),
    );
    let tenant = json!({"spec": {"finalizers": ["arktos"], "storageClusterId": "0"}, "status": {"phase": "Active"}});
    check("Tenant", tenant.clone(), "/spec", tenant["spec"].clone());
    check("Tenant", json!({}), "/status", json!({}));
    check("TenantList", json!({"items": [{}]}), "/items/0/metadata", json!({}));
}

#[test]
fn values_of_another_type_are_told_in_gos_words() {
    check_fails(
        "Pod",
        container(json!({"image": 5})),
        "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
    );
    check_fails(
        "Deployment",
        json!({"spec": {"replicas": "3"}}),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_fails(
        "Deployment",
        json!({"spec": {"replicas": 1.5}}),
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_fails(
        "Deployment",
        json!({"spec": {"replicas": 99_999_999_999_i64}}),
        "json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_fails(
        "Pod",
        json!({"spec": {"containers": {}}}),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
    );
    check_fails(
        "Pod",
        json!({"spec": []}),
        "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
    );
    check_fails(
        "Pod",
        json!({"spec": {"nodeSelector": []}}),
        "json: cannot unmarshal array into Go struct field PodSpec.spec.nodeSelector of type map[string]string",
    );
    check_fails("Pod", json!([]), "json: cannot unmarshal array into Go value of type v1.Pod");
    check_fails("Secret", json!({"data": {"a": "!"}}), "illegal base64 data at input byte 0");
    check_fails(
        "Pod",
        container(json!({"resources": {"limits": {"cpu": "one"}}})),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
}

const ODD: &str = r#"{"metadata":{"name":"a","name":"b","zz":{"x":1,"x":2}},"spec":{"containers":[{"unk":1,"image":"i","image":"j"}]},"foo":1}"#;
const ODD_MESSAGES: [&str; 5] = [
    "duplicate field \"metadata.name\"",
    "unknown field \"metadata.zz\"",
    "unknown field \"spec.containers[0].unk\"",
    "duplicate field \"spec.containers[0].image\"",
    "unknown field \"foo\"",
];

#[test]
fn unknown_and_duplicate_fields_are_told_in_the_order_of_the_text() {
    let def = builtin().of_kind("", "v1", "Pod").expect("pods");
    let conformed = |mode| conform(builtin(), def, decode_json(ODD.as_bytes(), mode).expect("JSON"), mode);
    let warned = conformed(FieldValidation::Warn).expect("warnings only");
    assert_eq!(warned.warnings, ODD_MESSAGES);
    assert_eq!(warned.value["metadata"], json!({"name": "b"}));
    assert_eq!(warned.value["spec"]["containers"][0]["image"], "j");
    let ignored = conformed(FieldValidation::Ignore).expect("nothing to tell");
    assert_eq!((ignored.warnings.len(), ignored.value), (0, warned.value));
    let refused = conformed(FieldValidation::Strict).expect_err("a refusal");
    assert_eq!(refused.message(), format!("strict decoding error: {}", ODD_MESSAGES.join(", ")));
}

#[test]
fn duplicate_fields_of_yaml_are_told_by_line() {
    let def = builtin().of_kind("", "v1", "ConfigMap").expect("config maps");
    let mode = FieldValidation::Warn;
    let document = decode_yaml(b"data:\n  a: x\n  a: z\nfoo: 1\n", mode).expect("YAML");
    let decoded = conform(builtin(), def, document, mode).expect("warnings only");
    let told = "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map";
    assert_eq!(decoded.warnings, [told, "unknown field \"foo\""]);
    assert_eq!(decoded.value["data"], json!({"a": "z"}));
}

#[test]
fn a_field_validation_that_is_none_is_refused() {
    let modes = ["", "Ignore", "Warn", "Strict"].map(|text| FieldValidation::parse(text).expect(text));
    let expected = [FieldValidation::Warn, FieldValidation::Ignore, FieldValidation::Warn, FieldValidation::Strict];
    assert_eq!(modes, expected);
    let cause = FieldValidation::parse("strict").expect_err("lower case");
    let told = r#"Unsupported value: "strict": supported values: "", "Ignore", "Strict", "Warn""#;
    assert_eq!((&*cause.field, &*cause.message), ("fieldValidation", told));
}

#[test]
fn declared_defaults_are_set_at_every_depth() {
    let def = builtin().of_kind("apps", "v1", "Deployment").expect("deployments");
    let mut value = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}],
        "volumes": [{"name": "v", "rbd": {"image": "i", "monitors": ["m"]}}],
        "imagePullSecrets": [{}],
    }}}});
    apply_defaults(builtin(), def, &mut value);
    let spec = &value["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["ports"][0], json!({"containerPort": 80, "protocol": "TCP"}));
    assert_eq!(spec["containers"][0]["ports"][1]["protocol"], "UDP");
    assert_eq!(spec["containers"][0]["resources"], json!({}));
    assert_eq!(spec["volumes"][0]["rbd"]["pool"], "rbd");
    assert_eq!(spec["imagePullSecrets"], json!([{}]), "an empty name is left out");
    assert_eq!((&value["status"], &value["spec"]["strategy"]), (&json!({}), &json!({})));
    let before = value.clone();
    apply_defaults(builtin(), def, &mut value);
    assert_eq!(value, before, "defaults are set once");
}

#[test]
fn schemas_of_schemas_may_be_booleans_lists_and_objects() {
    let def = builtin().of_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("CRDs");
    let props = json!({"type": "object", "additionalProperties": false, "items": [{"type": "string"}], "default": {"any": [1]},
        "dependencies": {"a": ["b"], "c": {"type": "object"}}, "properties": {"p": {"additionalProperties": {"type": "string"}}}});
    let body = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": props}}]}});
    let decoded = conform(builtin(), def, body, FieldValidation::Strict).expect("conforms");
    assert_eq!(decoded.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"], props);
    let bad = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"items": 5}}}]}});
    assert!(conform(builtin(), def, bad, FieldValidation::Ignore).is_err());
}

#[test]
fn bodies_may_nest_as_deep_as_they_are_read() {
    let def = builtin().of_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("CRDs");
    let nested = |levels: usize, innermost: &str| {
        let start = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":"#.to_owned();
        start + &r#"{"properties":{"a":"#.repeat(levels) + innermost + &"}}".repeat(levels) + "}}]}}"
    };
    let mode = FieldValidation::Warn;
    let conformed = |text: &str| {
        let mut value = conform(builtin(), def, decode_json(text.as_bytes(), mode)?, mode)?.value;
        apply_defaults(builtin(), def, &mut value);
        patch::strategic(builtin(), def, value.clone(), &value)
    };
    assert!(conformed(&nested(240, "{}")).is_ok());
    assert!(conformed(&nested(240, r#"{"odd":1}"#)).is_ok());
    assert!(conformed(&nested(240, "5")).is_err());
    assert_eq!(conformed(&nested(1000, "{}")).expect_err("too deep").message(), "exceeded max depth");
}

#[test]
fn a_body_that_is_read_is_stored_so_that_it_reads_back_or_not_at_all() {
    let key = || {
        let resource = api::ResourceId::new("example.com", "things");
        api::ObjectKey::new(resource, api::Space::Tenant(api::TenantName::system()), "default", "a").expect("a key")
    };
    for levels in [10, 98, 99, 100, 127, 128, 400] {
        let text = format!(r#"{{"metadata":{{}},"spec":{}1{}}}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let mut value = decode_json(text.as_bytes(), FieldValidation::Ignore).expect("a body").value;
        match api::Object::encode(key(), &mut value, &[]) {
            Ok(stored) => assert_eq!(stored.to_value().expect("JSON"), value, "{levels} levels"),
            Err(error) => assert!(levels >= 100 && error.code() == 400, "{levels} levels: {error}"),
        }
    }
}
