//! How a definition's objects change their version.

use crate::causes::{Causes, Path};
use crate::extension::clients;
use crate::names;
use crate::value::{is_empty, list, repeats, text};
use serde_json::Value;

/// Versions of the review that this server speaks.
const SPOKEN: [&str; 2] = ["v1", "v1beta1"];

pub fn validate(conversion: &Value, at: &Path, causes: &mut Causes) {
    if conversion.is_null() {
        return;
    }
    match text(&conversion["strategy"]) {
        "" => causes.required(&at.child("strategy"), ""),
        _ => causes.one_of(&at.child("strategy"), &conversion["strategy"], &["None", "Webhook"]),
    }
    let (client, versions) =
        (&conversion["webhook"]["clientConfig"], &conversion["webhook"]["conversionReviewVersions"]);
    let (client_at, versions_at) = (at.child("webhookClientConfig"), at.child("conversionReviewVersions"));
    if conversion["strategy"] == "Webhook" {
        if client.is_null() {
            causes.required(&client_at, "required when strategy is set to Webhook");
        } else {
            clients::client(client, &client_at, causes);
        }
        return review_versions(list(versions), &versions_at, causes);
    }
    let why = "should not be set when strategy is not set to Webhook";
    if !client.is_null() {
        causes.forbidden(&client_at, why);
    }
    if !is_empty(versions) {
        causes.forbidden(&versions_at, why);
    }
}

fn review_versions(versions: &[Value], at: &Path, causes: &mut Causes) {
    if versions.is_empty() {
        return causes.required(at, "");
    }
    let repeated = repeats(versions);
    for (i, version) in versions.iter().enumerate() {
        let problems = names::dns_1035_label(text(version));
        if repeated.contains(&i) {
            causes.invalid(&at.index(i), version, "duplicate version");
        } else if !problems.is_empty() {
            causes.invalid(&at.index(i), version, &problems.join(","));
        }
    }
    if !versions.iter().any(|version| SPOKEN.contains(&text(version))) {
        causes.invalid(at, versions, &format!("must include at least one of {}", SPOKEN.join(", ")));
    }
}
