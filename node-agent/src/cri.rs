//! One CRI server: its socket, its calls, and what it says went wrong.
//!
//! Invariant: every call has a deadline; a runtime that hangs is an error, not a hang of the agent.
//! The connection is made at the first call and made again after it broke, without anyone's help.

use crate::config::{RuntimeEndpoint, Workload};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{self as cri};
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Longer than any call takes that does not wait for something else: CNI and a slow disk included.
const CALL_DEADLINE: Duration = Duration::from_secs(120);

/// Polls are cheap; a runtime that does not answer them is down.
pub const POLL_DEADLINE: Duration = Duration::from_secs(10);

/// A large image over a slow line.
const PULL_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// What a list of every container on a node may hold.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Why a call failed, in the runtime's words.
#[derive(Clone, Debug)]
pub struct CriError {
    pub code: tonic::Code,
    pub message: String,
}

impl CriError {
    pub fn is_not_found(&self) -> bool {
        self.code == tonic::Code::NotFound
    }
}

impl fmt::Display for CriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CriError {}

impl From<tonic::Status> for CriError {
    fn from(status: tonic::Status) -> CriError {
        CriError { code: status.code(), message: status.message().to_owned() }
    }
}

/// A CRI server. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub name: String,
    pub workload: Workload,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Runtime {
    /// Knows the way to a runtime; does not go there yet.
    pub fn at(endpoint: &RuntimeEndpoint) -> Runtime {
        let socket = endpoint.socket.clone();
        // The URI only fills the `:authority` of requests; the connector decides where they go.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }));
        Runtime {
            name: endpoint.name.clone(),
            workload: endpoint.workload,
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    pub async fn version(&self) -> Result<cri::VersionResponse, CriError> {
        let request = cri::VersionRequest { version: "v1".to_owned() };
        let mut client = self.runtime.clone();
        call(POLL_DEADLINE, client.version(request)).await
    }

    pub async fn status(&self) -> Result<cri::RuntimeStatus, CriError> {
        let mut client = self.runtime.clone();
        let answer = call(POLL_DEADLINE, client.status(cri::StatusRequest { verbose: false })).await?;
        Ok(answer.status.unwrap_or_default())
    }

    /// All sandboxes with these labels.
    pub async fn sandboxes(&self, labels: &[(&str, &str)]) -> Result<Vec<cri::PodSandbox>, CriError> {
        let filter = cri::PodSandboxFilter { label_selector: selector(labels), ..Default::default() };
        let mut client = self.runtime.clone();
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        Ok(call(POLL_DEADLINE, client.list_pod_sandbox(request)).await?.items)
    }

    /// All containers with these labels.
    pub async fn containers(&self, labels: &[(&str, &str)]) -> Result<Vec<cri::Container>, CriError> {
        let filter = cri::ContainerFilter { label_selector: selector(labels), ..Default::default() };
        let mut client = self.runtime.clone();
        let request = cri::ListContainersRequest { filter: Some(filter) };
        Ok(call(POLL_DEADLINE, client.list_containers(request)).await?.containers)
    }

    pub async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, CriError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let mut client = self.runtime.clone();
        Ok(call(POLL_DEADLINE, client.pod_sandbox_status(request)).await?.status.unwrap_or_default())
    }

    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, CriError> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let mut client = self.runtime.clone();
        Ok(call(POLL_DEADLINE, client.container_status(request)).await?.status.unwrap_or_default())
    }

    /// What the running containers with these labels use.
    pub async fn container_stats(&self, labels: &[(&str, &str)]) -> Result<Vec<cri::ContainerStats>, CriError> {
        let filter = cri::ContainerStatsFilter { label_selector: selector(labels), ..Default::default() };
        let mut client = self.runtime.clone();
        let request = cri::ListContainerStatsRequest { filter: Some(filter) };
        Ok(call(POLL_DEADLINE, client.list_container_stats(request)).await?.stats)
    }

    /// Creates and starts a sandbox; its id.
    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Result<String, CriError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let mut client = self.runtime.clone();
        Ok(call(CALL_DEADLINE, client.run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    pub async fn stop_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut client = self.runtime.clone();
        gone_is_done(call(CALL_DEADLINE, client.stop_pod_sandbox(request)).await)
    }

    pub async fn remove_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut client = self.runtime.clone();
        gone_is_done(call(CALL_DEADLINE, client.remove_pod_sandbox(request)).await)
    }

    /// Creates a container in a sandbox; its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let mut client = self.runtime.clone();
        Ok(call(CALL_DEADLINE, client.create_container(request)).await?.container_id)
    }

    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        let mut client = self.runtime.clone();
        call(CALL_DEADLINE, client.start_container(request)).await.map(drop)
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: whole_secs(grace) };
        let mut client = self.runtime.clone();
        gone_is_done(call(CALL_DEADLINE + grace, client.stop_container(request)).await)
    }

    pub async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        let mut client = self.runtime.clone();
        gone_is_done(call(CALL_DEADLINE, client.remove_container(request)).await)
    }

    /// Runs a command in a container to its end.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, CriError> {
        let request =
            cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: whole_secs(timeout) };
        let mut client = self.runtime.clone();
        call(timeout + Duration::from_secs(5), client.exec_sync(request)).await
    }

    /// The URL of the runtime's streaming server for one execution.
    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String, CriError> {
        let mut client = self.runtime.clone();
        Ok(call(CALL_DEADLINE, client.exec(request)).await?.url)
    }

    /// The URL of the runtime's streaming server for one attachment.
    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String, CriError> {
        let mut client = self.runtime.clone();
        Ok(call(CALL_DEADLINE, client.attach(request)).await?.url)
    }

    /// The URL of the runtime's streaming server for forwarding ports of a sandbox.
    pub async fn port_forward(&self, sandbox: &str) -> Result<String, CriError> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: Vec::new() };
        let mut client = self.runtime.clone();
        Ok(call(CALL_DEADLINE, client.port_forward(request)).await?.url)
    }

    /// Closes a container's log file and opens it anew, after it was renamed.
    pub async fn reopen_log(&self, id: &str) -> Result<(), CriError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        let mut client = self.runtime.clone();
        call(POLL_DEADLINE, client.reopen_container_log(request)).await.map(drop)
    }

    /// An image that the runtime has.
    pub async fn image(&self, name: &str) -> Result<Option<cri::Image>, CriError> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(name)), verbose: false };
        let mut client = self.images.clone();
        Ok(call(POLL_DEADLINE, client.image_status(request)).await?.image)
    }

    /// Pulls an image; its reference.
    pub async fn pull(
        &self,
        name: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = cri::PullImageRequest { image: Some(image_spec(name)), auth, sandbox_config: Some(sandbox) };
        let mut client = self.images.clone();
        Ok(call(PULL_DEADLINE, client.pull_image(request)).await?.image_ref)
    }

    /// Images that the runtime has, as the node's status lists them.
    pub async fn images(&self) -> Result<Vec<cri::Image>, CriError> {
        let mut client = self.images.clone();
        Ok(call(POLL_DEADLINE, client.list_images(cri::ListImagesRequest { filter: None })).await?.images)
    }
}

/// An image by the name that a user wrote.
pub fn image_spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: name.to_owned(), user_specified_image: name.to_owned(), ..Default::default() }
}

fn selector(labels: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A time as CRI counts it. Rounded up: the last second of a grace may be all of it, and a grace of none is SIGKILL.
fn whole_secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX)
}

async fn call<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, CriError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(CriError {
            code: tonic::Code::DeadlineExceeded,
            message: format!("the runtime did not answer within {} s", deadline.as_secs()),
        }),
    }
}

/// To stop or remove what is not there is to have done it.
fn gone_is_done<T>(result: Result<T, CriError>) -> Result<(), CriError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_never_cut_short_by_counting_seconds() {
        let whole = |millis| whole_secs(Duration::from_millis(millis));
        assert_eq!([0, 1, 999, 1000, 1001, 29_999, 30_000].map(whole), [0, 1, 1, 1, 2, 30, 30]);
        assert_eq!(whole_secs(Duration::MAX), i64::MAX);
    }
}
