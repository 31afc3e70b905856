//! Webhooks that change objects: called one after another, in the order of their configurations' names. When one has changed
//! the object, the plugins complete it again, and webhooks that asked for it see it once more.

use super::call::{call, internal, matched, settled};
use super::compile::{TenantWebhooks, Webhook};
use crate::admission::{Attempt, Mutated, Subject, complete};
use api::Result;
use schema::FieldValidation;
use schema::patch;
use serde_json::Value;

/// Lets the tenant's webhooks change an object.
pub async fn mutate(attempt: Attempt<'_>, webhooks: &TenantWebhooks, new: &mut Value) -> Result<Mutated> {
    let mut done = Mutated::default();
    // Those that were called and see the object again if it changes, and those that are to see it again.
    let (mut called, mut again) = (Vec::new(), Vec::new());
    for (i, webhook) in webhooks.mutating.iter().enumerate() {
        match one(attempt, webhook, new, &mut done.warnings).await? {
            Outcome::NotCalled => continue,
            Outcome::Kept => {}
            Outcome::Changed => {
                done.is_changed = true;
                again.append(&mut called);
            }
        }
        if webhook.reinvoked {
            called.push(i);
        }
    }
    if !done.is_changed {
        return Ok(done);
    }
    let before = new.clone();
    complete(attempt, new)?;
    if *new != before {
        again.append(&mut called);
    }
    again.sort_unstable();
    for i in again {
        one(attempt, &webhooks.mutating[i], new, &mut done.warnings).await?;
    }
    Ok(done)
}

enum Outcome {
    NotCalled,
    Kept,
    Changed,
}

async fn one(attempt: Attempt<'_>, webhook: &Webhook, new: &mut Value, warnings: &mut Vec<String>) -> Result<Outcome> {
    let Some(seen_as) = matched(attempt, webhook, Some(new))? else { return Ok(Outcome::NotCalled) };
    let called = call(attempt, webhook, seen_as.clone(), Some(new), true).await;
    let Some(verdict) = settled(webhook, called)? else { return Ok(Outcome::Kept) };
    warnings.extend(verdict.warnings);
    let Some(operations) = verdict.patch else { return Ok(Outcome::Kept) };
    let (operations, _) = patch::decode_json(&operations, FieldValidation::Ignore)
        .map_err(|error| internal(error.message().to_owned()))?;
    let subject = Subject { attempt, seen_as: &seen_as };
    let (shown, _) = subject.shown(Some(new)).await?;
    let patched =
        patch::json(shown.unwrap_or_default(), &operations).map_err(|error| internal(error.message().to_owned()))?;
    let changed = subject.taken(patched, new).await?;
    if changed == *new {
        return Ok(Outcome::Kept);
    }
    *new = changed;
    Ok(Outcome::Changed)
}
