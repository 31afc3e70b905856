//! Watches end with the right to them: an open one is asked again, every few seconds, whether its caller still is who it
//! was, may still act as whom it acts as, and may still do what it does.
//!
//! Invariant: so long after a role, a service account, a secret's token or a tenant is gone, no event of what it opened
//! is sent any more. A tenant made anew under the same name is another one.

use crate::authn::{self, Peer};
use crate::server::Server;
use api::selector::FieldSelector;
use api::{Identity, TenantName, Timestamp};
use axum::body::Body;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, Response, header};
use http_body::{Frame, SizeHint};
use policy::rbac::Attributes;
use policy::tenancy::{Requested, decide};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How long an event may still be sent after the right to it is gone.
const EVERY: Duration = Duration::from_secs(5);

/// Who opened a watch and on what, as it is asked again.
pub struct Opened {
    server: Arc<Server>,
    peer: Peer,
    /// Of the request, the credentials alone and whom it acts as.
    headers: HeaderMap,
    requested: Requested,
    caller: Identity,
    /// The tenants of caller and target, with their uids.
    tenants: Vec<(TenantName, String)>,
    what: Owned,
}

struct Owned {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    cluster_scoped: bool,
    fields: Option<FieldSelector>,
}

impl Opened {
    /// Remembers how a watch was opened. `None` for components of this process, whose identities are theirs for good.
    pub fn new(
        server: &Arc<Server>,
        peer: &Peer,
        headers: &HeaderMap,
        requested: &Requested,
        caller: &Identity,
        what: &Attributes,
    ) -> Option<Opened> {
        if matches!(peer, Peer::InProcess(_)) {
            return None;
        }
        let is_kept = |name: &HeaderName| {
            [header::AUTHORIZATION, header::SEC_WEBSOCKET_PROTOCOL].contains(name) || authn::is_impersonation(name)
        };
        let mut kept = HeaderMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
            kept.append(name.clone(), value.clone());
        }
        let named = if let Requested::Named(tenant) = requested { Some(tenant) } else { None };
        let tenants = [Some(&caller.tenant), named].into_iter().flatten();
        let tenants =
            tenants.filter_map(|tenant| Some((tenant.clone(), server.tenant(tenant)?.header.uid().to_owned())));
        Some(Opened {
            server: server.clone(),
            peer: peer.clone(),
            headers: kept,
            requested: requested.clone(),
            caller: caller.clone(),
            tenants: tenants.collect(),
            what: Owned {
                verb: what.verb.to_owned(),
                group: what.group.to_owned(),
                version: what.version.to_owned(),
                resource: what.resource.to_owned(),
                subresource: what.subresource.to_owned(),
                namespace: what.namespace.to_owned(),
                name: what.name.to_owned(),
                cluster_scoped: what.cluster_scoped,
                fields: what.fields.cloned(),
            },
        })
    }

    /// Whether the caller still is who it was, in the same tenant, and may still watch.
    fn holds(&self) -> bool {
        #[cfg(test)]
        if crate::planted::is(crate::planted::Fault::WatchOutlivesItsRight) {
            return true;
        }
        let server = &self.server;
        let same = |(tenant, uid): &(TenantName, String)| {
            server.tenant(tenant).is_some_and(|object| object.header.uid() == *uid)
        };
        if !self.tenants.iter().all(same) {
            return false;
        }
        let now = Timestamp::now();
        let Ok(caller) = authn::authenticate(server, &self.peer, &self.headers, &self.requested, now) else {
            return false;
        };
        if caller.user != self.caller.user || caller.tenant != self.caller.tenant {
            return false;
        }
        let Owned { verb, group, version, resource, subresource, namespace, name, cluster_scoped, fields } = &self.what;
        let what = Attributes {
            verb,
            tenant: None,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
            path: None,
            cluster_scoped: *cluster_scoped,
            fields: fields.as_ref(),
        };
        let Ok(reached) = decide(&caller, &self.requested, &what) else { return false };
        let what = Attributes { tenant: reached.tenant().filter(|_| !cluster_scoped), ..what };
        let Ok(other) = authn::impersonate(server, &caller, &self.headers, &what, &reached) else { return false };
        let identity = other.map_or(caller, |(identity, _)| identity);
        let Ok(decision) = decide(&identity, &self.requested, &what) else { return false };
        crate::authz::authorize(server, &identity, &what, &decision).is_ok()
    }

    /// Ends the answer's body when the right to it is gone.
    pub fn guard(self, response: Response<Body>) -> Response<Body> {
        let mut again = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        response.map(|body| Body::new(Watched { body, opened: self, again, ended: false }))
    }
}

struct Watched {
    body: Body,
    opened: Opened,
    again: Interval,
    ended: bool,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Before the next frame, so that none is sent that came after the right was gone for so long.
        while !self.ended && self.again.poll_tick(cx).is_ready() {
            self.ended = !self.opened.holds();
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
