//! `ursa tenant create|list|delete`.

use crate::args::{ClientArgs, TenantArgs, TenantCommand};
use api::{Error, TenantName, Timestamp};
use client::{Client, DeleteParams, ListParams, NAMESPACES, SERVICE_ACCOUNTS, TENANTS};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a command waits for a tenant to become usable or to be gone, and how often it looks.
const WAIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs a tenant command. `Err` is one sentence for the user.
pub fn main(args: TenantArgs) -> Result<(), String> {
    block_on(async move {
        let client = client(&args.client)?;
        match args.command {
            TenantCommand::Create { name, storagecluster } => create(&client, &name, &storagecluster).await,
            TenantCommand::List => list(&client).await,
            TenantCommand::Delete { name } => delete(&client, &name).await,
        }
        .map_err(|e| e.to_string())
    })
}

/// Runs a command's future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    executor.map_err(|e| format!("the command cannot start: {e}"))?.block_on(future)
}

/// A client with the credentials of the kubeconfig.
pub fn client(args: &ClientArgs) -> Result<Client, String> {
    let path = args.kubeconfig.as_ref().ok_or("no kubeconfig: set $KUBECONFIG or give --kubeconfig FILE")?;
    Client::from_kubeconfig(path).map_err(|e| e.to_string())
}

async fn create(client: &Client, name: &str, storage_cluster: &str) -> api::Result<()> {
    let tenant = TenantName::new(name)?;
    let object = json!({"apiVersion": "v1", "kind": "Tenant", "metadata": {"name": name},
        "spec": {"storageClusterId": storage_cluster}});
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

async fn list(client: &Client) -> api::Result<()> {
    let tenants = client.list(TENANTS, "", &ListParams::default()).await?;
    println!("{:<24} {:<10} {:<12} AGE", "NAME", "STORAGEID", "STATUS");
    let now = Timestamp::now();
    for tenant in tenants.items {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let created = tenant["metadata"]["creationTimestamp"].as_str().and_then(Timestamp::parse);
        println!(
            "{:<24} {:<10} {:<12} {}",
            text(&tenant["metadata"]["name"]),
            text(&tenant["spec"]["storageClusterId"]),
            text(&tenant["status"]["phase"]),
            created.map_or_else(|| "<unknown>".into(), |created| age(now.since(created)))
        );
    }
    Ok(())
}

async fn delete(client: &Client, name: &str) -> api::Result<()> {
    TenantName::new(name)?;
    client.delete(TENANTS, "", name, &DeleteParams::default()).await?;
    wait(&format!("tenant {name} to be gone"), async || Ok(!found(client.get(TENANTS, "", name).await)?)).await?;
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

/// Looks again and again until the condition holds; an error when it does not in time.
pub async fn wait(what: &str, mut holds: impl AsyncFnMut() -> api::Result<bool>) -> api::Result<()> {
    let deadline = tokio::time::Instant::now() + WAIT;
    while !holds().await? {
        if tokio::time::Instant::now() >= deadline {
            let secs = WAIT.as_secs();
            return Err(Error::new(
                api::Reason::Timeout,
                format!("waited {secs} s for {what}, in vain; see its status"),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// An age as kubectl prints it, to its largest unit.
fn age(age: Duration) -> String {
    match age.as_secs() {
        secs @ 0..120 => format!("{secs}s"),
        secs @ 120..7200 => format!("{}m", secs / 60),
        secs @ 7200..172_800 => format!("{}h", secs / 3600),
        secs => format!("{}d", secs / 86400),
    }
}
