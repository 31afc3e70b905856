//! Where schemas come from: k8s-openapi's, collected through one generator and corrected where they differ from what
//! upstream publishes, the lists of kinds, which k8s-openapi has no schemas of, and Ursa's own.

use crate::overlay::DefinitionFacts;
use crate::{additions, unpublished};
use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol, networking::v1 as networking,
    node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1 as meta, version};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a reference between definitions starts with.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// The name of the definition that a schema refers to. A reference with a description stands in an `allOf`.
pub(crate) fn reference(schema: &Value) -> Option<&str> {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    reference.strip_prefix(REFERENCE)
}

fn reference_to(name: &str, description: &str) -> Value {
    json!({"allOf": [{"$ref": format!("{REFERENCE}{name}")}], "description": description})
}

macro_rules! collect {
    ($generator:ident: $($module:ident { $($kind:ident),+ $(,)? })+) => {
        $($($generator.subschema_for::<$module::$kind>();)+)+
    };
}

/// Every definition that is reachable from a kind that Ursa serves, by name, as OpenAPI v3 without extensions and defaults.
pub(crate) fn definitions(facts: &BTreeMap<&'static str, DefinitionFacts>) -> Map<String, Value> {
    let mut definitions = generated();
    add_ursa(&mut definitions);
    for addition in additions::table() {
        match definitions.get_mut(&addition.name) {
            Some(known) => {
                known["properties"].as_object_mut().expect("pods have fields").extend(addition.properties());
            }
            None => drop(definitions.insert(addition.name.clone(), addition.schema())),
        }
    }
    definitions
        .extend(unpublished::table().into_iter().map(|definition| (definition.name.clone(), definition.schema())));
    for (name, facts) in facts {
        match (definitions.get_mut(*name), name.strip_suffix("List")) {
            (Some(definition), _) => correct(name, definition, facts),
            (None, Some(item)) => {
                let list = list_of(name, item, &definitions);
                definitions.insert((*name).to_owned(), list);
            }
            (None, None) => panic!("the overlay knows {name}, k8s-openapi does not"),
        }
    }
    correct_unions(&mut definitions);
    definitions
}

fn generated() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    collect! { generator:
        admissionregistration {
            MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
            ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
        }
        apiextensions { CustomResourceDefinition }
        apiregistration { APIService }
        apps { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
        authentication { SelfSubjectReview, TokenRequest, TokenReview }
        authorization {
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        }
        autoscaling { HorizontalPodAutoscaler, Scale }
        autoscaling_v2 { HorizontalPodAutoscaler }
        batch { CronJob, Job }
        certificates { CertificateSigningRequest }
        coordination { Lease }
        core {
            Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
            PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service,
            ServiceAccount,
        }
        discovery { EndpointSlice }
        events { Event }
        flowcontrol { FlowSchema, PriorityLevelConfiguration }
        meta {
            APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, ListMeta, Patch, Status,
        }
        networking { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
        node { RuntimeClass }
        policy { Eviction, PodDisruptionBudget }
        rbac { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
        resource { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
        scheduling { PriorityClass }
        storage {
            CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
        }
        version { Info }
    }
    generator.subschema_for::<meta::WatchEvent<k8s_openapi::apimachinery::pkg::runtime::RawExtension>>();
    generator.take_definitions(true)
}

/// What requests and Go's types require differs from what k8s-openapi requires: metadata may be absent, and so may a
/// field that has a default.
fn correct(name: &str, definition: &mut Value, facts: &DefinitionFacts) {
    let may_lack_metadata = !facts.kinds.is_empty() && name != "io.k8s.api.core.v1.Event";
    let optional = |field: &str| {
        (field == "metadata" && may_lack_metadata) || facts.fields.get(field).is_some_and(|f| f.default.is_some())
    };
    if name == "io.k8s.api.events.v1.Event" {
        definition["required"] = json!(["eventTime"]);
    }
    let Some(required) = definition.get_mut("required").and_then(Value::as_array_mut) else { return };
    required.retain(|field| !field.as_str().is_some_and(optional));
    if required.is_empty() {
        definition.as_object_mut().expect("a definition is an object").remove("required");
    }
}

/// Types that are more than one JSON type, in upstream's words.
fn correct_unions(definitions: &mut Map<String, Value>) {
    for name in ["JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"] {
        let name = format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}");
        if let Some(definition) = definitions.get_mut(&name).and_then(Value::as_object_mut) {
            definition.remove("type");
            definition.remove("oneOf");
        }
    }
    let mut replace = |name: &str, union: Value| {
        let definition = definitions.get_mut(name).and_then(Value::as_object_mut).expect("k8s-openapi has the union");
        definition.remove("x-kubernetes-int-or-string");
        definition.extend(union.as_object().cloned().unwrap_or_default());
    };
    replace(
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
    );
    replace(
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
    );
}

fn list_of(name: &str, item: &str, definitions: &Map<String, Value>) -> Value {
    let kind = item.rsplit('.').next().unwrap_or(item);
    let of_item = |field: &str| definitions.get(item).map_or(Value::Null, |d| d["properties"][field].clone());
    assert!(definitions.contains_key(item), "the overlay knows {name}, of which k8s-openapi has no items");
    json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "properties": {
            "apiVersion": of_item("apiVersion"),
            "items": {
                "description": format!("The {kind} objects of the list."),
                "type": "array",
                "items": {"$ref": format!("{REFERENCE}{item}")},
            },
            "kind": of_item("kind"),
            "metadata": reference_to(
                "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
                "Where the list stands in the history of its objects, and how it continues.",
            ),
        },
        "required": ["items"],
    })
}

/// What operators say of a tenant's share of the nodes.
fn tenant_scheduling() -> Value {
    let quantity = json!({"$ref": format!("{REFERENCE}io.k8s.apimachinery.pkg.api.resource.Quantity")});
    let quantities =
        |description: &str| json!({"description": description, "type": "object", "additionalProperties": quantity});
    json!({
        "description": "TenantScheduling is a tenant's share of the nodes.",
        "type": "object",
        "properties": {
            "guaranteed": quantities("Kept free for the tenant's pods while they take less."),
            "maximum": quantities("What the tenant's pods may take together."),
            "preempts": {
                "description": "Tenants whose pods give way to this tenant's pods of higher priority; * for all.",
                "type": "array", "items": {"type": "string"},
            },
            "priority": {
                "description": "Pods of tenants with more are scheduled first.",
                "type": "integer", "format": "int32",
            },
            "weight": {
                "description": "How much of the nodes the tenant gets, compared with others; 1 unless given.",
                "type": "integer", "format": "int64",
            },
        },
    })
}

/// Tenants, and the tenant's and the hash's place in the metadata of everything.
fn add_ursa(definitions: &mut Map<String, Value>) {
    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
    let hash_key = json!({
        "description": "A hash of the uid, set by the server. Ranges of it divide work between instances of a controller.",
        "type": "integer", "format": "int64",
    });
    let tenant = json!({
        "description": "The tenant that the object belongs to. Filled in from the request, and immutable.",
        "type": "string",
    });
    let referenced = json!({"description": "The tenant of the referent.", "type": "string"});
    let mut add = |definition: &str, field: &str, schema: &Value| {
        let definition = definitions.get_mut(definition).expect("k8s-openapi has the definition");
        definition["properties"][field] = schema.clone();
    };
    add(&format!("{META}.ObjectMeta"), "tenant", &tenant);
    add(&format!("{META}.ObjectMeta"), "hashKey", &hash_key);
    add(&format!("{META}.OwnerReference"), "hashKey", &hash_key);
    add("io.k8s.api.core.v1.ObjectReference", "tenant", &referenced);

    let namespace = &definitions["io.k8s.api.core.v1.Namespace"]["properties"];
    let tenant = json!({
        "description": "Tenant is a cluster of its own to its users.",
        "type": "object",
        "properties": {
            "apiVersion": namespace["apiVersion"],
            "kind": namespace["kind"],
            "metadata": namespace["metadata"],
            "spec": reference_to("io.k8s.api.core.v1.TenantSpec", "What the tenant shall be."),
            "status": reference_to("io.k8s.api.core.v1.TenantStatus", "What it is."),
        },
    });
    let quantity = json!({"$ref": format!("{REFERENCE}io.k8s.apimachinery.pkg.api.resource.Quantity")});
    let spec = json!({
        "description": "TenantSpec is what an operator decides about a tenant.",
        "type": "object",
        "properties": {
            "finalizers": {
                "description": "What has to be removed from this list before the tenant can go.",
                "type": "array", "items": {"type": "string"},
            },
            "issuers": {
                "description": "Whose tokens name users of the tenant, where a request names it in its path.",
                "type": "array", "items": {"$ref": format!("{REFERENCE}io.k8s.api.core.v1.TenantIssuer")},
            },
            "scheduling": reference_to("io.k8s.api.core.v1.TenantScheduling", "What the tenant gets of the nodes."),
            "quota": {
                "description": "What the tenant may hold over all its namespaces, by the names that resource quotas use, \
                    and objects, bytes and virtualmachines.",
                "type": "object", "additionalProperties": quantity,
            },
            "storageClusterId": {
                "description": "The storage partition that shall hold the tenant, from 0 to 63. A change moves the tenant.",
                "type": "string",
            },
            "suspended": {
                "description": "Nobody of the tenant writes, and its workloads are at rest, until this is false again.",
                "type": "boolean",
            },
        },
    });
    let status = json!({
        "description": "TenantStatus is what is known of a tenant.",
        "type": "object",
        "properties": {
            "conditions": {
                "description": "What keeps the tenant from being created or deleted.",
                "type": "array", "items": {"$ref": format!("{REFERENCE}{META}.Condition")},
            },
            "move": reference_to("io.k8s.api.core.v1.TenantMove", "The move between storage partitions that is under way."),
            "phase": {"description": "Active, Suspended or Terminating.", "type": "string"},
            "remaining": {
                "description": "How many objects of each resource a tenant that is being deleted still has.",
                "type": "object", "additionalProperties": {"type": "integer", "format": "int64"},
            },
            "storageClusterId": {
                "description": "The storage partition that holds the tenant, if it is or was moved; else the spec says it.",
                "type": "string",
            },
            "used": {
                "description": "What the tenant holds of what its quota limits, and its objects and bytes.",
                "type": "object", "additionalProperties": quantity,
            },
        },
    });
    let instance = controller_instance(&definitions["io.k8s.api.core.v1.Namespace"]["properties"]);
    let slots = json!({
        "description": "ControllerSlots is a part of the work of a controller: some of its slots, and who has them.",
        "type": "object",
        "properties": {
            "controller": {"description": "The name of the controller.", "type": "string"},
            "instance": {"description": "The instance that does the work; in an instance itself it is left out.", "type": "string"},
            "slots": {"description": "Numbers and ranges of numbers from 0 to 63, as 0-15,32.", "type": "string"},
        },
        "required": ["controller", "slots"],
    });
    let namespace = &definitions["io.k8s.api.core.v1.Namespace"]["properties"];
    let storage_cluster = json!({
        "description": "StorageCluster is an etcd cluster that keeps tenants.",
        "type": "object",
        "properties": {
            "apiVersion": namespace["apiVersion"],
            "kind": namespace["kind"],
            "metadata": namespace["metadata"],
            "storageClusterId": {
                "description": "The number by which tenants name it, from 1 to 63. Immutable.", "type": "string",
            },
            "serviceAddress": {
                "description": "The addresses or URLs of its members, separated by commas.", "type": "string",
            },
            "tlsSecretName": {
                "description": "The Secret in the namespace kube-system of the tenant system that holds ca.crt, tls.crt and tls.key \
                    for it.",
                "type": "string",
            },
        },
    });
    for (name, schema) in [
        ("TenantScheduling", tenant_scheduling()),
        ("TenantIssuer", tenant_issuer()),
        ("TenantMove", tenant_move()),
        ("StorageCluster", storage_cluster),
        ("ControllerInstance", instance),
        ("ControllerSlots", slots),
        ("DataPartitionConfig", data_partition_config(&definitions["io.k8s.api.core.v1.Namespace"]["properties"])),
        ("Tenant", tenant),
        ("TenantSpec", spec),
        ("TenantStatus", status),
    ] {
        definitions.insert(format!("io.k8s.api.core.v1.{name}"), schema);
    }
}

/// Arktos' fields: which tenants a group of API servers serves.
fn data_partition_config(namespace: &Value) -> Value {
    json!({
        "description": "DataPartitionConfig is a range of tenants, by their names, and the group of API servers that serves them.",
        "type": "object",
        "properties": {
            "apiVersion": namespace["apiVersion"],
            "kind": namespace["kind"],
            "metadata": namespace["metadata"],
            "rangeStart": {"description": "The first name of the range.", "type": "string"},
            "isRangeStartValid": {
                "description": "Whether rangeStart counts; else the range begins with the first of all names.",
                "type": "boolean",
            },
            "rangeEnd": {"description": "The first name behind the range.", "type": "string"},
            "isRangeEndValid": {
                "description": "Whether rangeEnd counts; else the range ends with the last of all names.",
                "type": "boolean",
            },
            "serviceGroupId": {
                "description": "What the API servers of the group were started with, as --service-group-id.",
                "type": "string",
            },
        },
    })
}

/// An issuer of OpenID Connect tokens that speaks for one tenant.
fn tenant_move() -> Value {
    let text = |description: &str| json!({"description": description, "type": "string"});
    json!({
        "description": "TenantMove is the move of a tenant from one storage partition to another.",
        "type": "object",
        "properties": {
            "from": text("The storage partition that held the tenant."),
            "to": text("The storage partition that is to hold it."),
            "holder": text("The API server that moves it."),
            "renewTime": text("When that has last said that the move goes on."),
        },
    })
}

fn tenant_issuer() -> Value {
    let text = |description: &str| json!({"description": description, "type": "string"});
    json!({
        "description": "TenantIssuer is an issuer of OpenID Connect tokens that speaks for one tenant.",
        "type": "object",
        "properties": {
            "url": text("The issuer as its tokens name it. It starts with https://."),
            "audiences": {
                "description": "Of which a token names at least one.",
                "type": "array", "items": {"type": "string"},
            },
            "jwks": text("The keys of the issuer, a JSON Web Key Set. Nothing is fetched."),
            "usernameClaim": text("The claim that names the user; sub if it is empty."),
            "usernamePrefix": text("What is put before the name of a user."),
            "groupsClaim": text("The claim that lists the user's groups, if there is one."),
            "groupsPrefix": text("What is put before the name of a group."),
            "requiredClaims": {
                "description": "Claims that a token must have, with their values.",
                "type": "object", "additionalProperties": {"type": "string"},
            },
        },
        "required": ["url", "audiences", "jwks"],
    })
}

/// Instances of controllers, which share their work: Arktos' fields and what makes hand-over safe.
fn controller_instance(namespace: &Value) -> Value {
    json!({
        "description": "ControllerInstance is a process that runs controllers for its share of all objects. \
            The one named controllers says who has which share.",
        "type": "object",
        "properties": {
            "apiVersion": namespace["apiVersion"],
            "kind": namespace["kind"],
            "metadata": namespace["metadata"],
            "controllerType": {"description": "What program the instance is.", "type": "string"},
            "controllerKey": {
                "description": "The largest hash of the objects of its share.", "type": "integer", "format": "int64",
            },
            "workloadNum": {"description": "How many objects it has looked at.", "type": "integer", "format": "int32"},
            "isLocked": {"description": "Whether it waits for its share.", "type": "boolean"},
            "controllers": {
                "description": "The controllers that it runs.", "type": "array", "items": {"type": "string"},
            },
            "epoch": {
                "description": "Counts how often its share was taken from it. Writes of an earlier epoch are refused.",
                "type": "integer", "format": "int64",
            },
            "slots": {
                "description": "Its share.", "type": "array",
                "items": {"$ref": format!("{REFERENCE}io.k8s.api.core.v1.ControllerSlots")},
            },
            "renewTime": reference_to(
                "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
                "When it last said that it lives.",
            ),
            "leaseDurationSeconds": {
                "description": "After how long without a sign of life others take its share.",
                "type": "integer", "format": "int32",
            },
        },
    })
}
