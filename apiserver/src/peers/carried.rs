//! Who asks, as one API server tells it to another: what it knew of the other end before it read the request.
//!
//! The server that serves the tenant authenticates, authorizes and counts by it as if the connection were its own; tokens
//! stay where they are, in the request. Invariant: the header counts on connections alone that show an API server's own
//! certificate, which no request for a certificate can ask for. On all others a request with it is refused, and without it
//! none of theirs is answered.

use crate::authn::Peer;
use crate::fairness::Connection;
use api::{Error, Identity, Result, TenantName, Timestamp};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request};
use policy::authn::{CertifiedIdentity, Refusal};
use serde_json::{Value, json};
use std::sync::Arc;

/// Says who asks.
const CALLER: HeaderName = HeaderName::from_static("x-ursa-caller");

/// Marks a request that came from another API server: it goes no further.
#[derive(Clone, Copy, Debug)]
pub struct PassedOn;

/// The header of a request that is passed on.
pub fn tell(peer: &Peer) -> Result<(HeaderName, HeaderValue)> {
    let told = match peer {
        Peer::Unknown => json!({}),
        Peer::Certificate(Ok(certified)) => {
            json!({"certified": identity(&certified.identity), "issued": certified.issued.unix_secs()})
        }
        Peer::Certificate(Err(refusal)) => json!({"refused": refusal.to_string()}),
        Peer::InProcess(component) => json!({"component": identity(component)}),
        Peer::ApiServer => return Err(Error::internal("a request of an API server's own is passed on")),
    };
    let mut value = HeaderValue::from_bytes(told.to_string().as_bytes()).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok((CALLER, value))
}

/// Who asks, on a connection of `peer`. Of another API server's requests, what it says.
pub fn take(peer: Peer, request: &mut Request<Body>) -> Result<Peer> {
    let mut told = request.headers().get_all(&CALLER).iter();
    let (first, more) = (told.next(), told.next().is_some());
    match (&peer, first) {
        (Peer::ApiServer, Some(_)) if more => Err(Error::bad_request("a request says twice who asks")),
        (Peer::ApiServer, Some(value)) => {
            let told = serde_json::from_slice(value.as_bytes()).ok().and_then(|value| read(&value));
            let told = told.ok_or_else(|| Error::bad_request("it cannot be read who asks"))?;
            request.headers_mut().remove(&CALLER);
            request.extensions_mut().insert(PassedOn);
            // The connections of the tenant were counted where they ended.
            request.extensions_mut().remove::<Arc<Connection>>();
            Ok(told)
        }
        (Peer::ApiServer, None) => Err(Error::unauthorized()),
        (_, Some(_)) => Err(Error::bad_request(format!("the header {CALLER} is for API servers among themselves"))),
        (_, None) => Ok(peer),
    }
}

fn identity(identity: &Identity) -> Value {
    let Identity { tenant, user, uid, groups, extra } = identity;
    json!({"tenant": tenant.as_str(), "user": user, "uid": uid, "groups": groups, "extra": extra})
}

fn read(told: &Value) -> Option<Peer> {
    let fields = told.as_object()?;
    if let Some(certified) = fields.get("certified") {
        let issued = Timestamp::from_unix_secs(fields.get("issued")?.as_i64()?);
        return Some(Peer::Certificate(Ok(CertifiedIdentity { identity: read_identity(certified)?, issued })));
    }
    if let Some(component) = fields.get("component") {
        return Some(Peer::InProcess(Arc::new(read_identity(component)?)));
    }
    match fields.get("refused") {
        Some(why) => Some(Peer::Certificate(Err(Refusal::Invalid(why.as_str()?.to_owned())))),
        None => fields.is_empty().then_some(Peer::Unknown),
    }
}

fn read_identity(value: &Value) -> Option<Identity> {
    Some(Identity {
        tenant: TenantName::new(value["tenant"].as_str()?).ok()?,
        user: value["user"].as_str()?.to_owned(),
        uid: value["uid"].as_str()?.to_owned(),
        groups: serde_json::from_value(value["groups"].clone()).ok()?,
        extra: serde_json::from_value(value["extra"].clone()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn request(values: &[HeaderValue]) -> Request<Body> {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        for value in values {
            request.headers_mut().append(CALLER, value.clone());
        }
        request
    }

    fn certified() -> Peer {
        let mut identity = Identity::new(TenantName::new("acme").unwrap(), "ann é\t\"", &["a", "b"]);
        identity.extra = BTreeMap::from([("k".to_owned(), vec!["v".to_owned()])]);
        Peer::Certificate(Ok(CertifiedIdentity { identity, issued: Timestamp::from_unix_secs(7) }))
    }

    #[test]
    fn who_asks_arrives_as_it_was_told() {
        let node = Peer::InProcess(Arc::new(Identity::node("n")));
        let refused = Peer::Certificate(Err(Refusal::Invalid("no tenant".to_owned())));
        for peer in [Peer::Unknown, certified(), node, refused] {
            let mut request = request(&[tell(&peer).unwrap().1]);
            let taken = take(Peer::ApiServer, &mut request).unwrap();
            assert_eq!(format!("{taken:?}"), format!("{peer:?}"));
            assert!(request.headers().is_empty() && request.extensions().get::<PassedOn>().is_some());
        }
        assert!(tell(&Peer::ApiServer).is_err());
    }

    #[test]
    fn nobody_but_an_api_server_says_who_asks() {
        let forged = tell(&Peer::InProcess(Arc::new(Identity::node("n")))).unwrap().1;
        let component = Peer::InProcess(Arc::new(Identity::node("n")));
        for peer in [Peer::Unknown, certified(), component] {
            for value in [forged.clone(), HeaderValue::from_static(""), HeaderValue::from_static("{}")] {
                let error = take(peer.clone(), &mut request(&[value])).unwrap_err();
                assert_eq!(error.code(), 400, "{error}");
            }
            let mut plain = request(&[]);
            assert_eq!(format!("{:?}", take(peer.clone(), &mut plain).unwrap()), format!("{peer:?}"));
            assert!(plain.extensions().get::<PassedOn>().is_none());
        }
    }

    #[test]
    fn an_api_server_has_no_identity_of_its_own() {
        let code = |values: &[HeaderValue]| take(Peer::ApiServer, &mut request(values)).unwrap_err().code();
        assert_eq!(code(&[]), 401);
        let anyone = HeaderValue::from_static("{}");
        assert_eq!(code(&[anyone.clone(), anyone]), 400);
        for broken in ["", "[]", "{\"certified\":{}}", "{\"component\":{\"tenant\":\"A\"}}", "{\"other\":1}"] {
            assert_eq!(code(&[HeaderValue::from_static(broken)]), 400, "{broken}");
        }
    }
}
