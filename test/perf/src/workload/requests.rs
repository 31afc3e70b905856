//! Sends the requests of a step, and keeps when each began and how long it took.

use super::pods::name;
use super::spec::{Step, Verb};
use crate::connection::{Connection, Error, Target};
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What may pass by itself, as a namespace that is not there yet, is asked again for so long, this often.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// After so many failures nobody learns more by going on.
const FAILURES_MAX: usize = 100;

/// What came of the requests of a step.
#[derive(Default)]
pub struct Sent {
    /// When the request began that made an object, by the object's name, and in which tenant.
    pub made: HashMap<String, (Instant, String)>,
    /// By verb and scope: when each ended, and how long it took.
    pub answered: BTreeMap<&'static str, Vec<(Instant, Duration)>>,
    pub failures: Vec<String>,
}

impl Sent {
    pub fn count(&self) -> usize {
        self.answered.values().map(Vec::len).sum()
    }
}

/// Sends all requests of a step, on each connection the next when the one before is answered.
pub async fn send(target: &Target, handles: &mut [Connection], step: &Step) -> Sent {
    let (next, sent) = (Cell::new(0), RefCell::new(Sent::default()));
    let start = tokio::time::Instant::now();
    let worker = async |handle: &mut Connection| {
        let mut drivers = JoinSet::new();
        loop {
            let number = next.replace(next.get() + 1);
            if number >= step.count || sent.borrow().failures.len() >= FAILURES_MAX {
                return;
            }
            if let Some(rate) = step.rate {
                tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
            }
            for asked in asked(step, number) {
                match perform(target, handle, &mut drivers, step, &asked).await {
                    Ok((began, answer)) => {
                        let mut sent = sent.borrow_mut();
                        let ended = Instant::now();
                        sent.answered.entry(asked.sli).or_default().push((ended, ended - began));
                        if step.verb == Verb::Create
                            && let Some(name) = name(&answer)
                        {
                            sent.made.insert(name, (began, tenant(&asked.path).to_owned()));
                        }
                    }
                    Err(why) => sent.borrow_mut().failures.push(why),
                }
            }
        }
    };
    join_all(handles.iter_mut().map(worker)).await;
    sent.into_inner()
}

/// One request, as verb and scope of Kubernetes' service level indicators name it.
struct Asked {
    sli: &'static str,
    method: Method,
    path: String,
    body: Bytes,
}

/// The requests that one number of a step stands for.
fn asked(step: &Step, number: usize) -> Vec<Asked> {
    let path = step.path(number);
    let body = || Bytes::from(step.body(number));
    let one = |sli, method, path, body| Asked { sli, method, path, body };
    match step.verb {
        Verb::Create => vec![one("POST resource", Method::POST, path, body())],
        Verb::Get => vec![one("GET resource", Method::GET, path, Bytes::new())],
        Verb::Patch => vec![one("PATCH resource", Method::PATCH, path, body())],
        Verb::Delete => vec![one("DELETE resource", Method::DELETE, path, Bytes::new())],
        Verb::List if path.contains("/namespaces/") => vec![one("LIST namespace", Method::GET, path, Bytes::new())],
        Verb::List => vec![one("LIST cluster", Method::GET, path, Bytes::new())],
        Verb::Churn => {
            let object = format!("{path}/{}", name(&body()).unwrap_or_default());
            vec![
                one("POST resource", Method::POST, path, body()),
                one("DELETE resource", Method::DELETE, object, Bytes::new()),
            ]
        }
        Verb::Watch | Verb::Wait => Vec::new(),
    }
}

/// Asks until it is answered, or fails for good. Returns when the request that was answered began, and the answer.
async fn perform(
    target: &Target,
    handle: &mut Connection,
    drivers: &mut JoinSet<()>,
    step: &Step,
    asked: &Asked,
) -> Result<(Instant, Bytes), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut again = false;
    loop {
        let began = Instant::now();
        let why = match handle.fetch(request(target, asked)?).await {
            Ok(answer) => return Ok((began, answer)),
            Err(why) => why,
        };
        // An answer that was lost: what was asked has been done.
        let done = (again && why.contains(": 409 ")) || (asked.method == Method::DELETE && why.contains(": 404 "));
        if done {
            return Ok((began, Bytes::new()));
        }
        if Instant::now() > deadline || !(step.restart || passes(asked, &why)) {
            return Err(why);
        }
        again = true;
        kit::leave_alone(AGAIN_AFTER).await;
        if step.restart
            && let Ok(connection) = target.connect(drivers).await
        {
            *handle = connection;
        }
    }
}

fn request(target: &Target, asked: &Asked) -> Result<Request<Full<Bytes>>, Error> {
    let mut request = target.request(asked.method.clone(), &asked.path, asked.body.clone())?;
    if asked.method == Method::PATCH {
        let merge = HeaderValue::from_static("application/merge-patch+json");
        request.headers_mut().insert(header::CONTENT_TYPE, merge);
    }
    Ok(request)
}

/// Whether it is refused for what passes by itself: too much at a time, or a namespace or account that is not there yet.
fn passes(asked: &Asked, why: &str) -> bool {
    let creating = asked.method == Method::POST && [": 403 ", ": 404 "].iter().any(|code| why.contains(code));
    creating || [": 429 ", ": 503 "].iter().any(|code| why.contains(code))
}

/// The tenant that a path names.
fn tenant(path: &str) -> &str {
    let named = path.split_once("/tenants/").and_then(|(_, rest)| rest.split('/').next());
    named.unwrap_or("system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_verb_and_scope() {
        let step = |text: &str| serde_saphyr::from_str::<Step>(text).expect("a step");
        let names = |text: &str| asked(&step(text), 3).into_iter().map(|one| (one.sli, one.path)).collect::<Vec<_>>();
        let cases = [
            (
                "{count: 1, path: '/api/v1/namespaces/d/pods/p-{n}', verb: get}",
                vec![("GET resource", "/api/v1/namespaces/d/pods/p-3")],
            ),
            (
                "{count: 1, path: '/api/v1/namespaces/d/pods', verb: list}",
                vec![("LIST namespace", "/api/v1/namespaces/d/pods")],
            ),
            ("{count: 1, path: '/api/v1/pods', verb: list}", vec![("LIST cluster", "/api/v1/pods")]),
            (
                "{count: 1, path: /maps, verb: churn, object: {metadata: {name: 'm-{n}'}}}",
                vec![("POST resource", "/maps"), ("DELETE resource", "/maps/m-3")],
            ),
        ];
        for (text, wanted) in cases {
            let found = names(text);
            let found: Vec<_> = found.iter().map(|(sli, path)| (*sli, path.as_str())).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let of = |method| Asked { sli: "", method, path: String::new(), body: Bytes::new() };
        assert!(passes(&of(Method::POST), "POST /x: 404 Not Found: namespace"));
        assert!(!passes(&of(Method::GET), "GET /x: 404 Not Found: pod"));
        assert!(passes(&of(Method::GET), "GET /x: 429 Too Many Requests: "));
        assert!(!passes(&of(Method::POST), "POST /x: 422 Unprocessable Entity: "));
    }

    #[test]
    fn the_tenant_of_a_path_is_known() {
        assert_eq!(tenant("/tenants/a/api/v1/namespaces/default/pods"), "a");
        assert_eq!(tenant("/api/v1/namespaces/default/pods"), "system");
    }
}
