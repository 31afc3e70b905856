//! `ursa server`: everything in one process on the embedded store.

use crate::args::{AuditMode, ServerArgs};
use crate::in_process::{InProcess, LocalNode};
use api::{TenantName, Timestamp};
use apiserver::{Config, Server};
use client::Connect;
use controller_manager::{ControllerSet, LoadBalancerPool, ReadRequest, Requested, Sign};
use node_agent::{NodeAgent, RuntimeEndpoints};
use policy::authn::{Issuers, TokenFile};
use policy::pki::Pki;
use policy::{KubeAuth, kubeconfig};
use runtime::{Phase, Supervisor};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Limits, Store};
use tokio::net::TcpListener;

/// How long the administrator's certificate is valid; it is issued anew at every start.
const ADMIN_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs the server until it is told to stop. `Err` is one sentence for the operator.
pub fn main(args: ServerArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let checked = Checked::new(&args)?;
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no threads can be started ({e}); raise the process limit"))?;
    let done = executor.block_on(run(args, checked));
    executor.shutdown_timeout(Duration::from_secs(1));
    done
}

/// What can be refused before anything is touched.
struct Checked {
    controllers: ControllerSet,
    runtimes: RuntimeEndpoints,
    tokens: TokenFile,
    issuers: Issuers,
    node_name: String,
    load_balancer_pool: Option<LoadBalancerPool>,
}

impl Checked {
    fn new(args: &ServerArgs) -> Result<Checked, String> {
        let controllers = args.controllers.parse::<ControllerSet>().map_err(|e| format!("--controllers: {e}"))?;
        let runtimes: RuntimeEndpoints =
            args.container_runtime_endpoint.parse().map_err(|e| format!("--container-runtime-endpoint: {e}"))?;
        if args.node_agent {
            for runtime in runtimes.iter() {
                reachable(&runtime.socket)?;
            }
        }
        refuse_foreign(&args.data_dir)?;
        let node_name = args.node_name.clone().unwrap_or_else(host_name);
        if !api::is_dns_subdomain(&node_name) {
            return Err(format!("{node_name:?} cannot name a node; give another with --node-name"));
        }
        let pool = args.load_balancer_pool.as_deref().map(str::parse::<LoadBalancerPool>).transpose();
        let load_balancer_pool = pool.map_err(|e| format!("--load-balancer-pool: {e}"))?;
        let tokens = token_file(args.token_auth_file.as_deref())?;
        let issuers = issuers(args.authentication_config.as_deref())?;
        Ok(Checked { controllers, runtimes, tokens, issuers, node_name, load_balancer_pool })
    }
}

/// What a data directory of Ursa may hold, the containerd of `hack/up.sh` included.
const OURS: [&str; 8] = ["admin.kubeconfig", "cni", "containerd", "logs", "node", "pki", "run", "store"];

/// A directory that holds something, but nothing of Ursa's, belongs to someone else.
fn refuse_foreign(dir: &Path) -> Result<(), String> {
    let names: Vec<_> = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{} cannot be read ({e}); choose another with --data-dir", dir.display())),
    };
    if names.is_empty() || names.iter().any(|name| OURS.iter().any(|ours| name == ours)) {
        return Ok(());
    }
    Err(format!("{} holds something else than Ursa's data; choose another directory with --data-dir", dir.display()))
}

/// A runtime that does not answer is told of now, not as pods that never start.
fn reachable(socket: &Path) -> Result<(), String> {
    std::os::unix::net::UnixStream::connect(socket).map(drop).map_err(|e| {
        format!(
            "no container runtime answers at {} ({e}); start containerd, name its socket with \
             --container-runtime-endpoint, or run without pods with --node-agent=false",
            socket.display()
        )
    })
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

fn token_file(path: Option<&Path>) -> Result<TokenFile, String> {
    let Some(path) = path else { return Ok(TokenFile::default()) };
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|e| format!("--token-auth-file {name} cannot be read: {e}"))?;
    let (tokens, warnings) = TokenFile::parse(&text).map_err(|e| format!("--token-auth-file {name}: {e}"))?;
    for warning in warnings {
        tracing::warn!(file = %name, warning, "the token file is odd");
    }
    Ok(tokens)
}

async fn run(args: ServerArgs, checked: Checked) -> Result<(), String> {
    // The listener first: an occupied port changes nothing.
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = TcpListener::bind(address).await.map_err(|e| cannot_listen(address, &e))?;
    let address = listener.local_addr().map_err(|e| cannot_listen(address, &e))?;
    let dir = args.data_dir.as_path();
    let store =
        Store::open(&dir.join("store"), kinds::Registry::selectable, Limits::default()).map_err(|e| e.to_string())?;
    let now = Timestamp::now();
    let names = server_names(args.bind_address, &checked.node_name);
    let pki = Arc::new(Pki::open(dir, &names, now).map_err(|e| e.to_string())?);

    let mut supervisor = Supervisor::new();
    let node = Arc::new(LocalNode::default());
    let audit = audit_log(&args, &mut supervisor)?;
    let config = Config {
        store: store.clone(),
        pki: pki.clone(),
        token_file: checked.tokens,
        dial: node.clone(),
        advertise: Some(SocketAddr::new(node_address(args.bind_address), address.port())),
        stop: supervisor.stop(Phase::Listeners),
        limits: apiserver::Limits::default(),
        audit,
        issuers: checked.issuers,
    };
    let server = Server::new(config).await.map_err(|e| e.to_string())?;
    let tls = apiserver::tls_config(&pki)
        .map_err(|e| format!("the certificates under {}/pki cannot be used: {e}", dir.display()))?;
    supervisor.spawn(Phase::Listeners, "api server", |stop| apiserver::serve(server.clone(), listener, tls, stop));
    let connect: Arc<dyn Connect> = Arc::new(InProcess(server.clone()));
    let root_ca_pem = pki.ca_pem().to_owned();
    let authority = pki.clone();
    let sign: Arc<Sign> = Arc::new(move |tenant, request, lifetime, now| {
        authority.sign_client(tenant, request, lifetime, now).map_err(|e| e.to_string())
    });
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
    let controllers = controller_manager::Config::new(checked.controllers, root_ca_pem, sign, read_request);
    let controllers = controller_manager::Config { load_balancer_pool: checked.load_balancer_pool, ..controllers };
    supervisor.spawn(Phase::Workers, "controllers", |stop| controller_manager::run(connect.clone(), controllers, stop));
    if args.scheduler {
        let config = scheduler::Config::default();
        supervisor.spawn(Phase::Workers, "scheduler", |stop| scheduler::run(connect.clone(), config, stop));
    }
    if args.node_agent {
        let mut config = node_agent::Config::new(
            &checked.node_name,
            checked.runtimes,
            dir.to_owned(),
            node_address(args.bind_address),
        );
        config.kubernetes_service = Some((args.bind_address.to_string(), address.port()));
        let agent = NodeAgent::new(config, connect.clone());
        node.serve(checked.node_name.clone(), agent.server());
        supervisor.spawn(Phase::Workers, "node agent", |stop| agent.run(stop));
    }
    supervisor.spawn(Phase::Storage, "store", |stop| keep_store(store, stop));

    write_admin_kubeconfig(dir, &pki, address, now)?;
    server.set_ready(true);
    tracing::info!(%address, data_dir = %dir.display(), "ready");
    let shutdown = async {
        runtime::signals::terminate().await;
        tracing::info!("stopping");
        server.set_ready(false);
    };
    supervisor.run(shutdown, Duration::from_secs(args.shutdown_grace)).await.map_err(|died| died.to_string())
}

fn issuers(path: Option<&Path>) -> Result<Issuers, String> {
    let Some(path) = path else { return Ok(Issuers::default()) };
    let name = path.display();
    let text = fs::read(path).map_err(|e| format!("--authentication-config {name} cannot be read: {e}"))?;
    let config = apiserver::read_yaml(&text).map_err(|why| format!("--authentication-config {name}: {why}"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    // Files are named from where the configuration lies.
    let read = |file: &str| fs::read(folder.join(file)).map_err(|e| e.to_string());
    Issuers::from_value(&config, read).map_err(|why| format!("--authentication-config {name}: {why}"))
}

/// Opens the audit log, where there is a policy for it, and starts its writer.
fn audit_log(args: &ServerArgs, supervisor: &mut Supervisor) -> Result<Option<Arc<apiserver::Audit>>, String> {
    let Some(policy_file) = &args.audit_policy_file else { return Ok(None) };
    let config = apiserver::AuditConfig {
        policy_file: policy_file.clone(),
        log_path: args.audit_log_path.clone().unwrap_or_else(|| args.data_dir.join("logs").join("audit.log")),
        max_bytes: args.audit_log_maxsize.saturating_mul(1 << 20),
        max_backups: args.audit_log_maxbackup,
        blocking: args.audit_log_mode == AuditMode::Blocking,
    };
    let (audit, writer) = apiserver::Audit::open(config)?;
    supervisor.spawn(Phase::Storage, "audit log", |stop| writer.run(stop));
    Ok(Some(audit))
}

/// Ends with the store: cleanly when told to, with an error when its disk fails.
async fn keep_store(store: Store, stop: runtime::Stop) -> Result<(), String> {
    tokio::select! {
        biased;
        // Shutdown: what was accepted is synced before the process ends.
        () = stop.stopped() => {
            store.close().await;
            Ok(())
        }
        // Ends the process: a store that cannot write must not pretend to.
        why = store.failed() => Err(why),
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    let mend = match error.kind() {
        std::io::ErrorKind::AddrInUse => "stop what uses it or choose another with --secure-port",
        std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with --secure-port",
        _ => "choose an address of this machine with --bind-address",
    };
    format!("cannot listen on {address} ({error}); {mend}")
}

/// What clients may call the server, besides the names that every server has.
fn server_names(bind: IpAddr, node_name: &str) -> Vec<String> {
    let mut names = vec![node_name.to_owned()];
    if !bind.is_unspecified() {
        names.push(bind.to_string());
    }
    names
}

/// The node's own address; a server that listens everywhere is reached over loopback from here.
fn node_address(bind: IpAddr) -> IpAddr {
    if bind.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { bind }
}

/// Writes the kubeconfig of an administrator in tenant `system`, readable by its owner alone, in one step.
fn write_admin_kubeconfig(dir: &Path, pki: &Pki, address: SocketAddr, now: Timestamp) -> Result<(), String> {
    let tenant = TenantName::system();
    let credential = pki
        .client_certificate(&tenant, "admin", &[policy::rbac::MASTERS], ADMIN_LIFETIME, now)
        .map_err(|e| e.to_string())?;
    let host = SocketAddr::new(node_address(address.ip()), address.port());
    let text =
        kubeconfig(&format!("https://{host}"), pki.ca_pem(), "admin", &KubeAuth::Certificate(credential), "system");
    let (path, new) = (dir.join("admin.kubeconfig"), dir.join("admin.kubeconfig.new"));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    })();
    written.map_err(|e| format!("{} cannot be written: {e}", path.display()))
}
