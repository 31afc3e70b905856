#!/usr/bin/env python3
"""Writes the table of facts about Kubernetes' types that k8s-openapi does not carry.

Usage: hack/overlay.py DIRECTORY > crates/schema/src/overlay.txt

DIRECTORY holds the OpenAPI v3 documents of a kube-apiserver, one file per group and version. They tell list types, merge
keys, defaults and kinds. Two facts of the Go types are in no document and are kept here by hand: which optional scalars are
pointers (their zero value is kept when it is given), and which fields without a zero value are printed as null.

Format: a line that starts at the margin opens a definition, an indented line is one of its fields, facts follow the name:
  kinds=GROUP/VERSION/KIND,..   group, version and kind; `*` stands for every published group and version
  unions=JSON                   x-kubernetes-unions
  map=KIND                      x-kubernetes-map-type
  list=KIND keys=A,B            x-kubernetes-list-type, x-kubernetes-list-map-keys
  patch=A,B merge=KEY           x-kubernetes-patch-strategy, x-kubernetes-patch-merge-key
  default=JSON                  the declared default
  zero                          without omitempty: an absent field is printed as its zero value
  null                          without omitempty: an absent field is printed as null
  pointer                       an optional scalar whose zero value differs from its absence
"""

import json
import pathlib
import sys

# Optional booleans, integers and strings that are pointers in Go; `*` stands for every definition.
POINTERS = """
AppArmorProfile.localhostProfile AzureDiskVolumeSource.cachingMode AzureDiskVolumeSource.fsType AzureDiskVolumeSource.kind
AzureDiskVolumeSource.readOnly AzureFilePersistentVolumeSource.secretNamespace *.appProtocol *.optional *.immutable
CSIDriverSpec.attachRequired CSIDriverSpec.fsGroupPolicy CSIDriverSpec.nodeAllocatableUpdatePeriodSeconds
CSIDriverSpec.podInfoOnMount CSIDriverSpec.preventPodSchedulingIfMissing CSIDriverSpec.requiresRepublish
CSIDriverSpec.seLinuxMount CSIDriverSpec.serviceAccountTokenInSecrets CSIDriverSpec.storageCapacity CSIVolumeSource.fsType
CSIVolumeSource.readOnly *.collisionCount *.terminatingReplicas *.revisionHistoryLimit DeploymentSpec.replicas
ReplicaSetSpec.replicas ReplicationControllerSpec.replicas StatefulSetSpec.replicas
CertificateSigningRequestSpec.expirationSeconds ClientIPConfig.timeoutSeconds ClusterTrustBundleProjection.name
ClusterTrustBundleProjection.signerName *.defaultMode DownwardAPIVolumeFile.mode KeyToPath.mode Container.restartPolicy
EphemeralContainer.restartPolicy ContainerStatus.started ContainerStatus.stopSignal Lifecycle.stopSignal
CronJobSpec.failedJobsHistoryLimit CronJobSpec.startingDeadlineSeconds CronJobSpec.successfulJobsHistoryLimit
CronJobSpec.suspend CronJobSpec.timeZone CustomResourceDefinitionVersion.deprecationWarning
CustomResourceSubresourceScale.labelSelectorPath DeleteOptions.gracePeriodSeconds DeleteOptions.orphanDependents
DeleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential DeleteOptions.propagationPolicy
DeploymentSpec.progressDeadlineSeconds Device.allNodes Device.allowMultipleAllocations Device.bindsToNode Device.nodeName
DeviceAttribute.bool DeviceAttribute.int DeviceAttribute.string DeviceAttribute.version DeviceClassSpec.extendedResourceName
DeviceConstraint.distinctAttribute DeviceConstraint.matchAttribute *.adminAccess *.shareID *.tolerationSeconds
Endpoint.hostname Endpoint.nodeName Endpoint.zone EndpointAddress.nodeName EndpointConditions.ready EndpointConditions.serving
EndpointConditions.terminating discovery.v1.EndpointPort.name discovery.v1.EndpointPort.port
discovery.v1.EndpointPort.protocol ExemptPriorityLevelConfiguration.lendablePercent
ExemptPriorityLevelConfiguration.nominalConcurrencyShares FCVolumeSource.lun GRPCAction.service
GlusterfsPersistentVolumeSource.endpointsNamespace HPAScalingRules.selectPolicy HPAScalingRules.stabilizationWindowSeconds
HorizontalPodAutoscalerSpec.minReplicas HorizontalPodAutoscalerSpec.targetCPUUtilizationPercentage
HorizontalPodAutoscalerStatus.currentCPUUtilizationPercentage autoscaling.v1.HorizontalPodAutoscalerStatus.observedGeneration
autoscaling.v2.HorizontalPodAutoscalerStatus.observedGeneration HostPathVolumeSource.type *.initiatorName
IngressClassParametersReference.apiGroup IngressClassParametersReference.namespace IngressClassParametersReference.scope
IngressPortStatus.error PortStatus.error IngressSpec.ingressClassName JSONSchemaProps.$ref JSONSchemaProps.maxItems
JSONSchemaProps.maxLength JSONSchemaProps.maxProperties JSONSchemaProps.minItems JSONSchemaProps.minLength
JSONSchemaProps.minProperties JSONSchemaProps.maximum JSONSchemaProps.minimum JSONSchemaProps.multipleOf
JSONSchemaProps.x-kubernetes-list-type JSONSchemaProps.x-kubernetes-map-type
JSONSchemaProps.x-kubernetes-preserve-unknown-fields JobSpec.activeDeadlineSeconds JobSpec.backoffLimit
JobSpec.backoffLimitPerIndex JobSpec.completionMode JobSpec.completions JobSpec.managedBy JobSpec.manualSelector
JobSpec.maxFailedIndexes JobSpec.parallelism JobSpec.podReplacementPolicy JobSpec.suspend JobSpec.ttlSecondsAfterFinished
JobStatus.failedIndexes JobStatus.ready JobStatus.terminating LeaseSpec.holderIdentity LeaseSpec.leaseDurationSeconds
LeaseSpec.leaseTransitions LeaseSpec.preferredHolder LeaseSpec.strategy LimitedPriorityLevelConfiguration.borrowingLimitPercent
LimitedPriorityLevelConfiguration.lendablePercent LimitedPriorityLevelConfiguration.nominalConcurrencyShares
ListMeta.remainingItemCount LoadBalancerIngress.ipMode LocalVolumeSource.fsType *.matchPolicy *.failurePolicy
MutatingWebhook.reinvocationPolicy *Webhook.timeoutSeconds MetricTarget.averageUtilization
MetricValueStatus.averageUtilization NamedRuleWithOperations.scope RuleWithOperations.scope NetworkPolicyPort.endPort
NetworkPolicyPort.protocol NodeAllocatableResourceMapping.capacityKey NodeFeatures.supplementalGroupsPolicy
NodeRuntimeHandlerFeatures.recursiveReadOnlyMounts NodeRuntimeHandlerFeatures.userNamespaces NodeSwapStatus.capacity
ObjectMeta.deletionGracePeriodSeconds OwnerReference.blockOwnerDeletion OwnerReference.controller
ParamRef.parameterNotFoundAction PersistentVolumeClaimSpec.storageClassName *.volumeAttributesClassName *.volumeMode
PersistentVolumeClaimStatus.currentVolumeAttributesClassName PodCertificateProjection.maxExpirationSeconds
PodDNSConfigOption.value PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy
PodFailurePolicyOnExitCodesRequirement.containerName PodResourceClaim.resourceClaimName
PodResourceClaim.resourceClaimTemplateName PodResourceClaimStatus.resourceClaimName PodSchedulingGroup.podGroupName
PodSecurityContext.fsGroup PodSecurityContext.fsGroupChangePolicy PodSecurityContext.runAsGroup
PodSecurityContext.runAsNonRoot PodSecurityContext.runAsUser PodSecurityContext.seLinuxChangePolicy
PodSecurityContext.supplementalGroupsPolicy PodSpec.activeDeadlineSeconds PodSpec.automountServiceAccountToken
PodSpec.enableServiceLinks PodSpec.hostUsers PodSpec.hostnameOverride PodSpec.preemptionPolicy PodSpec.priority
PodSpec.runtimeClassName PodSpec.setHostnameAsFQDN PodSpec.shareProcessNamespace *.terminationGracePeriodSeconds
Preconditions.resourceVersion Preconditions.uid PriorityClass.preemptionPolicy ResourceSliceSpec.allNodes
ResourceSliceSpec.nodeName ResourceSliceSpec.perDeviceNodeSelection RollingUpdateStatefulSetStrategy.partition
SeccompProfile.localhostProfile SecurityContext.allowPrivilegeEscalation SecurityContext.privileged SecurityContext.procMount
SecurityContext.readOnlyRootFilesystem SecurityContext.runAsGroup SecurityContext.runAsNonRoot SecurityContext.runAsUser
ServiceAccount.automountServiceAccountToken ServiceAccountTokenProjection.expirationSeconds ServiceReference.path
ServiceReference.port ServiceSpec.allocateLoadBalancerNodePorts ServiceSpec.internalTrafficPolicy ServiceSpec.ipFamilyPolicy
ServiceSpec.loadBalancerClass ServiceSpec.trafficDistribution StorageClass.allowVolumeExpansion StorageClass.reclaimPolicy
StorageClass.volumeBindingMode SuccessPolicyRule.succeededCount SuccessPolicyRule.succeededIndexes
TokenRequest.expirationSeconds TokenRequestSpec.expirationSeconds TopologySpreadConstraint.minDomains
TopologySpreadConstraint.nodeAffinityPolicy TopologySpreadConstraint.nodeTaintsPolicy TypedObjectReference.namespace
Validation.reason ValidationRule.optionalOldSelf ValidationRule.reason VolumeAttachmentSource.persistentVolumeName
VolumeError.errorCode VolumeMount.mountPropagation VolumeMount.recursiveReadOnly VolumeMountStatus.recursiveReadOnly
VolumeNodeResources.count WebhookClientConfig.url WindowsSecurityContextOptions.gmsaCredentialSpec
WindowsSecurityContextOptions.gmsaCredentialSpecName WindowsSecurityContextOptions.hostProcess
WindowsSecurityContextOptions.runAsUserName
""".split()

# Fields that Go prints as null when they are absent, beyond the required lists, maps and references.
NULLS = """
*Condition.lastHeartbeatTime *Condition.lastProbeTime *Condition.lastTransitionTime *Condition.lastUpdateTime
CSINodeDriver.topologyKeys CertificateSigningRequestSpec.request ClusterRole.rules ContainerStateRunning.startedAt
ContainerStateTerminated.finishedAt ContainerStateTerminated.startedAt CustomResourceDefinitionStatus.conditions
CustomResourceDefinitionStatus.storedVersions DeviceClaim.requests EndpointSlice.ports Event.deprecatedFirstTimestamp
Event.deprecatedLastTimestamp Event.eventTime Event.firstTimestamp Event.lastTimestamp EventSeries.lastObservedTime
HTTPIngressPath.pathType HorizontalPodAutoscalerStatus.currentMetrics MutatingWebhook.sideEffects
ProjectedVolumeSource.sources Role.rules TokenRequestSpec.boundObjectRef TokenRequestStatus.expirationTimestamp
TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup ValidatingWebhook.sideEffects VolumeError.time
""".split()

# Printed as zero although no document gives them a default.
ZEROS = ["ResourceFieldSelector.divisor"]

# With a zero default in the documents, and yet left out when empty.
OMITTED = ["ScaleSpec.replicas", "ReplicationControllerSpec.minReadySeconds"]

# Required, and yet left out when empty.
UNPRINTED = ["IPAddressSpec.parentRef", "ValidatingAdmissionPolicyBindingSpec.validationActions"]

# Kinds of every group and version.
EVERYWHERE = ["DeleteOptions", "WatchEvent"]


def among(table, definition, field):
    """Whether the table names the field, with or without its group and version."""
    short = definition.split(".")[-1]
    for entry in table:
        owner, _, name = entry.rpartition(".")
        if name == field and (
            owner == short
            or definition.endswith("." + owner)
            or (owner.startswith("*") and short.endswith(owner[1:]))
        ):
            return True
    return False


def reference(schema):
    """The name of the definition that a property refers to."""
    for part in [schema, *schema.get("allOf", [])]:
        if "$ref" in part:
            return part["$ref"].split("/")[-1]
    return None


def field_facts(definition, name, schema, required):
    facts = []
    target, kind = reference(schema), schema.get("type")
    for key, fact in [
        ("x-kubernetes-list-type", "list"),
        ("x-kubernetes-map-type", "map"),
        ("x-kubernetes-patch-strategy", "patch"),
        ("x-kubernetes-patch-merge-key", "merge"),
    ]:
        if key in schema:
            facts.append(f"{fact}={schema[key]}")
    if "x-kubernetes-list-map-keys" in schema:
        facts.append("keys=" + ",".join(schema["x-kubernetes-list-map-keys"]))
    default = schema.get("default")
    scalar = kind in ("boolean", "integer", "number", "string")
    if among(NULLS, definition, name):
        facts.append("null")
    elif among(ZEROS, definition, name):
        facts.append("zero")
    elif default is not None:
        declared = default not in ("", 0, False, {}) or among(POINTERS, definition, name)
        omitted = among(OMITTED, definition, name) or (default == "" and name == "name" and name not in required)
        facts.append("default=" + json.dumps(default) if declared or omitted else "zero")
    elif name in required and not scalar and not among(UNPRINTED, definition, name):
        printed = target and target.split(".")[-1] in ("IntOrString", "Quantity")
        facts.append("zero" if printed else "null")
    if scalar and name not in required and among(POINTERS, definition, name):
        facts.append("pointer")
    return facts


def definition_facts(name, schema, kinds):
    facts = []
    if name.split(".")[-1] in EVERYWHERE:
        facts.append("kinds=*/*/" + name.split(".")[-1])
    elif kinds:
        facts.append("kinds=" + ",".join(sorted(f"{k['group']}/{k['version']}/{k['kind']}" for k in kinds)))
    if "x-kubernetes-map-type" in schema:
        facts.append("map=" + schema["x-kubernetes-map-type"])
    if "x-kubernetes-unions" in schema:
        facts.append("unions=" + json.dumps(schema["x-kubernetes-unions"], separators=(",", ":")))
    return facts


def main():
    definitions = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        definitions.update(json.loads(path.read_text()).get("components", {}).get("schemas", {}))
    print("# Written by hack/overlay.py, which explains the format.")
    for name, schema in sorted(definitions.items()):
        head = definition_facts(name, schema, schema.get("x-kubernetes-group-version-kind", []))
        lines = []
        for field, property_schema in sorted(schema.get("properties", {}).items()):
            facts = field_facts(name, field, property_schema, schema.get("required", []))
            if facts:
                lines.append(f" {field} {' '.join(facts)}")
        if head or lines:
            print(" ".join([name, *head]))
            print("\n".join(lines), end="\n" if lines else "")


main()
