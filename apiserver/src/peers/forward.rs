//! A request passed on to the API server that serves its tenant, and the answer back, as it comes.
//!
//! Another server of the group is asked only as long as nothing was sent: what a server that fell silent has done with a
//! request is unknown, and said so.

use super::lines::Place;
use super::{Elsewhere, Member, carried};
use crate::authn::Peer;
use crate::server::Server;
use crate::{fairness, nodes, proxy};
use api::{Error, Reason, Result, TenantName};
use axum::body::Body;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, header};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than any request may take until its answer begins.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Passes a request on, and the answer back.
pub async fn forward(
    server: &Server,
    peer: &Peer,
    to: &Elsewhere,
    mut request: Request<Body>,
) -> Result<Response<Body>> {
    let (name, value) = carried::tell(peer)?;
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let mut outgoing = proxy::passed_on(request, &target)?;
    outgoing.headers_mut().insert(name, value);
    let members = server.peers.members.load_full();
    let mut last = "none of them is there".to_owned();
    for member in candidates(&members, to) {
        let address = member.address;
        if upgrade.is_some() {
            match server.peers.lines.fresh(address).await {
                Ok(stream) => {
                    let lines = (&server.stop, &server.tasks);
                    let exchanged = nodes::exchange(lines, stream, outgoing, upgrade).await;
                    return exchanged.map_err(|error| unanswered(address, error));
                }
                Err(why) => last = why,
            }
            continue;
        }
        match server.peers.lines.place(address).await {
            Ok(place) => match exchange(place, address, outgoing).await {
                Ok(response) => return Ok(response),
                Err(Failed::Unsent(request, why)) => (outgoing, last) = (*request, why),
                Err(Failed::Sent(error)) => return Err(error),
            },
            Err(why) => last = why,
        }
    }
    let Elsewhere { tenant, group } = to;
    let why = format!("no API server of group {group:?}, which serves tenant {tenant}, can be reached: {last}");
    Err(Error::new(Reason::ServiceUnavailable, why).retry_after(1))
}

/// Why there is no answer.
enum Failed {
    /// Nothing was sent: the request can go elsewhere.
    Unsent(Box<Request<Body>>, String),
    /// It may have been carried out.
    Sent(Error),
}

async fn exchange(
    mut place: Place,
    address: SocketAddr,
    mut request: Request<Body>,
) -> std::result::Result<Response<Body>, Failed> {
    // On HTTP/2 the host that the client named is part of the target.
    let host = request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    (target.scheme, target.authority) = (Some(Scheme::HTTPS), host.or_else(|| address.to_string().parse().ok()));
    let target = Uri::from_parts(target).map_err(|error| Failed::Sent(Error::internal(error)))?;
    *request.uri_mut() = target;
    *request.version_mut() = http::Version::HTTP_2;
    match tokio::time::timeout(HEAD_TIMEOUT, place.sender.try_send_request(request)).await {
        Ok(Ok(response)) => Ok(fairness::guarded(response.map(Body::new), place)),
        Ok(Err(mut failed)) => match failed.take_message() {
            Some(request) => Err(Failed::Unsent(Box::new(request), format!("{address} closed the connection"))),
            None => Err(Failed::Sent(unanswered(address, Error::internal(failed.into_error())))),
        },
        Err(_) => {
            let why = format!("the API server {address} did not answer in time; whether it will is unknown");
            Err(Failed::Sent(Error::new(Reason::Timeout, why)))
        }
    }
}

/// What is said of a server that took a request and did not answer.
fn unanswered(address: SocketAddr, source: Error) -> Error {
    let why = format!("the API server {address} went away before it answered; whether it carried this out is unknown");
    Error::new(Reason::ServiceUnavailable, why).with_source(source)
}

/// The servers of a group, beginning with the one that a tenant's requests usually go to.
fn candidates<'a>(members: &'a [Member], to: &Elsewhere) -> impl Iterator<Item = &'a Member> {
    let mut group: Vec<&Member> = members.iter().filter(|member| member.group == to.group).collect();
    let turn = usual(&to.tenant, group.len());
    group.rotate_left(turn);
    group.into_iter()
}

/// One of so many, the same for all requests of a tenant.
fn usual(tenant: &TenantName, of: usize) -> usize {
    let mut hash = DefaultHasher::new();
    tenant.as_str().hash(&mut hash);
    usize::try_from(hash.finish() % of.max(1) as u64).unwrap_or(0)
}
