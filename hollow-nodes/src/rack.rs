//! The nodes that share a connection: their registration, their heartbeats, and what each does with its pods.

use crate::fleet::Fleet;
use crate::node;
use crate::plan::{self, Step, is_silent};
use crate::pod::Pod;
use crate::requests::Requests;
use crate::usage::Usages;
use api::Timestamp;
use client::{PODS, WatchEvent, WatchParams, WatchStream};
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt};
use runtime::Stop;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Registrations under way at a time, in one rack.
const REGISTERING_MAX: usize = 16;
/// A status that does not change is told this often all the same.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// The nodes of a rack whose turn comes within this time renew their leases together, as timers with slack do: their
/// requests share packets, wake-ups and commits.
const BEAT_SLACK: Duration = Duration::from_millis(200);
/// Before a request that failed is sent again, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);

/// Some nodes and the connection that they share.
pub struct Rack {
    pub fleet: Arc<Fleet>,
    pub requests: Requests,
    pub numbers: Range<u32>,
}

/// What is kept of a node between two heartbeats.
struct Beating {
    number: u32,
    uid: Box<str>,
    /// The version of its lease, once there is one.
    lease: Option<u64>,
    beats: u32,
    under_way: bool,
}

impl Rack {
    /// Registers the nodes, then keeps them alive and their pods moving until `stop`.
    pub async fn run(self, stop: Stop) {
        tokio::select! {
            biased;
            // The leases run out by themselves.
            () = stop.stopped() => {}
            // Cancelled at the end.
            () = self.live(&stop) => {}
        }
    }

    async fn live(&self, stop: &Stop) {
        let registered: Vec<Beating> = stream::iter(self.numbers.clone())
            .map(|number| self.register(number))
            .buffer_unordered(REGISTERING_MAX)
            .collect()
            .await;
        for number in self.numbers.clone() {
            let node = Node { fleet: self.fleet.clone(), requests: self.requests.clone(), number };
            let stop = stop.clone();
            self.fleet.tasks.spawn("node", async move {
                tokio::select! {
                    biased;
                    () = stop.stopped() => {}
                    // Cancelled at the end: whoever comes next starts from what the pods show.
                    () = node.run() => {}
                }
            });
        }
        self.beat(registered).await;
    }

    async fn register(&self, number: u32) -> Beating {
        let Fleet { config, progress, .. } = &*self.fleet;
        let name = node::name(config, number);
        let uid = again(|| async {
            let object = node::object(config, number, Timestamp::now());
            self.requests.register(&name, &object).await.inspect_err(|error| self.fleet.failed("register", error))
        })
        .await;
        progress.registered.add();
        Beating { number, uid: uid.into(), lease: None, beats: 0, under_way: false }
    }

    /// Renews the leases in turn, spread evenly over the time between two heartbeats.
    async fn beat(&self, mut nodes: Vec<Beating>) {
        let config = &self.fleet.config;
        let began = Instant::now();
        let mut ticks = tokio::time::interval(BEAT_SLACK.min(config.heartbeat_every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = FuturesUnordered::new();
        let mut turn = 0;
        loop {
            tokio::select! {
                // Both are cancel-safe.
                Some((position, lease)) = under_way.next(), if !under_way.is_empty() => {
                    let node: &mut Beating = &mut nodes[position];
                    (node.lease, node.under_way) = (lease, false);
                }
                now = ticks.tick() => {
                    let due = turns_due(now - began, config.heartbeat_every, nodes.len());
                    for turn in turn..due {
                        if let Some(beat) = self.turn(&mut nodes, turn) {
                            under_way.push(beat);
                        }
                    }
                    turn = due;
                }
            }
        }
    }

    /// The heartbeat of the node that has this turn, unless it is silent or still at the one before.
    fn turn(&self, nodes: &mut [Beating], turn: usize) -> Option<impl Future<Output = (usize, Option<u64>)> + use<'_>> {
        let config = &self.fleet.config;
        let position = turn % nodes.len();
        let node = &mut nodes[position];
        if is_silent(config, node::random(u64::from(node.number)), self.fleet.began.elapsed()) {
            return None;
        }
        if node.under_way {
            self.fleet.progress.late.add();
            return None;
        }
        node.under_way = true;
        node.beats += 1;
        let tells_status = is_status_due(config.heartbeat_every, node.number, node.beats);
        let beat = self.heartbeat(node.number, node.uid.clone(), node.lease, tells_status);
        Some(async move { (position, beat.await) })
    }

    /// One heartbeat; the version that the lease has after it.
    async fn heartbeat(&self, number: u32, uid: Box<str>, lease: Option<u64>, tells_status: bool) -> Option<u64> {
        let Fleet { config, progress, .. } = &*self.fleet;
        let name = node::name(config, number);
        if tells_status {
            let status = node::status(config, number, Timestamp::now());
            if let Err(error) = self.requests.tell_status(&name, &status).await {
                self.fleet.failed("tell the status of", &error);
            }
        }
        let body = node::lease(&name, &uid, lease, Timestamp::now());
        match self.requests.write_lease(&name, body, lease.is_none()).await {
            Ok(version) => {
                progress.heartbeats.add();
                Some(version)
            }
            // Somebody else wrote it: an earlier process that had these nodes.
            Err(error) if error.is_conflict() || error.is_already_exists() => {
                self.requests.lease_version(&name).await.unwrap_or(lease)
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                self.fleet.failed("renew the lease of", &error);
                lease
            }
        }
    }
}

/// How many turns have come when heartbeats of `count` nodes have been due for some time: each node's once in `every`.
fn turns_due(since: Duration, every: Duration, count: usize) -> usize {
    let turns = since.as_nanos().saturating_mul(count as u128) / every.as_nanos().max(1);
    usize::try_from(turns).unwrap_or(usize::MAX)
}

/// Whether a heartbeat also tells the status: not with the first ones, and not all nodes at once.
fn is_status_due(heartbeat_every: Duration, number: u32, beats: u32) -> bool {
    let period = (STATUS_EVERY.as_millis() / heartbeat_every.as_millis().max(1)).max(1) as u32;
    beats.wrapping_add(number).is_multiple_of(period)
}

/// One node and its pods.
struct Node {
    fleet: Arc<Fleet>,
    requests: Requests,
    number: u32,
}

impl Node {
    async fn run(&self) {
        let config = &self.fleet.config;
        let random = node::random(u64::from(self.number));
        let mut pods = self.pods();
        let mut steps: FuturesUnordered<BoxFuture<'_, (String, Step)>> = FuturesUnordered::new();
        let mut under_way: HashMap<String, Step> = HashMap::new();
        let falls_silent = config.silent_share.holds(random);
        let silence = Instant::from_std(self.fleet.began) + config.silent_after;
        let mut was_silent = !falls_silent;
        let mut usages = Usages::default();
        // In turn, not all nodes at once.
        let first = config.usage_every.mul_f64(f64::from(random as u32) / f64::from(u32::MAX));
        let mut reports = tokio::time::interval_at(Instant::now() + first, config.usage_every);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reporting: Fuse<BoxFuture<'_, ()>> = Fuse::terminated();
        loop {
            tokio::select! {
                // All are cancel-safe.
                Some((uid, step)) = steps.next(), if !steps.is_empty() => {
                    if under_way.get(&uid) == Some(&step) {
                        under_way.remove(&uid);
                    }
                }
                seen = pods.next() => {
                    let pod = match seen {
                        Some(Seen::Changed(pod)) => *pod,
                        Some(Seen::Gone(uid)) => {
                            usages.forget(&uid);
                            continue;
                        }
                        Some(Seen::Anew) => {
                            usages = Usages::default();
                            continue;
                        }
                        None => return,
                    };
                    if let Some(percent) = config.usage {
                        usages.see(&pod, percent);
                    }
                    if let Some((step, after)) = plan::next(config, &pod)
                        && under_way.get(&pod.metadata.uid) != Some(&step)
                    {
                        under_way.insert(pod.metadata.uid.clone(), step);
                        steps.push(Box::pin(self.take(pod, step, after)));
                    }
                }
                _ = reports.tick(), if config.usage.is_some() && reporting.is_terminated() => {
                    reporting = self.tell_usage(&usages).boxed().fuse();
                }
                () = &mut reporting, if !reporting.is_terminated() => {}
                () = tokio::time::sleep_until(silence), if !was_silent => {
                    was_silent = true;
                    steps.clear();
                    under_way.clear();
                    drop(pods);
                    tokio::time::sleep(config.silent_for).await;
                    pods = self.pods();
                }
            }
        }
    }

    /// Takes a step with a pod when its time has come.
    async fn take(&self, pod: Pod, step: Step, after: Duration) -> (String, Step) {
        tokio::time::sleep(after).await;
        let progress = &self.fleet.progress;
        again(|| async {
            let now = Timestamp::now();
            let (done, count) = match step {
                Step::Start => (self.report(&pod, pod.running(self.number, 0, now)).await, &progress.started),
                Step::Restart => (self.report(&pod, pod.running(self.number, 1, now)).await, &progress.started),
                Step::End(ending) => (self.report(&pod, pod.ended(ending, now)).await, &progress.ended),
                Step::Stop => (self.requests.delete_pod(&pod.metadata).await, &progress.stopped),
            };
            match done {
                Ok(()) => {
                    count.add();
                    Ok(())
                }
                // It is gone, or another pod has its name.
                Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
                Err(error) => {
                    self.fleet.failed("write a pod of", &error);
                    Err(error)
                }
            }
        })
        .await;
        (pod.metadata.uid, step)
    }

    async fn report(&self, pod: &Pod, patch: serde_json::Value) -> api::Result<()> {
        self.requests.patch_pod_status(&pod.metadata, &patch).await
    }

    fn tell_usage(&self, usages: &Usages) -> impl Future<Output = ()> + use<'_> {
        let Fleet { config, .. } = &*self.fleet;
        let report = usages.report(&node::name(config, self.number), config.usage_every, Timestamp::now());
        async move {
            if let Err(error) = self.requests.report_usage(&report).await {
                self.fleet.failed("report the usage of", &error);
            }
        }
    }

    /// The pods bound to the node, now and whenever one changes. Never ends.
    fn pods(&self) -> BoxStream<'_, Seen> {
        let fields = format!("spec.nodeName={}", node::name(&self.fleet.config, self.number));
        let start = Watching { params: WatchParams { fields, ..WatchParams::default() }, open: None, failures: 0 };
        let next = async move |mut watching| Some((self.next_pod(&mut watching).await, watching));
        stream::unfold(start, next).boxed()
    }

    async fn next_pod(&self, watching: &mut Watching) -> Seen {
        loop {
            let Some(open) = &mut watching.open else {
                let pods = self.requests.client.all_tenants();
                match pods.watch_as(PODS, "", &watching.params).await {
                    Ok(open) => watching.open = Some(open),
                    Err(error) => self.watch_broke(watching, &error).await,
                }
                continue;
            };
            match open.next().await {
                Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) => {
                    watching.failures = 0;
                    watching.params.resource_version.clone_from(&pod.metadata.resource_version);
                    return Seen::Changed(Box::new(pod));
                }
                Some(Ok(WatchEvent::Deleted(pod))) => {
                    watching.params.resource_version = pod.metadata.resource_version;
                    return Seen::Gone(pod.metadata.uid);
                }
                Some(Ok(WatchEvent::Bookmark(version))) => watching.params.resource_version = version,
                Some(Err(error)) if error.is_expired() => {
                    self.watch_broke(watching, &error).await;
                    return Seen::Anew;
                }
                Some(Err(error)) => self.watch_broke(watching, &error).await,
                None => watching.open = None,
            }
        }
    }

    async fn watch_broke(&self, watching: &mut Watching, error: &api::Error) {
        watching.open = None;
        if error.is_expired() {
            watching.params.resource_version.clear();
            return;
        }
        self.fleet.failed("watch the pods of", error);
        watching.failures += 1;
        tokio::time::sleep(backoff(watching.failures)).await;
    }
}

/// What a node sees of its pods.
enum Seen {
    Changed(Box<Pod>),
    /// The uid of one that is not there any more.
    Gone(String),
    /// What was missed is unknown: all pods that there are follow.
    Anew,
}

/// A watch that is opened again where it ended.
struct Watching {
    params: WatchParams,
    open: Option<WatchStream<Pod>>,
    failures: u32,
}

fn backoff(failures: u32) -> Duration {
    (AGAIN_AFTER * 2_u32.saturating_pow(failures.min(10))).min(AGAIN_AFTER_MAX)
}

/// Tries until it succeeds, with pauses.
async fn again<T, F: Future<Output = api::Result<T>>>(attempt: impl Fn() -> F) -> T {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(_) => failures += 1,
        }
        tokio::time::sleep(backoff(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_in_turn() {
        let due_at = |beats| (0..90).filter(|&n| is_status_due(Duration::from_secs(10), n, beats)).count();
        assert!((1..=30).all(|beats| due_at(beats) == 3));
    }

    #[test]
    fn every_node_has_its_turn_once_between_two_heartbeats() {
        let every = Duration::from_secs(10);
        let due: Vec<usize> = (0..=50).map(|tick| turns_due(BEAT_SLACK * tick, every, 250)).collect();
        assert_eq!((due[0], due[1], due[50]), (0, 5, 250));
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 5));
        assert_eq!(turns_due(every * 3, every, 0), 0);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert!(backoff(1) < backoff(2));
        assert_eq!(backoff(u32::MAX), AGAIN_AFTER_MAX);
    }
}
