//! Eviction: the delete of a pod, unless a disruption budget stands against it.
//!
//! What a budget allows is counted down in its status before the pod goes, with the status as a precondition, so that
//! evictions at once never disrupt more than it allows.

use crate::options::{Query, WriteOptions};
use crate::registry::{self, Call, Changed, DeleteOptions, Part};
use api::selector::LabelSelector;
use api::{Cause, Error, Reason, ResourceId, Result};
use serde_json::{Value, json};

/// Evictions that the controller of budgets has not seen yet; with more it is behind.
const UNCONFIRMED_MAX: usize = 2000;
/// Seconds after which to ask again while a budget is new.
const RETRY_SECS: u32 = 10;

/// Deletes a pod as its eviction says, if its budget allows that.
pub async fn evict(call: Call<'_>, name: &str, eviction: &Value, options: &WriteOptions) -> Result<()> {
    let mut delete = eviction["deleteOptions"].clone();
    if !delete.is_object() {
        delete = json!({});
    }
    if options.dry_run {
        delete["dryRun"] = json!(["All"]);
    }
    let delete = DeleteOptions::parse(&Query::parse(None), &delete)?;
    let current = call.current(name)?;
    let pod = current.to_value()?;
    if !is_past_disruption(&pod)
        && let Some(budget) = budget_of(call, &pod)?
        && !is_free_to_go(&pod, &budget)
    {
        let dry = WriteOptions { dry_run: delete.dry_run, ..options.clone() };
        count_down(call, name, &budget, &dry).await?;
    }
    let delete = match delete.dry_run {
        true => delete,
        false => {
            registry::check_preconditions(call, name, &current, &delete)?;
            mark(call, name, &pod, delete, options).await?
        }
    };
    registry::delete(call, name, &delete).await.map(drop)
}

/// Says on exactly the pod that was seen why it goes; where a version of it is to be deleted, on that version. Returns
/// how it is to be deleted then.
async fn mark(
    call: Call<'_>,
    name: &str,
    seen: &Value,
    delete: DeleteOptions,
    options: &WriteOptions,
) -> Result<DeleteOptions> {
    let now = call.now.to_string();
    registry::update(call, name, Part::Own("eviction"), options, &mut Vec::new(), |live| {
        registry::check_uid(call, name, live.value, seen)?;
        let mut pod = live.value.clone();
        let version = &seen["metadata"]["resourceVersion"];
        pod["metadata"]["resourceVersion"] = if delete.has_version() { version.clone() } else { Value::Null };
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": now, "observedGeneration": pod["metadata"]["generation"]});
        set_condition(&mut pod["status"], condition);
        Ok(Changed::untracked(pod))
    })
    .await?;
    Ok(delete.without_version())
}

/// Puts a condition into a status in the place of the one of its type; the time stays if its status does.
fn set_condition(status: &mut Value, mut condition: Value) {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
    status["conditions"] = Value::Array(conditions);
}

/// A pod that runs nothing, or not for long, disrupts nothing.
fn is_past_disruption(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
        || !pod["metadata"]["deletionTimestamp"].is_null()
}

/// The one budget that selects a pod. More than one is a fault of theirs.
fn budget_of(call: Call<'_>, pod: &Value) -> Result<Option<Value>> {
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    let tenant = call.target.tenant().cloned().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
    let resource = ResourceId::new("policy", "poddisruptionbudgets");
    let snapshot = call.server.store.snapshot();
    let mut found = None;
    for budget in snapshot.range(&store::Scope::Namespace(resource, tenant, call.namespace.into()), None) {
        let budget = budget.to_value()?;
        let selector = &budget["spec"]["selector"];
        let selects = selector.is_object() && LabelSelector::from_value(selector).is_ok_and(|s| s.matches(&labels));
        if selects && found.replace(budget).is_some() {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Error::new(Reason::Unknown, why));
        }
    }
    Ok(found)
}

/// Whether a pod that is not ready may go without being counted.
fn is_free_to_go(pod: &Value, budget: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    if conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return false;
    }
    let [healthy, wanted] = ["currentHealthy", "desiredHealthy"].map(|field| number(&budget["status"][field]));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (healthy >= wanted && wanted > 0)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Takes one disruption of what a budget allows.
async fn count_down(call: Call<'_>, pod: &str, budget: &Value, options: &WriteOptions) -> Result<()> {
    let kind = call.server.kinds.find("policy", "v1", "poddisruptionbudgets").ok_or_else(Error::no_such_path)?;
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    let call = Call { kind, ..call };
    let now = call.now.to_string();
    registry::update(call, name, Part::Own("eviction"), options, &mut Vec::new(), |live| {
        Ok(Changed::untracked(counted_down(live.value, pod, &now)?))
    })
    .await
    .map(drop)
}

/// A budget after one more disruption, or why there may be none.
fn counted_down(budget: &Value, pod: &str, now: &str) -> Result<Value> {
    let (name, status) = (budget["metadata"]["name"].as_str().unwrap_or_default(), &budget["status"]);
    let refused = |why: String, retry_secs: u32| {
        let text = "Cannot evict pod as it would violate the pod's disruption budget.";
        let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
        Err(Error::new(Reason::TooManyRequests, text).with_causes(vec![cause]).retry_after(retry_secs))
    };
    let forbidden = |why: &str| Err(Error::forbidden("policy", "poddisruptionbudget", name, why));
    let generation = number(&budget["metadata"]["generation"]);
    if number(&status["observedGeneration"]) < generation {
        return refused(format!("The disruption budget {name} is still being processed by the server."), RETRY_SECS);
    }
    let allowed = number(&status["disruptionsAllowed"]);
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > UNCONFIRMED_MAX) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let [wanted, healthy] = ["desiredHealthy", "currentHealthy"].map(|field| number(&status[field]));
        let why = format!("The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently");
        return refused(why, 0);
    }
    let mut counted = budget.clone();
    let status = &mut counted["status"];
    status["disruptionsAllowed"] = json!(allowed - 1);
    status["disruptedPods"][pod] = json!(now);
    if allowed == 1 {
        let condition = json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": generation, "lastTransitionTime": now});
        set_condition(status, condition);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "spec": {}, "status": status})
    }

    #[test]
    fn a_budget_is_counted_down_until_it_refuses() {
        let allows = |n: i64| {
            budget(json!({"observedGeneration": 1, "disruptionsAllowed": n, "desiredHealthy": 2, "currentHealthy": 2}))
        };
        let counted = counted_down(&allows(1), "p", "now").expect("it allows one");
        assert_eq!(
            (&counted["status"]["disruptionsAllowed"], &counted["status"]["disruptedPods"]),
            (&json!(0), &json!({"p": "now"}))
        );
        assert_eq!(counted["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refused = counted_down(&allows(0), "p", "now").expect_err("it allows none");
        let why = "The disruption budget b needs 2 healthy pods and has 2 currently";
        assert_eq!((refused.code(), refused.causes()[0].message.as_str()), (429, why));
        let unseen = counted_down(&budget(json!({"disruptionsAllowed": 1})), "p", "now").expect_err("it is new");
        assert_eq!((unseen.code(), unseen.retry_after_secs()), (429, 10));
        assert_eq!(counted_down(&allows(-1), "p", "now").expect_err("nonsense").code(), 403);
    }

    #[test]
    fn pods_that_are_not_ready_go_as_the_policy_says() {
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let enough = budget(json!({"currentHealthy": 2, "desiredHealthy": 2}));
        let few = budget(json!({"currentHealthy": 1, "desiredHealthy": 2}));
        let mut always = few.clone();
        always["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        for (ready, budget, free) in
            [("True", &enough, false), ("False", &enough, true), ("False", &few, false), ("False", &always, true)]
        {
            assert_eq!(is_free_to_go(&pod(ready), budget), free, "{ready} {budget}");
        }
    }
}
