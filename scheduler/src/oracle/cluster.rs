//! A cluster as far as a scheduler sees one: objects as JSON, admission of pods, bindings, evictions, and pods that end
//! when they are deleted. Time passes when nothing else is to be done.

use super::storage::Storage;
use crate::placement::{Budget, Node, Pod, PodKey, PodSelector, Profile, Rng, StorageChange};
use crate::state::{Action, Event, State};
use api::{TenantName, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const NAMESPACE: &str = "ns";

/// Enough rounds for every scenario; one that needs more does not come to rest.
const ROUNDS_MAX: usize = 200;

/// How long a test waits for what is still to come.
const PATIENCE: Duration = Duration::from_secs(12);

pub struct Cluster {
    state: State,
    rng: Rng,
    now: Timestamp,
    pods: BTreeMap<(String, String), Value>,
    nodes: BTreeMap<String, Value>,
    priority_classes: Vec<Value>,
    runtime_classes: Vec<Value>,
    storage: Storage,
    uids: u64,
    /// Names of pods that the scheduler deleted, in order, with what their status then said.
    evicted: Vec<(String, Value)>,
    evicted_before_step: usize,
    nominated: BTreeMap<String, String>,
    terminate: bool,
}

impl Cluster {
    pub fn new(namespace_labels: &Value) -> Cluster {
        let mut cluster = Cluster {
            state: State::new(vec![Profile::default()]),
            rng: Rng::new(1),
            now: Timestamp::from_unix_secs(1_800_000_000),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            priority_classes: Vec::new(),
            runtime_classes: Vec::new(),
            storage: Storage::default(),
            uids: 0,
            evicted: Vec::new(),
            evicted_before_step: 0,
            nominated: BTreeMap::new(),
            terminate: true,
        };
        cluster.create(&json!({"kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": namespace_labels}}));
        cluster
    }

    pub fn begin(&mut self, terminate: bool) {
        self.terminate = terminate;
        self.evicted_before_step = self.evicted.len();
        self.nominated.clear();
    }

    pub fn evictions(&self) -> usize {
        self.evicted.len()
    }

    pub fn evictions_before_step(&self) -> usize {
        self.evicted_before_step
    }

    pub fn create(&mut self, object: &Value) {
        let name = text(&object["metadata"]["name"]);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE).to_owned();
        let tenant = tenant();
        let labels =
            |value: &Value| -> BTreeMap<String, String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        let spec = &object["spec"];
        match object["kind"].as_str().unwrap_or(if spec["containers"].is_null() { "Node" } else { "Pod" }) {
            "Pod" => self.create_pod(object, false),
            "Node" => self.put_node(object.clone()),
            "Namespace" => {
                let labels = Some(labels(&object["metadata"]["labels"]));
                self.apply(Event::Namespace { tenant, name, labels });
            }
            "Service" => {
                let selector = spec["selector"].is_object().then(|| labels(&spec["selector"]));
                self.apply(Event::Service { tenant, namespace, name, selector });
            }
            "PodDisruptionBudget" => {
                let budget = Budget {
                    selector: PodSelector::of(Some(&spec["selector"])),
                    disruptions_allowed: object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0),
                    disrupted: Vec::new(),
                };
                self.apply(Event::Budget { tenant, namespace, name, budget: Some(budget) });
            }
            "PriorityClass" => self.priority_classes.push(object.clone()),
            "RuntimeClass" => self.runtime_classes.push(object.clone()),
            kind => {
                let events = self.storage.create(kind, object);
                self.apply_all(events);
            }
        }
    }

    /// Makes a pod that runs on its node.
    pub fn run(&mut self, pod: &Value) {
        self.create_pod(pod, true);
    }

    pub fn change(&mut self, change: &Value) {
        if let Some(object) = change.get("create") {
            self.create(object);
        } else if let Some(pod) = change.get("run") {
            self.run(pod);
        } else if let Some(of) = change.get("delete") {
            match of["kind"].as_str() {
                Some("Node") => {
                    self.nodes.remove(&text(&of["name"]));
                    self.apply(Event::Node { name: text(&of["name"]), node: None });
                }
                Some("Pod") if change["graceful"] == true => self.delete(&key_of(of), false),
                Some("Pod") => self.remove_pod(&key_of(of)),
                Some(kind) => {
                    let events = self.storage.delete(kind, &text(&of["name"]));
                    self.apply_all(events);
                }
                None => {}
            }
        } else if let Some(of) = change.get("patch") {
            let mut object = self.object(of);
            merge(&mut object, &change["body"], change["type"] == "strategic");
            match of["kind"].as_str() {
                Some("Node") => self.put_node(object),
                Some("Pod") => self.put_pod(&key_of(of), object),
                _ => {}
            }
        } else if let Some(bind) = change.get("bind") {
            let mut pod = self.object(&json!({"kind": "Pod", "name": bind["pod"]}));
            pod["spec"]["nodeName"] = bind["node"].clone();
            self.put_pod(&key_of(&json!({"name": bind["pod"]})), pod);
        } else if let Some(claim) = change.get("claim") {
            let events = self.storage.bind(&text(claim), &text(&change["volume"]));
            self.apply_all(events);
        } else if change.get("sleep").is_some() {
            self.schedule();
        }
    }

    /// Lets the scheduler work, time pass and deleted pods end until nothing changes any more.
    pub fn settle(&mut self) {
        let deadline = self.now.plus(PATIENCE);
        for _ in 0..ROUNDS_MAX {
            self.schedule();
            if self.terminate && self.end_deleted() {
                continue;
            }
            match self.state.next_time().filter(|&next| next <= deadline) {
                Some(next) => self.now = self.now.plus(next.since(self.now)),
                None => {
                    self.now = deadline;
                    return;
                }
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets the scheduler decide on what waits now.
    pub fn schedule(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.now = self.now.plus(Duration::from_millis(1));
            let Some(actions) = self.state.schedule_next(self.now, &mut self.rng) else { return };
            self.act(actions);
        }
        panic!("the scheduler does not come to rest");
    }

    pub fn verdict(&self, name: &str) -> Value {
        let Some(pod) = self.pods.iter().find(|((_, n), _)| n == name).map(|(_, pod)| pod) else {
            return json!({"gone": true});
        };
        let mut verdict = json!({});
        let condition = condition(pod, "PodScheduled");
        if pod["spec"]["nodeName"].is_string() {
            verdict["node"] = pod["spec"]["nodeName"].clone();
        } else if condition["status"] == "False" {
            let kind = match condition["reason"].as_str() {
                Some("Unschedulable") => "unschedulable",
                Some("SchedulingGated") => "gated",
                _ => "error",
            };
            verdict[kind] = json!(true);
            verdict["message"] = condition["message"].clone();
        } else {
            verdict["untouched"] = json!(true);
        }
        let nominated = match verdict["node"].as_str() {
            Some(_) => self.nominated.get(name).map(String::as_str).unwrap_or_default(),
            None => pod["status"]["nominatedNodeName"].as_str().unwrap_or_default(),
        };
        verdict["nominatedNode"] = json!(nominated);
        verdict
    }

    pub fn evicted(&self, since: usize) -> Vec<String> {
        let mut names: Vec<String> = self.evicted[since..].iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Reason and message of a victim's condition.
    pub fn disruption(&self, victim: &str) -> Value {
        let found = self.evicted.iter().rev().find(|(name, _)| name == victim);
        found.map_or(Value::Null, |(_, condition)| json!([condition["reason"], condition["message"]]))
    }

    pub fn object(&self, of: &Value) -> Value {
        let found = match of["kind"].as_str() {
            Some("Node") => self.nodes.get(&text(&of["name"])),
            Some(kind @ ("PersistentVolume" | "PersistentVolumeClaim")) => self.storage.get(kind, &text(&of["name"])),
            _ => self.pods.get(&key_of(of)),
        };
        found.cloned().unwrap_or_default()
    }

    fn create_pod(&mut self, pod: &Value, running: bool) {
        let mut pod = pod.clone();
        self.uids += 1;
        pod["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
        pod["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        if pod["spec"]["schedulerName"].is_null() {
            pod["spec"]["schedulerName"] = json!("default-scheduler");
        }
        let class = |classes: &[Value], name: &Value| classes.iter().find(|c| c["metadata"]["name"] == *name).cloned();
        let named = class(&self.priority_classes, &pod["spec"]["priorityClassName"]);
        let default = || self.priority_classes.iter().find(|c| c["globalDefault"] == true).cloned();
        if let Some(class) = named.or_else(default) {
            pod["spec"]["priority"] = class["value"].clone();
            pod["spec"]["preemptionPolicy"] = class["preemptionPolicy"].clone();
        }
        if let Some(class) = class(&self.runtime_classes, &pod["spec"]["runtimeClassName"]) {
            pod["spec"]["overhead"] = class["overhead"]["podFixed"].clone();
        }
        let mut status = json!({"phase": "Pending"});
        if running {
            status = json!({"phase": "Running", "startTime": self.now.to_string()});
        }
        merge(&mut status, &pod["status"], false);
        pod["status"] = status;
        self.now = self.now.plus(Duration::from_secs(1));
        self.put_pod(&key_of(&pod["metadata"]), pod);
    }

    fn put_pod(&mut self, key: &(String, String), object: Value) {
        let pod: Pod = serde_json::from_value(object.clone()).expect("a pod of a recording can be read");
        self.pods.insert(key.clone(), object);
        self.apply(Event::Pod { key: pod_key(key), pod: Some(Arc::new(pod)) });
    }

    fn put_node(&mut self, mut object: Value) {
        if object["status"]["allocatable"].is_null() {
            object["status"]["allocatable"] = object["status"]["capacity"].clone();
        }
        let node: Node = serde_json::from_value(object.clone()).expect("a node of a recording can be read");
        let name = text(&object["metadata"]["name"]);
        self.nodes.insert(name.clone(), object);
        self.apply(Event::Node { name, node: Some(Arc::new(node)) });
    }

    fn remove_pod(&mut self, key: &(String, String)) {
        if self.pods.remove(key).is_some() {
            self.apply(Event::Pod { key: pod_key(key), pod: None });
        }
    }

    /// As the API deletes a pod: at once if nothing holds it.
    fn delete(&mut self, key: &(String, String), by_scheduler: bool) {
        let Some(mut pod) = self.pods.get(key).cloned() else { return };
        if by_scheduler && pod["metadata"]["deletionTimestamp"].is_null() {
            self.evicted.push((key.1.clone(), condition(&pod, "DisruptionTarget")));
        }
        let at_once = pod["spec"]["nodeName"].is_null() || pod["spec"]["terminationGracePeriodSeconds"] == 0;
        if at_once && pod["metadata"]["finalizers"].is_null() {
            return self.remove_pod(key);
        }
        pod["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
        self.put_pod(key, pod);
    }

    /// Ends the pods that are being deleted. True if there were any.
    fn end_deleted(&mut self) -> bool {
        let deleted = |(_, pod): &(&(String, String), &Value)| {
            pod["metadata"]["deletionTimestamp"].is_string() && pod["spec"]["nodeName"].is_string()
        };
        let deleted: Vec<(String, String)> = self.pods.iter().filter(deleted).map(|(key, _)| key.clone()).collect();
        for key in &deleted {
            self.remove_pod(key);
        }
        !deleted.is_empty()
    }

    fn apply(&mut self, event: Event) {
        let actions = self.state.apply(event, self.now);
        self.act(actions);
    }

    fn apply_all(&mut self, changes: Vec<StorageChange>) {
        for change in changes {
            self.apply(Event::Storage(change));
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Bind { key, node, .. } => {
                    let key = name_of(&key);
                    let mut pod = self.pods[&key].clone();
                    pod["spec"]["nodeName"] = json!(&*node);
                    set_condition(&mut pod, json!({"type": "PodScheduled", "status": "True"}));
                    self.put_pod(&key, pod);
                }
                Action::Prepare { writes, .. } => {
                    let changes = writes.iter().flat_map(|write| self.storage.write(write)).collect();
                    self.apply_all(changes);
                }
                Action::Report { key, report, .. } => {
                    let key = name_of(&key);
                    let Some(mut pod) = self.pods.get(&key).cloned() else { continue };
                    if let Some((reason, message)) = report.condition {
                        let told =
                            json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
                        set_condition(&mut pod, told);
                    }
                    if let Some(nominated) = report.nominated {
                        pod["status"]["nominatedNodeName"] = json!(&*nominated);
                        if !nominated.is_empty() {
                            self.nominated.entry(key.1.clone()).or_insert(nominated.to_string());
                        }
                    }
                    self.put_pod(&key, pod);
                }
                Action::Evict { victims, .. } => {
                    for (victim, _) in victims {
                        let key = name_of(&victim);
                        let Some(mut pod) = self.pods.get(&key).cloned() else { continue };
                        if pod["metadata"]["deletionTimestamp"].is_null() {
                            set_condition(&mut pod, crate::effects::disruption("default-scheduler"));
                            self.put_pod(&key, pod);
                            self.delete(&key, true);
                        }
                    }
                }
            }
        }
    }
}

pub fn tenant() -> TenantName {
    TenantName::new("acme").expect("a tenant's name")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn key_of(metadata: &Value) -> (String, String) {
    (metadata["namespace"].as_str().unwrap_or(NAMESPACE).to_owned(), text(&metadata["name"]))
}

fn pod_key((namespace, name): &(String, String)) -> PodKey {
    PodKey::new(&tenant(), namespace, name)
}

fn name_of(key: &PodKey) -> (String, String) {
    (key.namespace.to_string(), key.name.to_string())
}

fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

fn set_condition(pod: &mut Value, condition: Value) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != condition["type"]);
    conditions.push(condition);
    pod["status"]["conditions"] = conditions.into();
}

/// A merge patch; `by_name` also merges lists whose elements have names.
fn merge(object: &mut Value, patch: &Value, by_name: bool) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            for (name, value) in fields {
                if value.is_null() {
                    object.as_object_mut().expect("it is one now").remove(name);
                } else {
                    merge(&mut object[name], value, by_name);
                }
            }
        }
        Value::Array(elements) if by_name && elements.iter().all(|e| e["name"].is_string()) => {
            let mut merged = object.as_array().cloned().unwrap_or_default();
            for element in elements {
                match merged.iter_mut().find(|e| e["name"] == element["name"]) {
                    Some(existing) => merge(existing, element, true),
                    None => merged.push(element.clone()),
                }
            }
            *object = merged.into();
        }
        Value::Null => {}
        other => *object = other.clone(),
    }
}
