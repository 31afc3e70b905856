//! Joins the agent's parts: pods from the API and from the runtime to workers, one for each.
//!
//! Invariant: nothing is taken to be gone from the API before the API's whole list was seen.
//! Invariant: a pod that is to run has a worker once the node took it, or did not; what ran before is taken unasked.
//! Invariant: nothing that a runtime or the API is asked for holds up a change of a pod, or the end.
//! Invariant: a sandbox of this node whose pod nobody knows gets a worker, which removes it.

use crate::admission::{self, Offer, Rejection};
use crate::cluster::Cluster;
use crate::config::{Config, Workload};
use crate::cri::{CriError, Runtime};
use crate::dirs::Dirs;
use crate::events::{self, Kind, Recorder};
use crate::machine::Machine;
use crate::pod::{Pod, PodRef, Uid};
use crate::sandbox::Resolver;
use crate::status::Host;
use crate::usage::Usage;
use crate::worker::{Desired, Handle};
use crate::{Error, NodeServer, labels, logs, node, volumes};
use client::{Cache, Change, Client, Events, ListParams, PODS, Reflector};
use futures::future::{BoxFuture, Fuse, FusedFuture};
use futures::{FutureExt, StreamExt};
use k8s_cri::v1::{Container, ContainerState, PodSandbox};
use runtime::{Stop, Tasks};
use serde_json::json;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often the runtime is asked what changed, and how often what is there is compared with what is known even if
/// nothing did.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How often the sizes of logs are looked at, in polls.
const ROTATE_POLLS: u64 = 10;
/// How often the disk is searched for what pods left, in polls.
const SWEEP_POLLS: u64 = 600;

/// How long to wait before an API that did not answer is asked again what the node is.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What everything on the node shares.
pub struct Node {
    pub config: Config,
    pub cluster: Cluster,
    /// The default runtime for containers: the first that was named.
    pub runtime: Runtime,
    pub recorder: Recorder,
    pub dirs: Dirs,
    pub resolver: Resolver,
    pub machine: Machine,
    pub host: Host,
}

/// The agent of one node.
pub struct NodeAgent {
    config: Config,
    runtimes: Vec<Runtime>,
    cluster: Cluster,
    pods: Cache<Pod>,
    reflector: Reflector<Pod>,
    changes: Events<Pod>,
    server: NodeServer,
}

impl NodeAgent {
    /// Prepares an agent; nothing happens until [`NodeAgent::run`].
    pub fn new(config: Config, connect: Arc<dyn client::Connect>) -> NodeAgent {
        let client: Client = connect.connect(api::Identity::node(&config.node_name));
        let of_this_node = ListParams::fields(format!("spec.nodeName={}", config.node_name));
        let (pods, reflector, changes) = client::reflect(client.all_tenants(), PODS, of_this_node);
        let runtimes: Vec<Runtime> = config.runtimes.iter().map(Runtime::at).collect();
        let server = NodeServer::new(primary(&runtimes), pods.clone(), config.node_name.clone());
        let cluster = Cluster::new(client);
        NodeAgent { config, runtimes, cluster, pods, reflector, changes, server }
    }

    /// What answers the API server about this node's pods. It may be asked before the agent runs.
    pub fn server(&self) -> NodeServer {
        self.server.clone()
    }

    /// Runs until `stop`. Pods keep running when it ends.
    ///
    /// Boxed, so that all of the agent is compiled in this crate, and not in the one that runs it.
    pub fn run(self, stop: Stop) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.work(stop))
    }

    async fn work(mut self, stop: Stop) -> Result<(), Error> {
        let runtime = primary(&self.runtimes);
        let version = runtime.version().await.map_err(|error| {
            let endpoint = self.config.runtimes.iter().find(|e| e.name == runtime.name);
            let socket = endpoint.map(|e| e.socket.display().to_string()).unwrap_or_default();
            Error::new(format!(
                "no container runtime answers at unix://{socket} ({error}): start containerd, or name its socket with \
                 --container-runtime-endpoint"
            ))
        })?;
        self.config.data_dir = prepare_dir(&self.config.data_dir)?;
        let machine = Machine::read(&self.config.data_dir);
        let (recorder, events) = events::recorder(&self.config.node_name, self.cluster.clone());
        let node = Arc::new(Node {
            dirs: Dirs::new(&self.config.data_dir),
            resolver: Resolver::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
            host: Host { ip: self.config.node_ip, runtime: version.runtime_name.clone() },
            config: self.config,
            cluster: self.cluster,
            runtime,
            recorder,
            machine,
        });
        let usage = Usage::new(node.clone(), self.runtimes.clone());
        let registration = node::Registration::new(node.clone(), self.runtimes, version);
        let workers = Workers::new(node, self.pods);
        let (following, writing, beating, measuring) = (stop.clone(), stop.clone(), stop.clone(), stop.clone());
        tokio::join!(
            async {
                // Ends at `stop` alone.
                if let Err(error) = self.reflector.run(following).await {
                    tracing::error!(%error, "pods are not followed any more");
                }
            },
            events.run(writing),
            registration.run(beating),
            usage.run(measuring),
            workers.run(self.changes, stop),
        );
        Ok(())
    }
}

/// The first runtime for containers.
fn primary(runtimes: &[Runtime]) -> Runtime {
    let found = runtimes.iter().find(|r| r.workload == Workload::Container);
    found.expect("endpoints without one for containers are refused when they are read").clone()
}

/// Makes the agent's directory, and tells its real path: mounts are told by it.
fn prepare_dir(data_dir: &std::path::Path) -> Result<PathBuf, Error> {
    let made = std::fs::create_dir_all(data_dir.join("node/pods")).and_then(|()| data_dir.canonicalize());
    made.map_err(|e| Error::new(format!("the data directory {} cannot be used: {e}", data_dir.display())))
}

/// The workers of all pods, and what makes them look.
struct Workers {
    node: Arc<Node>,
    pods: Cache<Pod>,
    known: HashMap<Uid, Handle>,
    /// Whether the node took a pod. It is asked once; of pods that are done it is asked again, should they come back.
    decided: HashMap<Uid, Option<Arc<Rejection>>>,
    /// There may be pods in the API that are not decided on.
    undecided: bool,
    /// Pods that an earlier agent began with. `None` once they are decided on.
    begun: Option<BTreeSet<Uid>>,
    /// What the last poll saw of each pod.
    seen: BTreeMap<Uid, Seen>,
    tasks: Tasks,
}

/// One pod in a poll: whose it is, and a digest of everything that can change.
#[derive(PartialEq, Eq)]
struct Seen {
    reference: PodRef,
    digest: u64,
}

/// Something that is under way beside the loop, or nothing.
type UnderWay<T> = Fuse<BoxFuture<'static, T>>;

impl Workers {
    fn new(node: Arc<Node>, pods: Cache<Pod>) -> Workers {
        // A pod's directory is made by the first step that is taken for it, and goes with the last.
        let begun = Some(node.dirs.uids());
        let (known, decided, seen, tasks) = (HashMap::new(), HashMap::new(), BTreeMap::new(), Tasks::new());
        Workers { node, pods, known, decided, undecided: true, begun, seen, tasks }
    }

    async fn run(mut self, mut changes: Events<Pod>, stop: Stop) {
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut polls, mut swept): (u64, Option<u64>) = (0, None);
        let mut is_down = false;
        let mut polling: UnderWay<Result<Polled, CriError>> = Fuse::terminated();
        let mut chores: UnderWay<()> = Fuse::terminated();
        let mut asking: UnderWay<Asked> = Fuse::terminated();
        let pods = self.pods.clone();
        let synced = pods.synced().fuse();
        tokio::pin!(synced);
        loop {
            if asking.is_terminated()
                && let Some(waiting) = self.waiting()
            {
                asking = ask(self.node.clone(), waiting).boxed().fuse();
            }
            tokio::select! {
                biased;
                // Workers stop by the same signal. What is under way is dropped: the next agent starts from what it finds.
                () = stop.stopped() => break,
                // Cancel-safe: a stream.
                change = changes.next() => match change {
                    Some(change) => self.pod_changed(&change, &stop),
                    None => break,
                },
                // The others are kept from turn to turn: dropping the reference loses nothing.
                asked = &mut asking, if !asking.is_terminated() => self.admit(asked, &stop),
                () = &mut synced, if !synced.is_terminated() => {}
                polled = &mut polling, if !polling.is_terminated() => {
                    match &polled {
                        Err(error) if !is_down => tracing::warn!(%error, "the container runtime does not answer"),
                        Ok(_) if is_down => tracing::info!("the container runtime answers again"),
                        Ok(_) | Err(_) => {}
                    }
                    is_down = polled.is_err();
                    if let Ok(Polled { sandboxes, containers }) = polled {
                        self.look(&sandboxes, &containers, &stop);
                        let rotates = polls.is_multiple_of(ROTATE_POLLS);
                        let sweeps = self.pods.is_synced() && swept.is_none_or(|at| polls - at >= SWEEP_POLLS);
                        if chores.is_terminated() && (rotates || sweeps) {
                            let strays = if sweeps { self.strays() } else { Vec::new() };
                            swept = if sweeps { Some(polls) } else { swept };
                            let grown = if rotates { containers } else { Vec::new() };
                            chores = tidy_up(self.node.clone(), grown, strays).boxed().fuse();
                        }
                    }
                    polls += 1;
                }
                () = &mut chores, if !chores.is_terminated() => {}
                // Cancel-safe. A runtime that takes longer than a turn is not asked twice.
                _ = poll.tick() => if polling.is_terminated() {
                    polling = ask_runtime(self.node.clone()).boxed().fuse();
                }
            }
        }
        self.known.clear();
        self.tasks.ended().await;
    }

    /// Tells the workers concerned of a change in the API. A name may have passed to another pod.
    fn pod_changed(&mut self, change: &Change<Pod>, stop: &Stop) {
        let old = change.old.as_ref().and_then(|p| p.reference());
        let new = change.new.as_ref().and_then(|p| Some((p.reference()?, p.clone())));
        if let Some(old) = old.filter(|old| new.as_ref().is_none_or(|(r, _)| r.uid != old.uid))
            && let Some(known) = self.known.get(&old.uid)
        {
            known.desire(Desired::default());
        }
        match new {
            Some((reference, pod)) => self.meet(reference, pod, stop),
            None if change.new.is_some() => {
                tracing::error!(pod = %change.key, "the API names a pod that cannot be named here; it is left alone");
            }
            None => {}
        }
    }

    /// Takes note of a pod as the API has it. One that is to run waits until the node has taken it.
    fn meet(&mut self, reference: PodRef, pod: Arc<Pod>, stop: &Stop) {
        match self.decided.get(&reference.uid) {
            None if is_to_run(&pod) => self.undecided = true,
            decided => {
                let rejection = decided.cloned().flatten();
                self.want(reference, Desired { pod: Some(pod), rejection }, stop);
            }
        }
    }

    /// Gives a pod a worker, or tells the one that it has.
    fn want(&mut self, reference: PodRef, desired: Desired, stop: &Stop) {
        if let Some(known) = self.known.get(&reference.uid).filter(|k| !k.is_over()) {
            known.desire(desired);
            return;
        }
        let (handle, worker) = Handle::new(self.node.clone(), reference.clone(), desired);
        self.tasks.spawn("pod", worker.run(stop.clone()));
        self.known.insert(reference.uid, handle);
    }

    /// The pods to be decided on, once all that the API has are known: their order counts.
    fn waiting(&mut self) -> Option<BTreeSet<Uid>> {
        if !self.undecided || !self.pods.is_synced() {
            return None;
        }
        self.undecided = false;
        let waiting =
            self.listed().into_iter().filter(|(uid, (_, pod))| is_to_run(pod) && !self.decided.contains_key(uid));
        Some(waiting.map(|(uid, _)| uid).collect()).filter(|waiting: &BTreeSet<Uid>| !waiting.is_empty())
    }

    /// Decides on the pods that waited, now that it is known what the node is.
    fn admit(&mut self, Asked { waiting, offer }: Asked, stop: &Stop) {
        let listed = self.listed();
        if let Some(begun) = self.begun.take() {
            let before = waiting.iter().filter(|uid| begun.contains(uid) || self.seen.contains_key(uid));
            self.decided.extend(before.map(|uid| (uid.clone(), None)));
        }
        let is_holding = |(uid, (_, pod)): &(&Uid, &(PodRef, Arc<Pod>))| {
            !pod.is_terminal() && self.decided.get(*uid).is_some_and(Option::is_none)
        };
        let holding = listed.iter().filter(is_holding).map(|(_, (_, pod))| &**pod);
        let undecided = waiting.iter().filter(|uid| !self.decided.contains_key(uid));
        let undecided = undecided.filter_map(|uid| Some(listed.get(uid)?.1.clone())).filter(|pod| is_to_run(pod));
        for (pod, verdict) in admission::admit(&offer, holding, undecided.collect()) {
            let Some(reference) = pod.reference() else { continue };
            if let Err(Rejection { reason, message }) = &verdict {
                tracing::info!(tenant = %reference.tenant, pod = %reference.words(), reason, message, "a pod is not taken");
                self.node.recorder.pod(&reference, "", Kind::Warning, reason.clone(), message.clone());
            }
            self.decided.insert(reference.uid, verdict.err().map(Arc::new));
        }
        for uid in &waiting {
            if let Some((reference, pod)) = listed.get(uid) {
                self.meet(reference.clone(), pod.clone(), stop);
            }
        }
    }

    /// The pods that the API has.
    fn listed(&self) -> HashMap<Uid, (PodRef, Arc<Pod>)> {
        let pods = self.pods.list().into_iter().filter_map(|(_, pod)| Some((pod.reference()?, pod)));
        pods.map(|(reference, pod)| (reference.uid.clone(), (reference, pod))).collect()
    }

    /// Makes the workers of what changed in the runtime look.
    fn look(&mut self, sandboxes: &[PodSandbox], containers: &[Container], stop: &Stop) {
        let seen = digest(sandboxes, containers);
        let changed = seen.iter().filter(|(uid, now)| self.seen.get(uid) != Some(now)).map(|(uid, _)| uid);
        let vanished = self.seen.keys().filter(|uid| !seen.contains_key(uid));
        for uid in changed.chain(vanished) {
            if let Some(known) = self.known.get(uid) {
                known.look();
            }
        }
        self.seen = seen;
        self.tend(stop);
    }

    /// Forgets workers that ended, and starts those that are missing.
    fn tend(&mut self, stop: &Stop) {
        if !self.pods.is_synced() {
            return;
        }
        let listed = self.listed();
        self.known.retain(|_, known| !known.is_over());
        self.decided
            .retain(|uid, rejection| listed.get(uid).is_some_and(|(_, pod)| rejection.is_some() || !pod.is_terminal()));
        // A worker that ended while its pod was there had panicked.
        for (uid, (reference, pod)) in &listed {
            if !self.known.contains_key(uid) {
                self.meet(reference.clone(), pod.clone(), stop);
            }
        }
        let is_nobodys = |r: &&PodRef| !self.known.contains_key(&r.uid) && !listed.contains_key(&r.uid);
        let nobodys: Vec<PodRef> = self.seen.values().map(|s| &s.reference).filter(is_nobodys).cloned().collect();
        for reference in nobodys {
            tracing::info!(tenant = %reference.tenant, pod = %reference.words(), "removing a pod that the API does not know");
            self.want(reference, Desired::default(), stop);
        }
    }

    /// What is on disk of pods that neither the API nor the runtime knows: an agent died while it cleaned up.
    fn strays(&self) -> Vec<Uid> {
        let listed = self.listed();
        let mut uids = self.node.dirs.uids();
        uids.retain(|uid| !self.known.contains_key(uid) && !listed.contains_key(uid));
        uids.into_iter().collect()
    }
}

/// Whether the node has to take a pod before anything is done for it.
fn is_to_run(pod: &Pod) -> bool {
    !pod.is_deleting() && !pod.is_terminal()
}

/// Pods to be decided on, and what the node has had since they were bound to it.
struct Asked {
    waiting: BTreeSet<Uid>,
    offer: Offer,
}

/// Asks the API what the node is: a pod may have been bound because of a label that is new.
async fn ask(node: Arc<Node>, waiting: BTreeSet<Uid>) -> Asked {
    let name = &node.config.node_name;
    let found = loop {
        match node.cluster.node(name).await {
            Ok(Some(found)) => break found,
            // It is not registered yet, or not any more.
            Ok(None) => break json!({"metadata": {"labels": node::labels(name, &node.machine)}}),
            Err(error) => {
                tracing::warn!(%error, "the node's own object cannot be read; pods wait to be admitted");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    };
    let offer = Offer::of(name, node.machine.allocatable(), node.config.max_pods, &found);
    Asked { waiting, offer }
}

/// What the runtime has of this node.
struct Polled {
    sandboxes: Vec<PodSandbox>,
    containers: Vec<Container>,
}

async fn ask_runtime(node: Arc<Node>) -> Result<Polled, CriError> {
    let mine = [(labels::NODE, node.config.node_name.as_str())];
    let sandboxes = node.runtime.sandboxes(&mine).await?;
    let containers = node.runtime.containers(&mine).await?;
    Ok(Polled { sandboxes, containers })
}

/// Begins new logs where they have grown large, and removes what strays left.
async fn tidy_up(node: Arc<Node>, containers: Vec<Container>, strays: Vec<Uid>) {
    rotate_logs(&node, &containers).await;
    for uid in strays {
        if let Err(error) = volumes::clean_up(&node.dirs.pod(&uid)).await {
            tracing::warn!(%uid, error, "what a pod left cannot be removed");
        }
    }
}

/// Begins new logs for containers whose logs have grown large.
async fn rotate_logs(node: &Node, containers: &[Container]) {
    for container in containers.iter().filter(|c| c.state == ContainerState::ContainerRunning as i32) {
        let Some(pod) = labels::pod_of(&container.labels) else { continue };
        let Some(name) = container.metadata.as_ref().map(|m| &m.name).filter(|n| api::is_dns_label(n)) else {
            continue;
        };
        let attempt = container.metadata.as_ref().map_or(0, |m| m.attempt);
        let path = node.dirs.pod(&pod.uid).logs.join(crate::dirs::log_path(name, attempt));
        let reopened = match logs::put_aside(&path).await {
            Ok(true) => node.runtime.reopen_log(&container.id).await.map_err(|e| e.to_string()),
            Ok(false) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = reopened {
            tracing::warn!(path = %path.display(), error, "a container's log cannot be rotated");
        }
    }
}

/// What a poll saw, by pod. What is not labelled as a pod's is nobody's business here.
fn digest(sandboxes: &[PodSandbox], containers: &[Container]) -> BTreeMap<Uid, Seen> {
    let mut seen: BTreeMap<Uid, Seen> = BTreeMap::new();
    let sandboxes = sandboxes.iter().map(|s| (&s.labels, s.id.as_str(), s.state));
    let containers = containers.iter().map(|c| (&c.labels, c.id.as_str(), c.state));
    for (labels, id, state) in sandboxes.chain(containers) {
        let Some(reference) = labels::pod_of(labels) else { continue };
        let mut hasher = DefaultHasher::new();
        (id, state).hash(&mut hasher);
        // In any order.
        seen.entry(reference.uid.clone()).or_insert(Seen { reference, digest: 0 }).digest ^= hasher.finish();
    }
    seen
}
