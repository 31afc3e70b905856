//! The rows: every built-in kind of Kubernetes 1.36 as its discovery names it, and Ursa's own.
//!
//! Groups and versions stand in the order of discovery, the preferred version first; kinds in the order of their group's
//! resource list. Nothing here is logic: a new built-in kind is a new line.

use api::{Scope, Verb};

/// A group's name, and its versions with their kinds, preferred first.
pub(crate) type Group = (&'static str, &'static [(&'static str, &'static [Row])]);

/// One kind of one version.
pub(crate) struct Row {
    pub kind: &'static str,
    pub plural: &'static str,
    pub scope: Scope,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub verbs: &'static [Verb],
    pub subresources: &'static [Sub],
}

/// One subresource of a row.
pub(crate) struct Sub {
    pub name: &'static str,
    pub verbs: &'static [Verb],
    /// The group and kind that it speaks, where that is not the row's own.
    pub response: Option<(&'static str, &'static str)>,
}

const NAMESPACED: Scope = Scope::Namespaced;
/// Cluster-scoped in Kubernetes: each tenant has its own.
const TENANT: Scope = Scope::Tenant;
/// The operators' own.
const CLUSTER: Scope = Scope::Cluster;

const ALL: &[Verb] = &Verb::ALL;
const NO_COLLECTION: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const READ: &[Verb] = &[Verb::Get, Verb::List];
const CREATE: &[Verb] = &[Verb::Create];
const GET: &[Verb] = &[Verb::Get];
const UPDATE: &[Verb] = &[Verb::Update];
const MODIFY: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

const STATUS: Sub = own("status", MODIFY);
const SCALE: Sub = sub("scale", MODIFY, "autoscaling", "Scale");

const fn row(kind: &'static str, plural: &'static str, scope: Scope) -> Row {
    Row { kind, plural, scope, short_names: &[], categories: &[], verbs: ALL, subresources: &[] }
}

/// A subresource that speaks the kind itself.
const fn own(name: &'static str, verbs: &'static [Verb]) -> Sub {
    Sub { name, verbs, response: None }
}

/// A subresource that speaks another kind, of version v1.
const fn sub(name: &'static str, verbs: &'static [Verb], group: &'static str, kind: &'static str) -> Sub {
    Sub { name, verbs, response: Some((group, kind)) }
}

impl Row {
    const fn short(self, short_names: &'static [&'static str]) -> Row {
        Row { short_names, ..self }
    }

    const fn categories(self, categories: &'static [&'static str]) -> Row {
        Row { categories, ..self }
    }

    const fn verbs(self, verbs: &'static [Verb]) -> Row {
        Row { verbs, ..self }
    }

    const fn subresources(self, subresources: &'static [Sub]) -> Row {
        Row { subresources, ..self }
    }
}

pub(crate) const GROUPS: &[Group] = &[
    ("", &[("v1", CORE_V1)]),
    ("apiregistration.k8s.io", &[("v1", APIREGISTRATION_V1)]),
    ("apps", &[("v1", APPS_V1)]),
    ("events.k8s.io", &[("v1", EVENTS_V1)]),
    ("authentication.k8s.io", &[("v1", AUTHENTICATION_V1)]),
    ("authorization.k8s.io", &[("v1", AUTHORIZATION_V1)]),
    ("autoscaling", &[("v2", AUTOSCALING_V2), ("v1", AUTOSCALING_V1)]),
    ("batch", &[("v1", BATCH_V1)]),
    ("certificates.k8s.io", &[("v1", CERTIFICATES_V1)]),
    ("networking.k8s.io", &[("v1", NETWORKING_V1)]),
    ("policy", &[("v1", POLICY_V1)]),
    ("rbac.authorization.k8s.io", &[("v1", RBAC_V1)]),
    ("storage.k8s.io", &[("v1", STORAGE_V1)]),
    ("admissionregistration.k8s.io", &[("v1", ADMISSIONREGISTRATION_V1)]),
    ("apiextensions.k8s.io", &[("v1", APIEXTENSIONS_V1)]),
    ("scheduling.k8s.io", &[("v1", SCHEDULING_V1)]),
    ("coordination.k8s.io", &[("v1", COORDINATION_V1)]),
    ("node.k8s.io", &[("v1", NODE_V1)]),
    ("discovery.k8s.io", &[("v1", DISCOVERY_V1)]),
    ("resource.k8s.io", &[("v1", RESOURCE_V1)]),
    ("flowcontrol.apiserver.k8s.io", &[("v1", FLOWCONTROL_V1)]),
];

const CORE_V1: &[Row] = &[
    row("Action", "actions", NAMESPACED).short(&["ac"]).subresources(&[STATUS]),
    row("Binding", "bindings", NAMESPACED).verbs(CREATE),
    row("ComponentStatus", "componentstatuses", CLUSTER).short(&["cs"]).verbs(READ),
    row("ConfigMap", "configmaps", NAMESPACED).short(&["cm"]),
    row("ControllerInstance", "controllerinstances", CLUSTER).short(&["co"]),
    row("DataPartitionConfig", "datapartitionconfigs", CLUSTER).short(&["datapartition"]),
    row("Endpoints", "endpoints", NAMESPACED).short(&["ep"]),
    row("Event", "events", NAMESPACED).short(&["ev"]),
    row("LimitRange", "limitranges", NAMESPACED).short(&["limits"]),
    row("Namespace", "namespaces", TENANT)
        .short(&["ns"])
        .verbs(NO_COLLECTION)
        .subresources(&[own("finalize", UPDATE), STATUS]),
    row("Node", "nodes", CLUSTER).short(&["no"]).subresources(&[sub("proxy", PROXY, "", "NodeProxyOptions"), STATUS]),
    row("PersistentVolumeClaim", "persistentvolumeclaims", NAMESPACED).short(&["pvc"]).subresources(&[STATUS]),
    row("PersistentVolume", "persistentvolumes", TENANT).short(&["pv"]).subresources(&[STATUS]),
    row("Pod", "pods", NAMESPACED).short(&["po"]).categories(&["all"]).subresources(&[
        sub("action", CREATE, "", "CustomAction"),
        sub("attach", CONNECT, "", "PodAttachOptions"),
        sub("binding", CREATE, "", "Binding"),
        own("ephemeralcontainers", MODIFY),
        sub("eviction", CREATE, "policy", "Eviction"),
        sub("exec", CONNECT, "", "PodExecOptions"),
        own("log", GET),
        sub("portforward", CONNECT, "", "PodPortForwardOptions"),
        sub("proxy", PROXY, "", "PodProxyOptions"),
        own("resize", MODIFY),
        STATUS,
    ]),
    row("PodTemplate", "podtemplates", NAMESPACED),
    row("ReplicationController", "replicationcontrollers", NAMESPACED)
        .short(&["rc"])
        .categories(&["all"])
        .subresources(&[SCALE, STATUS]),
    row("ResourceQuota", "resourcequotas", NAMESPACED).short(&["quota"]).subresources(&[STATUS]),
    row("Secret", "secrets", NAMESPACED),
    row("ServiceAccount", "serviceaccounts", NAMESPACED).short(&["sa"]).subresources(&[sub(
        "token",
        CREATE,
        "authentication.k8s.io",
        "TokenRequest",
    )]),
    row("Service", "services", NAMESPACED)
        .short(&["svc"])
        .categories(&["all"])
        .subresources(&[sub("proxy", PROXY, "", "ServiceProxyOptions"), STATUS]),
    row("StorageCluster", "storageclusters", CLUSTER).short(&["etcd"]),
    row("Tenant", "tenants", CLUSTER)
        .short(&["te"])
        .verbs(NO_COLLECTION)
        .subresources(&[own("finalize", UPDATE), STATUS]),
];

const APIREGISTRATION_V1: &[Row] =
    &[row("APIService", "apiservices", TENANT).categories(&["api-extensions"]).subresources(&[STATUS])];

const APPS_V1: &[Row] = &[
    row("ControllerRevision", "controllerrevisions", NAMESPACED),
    row("DaemonSet", "daemonsets", NAMESPACED).short(&["ds"]).categories(&["all"]).subresources(&[STATUS]),
    row("Deployment", "deployments", NAMESPACED).short(&["deploy"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
    row("ReplicaSet", "replicasets", NAMESPACED).short(&["rs"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
    row("StatefulSet", "statefulsets", NAMESPACED).short(&["sts"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
];

const EVENTS_V1: &[Row] = &[row("Event", "events", NAMESPACED).short(&["ev"])];

const AUTHENTICATION_V1: &[Row] = &[
    row("SelfSubjectReview", "selfsubjectreviews", TENANT).verbs(CREATE),
    row("TokenReview", "tokenreviews", TENANT).verbs(CREATE),
];

const AUTHORIZATION_V1: &[Row] = &[
    row("LocalSubjectAccessReview", "localsubjectaccessreviews", NAMESPACED).verbs(CREATE),
    row("SelfSubjectAccessReview", "selfsubjectaccessreviews", TENANT).verbs(CREATE),
    row("SelfSubjectRulesReview", "selfsubjectrulesreviews", TENANT).verbs(CREATE),
    row("SubjectAccessReview", "subjectaccessreviews", TENANT).verbs(CREATE),
];

const AUTOSCALING_V2: &[Row] = &[row("HorizontalPodAutoscaler", "horizontalpodautoscalers", NAMESPACED)
    .short(&["hpa"])
    .categories(&["all"])
    .subresources(&[STATUS])];

const AUTOSCALING_V1: &[Row] = &[row("HorizontalPodAutoscaler", "horizontalpodautoscalers", NAMESPACED)
    .short(&["hpa"])
    .categories(&["all"])
    .subresources(&[STATUS])];

const BATCH_V1: &[Row] = &[
    row("CronJob", "cronjobs", NAMESPACED).short(&["cj"]).categories(&["all"]).subresources(&[STATUS]),
    row("Job", "jobs", NAMESPACED).categories(&["all"]).subresources(&[STATUS]),
];

const CERTIFICATES_V1: &[Row] = &[row("CertificateSigningRequest", "certificatesigningrequests", TENANT)
    .short(&["csr"])
    .subresources(&[own("approval", MODIFY), STATUS])];

const NETWORKING_V1: &[Row] = &[
    row("IngressClass", "ingressclasses", TENANT),
    row("Ingress", "ingresses", NAMESPACED).short(&["ing"]).subresources(&[STATUS]),
    row("IPAddress", "ipaddresses", TENANT).short(&["ip"]),
    row("NetworkPolicy", "networkpolicies", NAMESPACED).short(&["netpol"]),
    row("ServiceCIDR", "servicecidrs", TENANT).subresources(&[STATUS]),
];

const POLICY_V1: &[Row] =
    &[row("PodDisruptionBudget", "poddisruptionbudgets", NAMESPACED).short(&["pdb"]).subresources(&[STATUS])];

const RBAC_V1: &[Row] = &[
    row("ClusterRoleBinding", "clusterrolebindings", TENANT),
    row("ClusterRole", "clusterroles", TENANT),
    row("RoleBinding", "rolebindings", NAMESPACED),
    row("Role", "roles", NAMESPACED),
];

const STORAGE_V1: &[Row] = &[
    row("CSIDriver", "csidrivers", CLUSTER),
    row("CSINode", "csinodes", CLUSTER),
    row("CSIStorageCapacity", "csistoragecapacities", NAMESPACED),
    row("StorageClass", "storageclasses", TENANT).short(&["sc"]),
    row("VolumeAttachment", "volumeattachments", TENANT).subresources(&[STATUS]),
    row("VolumeAttributesClass", "volumeattributesclasses", TENANT).short(&["vac"]),
];

const ADMISSIONREGISTRATION_V1: &[Row] = &[
    row("MutatingAdmissionPolicy", "mutatingadmissionpolicies", TENANT).categories(&["api-extensions"]),
    row("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", TENANT).categories(&["api-extensions"]),
    row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", TENANT).categories(&["api-extensions"]),
    row("ValidatingAdmissionPolicy", "validatingadmissionpolicies", TENANT)
        .categories(&["api-extensions"])
        .subresources(&[STATUS]),
    row("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", TENANT)
        .categories(&["api-extensions"]),
    row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", TENANT).categories(&["api-extensions"]),
];

const APIEXTENSIONS_V1: &[Row] = &[row("CustomResourceDefinition", "customresourcedefinitions", TENANT)
    .short(&["crd", "crds"])
    .categories(&["api-extensions"])
    .subresources(&[STATUS])];

const SCHEDULING_V1: &[Row] = &[row("PriorityClass", "priorityclasses", TENANT).short(&["pc"])];

const COORDINATION_V1: &[Row] = &[row("Lease", "leases", NAMESPACED)];

const NODE_V1: &[Row] = &[row("RuntimeClass", "runtimeclasses", TENANT)];

const DISCOVERY_V1: &[Row] = &[row("EndpointSlice", "endpointslices", NAMESPACED)];

const RESOURCE_V1: &[Row] = &[
    row("DeviceClass", "deviceclasses", TENANT),
    row("ResourceClaim", "resourceclaims", NAMESPACED).subresources(&[STATUS]),
    row("ResourceClaimTemplate", "resourceclaimtemplates", NAMESPACED),
    row("ResourceSlice", "resourceslices", TENANT),
];

const FLOWCONTROL_V1: &[Row] = &[
    row("FlowSchema", "flowschemas", TENANT).subresources(&[STATUS]),
    row("PriorityLevelConfiguration", "prioritylevelconfigurations", TENANT).subresources(&[STATUS]),
];
