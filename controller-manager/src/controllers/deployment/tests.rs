//! How a deployment gets from one template to the next, step by step.

use super::*;
use api::Timestamp;
use plan::plan;
use serde_json::from_value;
use sets::{DESIRED_REPLICAS, MAX_REPLICAS};

const NOW: i64 = 1_800_000_000;

/// A deployment with its replica sets, played forward: each step carries a plan out and lets pods follow.
struct Play {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: i64,
    notices: Vec<String>,
}

impl Play {
    fn new(spec: Value) -> Play {
        let mut value = json!({
            "metadata": {"name": "web", "namespace": "ns", "tenant": "acme", "uid": "d", "generation": 1},
            "spec": {
                "replicas": 10,
                "selector": {"matchLabels": {"app": "web"}},
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": template(1),
            },
        });
        for (field, given) in spec.as_object().expect("fields of the spec") {
            value["spec"][field] = given.clone();
        }
        let deployment = from_value(value).expect("a deployment");
        Play { deployment, sets: Vec::new(), now: NOW, notices: Vec::new() }
    }

    /// One plan, carried out. Pods of resized sets are created or gone at once, but no pod becomes ready.
    fn step(&mut self) -> Plan {
        let sets: Vec<_> = self.sets.iter().cloned().map(Arc::new).collect();
        let unfinished_pods = HashMap::new();
        let now = Timestamp::from_unix_secs(self.now);
        let observed = Observed { deployment: &self.deployment, sets: &sets, unfinished_pods: &unfinished_pods, now };
        let plan = plan(&observed);
        if let Some((name, mut object)) = plan.create.clone() {
            let age = Timestamp::from_unix_secs(self.now + self.sets.len() as i64).to_string();
            object["metadata"]["uid"] = json!(name);
            object["metadata"]["creationTimestamp"] = json!(age);
            self.sets.push(from_value(object).expect("a replica set"));
        }
        for Update { target, .. } in &plan.update {
            let set = self.sets.iter_mut().find(|s| s.metadata.name == target.name).expect("a set of this deployment");
            set.spec.replicas = target.replicas;
            set.metadata.annotations = target.annotations.clone();
            set.spec.min_ready_seconds = target.min_ready_seconds;
        }
        for set in &plan.delete {
            self.sets.retain(|s| s.metadata.name != set.metadata.name);
        }
        for set in &mut self.sets {
            let (size, status) = (set.spec.replicas, &mut set.status);
            status.replicas = size;
            status.ready_replicas = status.ready_replicas.min(size);
            status.available_replicas = status.available_replicas.min(size);
            status.terminating_replicas = Some(0);
        }
        if let Some(revision) = &plan.revision {
            self.deployment.metadata.annotations.insert(REVISION.to_owned(), revision.clone());
        }
        self.deployment.status = plan.status.clone();
        self.notices.extend(plan.notices.iter().map(|n| n.message.clone()));
        plan
    }

    /// Every pod becomes ready and available.
    fn pods_ready(&mut self) {
        for set in &mut self.sets {
            set.status.ready_replicas = set.spec.replicas;
            set.status.available_replicas = set.spec.replicas;
        }
    }

    /// Steps until nothing changes any more, without pods becoming ready.
    fn settle(&mut self) -> &mut Play {
        for _ in 0..20 {
            let before = format!("{:?}{:?}", self.sets, self.deployment.status);
            self.step();
            if before == format!("{:?}{:?}", self.sets, self.deployment.status) {
                return self;
            }
        }
        panic!("a plan leads to another for ever: {:?}", self.deployment.status);
    }

    /// Settles and lets pods become ready until the rollout is over.
    fn complete(&mut self) -> &mut Play {
        for _ in 0..50 {
            self.settle().pods_ready();
        }
        self.settle()
    }

    fn change(&mut self, change: impl FnOnce(&mut Deployment)) -> &mut Play {
        change(&mut self.deployment);
        self.deployment.metadata.generation += 1;
        self
    }

    fn image(&mut self, number: u32) -> &mut Play {
        self.change(|d| d.spec.template = template(number))
    }

    /// The sizes of the sets, the oldest first.
    fn sizes(&self) -> Vec<i64> {
        self.sets.iter().map(|s| s.spec.replicas).collect()
    }

    fn annotation(&self, set: usize, name: &str) -> &str {
        self.sets[set].metadata.annotations.get(name).map_or("", String::as_str)
    }

    fn progressing(&self) -> (&str, &str) {
        let condition = status::condition(&self.deployment.status, "Progressing").expect("a condition");
        (&condition.status, &condition.reason)
    }
}

fn template(number: u32) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": format!("i:{number}")}]}})
}

/// The sizes of the old and the new set after each round of a rollout in which all new pods become ready.
#[track_caller]
fn rounds(replicas: i64, surge: Value, unavailable: Value, expected: &[[i64; 2]]) {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    let mut play = Play::new(json!({"replicas": replicas, "strategy": rolling}));
    play.complete().image(2);
    let mut seen = Vec::new();
    loop {
        let sizes: [i64; 2] = play.settle().sizes().try_into().expect("two sets");
        if seen.last() == Some(&sizes) {
            break;
        }
        seen.push(sizes);
        play.pods_ready();
    }
    assert_eq!(seen, expected, "surge {surge}, unavailable {unavailable}");
}

#[test]
fn a_rollout_stays_within_its_bounds() {
    rounds(3, json!(1), json!(0), &[[3, 1], [2, 2], [1, 3], [0, 3]]);
    rounds(3, json!(0), json!(1), &[[2, 1], [1, 2], [0, 3]]);
    rounds(4, json!(1), json!(1), &[[3, 2], [1, 4], [0, 4]]);
    rounds(10, json!("30%"), json!("30%"), &[[7, 6], [1, 10], [0, 10]]);
    rounds(4, json!("25%"), json!("25%"), &[[3, 2], [1, 4], [0, 4]]);
    rounds(3, json!("100%"), json!(0), &[[3, 3], [0, 3]]);
    rounds(3, json!(0), json!("100%"), &[[0, 3]]);
    rounds(1, json!("25%"), json!("25%"), &[[1, 1], [0, 1]]);
    // Neither surge nor unavailability would stand still for ever: one pod may be missing.
    rounds(3, json!(0), json!("10%"), &[[2, 1], [1, 2], [0, 3]]);
}

#[test]
fn pods_that_are_not_available_go_first() {
    let mut play = Play::new(json!({"replicas": 4}));
    play.complete();
    play.sets[0].status.available_replicas = 2;
    play.image(2).settle();
    // Too few are available to lose one, but one that is not available can make room for a new one.
    assert_eq!(play.sizes(), [3, 2]);
}

#[test]
fn a_new_deployment_is_created_whole_and_completes() {
    let mut play = Play::new(json!({"replicas": 3}));
    play.deployment.metadata.annotations.insert("note".to_owned(), "kept".to_owned());
    play.step();
    assert_eq!(play.sizes(), [3]);
    assert_eq!(play.progressing(), ("True", "NewReplicaSetCreated"));
    let name = play.sets[0].metadata.name.clone();
    let hash = name.strip_prefix("web-").expect("the deployment's name first");
    assert_eq!(play.sets[0].metadata.labels["pod-template-hash"], hash);
    assert_eq!(play.sets[0].spec.selector.value["matchLabels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(play.sets[0].spec.template["metadata"]["labels"]["pod-template-hash"], hash);
    let annotations = [REVISION, DESIRED_REPLICAS, MAX_REPLICAS, "note"].map(|a| play.annotation(0, a));
    assert_eq!(annotations, ["1", "3", "4", "kept"]);
    assert_eq!(play.notices, [format!("Scaled up replica set {name} from 0 to 3")]);
    assert_eq!(play.deployment.metadata.annotations[REVISION], "1");

    play.settle().pods_ready();
    play.settle();
    let expected = json!({
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "terminatingReplicas": 0,
    });
    let mut stored = play.deployment.status.to_value();
    stored.as_object_mut().expect("an object").remove("conditions");
    assert_eq!(stored, expected);
    assert_eq!(play.progressing(), ("True", "NewReplicaSetAvailable"));
    assert_eq!(status::condition(&play.deployment.status, "Available").expect("a condition").status, "True");
}

#[test]
fn going_back_to_a_template_takes_its_replica_set_and_a_new_revision() {
    let mut play = Play::new(json!({"replicas": 2}));
    play.complete().image(2).complete().image(1).complete();
    assert_eq!(play.sizes(), [2, 0]);
    assert_eq!([play.annotation(0, REVISION), play.annotation(1, REVISION)], ["3", "2"]);
    assert_eq!(play.annotation(0, sets::REVISION_HISTORY), "1");
    assert_eq!(play.deployment.metadata.annotations[REVISION], "3");
}

#[test]
fn old_revisions_are_forgotten_beyond_the_limit() {
    let mut play = Play::new(json!({"replicas": 1, "revisionHistoryLimit": 2}));
    for number in 1..6 {
        play.image(number).complete();
    }
    let revisions =
        |play: &Play| (0..play.sets.len()).map(|i| play.annotation(i, REVISION).to_owned()).collect::<Vec<_>>();
    assert_eq!(revisions(&play), ["3", "4", "5"]);
    // What its own controller has not looked at since it was changed may have pods after all.
    play.sets[0].metadata.generation = 2;
    play.image(6).complete();
    assert_eq!(revisions(&play), ["3", "4", "5", "6"]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut play = Play::new(json!({"replicas": 3}));
    play.complete().change(|d| d.spec.paused = true).image(2).settle();
    assert_eq!((play.sizes(), play.progressing()), (vec![3], ("Unknown", "DeploymentPaused")));
    play.change(|d| d.spec.replicas = 5).settle();
    assert_eq!(play.sizes(), [5]);
    play.change(|d| d.spec.paused = false).complete();
    assert_eq!((play.sizes(), play.progressing()), (vec![0, 5], ("True", "NewReplicaSetAvailable")));
}

#[test]
fn a_resize_in_mid_rollout_keeps_the_proportion() {
    let mut play = Play::new(json!({"replicas": 10}));
    play.complete().image(2).settle();
    assert_eq!(play.sizes(), [8, 5]);
    play.change(|d| d.spec.replicas = 20).step();
    // 25 may be there, 12 are to come; 8 : 5 of 12 is 7 and 5 by rounding.
    assert_eq!(play.sizes(), [15, 10]);
    play.change(|d| d.spec.replicas = 4).step();
    assert_eq!(play.sizes(), [3, 2]);
    play.change(|d| d.spec.replicas = 0).step();
    assert_eq!(play.sizes(), [0, 0]);
}

#[test]
fn pods_that_are_about_to_go_are_not_counted_on() {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    let mut play = Play::new(json!({"replicas": 10, "strategy": rolling}));
    play.complete().image(2).settle();
    assert_eq!(play.sizes(), [8, 5]);
    play.change(|d| d.spec.replicas = 5).step();
    assert_eq!(play.sizes(), [5, 3]);
    // The old set was resized, and its status still tells of the eight pods that it had.
    play.sets[0].metadata.generation = 2;
    play.sets[0].status.available_replicas = 8;
    play.step();
    assert_eq!(play.sizes(), [5, 3]);
    // Its controller has noticed that, but the pods have not gone.
    play.sets[0].status.observed_generation = 2;
    play.sets[0].status.available_replicas = 8;
    play.step();
    assert_eq!(play.sizes(), [5, 3]);
    play.sets[0].status.available_replicas = 5;
    play.settle();
    assert_eq!(play.sizes(), [3, 5]);
}

#[test]
fn recreate_waits_until_the_last_old_pod_is_gone() {
    let mut play = Play::new(json!({"replicas": 3, "strategy": {"type": "Recreate"}}));
    play.complete().image(2).step();
    assert_eq!(play.sizes(), [0]);
    let sets: Vec<_> = play.sets.iter().cloned().map(Arc::new).collect();
    let lingering = HashMap::from([(play.sets[0].metadata.uid.clone(), 1)]);
    let now = Timestamp::from_unix_secs(NOW);
    let observed = Observed { deployment: &play.deployment, sets: &sets, unfinished_pods: &lingering, now };
    assert!(plan(&observed).create.is_none(), "a pod is still there");
    play.step();
    assert_eq!(play.sizes(), [0, 3]);
}

#[test]
fn a_rollout_that_stands_still_times_out_and_can_recover() {
    let mut play = Play::new(json!({"replicas": 2, "progressDeadlineSeconds": 60}));
    play.settle();
    assert_eq!(play.step().again, Some(Duration::from_secs(61)));
    play.now += 61;
    assert_eq!((play.step().again, play.progressing()), (None, ("False", "ProgressDeadlineExceeded")));
    play.settle().pods_ready();
    play.settle();
    assert_eq!(play.progressing(), ("True", "NewReplicaSetAvailable"));
}

#[test]
fn without_a_deadline_there_is_no_verdict_on_progress() {
    let mut play = Play::new(json!({"replicas": 1, "progressDeadlineSeconds": null}));
    play.complete();
    assert!(status::condition(&play.deployment.status, "Progressing").is_none());
}

#[test]
fn a_failure_of_the_newest_replica_set_is_the_deployments() {
    let mut play = Play::new(json!({"replicas": 1}));
    play.settle();
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no room"}]);
    play.sets[0].status.conditions = from_value(failure).expect("conditions");
    play.settle();
    let noted = status::condition(&play.deployment.status, "ReplicaFailure").expect("a condition");
    assert_eq!((&*noted.reason, &*noted.message), ("FailedCreate", "no room"));
    play.sets[0].status.conditions.clear();
    play.settle();
    assert!(status::condition(&play.deployment.status, "ReplicaFailure").is_none());
}

#[test]
fn a_deployment_that_is_being_deleted_changes_nothing_but_its_status() {
    let mut play = Play::new(json!({"replicas": 3}));
    play.complete().image(2);
    play.deployment.metadata.deletion_timestamp = Some(Default::default());
    let plan = play.step();
    assert!(plan.create.is_none() && plan.delete.is_empty());
    assert_eq!(play.sizes(), [3]);
}

#[test]
fn percentages_beyond_all_counts_are_as_the_largest_count() {
    let huge = json!(format!("{}%", i64::MAX));
    let most = i64::from(i32::MAX);
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": huge, "maxUnavailable": huge}});
    let mut play = Play::new(json!({"replicas": most, "strategy": rolling}));
    assert_eq!(sets::Bounds::of(&play.deployment), sets::Bounds { surge: most, unavailable: most });
    play.complete();
    assert_eq!(play.sizes(), [most]);
    play.image(2).settle();
    assert_eq!(play.sizes(), [0, most]);
    // Resized in mid-rollout, with an annotation of a user's that makes each share as large as can be.
    play.change(|d| d.spec.replicas = 10).image(3).step();
    play.sets[0].spec.replicas = 5;
    for set in &mut play.sets {
        set.metadata.annotations.insert(MAX_REPLICAS.to_owned(), "1".to_owned());
    }
    play.change(|d| d.spec.replicas = most).step();
    assert!(play.sizes().iter().all(|size| (0..=2 * most).contains(size)), "{:?}", play.sizes());
}

#[test]
fn the_last_revision_of_all_is_followed_by_itself() {
    let mut play = Play::new(json!({"replicas": 1}));
    play.complete();
    play.sets[0].metadata.annotations.insert(REVISION.to_owned(), i64::MAX.to_string());
    play.image(2).complete();
    assert_eq!([play.annotation(0, REVISION), play.annotation(1, REVISION)], ["9223372036854775807"; 2]);
    assert_eq!(play.sizes(), [0, 1]);
}
