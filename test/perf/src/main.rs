//! Measures a server from outside, over HTTPS on loopback, with a load generator of its own: operations per second,
//! latencies, and the server's CPU per operation beside its budget.

mod api;
mod connection;
mod measure;
mod objects;
mod report;
mod watch;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures a server. Without a subcommand: the API.")]
struct Cli {
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Create, get, list and watch.
    Api(ApiArgs),
}

/// What to measure, and how much of it.
#[derive(Args, Clone, Debug)]
struct ApiArgs {
    /// The server to measure; without it, one is started from $URSA_BIN, or from the ursa beside this program.
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

/// What is created. Pods are named for no scheduler, and stay pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Configmaps,
    Pods,
}

impl ApiArgs {
    fn shrunk(self) -> ApiArgs {
        if !self.tiny {
            return self;
        }
        ApiArgs { seconds: 0.5, objects: 500, watchers: 10, events: 100, ..self }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.01, 3600.0))
    }
}

/// One thread: on a small machine the rest of it is the server's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { benchmark, api } = Cli::parse();
    let Benchmark::Api(args) = benchmark.unwrap_or(Benchmark::Api(api));
    let args = args.shrunk();
    match api::run(&args).await {
        Ok(report) if args.json => println!("{}", report.to_json()),
        Ok(report) => print!("{report}"),
        Err(why) => {
            eprintln!("perf: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
