//! Fills secrets of type `kubernetes.io/service-account-token`, and removes those whose service account is gone.

use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Meta, ServiceAccount, View, or_default};
use api::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Cache, DeleteParams, ObjectRef, Resource, SECRETS, SERVICE_ACCOUNTS, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "serviceaccount-token-controller",
    account: Account::Component("system:kube-controller-manager"),
    make,
};

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// How long a token of a secret is good for: as long as a request may ask for. It ends with the secret.
const LIFETIME_SECS: u64 = 1 << 32;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TokenSecret {
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    data: BTreeMap<String, String>,
}

impl View for TokenSecret {
    const RESOURCE: Resource = SECRETS;
    const FIELDS: &'static str = "type=kubernetes.io/service-account-token";
}

impl TokenSecret {
    fn annotation(&self, name: &str) -> &str {
        self.metadata.annotations.get(name).map_or("", String::as_str)
    }
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Secret(ObjectRef),
    /// A secret that is gone, which a service account may still list.
    Listed {
        account: ObjectRef,
        secret: String,
    },
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Item::Secret(key) | Item::Listed { account: key, .. }) = self;
        key.fmt(f)
    }
}

struct Tokens {
    context: Context,
    secrets: Cache<TokenSecret>,
    accounts: Cache<ServiceAccount>,
    root_ca: String,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<Item> = WorkQueue::new();
    let informer = setup.informers.of::<TokenSecret>();
    let secrets = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| match (&change.old, &change.new) {
        (_, Some(_)) => changed.add(Item::Secret(change.key.clone())),
        (Some(old), None) => {
            let account = old.metadata.sibling(old.annotation(NAME));
            changed.add(Item::Listed { account, secret: change.key.name.clone() });
        }
        (None, None) => {}
    });
    let informer = setup.informers.of::<ServiceAccount>();
    let accounts = informer.cache();
    let by_account = secrets.index(|_, s: &TokenSecret| vec![s.metadata.sibling(s.annotation(NAME)).to_string()]);
    let changed = queue.clone();
    informer.on_change(move |change| {
        let uid = |a: &Option<Arc<ServiceAccount>>| a.as_ref().map(|a| a.metadata.uid.clone());
        if uid(&change.old) != uid(&change.new) {
            let secrets = by_account.get(&change.key.to_string());
            secrets.into_iter().for_each(|(key, _)| changed.add(Item::Secret(key)));
        }
    });
    let root_ca = STANDARD.encode(setup.root_ca.as_bytes());
    Controller::new(queue, Arc::new(Tokens { context: setup.context.clone(), secrets, accounts, root_ca }))
}

/// What a secret lacks.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    /// Its service account is not there, or another one by now.
    Delete,
    Fill {
        token: bool,
    },
}

fn plan(secret: &TokenSecret, account_uid: Option<&str>, root_ca: &str) -> Plan {
    if secret.metadata.is_deleting() {
        return Plan::Nothing;
    }
    let uid = secret.annotation(UID);
    let Some(account_uid) = account_uid.filter(|known| uid.is_empty() || uid == *known) else { return Plan::Delete };
    let has = |name: &str| secret.data.get(name).is_some_and(|value| !value.is_empty());
    let whole = has("token") && has("namespace") && secret.data.get("ca.crt").is_some_and(|ca| ca == root_ca);
    if whole && uid == account_uid { Plan::Nothing } else { Plan::Fill { token: !has("token") } }
}

impl Reconcile<Item> for Tokens {
    async fn reconcile(&self, item: &Item) -> Result<Option<Duration>> {
        match item {
            Item::Secret(key) => self.sync(key).await,
            Item::Listed { account, secret } => self.unlist(account, secret).await,
        }
        .map(|()| None)
    }
}

impl Tokens {
    async fn sync(&self, key: &ObjectRef) -> Result<()> {
        let Some(secret) = self.secrets.get(key) else { return Ok(()) };
        let name = secret.annotation(NAME);
        if name.is_empty() {
            return Ok(());
        }
        let client = self.context.client(key);
        let account = self.accounts.get(&secret.metadata.sibling(name));
        let mut uid = account.map(|a| a.metadata.uid.clone());
        if plan(&secret, uid.as_deref(), &self.root_ca) == Plan::Delete {
            // A cache may not have seen the account yet.
            let live = unless_gone(client.get(SERVICE_ACCOUNTS, &key.namespace, name).await)?;
            uid = live.and_then(|a| a["metadata"]["uid"].as_str().map(str::to_owned));
        }
        match plan(&secret, uid.as_deref(), &self.root_ca) {
            Plan::Nothing => Ok(()),
            Plan::Delete => {
                let exactly = DeleteParams {
                    resource_version: Some(secret.metadata.resource_version.clone()),
                    ..DeleteParams::of_uid(&secret.metadata.uid)
                };
                unless_gone(client.delete(SECRETS, &key.namespace, &key.name, &exactly).await).map(drop)
            }
            Plan::Fill { token } => {
                let token = if token { Some(self.issue(key, &secret, name).await?) } else { None };
                let change = |object: &mut Value| self.fill(object, token.as_deref(), uid.as_deref(), key);
                let version = &secret.metadata.resource_version;
                unless_gone(self.context.rewrite(SECRETS, key, version, None, change).await).map(drop)
            }
        }
    }

    async fn issue(&self, key: &ObjectRef, secret: &TokenSecret, account: &str) -> Result<String> {
        let bound = json!({"kind": "Secret", "apiVersion": "v1", "name": key.name, "uid": secret.metadata.uid});
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": LIFETIME_SECS, "boundObjectRef": bound},
        });
        let client = self.context.client(key);
        let answer = client.create_sub(SERVICE_ACCOUNTS, &key.namespace, account, "token", &request).await?;
        let token = answer["status"]["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| Error::internal("a request for a token was answered without one"))
    }

    fn fill(&self, object: &mut Value, token: Option<&str>, uid: Option<&str>, key: &ObjectRef) {
        object["metadata"]["annotations"][UID] = json!(uid);
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        object["data"]["ca.crt"] = json!(self.root_ca);
        object["data"]["namespace"] = json!(STANDARD.encode(&key.namespace));
        if let Some(token) = token {
            object["data"]["token"] = json!(STANDARD.encode(token));
        }
    }

    async fn unlist(&self, account: &ObjectRef, secret: &str) -> Result<()> {
        let Some(known) = self.accounts.get(account).filter(|a| a.secrets.iter().any(|s| s.name == secret)) else {
            return Ok(());
        };
        let change = |object: &mut Value| {
            let listed = object["secrets"].as_array().cloned().unwrap_or_default();
            let left: Vec<Value> = listed.into_iter().filter(|s| s["name"] != *secret).collect();
            object["secrets"] = if left.is_empty() { Value::Null } else { left.into() };
        };
        let version = &known.metadata.resource_version;
        unless_gone(self.context.rewrite(SERVICE_ACCOUNTS, account, version, None, change).await).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn a_secret_is_filled_for_its_account_and_goes_with_it() {
        let secret = |uid: &str, data: Value| -> TokenSecret {
            let annotations = if uid.is_empty() { json!({NAME: "robot"}) } else { json!({NAME: "robot", UID: uid}) };
            from_value(json!({"metadata": {"name": "s", "annotations": annotations}, "data": data})).expect("a secret")
        };
        let whole = json!({"token": "t", "namespace": "n", "ca.crt": "CA"});
        let no_token = json!({"namespace": "n", "ca.crt": "CA"});
        let other_ca = json!({"token": "t", "namespace": "n", "ca.crt": "old"});
        for (secret, account, expected) in [
            (secret("u", whole.clone()), Some("u"), Plan::Nothing),
            (secret("", whole.clone()), Some("u"), Plan::Fill { token: false }),
            (secret("u", no_token), Some("u"), Plan::Fill { token: true }),
            (secret("u", other_ca), Some("u"), Plan::Fill { token: false }),
            (secret("u", whole.clone()), Some("v"), Plan::Delete),
            (secret("u", whole.clone()), None, Plan::Delete),
            (secret("", whole), None, Plan::Delete),
        ] {
            assert_eq!(plan(&secret, account, "CA"), expected, "{secret:?} {account:?}");
        }
    }
}
