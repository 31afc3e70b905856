//! A server of webhooks on loopback, with a certificate of its own authority: it notes what it is sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request: its path and query, its headers, and the JSON of its body.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Value,
}

/// What is answered: a code and a body. `None` leaves the request without an answer.
type Answers = dyn Fn(&Seen) -> Option<(u16, Value)> + Send + Sync;

/// A server of webhooks. It ends with the test.
pub struct Hook {
    pub port: u16,
    /// Its authority, as `caBundle` has it.
    pub bundle: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    _tasks: Tasks,
}

/// The names that its certificate says.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "hook.default.svc"];

impl Hook {
    pub async fn start(answers: impl Fn(&Seen) -> Option<(u16, Value)> + Send + Sync + 'static) -> Hook {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = NAMES.map(str::to_owned).into();
        let certificate =
            rcgen::CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
        let bundle = STANDARD.encode(certificate.pem());
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<usize>>::default());
        let (answers, tasks): (Arc<Answers>, _) = (Arc::new(answers), Tasks::new());
        let (noted, counted, spawner) = (seen.clone(), connections.clone(), tasks.clone());
        tasks.spawn("hook", async move {
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().expect("a count") += 1;
                spawner.spawn("hook connection", serve(acceptor.clone(), stream, answers.clone(), noted.clone()));
            }
        });
        Hook { port, bundle, seen, connections, _tasks: tasks }
    }

    /// A webhook that allows everything.
    pub async fn allowing() -> Hook {
        Hook::start(|seen| Some((200, review(seen, json!({"allowed": true}))))).await
    }

    /// A webhook that applies a JSON patch.
    pub async fn patching(patch: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Hook {
        Hook::start(move |seen| {
            let patch = STANDARD.encode(patch(&seen.body["request"]).to_string());
            Some((200, review(seen, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))))
        })
        .await
    }

    /// A `clientConfig` that names it by URL.
    pub fn client_config(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/hook", self.port), "caBundle": self.bundle})
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a list").clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("a count")
    }
}

/// The answer to a review.
pub fn review(seen: &Seen, mut response: Value) -> Value {
    response["uid"] = seen.body["request"]["uid"].clone();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, answers: Arc<Answers>, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let (answers, seen) = (answers.clone(), seen.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let request = Seen { path, headers: head.headers, body };
            seen.lock().expect("a list").push(request.clone());
            let Some((code, answer)) = answers(&request) else { return std::future::pending().await };
            let head = Response::builder().status(code).header("content-type", "application/json");
            Ok::<_, Infallible>(head.body(Full::new(Bytes::from(answer.to_string()))).expect("an answer"))
        }
    });
    // Ends when the other side closes, which is no fault.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
