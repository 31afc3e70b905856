//! What a runtime says of one pod: its sandboxes and containers, newest first.

use crate::cri::{CriError, Runtime};
use crate::labels;
use crate::pod::PodRef;
use api::Timestamp;
use k8s_cri::v1::{self as cri, ContainerState, PodSandboxState};
use std::collections::HashMap;
use std::net::IpAddr;

/// Everything of one pod in one runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    /// Empty in the node's own network.
    pub ips: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub sandbox: String,
    pub name: String,
    /// How often a container of this name ran before.
    pub restart_count: u32,
    /// The image as the pod's spec named it when this container was made.
    pub spec_image: String,
    pub state: State,
    pub image: String,
    pub image_ref: String,
    pub log_path: String,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Running { started: Timestamp },
    Exited(Exit),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
    pub message: String,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

impl Container {
    /// Whether a process may be there.
    pub fn may_run(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Unknown)
    }

    pub fn running_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Running { started } => Some(started),
            State::Created | State::Exited(_) | State::Unknown => None,
        }
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            State::Created | State::Running { .. } | State::Unknown => None,
        }
    }
}

impl Observed {
    /// Asks the runtime about one pod. What vanishes meanwhile is left out.
    pub async fn of(runtime: &Runtime, pod: &PodRef, node: &str) -> Result<Observed, CriError> {
        let mine = [(labels::POD_UID, pod.uid.as_str()), (labels::NODE, node)];
        let mut observed = Observed::default();
        for sandbox in runtime.sandboxes(&mine).await? {
            match runtime.sandbox_status(&sandbox.id).await {
                Ok(status) => observed.sandboxes.push(Sandbox::of(status)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        for container in runtime.containers(&mine).await? {
            match runtime.container_status(&container.id).await {
                Ok(status) => observed.containers.push(Container::of(container.pod_sandbox_id, status)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        observed.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.attempt));
        observed.containers.sort_by_key(|c| std::cmp::Reverse(c.restart_count));
        Ok(observed)
    }

    /// The newest container of a name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest container of a name but one.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    /// The newest sandbox, where it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }
}

impl Sandbox {
    fn of(status: cri::PodSandboxStatus) -> Sandbox {
        let network = status.network.unwrap_or_default();
        let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Sandbox {
            id: status.id,
            attempt: status.metadata.map_or(0, |m| m.attempt),
            ready: status.state == PodSandboxState::SandboxReady as i32,
            ips: all.filter_map(|ip| ip.parse().ok()).collect(),
        }
    }
}

impl Container {
    fn of(sandbox: String, status: cri::ContainerStatus) -> Container {
        let metadata = status.metadata.unwrap_or_default();
        let state = match ContainerState::try_from(status.state) {
            Ok(ContainerState::ContainerCreated) => State::Created,
            Ok(ContainerState::ContainerRunning) => {
                State::Running { started: from_nanos(status.started_at).unwrap_or_default() }
            }
            Ok(ContainerState::ContainerExited) => State::Exited(Exit {
                code: status.exit_code,
                reason: status.reason,
                message: status.message,
                started: from_nanos(status.started_at),
                finished: from_nanos(status.finished_at).unwrap_or_default(),
            }),
            Ok(ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
        };
        Container {
            id: status.id,
            sandbox,
            restart_count: number(&status.annotations, labels::CONTAINER_RESTART_COUNT).unwrap_or(metadata.attempt),
            name: metadata.name,
            spec_image: status.annotations.get(labels::CONTAINER_IMAGE).cloned().unwrap_or_default(),
            state,
            image: status.image.map(|i| i.image).unwrap_or_default(),
            image_ref: status.image_ref,
            log_path: status.log_path,
        }
    }
}

fn number<T: std::str::FromStr>(annotations: &HashMap<String, String>, name: &str) -> Option<T> {
    annotations.get(name).and_then(|text| text.parse().ok())
}

/// A runtime's time; it writes 0 for never.
fn from_nanos(nanos: i64) -> Option<Timestamp> {
    let since_1970 = std::time::Duration::from_nanos(u64::try_from(nanos).ok().filter(|&n| n > 0)?);
    Some(Timestamp::default().plus(since_1970))
}
