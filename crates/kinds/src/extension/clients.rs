//! How a webhook is reached: by URL, or as a service of the cluster.

use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{int, text};
use serde_json::Value;

/// One of a URL and a service.
pub(super) fn client(config: &Value, at: &Path, causes: &mut Causes) {
    match (config["url"].as_str(), &config["service"]) {
        (Some(link), Value::Null) => url(link, &at.child("url"), causes),
        (None, service @ Value::Object(_)) => self::service(service, &at.child("service"), causes),
        _ => causes.required(at, "exactly one of url or service is required"),
    }
}

/// `https://host[:port][/path]`, and nothing else.
fn url(url: &str, at: &Path, causes: &mut Causes) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (url, fragment) = url.split_once('#').map_or((url, ""), |(url, fragment)| (url, fragment));
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, query)| (url, query));
    let (scheme, rest) = url.split_once(':').map_or(("", url), |(scheme, rest)| (scheme, rest));
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return causes.required(at, &format!("url must be a valid URL: invalid character in {url:?}{FORM}"));
    }
    if !scheme.eq_ignore_ascii_case("https") {
        causes.invalid(at, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        causes.invalid(at, "", &format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        causes.invalid(at, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        causes.invalid(at, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        causes.invalid(at, query, "query parameters are not permitted in the URL");
    }
}

fn service(service: &Value, at: &Path, causes: &mut Causes) {
    for field in ["name", "namespace"] {
        if text(&service[field]).is_empty() {
            let what = if field == "name" { "service name" } else { "service namespace" };
            causes.required(&at.child(field), &format!("{what} is required"));
        }
    }
    port(&service["port"], &at.child("port"), causes);
    let path = text(&service["path"]);
    let at = at.child("path");
    if matches!(path, "" | "/") {
        return;
    }
    if path == "//" {
        return causes.invalid(&at, path, "segment[0] may not be empty");
    }
    if !path.starts_with('/') {
        causes.invalid(&at, path, "must start with a '/'");
    }
    let mut letters = path.chars();
    letters.next();
    let steps = letters.as_str();
    for (i, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            causes.invalid(&at, path, &format!("segment[{i}] may not be empty"));
            continue;
        }
        for problem in names::dns_subdomain(step) {
            causes.invalid(&at, path, &format!("segment[{i}]: {problem}"));
        }
    }
}

/// The port of a service.
pub(super) fn port(port: &Value, at: &Path, causes: &mut Causes) {
    let number = int(port).unwrap_or(0);
    for problem in names::port_number(number) {
        causes.invalid(at, number, &format!("port is not valid: {problem}"));
    }
}
