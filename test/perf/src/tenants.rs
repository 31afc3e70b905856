//! Tenants in numbers: how fast they come, what an idle one weighs, how long a server with many takes to start, how long
//! Deployments in all of them take, and how fast they go. On a server of its own.

use crate::connection::Error;
use crate::figures::Figures;
use crate::measure::{Meter, memory_of};
use api::TenantName;
use client::{Client, DEPLOYMENTS, DeleteParams, NAMESPACES, PODS, Resource, TENANTS};
use futures::stream::{self, StreamExt, TryStreamExt};
use kit::{Options, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Requests under way at a time.
const AT_ONCE: usize = 64;

/// What a new tenant gets besides its object.
const NAMESPACES_EACH: usize = 3;

/// No step takes longer than this, on any machine that is to be measured.
const PATIENCE: Duration = Duration::from_secs(1800);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Controllers have done what there is to do by then.
const SETTLES: Duration = Duration::from_secs(3);

/// Makes tenants on a server of its own and measures. With `deployments` each gets a Deployment with one pod.
pub async fn run(count: usize, deployments: bool) -> Result<Figures, Error> {
    let mut figures = Figures::new(format!("{count} tenants"));
    let mut server = Server::start(Options::without_node()).await;
    let client = server.client();
    let before = total(&client, NAMESPACES).await?;
    kit::leave_alone(SETTLES).await;
    let memory = memory_of(server.pid());
    let meter = Meter::start(Some(server.pid()));
    let started = Instant::now();
    each(count, |i| {
        let client = client.clone();
        async move {
            let tenant = json!({"apiVersion": "v1", "kind": "Tenant", "metadata": {"name": name(i)}, "spec": {"storageClusterId": "0"}});
            client.create(TENANTS, "", &tenant).await.map(drop)
        }
    })
    .await?;
    figures.add("tenants acknowledged, per second", count as f64 / started.elapsed().as_secs_f64(), "/s", 500.0);
    until(&client, NAMESPACES, |found| found >= before + NAMESPACES_EACH * count).await?;
    figures.add(
        "tenants with their namespaces, per second",
        count as f64 / started.elapsed().as_secs_f64(),
        "/s",
        None,
    );
    kit::leave_alone(SETTLES).await;
    let spent = meter.stop();
    if let Some(cpu) = spent.cpu {
        figures.add("server CPU of a tenant, with its defaults", cpu.as_secs_f64() * 1e3 / count as f64, "ms", 2.0);
    }
    if let Some((before, after)) = memory.zip(memory_of(server.pid())) {
        let each = after.saturating_sub(before) as f64 / count as f64 / 1024.0;
        figures.add("memory of an idle tenant", each, "KiB", 32.0);
    }
    if deployments {
        reconcile(&client, count, &mut figures).await?;
        if let Some((before, after)) = memory.zip(memory_of(server.pid())) {
            let each = after.saturating_sub(before) as f64 / count as f64 / 1024.0;
            figures.add("memory of a tenant with a Deployment of one pod", each, "KiB", None);
        }
    }
    server.kill9();
    server.restart().await;
    figures.add("start to ready", server.ready_after().as_secs_f64(), "s", 10.0);
    remove(&server.client(), count, &mut figures).await?;
    Ok(figures)
}

async fn reconcile(client: &Client, count: usize, figures: &mut Figures) -> Result<(), Error> {
    let started = Instant::now();
    let labels = json!({"app": "web"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": "example.com/web"}]}}}});
    each(count, |i| {
        let (client, deployment) = (client.clone(), deployment.clone());
        async move {
            let tenant = api_name(i)?;
            client.in_tenant(&tenant).create(DEPLOYMENTS, "default", &deployment).await.map(drop)
        }
    })
    .await?;
    until(client, PODS, |found| found >= count).await?;
    figures.add("Deployments to pods, per second", count as f64 / started.elapsed().as_secs_f64(), "/s", None);
    Ok(())
}

async fn remove(client: &Client, count: usize, figures: &mut Figures) -> Result<(), Error> {
    let gone = count.min(10_000);
    let before = tenants(client).await?;
    let started = Instant::now();
    each(gone, |i| {
        let client = client.clone();
        async move { client.delete(TENANTS, "", &name(i), &DeleteParams::default()).await }
    })
    .await?;
    while tenants(client).await? > before - gone {
        patience(started)?;
        kit::leave_alone(LOOK_EVERY).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    figures.add("tenants deleted, until gone, per second", gone as f64 / seconds, "/s", 10_000.0 / 60.0);
    Ok(())
}

fn name(i: usize) -> String {
    format!("tenant-{i}")
}

fn api_name(i: usize) -> api::Result<TenantName> {
    TenantName::new(&name(i))
}

/// Does something for each number, many at a time.
pub async fn each<F: Future<Output = api::Result<()>>>(count: usize, act: impl FnMut(usize) -> F) -> Result<(), Error> {
    stream::iter(0..count).map(act).buffer_unordered(AT_ONCE).try_collect::<()>().await.map_err(|e| e.to_string())?;
    Ok(())
}

/// Waits until there are so many objects of a resource in all tenants.
pub async fn until(client: &Client, resource: Resource, enough: impl Fn(usize) -> bool) -> Result<(), Error> {
    let started = Instant::now();
    while !enough(total(client, resource).await?) {
        patience(started)?;
        kit::leave_alone(LOOK_EVERY).await;
    }
    Ok(())
}

fn patience(since: Instant) -> Result<(), Error> {
    if since.elapsed() > PATIENCE { Err(format!("not done after {} s", PATIENCE.as_secs())) } else { Ok(()) }
}

/// How many objects of a resource there are in all tenants, by a page of one.
pub async fn total(client: &Client, resource: Resource) -> Result<usize, Error> {
    let path = format!("/api/{}/tenants/all/{}?limit=1", resource.version, resource.plural);
    count_of(client, &path).await
}

async fn tenants(client: &Client) -> Result<usize, Error> {
    count_of(client, "/api/v1/tenants?limit=1").await
}

async fn count_of(client: &Client, path: &str) -> Result<usize, Error> {
    let page: Value = client.get_path(path).await.map_err(|e| e.to_string())?;
    let items = page["items"].as_array().map_or(0, Vec::len);
    let more = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    Ok(items + usize::try_from(more).unwrap_or(usize::MAX))
}
