//! How the components of one process reach each other: the same requests and identities, without sockets.

use api::{Error, Identity, Reason, Result};
use apiserver::{Dial, Server, Stream};
use bytes::Bytes;
use client::{Body, Client, Connect, Transport};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use node_agent::NodeServer;
use runtime::Tasks;
use std::sync::{Arc, OnceLock};

/// What may be on its way between the API server and the agent of its own node.
const PIPE_BYTES: usize = 64 * 1024;

/// Connects components to the API server of this process.
pub struct InProcess(pub Arc<Server>);

impl Connect for InProcess {
    fn connect(&self, identity: Identity) -> Client {
        let program = HeaderValue::from_static(program(&identity));
        Client::new(Arc::new(Local { server: self.0.clone(), identity: Arc::new(identity), program }))
    }
}

struct Local {
    server: Arc<Server>,
    identity: Arc<Identity>,
    program: HeaderValue,
}

/// The name of the program that does this component's work elsewhere: the manager of the fields that it writes.
fn program(identity: &Identity) -> &'static str {
    match identity.user.as_str() {
        "system:kube-scheduler" => "kube-scheduler",
        user if user.starts_with("system:node:") => "kubelet",
        // What upstream's API server does itself.
        _ if identity.in_group(policy::rbac::MASTERS) => "kube-apiserver",
        _ => "kube-controller-manager",
    }
}

impl Transport for Local {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        request.headers_mut().insert(header::USER_AGENT, self.program.clone());
        let answer = apiserver::in_process(self.server.clone(), self.identity.clone(), request.map(Into::into));
        Box::pin(async move {
            Ok(answer.await.map(|body| {
                let chunks = body.into_data_stream();
                chunks.map(|chunk| chunk.map_err(Error::internal)).boxed()
            }))
        })
    }
}

/// Reaches the agent of this process's own node through a pipe.
#[derive(Default)]
pub struct LocalNode {
    agent: OnceLock<(String, NodeServer)>,
    tasks: Tasks,
}

impl LocalNode {
    /// Tells which node is served here.
    pub fn serve(&self, node: String, agent: NodeServer) {
        assert!(self.agent.set((node, agent)).is_ok(), "a process has one node agent");
    }
}

impl Dial for LocalNode {
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        let dialed = match self.agent.get() {
            Some((own, agent)) if own == node => {
                let (near, far) = tokio::io::duplex(PIPE_BYTES);
                let agent = agent.clone();
                self.tasks.spawn("node server", async move { agent.serve(far).await });
                Ok(Box::new(near) as Box<dyn Stream>)
            }
            _ => Err(Error::new(Reason::ServiceUnavailable, format!("the agent of node {node} cannot be reached"))),
        };
        Box::pin(std::future::ready(dialed))
    }
}
