//! What a controller acts with: clients of its own service account in each tenant, the time, and a recorder of events.

use crate::recorder::Recorder;
use api::{Error, Identity, Result, TenantName, Timestamp};
use client::{Client, Connect, Names, ObjectRef};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The namespace of the controllers' service accounts.
const NAMESPACE: &str = "kube-system";

/// Whom a controller acts as in the tenant of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// A service account of `kube-system`, with the rights that Kubernetes gives to the controller of this name.
    Service(&'static str),
    /// A user of the name of a component of the control plane, with the rights that Kubernetes gives to it.
    Component(&'static str),
    /// One that may do everything in the tenant: for what gives a tenant its first rights, and takes all of it away.
    Master(&'static str),
}

impl Account {
    pub fn name(self) -> &'static str {
        match self {
            Account::Service(name) | Account::Component(name) | Account::Master(name) => name,
        }
    }

    fn identity(self, tenant: &TenantName) -> Identity {
        #[cfg(test)]
        if let Some(wide) = crate::tests::threats::planted_identity() {
            return wide;
        }
        match self {
            Account::Service(name) => Identity::service_account(tenant.clone(), NAMESPACE, name),
            Account::Component(name) => Identity::new(tenant.clone(), name, &[]),
            Account::Master(name) => Identity::new(tenant.clone(), &format!("system:{name}"), &["system:masters"]),
        }
    }
}

/// Clients that were made before, by tenant and service account. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    connect: Arc<dyn Connect>,
    known: Arc<RwLock<HashMap<TenantName, HashMap<Account, Client>>>>,
}

impl Clients {
    pub fn new(connect: Arc<dyn Connect>) -> Clients {
        Clients { connect, known: Arc::default() }
    }

    /// The client of an account in a tenant.
    pub fn of(&self, tenant: &TenantName, account: Account) -> Client {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(tenant).and_then(|t| t.get(&account)) {
            return client.clone();
        }
        drop(known);
        let client = self.connect.connect(account.identity(tenant));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(tenant.clone()).or_default().insert(account, client.clone());
        client
    }

    /// Forgets the clients of a tenant that is gone.
    pub fn forget(&self, tenant: &TenantName) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }
}

/// What the server answered, unless that there is no such object: to who deletes one, or writes to it, that is no error.
pub fn unless_gone<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// What one controller acts with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub clients: Clients,
    pub account: Account,
    pub now: fn() -> Timestamp,
    pub recorder: Recorder,
}

impl Context {
    /// Writes objects of the tenant that `key` belongs to; of the operators' own kinds, as their tenant's account.
    pub fn client(&self, key: &ObjectRef) -> Client {
        self.clients.of(&key.tenant.clone().unwrap_or_else(TenantName::system), self.account)
    }

    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Changes an object that was decided about at a version: reads it whole, so that no field is lost, and refuses as a
    /// conflict if it is another version by now.
    pub async fn rewrite(
        &self,
        resource: impl Names + Copy,
        key: &ObjectRef,
        version: &str,
        subresource: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value> {
        let client = self.client(key);
        let mut object = client.get(resource, &key.namespace, &key.name).await?;
        if object["metadata"]["resourceVersion"] != version {
            let why = "the object has been modified since it was looked at";
            return Err(Error::conflict(resource.group(), resource.plural(), &key.name, why));
        }
        change(&mut object);
        match subresource {
            None => client.update(resource, &key.namespace, &object).await,
            Some(name) => client.update_sub(resource, &key.namespace, name, &object).await,
        }
    }
}
