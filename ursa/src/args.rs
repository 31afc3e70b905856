//! The command line, as typed. Each command turns its part into a configuration.

use clap::{Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// One control plane for many tenants; to each, it is a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "ursa", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run API server, controllers, scheduler and node agent in one process
    Server(ServerArgs),
    /// Create, list and delete tenants
    Tenant(TenantArgs),
    /// Print a kubeconfig for a user of a tenant
    Kubeconfig(KubeconfigArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Where everything is kept: objects, keys and certificates, kubeconfigs
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 takes a free one, which admin.kubeconfig names
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// Run pods on this machine
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub node_agent: bool,
    /// Run the scheduler
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub scheduler: bool,
    /// Which controllers to run: '*', 'a,b', or '*,-c' for all but c
    #[arg(long, value_name = "LIST", default_value = "*", allow_hyphen_values = true)]
    pub controllers: String,
    /// The container runtimes of the node agent: 'name,container,unix:///path', several separated by ';'
    #[arg(long, value_name = "LIST", default_value = "containerd,container,unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    /// A CSV file of static tokens: token,user,uid,"group,group",,tenant
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// The name of this machine's node; its host name unless given
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Seconds that a shutdown may take
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub shutdown_grace: u64,
}

/// How a command reaches the server.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The kubeconfig of an administrator in tenant system; $KUBECONFIG unless given
    #[arg(long, value_name = "FILE", env = "KUBECONFIG", global = true)]
    pub kubeconfig: Option<PathBuf>,
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
    },
    /// List the tenants
    List,
    /// Delete a tenant with everything in it, and wait until it is gone
    Delete { name: String },
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
