//! The mirrored folders and the state volume.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The folders that the mirroring service carries, and where the engines keep their state.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(oldSelf.state) ? has(self.state) : !has(self.state) || !has(self.state.claimName) && !has(self.state.storageClassName) && self.state.accessMode == 'ReadWriteOnce'").message("spec.volume.state cannot be removed, nor can a claim, storage class or access mode be named later: the engines' logs are where they are. Make a new TunnelPeering"),
    validation = Rule::new("self.outbox.claimName != self.inbox.claimName || (has(self.outbox.subPath) && has(self.inbox.subPath) && !(self.outbox.subPath + '/').startsWith(self.inbox.subPath + '/') && !(self.inbox.subPath + '/').startsWith(self.outbox.subPath + '/'))").message("spec.volume.outbox and spec.volume.inbox must be apart: on one claim give each its own subPath, neither inside the other"),
    validation = Rule::new("!has(self.state) || !has(self.state.claimName) || (self.state.claimName != self.outbox.claimName || has(self.outbox.subPath)) && (self.state.claimName != self.inbox.claimName || has(self.inbox.subPath))").message("spec.volume.state.claimName must not be a claim that is mirrored as a whole: the engines' logs would be mirrored too. Use another claim, or give outbox and inbox a subPath"),
    validation = Rule::new("!self.outbox.readOnly").message("spec.volume.outbox.readOnly must be false: packets are written there"),
    validation = Rule::new("!self.inbox.readOnly || self.mirror.propagatesDeletes").message("spec.volume.inbox.readOnly needs spec.volume.mirror.propagatesDeletes: true: else nobody could remove the files that arrived"),
)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Group id that owns the folders (mode 2770). fsGroup does nothing on hostPath and most ReadWriteMany volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub group: Option<i64>,
    /// What the mirror takes to the far side.
    #[x_kube(validation = Rule::new("self.claimName == oldSelf.claimName && has(self.subPath) == has(oldSelf.subPath) && (!has(self.subPath) || self.subPath == oldSelf.subPath)").message("spec.volume.outbox cannot be moved under a live log: make a new TunnelPeering"))]
    pub outbox: Folder,
    /// What the mirror brings from the far side.
    #[x_kube(validation = Rule::new("self.claimName == oldSelf.claimName && has(self.subPath) == has(oldSelf.subPath) && (!has(self.subPath) || self.subPath == oldSelf.subPath)").message("spec.volume.inbox cannot be moved under a live log: make a new TunnelPeering"))]
    pub inbox: Folder,
    /// Where the engines keep their logs. Without it: a volume claim of 2Gi for each gateway engine, an emptyDir in injected pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("!has(oldSelf.size) || has(self.size) && quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").message("spec.volume.state.size may only grow: the engines' logs are on it"),
        validation = Rule::new("self.accessMode == oldSelf.accessMode && has(self.claimName) == has(oldSelf.claimName) && (!has(self.claimName) || self.claimName == oldSelf.claimName) && has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)").message("spec.volume.state cannot be moved under a live log: claimName, storageClassName and accessMode stay. Make a new TunnelPeering"),
        validation = Rule::new("!has(self.claimName) || !has(self.size) && !has(self.storageClassName)").message("spec.volume.state has either claimName, a claim that is there, or size and storageClassName of claims to make"),
    )]
    pub state: Option<StateVolume>,
    /// What the mirroring service promises.
    #[serde(default)]
    pub mirror: MirrorSpec,
}

/// A folder on a claim.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Name of the PersistentVolumeClaim, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::OBJECT_NAME))]
    pub claim_name: String,
    /// Folder on it. Without it: its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = crate::bounds::SUB_PATH))]
    pub sub_path: Option<String>,
    /// Mount it read-only. For an inbox whose files disappear when the far side deletes its own.
    #[serde(default)]
    pub read_only: bool,
}

/// Where the engines keep their logs.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateVolume {
    /// Size of each gateway engine's claim, and limit of an injected engine's emptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub size: Option<String>,
    /// Storage class of those claims. Empty: none, for volumes made by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = crate::bounds::OBJECT_NAME_OR_EMPTY))]
    pub storage_class_name: Option<String>,
    /// Access mode of those claims: ReadWriteOnce (pods of one node), ReadWriteOncePod (one pod) or ReadWriteMany (all).
    #[serde(default)]
    pub access_mode: AccessMode,
    /// One claim that all engines share, each in a folder of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::OBJECT_NAME))]
    pub claim_name: Option<String>,
}

/// Access mode of a claim.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// By pods of one node.
    #[default]
    ReadWriteOnce,
    /// By one pod.
    ReadWriteOncePod,
    /// By pods of all nodes.
    ReadWriteMany,
}

/// What the mirroring service promises.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorSpec {
    /// Largest file that it carries.
    #[serde(default = "file_size")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub max_file_size: String,
    /// Whether deleting a file here deletes the copy there.
    #[serde(default)]
    pub propagates_deletes: bool,
    /// How long a file usually takes, one way. A first guess: the engines measure.
    #[serde(default = "latency")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub expected_latency: String,
}

impl Default for MirrorSpec {
    fn default() -> Self {
        Self { max_file_size: file_size(), propagates_deletes: false, expected_latency: latency() }
    }
}

fn file_size() -> String {
    "500Mi".to_owned()
}

fn latency() -> String {
    "15s".to_owned()
}
