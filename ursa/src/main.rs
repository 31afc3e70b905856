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
mod shared_keys;
mod tenant;

use args::{Args, Command};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A server makes and drops many small objects on many threads, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nothing else has chosen a provider");
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.first().map(Path::new).and_then(Path::file_name).is_some_and(|name| name == tenant::complete::KUBECTL) {
        let words: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        tenant::complete::answer(&words);
        return ExitCode::SUCCESS;
    }
    let args = Args::of(words);
    let done = match args.command {
        Command::Server(args) => server::main(args),
        Command::Apiserver(args) => api_server::main(args),
        Command::ControllerManager(args) => components::controller_manager(args),
        Command::WorkloadControllerManager(args) => components::workload_controller_manager(args),
        Command::Scheduler(args) => components::scheduler(args),
        Command::NodeAgent(args) => components::node_agent(args),
        Command::Tenant(args) => tenant::main(args),
        Command::Completion { shell } => {
            tenant::complete::script(shell);
            Ok(())
        }
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
