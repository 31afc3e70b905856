//! The one executable of Ursa: the server and the commands of its users.

mod api_server;
mod args;
mod backup;
mod components;
mod credential;
mod explain;
mod hollow;
mod in_process;
mod server;
mod tenant;

use args::{Args, Command};
use std::process::ExitCode;

/// A server makes and drops many small objects on many threads, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::of_process();
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nothing else has chosen a provider");
    let done = match args.command {
        Command::Server(args) => server::main(args),
        Command::Apiserver(args) => api_server::main(args),
        Command::ControllerManager(args) => components::controller_manager(args),
        Command::WorkloadControllerManager(args) => components::workload_controller_manager(args),
        Command::Scheduler(args) => components::scheduler(args),
        Command::NodeAgent(args) => components::node_agent(args),
        Command::Tenant(args) => tenant::main(args),
        Command::Kubeconfig(args) => credential::main(args),
        Command::Backup(args) => backup::backup(args),
        Command::Restore(args) => backup::restore(args),
        Command::Explain(args) => explain::main(args),
        Command::HollowNodes(args) => hollow::main(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ursa: {message}");
            ExitCode::FAILURE
        }
    }
}
