//! Two API servers over one store, each of a group of its own: any address serves any tenant, and nobody lies about who asks.

use crate::{Answer, Frames, answer_of, config_map};
use api::{Identity, TenantName, Timestamp};
use apiserver::{Config, Dial, Peering, Server, Stream, in_process};
use axum::body::Body;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use policy::pki::Pki;
use runtime::{Stop, Tasks};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGS: &str = "/api/v1/datapartitionconfigs";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What says who asks, between API servers.
const CALLER: &str = "x-ursa-caller";

/// A credential on a connection.
type Shown = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

struct Fleet {
    servers: Vec<One>,
    pki: Arc<Pki>,
    tasks: Tasks,
    _dir: TempDir,
}

struct One {
    server: Arc<Server>,
    address: SocketAddr,
    stop: Stop,
}

impl Fleet {
    /// A server of each group, all over one store and under one authority.
    async fn start(groups: &[&'static str]) -> Fleet {
        let dir = TempDir::new().expect("a folder");
        let fields = kinds::Registry::selectable;
        let store = store::Store::open(&dir.path().join("store"), fields, store::Limits::default()).expect("a store");
        let pki = Arc::new(Pki::open(dir.path(), &["127.0.0.1".to_owned()], Timestamp::now()).expect("keys"));
        let (mut servers, tasks) = (Vec::new(), Tasks::new());
        for &group in groups {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let (address, stop) = (listener.local_addr().expect("an address"), Stop::new());
            let config = Config {
                store: store.clone(),
                pki: pki.clone(),
                token_file: policy::authn::TokenFile::default(),
                dial: Arc::new(Agent { group, tasks: tasks.clone() }),
                advertise: None,
                stop: stop.clone(),
                limits: apiserver::Limits::default(),
                audit: None,
                issuers: policy::authn::Issuers::default(),
                tenant_networks: "".parse().expect("none"),
                peering: Peering { group: group.to_owned(), address: Some(address) },
            };
            let server = Server::new(config).await.expect("a server");
            let tls = apiserver::tls_config(&pki).expect("certificates");
            let (served, until) = (server.clone(), stop.clone());
            tasks.spawn("server", async move { drop(apiserver::serve(served, listener, tls, until).await) });
            servers.push(One { server, address, stop });
        }
        Fleet { servers, pki, tasks, _dir: dir }
    }

    /// Sends a request to a server, over a connection of its own.
    async fn send(&self, at: usize, shown: Shown, request: Request<Body>) -> Response<Incoming> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.ca_pem().as_bytes()).expect("PEM")).expect("an authority");
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let tls = match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a certificate with its key"),
            None => builder.with_no_client_auth(),
        };
        let address = self.servers[at].address;
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::from(address.ip());
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("TLS");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        self.tasks.spawn("connection", async move { drop(connection.with_upgrades().await) });
        sender.send_request(request).await.expect("an answer")
    }

    fn certificate(&self, tenant: &str, user: &str, groups: &[&str]) -> Shown {
        let tenant = TenantName::new(tenant).expect("a name");
        let hour = Duration::from_secs(3600);
        let issued = self.pki.client_certificate(&tenant, user, groups, hour, Timestamp::now()).expect("issued");
        let chain = vec![CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).expect("PEM")];
        Some((chain, PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM")))
    }

    async fn ask(&self, at: usize, shown: Shown, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        answer_of(self.send(at, shown, request(method, path, &[], body)).await.map(Body::new)).await
    }

    /// As an administrator of a tenant.
    async fn admin(&self, at: usize, tenant: &str, method: Method, path: &str, body: Value) -> Answer {
        self.ask(at, self.certificate(tenant, "admin", &["system:masters"]), method, path, body).await
    }

    /// As the operators, in the process of the first server.
    async fn operate(&self, method: Method, path: &str, body: Value) -> Answer {
        let identity = Arc::new(Identity::new(TenantName::system(), "root", &["system:masters"]));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request(method, path, &[], body);
        answer_of(in_process(self.servers[0].server.clone(), identity, request).await).await
    }

    async fn make(&self, path: &str, object: Value) {
        let (code, answer) = self.operate(Method::POST, path, object).await;
        assert_eq!(code, 201, "{answer}");
    }

    /// Tenants `acme` of group 1 and `zeta` of group 2, each known to have a server.
    async fn two_groups() -> Fleet {
        let fleet = Fleet::start(&["1", "2"]).await;
        for tenant in ["acme", "zeta"] {
            fleet
                .make("/api/v1/tenants", json!({"metadata": {"name": tenant}, "spec": {"storageClusterId": "0"}}))
                .await;
            let below = format!("/tenants/{tenant}/api/v1/namespaces");
            fleet.make(&below, json!({"metadata": {"name": "default"}})).await;
            let account = json!({"metadata": {"name": "default"}});
            fleet.make(&format!("{below}/default/serviceaccounts"), account).await;
        }
        fleet.make(CONFIGS, range("low", None, Some("m"), "1")).await;
        fleet.make(CONFIGS, range("high", Some("m"), None, "2")).await;
        fleet.knows(0, "zeta").await;
        fleet.knows(1, "acme").await;
        fleet
    }

    /// Waits until a server knows who serves a tenant.
    async fn knows(&self, at: usize, tenant: &str) {
        let found = async {
            while self.admin(at, tenant, Method::GET, MAPS, Value::Null).await.0 == 503 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("servers find each other");
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in [("host", "any.example.com")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).expect("a request")
}

fn range(name: &str, start: Option<&str>, end: Option<&str>, group: &str) -> Value {
    json!({
        "metadata": {"name": name}, "serviceGroupId": group,
        "rangeStart": start.unwrap_or_default(), "isRangeStartValid": start.is_some(),
        "rangeEnd": end.unwrap_or_default(), "isRangeEndValid": end.is_some(),
    })
}

/// The agents of all nodes, as a server reaches them: logs tell which server asked, and a stream sends back what it gets.
struct Agent {
    group: &'static str,
    tasks: Tasks,
}

impl Dial for Agent {
    fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, api::Result<Box<dyn Stream>>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (group, tasks) = (self.group, self.tasks.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
            let Some(upgrade) = upgrade else {
                let logs = Response::new(Body::from(format!("asked by group {group}")));
                return std::future::ready(Ok::<_, Infallible>(logs));
            };
            tasks.spawn("stream", async move {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.expect("an upgrade")));
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
            let switched = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "tcp");
            std::future::ready(Ok(switched.body(Body::empty()).expect("an answer")))
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
        self.tasks.spawn("agent", async move { drop(connection.with_upgrades().await) });
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_address_serves_any_tenant() {
    let fleet = Fleet::two_groups().await;
    let shown = || fleet.certificate("zeta", "admin", &["system:masters"]);
    let watch = request(Method::GET, &format!("{MAPS}?watch=1&resourceVersion=0"), &[], String::new());
    let watch = fleet.send(0, shown(), watch).await;
    assert_eq!(watch.status(), 200);
    let mut frames = Frames { body: Body::new(watch.into_body()).into_data_stream().boxed(), rest: String::new() };
    for (at, tenant, name) in [(0, "zeta", "a"), (1, "zeta", "b"), (0, "acme", "c"), (1, "acme", "d")] {
        let (code, made) = fleet.admin(at, tenant, Method::POST, MAPS, config_map(name)).await;
        assert_eq!((code, &made["metadata"]["tenant"]), (201, &json!(tenant)), "{made}");
        for from in [0, 1] {
            let (code, found) = fleet.admin(from, tenant, Method::GET, &format!("{MAPS}/{name}"), Value::Null).await;
            assert_eq!((code, &found["metadata"]["uid"]), (200, &made["metadata"]["uid"]), "{found}");
        }
    }
    assert_eq!([frames.next_brief().await, frames.next_brief().await], ["ADDED a", "ADDED b"]);
    // By its path, as operators, and without a credential.
    let path = format!("/tenants/zeta{MAPS}");
    let operators = fleet.certificate("system", "root", &["system:masters"]);
    assert_eq!(fleet.ask(0, operators, Method::GET, &path, Value::Null).await.0, 200);
    assert_eq!(fleet.ask(0, None, Method::GET, &path, Value::Null).await.0, 403);
    // Who has no rights there has none through another server either.
    let nobody = || fleet.certificate("zeta", "bob", &[]);
    assert_eq!(fleet.ask(0, nobody(), Method::GET, MAPS, Value::Null).await.0, 403);
    let (code, who) = fleet.ask(0, nobody(), Method::POST, WHO, json!({})).await;
    assert_eq!((code, &who["status"]["userInfo"]["username"]), (201, &json!("bob")), "{who}");
    assert_eq!(
        fleet.ask(0, fleet.certificate("acme", "admin", &["system:masters"]), Method::GET, &path, Value::Null).await.0,
        403
    );
}

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_server_is_good_at_another() {
    let fleet = Fleet::two_groups().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let (code, issued) = fleet.admin(1, "zeta", Method::POST, path, json!({"spec": {}})).await;
    assert_eq!(code, 201, "{issued}");
    let bearer = format!("Bearer {}", issued["status"]["token"].as_str().expect("a token"));
    for at in [0, 1] {
        let asked = request(Method::POST, WHO, &[("authorization", &bearer)], "{}".to_owned());
        let (code, who) = answer_of(fleet.send(at, None, asked).await.map(Body::new)).await;
        assert_eq!(code, 201, "{who}");
        assert_eq!(who["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    }
    let asked = request(Method::POST, WHO, &[("authorization", &format!("{bearer}x"))], "{}".to_owned());
    assert_eq!(fleet.send(0, None, asked).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_streams_go_through_the_server_of_the_tenant() {
    let fleet = Fleet::two_groups().await;
    fleet.make("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    let shown = || fleet.certificate("zeta", "admin", &["system:masters"]);
    let (code, made) = fleet.ask(0, shown(), Method::POST, PODS, pod).await;
    assert_eq!(code, 201, "{made}");
    let (code, logs) = fleet.ask(0, shown(), Method::GET, &format!("{PODS}/p/log"), Value::Null).await;
    assert_eq!((code, logs), (200, json!("asked by group 2")));
    let headers =
        [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")];
    let exec = request(Method::POST, &format!("{PODS}/p/exec?command=sh&stdin=true"), &headers, String::new());
    let mut answer = fleet.send(0, shown(), exec).await;
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.expect("an upgrade"));
    stream.write_all(b"there and back").await.expect("it is open");
    let mut back = [0; 14];
    stream.read_exact(&mut back).await.expect("it is open");
    assert_eq!(&back, b"there and back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_says_who_asks() {
    let fleet = Fleet::two_groups().await;
    let forged = json!({"component": {"tenant": "system", "user": "root", "uid": "", "groups": ["system:masters"],
        "extra": {}}});
    for shown in [
        None,
        fleet.certificate("acme", "admin", &["system:masters"]),
        fleet.certificate("system", "root", &["system:masters"]),
    ] {
        for (at, path) in
            [(0, "/api/v1/tenants"), (0, "/tenants/zeta/api/v1/secrets"), (1, "/tenants/acme/api/v1/secrets")]
        {
            let shown = shown.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
            let asked = request(Method::GET, path, &[(CALLER, &forged.to_string())], String::new());
            assert_eq!(fleet.send(at, shown, asked).await.status(), 400, "{path}");
        }
    }
    // What a server shows to others is no identity.
    let server = || Some(fleet.pki.api_server_credential(Timestamp::now()).expect("a certificate"));
    assert_eq!(fleet.ask(0, server(), Method::GET, "/api/v1/tenants", Value::Null).await.0, 401);
    let told = request(Method::GET, "/api/v1/tenants", &[(CALLER, &forged.to_string())], String::new());
    assert_eq!(fleet.send(0, server(), told).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_passed_on_once() {
    let fleet = Fleet::two_groups().await;
    // Both servers take the other for one of group 3, where nobody is.
    let lease = |at: usize| {
        json!({
            "metadata": {
                "name": format!("apiserver-of-group-3-{at}"), "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"},
                "annotations": {
                    "apiserver.ursa.dev/address": fleet.servers[at].address.to_string(),
                    "apiserver.ursa.dev/service-group-id": "3",
                },
            },
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 10, "renewTime": Timestamp::now().to_micro_string()},
        })
    };
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    for at in [0, 1] {
        fleet.make(leases, lease(at)).await;
    }
    let config = format!("{CONFIGS}/high");
    assert_eq!(fleet.operate(Method::DELETE, &config, Value::Null).await.0, 200);
    fleet.make(CONFIGS, range("high", Some("m"), None, "3")).await;
    let refused = async {
        loop {
            let (code, answer) = fleet.admin(0, "zeta", Method::GET, MAPS, Value::Null).await;
            assert_eq!(code, 503, "{answer}");
            if answer["message"].as_str().is_some_and(|message| message.contains("was looked for in")) {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the leases are seen");
    assert_eq!(answer["details"]["retryAfterSeconds"], 1, "{answer}");
    assert_eq!(fleet.admin(0, "acme", Method::GET, MAPS, Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_again_and_again_that_it_lives() {
    let fleet = Fleet::start(&["1"]).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let mut told = std::collections::HashSet::new();
    let renewed = async {
        while told.len() < 3 {
            let (_, list) = fleet.operate(Method::GET, leases, Value::Null).await;
            let items = list["items"].as_array().into_iter().flatten();
            told.extend(items.filter_map(|lease| lease["spec"]["renewTime"].as_str().map(str::to_owned)));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renewed).await.expect("the lease is renewed");
    fleet.servers[0].stop.stop();
    fleet.servers[0].server.tasks.ended().await;
    let (_, list) = fleet.operate(Method::GET, leases, Value::Null).await;
    assert_eq!(list["items"], json!([]), "it takes its lease back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_a_server_is_said_so() {
    let fleet = Fleet::two_groups().await;
    let gone = &fleet.servers[1];
    gone.stop.stop();
    gone.server.tasks.ended().await;
    let (code, answer) = fleet.admin(0, "zeta", Method::POST, MAPS, config_map("a")).await;
    assert_eq!((code, &answer["reason"]), (503, &json!("ServiceUnavailable")), "{answer}");
    assert_eq!(fleet.admin(0, "acme", Method::POST, MAPS, config_map("a")).await.0, 201);
    // Operators give its tenants to others, while everything runs.
    assert_eq!(fleet.operate(Method::DELETE, &format!("{CONFIGS}/high"), Value::Null).await.0, 200);
    assert_eq!(fleet.admin(0, "zeta", Method::POST, MAPS, config_map("a")).await.0, 201);
}

#[tokio::test]
async fn ranges_that_overlap_or_leave_a_gap_are_refused() {
    let fleet = Fleet::start(&["1"]).await;
    fleet.make(CONFIGS, range("low", None, Some("f"), "1")).await;
    fleet.make(CONFIGS, range("middle", Some("f"), Some("m"), "2")).await;
    fleet.make(CONFIGS, range("high", Some("m"), None, "1")).await;
    for (name, start, end, told) in [
        ("other", Some("a"), Some("b"), "overlap"),
        ("other", None, None, "overlap"),
        ("other", Some("z"), None, "overlap"),
    ] {
        let (code, answer) = fleet.operate(Method::POST, CONFIGS, range(name, start, end, "3")).await;
        assert_eq!(code, 422, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(told)), "{answer}");
    }
    let put = async |config: Value| {
        let path = format!("{CONFIGS}/{}", config["metadata"]["name"].as_str().expect("a name"));
        fleet.operate(Method::PUT, &path, config).await
    };
    assert_eq!(put(range("middle", Some("f"), Some("l"), "2")).await.0, 422, "a gap");
    assert_eq!(put(range("middle", Some("f"), Some("n"), "2")).await.0, 422, "an overlap");
    assert_eq!(put(range("middle", Some("f"), Some("m"), "3")).await.0, 200, "another group");
    let delete = async |name: &str| fleet.operate(Method::DELETE, &format!("{CONFIGS}/{name}"), Value::Null).await;
    let (code, answer) = delete("middle").await;
    assert_eq!(code, 409, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|m| m.contains("no range would hold the tenants from")), "{answer}");
    for name in ["low", "middle", "high"] {
        assert_eq!(delete(name).await.0, 200, "{name}");
    }
}
