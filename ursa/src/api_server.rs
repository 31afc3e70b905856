//! An API server in this process, with what it is made of; and `ursa apiserver`, where it is alone.

use crate::args::{ApiArgs, AuditMode};
use crate::components::{block_on, host_name, until_terminated};
use crate::shared_keys;
use api::{TenantName, Timestamp};
use apiserver::{Config, Dial, NoNodes, Peering, Server};
use policy::authn::{Issuers, TokenFile};
use policy::pki::Pki;
use policy::{KubeAuth, kubeconfig, rbac};
use runtime::{Phase, Supervisor};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{EtcdOptions, EtcdTls, Limits, OpenError, Partition, Store};
use tokio::net::TcpListener;

/// How long the certificates of the kubeconfigs are valid; they are issued anew at every start.
const KUBECONFIG_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The kubeconfigs that a server writes: its name, its user, and the user's group.
const KUBECONFIGS: [(&str, &str, Option<&str>); 3] = [
    ("admin", "admin", Some(rbac::MASTERS)),
    // Its controllers act as service accounts of all tenants.
    ("controller-manager", "system:kube-controller-manager", Some(rbac::MASTERS)),
    ("scheduler", "system:kube-scheduler", None),
];

/// Runs an API server until it is told to stop. `Err` is one sentence for the operator.
pub fn main(args: ApiArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let checked = Checked::new(&args)?;
    block_on(async {
        let mut supervisor = Supervisor::new();
        let node_name = host_name();
        let api = Api::start(&args, checked, &node_name, Arc::new(NoNodes), &mut supervisor).await?;
        api.finish(&args, &node_name)?;
        until_terminated(supervisor, &args.shutdown, || api.server.set_ready(false)).await
    })
}

/// What of an API server's arguments can be refused before anything is touched.
pub struct Checked {
    tokens: TokenFile,
    issuers: Issuers,
    etcd: Option<EtcdOptions>,
    tenant_networks: apiserver::Networks,
    server_token: Option<String>,
}

impl Checked {
    pub fn new(args: &ApiArgs) -> Result<Checked, String> {
        refuse_foreign(&args.data_dir)?;
        let tokens = token_file(args.token_auth_file.as_deref())?;
        let issuers = issuers(args.authentication_config.as_deref())?;
        let tenant_networks = args.tenant_egress_allow.parse().map_err(|e| format!("--tenant-egress-allow: {e}"))?;
        let server_token = shared_keys::token(args.server_token_file.as_deref())?;
        Ok(Checked { tokens, issuers, etcd: etcd(args)?, tenant_networks, server_token })
    }
}

/// A started API server.
pub struct Api {
    pub server: Arc<Server>,
    pub pki: Arc<Pki>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Api {
    /// Listens, opens the store and serves; not ready yet. `node_name` is one of the names of this machine.
    pub async fn start(
        args: &ApiArgs,
        checked: Checked,
        node_name: &str,
        dial: Arc<dyn Dial>,
        supervisor: &mut Supervisor,
    ) -> Result<Api, String> {
        // The listener first: an occupied port changes nothing.
        let address = SocketAddr::new(args.bind_address, args.secure_port);
        let listener = TcpListener::bind(address).await.map_err(|e| cannot_listen(address, &e))?;
        let address = listener.local_addr().map_err(|e| cannot_listen(address, &e))?;
        let dir = args.data_dir.as_path();
        let store = open_store(dir, checked.etcd).await.map_err(|e| e.to_string())?;
        // An embedded store is one server's alone.
        let reached = args.peer_advertise_ip.unwrap_or(node_address(args.bind_address));
        let peer_address = (!args.etcd_servers.is_empty()).then(|| SocketAddr::new(reached, address.port()));
        let peering = Peering { group: args.service_group_id.clone(), address: peer_address };
        let names = server_names(args.bind_address, peer_address, node_name);
        let pki = match args.etcd_servers.is_empty() {
            true => Pki::open(dir, &names, Timestamp::now()).map_err(|e| e.to_string())?,
            false => shared_keys::open(&store, dir, &names, checked.server_token.as_deref()).await?,
        };
        let pki = Arc::new(pki);
        let config = Config {
            store: store.clone(),
            pki: pki.clone(),
            token_file: checked.tokens,
            dial,
            advertise: Some(SocketAddr::new(node_address(args.bind_address), address.port())),
            stop: supervisor.stop(Phase::Listeners),
            limits: apiserver::Limits::default(),
            audit: audit_log(args, supervisor)?,
            issuers: checked.issuers,
            tenant_networks: checked.tenant_networks,
            peering,
        };
        let server = Server::new(config).await.map_err(|e| e.to_string())?;
        let tls = apiserver::tls_config(&pki)
            .map_err(|e| format!("the certificates under {}/pki cannot be used: {e}", dir.display()))?;
        supervisor.spawn(Phase::Listeners, "api server", |stop| apiserver::serve(server.clone(), listener, tls, stop));
        supervisor.spawn(Phase::Workers, "usage", |stop| apiserver::usage::run(server.clone(), stop));
        supervisor.spawn(Phase::Workers, "tenant moves", |stop| apiserver::follow_moves(server.clone(), stop));
        supervisor
            .spawn(Phase::Storage, "storage clusters", |stop| apiserver::follow_storage_clusters(server.clone(), stop));
        supervisor.spawn(Phase::Storage, "store", |stop| keep_store(store, stop));
        Ok(Api { server, pki, address })
    }

    /// Writes the kubeconfigs, that of a node too, and says that the server is ready.
    pub fn finish(&self, args: &ApiArgs, node_name: &str) -> Result<(), String> {
        for (name, user, group) in KUBECONFIGS {
            self.write_kubeconfig(&args.data_dir, name, user, group)?;
        }
        let node = format!("system:node:{node_name}");
        self.write_kubeconfig(&args.data_dir, "node-agent", &node, Some("system:nodes"))?;
        self.server.set_ready(true);
        tracing::info!(address = %self.address, data_dir = %args.data_dir.display(), "ready");
        Ok(())
    }

    /// Writes `NAME.kubeconfig` of a user in tenant `system`, readable by its owner alone, in one step.
    fn write_kubeconfig(&self, dir: &Path, name: &str, user: &str, group: Option<&str>) -> Result<(), String> {
        let (tenant, now) = (TenantName::system(), Timestamp::now());
        let groups: Vec<&str> = group.into_iter().collect();
        let credential =
            self.pki.client_certificate(&tenant, user, &groups, KUBECONFIG_LIFETIME, now).map_err(|e| e.to_string())?;
        let host = SocketAddr::new(node_address(self.address.ip()), self.address.port());
        let auth = KubeAuth::Certificate(credential);
        let text = kubeconfig(&format!("https://{host}"), self.pki.ca_pem(), user, &auth, "system");
        let (path, new) = (dir.join(format!("{name}.kubeconfig")), dir.join(format!("{name}.kubeconfig.new")));
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        })();
        written.map_err(|e| format!("{} cannot be written: {e}", path.display()))
    }
}

/// What a data directory of Ursa may hold, the containerd of `hack/up.sh` included.
const OURS: [&str; 11] = [
    "admin.kubeconfig",
    "cni",
    "containerd",
    "controller-manager.kubeconfig",
    "logs",
    "node",
    "node-agent.kubeconfig",
    "pki",
    "run",
    "scheduler.kubeconfig",
    "store",
];

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

/// How the etcd cluster of the system partition is reached, where there is one.
fn etcd(args: &ApiArgs) -> Result<Option<EtcdOptions>, String> {
    if args.etcd_servers.is_empty() {
        return Ok(None);
    }
    for server in &args.etcd_servers {
        let uri = server.parse::<http::Uri>().ok();
        let is_url = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !is_url {
            return Err(format!("--etcd-servers: {server:?} is not of the form https://HOST:PORT"));
        }
    }
    let read = |flag: &str, path: &Option<PathBuf>| {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|e| format!("--{flag} {} cannot be read: {e}", path.display()));
        path.as_ref().map(read).transpose()
    };
    let ca = read("etcd-cafile", &args.etcd_cafile)?;
    let certificate = read("etcd-certfile", &args.etcd_certfile)?;
    let identity = certificate.zip(read("etcd-keyfile", &args.etcd_keyfile)?);
    let tls = (ca.is_some() || identity.is_some()).then_some(EtcdTls { ca, identity });
    Ok(Some(EtcdOptions { tls, ..EtcdOptions::new(args.etcd_servers.clone()) }))
}

/// The embedded store in the data directory, or the etcd cluster.
async fn open_store(dir: &Path, etcd: Option<EtcdOptions>) -> Result<Store, OpenError> {
    let (fields, limits) = (kinds::Registry::selectable, Limits::default());
    match etcd {
        Some(options) => Partition::etcd(options, fields, limits).await,
        None => Partition::embedded(&dir.join("store"), fields, limits),
    }
    .map(|system| Store::routed(system, apiserver::ROUTES))
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
fn audit_log(args: &ApiArgs, supervisor: &mut Supervisor) -> Result<Option<Arc<apiserver::Audit>>, String> {
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

/// What clients and other API servers may call the server, besides the names that every server has.
fn server_names(bind: IpAddr, peer_address: Option<SocketAddr>, node_name: &str) -> Vec<String> {
    let mut names = vec![node_name.to_owned()];
    if !bind.is_unspecified() {
        names.push(bind.to_string());
    }
    names.extend(peer_address.map(|address| address.ip().to_string()));
    names
}

/// The node's own address; a server that listens everywhere is reached over loopback from here.
pub fn node_address(bind: IpAddr) -> IpAddr {
    if bind.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { bind }
}
