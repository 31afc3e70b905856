//! Runs a workload on a server and nodes of its own.

use super::check;
use super::pods::Pods;
use super::report::{self, Taken};
use super::requests::{Sent, send};
use super::spec::{Step, Until, Verb, Workload};
use super::watchers::Watchers;
use crate::connection::{Connection, Error, Target, text};
use crate::figures::Figures;
use crate::measure::{cpu_of, memory_of, micros, millis, percentile, written_of};
use crate::suite::growth;
use bytes::Bytes;
use client::Kubeconfig;
use futures::future::{FutureExt, join, join_all, select_all};
use http::Method;
use kit::{HollowNodes, Options, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections that send, and requests under way on each.
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 24;

/// Nodes register at least this fast, or something is broken.
const NODES_PER_SECOND_MIN: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Nodes renew their leases this often.
const HEARTBEAT_SECONDS: f64 = 10.0;

/// Runs it, for so long at most. What breaks off is a fault beside the figures until then.
pub async fn run(workload: &Workload, patience: Duration) -> Result<Figures, Error> {
    let deadline = Instant::now() + patience;
    let server = Server::start(Options::without_node()).await;
    let count = workload.nodes.count.to_string();
    // What the nodes do with pods is not what is measured, unless the file says otherwise.
    let chosen = || workload.nodes.flags.iter().map(String::as_str);
    let start = ["--start-after=1h"].into_iter().filter(|_| !chosen().any(|flag| flag.starts_with("--start-after")));
    let flags: Vec<&str> = ["--count", &count].into_iter().chain(start).chain(chosen()).collect();
    let nodes = (workload.nodes.count > 0).then(|| HollowNodes::start(&server, &flags));
    let target = Target::new(&Kubeconfig::read(&server.admin_kubeconfig()).map_err(text)?, false)?;
    let mut drivers = JoinSet::new();
    let mut control = target.connect(&mut drivers).await?;
    wait_for_nodes(&target, &mut control, workload.nodes.count).await?;
    let (pods, handles) = (Pods::default(), connect(&target, &mut drivers).await?);
    let mut noise = connect(&target, &mut drivers).await?;
    let (mut bound, mut running) = (target.connect(&mut drivers).await?, target.connect(&mut drivers).await?);
    let mut runner = Runner {
        server,
        nodes,
        node_count: workload.nodes.count,
        target: &target,
        control,
        handles,
        pods: &pods,
        expected: 0,
        watchers: None,
        answered: BTreeMap::new(),
        figures: Figures::new(format!("{} ({count} nodes)", workload.name)),
    };
    let mut endless = Vec::new();
    if workload.steps.iter().any(|step| step.pods_each() > 0) {
        endless.push(pods.follow_bound(&target, &mut bound).boxed_local());
    }
    if workload.steps.iter().any(|step| step.until == Until::Running) {
        endless.push(pods.follow_running(&target, &mut running).boxed_local());
    }
    endless.push(std::future::pending().boxed_local());
    let began = Instant::now();
    let done = tokio::select! {
        done = runner.all(&workload.steps, &mut noise) => done,
        (broken, _, _) = select_all(endless) => broken,
        () = kit::leave_alone(deadline.saturating_duration_since(Instant::now())) => {
            let (seconds, bound, running) = (patience.as_secs(), pods.bound.borrow().len(), pods.running.borrow().len());
            Err(format!("not done after {seconds} s, with {bound} pods bound and {running} seen running"))
        }
    };
    report::add_slis(&mut runner.figures, &runner.answered, began);
    runner.figures.faults.extend(done.err());
    if workload.steps.iter().any(Step::makes_pods) {
        runner.figures.faults.extend(check::misplaced(&runner.server).await?);
    }
    report::set_budgets(&mut runner.figures, &workload.budgets);
    Ok(runner.figures)
}

async fn connect(target: &Target, drivers: &mut JoinSet<()>) -> Result<Vec<Connection>, Error> {
    let mut handles = Vec::new();
    for _ in 0..CONNECTIONS {
        handles.extend(target.connect(drivers).await?.handles(REQUESTS));
    }
    Ok(handles)
}

async fn wait_for_nodes(target: &Target, control: &mut Connection, wanted: usize) -> Result<(), Error> {
    let deadline = PATIENCE + Duration::from_secs((wanted / NODES_PER_SECOND_MIN) as u64);
    kit::wait_for("the nodes to be registered", deadline, async || {
        let (count, _) = collection(target, control, "/api/v1/nodes").await?;
        if count >= wanted { Ok(()) } else { Err(format!("{count} of {wanted}")) }
    })
    .await;
    Ok(())
}

/// How many objects a collection has, and its version.
async fn collection(target: &Target, control: &mut Connection, path: &str) -> Result<(usize, String), Error> {
    let request = target.request(Method::GET, &format!("{path}?limit=1"), Bytes::new())?;
    let list: Value = serde_json::from_slice(&control.fetch(request).await?).map_err(text)?;
    let listed = list["items"].as_array().map_or(0, Vec::len);
    let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) as usize;
    Ok((listed + more, list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()))
}

/// A workload under way.
struct Runner<'a> {
    server: Server,
    nodes: Option<HollowNodes>,
    node_count: usize,
    target: &'a Target,
    control: Connection,
    handles: Vec<Connection>,
    pods: &'a Pods,
    /// Pods that were asked for until now.
    expected: usize,
    watchers: Option<Watchers>,
    /// Of the measured steps, by verb and scope.
    answered: BTreeMap<&'static str, Vec<(Instant, Duration)>>,
    figures: Figures,
}

/// What processes have taken at a time.
struct Mark {
    at: Instant,
    cpu: Duration,
    nodes_cpu: Duration,
    memory: u64,
    written: u64,
}

impl Runner<'_> {
    /// All steps; those in the background from where the first of them stands.
    async fn all(&mut self, steps: &[Step], noise: &mut [Connection]) -> Result<(), Error> {
        let target = self.target;
        let at = steps.iter().position(|step| step.background).unwrap_or(steps.len());
        let (before, after) = steps.split_at(at);
        for step in before {
            self.step(step).await?;
        }
        let (background, rest): (Vec<&Step>, Vec<&Step>) = after.iter().partition(|step| step.background);
        let share = (noise.len() / background.len().max(1)).max(1);
        let loud = background.iter().zip(noise.chunks_mut(share)).map(async |(step, handles)| {
            loop {
                // Refusals are what noise deserves.
                drop(send(target, handles, step).await);
                // A connection that is lost fails at once: the others go on.
                kit::leave_alone(LOOK_EVERY).await;
            }
        });
        let rest = async {
            for step in rest {
                self.step(step).await?;
            }
            Ok(())
        };
        tokio::select! {
            done = rest => done,
            _ = join_all(loud), if !background.is_empty() => Ok(()),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Error> {
        let (mark, known) = (self.mark(), (self.figures.figures.len(), self.figures.series.len()));
        match step.verb {
            Verb::Wait => {
                kit::leave_alone(Duration::from_secs(step.count as u64)).await;
                let taken = self.since(&mark);
                if step.measured {
                    self.add_calm(&taken);
                }
            }
            Verb::Watch => {
                let (_, version) = collection(self.target, &mut self.control, &step.path).await?;
                self.watchers = Some(Watchers::open(self.target, &step.path, &version, step.count).await?);
                let taken = self.since(&mark);
                if step.measured {
                    let rate = step.count as f64 / taken.wall.as_secs_f64();
                    self.figures.add("watches opened", rate, "/s", None);
                    let each = taken.grown.max(0) as f64 / 1024.0 / step.count as f64;
                    self.figures.add("memory per watch", each, "KiB", None);
                    report::add_each(&mut self.figures, &taken, "watch", step.count);
                }
            }
            _ => self.requests(step, &mark).await?,
        }
        let names = self.figures.figures[known.0..].iter_mut().map(|figure| &mut figure.name);
        let names = names.chain(self.figures.series[known.1..].iter_mut().map(|series| &mut series.name));
        for (name, step) in names.filter_map(|name| Some((name, step.name.as_ref()?))) {
            *name = format!("{step}: {name}");
        }
        Ok(())
    }

    async fn requests(&mut self, step: &Step, mark: &Mark) -> Result<(), Error> {
        let told = self.watchers.as_ref().map_or(0, Watchers::delivered);
        let (mut memory, pid) = (Vec::new(), self.server.pid());
        let sending = send(self.target, &mut self.handles, step);
        let sent = tokio::select! {
            sent = async {
                if step.restart { join(sending, restart(&mut self.server, step)).await.0 } else { sending.await }
            } => sent,
            never = follow_memory(pid, mark.at, &mut memory) => never,
        };
        if let Some(why) = sent.failures.first() {
            self.figures.faults.push(format!("{} requests failed, the first: {why}", sent.failures.len()));
        }
        self.expected += step.count * step.pods_each();
        match step.until {
            Until::Bound => self.pods.until_bound(self.expected).await?,
            Until::Running => self.pods.until_running(self.expected).await?,
            Until::Gone => self.pods.until_gone().await?,
        }
        let deliveries = self.watchers.as_ref().map_or(0, |watchers| watchers.count * sent.count());
        if let Some(watchers) = &self.watchers {
            watchers.until_delivered(told + deliveries).await;
        }
        let taken = self.since(mark);
        if !step.measured {
            return Ok(());
        }
        if step.restart {
            self.add_restart(step, &sent).await?;
        } else if step.pods_each() > 0 {
            self.add_pods(step, &sent, &taken, mark.at);
        } else {
            let ends: Vec<Instant> = sent.answered.values().flatten().map(|(at, _)| *at).collect();
            report::add_rate(&mut self.figures, &format!("{} requests", verb(step)), &ends, mark.at);
            report::add_each(&mut self.figures, &taken, &format!("{} request", verb(step)), sent.count());
        }
        if step.verb == Verb::Create && !step.restart {
            let each = taken.grown.max(0) as f64 / 1024.0 / (step.count * step.pods_each().max(1)) as f64;
            self.figures.add("memory per object", each, "KiB", None);
        }
        if step.verb == Verb::Churn {
            let grown = second_half(&memory);
            self.figures.add("memory growth in the second half", grown, "MB", None);
        }
        self.add_deliveries(&sent, told, deliveries, &taken);
        for (name, of) in sent.answered {
            self.answered.entry(name).or_default().extend(of);
        }
        Ok(())
    }

    fn add_pods(&mut self, step: &Step, sent: &Sent, taken: &Taken, began: Instant) {
        let figures = &mut self.figures;
        report::add_pods(figures, ("pods bound", "binding"), sent, &self.pods.bound.borrow(), began);
        if step.until == Until::Running {
            report::add_pods(figures, ("pods running", "pod start"), sent, &self.pods.running.borrow(), began);
        }
        report::add_each(figures, taken, "pod", step.count * step.pods_each());
        figures.add("server memory at the end", taken.memory as f64 / 1e6, "MB", None);
    }

    fn add_deliveries(&mut self, sent: &Sent, told: usize, expected: usize, taken: &Taken) {
        let Some(watchers) = &self.watchers else { return };
        let delivered = watchers.delivered() - told;
        if delivered < expected {
            self.figures.faults.push(format!("the watchers got {delivered} of {expected} events"));
        }
        self.figures.add("events delivered", delivered as f64 / taken.wall.as_secs_f64(), "/s", None);
        report::add_each(&mut self.figures, taken, "event, with its write", delivered);
        let arrived = watchers.arrived();
        let mut times: Vec<Duration> =
            sent.made.iter().filter_map(|(name, (began, _))| Some(*arrived.get(name)? - *began)).collect();
        self.figures.add("watch latency p99", millis(percentile(&mut times, 0.99)), "ms", None);
    }

    /// Of a time in which nobody asks: what nodes and controllers do by themselves.
    fn add_calm(&mut self, taken: &Taken) {
        let seconds = taken.wall.as_secs_f64();
        let cores = |cpu: Duration| cpu.as_secs_f64() / seconds;
        let figures = &mut self.figures;
        figures.add("server CPU at rest", cores(taken.cpu), "core", None);
        figures.add("server and nodes, CPU at rest", cores(taken.cpu + taken.nodes_cpu), "core", None);
        let memory = (taken.memory + taken.nodes_memory) as f64 / f64::from(1 << 20);
        figures.add("server and nodes, memory", memory, "MiB", None);
        if self.nodes.is_some() {
            let heartbeats = self.node_count as f64 * seconds / HEARTBEAT_SECONDS;
            figures.add("server CPU per heartbeat", micros(taken.cpu) / heartbeats, "µs", None);
            figures.add("nodes, memory", taken.nodes_memory as f64 / f64::from(1 << 20), "MiB", None);
        }
    }

    /// After a restart in the midst of writing: how long it took, and what is not there that was acknowledged.
    async fn add_restart(&mut self, step: &Step, sent: &Sent) -> Result<(), Error> {
        self.figures.add("start to ready", millis(self.server.ready_after()), "ms", None);
        let mut drivers = JoinSet::new();
        self.control = self.target.connect(&mut drivers).await?;
        let (found, _) = collection(self.target, &mut self.control, &step.path).await?;
        self.figures.add("acknowledged and lost", sent.count().saturating_sub(found) as f64, "", None);
        self.handles = connect(self.target, &mut drivers).await?;
        drivers.detach_all();
        Ok(())
    }

    fn mark(&self) -> Mark {
        let pid = self.server.pid();
        Mark {
            at: Instant::now(),
            cpu: cpu_of(pid).unwrap_or_default(),
            nodes_cpu: self.nodes.as_ref().and_then(|nodes| cpu_of(nodes.pid())).unwrap_or_default(),
            memory: memory_of(pid).unwrap_or(0),
            written: written_of(pid).unwrap_or(0),
        }
    }

    fn since(&self, then: &Mark) -> Taken {
        let now = self.mark();
        Taken {
            wall: now.at - then.at,
            cpu: now.cpu.saturating_sub(then.cpu),
            nodes_cpu: now.nodes_cpu.saturating_sub(then.nodes_cpu),
            grown: now.memory.cast_signed() - then.memory.cast_signed(),
            memory: now.memory,
            nodes_memory: self.nodes.as_ref().and_then(|nodes| memory_of(nodes.pid())).unwrap_or(0),
            written: now.written.saturating_sub(then.written),
        }
    }
}

/// Kills the server when about half of a step is done, and starts it again.
async fn restart(server: &mut Server, step: &Step) {
    let half = step.rate.map_or(1.0, |rate| step.count as f64 / rate / 2.0);
    kit::leave_alone(Duration::from_secs_f64(half)).await;
    server.kill9();
    server.restart().await;
}

/// Looks at a server's memory, in MB, again and again. Does not end.
async fn follow_memory(pid: u32, began: Instant, seen: &mut Vec<(f64, f64)>) -> ! {
    loop {
        seen.extend(memory_of(pid).map(|bytes| (began.elapsed().as_secs_f64(), bytes as f64 / 1e6)));
        kit::leave_alone(LOOK_EVERY).await;
    }
}

/// By how much a line through the second half of points rises.
fn second_half(points: &[(f64, f64)]) -> f64 {
    let half = &points[points.len() / 2..];
    let seconds = half.last().zip(half.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    growth::line(half).map_or(0.0, |line| line.slope * seconds)
}

fn verb(step: &Step) -> String {
    format!("{:?}", step.verb).to_lowercase()
}
