//! The command line, as typed. Each command turns its part into a configuration.

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One control plane for many tenants; to each, it is a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "ursa", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

/// The program's other names, and the command that each stands for.
const OTHER_NAMES: [(&str, &str); 2] =
    [("workload-controller-manager", "workload-controller-manager"), ("kubectl-tenant", "tenant")];

impl Args {
    /// Reads the words of a command line, of which the first is the name that the program was called by.
    pub fn of(mut words: Vec<OsString>) -> Args {
        let called = words.first().map(Path::new).and_then(Path::file_name);
        if let Some((_, command)) = OTHER_NAMES.iter().find(|(name, _)| called.is_some_and(|called| called == *name)) {
            words.insert(1, command.into());
        }
        Args::parse_from(words)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run API server, controllers, scheduler and node agent in one process
    Server(ServerArgs),
    /// Run an API server alone
    Apiserver(ApiArgs),
    /// Run the controllers alone, against the server of a kubeconfig
    ControllerManager(ControllerManagerArgs),
    /// Run controllers alone, as their configuration says, under Arktos' name
    WorkloadControllerManager(WorkloadControllerManagerArgs),
    /// Run the scheduler alone, against the server of a kubeconfig
    Scheduler(SchedulerArgs),
    /// Run this machine's node agent alone, against the server of a kubeconfig
    NodeAgent(NodeAgentArgs),
    /// Create, list, use, suspend and delete tenants; as kubectl-tenant, this is kubectl tenant
    Tenant(TenantArgs),
    /// Print the completion of this command line for a shell
    Completion {
        /// The shell that is to read it
        shell: clap_complete::Shell,
    },
    /// Print a kubeconfig for a user of a tenant
    Kubeconfig(KubeconfigArgs),
    /// Write a backup of everything, or of one tenant, into a file, while the server runs
    Backup(BackupArgs),
    /// Restore a backup: everything into an empty data directory, or one tenant into a running server
    Restore(RestoreArgs),
    /// Say why a pod has its node, or has none: what each node's filters and scores come to, and when it is its turn
    Explain(ExplainArgs),
    /// Make the API traffic of many nodes that run nothing
    HollowNodes(HollowNodesArgs),
}

/// What every API server is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiArgs {
    /// Where everything is kept: objects, keys and certificates, kubeconfigs
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 takes a free one, which admin.kubeconfig names
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// Keep the objects in an etcd cluster instead: the URLs of its members, separated by ','
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// The authority of the members' certificates
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate that the members are shown
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The group of API servers that this one belongs to: it serves the tenants of the group's DataPartitionConfigs
    #[arg(long, value_name = "ID", default_value = "0", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub service_group_id: String,
    /// The address by which other API servers over the same etcd reach this one; --bind-address unless given
    #[arg(long, value_name = "IP", requires = "etcd_servers")]
    pub peer_advertise_ip: Option<IpAddr>,
    /// Share keys and certificates with the other API servers over the same etcd, which keeps them sealed with this token
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub server_token_file: Option<PathBuf>,
    /// A CSV file of static tokens: token,user,uid,"group,group",,tenant
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Trust OpenID Connect issuers (an AuthenticationConfiguration with the keys and the tenant of each)
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// Keep an audit log, of what this policy says (apiVersion audit.k8s.io/v1); read again when it changes
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// The audit log; a folder where the policy wants a file for each tenant. DIR/logs/audit.log unless given
    #[arg(long, value_name = "PATH")]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes of an audit log before it is renamed and begun anew
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub audit_log_maxsize: u64,
    /// Renamed audit logs that are kept
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub audit_log_maxbackup: usize,
    /// Whether requests wait for room in the audit log's queue
    #[arg(long, value_name = "MODE", value_enum, default_value = "batch")]
    pub audit_log_mode: AuditMode,
    /// Networks that tenants' webhook URLs may reach though they are not public: '10.1.0.0/16,fd00::/8'
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub tenant_egress_allow: String,
    #[command(flatten)]
    pub shutdown: ShutdownArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ShutdownArgs {
    /// Seconds that a shutdown may take
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub shutdown_grace: u64,
}

/// What every node agent is told.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// The container runtimes of the node agent: 'name,container,unix:///path', several separated by ';'
    #[arg(long, value_name = "LIST", default_value = "containerd,container,unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    /// The name of this machine's node; its host name unless given
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
}

/// Which controllers run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct ControllerArgs {
    /// Which controllers to run: '*', 'a,b', or '*,-c' for all but c
    #[arg(long, value_name = "LIST", default_value = "*", allow_hyphen_values = true)]
    pub controllers: String,
    /// The network whose addresses services of type LoadBalancer get; without it they get none
    #[arg(long, value_name = "CIDR")]
    pub load_balancer_pool: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// pod
    #[arg(value_name = "KIND")]
    pub what: String,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its namespace
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Its tenant
    #[arg(long, value_name = "NAME", default_value = "system")]
    pub tenant: String,
    #[command(flatten)]
    pub client: ClientArgs,
    /// How the scheduler decides, if it was told
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub api: ApiArgs,
    /// Run pods on this machine
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub node_agent: bool,
    /// Run the scheduler
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub scheduler: bool,
    /// How the scheduler decides: a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    #[command(flatten)]
    pub controllers: ControllerArgs,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ControllerManagerArgs {
    #[command(flatten)]
    pub client: ComponentArgs,
    #[command(flatten)]
    pub controllers: ControllerArgs,
    /// The certificate of the authority that signs requests of clients; without it none are signed
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// The key of that authority
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct WorkloadControllerManagerArgs {
    #[command(flatten)]
    pub client: ComponentArgs,
    /// Which controllers to run, each with how many workers (JSON, as {"controllers":[{"type":"replicaset","workers":5}]})
    #[arg(long, value_name = "FILE")]
    pub controllerconfig: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
pub struct SchedulerArgs {
    #[command(flatten)]
    pub client: ComponentArgs,
    /// Pods with this spec.schedulerName are its own
    #[arg(long, value_name = "NAME", default_value = "default-scheduler", conflicts_with = "scheduler_config")]
    pub scheduler_name: String,
    /// How it decides: a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct NodeAgentArgs {
    #[command(flatten)]
    pub client: ComponentArgs,
    /// Where volumes and logs of pods are kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address by which this machine is reached
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub node_ip: IpAddr,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// How a component that runs alone reaches the API.
#[derive(Clone, Debug, clap::Args)]
pub struct ComponentArgs {
    /// The kubeconfig of the component's own identity
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    #[command(flatten)]
    pub shutdown: ShutdownArgs,
}

/// What becomes of a request while the audit log is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuditMode {
    /// It goes on, and its record may be lost
    Batch,
    /// It waits
    Blocking,
}

/// How a command reaches the server.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The kubeconfig of an administrator in tenant system; $KUBECONFIG or ~/.kube/config unless given
    #[arg(long, value_name = "FILE", env = "KUBECONFIG", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Its context; the current one unless given, or if that is a tenant's, the first of the same server's operators
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
}

impl ClientArgs {
    /// The kubeconfig file: of several in $KUBECONFIG the first that is there.
    pub fn file(&self) -> Result<PathBuf, String> {
        let given: Vec<PathBuf> = self.kubeconfig.iter().flat_map(std::env::split_paths).collect();
        let given = given.into_iter().filter(|path| !path.as_os_str().is_empty());
        let (there, missing): (Vec<PathBuf>, Vec<PathBuf>) = given.partition(|path| path.exists());
        let home = || std::env::home_dir().map(|home| home.join(".kube").join("config"));
        let found = there.into_iter().next().or_else(|| missing.into_iter().next()).or_else(home);
        found.ok_or_else(|| "no kubeconfig: set $KUBECONFIG or give --kubeconfig FILE".to_owned())
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct TenantArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: TenantCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant and wait until it can be used
    Create {
        name: String,
        /// The storage cluster that keeps the tenant's objects
        #[arg(long, value_name = "ID", default_value = "0")]
        storagecluster: String,
        /// A label of the tenant; may be repeated
        #[arg(long, short = 'l', value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// An annotation of the tenant; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        annotation: Vec<String>,
        /// What the tenant may hold of something, as pods=10 or cpu=4; may be repeated
        #[arg(long, value_name = "NAME=QUANTITY")]
        quota: Vec<String>,
    },
    /// List the tenants
    #[command(visible_alias = "ls")]
    List {
        /// Only those with these labels
        #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
        selector: String,
        /// Only those with these fields, as status.phase=Terminating
        #[arg(long, value_name = "SELECTOR", default_value = "")]
        field_selector: String,
        /// Only those with this text in their name or the value of a label
        #[arg(long, value_name = "TEXT", default_value = "")]
        search: String,
        /// No more than so many
        #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
        /// Print names alone
        #[arg(long)]
        names: bool,
    },
    /// Work in a tenant: make its context in the kubeconfig, if it is not there, and the current one
    Use {
        name: String,
        /// Whom to work as
        #[arg(long, value_name = "USER", default_value = "admin")]
        user: String,
    },
    /// Print a kubeconfig for a user of a tenant
    Kubeconfig {
        name: String,
        /// The user's name
        #[arg(long, value_name = "USER", default_value = "admin")]
        user: String,
    },
    /// Let nobody of a tenant write, and put its workloads to rest
    Suspend {
        name: String,
        /// Do not wait until nothing runs
        #[arg(long)]
        no_wait: bool,
    },
    /// End a suspension: the workloads come back as they were
    Resume { name: String },
    /// Move a tenant to another storage cluster while it is in use
    Move {
        name: String,
        /// The number of the storage cluster, or 0
        #[arg(long)]
        to: String,
        /// Do not wait until it is there
        #[arg(long)]
        no_wait: bool,
    },
    /// Show what a tenant uses, or without a name the largest tenants
    Usage {
        name: Option<String>,
        /// How many tenants
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Show everything about a tenant
    Describe { name: String },
    /// Delete a tenant with everything in it, and wait until it is gone
    Delete {
        name: String,
        /// Do not wait until it is gone
        #[arg(long)]
        no_wait: bool,
        /// Wait for no finalizers of others
        #[arg(long)]
        force: bool,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct HollowNodesArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub count: u32,
    /// The nodes' names are this and a number
    #[arg(long, value_name = "TEXT", default_value = "hollow-")]
    pub name_prefix: String,
    /// The processors of each node
    #[arg(long, value_name = "QUANTITY", default_value = "8")]
    pub cpu: String,
    /// The memory of each node
    #[arg(long, value_name = "QUANTITY", default_value = "32Gi")]
    pub memory: String,
    /// How many pods each node takes
    #[arg(long, value_name = "N", default_value_t = 110)]
    pub pods: u32,
    /// A further resource of each node, as example.com/gpu=4; may be repeated
    #[arg(long, value_name = "NAME=QUANTITY")]
    pub resource: Vec<String>,
    /// A label of each node; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Over how many zones the nodes are spread
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub zones: u32,
    /// The share of nodes that also run virtual machines, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub vm_share: hollow_nodes::Share,
    /// How long a bound pod takes to run, as 100ms or 50ms..2s
    #[arg(long, value_name = "DELAY", default_value = "50ms..250ms")]
    pub start_after: hollow_nodes::Delay,
    /// How long a pod that may end runs
    #[arg(long, value_name = "DELAY", default_value = "1s..2s")]
    pub run_for: hollow_nodes::Delay,
    /// How long a deleted pod takes to stop
    #[arg(long, value_name = "DELAY", default_value = "20ms..100ms")]
    pub stop_after: hollow_nodes::Delay,
    /// Seconds between the heartbeats of a node
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub heartbeat_every: u64,
    /// How much of what they request containers use; without it, nodes report no usage
    #[arg(long, value_name = "PERCENT")]
    pub usage: Option<u32>,
    /// Seconds between the reports of a node's usage
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub usage_every: u64,
    /// The share of pods that crash once
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub crash_share: hollow_nodes::Share,
    /// The share of nodes that fall silent for a while
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub silent_share: hollow_nodes::Share,
    /// Seconds until they do
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub silent_after: u64,
    /// Seconds until they are back
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub silent_for: u64,
    /// Delete the nodes at the end
    #[arg(long)]
    pub delete_nodes: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The file, which must not be there yet
    pub file: PathBuf,
    /// Of this tenant alone
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The backup
    pub file: PathBuf,
    /// Everything, into this data directory, which holds no objects yet and which no server uses
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// This tenant, into a running server, where it is not there
    #[arg(long, value_name = "NAME", conflicts_with = "data_dir")]
    pub tenant: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The tenant to work in
    #[arg(long, value_name = "NAME")]
    pub tenant: String,
    /// The user's name
    #[arg(long, value_name = "USER", default_value = "admin")]
    pub user: String,
}
