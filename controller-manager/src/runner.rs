//! Runs the controllers: shared informers fill queues, workers take keys and reconcile them.

use crate::context::{Account, Clients, Context};
use crate::controllers;
use crate::controllers::services::load_balancers::Pool;
use crate::informers::{Informer, Informers};
use crate::instances::{Fenced, Member, Part, Share, Sharing, hash_of};
use crate::recorder::{Recorders, Writer};
use crate::set::ControllerSet;
use crate::view::View;
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
    /// Whether there may be other instances.
    pub sharing: Sharing,
    pub now: fn() -> Timestamp,
}

/// Whom an instance acts as when it shares the work.
const MEMBER: &str = "system:controller-instances";

/// The workers of each controller, where nothing else is said.
const WORKERS: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

impl Config {
    /// The enabled controllers, by the wall clock.
    pub fn new(enabled: ControllerSet, root_ca: String, sign: Arc<Sign>, read_request: Arc<ReadRequest>) -> Config {
        Config {
            enabled,
            workers: WORKERS,
            root_ca,
            sign,
            read_request,
            load_balancer_pool: None,
            sharing: Sharing::Alone,
            now: Timestamp::now,
        }
    }
}

/// What a controller is made from.
pub struct Setup {
    pub informers: Informers,
    pub context: Context,
    /// What of the controller's work is this process's.
    pub part: Part,
    /// Lists and watches everything, in any tenant.
    pub reader: Client,
    pub root_ca: Arc<str>,
    pub sign: Arc<Sign>,
    pub read_request: Arc<ReadRequest>,
    pub load_balancer_pool: Option<Pool>,
}

impl Setup {
    /// The informer of a kind of which this controller needs the objects that it looks at itself: those of its part.
    pub fn own<T: View>(&mut self) -> &mut Informer<T> {
        self.informers.part(None, self.part.filled())
    }

    /// The informer of a kind of which this controller needs the objects that those of its part own, which are of
    /// `owner_kind`, and those that nobody owns.
    pub fn dependents<T: View>(&mut self, owner_kind: &'static str) -> &mut Informer<T> {
        self.informers.part(Some(owner_kind), self.part.filled())
    }
}

/// What a controller does with one key of its queue.
pub trait Reconcile<K: Display = ObjectRef>: Send + Sync + 'static {
    /// What tells which instance looks at a key: where its objects are followed for this process's part alone, the hash of
    /// the uid, and `None` for what is not there. Else any number that all instances compute.
    fn hash_key(&self, key: &K) -> Option<u64> {
        Some(hash_of(key))
    }

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
    worker: Box<dyn Fn(&'static str, Part) -> Task + Send>,
    beside: Option<Task>,
}

impl Controller {
    /// One whose workers take keys from `queue`.
    pub fn new<K: Clone + Eq + Hash + Display + Send + Sync + 'static>(
        queue: WorkQueue<K>,
        reconcile: Arc<impl Reconcile<K>>,
    ) -> Controller {
        let worker = move |name, part: Part| -> Task {
            let (queue, reconcile) = (queue.clone(), reconcile.clone());
            Box::new(move |stop| work(name, reconcile, queue, part, stop).boxed())
        };
        Controller { worker: Box::new(worker), beside: None }
    }

    /// Something to do beside, until it is told to stop.
    pub fn beside(self, task: impl FnOnce(Stop) -> BoxFuture<'static, Result<()>> + Send + 'static) -> Controller {
        Controller { beside: Some(Box::new(task)), ..self }
    }
}

/// Runs the enabled controllers until they are told to stop. `Err` names what could not go on.
///
/// Boxed, so that all controllers are compiled in this crate, and not in the one that runs them.
pub fn run(connect: Arc<dyn Connect>, config: Config, stop: Stop) -> BoxFuture<'static, Result<()>> {
    Box::pin(run_all(connect, config, stop))
}

async fn run_all(connect: Arc<dyn Connect>, config: Config, stop: Stop) -> Result<()> {
    let enabled = &config.enabled;
    let share = Share::new(controllers::ALL.iter().map(|c| c.name).filter(|name| enabled.contains(name)));
    let fenced: Arc<dyn Connect> = Arc::new(Fenced { connect: connect.clone(), share: share.clone() });
    let clients = Clients::new(fenced);
    let events = Writer::new(clients.clone(), config.now);
    let reader = connect.connect(Identity::new(TenantName::system(), READER, &[]));
    let made = Made { clients, reader, recorders: events.recorders(), config, share: share.clone() };

    let mut supervisor = Supervisor::new();
    supervisor.spawn(Phase::Storage, "events", |stop| events.run(stop));
    match made.config.sharing {
        Sharing::Alone => share.take_all(),
        sharing => {
            let client = connect.connect(Identity::new(TenantName::system(), MEMBER, &["system:masters"]));
            let (member, reflector) = Member::new(client, share, sharing, made.config.now);
            supervisor.spawn(Phase::Storage, "controllerinstances", |stop| reflector.run(stop));
            supervisor.spawn(Phase::Storage, "instances", |stop| member.run(stop));
        }
    }
    supervisor.spawn(Phase::Workers, "controllers", |stop| made.run(stop));
    supervisor.run(stop.stopped(), GRACE + GRACE).await.map_err(Error::internal)
}

/// What the controllers are made from, again and again.
struct Made {
    clients: Clients,
    reader: Client,
    recorders: Recorders,
    config: Config,
    share: Share,
}

impl Made {
    /// Runs controllers on caches that are filled for this process's part of the work, and anew when that changes.
    async fn run(self, stop: Stop) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => return Ok(()),
                // Cancelled at shutdown, when nothing runs.
                () = self.share.something() => {}
            }
            self.share.cover();
            let ends = async {
                tokio::select! {
                    biased;
                    // Both end the work on these caches, after what is in work.
                    () = stop.stopped() => {}
                    () = self.share.changed_enough() => {}
                }
            };
            self.generation(ends).await?;
        }
    }

    /// Makes the controllers, fills their caches, and lets them work until `ends` completes.
    async fn generation(&self, ends: impl Future<Output = ()>) -> Result<()> {
        let config = &self.config;
        let mut informers = Informers::new(self.reader.clone());
        let root_ca: Arc<str> = config.root_ca.as_str().into();
        let mut made = Vec::new();
        for controller in controllers::ALL.iter().filter(|c| config.enabled.contains(c.name)) {
            let Some(part) = self.share.part(controller.name) else { continue };
            if part.filled().is_empty() {
                continue;
            }
            let (account, now) = (controller.account, config.now);
            let context = Context { clients: self.clients.clone(), account, now, recorder: self.recorders.of(account) };
            let mut setup = Setup {
                informers,
                context,
                part: part.clone(),
                reader: self.reader.clone(),
                root_ca: root_ca.clone(),
                sign: config.sign.clone(),
                read_request: config.read_request.clone(),
                load_balancer_pool: config.load_balancer_pool,
            };
            made.push((controller.name, part, (controller.make)(&mut setup)));
            informers = setup.informers;
        }
        let mut supervisor = Supervisor::new();
        let synced = informers.synced();
        for (resource, start) in informers.into_drivers() {
            supervisor.spawn(Phase::Storage, resource, start);
        }
        tokio::pin!(ends);
        let mut ended = false;
        tokio::select! {
            biased;
            // No worker starts: on caches that are half full, one could act on what is only missing there.
            () = &mut ends => ended = true,
            // Cancelled at shutdown.
            () = synced => {
                for (name, part, Controller { worker, beside }) in made {
                    let workers = (0..config.workers.get()).map(|_| worker(name, part.clone()));
                    for task in beside.into_iter().chain(workers) {
                        supervisor.spawn(Phase::Workers, name, task);
                    }
                }
            }
        }
        let ends = async {
            if !ended {
                ends.await;
            }
        };
        supervisor.run(ends, GRACE).await.map_err(Error::internal)
    }
}

/// Takes keys and reconciles them until it is told to stop.
pub async fn work<K: Clone + Eq + Hash + Display>(
    name: &'static str,
    controller: Arc<impl Reconcile<K>>,
    queue: WorkQueue<K>,
    part: Part,
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
        tokio::select! {
            biased;
            () = stop.stopped() => return Ok(()),
            // The key waits in this worker's hands while this process may not work.
            () = part.validated() => {}
        }
        // What is another instance's, that one sees too.
        let Some(_in_work) = controller.hash_key(&key).and_then(|hash| part.begin(hash)) else { continue };
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
