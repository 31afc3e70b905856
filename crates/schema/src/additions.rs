//! What Arktos added to pods, under its names: virtual machines, networks, and actions on what runs.
//!
//! Fields of upstream's definitions have numbers far from upstream's own, so that none will ever mean something else; other
//! programs keep them as unknown fields. Definitions that upstream lacks count from 1.

use crate::written::{self, Written};

static TABLE: &str = "
core.v1.PodSpec
 1032:virtualMachine core.v1.VirtualMachine | The virtual machine that the pod is, instead of containers.
 1033:vpc string | The network, or project, that the pod's interfaces belong to.
 1034:nics []core.v1.Nic list=map keys=name patch=merge merge=name | The pod's network interfaces. Each has a name of its own; one without gets eth and its place in the list.
 1035:workloadInfo []core.v1.CommonInfo list=atomic | What a virtual machine has in common with containers. Filled in by the server.
core.v1.PodStatus
 1032:virtualMachineStatus core.v1.VirtualMachineStatus | The state of the virtual machine.
 1033:nicStatuses []core.v1.NicStatus list=map keys=name patch=merge merge=name | The states of the network interfaces.
core.v1.VirtualMachine | VirtualMachine is a machine that runs in place of a pod's containers.
 1:name string zero | The name of the machine, a DNS label.
 2:image string zero | Where the image of its root disk comes from.
 3:resources core.v1.ResourceRequirements zero | What the machine requests and may use.
 4:volumeMounts []core.v1.VolumeMount list=map keys=mountPath patch=merge merge=mountPath | Volumes that are mounted in the machine.
 5:imagePullPolicy string | Always, IfNotPresent or Never; IfNotPresent by default.
 6:keyPairName string | The name of a key pair whose public half may log in. This or publicKey is required.
 7:publicKey string | The public key that may log in. This or keyPairName is required.
 8:userData byte | What the machine is told at its first start, at most 65535 bytes.
 9:trustedImageCertificate []string list=atomic | Names of certificates, one of which must have signed the image.
 10:shutdownBehavior string | Whether the machine stops or terminates when it shuts itself down: stop, the default, or terminate.
 11:bootVolume string | The volume that the machine starts from; the first one by default.
 12:powerSpec string | Running, the default, Paused, Shutdown or Suspended.
 13:volumeDevices []core.v1.VolumeDevice list=map keys=devicePath patch=merge merge=devicePath | Volumes that the machine has as disks.
 14:cloudInitUserDataScript string | A script that the machine runs at its first start.
 15:resourcesAllocated {}resource.Quantity | What the node has granted. Set by the node.
 16:resizePolicy []core.v1.ContainerResizePolicy list=atomic | What a change of resources does to the machine.
core.v1.Nic | Nic is a network interface of a pod.
 1:name string | The name of the interface, unique in the pod.
 2:subnetName string | The subnet that the interface is in.
 3:portId string | The port that the interface uses. Cannot be changed once it is set.
 4:ipAddress string | The address that the interface shall have.
 5:tag string | A mark that the machine sees.
 6:ipv6Enabled boolean pointer | Whether the interface has an IPv6 address.
core.v1.CommonInfo | CommonInfo is what virtual machines and containers have in common.
 1:name string zero | The name.
 2:image string zero | The image.
 3:resources core.v1.ResourceRequirements zero | What is requested and may be used.
 4:resourcesAllocated {}resource.Quantity | What the node has granted.
 5:resizePolicy []core.v1.ContainerResizePolicy list=atomic | What a change of resources does.
 6:volumeMounts []core.v1.VolumeMount list=atomic | Volumes that are mounted.
 7:imagePullPolicy string | When the image is pulled.
core.v1.VirtualMachineStatus | VirtualMachineStatus is what a node says of a virtual machine.
 1:name string zero | The name of the machine.
 2:virtualMachineId string zero | The runtime's name for it.
 3:imageId string zero | The image that it runs, by its digest.
 4:image string zero | The image that it runs.
 5:state string | active, paused, suspended, stopped, rescued, resized, softdeleted, deleted, error, shelved or shelvedoffloaded.
 6:lastTerminationState string | The state in which the machine was before it ended the last time.
 7:powerState string | nostate, running, paused, shutdown, crashed or suspended.
 8:ready boolean zero | Whether the machine passes its checks.
 9:restartCount int32 zero | How often it was started again.
 10:resources core.v1.ResourceRequirements | What it has.
core.v1.NicStatus | NicStatus is what a node says of a network interface.
 1:name string zero | The name of the interface.
 2:portID string | The port that it uses.
 3:state string | Unknown, InProgress, Ready or Failed.
 4:reason string | Why it is in that state.
core.v1.Action kinds=/v1/Action | Action is something to be done once to what runs of a pod: reboot, snapshot or restore.
 1:metadata meta.v1.ObjectMeta zero | The name and the history of the object.
 2:spec core.v1.ActionSpec zero | What is to be done.
 3:status core.v1.ActionStatus zero | What came of it.
core.v1.ActionSpec | ActionSpec is what is to be done, and to which pod.
 1:nodeName string | The node that runs the pod.
 2:podName string | The pod.
 3:podID string | The uid of the pod, so that another one of its name is left alone.
 4:rebootAction core.v1.RebootAction | Starts the machine again.
 5:snapshotAction core.v1.SnapshotAction | Keeps the state of the machine.
 6:restoreAction core.v1.RestoreAction | Returns the machine to a state that was kept.
core.v1.RebootAction | RebootAction starts a machine again.
 1:delayInSeconds int32 zero | How long to wait before.
core.v1.SnapshotAction | SnapshotAction keeps the state of a machine.
 1:snapshotName string zero | The name to keep it under.
core.v1.RestoreAction | RestoreAction returns a machine to a state that was kept.
 1:snapshotID string zero | The state, as the snapshot's status names it.
core.v1.ActionStatus | ActionStatus is what came of an action.
 1:complete boolean zero | Whether it is over, well or not.
 2:error string | Why it failed.
 3:podName string | The pod.
 4:podID string | The uid of the pod.
 5:rebootStatus core.v1.RebootStatus | What came of a reboot.
 6:snapshotStatus core.v1.SnapshotStatus | What came of a snapshot.
 7:restoreStatus core.v1.RestoreStatus | What came of a restore.
core.v1.RebootStatus | RebootStatus is what came of a reboot.
 1:rebootSuccessful boolean zero | Whether the machine was started again.
core.v1.SnapshotStatus | SnapshotStatus is what came of a snapshot.
 1:snapshotID string zero | The name by which the state can be restored.
core.v1.RestoreStatus | RestoreStatus is what came of a restore.
 1:restoreSuccessful boolean zero | Whether the machine is in that state.
core.v1.ActionList kinds=/v1/ActionList | ActionList is a list of actions.
 1:metadata meta.v1.ListMeta zero | Where the list stands in the history of its objects, and how it continues.
 2:items []core.v1.Action null | The actions of the list.
core.v1.CustomAction kinds=/v1/CustomAction | CustomAction asks for an action on a pod.
 1:metadata meta.v1.ObjectMeta zero | Not used.
 2:operation string zero | reboot, snapshot or restore.
 3:rebootParams core.v1.RebootAction | How to reboot.
 4:snapshotParams core.v1.SnapshotAction | What to keep the state under.
 5:restoreParams core.v1.RestoreAction | What to return to.
";

/// The definitions, and more fields for some of upstream's.
pub(crate) fn table() -> Vec<Written> {
    written::read(TABLE)
}

/// As lines of the overlay.
pub(crate) fn overlay() -> String {
    table().iter().map(|definition| definition.overlay("")).collect()
}
