//! Runs the controllers: shared informers fill queues, workers take keys and reconcile them.

use crate::context::{Account, Clients, Context};
use crate::controllers;
use crate::controllers::services::load_balancers::Pool;
use crate::informers::Informers;
use crate::recorder::Writer;
use crate::set::ControllerSet;
use api::{Error, Identity, Result, TenantName, Timestamp};
use client::{Client, Connect, ObjectRef, WorkQueue};
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime::{Phase, Stop, Supervisor};
use std::fmt::Display;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// The identity that reads over all tenants.
const READER: &str = "system:kube-controller-manager";

/// How long reconciles that have begun may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// Signs a client's request (PEM) made in a tenant, for a lifetime from now on. The error says why it is refused.
pub type Sign = dyn Fn(&TenantName, &str, Duration, Timestamp) -> Result<String, String> + Send + Sync;

/// Whom a request for a certificate names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requested {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// Whether it asks for alternative names, by their kinds.
    pub dns_names: bool,
    pub email_addresses: bool,
    pub ip_addresses: bool,
    pub uris: bool,
}

/// Reads a client's request (PEM). The error says what is wrong with it.
pub type ReadRequest = dyn Fn(&str) -> Result<Requested, String> + Send + Sync;

/// How the controllers run.
#[derive(Clone)]
pub struct Config {
    pub enabled: ControllerSet,
    /// Of each controller.
    pub workers: NonZeroUsize,
    /// The certificate of the authority that signs the API servers', PEM.
    pub root_ca: String,
    pub sign: Arc<Sign>,
    pub read_request: Arc<ReadRequest>,
    /// What services of type LoadBalancer get their addresses from; without it they get none.
    pub load_balancer_pool: Option<Pool>,
    pub now: fn() -> Timestamp,
}

/// The workers of each controller, where nothing else is said.
const WORKERS: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

impl Config {
    /// The enabled controllers, by the wall clock.
    pub fn new(enabled: ControllerSet, root_ca: String, sign: Arc<Sign>, read_request: Arc<ReadRequest>) -> Config {
        Config { enabled, workers: WORKERS, root_ca, sign, read_request, load_balancer_pool: None, now: Timestamp::now }
    }
}

/// What a controller is made from.
pub struct Setup {
    pub informers: Informers,
    pub context: Context,
    /// Lists and watches everything, in any tenant.
    pub reader: Client,
    pub root_ca: Arc<str>,
    pub sign: Arc<Sign>,
    pub read_request: Arc<ReadRequest>,
    pub load_balancer_pool: Option<Pool>,
}

/// What a controller does with one key of its queue.
pub trait Reconcile<K = ObjectRef>: Send + Sync + 'static {
    /// Brings one object to what was asked for, as far as is possible now. `Some` asks to be called again after a time
    /// even if nothing changes. Safe to repeat.
    fn reconcile(&self, key: &K) -> impl Future<Output = Result<Option<Duration>>> + Send;
}

/// A row of the table of controllers.
pub struct Declaration {
    /// As in `--controllers`.
    pub name: &'static str,
    pub account: Account,
    /// Registers with the informers what makes it look at which key.
    pub make: fn(&mut Setup) -> Controller,
}

type Task = Box<dyn FnOnce(Stop) -> BoxFuture<'static, Result<()>> + Send>;

/// A controller that is made and does not run yet.
pub struct Controller {
    worker: Box<dyn Fn(&'static str) -> Task + Send>,
    beside: Option<Task>,
}

impl Controller {
    /// One whose workers take keys from `queue`.
    pub fn new<K: Clone + Eq + Hash + Display + Send + Sync + 'static>(
        queue: WorkQueue<K>,
        reconcile: Arc<impl Reconcile<K>>,
    ) -> Controller {
        let worker = move |name| -> Task {
            let (queue, reconcile) = (queue.clone(), reconcile.clone());
            Box::new(move |stop| work(name, reconcile, queue, stop).boxed())
        };
        Controller { worker: Box::new(worker), beside: None }
    }

    /// Something to do beside, until it is told to stop.
    pub fn beside(self, task: impl FnOnce(Stop) -> BoxFuture<'static, Result<()>> + Send + 'static) -> Controller {
        Controller { beside: Some(Box::new(task)), ..self }
    }
}

/// Runs the enabled controllers until they are told to stop. `Err` names what could not go on.
pub async fn run(connect: Arc<dyn Connect>, config: Config, stop: Stop) -> Result<()> {
    let Config { enabled, workers, root_ca, sign, read_request, load_balancer_pool, now } = config;
    let reader = connect.connect(Identity::new(TenantName::system(), READER, &[]));
    let clients = Clients::new(connect);
    let events = Writer::new(clients.clone(), now);
    let mut informers = Informers::new(reader.clone());
    let root_ca: Arc<str> = root_ca.into();
    let mut made = Vec::new();
    for controller in controllers::ALL.iter().filter(|c| enabled.contains(c.name)) {
        let recorder = events.recorder(controller.account);
        let context = Context { clients: clients.clone(), account: controller.account, now, recorder };
        let (reader, root_ca, sign) = (reader.clone(), root_ca.clone(), sign.clone());
        let read_request = read_request.clone();
        let mut setup = Setup { informers, context, reader, root_ca, sign, read_request, load_balancer_pool };
        made.push((controller.name, (controller.make)(&mut setup)));
        informers = setup.informers;
    }

    let mut supervisor = Supervisor::new();
    supervisor.spawn(Phase::Storage, "events", |stop| events.run(stop));
    let synced = informers.synced();
    for (resource, start) in informers.into_drivers() {
        supervisor.spawn(Phase::Storage, resource, start);
    }
    tokio::select! {
        biased;
        // No worker starts: on caches that are half full, one could act on what is only missing there.
        () = stop.stopped() => {}
        // Cancelled at shutdown.
        () = synced => {
            for (name, Controller { worker, beside }) in made {
                for task in beside.into_iter().chain((0..workers.get()).map(|_| worker(name))) {
                    supervisor.spawn(Phase::Workers, name, task);
                }
            }
        }
    }
    supervisor.run(stop.stopped(), GRACE).await.map_err(Error::internal)
}

/// Takes keys and reconciles them until it is told to stop.
pub async fn work<K: Clone + Eq + Hash + Display>(
    name: &'static str,
    controller: Arc<impl Reconcile<K>>,
    queue: WorkQueue<K>,
    stop: Stop,
) -> Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            // What is in work elsewhere goes on to its end.
            () = stop.stopped() => None,
            // Cancel-safe: a key is taken only when it is returned.
            next = queue.next() => next,
        };
        let Some(key) = next else { return Ok(()) };
        let outcome = AssertUnwindSafe(controller.reconcile(&key)).catch_unwind().await;
        match outcome {
            Ok(Ok(again)) => {
                if let Some(delay) = again {
                    queue.requeue_after(key.clone(), delay);
                }
                key.succeed();
            }
            Ok(Err(error)) => {
                log(name, &*key, &error);
                key.fail();
            }
            Err(_) => {
                tracing::error!(controller = name, object = %*key, "a reconcile panicked");
                key.fail();
            }
        }
    }
}

/// That something else was written meanwhile is everyday: the next look sees it.
fn log(name: &str, key: &impl Display, error: &Error) {
    if error.is_conflict() || error.is_not_found() || error.is_already_exists() {
        tracing::debug!(controller = name, object = %key, %error, "looking again");
    } else {
        let source = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(controller = name, object = %key, %error, source, "a reconcile failed; trying again");
    }
}
