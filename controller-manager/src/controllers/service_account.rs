//! Every namespace has a service account `default`.

use super::each_namespace::{self, Kept};
use crate::context::Account;
use crate::runner::{Controller, Declaration, Setup};
use crate::view::{Meta, View};
use client::{Resource, SERVICE_ACCOUNTS};
use serde::Deserialize;
use serde_json::{Value, json};

pub const DECLARATION: Declaration =
    Declaration { name: "serviceaccount-controller", account: Account::Service("service-account-controller"), make };

/// A service account of the name `default`.
#[derive(Deserialize)]
struct DefaultServiceAccount {
    #[expect(dead_code, reason = "that it is there is all that counts")]
    metadata: Meta,
}

impl View for DefaultServiceAccount {
    const RESOURCE: Resource = SERVICE_ACCOUNTS;
    const FIELDS: &'static str = "metadata.name=default";
}

impl Kept for DefaultServiceAccount {
    const NAME: &'static str = "default";

    fn wanted(_: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": Self::NAME}})
    }
}

fn make(setup: &mut Setup) -> Controller {
    each_namespace::make::<DefaultServiceAccount>(setup)
}
