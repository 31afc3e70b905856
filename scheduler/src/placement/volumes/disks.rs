//! What a pod mounts, as far as it says where the pod may go: claims, and disks that are named in the pod itself.

use crate::placement::PodKey;
use serde::Deserialize;
use std::borrow::Cow;

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodClaim {
    /// Of the claim; of the pod's volume if the claim is made for the pod.
    pub name: Box<str>,
    pub ephemeral: bool,
}

impl PodClaim {
    pub fn claim_name(&self, pod: &PodKey) -> Cow<'_, str> {
        if self.ephemeral { format!("{}-{}", pod.name, self.name).into() } else { Cow::Borrowed(&self.name) }
    }
}

/// A disk that not everybody can use at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    Gce { name: Box<str>, read_only: bool },
    Aws { id: Box<str> },
    Iscsi { iqn: Box<str>, read_only: bool },
    Rbd { monitors: Box<[Box<str>]>, pool: Box<str>, image: Box<str>, read_only: bool },
}

impl Disk {
    /// Whether two pods on one node cannot have both.
    pub fn conflicts(&self, other: &Disk) -> bool {
        match (self, other) {
            (Disk::Gce { name: a, read_only: ra }, Disk::Gce { name: b, read_only: rb })
            | (Disk::Iscsi { iqn: a, read_only: ra }, Disk::Iscsi { iqn: b, read_only: rb }) => a == b && !(*ra && *rb),
            (Disk::Aws { id: a }, Disk::Aws { id: b }) => a == b,
            (
                Disk::Rbd { monitors, pool, image, read_only },
                Disk::Rbd { monitors: others, pool: their_pool, image: their_image, read_only: theirs },
            ) => {
                monitors.iter().any(|m| others.contains(m))
                    && (pool, image) == (their_pool, their_image)
                    && !(*read_only && *theirs)
            }
            (Disk::Gce { .. } | Disk::Aws { .. } | Disk::Iscsi { .. } | Disk::Rbd { .. }, _) => false,
        }
    }
}

/// One entry of `spec.volumes`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct WireVolume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
    gce_persistent_disk: Option<GceDisk>,
    aws_elastic_block_store: Option<AwsDisk>,
    iscsi: Option<IscsiDisk>,
    rbd: Option<RbdImage>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSource {
    claim_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct GceDisk {
    pd_name: String,
    read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AwsDisk {
    #[serde(rename = "volumeID")]
    volume_id: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct IscsiDisk {
    iqn: String,
    read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RbdImage {
    monitors: Option<Vec<String>>,
    pool: Option<String>,
    image: String,
    read_only: Option<bool>,
}

/// Claims and disks of a pod's volumes.
pub fn of_volumes(volumes: Option<Vec<WireVolume>>) -> (Box<[PodClaim]>, Box<[Disk]>) {
    let (mut claims, mut disks) = (Vec::new(), Vec::new());
    for volume in volumes.into_iter().flatten() {
        if let Some(source) = volume.persistent_volume_claim {
            claims.push(PodClaim { name: source.claim_name.into(), ephemeral: false });
        } else if volume.ephemeral.is_some() {
            claims.push(PodClaim { name: volume.name.into(), ephemeral: true });
        } else if let Some(disk) = volume.gce_persistent_disk {
            disks.push(Disk::Gce { name: disk.pd_name.into(), read_only: disk.read_only == Some(true) });
        } else if let Some(disk) = volume.aws_elastic_block_store {
            disks.push(Disk::Aws { id: disk.volume_id.into() });
        } else if let Some(disk) = volume.iscsi {
            disks.push(Disk::Iscsi { iqn: disk.iqn.into(), read_only: disk.read_only == Some(true) });
        } else if let Some(image) = volume.rbd {
            disks.push(Disk::Rbd {
                monitors: image.monitors.into_iter().flatten().map(Into::into).collect(),
                pool: image.pool.unwrap_or_else(|| "rbd".to_owned()).into(),
                image: image.image.into(),
                read_only: image.read_only == Some(true),
            });
        }
    }
    (claims.into(), disks.into())
}
