//! `ursa server`: everything in one process.

use crate::api_server::{self, Api};
use crate::args::ServerArgs;
use crate::components::{self, CheckedControllers, CheckedNode, block_on, until_terminated};
use crate::in_process::{InProcess, LocalNode};
use client::Connect;
use controller_manager::{Sharing, Sign};
use node_agent::NodeAgent;
use runtime::{Phase, Supervisor};
use std::sync::Arc;

/// Runs the server until it is told to stop. `Err` is one sentence for the operator.
pub fn main(args: ServerArgs) -> Result<(), String> {
    runtime::logs::start(runtime::logs::Format::Text)?;
    let checked = Checked::new(&args)?;
    block_on(run(args, checked))
}

/// What can be refused before anything is touched.
struct Checked {
    controllers: CheckedControllers,
    node: CheckedNode,
    scheduler: scheduler::Config,
    api: api_server::Checked,
}

impl Checked {
    fn new(args: &ServerArgs) -> Result<Checked, String> {
        let controllers = CheckedControllers::new(&args.controllers)?;
        let node = CheckedNode::new(&args.node)?;
        if args.node_agent {
            node.reachable()?;
        }
        let scheduler = args.scheduler_config.as_deref().map(components::scheduler_config).transpose()?;
        Ok(Checked {
            controllers,
            node,
            scheduler: scheduler.unwrap_or_default(),
            api: api_server::Checked::new(&args.api)?,
        })
    }
}

async fn run(args: ServerArgs, checked: Checked) -> Result<(), String> {
    let mut supervisor = Supervisor::new();
    let node = Arc::new(LocalNode::default());
    let node_name = checked.node.node_name;
    let api = Api::start(&args.api, checked.api, &node_name, node.clone(), &mut supervisor).await?;
    let connect: Arc<dyn Connect> = Arc::new(InProcess(api.server.clone()));
    let authority = api.pki.clone();
    let sign: Arc<Sign> = Arc::new(move |tenant, request, lifetime, now| {
        authority.authority().sign_client(tenant, request, lifetime, now).map_err(|e| e.to_string())
    });
    let controllers = checked.controllers.config(api.pki.ca_pem().to_owned(), sign);
    // Over etcd there may be other servers, which do not end with this one.
    let sharing = if args.api.etcd_servers.is_empty() { Sharing::WithServer } else { Sharing::Leased("ursa-server") };
    let controllers = controller_manager::Config { sharing, ..controllers };
    supervisor.spawn(Phase::Workers, "controllers", |stop| controller_manager::run(connect.clone(), controllers, stop));
    if args.scheduler {
        let config = checked.scheduler;
        supervisor.spawn(Phase::Workers, "scheduler", |stop| scheduler::run(connect.clone(), config, stop));
    }
    if args.node_agent {
        let ip = api_server::node_address(args.api.bind_address);
        let mut config = node_agent::Config::new(&node_name, checked.node.runtimes, args.api.data_dir.clone(), ip);
        config.kubernetes_service = Some((args.api.bind_address.to_string(), api.address.port()));
        let agent = NodeAgent::new(config, connect.clone());
        node.serve(node_name.clone(), agent.server());
        supervisor.spawn(Phase::Workers, "node agent", |stop| agent.run(stop));
    }
    api.finish(&args.api, &node_name)?;
    until_terminated(supervisor, &args.api.shutdown, || api.server.set_ready(false)).await
}
