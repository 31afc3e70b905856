//! Types that clients may send and be answered in protobuf, and that no published document describes: options of requests,
//! reviews of webhooks, aggregated discovery, metadata alone.
//!
//! One table holds all that is known of them.

use crate::written::{self, Written};

static TABLE: &str = "
meta.v1.CreateOptions kinds=/v1/CreateOptions
 1:dryRun []string
 3:fieldManager string
 4:fieldValidation string
meta.v1.GetOptions kinds=/v1/GetOptions
 1:resourceVersion string
meta.v1.ListOptions kinds=/v1/ListOptions
 1:labelSelector string
 2:fieldSelector string
 3:watch boolean
 4:resourceVersion string
 5:timeoutSeconds int64 pointer
 7:limit int64
 8:continue string
 9:allowWatchBookmarks boolean
 10:resourceVersionMatch string
 11:sendInitialEvents boolean pointer
 15:shardSelector string
meta.v1.PatchOptions kinds=/v1/PatchOptions
 1:dryRun []string
 2:force boolean pointer
 3:fieldManager string
 4:fieldValidation string
meta.v1.UpdateOptions kinds=/v1/UpdateOptions
 1:dryRun []string
 2:fieldManager string
 3:fieldValidation string
meta.v1.GroupVersionKind
 1:group string zero
 2:version string zero
 3:kind string zero
meta.v1.GroupVersionResource
 1:group string zero
 2:version string zero
 3:resource string zero
meta.v1.PartialObjectMetadata kinds=meta.k8s.io/v1/PartialObjectMetadata
 1:metadata meta.v1.ObjectMeta zero
meta.v1.PartialObjectMetadataList kinds=meta.k8s.io/v1/PartialObjectMetadataList
 1:metadata meta.v1.ListMeta zero
 2:items []meta.v1.PartialObjectMetadata null
core.v1.NodeProxyOptions kinds=/v1/NodeProxyOptions
 1:path string
core.v1.PodAttachOptions kinds=/v1/PodAttachOptions
 1:stdin boolean
 2:stdout boolean
 3:stderr boolean
 4:tty boolean
 5:container string
core.v1.PodExecOptions kinds=/v1/PodExecOptions
 1:stdin boolean
 2:stdout boolean
 3:stderr boolean
 4:tty boolean
 5:container string
 6:command []string null
core.v1.PodLogOptions kinds=/v1/PodLogOptions
 1:container string
 2:follow boolean
 3:previous boolean
 4:sinceSeconds int64 pointer
 5:sinceTime meta.v1.Time
 6:timestamps boolean
 7:tailLines int64 pointer
 8:limitBytes int64 pointer
 9:insecureSkipTLSVerifyBackend boolean
 10:stream string pointer
core.v1.PodPortForwardOptions kinds=/v1/PodPortForwardOptions
 1:ports []int32
core.v1.PodProxyOptions kinds=/v1/PodProxyOptions
 1:path string
core.v1.PodStatusResult kinds=/v1/PodStatusResult
 1:metadata meta.v1.ObjectMeta zero
 2:status core.v1.PodStatus zero
core.v1.RangeAllocation kinds=/v1/RangeAllocation
 1:metadata meta.v1.ObjectMeta zero
 2:range string zero
 3:data byte
core.v1.SerializedReference kinds=/v1/SerializedReference
 1:reference core.v1.ObjectReference zero
core.v1.ServiceProxyOptions kinds=/v1/ServiceProxyOptions
 1:path string
admission.v1.AdmissionReview kinds=admission.k8s.io/v1/AdmissionReview
 1:request admission.v1.AdmissionRequest
 2:response admission.v1.AdmissionResponse
admission.v1.AdmissionRequest
 1:uid string zero
 2:kind meta.v1.GroupVersionKind zero
 3:resource meta.v1.GroupVersionResource zero
 4:subResource string
 5:name string
 6:namespace string
 7:operation string zero
 8:userInfo authentication.v1.UserInfo zero
 9:object runtime.RawExtension
 10:oldObject runtime.RawExtension
 11:dryRun boolean pointer
 12:options runtime.RawExtension
 13:requestKind meta.v1.GroupVersionKind
 14:requestResource meta.v1.GroupVersionResource
 15:requestSubResource string
admission.v1.AdmissionResponse
 1:uid string zero
 2:allowed boolean zero
 3:status meta.v1.Status
 4:patch byte
 5:patchType string pointer
 6:auditAnnotations {}string
 7:warnings []string
apidiscovery.v2.APIGroupDiscovery kinds=apidiscovery.k8s.io/v2/APIGroupDiscovery,apidiscovery.k8s.io/v2beta1/APIGroupDiscovery
 1:metadata meta.v1.ObjectMeta zero
 2:versions []apidiscovery.v2.APIVersionDiscovery
apidiscovery.v2.APIGroupDiscoveryList kinds=apidiscovery.k8s.io/v2/APIGroupDiscoveryList,apidiscovery.k8s.io/v2beta1/APIGroupDiscoveryList
 1:metadata meta.v1.ListMeta zero
 2:items []apidiscovery.v2.APIGroupDiscovery null
apidiscovery.v2.APIVersionDiscovery
 1:version string zero
 2:resources []apidiscovery.v2.APIResourceDiscovery
 3:freshness string
apidiscovery.v2.APIResourceDiscovery
 1:resource string zero
 2:responseKind meta.v1.GroupVersionKind
 3:scope string zero
 4:singularResource string zero
 5:verbs []string null
 6:shortNames []string
 7:categories []string
 8:subresources []apidiscovery.v2.APISubresourceDiscovery
apidiscovery.v2.APISubresourceDiscovery
 1:subresource string zero
 2:responseKind meta.v1.GroupVersionKind
 3:acceptedTypes []meta.v1.GroupVersionKind
 4:verbs []string null
";

/// The definitions.
pub(crate) fn table() -> Vec<Written> {
    written::read(TABLE)
}

/// As lines of the overlay.
pub(crate) fn overlay() -> String {
    table().iter().map(|definition| definition.overlay("unpublished")).collect()
}
