//! Creates and deletes the pods of one owner, tells the user, and notes what is to be seen of it.
//!
//! Guarantees that a refusal which meets all pods costs few requests, and that what is already gone is no error.

use super::expectations::Expectations;
use crate::context::Context;
use crate::recorder::{Event, Involved, Severity};
use crate::view::Pod;
use api::{Error, Result};
use client::{DeleteParams, ObjectRef, PODS};
use futures::future::join_all;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// What changes the number of an owner's pods.
pub struct PodControl<'a> {
    pub context: &'a Context,
    pub expectations: &'a Expectations,
    /// The owner.
    pub about: Involved,
}

impl PodControl<'_> {
    /// Creates one, then two, then four … at a time, and stops at the first batch of which one is refused. Returns how
    /// many there are, and the refusal. That the namespace is going is none.
    pub async fn create<'p>(&self, count: usize, pod: impl Fn(usize) -> Cow<'p, Value>) -> (usize, Result<()>) {
        let (key, uid) = (&self.about.key, &self.about.uid);
        let client = self.context.client(key);
        self.expectations.expect_creations(uid, count);
        let (mut begun, mut made, mut batch) = (0, 0, 1);
        while begun < count {
            batch = batch.min(count - begun);
            let creations = (begun..begun + batch).map(|i| {
                let (client, pod) = (&client, pod(i));
                async move { client.create(PODS, &key.namespace, &pod).await }
            });
            begun += batch;
            let mut refused = None;
            for outcome in join_all(creations).await {
                match outcome {
                    Ok(pod) => {
                        made += 1;
                        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                        self.record(Severity::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                    }
                    Err(error) => {
                        self.expectations.saw_creations(uid, 1);
                        refused = Some(error);
                    }
                }
            }
            if let Some(error) = refused {
                self.expectations.saw_creations(uid, count - begun);
                if super::is_namespace_gone(&error) {
                    return (made, Ok(()));
                }
                self.record(Severity::Warning, "FailedCreate", format!("Error creating: {error}"));
                return (made, Err(error));
            }
            batch *= 2;
        }
        (made, Ok(()))
    }

    /// Deletes exactly these pods, all at once. Returns how many, and a refusal.
    pub async fn delete(&self, victims: &[Arc<Pod>]) -> (usize, Result<()>) {
        let (key, uid) = (&self.about.key, &self.about.uid);
        let client = self.context.client(key);
        self.expectations.expect_deletions(uid, victims.iter().map(|p| p.metadata.uid.clone()));
        let deletions = victims.iter().map(|pod| {
            let client = &client;
            async move {
                let exactly = DeleteParams::of_uid(&pod.metadata.uid);
                (pod, client.delete(PODS, &key.namespace, &pod.metadata.name, &exactly).await)
            }
        });
        let (mut gone, mut refused) = (0, Ok(()));
        for (pod, outcome) in join_all(deletions).await {
            match outcome {
                Ok(()) => {
                    gone += 1;
                    let name = &pod.metadata.name;
                    self.record(Severity::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                }
                Err(error) => {
                    self.expectations.saw_deletion(uid, &pod.metadata.uid);
                    // Gone already, or another pod of the same name: as was wanted.
                    if !error.is_not_found() && !error.is_conflict() {
                        self.record(Severity::Warning, "FailedDelete", format!("Error deleting: {error}"));
                        refused = Err(error);
                    }
                }
            }
        }
        (gone, refused)
    }

    /// Tells the user something about the owner.
    pub fn record(&self, severity: Severity, reason: &'static str, message: String) {
        self.context.recorder.record(Event { about: self.about.clone(), severity, reason, message });
    }
}

/// Why the number of pods could not be changed as planned.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub error: Error,
}

/// The key of the object that controls a pod, if it is of this kind, and its uid.
pub fn controller_of(pod: &Pod, kind: &str) -> Option<(ObjectRef, String)> {
    let reference = pod.metadata.controller().filter(|o| o.kind == kind)?;
    Some((pod.metadata.sibling(&reference.name), reference.uid.clone()))
}
