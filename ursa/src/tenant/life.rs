//! What changes a tenant: create, suspend, resume, delete. Each waits until it is done, unless told not to.

use super::wait;
use api::TenantName;
use client::{Client, DeleteParams, NAMESPACES, PatchType, SERVICE_ACCOUNTS, TENANTS};
use serde_json::{Value, json};

/// Ends the wait for finalizers of others in a tenant that is being deleted.
const FORCE: &str = "tenant.ursa.dev/force-delete";

/// What a new tenant is made of, as JSON objects of texts.
pub struct New {
    pub storage_cluster: String,
    pub labels: Value,
    pub annotations: Value,
    pub quota: Value,
}

pub async fn create(client: &Client, name: &str, new: New) -> api::Result<()> {
    let tenant = TenantName::new(name)?;
    let mut object = json!({"apiVersion": "v1", "kind": "Tenant",
        "metadata": {"name": name, "labels": new.labels, "annotations": new.annotations},
        "spec": {"storageClusterId": new.storage_cluster}});
    if new.quota.as_object().is_some_and(|quota| !quota.is_empty()) {
        object["spec"]["quota"] = new.quota;
    }
    client.create(TENANTS, "", &object).await?;
    let inside = client.in_tenant(&tenant);
    wait(&format!("tenant {name} to become usable"), async || {
        let ready = inside.get(SERVICE_ACCOUNTS, "default", "default").await;
        Ok(found(ready)? && found(inside.get(NAMESPACES, "", "kube-system").await)?)
    })
    .await?;
    println!("tenant/{name} created");
    Ok(())
}

pub async fn suspend(client: &Client, name: &str, waits: bool) -> api::Result<()> {
    shall_be_suspended(client, name, true).await?;
    if waits {
        wait(&format!("the workloads of tenant {name} to come to rest"), async || {
            let tenant = client.get(TENANTS, "", name).await?;
            let conditions = tenant["status"]["conditions"].as_array().into_iter().flatten();
            let mut at_rest = conditions.filter(|c| c["type"] == "AtRest" && c["status"] == "True");
            Ok(tenant["status"]["phase"] == "Suspended" && at_rest.next().is_some())
        })
        .await?;
    }
    println!("tenant/{name} suspended");
    Ok(())
}

pub async fn resume(client: &Client, name: &str) -> api::Result<()> {
    shall_be_suspended(client, name, false).await?;
    wait(&format!("tenant {name} to be active"), async || {
        Ok(client.get(TENANTS, "", name).await?["status"]["phase"] == "Active")
    })
    .await?;
    println!("tenant/{name} resumed");
    Ok(())
}

pub async fn place(client: &Client, name: &str, to: &str, waits: bool) -> api::Result<()> {
    let patch = json!({"spec": {"storageClusterId": to}});
    client.patch(TENANTS, "", name, PatchType::Merge, &patch, None).await?;
    if waits {
        wait(&format!("tenant {name} to be in storage cluster {to}"), async || {
            let status = &client.get(TENANTS, "", name).await?["status"];
            Ok(status["storageClusterId"].as_str().is_none_or(|at| at == to))
        })
        .await?;
    }
    println!("tenant/{name} {} storage cluster {to}", if waits { "moved to" } else { "is being moved to" });
    Ok(())
}

async fn shall_be_suspended(client: &Client, name: &str, suspended: bool) -> api::Result<()> {
    TenantName::new(name)?;
    let patch = json!({"spec": {"suspended": suspended}});
    client.patch(TENANTS, "", name, PatchType::Merge, &patch, None).await.map(drop)
}

pub async fn delete(client: &Client, name: &str, waits: bool, force: bool) -> api::Result<()> {
    TenantName::new(name)?;
    if force {
        let patch = json!({"metadata": {"annotations": {FORCE: "true"}}});
        client.patch(TENANTS, "", name, PatchType::Merge, &patch, None).await?;
    }
    match client.delete(TENANTS, "", name, &DeleteParams::default()).await {
        // It is on its way already.
        Err(error) if force && error.is_conflict() => {}
        other => other?,
    }
    if !waits {
        println!("tenant/{name} is being deleted");
        return Ok(());
    }
    let what = format!("tenant {name} to be gone");
    let waited = wait(&what, async || Ok(!found(client.get(TENANTS, "", name).await)?));
    if let Err(error) = waited.await {
        let left = client.get(TENANTS, "", name).await.map(super::show::waits_for).unwrap_or_default();
        return Err(if left.is_empty() {
            error
        } else {
            api::Error::new(error.reason(), format!("{}; {left}", error.message()))
        });
    }
    println!("tenant/{name} deleted");
    Ok(())
}

fn found(answer: api::Result<Value>) -> api::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
