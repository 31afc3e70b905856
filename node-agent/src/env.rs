//! A container's environment. Pure: what it refers to was fetched before.

use crate::cluster::Source;
use crate::expand::{self, Facts, expand};
use crate::pod::{Container, Env, EnvSource, KeyRef, Pod};
use crate::sources::Sources;
use std::collections::{BTreeSet, HashMap};

/// What a container's environment refers to.
pub fn references(container: &Container) -> BTreeSet<Source> {
    let config_map = |name: &str| Source::ConfigMap(name.to_owned());
    let secret = |name: &str| Source::Secret(name.to_owned());
    let mut all = BTreeSet::new();
    for from in &container.env_from {
        all.extend(from.config_map_ref.as_ref().map(|r| config_map(&r.name)));
        all.extend(from.secret_ref.as_ref().map(|r| secret(&r.name)));
    }
    for from in container.env.iter().filter_map(|e| e.value_from.as_ref()) {
        all.extend(from.config_map_key_ref.as_ref().map(|r| config_map(&r.name)));
        all.extend(from.secret_key_ref.as_ref().map(|r| secret(&r.name)));
    }
    all
}

/// A container's variables. Where a name is set twice, `env` wins over `envFrom`, and both over the services'.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
    services: HashMap<String, String>,
) -> Result<HashMap<String, String>, String> {
    let mut variables = services;
    for from in &container.env_from {
        let of_config_map = from.config_map_ref.as_ref().map(|r| (Source::ConfigMap(r.name.clone()), r.optional));
        let of_secret = from.secret_ref.as_ref().map(|r| (Source::Secret(r.name.clone()), r.optional));
        for (source, optional) in of_config_map.into_iter().chain(of_secret) {
            for (key, value) in sources.get(&source, optional)?.into_iter().flatten() {
                let name = format!("{}{key}", from.prefix);
                if is_variable_name(&name) {
                    variables.insert(name, String::from_utf8_lossy(value).into_owned());
                }
            }
        }
    }
    for env in &container.env {
        if let Some(value) = value_of(pod, container, env, sources, facts, &variables)? {
            variables.insert(env.name.clone(), value);
        }
    }
    Ok(variables)
}

/// The value of one variable; `None` where it refers to what may be missing and is.
fn value_of(
    pod: &Pod,
    container: &Container,
    env: &Env,
    sources: &Sources,
    facts: &Facts,
    variables: &HashMap<String, String>,
) -> Result<Option<String>, String> {
    match &env.value_from {
        None => Ok(Some(expand(&env.value, variables))),
        Some(EnvSource { field_ref: Some(reference), .. }) => expand::field(pod, facts, reference).map(Some),
        Some(EnvSource { resource_field_ref: Some(reference), .. }) => {
            expand::resource(pod, facts, reference, Some(container)).map(Some)
        }
        Some(EnvSource { config_map_key_ref: Some(key), .. }) => {
            keyed(pod, sources, Source::ConfigMap(key.name.clone()), key)
        }
        Some(EnvSource { secret_key_ref: Some(key), .. }) => keyed(pod, sources, Source::Secret(key.name.clone()), key),
        Some(_) => Err(format!("the source of environment variable {:?} is not supported", env.name)),
    }
}

fn keyed(pod: &Pod, sources: &Sources, source: Source, key: &KeyRef) -> Result<Option<String>, String> {
    let entries = sources.get(&source, key.optional)?;
    let value = entries.and_then(|e| e.get(&key.key));
    if value.is_none() && !key.optional {
        let kind = match source {
            Source::ConfigMap(_) => "ConfigMap",
            Source::Secret(_) => "Secret",
        };
        return Err(format!("couldn't find key {} in {kind} {}/{}", key.key, pod.metadata.namespace, key.name));
    }
    Ok(value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// Printable ASCII without `=`, as upstream allows since 1.30.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

/// What tells a pod where its API is, under upstream's names.
pub fn of_kubernetes(service: Option<&(String, u16)>) -> HashMap<String, String> {
    let Some((host, port)) = service else { return HashMap::new() };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("tcp://{authority}");
    let with_port = format!("KUBERNETES_PORT_{port}_TCP");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (with_port.clone(), url),
        (format!("{with_port}_PROTO"), "tcp".to_owned()),
        (format!("{with_port}_PORT"), port.to_string()),
        (format!("{with_port}_ADDR"), host.clone()),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expand::Allocatable;
    use api::Quantity;
    use serde_json::{Value, json};

    fn check(container: Value, expected: Result<&[(&str, &str)], &str>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [container]}
        }))
        .expect("a pod");
        let sources = Sources::of([
            (Source::ConfigMap("c".into()), json!({"data": {"a": "1", "b=": "x"}, "binaryData": {"bin": "AAE="}})),
            (Source::Secret("s".into()), json!({"data": {"pass": "aHVudGVyMg=="}})),
        ]);
        let one = Quantity::from_units(1);
        let allocatable = Allocatable { cpu: one, memory: one, ephemeral_storage: one };
        let facts = Facts { pod_ips: vec![], host_ip: "192.0.2.1".parse().expect("an address"), allocatable };
        let services = of_kubernetes(None);
        let found = environment(&pod, &pod.spec.containers[0], &sources, &facts, services);
        let expected = expected
            .map_err(str::to_owned)
            .map(|pairs| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<HashMap<_, _>>());
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_come_from_values_config_maps_and_secrets() {
        check(
            json!({"env": [
                {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"},
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pass"}}},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": true}}},
            ]}),
            Ok(&[("A", "1"), ("B", "12"), ("P", "hunter2"), ("N", "web")]),
        );
    }

    #[test]
    fn env_wins_over_env_from_and_unusable_names_are_left_out() {
        check(
            json!({"envFrom": [{"prefix": "X_", "configMapRef": {"name": "c"}}], "env": [{"name": "X_a", "value": "2"}]}),
            Ok(&[("X_a", "2"), ("X_bin", "\u{0}\u{1}")]),
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let key_ref = |name: &str, key: &str| json!({"env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}]});
        check(key_ref("none", "k"), Err("configmap \"none\" not found"));
        check(key_ref("c", "k"), Err("couldn't find key k in ConfigMap default/c"));
        check(json!({"envFrom": [{"secretRef": {"name": "none"}}]}), Err("secret \"none\" not found"));
    }
}
