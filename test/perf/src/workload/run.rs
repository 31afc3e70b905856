//! Runs a workload on a server and nodes of its own.

use super::check;
use super::report::Outcome;
use super::spec::{Step, Workload};
use crate::connection::{Connection, Error, Target, text};
use crate::figures::Figures;
use crate::measure::{Meter, memory_of};
use bytes::Bytes;
use client::Kubeconfig;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kit::{HollowNodes, Options, Server};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections that create, and requests under way on each.
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 24;

/// Nodes register at least this fast, and pods are bound at least this fast, or something is broken.
const NODES_PER_SECOND_MIN: usize = 100;
const SILENCE_MAX: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(workload: &Workload) -> Result<Figures, Error> {
    let server = Server::start(Options::without_node()).await;
    let count = workload.nodes.count.to_string();
    // What the nodes do with pods is not what is measured, unless the file says otherwise.
    let mut flags = vec!["--count", &count, "--start-after", "1h"];
    flags.extend(workload.nodes.flags.iter().map(String::as_str));
    let nodes = HollowNodes::start(&server, &flags);
    let target = Target::new(&Kubeconfig::read(&server.admin_kubeconfig()).map_err(text)?, false)?;
    let mut drivers = JoinSet::new();
    let mut control = target.connect(&mut drivers).await?;
    wait_for_nodes(&target, &mut control, workload.nodes.count).await?;
    let mut handles = Vec::new();
    for _ in 0..CONNECTIONS {
        handles.extend(target.connect(&mut drivers).await?.handles(REQUESTS));
    }
    // Pods enter the watch when they are bound.
    let path = "/api/v1/pods?watch=true&fieldSelector=spec.nodeName!%3D";
    let mut watch = target.connect(&mut drivers).await?;
    let bound = watch.send(target.request(Method::GET, path, Bytes::new())?).await?.into_body();
    let mut bound = Bound { body: bound, line: Vec::new() };
    let mut outcome = None;
    for step in &workload.steps {
        let meter = Meter::start(Some(server.pid()));
        let began = Instant::now();
        let awaited = if step.makes_pods() { step.count } else { 0 };
        let (created, arrivals) = tokio::try_join!(create(&target, &mut handles, step), bound.arrivals(awaited))?;
        if step.measured {
            let spent = meter.stop();
            let ended = arrivals.values().max().copied().unwrap_or(began);
            let latency = |(name, at): (&String, &Instant)| Some(at.duration_since(*created.get(name)?));
            outcome = Some(Outcome {
                workload: workload.clone(),
                wall: ended.duration_since(began),
                cpu: spent.cpu,
                pods: arrivals.len(),
                latencies: arrivals.iter().filter_map(latency).collect(),
                memory: memory_of(server.pid()),
                misplaced: Vec::new(),
            });
        }
    }
    let mut outcome = outcome.ok_or("no step is measured")?;
    outcome.misplaced = check::misplaced(&server).await?;
    drop(nodes);
    Ok(outcome.figures())
}

async fn wait_for_nodes(target: &Target, control: &mut Connection, wanted: usize) -> Result<(), Error> {
    let deadline = PATIENCE + Duration::from_secs((wanted / NODES_PER_SECOND_MIN) as u64);
    kit::wait_for("the nodes to be registered", deadline, async || {
        let request = target.request(Method::GET, "/api/v1/nodes?limit=1", Bytes::new())?;
        let list: Value = serde_json::from_slice(&control.fetch(request).await?).map_err(text)?;
        let listed = list["items"].as_array().map_or(0, Vec::len);
        let count = listed + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) as usize;
        if count >= wanted { Ok(()) } else { Err(format!("{count} of {wanted}")) }
    })
    .await;
    Ok(())
}

/// Creates the objects of a step; when the request of each began, by name.
async fn create(target: &Target, handles: &mut [Connection], step: &Step) -> Result<HashMap<String, Instant>, Error> {
    let next = Cell::new(0);
    let began = RefCell::new(HashMap::with_capacity(step.count));
    let start = tokio::time::Instant::now();
    let worker = async |handle: &mut Connection| {
        loop {
            let number = next.replace(next.get() + 1);
            if number >= step.count {
                return Ok::<(), Error>(());
            }
            if let Some(rate) = step.rate {
                tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
            }
            let body = step.body(number);
            let request = target.request(Method::POST, &step.path(number), body.into())?;
            let at = Instant::now();
            let answer = handle.fetch(request).await?;
            let name = name(&answer).ok_or_else(|| "an object was created without a name".to_owned())?;
            began.borrow_mut().insert(name, at);
        }
    };
    try_join_all(handles.iter_mut().map(worker)).await?;
    Ok(began.into_inner())
}

/// The first name in an object's JSON, which is its own: the metadata come before everything that has names.
fn name(object: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"\"name\":\"";
    let at = object.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let end = object[at..].iter().position(|&b| b == b'"')? + at;
    String::from_utf8(object[at..end].to_vec()).ok()
}

/// A watch of pods that have a node.
struct Bound {
    body: Incoming,
    line: Vec<u8>,
}

impl Bound {
    /// Reads until as many pods have been bound; when each was, by name.
    async fn arrivals(&mut self, wanted: usize) -> Result<HashMap<String, Instant>, Error> {
        let mut arrived = HashMap::with_capacity(wanted);
        while arrived.len() < wanted {
            let silent = || format!("{} of {wanted} pods were bound, then none for {SILENCE_MAX:?}", arrived.len());
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await.map_err(|_| silent())?;
            let frame = frame.ok_or_else(silent)?.map_err(text)?;
            let Ok(chunk) = frame.into_data() else { continue };
            let now = Instant::now();
            for part in chunk.split_inclusive(|&b| b == b'\n') {
                self.line.extend_from_slice(part);
                if self.line.ends_with(b"\n") {
                    if self.line.starts_with(br#"{"type":"ADDED""#)
                        && let Some(name) = name(&self.line)
                    {
                        arrived.insert(name, now);
                    }
                    self.line.clear();
                }
            }
        }
        Ok(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_is_found_in_its_json() {
        let object =
            br#"{"kind":"Pod","metadata":{"generateName":"a-","name":"a-xyz"},"spec":{"containers":[{"name":"c"}]}}"#;
        assert_eq!(name(object).as_deref(), Some("a-xyz"));
        assert_eq!(name(b"{}"), None);
    }
}
