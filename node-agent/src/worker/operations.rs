//! What actions do: the calls to the runtime, the API and the disk, and the events about them.

use super::Worker;
use crate::agent::Node;
use crate::cluster::Cluster;
use crate::container::{self, Prepared};
use crate::cri::CriError;
use crate::dirs::PodDirs;
use crate::events::Kind;
use crate::expand::Facts;
use crate::handler::Target;
use crate::image::{self, Wanted};
use crate::memory::default_to;
use crate::plan::{Action, Why};
use crate::pod::{Pod, PodRef, ProbeKind};
use crate::sources::Sources;
use crate::volumes::{self, Tokens};
use crate::{env, sandbox, status};
use api::{Reason, Timestamp};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_cri::v1::{ContainerState, PodSandboxConfig};
use serde_json::Value;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why an operation failed: a word and a sentence.
pub type Failure = (String, String);
type Outcome = Result<Done, Failure>;

/// What an operation came to.
pub enum Done {
    Nothing,
    Volumes { tokens: Tokens, refresh_at: Timestamp },
    Image { container: String, image: String },
    Started { container: String, id: String },
    Hook { id: String, succeeded: bool },
    Probed { container: String, id: String, kind: ProbeKind, result: Result<(), String> },
    Reported { status: Value, version: u64 },
    CleanedUp,
    Deleted,
}

/// As upstream limits what a container may say at its end.
const LAST_WORDS_BYTES_MAX: u64 = 4096;
const LAST_WORDS_FROM_LOG_BYTES_MAX: u64 = 2048;

/// However long its hook took, a container gets this long between SIGTERM and SIGKILL.
const LEFT_AFTER_HOOK_MIN: Duration = Duration::from_secs(2);
/// A hook after the start may take as long as it likes, but not for ever.
const POST_START_DEADLINE: Duration = Duration::from_secs(3600);

/// How events name a container.
pub fn part(pod: &Pod, container: &str) -> String {
    let is_init = pod.spec.init_containers.iter().any(|c| c.name == container);
    let list = if is_init { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
}

/// What an operation takes along: it outlives the moment in which it was planned.
struct Scene {
    node: Arc<Node>,
    pod: Arc<Pod>,
    reference: PodRef,
    dirs: PodDirs,
    facts: Facts,
}

impl Worker {
    /// The operation of an action that has a key.
    pub(super) fn operation(&self, action: Action) -> BoxFuture<'static, Outcome> {
        let scene = self.scene();
        match action {
            Action::SetUpVolumes => {
                let tokens = self.tokens.clone();
                async move { scene.set_up_volumes(tokens).await }.boxed()
            }
            Action::RunSandbox { attempt } => async move { scene.run_sandbox(attempt).await }.boxed(),
            Action::StopSandbox { id } => {
                async move { done(scene.node.runtime.stop_sandbox(&id).await, "KillPodSandboxError") }.boxed()
            }
            Action::RemoveSandbox { id } => {
                async move { done(scene.node.runtime.remove_sandbox(&id).await, "RemovePodSandboxError") }.boxed()
            }
            Action::EnsureImage { container } => {
                let attempt = self.observed.sandboxes.first().map_or(0, |s| s.attempt);
                async move { scene.ensure_image(container, attempt).await }.boxed()
            }
            Action::Start { container, sandbox, restart_count } => {
                let image = self.memory.images.get(&container).cloned().unwrap_or_default();
                let attempt = self.observed.sandboxes.first().map_or(0, |s| s.attempt);
                async move { scene.start(container, sandbox, attempt, image, restart_count).await }.boxed()
            }
            Action::PostStart { container, id } => async move { scene.post_start(&container, id).await }.boxed(),
            Action::Kill { container, id, grace_secs, pre_stop, why } => {
                let grace = Duration::from_secs(grace_secs.try_into().unwrap_or(0));
                async move { scene.kill(&container, &id, grace, pre_stop, why).await }.boxed()
            }
            Action::RemoveContainer { id } => {
                let log = self.observed.containers.iter().find(|c| c.id == id).map(|c| PathBuf::from(&c.log_path));
                async move { scene.remove_container(&id, log).await }.boxed()
            }
            Action::Probe { container, id, kind } => async move { scene.probe(container, id, kind).await }.boxed(),
            Action::CleanUp => async move { scene.clean_up().await }.boxed(),
            Action::Delete => async move { scene.delete().await }.boxed(),
            Action::AnnounceBackOff { .. } | Action::Cancel(_) => unreachable!("done at once, without an operation"),
        }
    }

    pub(super) fn report_status(&self, status: Value) -> BoxFuture<'static, Outcome> {
        let patch = status::patch(&self.pod, &status);
        let (cluster, reference) = (self.node.cluster.clone(), self.reference.clone());
        report(cluster, reference, patch, status).boxed()
    }

    fn scene(&self) -> Scene {
        let view = self.view(Timestamp::now(), false);
        Scene {
            node: self.node.clone(),
            pod: self.pod.clone(),
            reference: self.reference.clone(),
            dirs: self.dirs.clone(),
            facts: Facts {
                pod_ips: status::pod_ips(&view, &self.node.host),
                host_ip: self.node.host.ip,
                allocatable: self.node.machine.allocatable(),
            },
        }
    }
}

impl Scene {
    async fn set_up_volumes(self, tokens: Tokens) -> Outcome {
        let set_up = volumes::set_up(&self.node.cluster, &self.pod, &self.reference, &self.dirs, &self.facts, tokens);
        match set_up.await {
            Ok((tokens, refresh_at)) => Ok(Done::Volumes { tokens, refresh_at }),
            Err(message) => {
                self.tell("", Kind::Warning, "FailedMount", message.clone());
                Err(("FailedMount".to_owned(), message))
            }
        }
    }

    async fn run_sandbox(self, attempt: u32) -> Outcome {
        let created = self.node.runtime.run_sandbox(self.sandbox_config(attempt)).await;
        if let Err(error) = &created {
            let message = format!("Failed to create pod sandbox: {error}");
            self.tell("", Kind::Warning, "FailedCreatePodSandBox", message);
        }
        done(created.map(drop), "CreatePodSandboxError")
    }

    fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let Scene { node, pod, reference, dirs, .. } = self;
        sandbox::sandbox_config(&node.config, &node.resolver, pod, reference, dirs, attempt)
    }

    async fn ensure_image(self, name: String, attempt: u32) -> Outcome {
        let container = self.pod.spec.container(&name).ok_or_else(vanished)?;
        let part = part(&self.pod, &name);
        let Scene { node, pod, reference, .. } = &self;
        let wanted = Wanted {
            runtime: &node.runtime,
            cluster: &node.cluster,
            recorder: &node.recorder,
            pod,
            reference,
            container,
            part: &part,
        };
        let image = wanted.ensure(self.sandbox_config(attempt)).await?;
        Ok(Done::Image { container: name, image })
    }

    async fn start(self, name: String, sandbox: String, attempt: u32, image: String, restart_count: u32) -> Outcome {
        let config = self.prepare(&name, &image, restart_count).await.map_err(|message| {
            self.tell(&name, Kind::Warning, "Failed", format!("Error: {message}"));
            ("CreateContainerConfigError".to_owned(), message)
        })?;
        let runtime = &self.node.runtime;
        let created = runtime.create_container(&sandbox, config, self.sandbox_config(attempt)).await;
        let id = created.map_err(|e| {
            self.tell(&name, Kind::Warning, "Failed", format!("Error: {e}"));
            ("CreateContainerError".to_owned(), e.message)
        })?;
        self.tell(&name, Kind::Normal, "Created", "Container created".to_owned());
        if let Err(error) = runtime.start_container(&id).await {
            // The runtime holds it as ended; it is started again as if it had.
            self.tell(&name, Kind::Warning, "Failed", format!("Error: {error}"));
            return Ok(Done::Started { container: name, id });
        }
        self.tell(&name, Kind::Normal, "Started", "Container started".to_owned());
        Ok(Done::Started { container: name, id })
    }

    /// Gathers what a container is made from.
    async fn prepare(
        &self,
        name: &str,
        image: &str,
        restart_count: u32,
    ) -> Result<k8s_cri::v1::ContainerConfig, String> {
        let Scene { node, pod, reference, dirs, facts } = self;
        let container = pod.spec.container(name).ok_or_else(|| vanished().1)?;
        let found = node.runtime.image(image).await.map_err(|e| e.message)?;
        let found = found.ok_or_else(|| format!("image {image:?} is not on the node any more"))?;
        let image_user = image::user_of(&found);
        container::refuse_root(pod, container, &image_user)?;
        let sources = Sources::fetch(&node.cluster, reference, env::references(container)).await;
        let sources = sources.map_err(|e| e.to_string())?;
        let services = env::of_kubernetes(node.config.kubernetes_service.as_ref());
        let environment = env::environment(pod, container, &sources, facts, services)?;
        let mounts = {
            let (node, pod, dirs, name) = (node.clone(), pod.clone(), dirs.clone(), name.to_owned());
            let (variables, ips) = (environment.clone(), facts.pod_ips.clone());
            volumes::blocking(move || {
                let container = pod.spec.container(&name).ok_or_else(|| vanished().1)?;
                volumes::container_mounts(&node.config, &pod, container, &dirs, &variables, &ips, restart_count)
            })
            .await?
        };
        let node_memory = node.machine.memory_bytes;
        let prepared = Prepared { image_ref: found.id, image_user, environment, mounts, restart_count, node_memory };
        Ok(container::container_config(pod, reference, &node.config.node_name, container, prepared))
    }

    async fn post_start(self, name: &str, id: String) -> Outcome {
        let container = self.pod.spec.container(name).ok_or_else(vanished)?;
        let Some(handler) = &container.lifecycle.post_start else { return Ok(Done::Hook { id, succeeded: true }) };
        let result = self.target(&id).run(container, handler, POST_START_DEADLINE).await;
        if let Err(why) = &result {
            self.tell(name, Kind::Warning, "FailedPostStartHook", format!("PostStartHook failed: {why}"));
        }
        Ok(Done::Hook { id, succeeded: result.is_ok() })
    }

    async fn kill(self, name: &str, id: &str, grace: Duration, pre_stop: bool, why: Why) -> Outcome {
        let began = Instant::now();
        if pre_stop {
            let message = match why {
                Why::PodStops => format!("Stopping container {name}"),
                Why::Unhealthy(kind) => {
                    let kind = kind.as_str().to_lowercase();
                    format!("Container {name} failed {kind} probe, will be restarted")
                }
                Why::HookFailed => format!("Container {name} failed its postStart hook"),
                Why::SpecChanged => format!("Container {name} definition changed, will be restarted"),
            };
            self.tell(name, Kind::Normal, "Killing", message);
        }
        let container = self.pod.spec.container(name).filter(|_| pre_stop);
        let hook = container.and_then(|c| Some((c, c.lifecycle.pre_stop.as_ref()?)));
        let mut left_min = Duration::ZERO;
        if let Some((container, handler)) = hook {
            left_min = LEFT_AFTER_HOOK_MIN;
            if let Err(why) = self.target(id).run(container, handler, grace).await {
                self.tell(name, Kind::Warning, "FailedPreStopHook", format!("PreStopHook failed: {why}"));
            }
        }
        let left = grace.saturating_sub(began.elapsed()).max(left_min);
        let runtime = &self.node.runtime;
        runtime.stop_container(id, left).await.map_err(|e| ("KillContainerError".to_owned(), e.message))?;
        match runtime.container_status(id).await {
            Ok(status) if status.state == ContainerState::ContainerRunning as i32 => {
                Err(("KillContainerError".to_owned(), "the container still runs".to_owned()))
            }
            Err(error) if !error.is_not_found() => Err(("KillContainerError".to_owned(), error.message)),
            Ok(_) | Err(_) => Ok(Done::Nothing),
        }
    }

    async fn remove_container(self, id: &str, log: Option<PathBuf>) -> Outcome {
        let removed = self.node.runtime.remove_container(id).await;
        if removed.is_ok()
            && let Some(log) = log.filter(|path| path.starts_with(&self.dirs.logs))
        {
            crate::logs::remove(&log).await;
        }
        done(removed, "RemoveContainerError")
    }

    async fn probe(self, name: String, id: String, kind: ProbeKind) -> Outcome {
        let container = self.pod.spec.container(&name).ok_or_else(vanished)?;
        let probe = container.probe(kind).ok_or_else(vanished)?;
        let timeout = Duration::from_secs(default_to(probe.timeout_seconds, 1).into());
        let result = self.target(&id).run(container, &probe.handler, timeout).await;
        Ok(Done::Probed { container: name, id, kind, result })
    }

    async fn clean_up(self) -> Outcome {
        volumes::clean_up(&self.dirs).await.map_err(|message| ("CleanUpError".to_owned(), message))?;
        Ok(Done::CleanedUp)
    }

    async fn delete(self) -> Outcome {
        let deleted = self.node.cluster.delete_pod(&self.reference).await;
        deleted.map_err(|e| ("DeleteError".to_owned(), e.to_string()))?;
        Ok(Done::Deleted)
    }

    fn target(&self, id: &str) -> Target {
        Target {
            runtime: self.node.runtime.clone(),
            container_id: id.to_owned(),
            ip: self.facts.pod_ips.first().copied(),
            host_network: self.pod.spec.host_network,
        }
    }

    /// Records an event about the pod, or about a container of it.
    fn tell(&self, container: &str, kind: Kind, reason: &'static str, message: String) {
        let part = if container.is_empty() { String::new() } else { part(&self.pod, container) };
        self.node.recorder.pod(&self.reference, &part, kind, reason, message);
    }
}

/// Writes a status. What can never be written is taken as written: the pod's life does not wait for it.
async fn report(cluster: Cluster, pod: PodRef, patch: Value, status: Value) -> Outcome {
    match cluster.patch_pod_status(&pod, &patch).await {
        Ok(version) => Ok(Done::Reported { status, version }),
        Err(error) if error.retryable() || error.reason() == Reason::Forbidden => {
            Err(("StatusError".to_owned(), error.to_string()))
        }
        Err(error) => {
            if !error.is_not_found() {
                tracing::warn!(tenant = %pod.tenant, pod = %pod.words(), %error, "the API refuses a pod's status");
            }
            Ok(Done::Reported { status, version: 0 })
        }
    }
}

fn done(result: Result<(), CriError>, reason: &str) -> Outcome {
    result.map(|()| Done::Nothing).map_err(|e| (reason.to_owned(), e.message))
}

/// The spec of a running pod loses no container, unless the API says nonsense.
fn vanished() -> Failure {
    ("ContainerGone".to_owned(), "the pod's spec does not have the container any more".to_owned())
}

/// What a container wrote before it ended, or the end of its log where there is one to look at.
pub async fn last_words(file: PathBuf, log: Option<PathBuf>) -> String {
    let heard = volumes::blocking(move || {
        let words = tail(&file, LAST_WORDS_BYTES_MAX);
        Ok(match log {
            Some(log) if words.is_empty() => {
                let lines = tail(&log, LAST_WORDS_FROM_LOG_BYTES_MAX);
                lines.lines().filter_map(crate::logs::content_of).collect::<String>()
            }
            Some(_) | None => words,
        })
    });
    heard.await.unwrap_or_default()
}

/// The end of a file, empty if it cannot be read.
fn tail(path: &std::path::Path, bytes_max: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
