//! `ursa tenant …`, which as `kubectl-tenant` is `kubectl tenant …`: what operators do with tenants.

pub mod complete;
mod contexts;
mod life;
mod show;

pub use contexts::Context;

use crate::args::{ClientArgs, KubeconfigArgs, TenantArgs, TenantCommand};
use api::Error;
use client::{Client, Kubeconfig};
use contexts::File;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long a command waits for a tenant to become usable or to be gone, and how often it looks.
const WAIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs a tenant command. `Err` is one sentence for the user.
pub fn main(args: TenantArgs) -> Result<(), String> {
    if let TenantCommand::Kubeconfig { name, user } = args.command {
        return crate::credential::main(KubeconfigArgs { client: args.client, tenant: name, user });
    }
    block_on(async move {
        let access = Access::new(&args.client)?;
        let client = &access.client;
        match args.command {
            TenantCommand::Create { name, storagecluster, label, annotation, quota } => {
                let tenant = life::New {
                    storage_cluster: storagecluster,
                    labels: pairs("--label", &label)?,
                    annotations: pairs("--annotation", &annotation)?,
                    quota: pairs("--quota", &quota)?,
                };
                life::create(client, &name, tenant).await
            }
            TenantCommand::List { selector, field_selector, search, limit, names } => {
                show::list(client, show::Wanted { selector, field_selector, search, limit }, names).await
            }
            TenantCommand::Use { name, user } => return access.use_tenant(&name, &user).await,
            TenantCommand::Kubeconfig { .. } => Ok(()),
            TenantCommand::Suspend { name, no_wait } => life::suspend(client, &name, !no_wait).await,
            TenantCommand::Resume { name } => life::resume(client, &name).await,
            TenantCommand::Move { name, to, no_wait } => life::place(client, &name, &to, !no_wait).await,
            TenantCommand::Usage { name: Some(name), .. } => show::usage(client, &name).await,
            TenantCommand::Usage { name: None, limit } => show::usages(client, limit).await,
            TenantCommand::Describe { name } => show::describe(client, &name).await,
            TenantCommand::Delete { name, no_wait, force } => {
                life::delete(client, &name, !no_wait, force).await.map_err(|e| e.to_string())?;
                return access.forget(&name);
            }
        }
        .map_err(|e| e.to_string())
    })
}

/// The operators' way to a server.
pub struct Access {
    pub client: Client,
    pub kubeconfig: Kubeconfig,
    file: PathBuf,
}

impl Access {
    pub fn new(args: &ClientArgs) -> Result<Access, String> {
        let file = args.file()?;
        let context = match &args.context {
            Some(context) => Some(context.clone()),
            None => File::read(&file)?.operators_context(),
        };
        let kubeconfig = Kubeconfig::read_context(&file, context.as_deref()).map_err(|e| e.to_string())?;
        let client = Client::of_kubeconfig(&kubeconfig).map_err(|e| e.to_string())?;
        Ok(Access { client, kubeconfig, file })
    }

    /// Where a tenant is a cluster.
    pub fn server_of(&self, tenant: &str) -> String {
        format!("{}/tenants/{tenant}", self.kubeconfig.server.trim_end_matches('/'))
    }

    async fn use_tenant(&self, tenant: &str, user: &str) -> Result<(), String> {
        let context = Context { tenant, user };
        // A tenant that is not there is told now, and a credential of an earlier one of the name is made anew.
        self.client.get(client::TENANTS, "", tenant).await.map_err(|e| e.to_string())?;
        let mut file = File::read(&self.file)?;
        if !file.has(context) || !self.works(&context.name()).await {
            let issued = self.issue(tenant, user).await?;
            file.set(context, &issued.server, &issued.ca_pem, &issued.credential);
        }
        file.choose(context);
        file.write()?;
        println!("Switched to context {:?}.", context.name());
        Ok(())
    }

    /// Whether a context still opens its tenant.
    async fn works(&self, context: &str) -> bool {
        let kubeconfig = Kubeconfig::read_context(&self.file, Some(context));
        let Ok(client) = kubeconfig.and_then(|kubeconfig| Client::of_kubeconfig(&kubeconfig)) else { return false };
        client.get_path::<Value>("/api").await.is_ok()
    }

    /// Takes the contexts of a tenant that is gone out of the kubeconfig.
    fn forget(&self, tenant: &str) -> Result<(), String> {
        let mut file = File::read(&self.file)?;
        if file.forget(tenant, &self.server_of(tenant)) { file.write() } else { Ok(()) }
    }
}

/// A client of the operators, with the credentials of the kubeconfig.
pub fn client(args: &ClientArgs) -> Result<Client, String> {
    Access::new(args).map(|access| access.client)
}

/// Runs a command's future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    executor.map_err(|e| format!("the command cannot start: {e}"))?.block_on(future)
}

/// Reads `NAME=VALUE` of a flag.
fn pairs(flag: &str, given: &[String]) -> Result<Value, String> {
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("{flag} {text:?} is not of the form NAME=VALUE"))?;
        Ok((name.to_owned(), Value::from(value)))
    };
    given.iter().map(pair).collect::<Result<serde_json::Map<_, _>, String>>().map(Value::Object)
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
