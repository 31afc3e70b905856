//! T72, the quick form: one tenant sends ten times what it may have at a time, in eight shapes, and does not heed refusals. Three
//! quiet ones go on as if it were not there. What is counted is work, not time: how many requests of the noisy tenant are carried
//! out while a quiet one waits. `test/perf` has the form that measures time.

use super::node::Agents;
use super::{World, request};
use crate::authn::Peer;
use crate::{Limits, handler};
use axum::body::Body;
use http_body_util::BodyExt;
use runtime::Tasks;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Few, so that little noise is much.
const LIMITS: Limits = Limits {
    seats: 16,
    tenant_seats: 8,
    tenant_seats_shared: 4,
    tenant_waiting: 20,
    tenant_watches: 12,
    tenant_connections: 100,
    tenant_objects: u64::MAX,
    tenant_bytes: u64::MAX,
    tenant_events: 1_000_000,
    tenant_events_burst: 1_000_000,
    // Longer than the test, so that nothing depends on how fast the machine is.
    pace_window: Duration::from_secs(3600),
    patience: Duration::from_secs(30),
};

/// Ten times what the noisy tenant may have at a time.
const NOISE: usize = 80;

/// So much of the noise may be carried out between the moment when a quiet tenant could go on and the one when its answer is
/// there: what has seats by then. (What gives no way at first, in a window of time, comes once.)
const BETWEEN_MAX: usize = 4 + 8 + 2;

/// How often a quiet tenant writes and reads: seldom enough that it is never one who gives way.
const ROUNDS: usize = 4;

const SHAPES: [&str; 8] = [
    "lists of everything",
    "watches",
    "events",
    "creates",
    "large objects",
    "definitions",
    "slow bodies",
    "refusals not heeded",
];

/// One request of a shape.
fn noise(shape: &str, i: usize) -> http::Request<Body> {
    let of = |method: &str, path: &str, body: String| request(method, path, &[("authorization", "Bearer admin")], body);
    let maps = "/api/v1/namespaces/default/configmaps";
    match shape {
        "watches" => of("GET", &format!("{maps}?watch=1"), String::new()),
        "events" => {
            let event = json!({"metadata": {"name": format!("e{i}")}, "involvedObject": {"namespace": "default"}, "reason": "r"});
            of("POST", "/api/v1/namespaces/default/events", event.to_string())
        }
        "creates" => of("POST", maps, json!({"metadata": {"name": format!("c{i}")}}).to_string()),
        "large objects" => {
            let data = "x".repeat(200_000);
            of("POST", maps, json!({"metadata": {"name": format!("l{i}")}, "data": {"k": data}}).to_string())
        }
        "definitions" => {
            let definition = json!({"metadata": {"name": format!("things.g{i}.example.com")}, "spec": {"group": format!("g{i}.example.com"),
                "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true,
                "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
            of("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition.to_string())
        }
        "slow bodies" => {
            let never = futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
            of("POST", maps, String::new()).map(|_| Body::from_stream(never))
        }
        "refusals not heeded" => of("GET", &format!("{maps}/absent-{i}"), String::new()),
        _ => of("GET", "/api/v1/configmaps", String::new()),
    }
}

#[tokio::test]
async fn a_noisy_tenant_takes_nothing_from_the_quiet_ones() {
    for shape in SHAPES {
        let world = Arc::new(World::of(Agents::with_logs(), LIMITS).await);
        let (carried_out, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (tasks, stop) = (Tasks::new(), runtime::Stop::new());
        for i in 0..NOISE {
            let (world, stop) = (world.clone(), stop.clone());
            let (carried_out, refused) = (carried_out.clone(), refused.clone());
            tasks.spawn("noise", async move {
                let mut round = 0;
                let shout = async {
                    loop {
                        let response =
                            handler::handle(world.server.clone(), Peer::Unknown, noise(shape, i + NOISE * round)).await;
                        round += 1;
                        let counter = if response.status() == 429 { &refused } else { &carried_out };
                        counter.fetch_add(1, Ordering::Relaxed);
                        if shape == "watches" && response.status() == 200 {
                            let mut body = response.into_body();
                            while let Some(Ok(_)) = body.frame().await {}
                        }
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.stopped() => {}
                    () = shout => {}
                }
            });
        }
        let quiet = ["neighbour", "victim", "op"].map(|token| {
            let (world, carried_out) = (world.clone(), carried_out.clone());
            async move {
                let mut between = Vec::new();
                for i in 0..ROUNDS {
                    let map = json!({"metadata": {"name": format!("q{i}")}});
                    let made = world.send(token, "POST", "/api/v1/namespaces/default/configmaps", &[], &map).await;
                    assert_eq!(made.code, 201, "{token}: {}", made.json());
                    let before = carried_out.load(Ordering::Relaxed);
                    // It waits for its turn as everyone does.
                    tokio::task::yield_now().await;
                    let read = world.get(token, &format!("/api/v1/namespaces/default/configmaps/q{i}")).await;
                    assert_eq!(read.code, 200, "{token}: {}", read.json());
                    between.push(carried_out.load(Ordering::Relaxed) - before);
                }
                between.sort_unstable();
                between
            }
        });
        let between = futures::future::join_all(quiet).await;
        stop.stop();
        tasks.ended().await;
        let (carried_out, refused) = (carried_out.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
        // One look may fall on a moment when the store was slow for all.
        let most: Vec<usize> = between.iter().map(|sorted| sorted[sorted.len() / 2]).collect();
        println!("{shape}: {carried_out} carried out, {refused} refused; while a quiet tenant waited {most:?}");
        assert!(most.iter().all(|between| *between <= BETWEEN_MAX), "{shape}: {between:?}");
        assert!(carried_out + refused > NOISE || shape == "slow bodies", "{shape}: {carried_out} and {refused}");
    }
}
