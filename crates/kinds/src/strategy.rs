//! What differs from kind to kind, as plain functions and flags. A kind without needs has [`Strategy::PLAIN`].
//!
//! The order of a write: conform, declarative defaults, `defaults`, `generic::prepare_…` (which calls the strategy's own
//! `prepare_…`), admission, and `generic::validate_…` (which calls the strategy's own `validate…`).

use crate::certificates::CERTIFICATE_SIGNING_REQUESTS;
use crate::coordination::LEASES;
use crate::node::RUNTIME_CLASSES;
use crate::pods::PODS;
use crate::policy::POD_DISRUPTION_BUDGETS;
use crate::registry;
use crate::scheduling::PRIORITY_CLASSES;
use crate::services::SERVICES;
use crate::table::{self, Column};
use crate::{autoscaling, core, devices, extension, flowcontrol, networking, rbac, reviews, storage, workloads};
use api::{Cause, Kind, Timestamp};
use serde_json::{Value, json};

/// What differs for one kind.
pub struct Strategy {
    /// Defaults that take code, after the declarative ones; on create, and on the results of updates and patches.
    pub defaults: fn(&mut Value),
    /// After the generic rule. The caller has set uid and creation time.
    pub prepare_create: fn(&mut Value),
    /// After the generic rule.
    pub prepare_update: fn(new: &mut Value, old: &Value),
    /// After the generic rule, which leaves only the status of `new`.
    pub prepare_status: fn(new: &mut Value, old: &Value),
    /// Writes the times that the server itself notes when an update changes something.
    pub stamp: fn(new: &mut Value, old: &Value, now: Timestamp),
    /// What is wrong with an object, apart from its metadata.
    pub validate: fn(&Value) -> Vec<Cause>,
    /// What only a new object may not have.
    pub validate_create: fn(&Value) -> Vec<Cause>,
    /// What is wrong with a change, beyond what `validate` finds in its result.
    pub validate_update: fn(new: &Value, old: &Value) -> Vec<Cause>,
    /// What is wrong with a status, or its change.
    pub validate_status: fn(new: &Value, old: &Value) -> Vec<Cause>,
    /// What of an update's result is checked as if it were new.
    pub update_revalidates: Revalidation,
    /// Whether finalizers without a domain must be among those that Kubernetes knows.
    pub known_finalizers: bool,
    /// What is allowed but likely a mistake, for the `Warning` headers of a create (no `old`) or an update.
    pub warnings: fn(new: &Value, old: Option<&Value>) -> Vec<String>,
    /// Subresources other than status and scale that change the object.
    pub subresources: &'static [(&'static str, Change)],
    pub columns: &'static [Column],
    /// The cells of an object, as many as there are columns.
    pub row: fn(&Value, now: Timestamp) -> Vec<Value>,
    /// Annotations that stand for fields: not where only metadata is shown.
    pub hidden_annotations: &'static [&'static str],
    /// A condition of the row itself, for objects that are done.
    pub row_condition: fn(&Value) -> Option<Value>,
    /// The rule for `metadata.name`.
    pub name_rule: NameRule,
    /// Whether an update counts as a new `metadata.generation`; `None` for kinds that do not count.
    pub generation: Option<fn(new: &Value, old: &Value) -> bool>,
    /// The status of a new object, for kinds with a status subresource: null for none. `None` keeps what the client sent.
    pub new_status: Option<fn() -> Value>,
    /// Metadata that a write to the status subresource does not change.
    pub status_keeps: &'static [&'static str],
    /// Whether an update without a resource version overwrites whatever is there.
    pub unconditional_update: bool,
    /// Whether an update of an absent object creates it.
    pub create_on_update: bool,
    pub deletion: Deletion,
    /// Whether a delete that says nothing about dependents leaves them.
    pub orphans_dependents: bool,
    /// What such a delete is warned of.
    pub warns_of_dependents: Option<&'static str>,
}

/// [`Strategy::status_keeps`] of kinds that keep all of it, but for the managers of fields.
pub(crate) const ALL_METADATA: &[&str] = &["*"];

/// A change through a subresource.
#[derive(Clone, Copy)]
pub struct Change {
    /// Leaves of `new` only what this subresource may change.
    pub prepare: fn(new: &mut Value, old: &Value),
    pub validate: fn(new: &Value, old: &Value) -> Vec<Cause>,
}

/// What of an update's result is checked as if it were new. It tells how often a fault appears in the causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// Only what changed.
    Nothing,
    /// What `validate` checks.
    Content,
    /// Metadata, and what `validate` checks.
    Everything,
    /// As `Everything`, and then as `Content`.
    Twice,
}

/// How objects of a kind end.
#[derive(Clone, Copy)]
pub enum Deletion {
    /// At once, unless finalizers hold the object.
    Immediate,
    /// After a period that the object's owner ends: seconds, given the object and the seconds asked for.
    Graceful(fn(object: &Value, asked: Option<i64>) -> i64),
    /// The first delete changes the object so, and it goes when the finalizers are gone.
    Begun(fn(object: &mut Value, now: Timestamp)),
    /// As namespaces: the first delete sets phase Terminating, and the object goes when `spec.finalizers` is empty.
    Phased,
}

/// What a name must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    DnsSubdomain,
    DnsLabel,
    /// A label that starts with a letter: services.
    Dns1035Label,
    /// Anything that can stand in a path: roles and bindings.
    PathSegment,
    /// Whatever the kind's own validation says.
    Any,
}

impl Strategy {
    /// No defaults, no validation, no columns but name and time of creation.
    pub const PLAIN: Strategy = Strategy {
        defaults: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        prepare_status: |_, _| {},
        stamp: |_, _, _| {},
        validate: |_| Vec::new(),
        validate_create: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        update_revalidates: Revalidation::Everything,
        known_finalizers: true,
        warnings: |_, _| Vec::new(),
        subresources: &[],
        columns: table::DEFAULT_COLUMNS,
        row: table::default_row,
        hidden_annotations: &[],
        row_condition: |_| None,
        name_rule: NameRule::DnsSubdomain,
        generation: None,
        new_status: Some(|| json!({})),
        status_keeps: &[],
        unconditional_update: true,
        create_on_update: false,
        deletion: Deletion::Immediate,
        orphans_dependents: false,
        warns_of_dependents: None,
    };
}

/// What every request for a kind is warned of, if it has a successor.
pub fn deprecation(kind: &Kind) -> Option<&'static str> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// The strategy of kinds that tenants define, as far as it is the same for all of them: what follows from a definition is
/// [`crate::custom::Version`]'s.
static CUSTOM: Strategy = Strategy {
    known_finalizers: false,
    generation: Some(|new, old| {
        let content = |(field, _): &(&String, &Value)| *field != "metadata";
        let fields = |value: &'_ Value| value.as_object().into_iter().flatten().filter(content).count();
        let changed = |(field, value): (&String, &Value)| old.get(field) != Some(value);
        fields(new) != fields(old) || new.as_object().into_iter().flatten().filter(content).any(changed)
    }),
    new_status: Some(|| Value::Null),
    status_keeps: ALL_METADATA,
    update_revalidates: Revalidation::Nothing,
    unconditional_update: false,
    warnings: unqualified_finalizers,
    ..Strategy::PLAIN
};

/// Finalizers that others may use for something else.
fn unqualified_finalizers(new: &Value, old: Option<&Value>) -> Vec<String> {
    let finalizers = |value: &Value| value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = old.map(finalizers).unwrap_or_default();
    let odd = |name: &&str| !name.contains('/') && !matches!(*name, "orphan" | "foregroundDeletion");
    let all = finalizers(new);
    let new = all.iter().filter(|name| !before.contains(name)).filter_map(Value::as_str).filter(odd);
    let warn = |name: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other \
             finalizer writers"
        )
    };
    new.map(warn).collect()
}

/// The strategy of a kind: one for all that tenants define, [`Strategy::PLAIN`] for built-in ones without needs.
pub fn strategy(kind: &Kind) -> &'static Strategy {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Action") => &core::ACTIONS,
        ("", "ConfigMap") => &core::CONFIG_MAPS,
        ("", "Endpoints") => &core::ENDPOINTS,
        ("", "Event") => &core::CORE_EVENTS,
        ("", "LimitRange") => &core::LIMIT_RANGES,
        ("", "Namespace") => &core::NAMESPACES,
        ("", "Node") => &core::NODES,
        ("", "PersistentVolume") => &storage::VOLUMES,
        ("", "PersistentVolumeClaim") => &storage::CLAIMS,
        ("", "Pod") => &PODS,
        ("", "PodTemplate") => &workloads::POD_TEMPLATES,
        ("", "ReplicationController") => &workloads::REPLICATION_CONTROLLERS,
        ("", "ResourceQuota") => &core::RESOURCE_QUOTAS,
        ("", "Secret") => &core::SECRETS,
        ("", "Service") => &SERVICES,
        ("", "ServiceAccount") => &core::SERVICE_ACCOUNTS,
        ("", "ControllerInstance") => &core::CONTROLLER_INSTANCES,
        ("", "DataPartitionConfig") => &core::DATA_PARTITION_CONFIGS,
        ("", "StorageCluster") => &core::STORAGE_CLUSTERS,
        ("", "Tenant") => &core::TENANTS,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &extension::MUTATING_POLICIES,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => &extension::MUTATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &extension::MUTATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &extension::VALIDATING_POLICIES,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => &extension::VALIDATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => &extension::VALIDATING_WEBHOOKS,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &extension::CUSTOM_RESOURCE_DEFINITIONS,
        ("apiregistration.k8s.io", "APIService") => &extension::API_SERVICES,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISIONS,
        ("apps", "DaemonSet") => &workloads::DAEMON_SETS,
        ("apps", "Deployment") => &workloads::DEPLOYMENTS,
        ("apps", "ReplicaSet") => &workloads::REPLICA_SETS,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SETS,
        ("authorization.k8s.io", "LocalSubjectAccessReview") => &reviews::LOCAL_SUBJECT_ACCESS_REVIEWS,
        ("authorization.k8s.io", "SelfSubjectAccessReview") => &reviews::SELF_SUBJECT_ACCESS_REVIEWS,
        ("authorization.k8s.io", "SubjectAccessReview") => &reviews::SUBJECT_ACCESS_REVIEWS,
        ("autoscaling", "Scale") => &autoscaling::SCALES,
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v1" => &autoscaling::AUTOSCALERS_V1,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::AUTOSCALERS_V2,
        ("batch", "CronJob") => &workloads::CRON_JOBS,
        ("batch", "Job") => &workloads::JOBS,
        ("certificates.k8s.io", "CertificateSigningRequest") => &CERTIFICATE_SIGNING_REQUESTS,
        ("coordination.k8s.io", "Lease") => &LEASES,
        ("discovery.k8s.io", "EndpointSlice") => &core::ENDPOINT_SLICES,
        ("events.k8s.io", "Event") => &core::EVENTS,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flowcontrol::FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &flowcontrol::PRIORITY_LEVELS,
        ("networking.k8s.io", "IPAddress") => &networking::IP_ADDRESSES,
        ("networking.k8s.io", "Ingress") => &networking::INGRESSES,
        ("networking.k8s.io", "IngressClass") => &networking::INGRESS_CLASSES,
        ("networking.k8s.io", "NetworkPolicy") => &networking::NETWORK_POLICIES,
        ("networking.k8s.io", "ServiceCIDR") => &networking::SERVICE_CIDRS,
        ("node.k8s.io", "RuntimeClass") => &RUNTIME_CLASSES,
        ("policy", "PodDisruptionBudget") => &POD_DISRUPTION_BUDGETS,
        ("rbac.authorization.k8s.io", "ClusterRole") => &rbac::CLUSTER_ROLES,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &rbac::CLUSTER_ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "Role") => &rbac::ROLES,
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::ROLE_BINDINGS,
        ("resource.k8s.io", "DeviceClass") => &devices::DEVICE_CLASSES,
        ("resource.k8s.io", "ResourceClaim") => &devices::RESOURCE_CLAIMS,
        ("resource.k8s.io", "ResourceClaimTemplate") => &devices::RESOURCE_CLAIM_TEMPLATES,
        ("resource.k8s.io", "ResourceSlice") => &devices::RESOURCE_SLICES,
        ("scheduling.k8s.io", "PriorityClass") => &PRIORITY_CLASSES,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVERS,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODES,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CSI_STORAGE_CAPACITIES,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASSES,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VOLUME_ATTACHMENTS,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VOLUME_ATTRIBUTES_CLASSES,
        _ if registry().by_kind(&kind.group, &kind.version, &kind.kind).is_some() => &Strategy::PLAIN,
        _ => &CUSTOM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_kinds_with_a_successor_are_warned() {
        let warned: Vec<(&str, &str)> =
            registry().kinds().iter().filter_map(|kind| Some((kind.kind.as_str(), deprecation(kind)?))).collect();
        let expected = [
            ("ComponentStatus", "v1 ComponentStatus is deprecated in v1.19+"),
            ("Endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ];
        assert_eq!(warned, expected);
    }
}
