//! What is shown of tenants: lists page by page, one in full, and what they use.

use api::{TenantName, Timestamp};
use client::{Client, ListParams, TENANTS};
use serde_json::Value;
use std::time::Duration;

/// Tenants that are asked for at a time.
const PAGE: usize = 500;

/// Which tenants a list shows.
pub struct Wanted {
    pub selector: String,
    pub field_selector: String,
    pub search: String,
    pub limit: usize,
}

/// Prints tenants as they come.
pub async fn list(client: &Client, wanted: Wanted, names: bool) -> api::Result<()> {
    if !names {
        println!("{:<24} {:<10} {:<12} AGE", "NAME", "STORAGEID", "STATUS");
    }
    let now = Timestamp::now();
    each(client, wanted, |tenant| {
        let name = text(&tenant["metadata"]["name"]);
        if names {
            println!("{name}");
            return;
        }
        let (storage, phase) = (text(&tenant["spec"]["storageClusterId"]), text(&tenant["status"]["phase"]));
        println!("{name:<24} {storage:<10} {phase:<12} {}", age_of(tenant, now));
    })
    .await
}

/// Calls `show` with each tenant that is wanted.
pub async fn each(client: &Client, wanted: Wanted, mut show: impl FnMut(&Value)) -> api::Result<()> {
    let mut left = wanted.limit;
    let mut params = ListParams {
        labels: wanted.selector,
        fields: wanted.field_selector,
        search: wanted.search,
        ..ListParams::default()
    };
    while left > 0 {
        params.limit = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let page = client.list(TENANTS, "", &params).await?;
        page.items.iter().take(left).for_each(&mut show);
        left -= page.items.len().min(left);
        if page.continue_token.is_empty() {
            break;
        }
        params.continue_token = page.continue_token;
    }
    Ok(())
}

/// Prints what one tenant uses.
pub async fn usage(client: &Client, name: &str) -> api::Result<()> {
    let usage: Value = client.in_tenant(&TenantName::new(name)?).get_path("/usage").await?;
    println!("{:<40} {:>16} {:>16}", "RESOURCE", "USED", "LIMIT");
    for what in ["objects", "bytes", "watches", "connections"] {
        let limit = &usage["limits"][what];
        let quota = &usage["quota"][what];
        println!("{what:<40} {:>16} {:>16}", shown(&usage[what]), shown(if quota.is_null() { limit } else { quota }));
    }
    for (resource, limit) in members(&usage["quota"]).filter(|(name, _)| !matches!(*name, "objects" | "bytes")) {
        println!("{resource:<40} {:>16} {:>16}", shown(&usage["used"][resource]), shown(limit));
    }
    println!("\n{:<40} {:>16}", "KIND", "OBJECTS");
    for (resource, count) in members(&usage["resources"]) {
        println!("{resource:<40} {:>16}", shown(count));
    }
    Ok(())
}

/// Prints what the largest tenants use.
pub async fn usages(client: &Client, limit: usize) -> api::Result<()> {
    let usage: Value = client.get_path(&format!("/tenants/all/usage?limit={limit}")).await?;
    println!("{:<24} {:>12} {:>16} {:>10} {:>12}", "TENANT", "OBJECTS", "BYTES", "WATCHES", "CONNECTIONS");
    for tenant in usage["tenants"].as_array().into_iter().flatten() {
        let cell = |field: &str| shown(&tenant[field]);
        let (objects, bytes, watches, connections) =
            (cell("objects"), cell("bytes"), cell("watches"), cell("connections"));
        println!("{:<24} {objects:>12} {bytes:>16} {watches:>10} {connections:>12}", text(&tenant["tenant"]));
    }
    let all = format!("all {}", usage["count"]);
    println!("{all:<24} {:>12} {:>16}", shown(&usage["objects"]), shown(&usage["bytes"]));
    Ok(())
}

/// Prints everything about a tenant.
pub async fn describe(client: &Client, name: &str) -> api::Result<()> {
    let tenant = client.get(TENANTS, "", name).await?;
    let (metadata, spec, status) = (&tenant["metadata"], &tenant["spec"], &tenant["status"]);
    let line = |name: &str, value: String| println!("{name:<16} {value}");
    line("Name:", text(&metadata["name"]).to_owned());
    line("UID:", text(&metadata["uid"]).to_owned());
    for (title, field) in [("Labels:", "labels"), ("Annotations:", "annotations")] {
        let pairs: Vec<String> = members(&metadata[field]).map(|(k, v)| format!("{k}={}", shown(v))).collect();
        line(title, if pairs.is_empty() { "<none>".to_owned() } else { pairs.join("\n                 ") });
    }
    line("Age:", age_of(&tenant, Timestamp::now()));
    line("Storage ID:", text(&spec["storageClusterId"]).to_owned());
    line("Status:", text(&status["phase"]).to_owned());
    if !metadata["deletionTimestamp"].is_null() {
        line("Deleted:", text(&metadata["deletionTimestamp"]).to_owned());
    }
    println!("Use:");
    for (resource, used) in members(&status["used"]) {
        let limit = &spec["quota"][resource];
        let of = if limit.is_null() { String::new() } else { format!(" of {}", shown(limit)) };
        println!("  {resource:<30} {}{of}", shown(used));
    }
    if let Some(remaining) = status["remaining"].as_object().filter(|remaining| !remaining.is_empty()) {
        println!("Remaining:");
        remaining.iter().for_each(|(resource, count)| println!("  {resource:<30} {count}"));
    }
    if let Some(conditions) = status["conditions"].as_array().filter(|conditions| !conditions.is_empty()) {
        println!("Conditions:");
        for condition in conditions {
            let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
            println!("  {kind:<20} {status:<6} {}", text(&condition["message"]));
        }
    }
    Ok(())
}

/// What a tenant that is being deleted waits for, in its own words.
pub fn waits_for(tenant: Value) -> String {
    let conditions = tenant["status"]["conditions"].as_array().into_iter().flatten();
    let wrong = conditions.filter(|c| c["status"] == "True" && c["type"] != "AtRest");
    wrong.map(|c| text(&c["message"])).collect::<Vec<_>>().join("; ")
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn age_of(tenant: &Value, now: Timestamp) -> String {
    let created = tenant["metadata"]["creationTimestamp"].as_str().and_then(Timestamp::parse);
    created.map_or_else(|| "<unknown>".into(), |created| age(now.since(created)))
}

/// An age as kubectl prints it, to its largest unit.
fn age(age: Duration) -> String {
    match age.as_secs() {
        secs @ 0..120 => format!("{secs}s"),
        secs @ 120..7200 => format!("{}m", secs / 60),
        secs @ 7200..172_800 => format!("{}h", secs / 3600),
        secs => format!("{}d", secs / 86400),
    }
}
