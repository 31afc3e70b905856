//! The API server's state: the store, the table of kinds, credentials and compiled rules. Requests borrow it.

use crate::admission::{PolicyCache, WebhookCache};
use crate::aggregation::{self, Aggregation};
use crate::audit::Audit;
use crate::authn::{Impersonations, TenantIssuers};
use crate::authz::RuleCache;
use crate::custom::Catalogue;
use crate::egress::{Egress, Networks};
use crate::encodings::Encodings;
use crate::fairness::{Fairness, Limits};
use crate::metrics::Metrics;
use crate::nodes::Dial;
use crate::openapi::Documents;
use crate::peers::{self, Peering, Peers};
use crate::placements::Placements;
use crate::resource_metrics::Reports;
use crate::shared;
use api::{Error, Kind, Object, ObjectKey, ResourceId, Result, Space, TenantName, Timestamp};
use futures::future::BoxFuture;
use kinds::Registry;
use policy::authn::{Issuers, ServiceAccountKey, TokenFile};
use runtime::{Stop, Tasks};
use schema::openapi::Published;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Change, Class, CommitError, Expect, Store, Write};

/// Namespaces that the operators' tenant has from the first start. (Other tenants get theirs from the controller.)
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What a server is made of.
pub struct Config {
    pub store: Store,
    /// The authority's certificate, for clients' certificates and kubeconfigs.
    pub pki: Arc<policy::pki::Pki>,
    pub token_file: TokenFile,
    /// How a node's agent is reached for logs and exec.
    pub dial: Arc<dyn Dial>,
    /// Where clients in pods reach this server; without it no tenant is told.
    pub advertise: Option<SocketAddr>,
    /// Ends open watches and streams.
    pub stop: Stop,
    /// What tenants may hold at a time.
    pub limits: Limits,
    /// Whose tokens of people are trusted.
    pub issuers: Issuers,
    /// Keeps records of requests, where the operators want them.
    pub audit: Option<Arc<Audit>>,
    /// What tenants' webhooks may reach by URL besides public addresses.
    pub tenant_networks: Networks,
    /// How it works beside other servers over the same store.
    pub peering: Peering,
}

/// One API server.
pub struct Server {
    pub store: Store,
    pub kinds: &'static Registry,
    pub published: Published,
    pub pki: Arc<policy::pki::Pki>,
    pub token_file: TokenFile,
    pub rules: RuleCache,
    pub policies: PolicyCache,
    pub webhooks: WebhookCache,
    pub aggregation: Aggregation,
    pub catalogue: Catalogue,
    pub documents: Documents,
    pub impersonations: Impersonations,
    pub tenant_issuers: TenantIssuers,
    pub fairness: Arc<Fairness>,
    pub limits: Limits,
    pub audit: Option<Arc<Audit>>,
    pub encodings: Arc<Encodings>,
    pub egress: Arc<Egress>,
    pub issuers: Issuers,
    pub placements: Placements,
    pub reports: Reports,
    pub peers: Peers,
    pub dial: Arc<dyn Dial>,
    pub advertise: Option<SocketAddr>,
    pub metrics: &'static Metrics,
    pub stop: Stop,
    /// Connections and streams.
    pub tasks: Tasks,
    ready: AtomicBool,
}

impl Server {
    /// Makes a server over an open store and completes what every installation has: the tenant `system`.
    pub fn new(config: Config) -> BoxFuture<'static, Result<Arc<Server>>> {
        Box::pin(Server::open(config))
    }

    async fn open(config: Config) -> Result<Arc<Server>> {
        let kinds = kinds::registry();
        let tasks = Tasks::new();
        let (store, dial, stop) = (config.store.clone(), config.dial.clone(), config.stop.clone());
        let peers = Peers::new(config.peering, &config.pki, Timestamp::now(), stop.clone(), tasks.clone());
        let egress = Egress::new(store, dial, config.tenant_networks, stop, tasks.clone());
        let placements = Placements::new(config.store.resource_revision(&api::ResourceId::new("", "pods")));
        let server = Server {
            store: config.store,
            kinds,
            published: Published::new(kinds.kinds()),
            pki: config.pki,
            token_file: config.token_file,
            rules: RuleCache::default(),
            policies: PolicyCache::default(),
            webhooks: WebhookCache::default(),
            aggregation: Aggregation::default(),
            catalogue: Catalogue::default(),
            documents: Documents::default(),
            impersonations: Impersonations::default(),
            tenant_issuers: TenantIssuers::default(),
            fairness: Fairness::new(config.limits),
            limits: config.limits,
            audit: config.audit,
            encodings: Arc::default(),
            egress: Arc::new(egress),
            issuers: config.issuers,
            placements,
            reports: Reports::default(),
            peers: peers.map_err(Error::internal)?,
            dial: config.dial,
            advertise: config.advertise,
            metrics: Metrics::of_process(),
            stop: config.stop,
            tasks,
            ready: AtomicBool::new(false),
        };
        let now = Timestamp::now();
        server.ensure_system_tenant(now).await?;
        server.ensure_shared(now).await?;
        crate::furnish::complete(&server, now).await?;
        server.token_file.bind(|tenant| server.tenant_uid(tenant));
        let server = Arc::new(server);
        server.tasks.spawn("peers", peers::keep(server.clone(), server.stop.clone()));
        server.tasks.spawn("api services", aggregation::keep(server.clone(), server.stop.clone()));
        Ok(server)
    }

    pub fn service_account_key(&self) -> &ServiceAccountKey {
        self.pki.service_account_key()
    }

    /// Whether new requests are welcome: false before the start is complete and from the start of a shutdown.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The Tenant object, if there is one.
    pub fn tenant(&self, tenant: &TenantName) -> Option<Arc<Object>> {
        let key = ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", tenant.as_str()).ok()?;
        self.store.snapshot().get(&key).cloned()
    }

    /// What tells a tenant from all others of its name.
    pub fn tenant_uid(&self, tenant: &TenantName) -> Option<String> {
        Some(self.tenant(tenant)?.header.uid().to_owned())
    }

    /// The kind that a kind's objects are stored as, where that is another view of them.
    pub fn storage_kind(&self, kind: &Kind) -> Option<&Arc<Kind>> {
        let stored = &kind.stored_as;
        let group = self.kinds.groups().iter().find(|group| group.name == stored.group())?;
        let storage = self.kinds.find(group.name, group.versions.first()?, stored.resource())?;
        (storage.group != kind.group || storage.version != kind.version).then_some(storage)
    }

    /// Fills in defaults: those that the schema declares, then those that take code.
    pub fn default(&self, kind: &Kind, value: &mut Value) {
        let definitions = schema::builtin();
        if let Some(definition) = definitions.of_kind(&kind.group, &kind.version, &kind.kind) {
            schema::apply_defaults(definitions, definition, value);
        }
        (kinds::strategy(kind).defaults)(value);
    }

    async fn ensure_system_tenant(&self, now: Timestamp) -> Result<()> {
        let tenant = json!({"apiVersion": "v1", "kind": "Tenant", "metadata": {"name": api::SYSTEM_TENANT},
            "spec": {"storageClusterId": "0", "finalizers": ["arktos"]}, "status": {"phase": "Active"}});
        self.ensure("", "tenants", Space::Cluster, tenant, now).await?;
        for name in SYSTEM_NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "tenant": api::SYSTEM_TENANT, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
            self.ensure("", "namespaces", Space::Tenant(TenantName::system()), namespace, now).await?;
        }
        Ok(())
    }

    /// The default roles, bindings and flow schemas, which every tenant has without storing them, are kept as objects in
    /// `system`, where operators see and change them.
    async fn ensure_shared(&self, now: Timestamp) -> Result<()> {
        let lists = shared::lists().into_iter();
        let objects = lists.flat_map(|(group, plural, list)| list.into_iter().map(move |value| (group, plural, value)));
        let ensured = objects.map(|(group, plural, mut value)| {
            value["metadata"]["tenant"] = json!(api::SYSTEM_TENANT);
            self.ensure(group, plural, Space::Tenant(TenantName::system()), value, now)
        });
        // Together, so that they share a sync.
        futures::future::try_join_all(ensured).await.map(drop)
    }

    /// Creates an object unless it is there.
    async fn ensure(&self, group: &str, plural: &str, space: Space, mut value: Value, now: Timestamp) -> Result<()> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        value["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
        value["metadata"]["creationTimestamp"] = json!(now.to_string());
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(ResourceId::new(group, plural), space, &namespace, &name)?;
        if self.store.snapshot().get(&key).is_some() {
            return Ok(());
        }
        let object = Object::encode(key.clone(), &mut value, Registry::selectable(&key.resource))?;
        let write = Write { key, expect: Expect::Absent, change: Change::Put(object), class: Class::Durable };
        match self.store.commit(vec![write]).await {
            Ok(_) | Err(CommitError::Exists(_)) => Ok(()),
            Err(other) => Err(Error::internal(other)),
        }
    }
}
