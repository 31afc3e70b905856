//! The transport against a TLS server in this process.

use super::*;
use crate::{ListParams, NODES, PODS, WatchEvent, WatchParams};
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// What the server saw: one line per request.
type Seen = Arc<Mutex<Vec<String>>>;

/// Starts a server that answers every list with one item and every watch with one event, and then stays silent.
async fn serve(authority: &Authority, alpn: &[&str]) -> (String, Seen) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = builder.expect("versions").with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration");
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("https://{}", listener.local_addr().expect("an address"));
    let seen = Seen::default();
    let tasks = Tasks::new();
    let (accepting, log) = (tasks.clone(), seen.clone());
    tasks.spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, log) = (acceptor.clone(), log.clone());
            accepting.spawn("connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| std::future::ready(answer(&request, &log)));
                // A client that goes away is not this server's failure.
                drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    (address, seen)
}

fn answer(request: &Request<Incoming>, seen: &Seen) -> Result<Response<StreamBody<Frames>>> {
    let user = request.headers().get("authorization").map_or("", |v| v.to_str().expect("text"));
    seen.lock().expect("no panic").push(format!("{:?} {} {user}", request.version(), request.uri().path()));
    let (code, text) = match request.uri().path() {
        path if path.ends_with("/missing") => (404, Error::not_found("", "pods", "missing").to_status().to_string()),
        path if path.ends_with("/strange") => (502, "<html>".to_owned()),
        _ if request.uri().query().is_some_and(|q| q.contains("watch=true")) => {
            (200, "{\"type\":\"ADDED\",\"object\":{}}\n".to_owned())
        }
        _ => (200, r#"{"metadata":{"resourceVersion":"5"},"items":[{}]}"#.to_owned()),
    };
    let first = stream::iter([Ok(Frame::data(Bytes::from(text)))]);
    let watching = code == 200 && request.uri().query().is_some();
    let body = if watching { first.chain(stream::pending()).boxed() } else { first.boxed() };
    Ok(Response::builder().status(code).body(StreamBody::new(body)).expect("a response"))
}

type Frames = stream::BoxStream<'static, Result<Frame<Bytes>>>;

fn config(server: String, authority: &Authority) -> Kubeconfig {
    Kubeconfig { server, certificate_authority: authority.pem().into_bytes(), ..Kubeconfig::default() }
}

fn connect(config: &Kubeconfig) -> Client {
    Client::new(Arc::new(HttpTransport::new(config).expect("a transport")))
}

#[tokio::test]
async fn requests_go_under_the_servers_path_with_the_users_token() {
    let authority = authority();
    for (alpn, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let (address, seen) = serve(&authority, &[alpn]).await;
        let config = Kubeconfig { token: Some("t".into()), ..config(address + "/tenants/acme/", &authority) };
        let list = connect(&config).list(PODS, "default", &ListParams::default()).await.expect("a list");
        assert_eq!((list.items.len(), &*list.resource_version), (1, "5"));
        let expected = [format!("{version} /tenants/acme/api/v1/namespaces/default/pods Bearer t")];
        assert_eq!(*seen.lock().expect("no panic"), expected);
    }
}

#[tokio::test]
async fn the_events_of_a_watch_arrive_while_it_is_open() {
    let authority = authority();
    for alpn in ["h2", "http/1.1"] {
        let (address, _) = serve(&authority, &[alpn]).await;
        let client = connect(&config(address, &authority));
        let mut events = client.watch(PODS, "", &WatchParams::default()).await.expect("a watch");
        let event = events.next().await.expect("an event").expect("no error");
        assert_eq!(event, WatchEvent::Added(serde_json::json!({})));
    }
}

#[tokio::test]
async fn errors_are_those_that_the_server_meant() {
    let authority = authority();
    let (address, _) = serve(&authority, &["h2", "http/1.1"]).await;
    let client = connect(&config(address, &authority));
    let missing = client.get(PODS, "default", "missing").await.expect_err("an error");
    assert_eq!((missing.is_not_found(), missing.message()), (true, "pods \"missing\" not found"));
    let strange = client.get(NODES, "", "strange").await.expect_err("an error");
    assert_eq!(strange.message(), "the server answered 502 without a status");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let (address, seen) = serve(&authority(), &["h2"]).await;
    let error = connect(&config(address, &authority())).get(NODES, "", "n").await.expect_err("a refusal");
    assert!(error.message().contains("certificate"), "{}", error.message());
    assert!(seen.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn an_absent_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("https://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = connect(&config(address.clone(), &authority())).get(NODES, "", "n").await.expect_err("an error");
    assert_eq!(error.reason(), Reason::ServiceUnavailable);
    assert!(error.message().starts_with(&format!("no answer from {address}: ")), "{}", error.message());
}

#[test]
fn a_server_without_tls_is_refused() {
    let authority = authority();
    for server in ["http://127.0.0.1:1", "127.0.0.1", "https://", ""] {
        assert!(HttpTransport::new(&config(server.to_owned(), &authority)).is_err(), "{server}");
    }
    let no_pem = Kubeconfig { certificate_authority: b"x".to_vec(), ..config("https://a".into(), &authority) };
    assert!(HttpTransport::new(&no_pem).is_err());
}
