//! T72: one tenant sends ten times its share in eight shapes, and does not heed refusals; three quiet ones go on. The latencies of the
//! quiet are measured when the server is idle, and beside each shape.

use crate::connection::{Connection, Error, Target, text};
use crate::figures::Figures;
use crate::measure::{millis, percentile};
use bytes::Bytes;
use client::Kubeconfig;
use http::Method;
use http_body_util::BodyExt;
use kit::{Options, Scratch, Server};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the others' p99 may become, as a multiple of what it is when the server is idle.
const GROWTH_MAX: f64 = 2.0;

/// The noise: so many connections, and requests under way on each.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 40;

/// Of the thread that makes the noise.
const LOWEST_PRIORITY: i32 = 19;

/// Each quiet tenant asks so often.
const EVERY: Duration = Duration::from_millis(10);

/// Objects of the noisy tenant, so that its lists are long.
const LISTED: usize = 500;

const QUIET: [&str; 3] = ["quiet-a", "quiet-b", "quiet-c"];
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What the noisy tenant sends, again and again.
const SHAPES: [Shape; 8] = [
    Shape::Lists,
    Shape::Watches,
    Shape::Events,
    Shape::Creates,
    Shape::LargeObjects,
    Shape::Definitions,
    Shape::Connections,
    Shape::Refused,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Lists,
    Watches,
    Events,
    Creates,
    LargeObjects,
    Definitions,
    Connections,
    Refused,
}

impl Shape {
    fn request(self, number: usize) -> (Method, String, Bytes) {
        let post = |path: &str, body: serde_json::Value| (Method::POST, path.to_owned(), Bytes::from(body.to_string()));
        let name = format!("n{number}-{}", std::process::id());
        match self {
            Shape::Lists => (Method::GET, "/api/v1/configmaps".to_owned(), Bytes::new()),
            Shape::Watches => (Method::GET, format!("{MAPS}?watch=1&timeoutSeconds=1"), Bytes::new()),
            Shape::Events => {
                let involved = json!({"namespace": "default", "kind": "Pod", "name": "p"});
                let event = json!({"metadata": {"name": name}, "involvedObject": involved, "reason": "r"});
                post("/api/v1/namespaces/default/events", event)
            }
            Shape::Creates => post(MAPS, json!({"metadata": {"name": name}})),
            Shape::LargeObjects => {
                post(MAPS, json!({"metadata": {"name": name}, "data": {"k": "x".repeat(1_000_000)}}))
            }
            Shape::Definitions => {
                let group = format!("{name}.example.com");
                let versions = json!([{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]);
                let spec = json!({"group": group, "scope": "Namespaced", "versions": versions,
                    "names": {"plural": "things", "kind": "Thing"}});
                let definition = json!({"metadata": {"name": format!("things.{group}")}, "spec": spec});
                post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
            }
            Shape::Connections => (Method::GET, "/version".to_owned(), Bytes::new()),
            Shape::Refused => (Method::GET, format!("{MAPS}/absent"), Bytes::new()),
        }
    }
}

/// What the quiet tenants saw.
struct Seen {
    latencies: Vec<Duration>,
    errors: usize,
}

impl Seen {
    fn p99(&mut self) -> Duration {
        percentile(&mut self.latencies, 0.99)
    }

    fn fault(&self, shape: &str) -> Option<String> {
        let (errors, all) = (self.errors, self.latencies.len());
        (errors * 1000 > all).then(|| format!("{shape}: {errors} of {all} requests of the quiet failed"))
    }
}

/// Runs all shapes. A shape whose quiet tenants were refused or cut off has a fault.
pub async fn run(seconds: f64) -> Result<Figures, Error> {
    let duration = Duration::from_secs_f64(seconds.clamp(0.05, 600.0));
    let server = Server::start(Options::without_node()).await;
    let folder = Scratch::new();
    let mut targets = Vec::new();
    for name in ["noisy"].into_iter().chain(QUIET) {
        server.tenant(name).await;
        let path = folder.join(name);
        std::fs::write(&path, server.ursa(&["kubeconfig", "--tenant", name]).await.ok()).map_err(text)?;
        targets.push(path);
    }
    fill(&target(&targets[0])?).await?;
    let mut idle = quiet(&targets[1..], duration).await?;
    let base = idle.p99();
    let mut figures = Figures::new(format!("p99 of {} quiet tenants beside a noisy one", QUIET.len()));
    figures.add("Idle", millis(base), "ms", None);
    figures.faults.extend(idle.fault("Idle"));
    for shape in SHAPES {
        let (path, ends) = (targets[0].clone(), Instant::now() + duration + duration / 4);
        let noise = std::thread::spawn(move || shout(&path, shape, ends));
        let heard = quiet(&targets[1..], duration).await;
        let sent = noise.join().map_err(|_| "the noise panicked")??;
        let mut heard = heard?;
        let p99 = heard.p99();
        figures.add(format!("{shape:?}"), millis(p99), "ms", millis(base) * GROWTH_MAX);
        figures.add(format!("{shape:?}, noise"), sent as f64 / (duration.as_secs_f64() * 1.25), "/s", None);
        figures.faults.extend(heard.fault(&format!("{shape:?}")));
    }
    Ok(figures)
}

fn target(kubeconfig: &Path) -> Result<Target, Error> {
    Target::new(&Kubeconfig::read(kubeconfig).map_err(text)?, false)
}

async fn fill(target: &Target) -> Result<(), Error> {
    let mut drivers = JoinSet::new();
    let mut connection = target.connect(&mut drivers).await?;
    for i in 0..LISTED {
        let map = json!({"metadata": {"name": format!("listed-{i}")}, "data": {"k": "x".repeat(1000)}});
        connection.fetch(target.request(Method::POST, MAPS, Bytes::from(map.to_string()))?).await?;
    }
    Ok(())
}

/// The noisy tenant, on a thread of its own, of the lowest priority: a neighbour's clients are on machines of their own and
/// take no processor from the server. How many requests were answered.
fn shout(kubeconfig: &Path, shape: Shape, ends: Instant) -> Result<usize, Error> {
    rustix::process::setpriority_process(None, LOWEST_PRIORITY).map_err(text)?;
    let target = target(kubeconfig)?;
    let sent = std::cell::Cell::new(0_usize);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    let connections = (0..CONNECTIONS).map(|connection| shout_on(&target, shape, connection, ends, &sent));
    executor.block_on(futures::future::join_all(connections));
    Ok(sent.get())
}

/// One connection of the noisy tenant, which sends until the end and counts what was answered, refusals included.
async fn shout_on(target: &Target, shape: Shape, connection: usize, ends: Instant, sent: &std::cell::Cell<usize>) {
    while Instant::now() < ends {
        let mut drivers = JoinSet::new();
        let Ok(opened) = target.connect(&mut drivers).await else { continue };
        let mut handles = opened.handles(if shape == Shape::Connections { 1 } else { STREAMS });
        let streams = handles.iter_mut().enumerate().map(|(stream, handle)| async move {
            let mut round = 0;
            while Instant::now() < ends {
                let number = (round * STREAMS + stream) * CONNECTIONS + connection;
                round += 1;
                let (method, path, body) = shape.request(number);
                let Ok(request) = target.request(method, &path, body) else { return };
                let answered = handle.fetch(request).await;
                sent.set(sent.get() + 1);
                // A connection that broke is opened again; so is each one of that shape.
                if answered.is_err_and(|why| !why.contains(": 4")) || shape == Shape::Connections {
                    return;
                }
            }
        });
        futures::future::join_all(streams).await;
    }
}

/// Every quiet tenant creates and reads in turn, at its pace.
async fn quiet(paths: &[std::path::PathBuf], duration: Duration) -> Result<Seen, Error> {
    let mut seen = Seen { latencies: Vec::new(), errors: 0 };
    let each = paths.iter().map(async |path| {
        let target = target(path)?;
        let mut drivers = JoinSet::new();
        let mut connection = target.connect(&mut drivers).await?;
        let (mut latencies, mut errors) = (Vec::new(), 0);
        let (ends, mut ticks) = (Instant::now() + duration, tokio::time::interval(EVERY));
        for round in 0_usize.. {
            ticks.tick().await;
            let now = Instant::now();
            if now >= ends {
                break;
            }
            let map = json!({"metadata": {"generateName": "quiet-"}}).to_string();
            let request = match round % 2 {
                0 => target.request(Method::POST, MAPS, Bytes::from(map))?,
                _ => target.request(Method::GET, &format!("{MAPS}/kube-root-ca.crt"), Bytes::new())?,
            };
            errors += usize::from(answered(&mut connection, request).await.is_err());
            latencies.push(now.elapsed());
        }
        Ok::<_, Error>((latencies, errors))
    });
    for (latencies, errors) in futures::future::try_join_all(each).await? {
        seen.latencies.extend(latencies);
        seen.errors += errors;
    }
    Ok(seen)
}

async fn answered(
    connection: &mut Connection,
    request: http::Request<http_body_util::Full<Bytes>>,
) -> Result<(), Error> {
    let answer = connection.send(request).await?;
    answer.into_body().collect().await.map(drop).map_err(text)
}
