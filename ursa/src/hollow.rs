//! `ursa hollow-nodes`: nodes without machines, against the server of a kubeconfig.

use crate::args::HollowNodesArgs;
use client::Client;
use hollow_nodes::Config;
use runtime::Stop;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs the nodes until SIGTERM or SIGINT. `Err` is one sentence for the user.
pub fn main(args: HollowNodesArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let file = args.client.file()?;
    let config = config(args)?;
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no threads can be started ({e}); raise the process limit"))?;
    executor.block_on(async {
        let stop = Stop::new();
        let nodes = hollow_nodes::run(Box::new(move || Client::from_kubeconfig(&file)), config, stop.clone());
        tokio::pin!(nodes);
        tokio::select! {
            done = &mut nodes => return done,
            () = runtime::signals::terminate() => stop.stop(),
        }
        nodes.await
    })
}

fn config(args: HollowNodesArgs) -> Result<Config, String> {
    Ok(Config {
        count: args.count,
        name_prefix: args.name_prefix,
        cpu: args.cpu,
        memory: args.memory,
        pods: args.pods,
        extended: pairs("--resource", &args.resource)?,
        labels: pairs("--label", &args.label)?,
        zones: args.zones,
        vm_share: args.vm_share,
        start_after: args.start_after,
        run_for: args.run_for,
        stop_after: args.stop_after,
        heartbeat_every: Duration::from_secs(args.heartbeat_every),
        usage: args.usage,
        usage_every: Duration::from_secs(args.usage_every),
        crash_share: args.crash_share,
        silent_share: args.silent_share,
        silent_after: Duration::from_secs(args.silent_after),
        silent_for: Duration::from_secs(args.silent_for),
        delete_nodes: args.delete_nodes,
    })
}

fn pairs(flag: &str, given: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| {
        let (key, value) =
            text.split_once('=').ok_or_else(|| format!("{flag} {text:?} is not of the form NAME=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}
