//! Which resource a request is about: the names that a path is made of.

use api::GroupVersion;
use std::sync::Arc;

/// The names that make the path of a resource.
pub trait Names: Send + Sync {
    /// Empty for the core group.
    fn group(&self) -> &str;
    fn version(&self) -> &str;
    fn plural(&self) -> &str;
    fn namespaced(&self) -> bool;

    /// `apps/v1`, or `v1`.
    fn api_version(&self) -> String {
        GroupVersion { group: self.group().to_owned(), version: self.version().to_owned() }.to_string()
    }
}

/// A resource that the code knows by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
}

/// A resource that discovery told of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DiscoveredResource {
    pub group: Arc<str>,
    pub version: Arc<str>,
    pub plural: Arc<str>,
    pub kind: Arc<str>,
    pub namespaced: bool,
    pub verbs: Arc<[String]>,
}

impl Names for Resource {
    fn group(&self) -> &str {
        self.group
    }

    fn version(&self) -> &str {
        self.version
    }

    fn plural(&self) -> &str {
        self.plural
    }

    fn namespaced(&self) -> bool {
        self.namespaced
    }
}

impl Names for DiscoveredResource {
    fn group(&self) -> &str {
        &self.group
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn plural(&self) -> &str {
        &self.plural
    }

    fn namespaced(&self) -> bool {
        self.namespaced
    }
}

impl<N: Names + ?Sized> Names for &N {
    fn group(&self) -> &str {
        (**self).group()
    }

    fn version(&self) -> &str {
        (**self).version()
    }

    fn plural(&self) -> &str {
        (**self).plural()
    }

    fn namespaced(&self) -> bool {
        (**self).namespaced()
    }
}

/// Whether a kind is the operators' own: of no tenant. Discovery tells other tenants of those that they read.
pub fn is_operators(resource: &dyn Names) -> bool {
    matches!(
        (resource.group(), resource.plural()),
        (
            "",
            "componentstatuses"
                | "controllerinstances"
                | "datapartitionconfigs"
                | "nodes"
                | "storageclusters"
                | "tenants"
        ) | ("storage.k8s.io", "csidrivers" | "csinodes")
    )
}

impl DiscoveredResource {
    /// Whether its objects can be listed, watched and deleted: whether they are kept at all.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

const fn namespaced(group: &'static str, version: &'static str, plural: &'static str) -> Resource {
    Resource { group, version, plural, namespaced: true }
}

const fn unnamespaced(group: &'static str, version: &'static str, plural: &'static str) -> Resource {
    Resource { group, version, plural, namespaced: false }
}

pub const CONTROLLER_INSTANCES: Resource = unnamespaced("", "v1", "controllerinstances");
pub const TENANTS: Resource = unnamespaced("", "v1", "tenants");
pub const NODES: Resource = unnamespaced("", "v1", "nodes");
pub const NODE_METRICS: Resource = unnamespaced("metrics.k8s.io", "v1beta1", "nodes");

pub const NAMESPACES: Resource = unnamespaced("", "v1", "namespaces");
pub const CLUSTER_ROLES: Resource = unnamespaced("rbac.authorization.k8s.io", "v1", "clusterroles");
pub const CLUSTER_ROLE_BINDINGS: Resource = unnamespaced("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
pub const PRIORITY_CLASSES: Resource = unnamespaced("scheduling.k8s.io", "v1", "priorityclasses");
pub const CUSTOM_RESOURCE_DEFINITIONS: Resource =
    unnamespaced("apiextensions.k8s.io", "v1", "customresourcedefinitions");

pub const PODS: Resource = namespaced("", "v1", "pods");
pub const EVENTS: Resource = namespaced("", "v1", "events");
pub const CONFIG_MAPS: Resource = namespaced("", "v1", "configmaps");
pub const SECRETS: Resource = namespaced("", "v1", "secrets");
pub const SERVICES: Resource = namespaced("", "v1", "services");
pub const ENDPOINTS: Resource = namespaced("", "v1", "endpoints");
pub const SERVICE_ACCOUNTS: Resource = namespaced("", "v1", "serviceaccounts");
pub const REPLICATION_CONTROLLERS: Resource = namespaced("", "v1", "replicationcontrollers");
pub const DEPLOYMENTS: Resource = namespaced("apps", "v1", "deployments");
pub const REPLICA_SETS: Resource = namespaced("apps", "v1", "replicasets");
pub const STATEFUL_SETS: Resource = namespaced("apps", "v1", "statefulsets");
pub const DAEMON_SETS: Resource = namespaced("apps", "v1", "daemonsets");
pub const CONTROLLER_REVISIONS: Resource = namespaced("apps", "v1", "controllerrevisions");
pub const JOBS: Resource = namespaced("batch", "v1", "jobs");
pub const CRON_JOBS: Resource = namespaced("batch", "v1", "cronjobs");
pub const LEASES: Resource = namespaced("coordination.k8s.io", "v1", "leases");
pub const ROLES: Resource = namespaced("rbac.authorization.k8s.io", "v1", "roles");
pub const ROLE_BINDINGS: Resource = namespaced("rbac.authorization.k8s.io", "v1", "rolebindings");
