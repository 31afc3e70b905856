//! Measures a server from outside, over HTTPS on loopback, with a load generator of its own: its start and its memory when
//! idle, operations per second, latencies, and the server's CPU per operation, beside their budgets.

mod api;
mod connection;
mod controllers;
mod decisions;
mod figures;
mod measure;
mod noise;
mod objects;
mod peers;
mod report;
mod start;
mod store;
mod suite;
mod tenants;
mod watch;
mod workload;

use clap::{Parser, Subcommand, ValueEnum};
use connection::Error;
use figures::Figures;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use suite::Suite;
use workload::Workload;

/// The allocator of `ursa`: what the store weighs depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure, and how much of it.
#[derive(Parser, Clone, Debug)]
#[command(
    about = "Measures a server: start, idle memory, create, get, list and watch.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The server to measure; without it, one is started from $URSA_BIN, or from the ursa beside this program, and its
    /// start is measured too.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The process whose CPU is counted; needed with --kubeconfig.
    #[arg(long)]
    server_pid: Option<u32>,
    /// How long objects are created, and how long they are read.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each connection; with HTTP/1.1 always one.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// HTTP/1.1 instead of HTTP/2.
    #[arg(long)]
    http1: bool,
    #[arg(long, value_enum, default_value_t = Kind::Configmaps)]
    kind: Kind,
    /// How many objects are listed.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    #[arg(long, default_value_t = 100)]
    watchers: usize,
    /// How many objects are created while they are watched.
    #[arg(long, default_value_t = 2_000)]
    events: usize,
    /// As little of everything as shows that it works.
    #[arg(long)]
    tiny: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Measure how fast controllers make pods, and how several instances share the work
    Controllers {
        /// Pods of one ReplicaSet, and of 1000 Deployments together
        #[arg(long, default_value_t = 100_000)]
        pods: usize,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Measure decisions of the scheduler without a server and a store
    Decisions {
        /// How long each shape of pods is decided on
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Fewer nodes: 0.01 for a hundredth
        #[arg(long, default_value_t = 1.0)]
        share: f64,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Measure what quiet tenants notice of a noisy one; fails when their p99 more than doubles
    Noise {
        /// How long the server is idle, and how long each kind of noise lasts
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Measure what a request costs more that another API server passes on, on two of them over an etcd of its own
    Peers {
        /// How long objects are read at each of the two
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Measure the store at its own interface, beside etcd
    Store(store::StoreArgs),
    /// Make, start with, and delete many tenants on a server of their own
    Tenants {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// A Deployment with a pod in each of them, which no node takes
        #[arg(long)]
        deployments: bool,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Run every benchmark, each with a time limit, and write one report of them all
    Suite(Suite),
    /// Run workloads on servers and hollow nodes of their own
    Workload {
        /// Their files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Fewer of everything: 0.01 for a hundredth
        #[arg(long, default_value_t = 1.0)]
        share: f64,
        /// Stop after so many seconds, and tell what was measured until then
        #[arg(long, default_value_t = 86_400)]
        patience: u64,
        /// Print a JSON document per line instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// What is created. Pods are named for no scheduler, and stay pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Configmaps,
    Pods,
}

impl Cli {
    /// With what its command and `--tiny` say about its other options.
    fn settled(self) -> Cli {
        if let Some(Command::Peers { seconds, json }) = self.command {
            return Cli { seconds, json, ..self };
        }
        if !self.tiny {
            return self;
        }
        Cli { seconds: 0.5, objects: 500, watchers: 10, events: 100, ..self }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.01, 3600.0))
    }
}

/// Measures a server of its own from its start, or the one that is named.
async fn run(args: &Cli) -> Result<Report, Error> {
    let Some(kubeconfig) = &args.kubeconfig else {
        let (server, start) = start::run(args.tiny).await;
        let report = api::run(args, &server.admin_kubeconfig(), Some(server.pid())).await?;
        return Ok(Report { start: Some(start), ..report });
    };
    api::run(args, kubeconfig, args.server_pid).await
}

/// Measures one server, or two.
async fn measured(args: &Cli) -> Result<Report, Error> {
    if matches!(args.command, Some(Command::Peers { .. })) { peers::run(args).await } else { run(args).await }
}

/// Runs workloads one after another. Whether all passed.
async fn workloads(files: &[PathBuf], share: f64, patience: Duration, json: bool) -> Result<bool, Error> {
    let workloads: Vec<Workload> = files.iter().map(|file| Workload::read(file, share)).collect::<Result<_, _>>()?;
    let mut all_passed = true;
    for workload in &workloads {
        let figures = workload::run(workload, patience).await.map_err(|why| format!("{}: {why}", workload.name))?;
        all_passed &= printed(&figures, json);
    }
    Ok(all_passed)
}

/// Prints, and tells whether all budgets were kept.
fn printed(figures: &Figures, json: bool) -> bool {
    figures.print(json);
    figures.passes()
}

/// One thread: on a small machine the rest of it is the server's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Cli::parse().settled();
    let done = match &args.command {
        Some(Command::Controllers { pods, json }) => {
            controllers::run(*pods).await.map(|figures| printed(&figures, *json))
        }
        Some(Command::Decisions { seconds, share, json }) => {
            let time = Duration::from_secs_f64(seconds.clamp(0.01, 3600.0));
            decisions::run(*share, time).map(|figures| printed(&figures, *json))
        }
        Some(Command::Noise { seconds, json }) => noise::run(*seconds).await.map(|noise| printed(&noise, *json)),
        Some(Command::Store(args)) => store::run(args).await.map(|figures| printed(&figures, args.json)),
        Some(Command::Suite(suite)) => suite::run(suite).await,
        Some(Command::Tenants { count, deployments, json }) => {
            tenants::run(*count, *deployments).await.map(|figures| {
                figures.print(*json);
                true
            })
        }
        Some(Command::Workload { files, share, patience, json }) => {
            workloads(files, *share, Duration::from_secs(*patience), *json).await
        }
        None | Some(Command::Peers { .. }) => measured(&args).await.map(|report| {
            if args.json {
                report.figures().print(true);
            } else {
                print!("{report}");
            }
            true
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("perf: {why}");
            ExitCode::FAILURE
        }
    }
}
