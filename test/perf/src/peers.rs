//! What a request costs more that comes to another API server than the one that serves its tenant: two of them over one
//! etcd cluster, and the CPU of both together, with and without the detour.

use crate::connection::{Connection, Error, Target, text};
use crate::measure::{Meter, Spent};
use crate::objects::Objects;
use crate::report::{Report, Row};
use crate::{Cli, Kind};
use bytes::Bytes;
use client::Kubeconfig;
use futures::future::try_join_all;
use http::Method;
use kit::{Etcd, Options, Server};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// CPU of all servers together, beyond what a request costs without the detour.
const BUDGET_FORWARD: Duration = Duration::from_micros(40);
const BUDGET_GET: Duration = Duration::from_micros(20);

/// What is read again and again.
const OBJECTS: usize = 100;
const OBJECT_BYTES: usize = 1024;

/// Measures on servers and an etcd of its own.
pub async fn run(args: &Cli) -> Result<Report, Error> {
    if !Etcd::is_installed() {
        return Err("etcd is not installed".to_owned());
    }
    let etcd = Etcd::start(1, &[]).await;
    let first = Server::start(Options::without_node().stored_in(&etcd).arg("--service-group-id=1")).await;
    let second = Options::alone().stored_in(&etcd).arg("--service-group-id=2").beside(&first);
    let second = Server::start(second).await;
    first.share_out("m").await;
    let far = first.tenant("zeta").await;
    let near = second.known_tenant("zeta").await;
    let pids = [first.pid(), second.pid()];
    let objects = Objects { kind: Kind::Configmaps, namespace: "default".to_owned(), size: OBJECT_BYTES };
    fill(args, near.kubectl.kubeconfig(), &objects).await?;
    let direct = get(args, near.kubectl.kubeconfig(), &objects, pids, ("get", BUDGET_GET)).await?;
    let mut passed = get(args, far.kubectl.kubeconfig(), &objects, pids, ("forward", BUDGET_FORWARD)).await?;
    let each = |row: &Row| row.spent.cpu.map(|cpu| cpu.div_f64(row.operations.max(1) as f64));
    if let Some((all, direct)) = each(&passed).zip(each(&direct)) {
        let operations = u32::try_from(passed.operations).unwrap_or(u32::MAX);
        passed.spent.cpu = Some(all.saturating_sub(direct) * operations);
        passed.note = format!("the CPU of both servers, beyond that of get; with it {} us", all.as_micros());
    }
    let setting =
        format!("config maps of {OBJECT_BYTES} bytes, two servers over one etcd, {} connections", args.connections);
    Ok(Report { start: None, rows: vec![direct, passed], setting })
}

async fn fill(args: &Cli, kubeconfig: &Path, objects: &Objects) -> Result<(), Error> {
    let target = Target::new(&Kubeconfig::read(kubeconfig).map_err(text)?, args.http1)?;
    let mut drivers = JoinSet::new();
    let mut connection = target.connect(&mut drivers).await?;
    for number in 0..OBJECTS {
        let request = target.request(Method::POST, &objects.collection(), objects.body("load", number))?;
        connection.fetch(request).await?;
    }
    Ok(())
}

/// Reads objects for a while, and counts the CPU of both servers.
async fn get(
    args: &Cli,
    kubeconfig: &Path,
    objects: &Objects,
    pids: [u32; 2],
    (name, budget): (&'static str, Duration),
) -> Result<Row, Error> {
    let target = Target::new(&Kubeconfig::read(kubeconfig).map_err(text)?, args.http1)?;
    let (mut drivers, mut handles) = (JoinSet::new(), Vec::new());
    for _ in 0..args.connections.max(1) {
        handles.extend(target.connect(&mut drivers).await?.handles(args.concurrency));
    }
    let (next, latencies) = (Cell::new(0), RefCell::new(Vec::new()));
    let meters = pids.map(|pid| Meter::start(Some(pid)));
    let started = Instant::now();
    let worker = async |handle: &mut Connection| {
        while started.elapsed() < args.duration() {
            // Served from memory: another way of asking etcd first is not what is measured.
            let path = format!("{}?resourceVersion=0", objects.path("load", next.replace(next.get() + 1) % OBJECTS));
            let start = Instant::now();
            handle.fetch(target.request(Method::GET, &path, Bytes::new())?).await?;
            latencies.borrow_mut().push(start.elapsed());
        }
        Ok::<(), Error>(())
    };
    try_join_all(handles.iter_mut().map(worker)).await?;
    let [one, other] = meters.map(Meter::stop);
    let latencies = latencies.into_inner();
    Ok(Row {
        name,
        operations: latencies.len(),
        spent: Spent { wall: one.wall, cpu: one.cpu.zip(other.cpu).map(|(one, other)| one + other) },
        latencies,
        first_bytes: Vec::new(),
        budget,
        first_byte_budget: None,
        rate_budget: None,
        note: String::new(),
    })
}
