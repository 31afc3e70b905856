//! Every namespace has a service account `default`.

use super::each_namespace::{self, Kept};
use crate::context::Account;
use crate::runner::{Controller, Declaration, Setup};
use crate::view::ServiceAccount;
use serde_json::{Value, json};

pub const DECLARATION: Declaration =
    Declaration { name: "serviceaccount-controller", account: Account::Service("service-account-controller"), make };

impl Kept for ServiceAccount {
    const NAME: &'static str = "default";

    fn wanted(_: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": Self::NAME}})
    }
}

fn make(setup: &mut Setup) -> Controller {
    each_namespace::make::<ServiceAccount>(setup)
}
