//! Which files a volume holds whose content comes from the API. Pure.

use super::Tokens;
use crate::cluster::Source;
use crate::expand::{self, Facts};
use crate::pod::{ConfigMapSource, DownwardSource, KeyToPath, Pod, ProjectedSource, SecretSource, TokenSource, Volume};
use crate::sources::Sources;
use std::collections::BTreeMap;

/// As upstream: readable by all, since the container's user is not known.
const MODE_DEFAULT: u32 = 0o644;
const TOKEN_LIFETIME_SECS_DEFAULT: u64 = 3600;

/// A file's content and mode, by its path in the volume.
pub type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// Whether a volume's content comes from the API. Such volumes are never writable for a container.
pub fn is_payload(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// What a volume refers to.
pub fn references(volume: &Volume) -> Vec<Source> {
    let projected = || volume.projected.iter().flat_map(|p| &p.sources);
    let config_maps = volume.config_map.iter().chain(projected().filter_map(|s| s.config_map.as_ref()));
    let secrets = volume.secret.iter().chain(projected().filter_map(|s| s.secret.as_ref()));
    let config_maps = config_maps.map(|c| Source::ConfigMap(c.name.clone()));
    config_maps.chain(secrets.map(|s| Source::Secret(secret_name(s).to_owned()))).collect()
}

pub fn token_sources(volume: &Volume) -> impl Iterator<Item = &TokenSource> {
    volume.projected.iter().flat_map(|p| &p.sources).filter_map(|s| s.service_account_token.as_ref())
}

/// What makes two tokens of a pod the same.
pub fn token_key(source: &TokenSource) -> (String, u64) {
    (source.audience.clone(), source.expiration_seconds.unwrap_or(TOKEN_LIFETIME_SECS_DEFAULT))
}

/// The files of a volume; `None` for one whose content does not come from the API.
pub fn files(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    tokens: &Tokens,
    facts: &Facts,
) -> Result<Option<Files>, String> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        config_map(source, MODE_DEFAULT, sources, &mut files)?;
    } else if let Some(source) = &volume.secret {
        secret(source, MODE_DEFAULT, sources, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        downward(pod, source, MODE_DEFAULT, facts, &mut files)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(MODE_DEFAULT);
        for source in &projected.sources {
            project(pod, source, mode, sources, tokens, facts, &mut files)?;
        }
    } else {
        return Ok(None);
    }
    match files.keys().find(|path| !stays_inside(path)) {
        Some(path) => Err(format!("{path:?} is not a path inside the volume")),
        None => Ok(Some(files)),
    }
}

fn project(
    pod: &Pod,
    source: &ProjectedSource,
    mode: u32,
    sources: &Sources,
    tokens: &Tokens,
    facts: &Facts,
    files: &mut Files,
) -> Result<(), String> {
    if let Some(source) = &source.config_map {
        config_map(source, mode, sources, files)
    } else if let Some(source) = &source.secret {
        secret(source, mode, sources, files)
    } else if let Some(source) = &source.downward_api {
        downward(pod, source, mode, facts, files)
    } else if let Some(source) = &source.service_account_token {
        let (token, _) = tokens.get(&token_key(source)).ok_or("a token is missing")?;
        files.insert(source.path.clone(), (token.token.clone().into_bytes(), mode));
        Ok(())
    } else {
        let kind = source.other.keys().next().map_or("a source of no kind", String::as_str);
        Err(format!("{kind} cannot be projected on this node"))
    }
}

fn config_map(source: &ConfigMapSource, mode: u32, sources: &Sources, files: &mut Files) -> Result<(), String> {
    let of = Source::ConfigMap(source.name.clone());
    let mode = source.default_mode.unwrap_or(mode);
    keyed(&of, source.optional, &source.items, mode, sources, files)
}

fn secret(source: &SecretSource, mode: u32, sources: &Sources, files: &mut Files) -> Result<(), String> {
    let of = Source::Secret(secret_name(source).to_owned());
    keyed(&of, source.optional, &source.items, source.default_mode.unwrap_or(mode), sources, files)
}

fn secret_name(source: &SecretSource) -> &str {
    if source.secret_name.is_empty() { &source.name } else { &source.secret_name }
}

/// All entries under their keys, or the chosen ones under their paths.
fn keyed(
    source: &Source,
    optional: bool,
    items: &[KeyToPath],
    mode: u32,
    sources: &Sources,
    files: &mut Files,
) -> Result<(), String> {
    let Some(entries) = sources.get(source, optional)? else { return Ok(()) };
    if items.is_empty() {
        files.extend(entries.iter().map(|(key, bytes)| (key.clone(), (bytes.clone(), mode))));
    }
    for item in items {
        match entries.get(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), (bytes.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {} key: {}", kind(source), item.key)),
        }
    }
    Ok(())
}

fn kind(source: &Source) -> &'static str {
    match source {
        Source::ConfigMap(_) => "config",
        Source::Secret(_) => "secret",
    }
}

fn downward(pod: &Pod, source: &DownwardSource, mode: u32, facts: &Facts, files: &mut Files) -> Result<(), String> {
    let mode = source.default_mode.unwrap_or(mode);
    for file in &source.items {
        let text = match (&file.field_ref, &file.resource_field_ref) {
            (Some(reference), _) => expand::field(pod, facts, reference)?,
            (None, Some(reference)) => expand::resource(pod, facts, reference, None)?,
            (None, None) => return Err(format!("{:?} refers to nothing", file.path)),
        };
        files.insert(file.path.clone(), (text.into_bytes(), file.mode.unwrap_or(mode)));
    }
    Ok(())
}

/// A relative path whose parts are names, and whose first does not look like the writer's own.
fn stays_inside(path: &str) -> bool {
    !path.starts_with("..") && path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Token;
    use crate::expand::Allocatable;
    use api::{Quantity, Timestamp};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(volume: Value, expected: Result<&[(&str, &str, u32)], &str>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"volumes": [volume]}
        }))
        .expect("a pod");
        assert_eq!(pod.unreadable, None);
        let sources = Sources::of([
            (Source::ConfigMap("c".into()), json!({"data": {"x": "1", "y": "2"}})),
            (Source::Secret("s".into()), json!({"data": {"pass": "aHVudGVyMg=="}})),
            (Source::ConfigMap("evil".into()), json!({"data": {"../x": "1"}})),
        ]);
        let token = Token { token: "ey".into(), expires: Timestamp::from_unix_secs(9) };
        let tokens = Tokens::from([((String::new(), 3607), (token, Timestamp::default()))]);
        let one = Quantity::from_units(1);
        let allocatable = Allocatable { cpu: one, memory: one, ephemeral_storage: one };
        let facts = Facts { pod_ips: vec![], host_ip: "192.0.2.1".parse().expect("an address"), allocatable };
        let found = files(&pod, &pod.spec.volumes[0], &sources, &tokens, &facts).map(Option::unwrap_or_default);
        let expected = expected.map_err(str::to_owned).map(|files| {
            files.iter().map(|(path, text, mode)| ((*path).to_owned(), (text.as_bytes().to_vec(), *mode))).collect()
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_config_map_becomes_a_file_per_key() {
        check(json!({"name": "v", "configMap": {"name": "c"}}), Ok(&[("x", "1", 0o644), ("y", "2", 0o644)]));
    }

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let items = json!([{"key": "x", "path": "a/b", "mode": 0o400}]);
        check(
            json!({"name": "v", "configMap": {"name": "c", "items": items, "defaultMode": 0o600}}),
            Ok(&[("a/b", "1", 0o400)]),
        );
    }

    #[test]
    fn a_projected_volume_joins_its_sources() {
        let sources = json!([
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "c", "items": [{"key": "x", "path": "ca.crt"}]}},
            {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]);
        check(
            json!({"name": "v", "projected": {"sources": sources, "defaultMode": 0o440}}),
            Ok(&[
                ("ca.crt", "1", 0o440),
                ("labels", "a=\"b\"", 0o440),
                ("pass", "hunter2", 0o440),
                ("token", "ey", 0o440),
            ]),
        );
    }

    #[test]
    fn what_is_missing_is_named_unless_it_may_be() {
        let volume =
            |name: &str, optional: bool| json!({"name": "v", "secret": {"secretName": name, "optional": optional}});
        check(volume("none", false), Err("secret \"none\" not found"));
        check(volume("none", true), Ok(&[]));
        let items = json!([{"key": "z", "path": "z"}]);
        check(
            json!({"name": "v", "configMap": {"name": "c", "items": items}}),
            Err("references non-existent config key: z"),
        );
    }

    #[test]
    fn no_path_leads_out_of_the_volume() {
        check(json!({"name": "v", "configMap": {"name": "evil"}}), Err("\"../x\" is not a path inside the volume"));
        for path in ["/etc/passwd", "a/../b", "..data", "a//b", "", "."] {
            let items = json!([{"key": "x", "path": path}]);
            let why = format!("{path:?} is not a path inside the volume");
            check(json!({"name": "v", "configMap": {"name": "c", "items": items}}), Err(&why));
        }
    }
}
