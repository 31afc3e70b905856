//! The benchmark of the API: create, update, get, list, watch.

use crate::connection::{Connection, Error, Target, text};
use crate::measure::Meter;
use crate::objects::Objects;
use crate::report::{Report, Row};
use crate::{Cli, Kind, watch};
use bytes::Bytes;
use client::Kubeconfig;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Server CPU per operation, and the time to a list's first byte: the budgets of the design.
const BUDGET_CREATE: Duration = Duration::from_micros(60);
const BUDGET_UPDATE: Duration = Duration::from_micros(70);
const BUDGET_GET: Duration = Duration::from_micros(20);
const BUDGET_DELIVER: Duration = Duration::from_nanos(1500);
const BUDGET_LIST: Duration = Duration::from_millis(8);
const BUDGET_LIST_OBJECTS: usize = 10_000;
const BUDGET_FIRST_BYTE: Duration = Duration::from_millis(1);

/// Durable creates per second over HTTPS, with the client on the same two cores.
const BUDGET_CREATES: f64 = 20_000.0;

/// What is sent for an object. To a config map a server adds about 120 bytes, so that 10,000 listed ones are 15 MB.
const OBJECT_BYTES: usize = 1024;
const LISTED_OBJECT_BYTES: usize = 1380;

/// A hundredth of a second is the finest that CPU is told in: lists are repeated until it is little against all.
const LISTS_MIN: usize = 20;

/// Watches on one connection: below what servers allow.
const WATCHES_PER_CONNECTION: usize = 50;

/// A namespace takes pods once its service account is there.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Runs all of it on the server of a kubeconfig; `pid` is its process.
pub async fn run(args: &Cli, kubeconfig: &Path, pid: Option<u32>) -> Result<Report, Error> {
    let target = Target::new(&Kubeconfig::read(kubeconfig).map_err(text)?, args.http1)?;
    let mut drivers = JoinSet::new();
    let mut control = target.connect(&mut drivers).await?;
    let run = format!("perf-{}", std::process::id());
    let mut namespaces = Vec::new();
    for part in ["load", "list", "watch"] {
        let namespace = format!("{run}-{part}");
        let body = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{namespace}"}}}}"#);
        control.fetch(target.request(Method::POST, "/api/v1/namespaces", body.into())?).await?;
        namespaces.push(namespace);
    }
    let of = |namespace: &String, size| Objects { kind: args.kind, namespace: namespace.clone(), size };
    let mut load = Load { target: &target, handles: Vec::new(), pid };
    for _ in 0..args.connections.max(1) {
        load.handles.extend(target.connect(&mut drivers).await?.handles(args.concurrency));
    }
    let written = of(&namespaces[0], OBJECT_BYTES);
    let listed = of(&namespaces[1], LISTED_OBJECT_BYTES);
    let watched = of(&namespaces[2], OBJECT_BYTES);
    for objects in [&written, &listed, &watched] {
        load.until_accepted(&mut control, objects).await;
    }
    let (create, created) = load.create(&written, args.duration()).await?;
    let update = load.update(&written, created, args.duration()).await?;
    let get = load.get(&written, created, args.duration()).await?;
    load.fill(&listed, "list", args.objects).await?;
    let list = load.list(&mut control, &listed, args).await?;
    let watch = load.watch(&mut control, &mut drivers, &watched, args).await?;
    for namespace in namespaces {
        let path = format!("/api/v1/namespaces/{namespace}");
        control.fetch(target.request(Method::DELETE, &path, Bytes::new())?).await?;
    }
    let protocol = if args.http1 { "HTTP/1.1" } else { "HTTP/2" };
    let kind = if args.kind == Kind::Pods { "pods" } else { "config maps" };
    let setting = format!(
        "{kind} of {OBJECT_BYTES} bytes over {protocol} and TLS, {} connections, {} requests at a time",
        args.connections,
        load.handles.len()
    );
    Ok(Report { start: None, rows: vec![create, update, get, list, watch], setting })
}

/// The connections that make the load, and the process that bears it.
struct Load<'a> {
    target: &'a Target,
    handles: Vec<Connection>,
    pid: Option<u32>,
}

impl Load<'_> {
    /// Waits until a namespace takes objects, with one that is part of nothing.
    async fn until_accepted(&self, control: &mut Connection, objects: &Objects) {
        kit::wait_for("the namespace to take objects", READY_WITHIN, async || {
            let request = self.target.request(Method::POST, &objects.collection(), objects.body("first", 0))?;
            control.fetch(request).await
        })
        .await;
    }

    async fn create(&mut self, objects: &Objects, duration: Duration) -> Result<(Row, usize), Error> {
        let target = self.target;
        let request = |number| target.request(Method::POST, &objects.collection(), objects.body("load", number));
        let row = self.repeat("create", BUDGET_CREATE, Limit::Time(duration), request).await?;
        let created = row.operations;
        Ok((Row { rate_budget: Some(BUDGET_CREATES), ..row }, created))
    }

    /// Replaces created objects, whatever their version, with what they were.
    async fn update(&mut self, objects: &Objects, created: usize, duration: Duration) -> Result<Row, Error> {
        let target = self.target;
        // Each round over them differs from the one before: what changes nothing is not written.
        let shorter = Objects { size: objects.size - 1, ..objects.clone() };
        let request = |number: usize| {
            let (round, number) = (number / created.max(1), number % created.max(1));
            let body = if round % 2 == 0 { &shorter } else { objects }.body("load", number);
            target.request(Method::PUT, &objects.path("load", number), body)
        };
        self.repeat("update", BUDGET_UPDATE, Limit::Time(duration), request).await
    }

    async fn get(&mut self, objects: &Objects, created: usize, duration: Duration) -> Result<Row, Error> {
        let target = self.target;
        // A stride that is coprime to most counts visits the objects in no order that a cache could like.
        let request = |number: usize| {
            let path = objects.path("load", number.wrapping_mul(7919) % created.max(1));
            target.request(Method::GET, &path, Bytes::new())
        };
        self.repeat("get", BUDGET_GET, Limit::Time(duration), request).await
    }

    /// Creates a number of objects, unmeasured.
    async fn fill(&mut self, objects: &Objects, prefix: &str, count: usize) -> Result<Row, Error> {
        let target = self.target;
        let request = |number| target.request(Method::POST, &objects.collection(), objects.body(prefix, number));
        self.repeat("fill", BUDGET_CREATE, Limit::Count(count), request).await
    }

    async fn list(&mut self, control: &mut Connection, objects: &Objects, args: &Cli) -> Result<Row, Error> {
        let lists = if args.tiny { 3 } else { LISTS_MIN };
        let (mut latencies, mut first_bytes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let meter = Meter::start(self.pid);
        let started = Instant::now();
        while latencies.len() < lists || (started.elapsed() < args.duration() && !args.tiny) {
            let start = Instant::now();
            let request = self.target.request(Method::GET, &objects.collection(), Bytes::new())?;
            let mut body = control.send(request).await?.into_body();
            bytes = 0;
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(text)?.into_data() {
                    if bytes == 0 {
                        first_bytes.push(start.elapsed());
                    }
                    bytes += data.len();
                }
            }
            latencies.push(start.elapsed());
        }
        Ok(Row {
            name: "list",
            operations: latencies.len(),
            spent: meter.stop(),
            latencies,
            first_bytes,
            budget: BUDGET_LIST.mul_f64(args.objects as f64 / BUDGET_LIST_OBJECTS as f64),
            rate_budget: None,
            first_byte_budget: Some(BUDGET_FIRST_BYTE),
            note: format!("{} objects, {:.1} MB", args.objects + 1, bytes as f64 / 1e6),
        })
    }

    /// Creates the same number of objects unwatched and watched; the difference is what delivering costs.
    async fn watch(
        &mut self,
        control: &mut Connection,
        drivers: &mut JoinSet<()>,
        objects: &Objects,
        args: &Cli,
    ) -> Result<Row, Error> {
        let unwatched = self.fill(objects, "unseen", args.events).await?.spent;
        let version = self.version(control, objects).await?;
        let mut handles = Vec::new();
        while handles.len() < args.watchers.max(1) {
            let left = args.watchers.max(1) - handles.len();
            handles.extend(self.target.connect(drivers).await?.handles(left.min(WATCHES_PER_CONNECTION)));
        }
        let mut bodies = Vec::new();
        for handle in &mut handles {
            bodies.push(watch::open(self.target, handle, &objects.collection(), &version).await?);
        }
        let sampled = bodies.pop().ok_or("there is no watcher")?;
        let counting = try_join_all(bodies.into_iter().map(|body| watch::count(body, args.events)));
        let sent = RefCell::new(vec![None; args.events]);
        let target = self.target;
        let request = |number: usize| {
            sent.borrow_mut()[number] = Some(Instant::now());
            target.request(Method::POST, &objects.collection(), objects.body("seen", number))
        };
        let meter = Meter::start(self.pid);
        let creating = self.repeat("watched", BUDGET_CREATE, Limit::Count(args.events), request);
        let (_, counts, arrivals) =
            tokio::try_join!(creating, counting, watch::arrivals(sampled, "seen", args.events))?;
        let mut spent = meter.stop();
        let delivered = counts.iter().sum::<usize>() + arrivals.len();
        let expected = args.events * (counts.len() + 1);
        if delivered != expected {
            return Err(format!("the watchers got {delivered} of {expected} events"));
        }
        spent.cpu = spent.cpu.zip(unwatched.cpu).map(|(all, creating)| all.saturating_sub(creating));
        let sent = sent.into_inner();
        let latency = |(number, at): &(usize, Instant)| Some(at.duration_since(sent[*number]?));
        Ok(Row {
            name: "watch",
            operations: delivered,
            spent,
            latencies: arrivals.iter().filter_map(latency).collect(),
            first_bytes: Vec::new(),
            budget: BUDGET_DELIVER,
            rate_budget: None,
            first_byte_budget: None,
            note: format!("{} watchers of {} creates; latency from the create's start", args.watchers, args.events),
        })
    }

    /// The version of a collection now.
    async fn version(&self, control: &mut Connection, objects: &Objects) -> Result<String, Error> {
        let path = format!("{}?limit=1", objects.collection());
        let list = control.fetch(self.target.request(Method::GET, &path, Bytes::new())?).await?;
        let list: Value = serde_json::from_slice(&list).map_err(text)?;
        list["metadata"]["resourceVersion"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "a list has no version".to_owned())
    }

    /// Sends requests on all handles, the next on each as soon as the one before is answered.
    async fn repeat(
        &mut self,
        name: &'static str,
        budget: Duration,
        limit: Limit,
        request: impl Fn(usize) -> Result<http::Request<http_body_util::Full<Bytes>>, Error>,
    ) -> Result<Row, Error> {
        let next = Cell::new(0);
        let latencies = RefCell::new(Vec::new());
        let meter = Meter::start(self.pid);
        let started = Instant::now();
        let worker = async |handle: &mut Connection| {
            while limit.allows(next.get(), started) {
                let number = next.replace(next.get() + 1);
                let start = Instant::now();
                handle.fetch(request(number)?).await?;
                latencies.borrow_mut().push(start.elapsed());
            }
            Ok::<(), Error>(())
        };
        try_join_all(self.handles.iter_mut().map(worker)).await?;
        let spent = meter.stop();
        let latencies = latencies.into_inner();
        Ok(Row {
            name,
            operations: latencies.len(),
            spent,
            latencies,
            first_bytes: Vec::new(),
            budget,
            rate_budget: None,
            first_byte_budget: None,
            note: String::new(),
        })
    }
}

/// How long requests are sent.
#[derive(Clone, Copy)]
enum Limit {
    Time(Duration),
    Count(usize),
}

impl Limit {
    fn allows(self, sent: usize, started: Instant) -> bool {
        match self {
            Limit::Time(duration) => started.elapsed() < duration,
            Limit::Count(count) => sent < count,
        }
    }
}
