//! What pods live in and run on, as controllers see it.

use super::{Condition, Meta, Named, Time, View, or_default};
use client::Resource;
use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
}

impl View for Namespace {
    const RESOURCE: Resource = client::NAMESPACES;
}

/// A service account, without what only other clients need.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    pub metadata: AccountMeta,
    #[serde(deserialize_with = "or_default")]
    pub secrets: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountMeta {
    pub uid: String,
    pub resource_version: String,
}

impl View for ServiceAccount {
    const RESOURCE: Resource = client::SERVICE_ACCOUNTS;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tenant {
    pub metadata: Meta,
    pub spec: TenantSpec,
    pub status: TenantStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TenantSpec {
    pub suspended: bool,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TenantStatus {
    pub phase: String,
}

impl View for Tenant {
    const RESOURCE: Resource = client::TENANTS;
    const ONLY_SYSTEM: bool = true;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
    pub time_added: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for Node {
    const RESOURCE: Resource = client::NODES;
    const ONLY_SYSTEM: bool = true;
}

impl Node {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }
}

/// The lease that a node renews to say that it lives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeLease {
    pub metadata: Meta,
    pub spec: LeaseSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    pub renew_time: Option<Time>,
}

impl View for NodeLease {
    const RESOURCE: Resource = client::LEASES;
    const ONLY_SYSTEM: bool = true;
    const FIELDS: &'static str = "metadata.namespace=kube-node-lease";
}
