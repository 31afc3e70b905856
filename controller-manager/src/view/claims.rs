//! Claims of storage, as controllers see them.

use super::{Meta, View};
use client::Resource;
use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: Meta,
}

impl View for PersistentVolumeClaim {
    const RESOURCE: Resource = client::PERSISTENT_VOLUME_CLAIMS;
}
