//! What the operator found: written only when it changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a peering is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelPeeringStatus {
    /// The generation that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// This side's public key: copy it into spec.remote.publicKeys of the far side's object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// What is known of the far side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteStatus>,
    /// What is put into labelled pods. Rendered by the operator, copied by the policy and the webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<InjectionStatus>,
    /// The engines of this peering, the first 32 by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub instances: Vec<InstanceStatus>,
    /// Engines that answer, of those that run: `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub instances_ready: Option<String>,
    /// Where the engines run: Sidecar, Gateway or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub topology: Option<String>,
    /// Pods that ask for an engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injected: Option<Injected>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadStatus>,
    /// Ready: this side is done. Connected: the far side is heard and hears us. The others say why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// This side's public key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// Id of the signing key, in hex.
    #[schemars(length(max = 40))]
    pub key_id: String,
    /// The token to copy to the far side.
    #[schemars(length(max = 16384))]
    pub public_key: String,
    /// What people read to each other to compare it.
    #[schemars(length(max = 200))]
    pub fingerprint: String,
    /// The Secret that holds the secret half.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// When it ends, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub not_after: Option<Time>,
}

/// What is known of the far side.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteStatus {
    /// Which of spec.remote.publicKeys is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub key_id_in_use: Option<String>,
    /// What it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub version: Option<String>,
    /// When it was last heard, by the operator's clock, rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_seen_time: Option<Time>,
}

/// What is put into labelled pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InjectionStatus {
    /// Raised whenever the rest changes; annotation of the pods that got it.
    pub revision: i64,
    /// The container.
    #[schemars(schema_with = "crate::schema::opaque")]
    pub container: Map<String, Value>,
    /// The volumes.
    #[schemars(schema_with = "crate::schema::opaque_list")]
    pub volumes: Vec<Map<String, Value>>,
}

/// One engine.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Name of its pod.
    #[schemars(length(max = 253))]
    pub name: String,
    /// It answers and takes calls.
    pub ready: bool,
    /// The life of its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub incarnation: Option<String>,
    /// Since when it does not answer, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_seen: Option<Time>,
}

/// Pods that ask for an engine.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Pods with the label.
    pub matched: i32,
    /// Of them: with an engine.
    pub injected: i32,
    /// Of them: with an engine of an older revision; restart their workload to renew it.
    pub outdated: i32,
}

/// The gateway.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Image of the engines.
    #[schemars(length(max = 500))]
    pub image: String,
    /// Name of the StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub stateful_set: Option<String>,
}
