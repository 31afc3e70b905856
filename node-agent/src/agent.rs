//! Joins the agent's parts: pods from the API and from the runtime to workers, one for each.
//!
//! Invariant: nothing is taken to be gone from the API before the API's whole list was seen.
//! Invariant: a sandbox of this node whose pod nobody knows gets a worker, which removes it.

use crate::cluster::Cluster;
use crate::config::{Config, Workload};
use crate::cri::Runtime;
use crate::dirs::Dirs;
use crate::events::{self, Recorder};
use crate::machine::Machine;
use crate::pod::{Pod, PodRef, Uid};
use crate::sandbox::Resolver;
use crate::status::Host;
use crate::worker::Handle;
use crate::{Error, NodeServer, labels, logs, node, volumes};
use client::{Cache, Change, Client, Events, ListParams, PODS, Reflector};
use futures::StreamExt;
use k8s_cri::v1::{Container, ContainerState, PodSandbox};
use runtime::{Stop, Tasks};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
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
    pub async fn run(mut self, stop: Stop) -> Result<(), Error> {
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
        let registration = node::Registration::new(node.clone(), self.runtimes, version);
        let workers =
            Workers { node, pods: self.pods, known: HashMap::new(), seen: BTreeMap::new(), tasks: Tasks::new() };
        let (following, writing, beating) = (stop.clone(), stop.clone(), stop.clone());
        tokio::join!(
            async {
                // Ends at `stop` alone.
                if let Err(error) = self.reflector.run(following).await {
                    tracing::error!(%error, "pods are not followed any more");
                }
            },
            events.run(writing),
            registration.run(beating),
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

impl Workers {
    async fn run(mut self, mut changes: Events<Pod>, stop: Stop) {
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut polls, mut swept): (u64, Option<u64>) = (0, None);
        let mut is_down = false;
        loop {
            tokio::select! {
                biased;
                // Workers stop by the same signal.
                () = stop.stopped() => break,
                // Cancel-safe: a stream.
                change = changes.next() => match change {
                    Some(change) => self.pod_changed(&change, &stop),
                    None => break,
                },
                // Cancel-safe.
                _ = poll.tick() => {
                    let polled = self.poll(polls.is_multiple_of(ROTATE_POLLS), &stop).await;
                    if polled.is_ok() && self.pods.is_synced() && swept.is_none_or(|at| polls - at >= SWEEP_POLLS) {
                        swept = Some(polls);
                        self.sweep().await;
                    }
                    if let (Err(error), false) = (&polled, is_down) {
                        tracing::warn!(%error, "the container runtime does not answer");
                    } else if polled.is_ok() && is_down {
                        tracing::info!("the container runtime answers again");
                    }
                    is_down = polled.is_err();
                    polls += 1;
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
            known.desire(None);
        }
        match new {
            Some((reference, pod)) => self.want(reference, Some(pod), stop),
            None if change.new.is_some() => {
                tracing::error!(pod = %change.key, "the API names a pod that cannot be named here; it is left alone");
            }
            None => {}
        }
    }

    /// Gives a pod a worker, or tells the one that it has.
    fn want(&mut self, reference: PodRef, pod: Option<Arc<Pod>>, stop: &Stop) {
        if let Some(known) = self.known.get(&reference.uid).filter(|k| !k.is_over()) {
            known.desire(pod);
            return;
        }
        let (handle, worker) = Handle::new(self.node.clone(), reference.clone(), pod);
        self.tasks.spawn("pod", worker.run(stop.clone()));
        self.known.insert(reference.uid, handle);
    }

    /// Asks the runtime what is there, and makes the workers of what changed look.
    async fn poll(&mut self, look_at_logs: bool, stop: &Stop) -> Result<(), crate::cri::CriError> {
        let mine = [(labels::NODE, self.node.config.node_name.as_str())];
        let sandboxes = self.node.runtime.sandboxes(&mine).await?;
        let containers = self.node.runtime.containers(&mine).await?;
        if look_at_logs {
            self.rotate_logs(&containers).await;
        }
        let seen = digest(&sandboxes, &containers);
        let changed = seen.iter().filter(|(uid, now)| self.seen.get(uid) != Some(now)).map(|(uid, _)| uid);
        let vanished = self.seen.keys().filter(|uid| !seen.contains_key(uid));
        for uid in changed.chain(vanished) {
            if let Some(known) = self.known.get(uid) {
                known.look();
            }
        }
        self.seen = seen;
        self.tend(stop);
        Ok(())
    }

    /// Forgets workers that ended, and starts those that are missing.
    fn tend(&mut self, stop: &Stop) {
        if !self.pods.is_synced() {
            return;
        }
        self.known.retain(|_, known| !known.is_over());
        // A worker that ended while its pod was there had panicked.
        for (_, pod) in self.pods.list() {
            if let Some(reference) = pod.reference()
                && !self.known.contains_key(&reference.uid)
            {
                self.want(reference, Some(pod), stop);
            }
        }
        let nobodys: Vec<PodRef> =
            self.seen.values().map(|s| &s.reference).filter(|r| !self.known.contains_key(&r.uid)).cloned().collect();
        for reference in nobodys {
            tracing::info!(tenant = %reference.tenant, pod = %reference.words(), "removing a pod that the API does not know");
            self.want(reference, None, stop);
        }
    }

    /// Removes what is left on disk of pods that neither the API nor the runtime knows: an agent died while it cleaned up.
    async fn sweep(&self) {
        for uid in self.node.dirs.uids() {
            if self.known.contains_key(&uid) {
                continue;
            }
            if let Err(error) = volumes::clean_up(&self.node.dirs.pod(&uid)).await {
                tracing::warn!(%uid, error, "what a pod left cannot be removed");
            }
        }
    }

    /// Begins new logs for containers whose logs have grown large.
    async fn rotate_logs(&self, containers: &[Container]) {
        for container in containers.iter().filter(|c| c.state == ContainerState::ContainerRunning as i32) {
            let Some(pod) = labels::pod_of(&container.labels) else { continue };
            let Some(name) = container.metadata.as_ref().map(|m| &m.name).filter(|n| api::is_dns_label(n)) else {
                continue;
            };
            let attempt = container.metadata.as_ref().map_or(0, |m| m.attempt);
            let path = self.node.dirs.pod(&pod.uid).logs.join(crate::dirs::log_path(name, attempt));
            let reopened = match logs::put_aside(&path).await {
                Ok(true) => self.node.runtime.reopen_log(&container.id).await.map_err(|e| e.to_string()),
                Ok(false) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = reopened {
                tracing::warn!(path = %path.display(), error, "a container's log cannot be rotated");
            }
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
