//! One webhook called about one write, and all that only validate, called at once.

use super::compile::Webhook;
use super::review::{self, Verdict};
use crate::admission::policies::Asked;
use crate::admission::{Attempt, Subject};
use api::{Cause, Error, Kind, Reason, Result, Timestamp};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long the webhooks of one request may take together.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// Why a webhook has not said yes.
pub(super) enum Failure {
    /// It could not be asked, or did not answer as it must: its failure policy decides.
    Calling(String),
    /// It said no, or cannot be meant.
    Refused(Error),
}

/// Calls the webhooks that match, all at once, about what is stored or deleted. Answers with their warnings.
pub async fn validate(attempt: Attempt<'_>, webhooks: &[Webhook], new: Option<&Value>) -> Result<Vec<String>> {
    let mut calls = Vec::new();
    for webhook in webhooks {
        if let Some(seen_as) = matched(attempt, webhook, new)? {
            calls.push(async move { settled(webhook, call(attempt, webhook, seen_as, new, false).await) });
        }
    }
    let mut warnings = Vec::new();
    for answered in join_all(calls).await {
        let Some(verdict) = answered? else { continue };
        warnings.extend(verdict.warnings);
        if verdict.patch.is_some_and(|patch| patch != b"[]") {
            let why = "attempted to modify the object, which is not supported for this operation";
            return Err(internal(format!("an admission webhook {why}")));
        }
    }
    Ok(warnings)
}

/// Whether a webhook is to be called, and about which view of the kind.
pub(super) fn matched(attempt: Attempt<'_>, webhook: &Webhook, new: Option<&Value>) -> Result<Option<Arc<Kind>>> {
    let forbidden = |why: &str| attempt.forbidden(new.or(attempt.old).unwrap_or(&Value::Null), why);
    let seen_as = match webhook.matching.matched(attempt, new) {
        Ok(Some(seen_as)) => seen_as,
        Ok(None) => return Ok(None),
        Err(why) => return Err(forbidden(&why)),
    };
    if webhook.conditions.is_empty() {
        return Ok(Some(seen_as));
    }
    let asked = Asked::new(attempt, new);
    match asked.conditions_hold(&webhook.conditions, new, &Value::Null) {
        Ok(true) => Ok(Some(seen_as)),
        Ok(false) => Ok(None),
        Err(why) if webhook.fails => Err(forbidden(&why)),
        Err(_) => Ok(None),
    }
}

/// Calls one webhook.
pub(super) async fn call(
    attempt: Attempt<'_>,
    webhook: &Webhook,
    seen_as: Arc<Kind>,
    new: Option<&Value>,
    mutating: bool,
) -> std::result::Result<Verdict, Failure> {
    if attempt.options.dry_run() && !webhook.is_free_of_side_effects {
        let why = format!("admission webhook {:?} does not support dry run", webhook.name);
        return Err(Failure::Refused(Error::bad_request(why)));
    }
    let endpoint = webhook.endpoint.as_ref().filter(|_| webhook.broken.is_none()).ok_or_else(|| {
        Failure::Calling(webhook.broken.clone().unwrap_or_else(|| "could not get REST client".to_owned()))
    })?;
    let server = attempt.call.server;
    let tenant = attempt.call.target.tenant().ok_or_else(|| Failure::Calling("there is no tenant".into()))?;
    let subject = Subject { attempt, seen_as: &seen_as };
    let (new, old) = subject.shown(new).await.map_err(Failure::Refused)?;
    let uid = uuid::Uuid::new_v4().to_string();
    let request = review::request(attempt, &seen_as, (new.as_ref(), old.as_ref()), &uid);
    drop((new, old));
    let body = Bytes::from(request.to_string());
    drop(request);
    let left = REQUEST_MAX.saturating_sub(Timestamp::now().since(attempt.call.now));
    if left.is_zero() {
        let why = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        return Err(Failure::Refused(Error::new(Reason::Timeout, why)));
    }
    let answer = server.egress.post(tenant, endpoint, body, webhook.timeout, left).await;
    let answer = answer.map_err(|why| Failure::Calling(format!("failed to call webhook: {why}")))?;
    let mut verdict = review::verdict(&answer, &webhook.name, &uid, mutating)
        .map_err(|why| Failure::Calling(format!("received invalid webhook response: {why}")))?;
    for (key, value) in &verdict.annotations {
        tracing::info!(%tenant, webhook = webhook.name, key, value, "audit annotation");
    }
    match verdict.denied.take() {
        Some(denied) => Err(Failure::Refused(denied)),
        None => Ok(verdict),
    }
}

/// What a call comes to, as the webhook's failure policy has it. `None` for one that failed and is ignored.
pub(super) fn settled(webhook: &Webhook, called: std::result::Result<Verdict, Failure>) -> Result<Option<Verdict>> {
    match called {
        Ok(verdict) => Ok(Some(verdict)),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Calling(why)) if webhook.fails => {
            Err(internal(format!("failed calling webhook {:?}: {why}", webhook.name)))
        }
        Err(Failure::Calling(why)) => {
            let (webhook, configuration) = (&webhook.name, &webhook.configuration);
            tracing::warn!(webhook, configuration, why, "a webhook could not be called, and is ignored");
            Ok(None)
        }
    }
}

/// 500, of which the client is told why.
pub(super) fn internal(why: String) -> Error {
    let cause = Cause { reason: String::new(), message: why.clone(), field: String::new() };
    Error::new(Reason::InternalError, format!("Internal error occurred: {why}")).with_causes(vec![cause])
}
