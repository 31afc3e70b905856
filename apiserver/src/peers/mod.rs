//! Several API servers over one store: groups of them serve ranges of tenants, and each passes on what is not its own.
//!
//! ```text
//!   client ──▶ any API server ── a tenant of this group ──▶ served here
//!                   └────── of another group ──▶ mutual TLS, the request as it came and who asks ──▶ served there
//! ```
//!
//! Invariant: a request is passed on once at most. The server that serves it does all that is done with a request:
//! authentication, authorization, fairness, admission, audit. Requests of `system` and over all tenants are served anywhere.

mod carried;
mod forward;
mod lines;
mod members;
mod ranges;

pub use carried::{PassedOn, take};
pub use forward::forward;
pub use lines::{STREAM_WINDOW, WINDOW};
pub use members::{Member, keep};
pub use ranges::{Range, Ranges};

use crate::authn::{self, Peer};
use crate::fairness::Connection;
use crate::path::Path;
use crate::registry;
use crate::server::Server;
use api::{Error, Reason, ResourceId, Result, Revision, TenantName, Timestamp};
use arc_swap::ArcSwap;
use http::{Extensions, HeaderMap};
use lines::Lines;
use policy::pki::Pki;
use policy::tenancy::Requested;
use runtime::{Stop, Tasks};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use store::Store;

/// The group of a server that was told none.
const FIRST_GROUP: &str = "0";

/// The ranges' kind. Every request asks whether there are any.
pub fn resource() -> &'static ResourceId {
    static CONFIGS: LazyLock<ResourceId> = LazyLock::new(|| ResourceId::new("", "datapartitionconfigs"));
    &CONFIGS
}

/// How an API server works beside others.
#[derive(Clone, Debug)]
pub struct Peering {
    /// The group that it belongs to.
    pub group: String,
    /// Where others reach it. Without an address they do not know of it.
    pub address: Option<SocketAddr>,
}

impl Default for Peering {
    fn default() -> Peering {
        Peering { group: FIRST_GROUP.to_owned(), address: None }
    }
}

/// What a server knows of the others and of who serves which tenants.
pub struct Peers {
    pub group: String,
    pub address: Option<SocketAddr>,
    lines: Lines,
    /// In the order of their addresses.
    members: ArcSwap<Vec<Member>>,
    /// With the last change of any config when they were read.
    ranges: ArcSwap<(Revision, Ranges)>,
}

impl Peers {
    /// # Errors
    /// A sentence on certificates that cannot be used.
    pub fn new(peering: Peering, pki: &Pki, now: Timestamp, stop: Stop, tasks: Tasks) -> Result<Peers, String> {
        let Peering { group, address } = peering;
        let lines = Lines::new(pki, now, stop, tasks)?;
        let ranges = ArcSwap::from_pointee((Revision::MAX, Ranges::default()));
        Ok(Peers { group, address, lines, members: ArcSwap::default(), ranges })
    }

    /// The ranges as they are now.
    fn ranges(&self, store: &Store) -> Arc<(Revision, Ranges)> {
        let revision = store.resource_revision(resource());
        let known = self.ranges.load_full();
        if known.0 == revision {
            return known;
        }
        let read = Ranges::of_objects(store.snapshot().range(&store::Scope::Cluster(resource().clone()), None));
        let read = Arc::new((revision, read));
        self.ranges.store(read.clone());
        read
    }

    /// The group that serves a tenant, unless this server does.
    fn other_group(&self, store: &Store, tenant: &TenantName) -> Option<String> {
        if tenant.is_system() {
            return None;
        }
        let ranges = self.ranges(store);
        ranges.1.group_of(tenant.as_str()).filter(|group| *group != self.group).map(str::to_owned)
    }

    fn learn(&self, mut members: Vec<Member>) {
        members.sort_by_key(|member| member.address);
        if **self.members.load() != members {
            self.lines.keep(&members);
            self.members.store(Arc::new(members));
        }
    }
}

/// Another group, which serves the tenant of a request.
pub struct Elsewhere {
    pub tenant: TenantName,
    pub group: String,
}

/// Where a request is served, if not here. 503 for one that was passed on to here by mistake.
pub async fn elsewhere(
    server: &Server,
    peer: &Peer,
    path: &Path,
    (headers, extensions): (&HeaderMap, &Extensions),
    now: Timestamp,
) -> Result<Option<Elsewhere>> {
    let ranges = server.peers.ranges(&server.store);
    if ranges.1.is_empty() {
        return Ok(None);
    }
    let tenant = match &path.tenant {
        Requested::All => return Ok(None),
        Requested::Named(tenant) => tenant.clone(),
        Requested::Own => authn::claimed(server, peer, headers, now).tenant,
    };
    let other = || server.peers.other_group(&server.store, &tenant);
    let Some(group) = other() else { return Ok(None) };
    if extensions.get::<PassedOn>().is_some() {
        // The server that passed it on may know more than this one.
        server.store.current().await.map_err(registry::commit_error)?;
        let Some(group) = other() else { return Ok(None) };
        let own = &server.peers.group;
        let why = format!("tenant {tenant} is served by group {group:?} of API servers, and was looked for in {own:?}");
        return Err(Error::new(Reason::ServiceUnavailable, why).retry_after(1));
    }
    // Whom nobody vouches for is not counted for the tenant that it names.
    if let Some(connection) = extensions.get::<Arc<Connection>>().filter(|c| !c.is_counted()) {
        connection.count(&server.fairness, &authn::claimed(server, peer, headers, now))?;
    }
    Ok(Some(Elsewhere { tenant, group }))
}
