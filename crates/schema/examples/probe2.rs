fn main() {
    let defs = schema::builtin();
    let def = defs.of_kind("", "v1", "Pod").unwrap();
    println!("{}", def.name());
    let v = serde_json::json!({"spec": {"containers": [{"image": 5, "bogus": 1}], "hostNetwork": false}});
    println!("{:?}", schema::conform(defs, def, v, schema::FieldValidation::Warn));
    let v = serde_json::json!({"spec": {"containers": [{"image": "5", "bogus": 1, "resources": {"limits": {"cpu": 0.5}}}], "hostNetwork": false}});
    println!("{:?}", schema::conform(defs, def, v, schema::FieldValidation::Warn));
}
