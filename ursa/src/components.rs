//! The components as processes of their own, against the server of a kubeconfig: controllers, scheduler, node agent.

use crate::args::{
    ComponentArgs, ControllerArgs, ControllerManagerArgs, NodeAgentArgs, NodeArgs, SchedulerArgs, ShutdownArgs,
    WorkloadControllerManagerArgs,
};
use api::Timestamp;
use client::{Connect, Kubeconfig, Remote};
use controller_manager::{ControllerSet, LoadBalancerPool, ReadRequest, Requested, Sharing, Sign};
use node_agent::{NodeAgent, RuntimeEndpoints};
use policy::pki::Authority;
use runtime::{Phase, Supervisor};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `ursa controller-manager`, until it is told to stop. `Err` is one sentence for the operator.
pub fn controller_manager(args: ControllerManagerArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let checked = CheckedControllers::new(&args.controllers)?;
    let authority = match (&args.cluster_signing_cert_file, &args.cluster_signing_key_file) {
        (Some(certificate), Some(key)) => {
            Some(Authority::read(certificate, key, Timestamp::now()).map_err(|e| e.to_string())?)
        }
        _ => None,
    };
    let (connect, kubeconfig) = connect(&args.client, "kube-controller-manager")?;
    let root_ca = String::from_utf8(kubeconfig.certificate_authority)
        .map_err(|_| format!("the certificate authority in {} is no PEM", args.client.kubeconfig.display()))?;
    let sign: Arc<Sign> = Arc::new(move |tenant, request, lifetime, now| match &authority {
        Some(authority) => authority.sign_client(tenant, request, lifetime, now).map_err(|e| e.to_string()),
        None => Err("this controller manager was started without --cluster-signing-cert-file".to_owned()),
    });
    let config =
        controller_manager::Config { sharing: Sharing::Leased("controller-manager"), ..checked.config(root_ca, sign) };
    run_controllers(connect, config, &args.client.shutdown)
}

/// `workload-controller-manager`, until it is told to stop. `Err` is one sentence for the operator.
pub fn workload_controller_manager(args: WorkloadControllerManagerArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let name = args.controllerconfig.display();
    let text =
        fs::read(&args.controllerconfig).map_err(|e| format!("--controllerconfig {name} cannot be read: {e}"))?;
    let config = WorkloadConfig::parse(&text).map_err(|why| format!("--controllerconfig {name}: {why}"))?;
    let (connect, kubeconfig) = connect(&args.client, "kube-controller-manager")?;
    let root_ca = String::from_utf8_lossy(&kubeconfig.certificate_authority).into_owned();
    let checked = CheckedControllers { enabled: config.enabled, load_balancer_pool: None };
    let sign: Arc<Sign> = Arc::new(|_, _, _, _| Err("this controller manager signs nothing".to_owned()));
    let sharing = Sharing::Leased("workload-controller-manager");
    let config = controller_manager::Config { sharing, workers: config.workers, ..checked.config(root_ca, sign) };
    run_controllers(connect, config, &args.client.shutdown)
}

/// What a file for `--controllerconfig` says. How often instances say that they live, and how often caches are filled anew,
/// are no choices here.
struct WorkloadConfig {
    enabled: ControllerSet,
    workers: NonZeroUsize,
}

impl WorkloadConfig {
    fn parse(text: &[u8]) -> Result<WorkloadConfig, String> {
        let config: serde_json::Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let controllers = config["controllers"].as_array().map_or(&[][..], Vec::as_slice);
        let types: Option<Vec<&str>> = controllers.iter().map(|controller| controller["type"].as_str()).collect();
        let types = types.filter(|types| !types.is_empty()).ok_or("it names no controllers by their type")?;
        let enabled = types.join(",").parse::<ControllerSet>().map_err(|e| e.to_string())?;
        let workers = controllers.iter().filter_map(|controller| controller["workers"].as_u64()).max().unwrap_or(5);
        let workers = usize::try_from(workers).ok().and_then(NonZeroUsize::new).ok_or("workers must be at least 1")?;
        Ok(WorkloadConfig { enabled, workers })
    }
}

fn run_controllers(
    connect: Arc<dyn Connect>,
    config: controller_manager::Config,
    shutdown: &ShutdownArgs,
) -> Result<(), String> {
    block_on(async {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Phase::Workers, "controllers", |stop| controller_manager::run(connect, config, stop));
        until_terminated(supervisor, shutdown, || {}).await
    })
}

/// Reads the file of `--scheduler-config`.
pub fn scheduler_config(file: &Path) -> Result<scheduler::Config, String> {
    let name = file.display();
    let text = fs::read(file).map_err(|e| format!("--scheduler-config {name} cannot be read: {e}"))?;
    let config = apiserver::read_yaml(&text).map_err(|why| format!("--scheduler-config {name}: {why}"))?;
    scheduler::Config::read(config).map_err(|why| format!("--scheduler-config {name}: {why}"))
}

/// `ursa scheduler`, until it is told to stop. `Err` is one sentence for the operator.
pub fn scheduler(args: SchedulerArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let config = match &args.scheduler_config {
        Some(file) => scheduler_config(file)?,
        None => scheduler::Config::named(&args.scheduler_name),
    };
    let (connect, _) = connect(&args.client, "kube-scheduler")?;
    block_on(async {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Phase::Workers, "scheduler", |stop| scheduler::run(connect, config, stop));
        until_terminated(supervisor, &args.client.shutdown, || {}).await
    })
}

/// `ursa node-agent`, until it is told to stop. `Err` is one sentence for the operator.
pub fn node_agent(args: NodeAgentArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let checked = CheckedNode::new(&args.node)?;
    checked.reachable()?;
    let (connect, kubeconfig) = connect(&args.client, "kubelet")?;
    let mut config = node_agent::Config::new(&checked.node_name, checked.runtimes, args.data_dir, args.node_ip);
    config.kubernetes_service = host_and_port(&kubeconfig.server);
    block_on(async {
        let mut supervisor = Supervisor::new();
        let agent = NodeAgent::new(config, connect);
        supervisor.spawn(Phase::Workers, "node agent", |stop| agent.run(stop));
        until_terminated(supervisor, &args.client.shutdown, || {}).await
    })
}

/// What of the controllers' arguments can be refused before anything is touched.
pub struct CheckedControllers {
    enabled: ControllerSet,
    load_balancer_pool: Option<LoadBalancerPool>,
}

impl CheckedControllers {
    pub fn new(args: &ControllerArgs) -> Result<CheckedControllers, String> {
        let enabled = args.controllers.parse::<ControllerSet>().map_err(|e| format!("--controllers: {e}"))?;
        let pool = args.load_balancer_pool.as_deref().map(str::parse::<LoadBalancerPool>).transpose();
        let load_balancer_pool = pool.map_err(|e| format!("--load-balancer-pool: {e}"))?;
        Ok(CheckedControllers { enabled, load_balancer_pool })
    }

    /// Controllers that trust `root_ca` (PEM) and have `sign` sign what clients ask for.
    pub fn config(self, root_ca: String, sign: Arc<Sign>) -> controller_manager::Config {
        let read_request: Arc<ReadRequest> = Arc::new(|pem| {
            let read = policy::pki::requested(pem).map_err(|e| e.to_string())?;
            Ok(Requested {
                common_name: read.common_name,
                organizations: read.organizations,
                dns_names: read.dns_names,
                email_addresses: read.email_addresses,
                ip_addresses: read.ip_addresses,
                uris: read.uris,
            })
        });
        let config = controller_manager::Config::new(self.enabled, root_ca, sign, read_request);
        controller_manager::Config { load_balancer_pool: self.load_balancer_pool, ..config }
    }
}

/// What of a node agent's arguments can be refused before anything is touched.
pub struct CheckedNode {
    pub runtimes: RuntimeEndpoints,
    pub node_name: String,
}

impl CheckedNode {
    pub fn new(args: &NodeArgs) -> Result<CheckedNode, String> {
        let runtimes: RuntimeEndpoints =
            args.container_runtime_endpoint.parse().map_err(|e| format!("--container-runtime-endpoint: {e}"))?;
        let node_name = args.node_name.clone().unwrap_or_else(host_name);
        if !api::is_dns_subdomain(&node_name) {
            return Err(format!("{node_name:?} cannot name a node; give another with --node-name"));
        }
        Ok(CheckedNode { runtimes, node_name })
    }

    /// A runtime that does not answer is told of now, not as pods that never start.
    pub fn reachable(&self) -> Result<(), String> {
        self.runtimes.iter().try_for_each(|runtime| reachable(&runtime.socket))
    }
}

/// Reaches the server of a component's kubeconfig, as what `program` is called elsewhere.
fn connect(args: &ComponentArgs, program: &'static str) -> Result<(Arc<dyn Connect>, Kubeconfig), String> {
    let kubeconfig = Kubeconfig::read(&args.kubeconfig).map_err(|e| e.to_string())?;
    let remote = Remote::new(&kubeconfig, program).map_err(|e| e.to_string())?;
    Ok((Arc::new(remote), kubeconfig))
}

/// Starts threads, and runs one component.
pub fn block_on(component: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no threads can be started ({e}); raise the process limit"))?;
    let done = executor.block_on(component);
    executor.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Runs what is supervised until SIGTERM or SIGINT, then calls `stopping` and ends it in order.
pub async fn until_terminated(
    supervisor: Supervisor,
    args: &ShutdownArgs,
    stopping: impl FnOnce(),
) -> Result<(), String> {
    let shutdown = async {
        runtime::signals::terminate().await;
        tracing::info!("stopping");
        stopping();
    };
    supervisor.run(shutdown, Duration::from_secs(args.shutdown_grace)).await.map_err(|died| died.to_string())
}

fn reachable(socket: &Path) -> Result<(), String> {
    std::os::unix::net::UnixStream::connect(socket).map(drop).map_err(|e| {
        format!(
            "no container runtime answers at {} ({e}); start containerd, name its socket with \
             --container-runtime-endpoint, or run without pods with --node-agent=false",
            socket.display()
        )
    })
}

pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

/// Where pods find the API.
fn host_and_port(server: &str) -> Option<(String, u16)> {
    let uri: http::Uri = server.parse().ok()?;
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(443)))
}
