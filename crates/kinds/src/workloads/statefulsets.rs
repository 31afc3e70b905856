//! Stateful sets.

use super::{
    SPEC, STATUS, at_most, collisions, not_negative, replicated, selector, template_defaults, template_warnings,
};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::golang;
use crate::names;
use crate::print::{self, CONTAINERS, IMAGES, number};
use crate::storage::claim_spec;
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{default, int, is_empty, keep, list, list_mut, object, remove, set, text};
use crate::{NameRule, Revalidation, Strategy};
use api::{Cause, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Off by default in Kubernetes 1.36: dropped as if never given.
const OFF_BY_DEFAULT: &str = "maxUnavailable";

/// What an update may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(crate) static STATEFUL_SETS: Strategy = Strategy {
    defaults,
    validate: |object| Causes::of(|causes| validate(&object["spec"], causes)),
    validate_update,
    validate_status,
    update_revalidates: Revalidation::Content,
    warnings,
    name_rule: NameRule::DnsLabel,
    generation: Some(spec_changed),
    new_status: Some(|| json!({"replicas": 0, "availableReplicas": 0})),
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn defaults(stateful_set: &mut Value) {
    let Some(spec) = stateful_set.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    template_defaults(spec);
    default(spec, "podManagementPolicy", "OrderedReady");
    default(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    if is_empty(&strategy["type"]) {
        default(strategy, "type", "RollingUpdate");
        default(strategy, "rollingUpdate", json!({}));
    }
    if strategy["type"] == "RollingUpdate" && !strategy["rollingUpdate"].is_null() {
        default(&mut strategy["rollingUpdate"], "partition", 0);
    }
    if let Some(rolling) = strategy.get_mut("rollingUpdate") {
        remove(rolling, OFF_BY_DEFAULT);
    }
    if object(spec, "persistentVolumeClaimRetentionPolicy").is_some() {
        for field in ["whenDeleted", "whenScaled"] {
            default(&mut spec["persistentVolumeClaimRetentionPolicy"], field, "Retain");
        }
    }
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    for claim in list_mut(spec, "volumeClaimTemplates") {
        set(claim, "apiVersion", "v1");
        set(claim, "kind", "PersistentVolumeClaim");
        default(claim, "status", json!({}));
        default(&mut claim["status"], "phase", "Pending");
        if let Some(spec) = claim.get_mut("spec") {
            crate::pods::defaults::claim_spec(spec);
        }
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    if !matches!(text(&spec["podManagementPolicy"]), "OrderedReady" | "Parallel") {
        let at = SPEC.child("podManagementPolicy");
        causes.invalid(&at, &spec["podManagementPolicy"], "must be 'OrderedReady' or 'Parallel'");
    }
    update_strategy(&spec["updateStrategy"], &SPEC.child("updateStrategy"), causes);
    let retention = SPEC.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let policy = &spec["persistentVolumeClaimRetentionPolicy"][field];
        causes.one_of(&retention.child(field), policy, &["Delete", "Retain"]);
    }
    not_negative(spec, &["replicas", "minReadySeconds"], &SPEC, causes);
    not_negative(&spec["ordinals"], &["start"], &SPEC.child("ordinals"), causes);
    let service = text(&spec["serviceName"]);
    if !service.is_empty() {
        causes.each_invalid(&SPEC.child("serviceName"), service, names::dns_label(service));
    }
    if selector(spec, "statefulset", causes) {
        replicated(&spec["selector"], &with_claims(spec), "StatefulSet", &SPEC.child("template"), causes);
    } else {
        causes.invalid(&SPEC.child("selector"), &spec["selector"], "");
    }
    let claims = SPEC.child("volumeClaimTemplates");
    for (i, claim) in list(&spec["volumeClaimTemplates"]).iter().enumerate() {
        claim_spec(&claim["spec"], &claims.index(i).child("spec"), causes);
    }
}

/// The template as its pods have it: with the claims as volumes, in the place of volumes of their names.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = list(&spec["volumeClaimTemplates"]);
    if claims.is_empty() || !template["spec"].is_object() {
        return template;
    }
    let names: BTreeSet<&str> = claims.iter().map(|claim| text(&claim["metadata"]["name"])).collect();
    let volume = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let mut volumes = list(&template["spec"]["volumes"]).to_vec();
    let mut replaced = BTreeSet::new();
    for known in &mut volumes {
        if let Some(name) = names.get(text(&known["name"])).copied().filter(|name| replaced.insert(*name)) {
            *known = volume(name);
        }
    }
    volumes.extend(names.difference(&replaced).map(|name| volume(name)));
    template["spec"]["volumes"] = json!(volumes);
    template
}

fn update_strategy(strategy: &Value, at: &Path, causes: &mut Causes) {
    let rolling = at.child("rollingUpdate");
    match text(&strategy["type"]) {
        "" => causes.required(at, ""),
        "OnDelete" if !strategy["rollingUpdate"].is_null() => {
            causes.invalid(&rolling, &strategy["rollingUpdate"], "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            not_negative(&strategy["rollingUpdate"], &["partition"], &rolling, causes);
        }
        _ => causes.invalid(
            at,
            golang::shown("StatefulSetUpdateStrategy", strategy),
            "must be 'RollingUpdate' or 'OnDelete'",
        ),
    }
}

fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let mut rest = new["spec"].clone();
        MUTABLE.iter().for_each(|field| keep(&mut rest, &old["spec"], field));
        if rest != old["spec"] {
            let (last, first) =
                MUTABLE.split_last().map_or(("", ""), |(last, _)| (*last, "updates to statefulset spec"));
            let others: Vec<String> = MUTABLE[..MUTABLE.len() - 1].iter().map(|field| format!("'{field}'")).collect();
            let why = format!("{first} for fields other than {} and '{last}' are forbidden", others.join(", "));
            causes.forbidden(&SPEC, &why);
        }
    })
}

fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (new, old) = (&new["status"], &old["status"]);
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        not_negative(new, &["replicas"], &STATUS, causes);
        not_negative(new, &parts, &STATUS, causes);
        not_negative(new, &["observedGeneration", "collisionCount"], &STATUS, causes);
        at_most(new, &parts, "replicas", "status.replicas", causes);
        at_most(new, &["availableReplicas"], "readyReplicas", "status.readyReplicas", causes);
        collisions(new, old, causes);
    })
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = template_warnings(new, old);
    if int(&new["spec"]["revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
        warnings.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .to_owned(),
        );
    }
    warnings
}

const COLUMNS: &[Column] =
    &[NAME, explained("Ready", "Number of the pod with ready state"), AGE, CONTAINERS.wide(), IMAGES.wide()];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = print::containers(&spec["template"]["spec"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    vec![object["metadata"]["name"].clone(), json!(ready), age(object, now), names, images]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_mount_claims_as_they_mount_volumes() {
        let spec = |mounted: &str| {
            let mounts = json!([{"name": mounted, "mountPath": "/data"}]);
            let container = json!({"name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "volumeMounts": mounts});
            let pod = json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "containers": [container],
                "volumes": [{"name": "data"}]});
            let claim = json!({"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": "1Gi"}}});
            json!({
                "selector": {"matchLabels": {"app": "db"}}, "serviceName": "db", "podManagementPolicy": "Parallel",
                "updateStrategy": {"type": "OnDelete"},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod},
                "volumeClaimTemplates": [
                    {"metadata": {"name": "data"}, "spec": claim}, {"metadata": {"name": "more"}, "spec": claim}],
            })
        };
        for (mounted, refused) in [("data", false), ("more", false), ("other", true)] {
            let causes = Causes::of(|causes| validate(&spec(mounted), causes));
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            let expected: &[&str] =
                if refused { &["spec.template.spec.containers[0].volumeMounts[0].name"] } else { &[] };
            assert_eq!(fields, expected, "{mounted}");
        }
    }
}
