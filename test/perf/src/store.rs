//! The store at its own interface, beside etcd in the same run: durable writes per second, what a start with many objects
//! takes, and what objects and watchers weigh. Each part is a process of its own, so that its memory and CPU are its own.

use crate::connection::{Error, text};
use crate::figures::Figures;
use crate::measure::{Meter, memory_of, micros, millis, percentile};
use api::selector::{FieldSelector, LabelSelector, Selector};
use api::{Object, ObjectKey, ResourceId, Space, TenantName};
use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use kit::{Etcd, Scratch};
use serde_json::json;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use store::{Change, Class, EtcdOptions, Expect, Limits, Partition, Scope, Store, Version, Write};

/// The goals of the specification.
const BUDGET_PUTS: f64 = 150_000.0;
const BUDGET_START: Duration = Duration::from_secs(3);
const BUDGET_START_OBJECTS: f64 = 1_000_000.0;
const BUDGET_MEMORY: f64 = 1.5;
const BUDGET_WATCHER: f64 = 2.0;

const OBJECT_BYTES: usize = 1024;

/// Writes under way at a time, and the objects that they are of.
const COMMITTERS: usize = 4096;
const KEYS: usize = 50_000;

/// Objects that are made in one transaction where nothing is measured.
const FILL_AT_ONCE: usize = 1000;

const EVENTS: usize = 1000;

/// How much of everything.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Objects that a start has to read
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// How long objects are written, to each engine
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Watchers of a node's objects each
    #[arg(long, default_value_t = 100_000)]
    watchers: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// One part alone, in this directory
    #[arg(long, hide = true, requires = "dir")]
    part: Option<Part>,
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Puts,
    Etcd,
    Fill,
    Start,
    Watchers,
}

/// Measures all parts, or the one that is asked for.
pub async fn run(args: &StoreArgs) -> Result<Figures, Error> {
    if let Some((part, dir)) = args.part.zip(args.dir.as_deref()) {
        return run_part(part, dir, args).await;
    }
    let scratch = Scratch::new();
    let mut all = Figures::new(format!("store, objects of {OBJECT_BYTES} bytes"));
    for part in [Part::Puts, Part::Etcd, Part::Fill, Part::Start, Part::Watchers] {
        if part == Part::Etcd && !Etcd::is_installed() {
            continue;
        }
        // What is filled is what is started with.
        let dir = scratch.join(if part == Part::Start { "fill" } else { name(part) });
        let told = apart(part, &dir, args)?;
        all.figures.extend(told.figures);
        all.faults.extend(told.faults);
    }
    Ok(all)
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Puts => "puts",
        Part::Etcd => "etcd",
        Part::Fill => "fill",
        Part::Start => "start",
        Part::Watchers => "watchers",
    }
}

/// Runs a part as a process of its own.
fn apart(part: Part, dir: &Path, args: &StoreArgs) -> Result<Figures, Error> {
    let mut command = Command::new(std::env::current_exe().map_err(text)?);
    command.args(["store", "--json", "--part", name(part), "--dir"]).arg(dir);
    command.args(["--objects", &args.objects.to_string(), "--seconds", &args.seconds.to_string()]);
    command.args(["--watchers", &args.watchers.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().map_err(text)?;
    if output.stdout.is_empty() {
        return Err(format!("the part {} ended with {}", name(part), output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(text)
}

async fn run_part(part: Part, dir: &Path, args: &StoreArgs) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    if part == Part::Etcd {
        let etcd = Etcd::start(1, &[]).await;
        let opened = Partition::etcd(EtcdOptions::new(etcd.urls()), fields, Limits::default()).await;
        let store = Store::from(opened.map_err(text)?);
        puts(&store, args, ("through etcd", None), &mut figures).await?;
        store.close().await;
        return Ok(figures);
    }
    let (began, before) = (Instant::now(), memory_of(std::process::id()));
    let store = Store::open(dir, fields, Limits::default()).map_err(text)?;
    let opened = began.elapsed();
    match part {
        Part::Puts => puts(&store, args, ("embedded", Some(BUDGET_PUTS)), &mut figures).await?,
        Part::Fill => fill(&store, args.objects).await?,
        Part::Start => started(&store, opened, before, &mut figures),
        Part::Watchers => watchers(&store, args.watchers, &mut figures).await?,
        Part::Etcd => unreachable!("it was measured above"),
    }
    store.close().await;
    Ok(figures)
}

/// Durable writes, many at a time.
async fn puts(
    store: &Store,
    args: &StoreArgs,
    (engine, budget): (&str, Option<f64>),
    figures: &mut Figures,
) -> Result<(), Error> {
    let writes: Vec<Write> = (0..KEYS).map(|number| write(number, Class::Durable)).collect();
    let lasts = Duration::from_secs_f64(args.seconds.clamp(0.01, 3600.0));
    let (meter, began, next) = (Meter::start(Some(std::process::id())), Instant::now(), Cell::new(0));
    let committer = async || {
        let mut latencies = Vec::new();
        while began.elapsed() < lasts {
            let number = next.replace(next.get() + 1);
            let began = Instant::now();
            store.commit(vec![writes[number % KEYS].clone()]).await.map_err(text)?;
            latencies.push(began.elapsed());
        }
        Ok::<_, Error>(latencies)
    };
    let mut latencies = try_join_all((0..COMMITTERS).map(|_| committer())).await?.concat();
    let spent = meter.stop();
    let count = latencies.len() as f64;
    figures.add(format!("durable puts, {engine}"), count / spent.wall.as_secs_f64(), "/s", budget);
    figures.add(format!("put p99, {engine}"), millis(percentile(&mut latencies, 0.99)), "ms", None);
    if let Some(cpu) = spent.cpu {
        figures.add(format!("CPU of a put, {engine}"), micros(cpu) / count, "µs", None);
    }
    Ok(())
}

async fn fill(store: &Store, objects: usize) -> Result<(), Error> {
    for first in (0..objects).step_by(FILL_AT_ONCE) {
        let writes = (first..objects.min(first + FILL_AT_ONCE)).map(|number| write(number, Class::Relaxed));
        store.commit(writes.collect()).await.map_err(text)?;
    }
    Ok(())
}

fn started(store: &Store, opened: Duration, before: Option<u64>, figures: &mut Figures) {
    let stats = store.stats();
    let share = stats.objects as f64 / BUDGET_START_OBJECTS;
    figures.add(format!("start with {} objects", stats.objects), millis(opened), "ms", millis(BUDGET_START) * share);
    if let Some((before, after)) = before.zip(memory_of(std::process::id())) {
        let memory = after.saturating_sub(before) as f64;
        figures.add("memory of a byte stored", memory / stats.bytes as f64, "B", BUDGET_MEMORY);
        figures.add("memory of an object stored", memory / stats.objects as f64, "B", None);
    }
}

/// Watchers, each of one node's objects, and what one of them costs those who write.
async fn watchers(store: &Store, count: usize, figures: &mut Figures) -> Result<(), Error> {
    let before = memory_of(std::process::id());
    let watch = |number: usize| {
        let fields = FieldSelector::parse(&format!("spec.nodeName=node-{number}")).map_err(text)?;
        let selector = Selector { labels: LabelSelector::default(), fields };
        store.watch(&Scope::AllTenants(pods()), &selector, &Version::At(store.revision())).map_err(text)
    };
    let mut watches = (0..count).map(watch).collect::<Result<Vec<_>, Error>>()?;
    if let Some((before, after)) = before.zip(memory_of(std::process::id())) {
        let each = after.saturating_sub(before) as f64 / 1024.0 / count as f64;
        figures.add("memory of a watcher", each, "KiB", BUDGET_WATCHER);
    }
    let meter = Meter::start(Some(std::process::id()));
    for _ in 0..EVENTS {
        store.commit(vec![write(0, Class::Relaxed)]).await.map_err(text)?;
        watches[0].next().await.map_err(text)?;
    }
    if let Some(cpu) = meter.stop().cpu {
        let each = micros(cpu) / EVENTS as f64;
        figures.add(format!("CPU of a put that one of {count} watchers is told of"), each, "µs", None);
    }
    Ok(())
}

/// A pod of as many bytes as are measured, on a node of its own.
fn write(number: usize, class: Class) -> Write {
    let tenant = Space::Tenant(TenantName::new("acme").expect("it is a name"));
    let name = format!("web-{number}");
    let key = ObjectKey::new(pods(), tenant, "default", &name).expect("it is a name");
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "spec": {"nodeName": format!("node-{number}")},
        "metadata": {"name": name, "uid": "5f0c9f0e-6c1b-4b43-9f0e-000000000000", "labels": {"app": "web", "tier": "a"}},
    });
    // The version and the annotation around the padding take the rest.
    let padding = OBJECT_BYTES.saturating_sub(value.to_string().len() + 60);
    value["metadata"]["annotations"] = json!({"padding": "x".repeat(padding)});
    let object = Object::encode(key.clone(), &mut value, fields(&key.resource)).expect("it is an object");
    Write { key, expect: Expect::Any, change: Change::Put(object), class }
}

fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

fn fields(_: &ResourceId) -> &'static [&'static str] {
    &["spec.nodeName", "status.phase"]
}
