//! Measures a store on a real disk: opening, commits, memory, watches. Each part runs in a process of its own.
//!
//! `cargo run --release -p store --example measure [directory]`

use api::selector::{FieldSelector, LabelSelector, Selector};
use api::{Object, ObjectKey, ResourceId, Space, TenantName};
use futures::future::join_all;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use store::{Change, Class, Expect, Limits, Scope, Store, Write};

const COMMITTERS: usize = 64;
const COMMITS_EACH: usize = 300;
const OBJECTS: usize = 50_000;
const WATCHERS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [dir, part] => runtime.block_on(run(Path::new(dir), part)),
        [dir] => all(Path::new(dir)),
        _ => all(&std::env::temp_dir()),
    }
}

/// Runs each part in turn, on a directory that is removed afterwards.
fn all(parent: &Path) {
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    if cfg!(debug_assertions) {
        println!("not optimized: only the counts of syncs and bytes mean anything");
    }
    for part in ["open", "commit-durable", "commit-relaxed", "fill", "load", "watch"] {
        let dir = dir.path().join(if part == "load" { "fill" } else { part });
        let program = std::env::current_exe().expect("this program");
        let ended = Command::new(program).arg(&dir).arg(part).status().expect("a process");
        assert!(ended.success(), "{part} failed");
    }
}

async fn run(dir: &Path, part: &str) {
    let (began, memory) = (Instant::now(), resident_bytes());
    let store = Store::open(dir, |_| &["spec.nodeName", "status.phase"], Limits::default()).expect("a store");
    let opened = began.elapsed();
    match part {
        "open" => println!("open, empty: {opened:.1?}, process {} KiB", resident_bytes() / 1024),
        "commit-durable" => commits(&store, Class::Durable).await,
        "commit-relaxed" => commits(&store, Class::Relaxed).await,
        "fill" => fill(&store).await,
        "load" => {
            // The engine compacts when it is opened, and gives that memory back.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let stats = store.stats();
            let each = (resident_bytes() - memory) / stats.objects as u64;
            let size = stats.bytes / stats.objects as u64;
            println!("load: {} objects of {size} bytes in {opened:.1?}, {each} bytes of memory each", stats.objects);
        }
        "watch" => watches(&store).await,
        other => panic!("{other} is no part"),
    }
    store.close().await;
}

async fn commits(store: &Store, class: Class) {
    let (began, cpu, before) = (Instant::now(), cpu_time(), store.stats());
    let committer = async |of: usize| {
        let mut latencies = Vec::new();
        for i in 0..COMMITS_EACH {
            let began = Instant::now();
            put(store, &format!("web-{of}-{i}"), 1024, class).await;
            latencies.push(began.elapsed());
        }
        latencies
    };
    let mut latencies: Vec<Duration> = join_all((0..COMMITTERS).map(committer)).await.into_iter().flatten().collect();
    let (elapsed, after) = (began.elapsed(), store.stats());
    let cpu = cpu_time() - cpu;
    latencies.sort();
    let count = latencies.len();
    println!(
        "commit, {class:?}: {COMMITTERS} at once, 1 KiB: {:.0}/s, CPU {:.1} µs each with encoding, {} syncs for {}, \
         p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        count as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        after.syncs - before.syncs,
        after.commits - before.commits,
        latencies[count / 2],
        latencies[count * 99 / 100],
        latencies[count - 1],
    );
}

async fn fill(store: &Store) {
    for start in (0..OBJECTS).step_by(COMMITTERS) {
        let names: Vec<String> = (start..(start + COMMITTERS).min(OBJECTS)).map(|i| format!("web-{i}")).collect();
        join_all(names.iter().map(|name| put(store, name, 3 * 1024, Class::Relaxed))).await;
    }
}

async fn watches(store: &Store) {
    let memory = resident_bytes();
    let watch = |i: usize| {
        let fields = FieldSelector::parse(&format!("spec.nodeName=node-{i}")).expect("a selector");
        let selector = Selector { labels: LabelSelector::default(), fields };
        store.watch(&Scope::AllTenants(pods()), &selector, &store::Version::At(store.revision())).expect("a watch")
    };
    let mut watches: Vec<_> = (0..WATCHERS).map(watch).collect();
    let each = (resident_bytes() - memory) / WATCHERS as u64;
    let cpu = cpu_time();
    put(store, "web", 1024, Class::Relaxed).await;
    for _ in 0..1000 {
        put(store, "web", 1024, Class::Relaxed).await;
        watches[7].next().await.expect("an event");
    }
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e6 / 1000.0;
    println!("watch: {each} bytes of memory each, {cpu:.1} µs CPU for a commit and its delivery to 1 of {WATCHERS}");
}

async fn put(store: &Store, name: &str, size: usize, class: Class) {
    let tenant = Space::Tenant(TenantName::new("acme").expect("a tenant"));
    let key = ObjectKey::new(pods(), tenant, "default", name).expect("a key");
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "spec": {"nodeName": "node-7"},
        "metadata": {"name": name, "uid": "5f0c9f0e-6c1b-4b43-9f0e-000000000000", "labels": {"app": "web", "tier": "a"}},
    });
    let padding = size.saturating_sub(value.to_string().len() + 20);
    value["padding"] = json!("x".repeat(padding));
    let object = Object::encode(key.clone(), &mut value, &["spec.nodeName", "status.phase"]).expect("an object");
    let write = Write { key, expect: Expect::Any, change: Change::Put(object), class };
    store.commit(vec![write]).await.expect("a commit");
}

fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

/// User and system time of this process, to a clock tick of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let after_name = stat.rsplit(')').next().expect("a name");
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}
