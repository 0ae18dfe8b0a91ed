//! `TunnelPeering` itself: sides, identity, mode, and where the engines run.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules::{Inbound, Outbound};
use crate::status::TunnelPeeringStatus;
use crate::tuning::{Heartbeat, Limits, Packet};
use crate::volume::Volume;

/// An agreement between this side and a far side: names, keys, folders, and what may be called. The far cluster has its mirror image.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hoft.dev",
    version = "v1alpha1",
    kind = "TunnelPeering",
    namespaced,
    status = "TunnelPeeringStatus",
    derive = "PartialEq",
    shortname = "tp",
    category = "hoft",
    doc = "A peering with a far side that only files reach: who it is, which folders carry the files, and what may be called.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "This side is done"),
    printcolumn(name = "Connected", type_ = "string", json_path = ".status.conditions[?(@.type==\"Connected\")].status", description = "The far side is heard and hears us"),
    printcolumn(name = "Peer", type_ = "string", json_path = ".spec.remote.name", description = "Name of the far side"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", description = "How packets are protected"),
    printcolumn(name = "Last-Seen", type_ = "date", json_path = ".status.remote.lastSeenTime", description = "When the far side was last heard"),
    printcolumn(name = "Instances", type_ = "string", json_path = ".status.instancesReady", description = "Engines that answer, of those that run"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Age of this object"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Connected\")].reason", description = "Why Connected is what it is", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Connected\")].message", description = "The same in words", priority = "1"),
    printcolumn(name = "Key-ID", type_ = "string", json_path = ".status.identity.keyId", description = "This side's signing key", priority = "1"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.classRef.name", description = "Class of the peering", priority = "1"),
    printcolumn(name = "Topology", type_ = "string", json_path = ".status.topology", description = "Where the engines run", priority = "1"),
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name may have at most 40 characters: names of pods and labels are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z][a-z0-9-]*$')").message("metadata.name must begin with a letter and hold only a-z, 0-9 and `-`: a Service is named after it"),
)]
#[x_kube(
    validation = Rule::new("self.local.name != self.remote.name").message("spec.local.name and spec.remote.name must differ: give the far side the name that it calls itself"),
    validation = Rule::new("self.mode != 'Checksum' || self.allowUnauthenticated").message("spec.mode Checksum proves nothing about who wrote a packet: use Sealed or Signed, or set spec.allowUnauthenticated: true"),
    validation = Rule::new("has(self.gateway) || has(self.injection)").message("spec.gateway or spec.injection must be there: without either no engine runs. Add `injection: {}` for sidecars, `gateway: {}` for a gateway"),
    validation = Rule::new("!has(self.injection) || self.injection.mode != 'Forward' || has(self.gateway)").message("spec.injection.mode Forward forwards to a gateway: add spec.gateway, or use mode Engine"),
    validation = Rule::new("quantity(self.packet.maxSize).compareTo(quantity(self.volume.mirror.maxFileSize)) <= 0").message("spec.packet.maxSize must not exceed spec.volume.mirror.maxFileSize: the mirror would not carry such packets"),
    validation = Rule::new("duration(self.heartbeat.lossTimeout) >= duration(self.volume.mirror.expectedLatency)").message("spec.heartbeat.lossTimeout must be at least spec.volume.mirror.expectedLatency: a far side that lives would count as lost"),
    validation = Rule::new("!has(self.inbound) || !has(self.inbound.allow) || self.inbound.allow.all(a, a.from.all(f, f.peer == self.remote.name))").message("spec.inbound.allow[].from[].peer must be spec.remote.name: calls come from that side only"),
    validation = Rule::new("!has(self.limits) || !has(self.limits.maxInFlight) || !has(self.outbound) || !has(self.outbound.allow) || self.outbound.allow.all(a, !has(a.quota) || !has(a.quota.maxInFlight) || a.quota.maxInFlight <= self.limits.maxInFlight)").message("spec.outbound.allow[].quota.maxInFlight must not exceed spec.limits.maxInFlight"),
)]
#[serde(rename_all = "camelCase")]
pub struct TunnelPeeringSpec {
    /// Class whose defaults and ceilings apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_ref: Option<ClassRef>,
    /// This side. Cannot be changed: it names the streams and their state.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.local cannot be changed: it names this side's log. Make a new TunnelPeering"))]
    pub local: LocalSide,
    /// The far side. Its name cannot be changed; its keys can.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("spec.remote.name cannot be changed: it names the far side's log. Make a new TunnelPeering"))]
    pub remote: RemoteSide,
    /// This side's secret keys. Without it the operator generates them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentitySpec>,
    /// How packets are protected: what this side sends, and, unless acceptModes says more, what it accepts. Sealed: signed and encrypted. Signed: signed and readable, so that scanners on the way can look inside. Checksum: proves nothing about who wrote a packet.
    #[serde(default)]
    pub mode: Mode,
    /// Modes accepted from the far side, for changing the mode without a gap. Default: the mode itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub accept_modes: Vec<Mode>,
    /// Must be true for Checksum: whoever can write into the folder could then forge calls.
    #[serde(default)]
    pub allow_unauthenticated: bool,
    /// The mirrored folders, and where the engines keep their state.
    pub volume: Volume,
    /// Runs engines of their own, in a StatefulSet. They execute the far side's calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Puts an engine into every pod labelled `hoft.dev/inject: <name of this peering>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<Injection>,
    /// What apps here may call on the far side. Nothing unless named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
    /// What the far side may call here. Nothing unless named; this side decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
    /// Bounds on what callers and the far side may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How packets are made.
    #[serde(default)]
    pub packet: Packet,
    /// How an idle engine shows that it is alive.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// While true, nothing of this peering is changed or made; what runs goes on.
    #[serde(default)]
    pub paused: bool,
}

/// Names a class.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRef {
    /// Name of the class.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub name: String,
}

/// This side.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSide {
    /// Name of this side, as the far side's object has it under remote.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub name: String,
}

/// The far side.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteSide {
    /// Name of the far side.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub name: String,
    /// Its public keys, copied from status.identity.publicKey of the far side's object. May be empty at first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub public_keys: Vec<RemoteKey>,
}

/// One public key of the far side.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteKey {
    /// A name for it, such as k1.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub id: String,
    /// The token (`hoft1...`).
    #[schemars(length(min = 6, max = 16384), regex(pattern = crate::bounds::TOKEN))]
    pub key: String,
    /// From then on it is not accepted (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub not_after: Option<String>,
}

/// Where this side's secret keys come from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySpec {
    /// A Secret made by hand: its key `secret` holds the file that `hoft keygen` writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// When new keys are generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// Names a Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::OBJECT_NAME))]
    pub name: String,
}

/// When new keys are generated, and how long the old ones stay accepted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Age at which new keys are generated.
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub period: String,
    /// How long the old keys stay in use beside the new ones.
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub overlap: String,
}

/// How packets are protected.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// A checksum only: proves nothing about who wrote a packet.
    Checksum,
    /// Signed and readable: scanners on the way can look inside.
    Signed,
    /// Signed and encrypted.
    #[default]
    Sealed,
}

/// Engines of their own, in a StatefulSet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Number of engines.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 32))]
    pub replicas: i32,
    /// Resources of each engine's container.
    #[serde(default, deserialize_with = "crate::schema::read_resources", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::resources")]
    #[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)").message("resources.requests must not exceed resources.limits: no pod could be made"))]
    pub resources: Option<k8s_openapi::api::core::v1::ResourceRequirements>,
    /// How many engines a drain may take away at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<PdbSpec>,
}

fn one() -> i32 {
    1
}

/// A disruption budget.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PdbSpec {
    /// Most engines that may be away by intent.
    #[schemars(range(min = 0, max = 32))]
    pub max_unavailable: i32,
}

/// An engine in every labelled pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injection {
    /// Engine: a whole engine with its own log. Forward: a thin forwarder to the gateway.
    #[serde(default)]
    pub mode: InjectionMode,
    /// Port on localhost where the apps of the pod call.
    #[serde(default = "proxy_port")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
    /// What puts the engine into the pod. Auto: the policy where the API server has it, else the webhook. AdmissionPolicy or Webhook: that one only. None: nothing does, and labelled pods are refused.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// Resources of the injected container.
    #[serde(default, deserialize_with = "crate::schema::read_resources", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::resources")]
    #[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)").message("resources.requests must not exceed resources.limits: no pod could be made"))]
    pub resources: Option<k8s_openapi::api::core::v1::ResourceRequirements>,
}

fn proxy_port() -> u16 {
    crate::names::PORT_PROXY
}

/// What is injected.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InjectionMode {
    /// A whole engine with its own log.
    #[default]
    Engine,
    /// A thin forwarder to the gateway.
    Forward,
}

/// What injects.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// The policy where the API server has it, else the webhook.
    #[default]
    Auto,
    /// The MutatingAdmissionPolicy only.
    AdmissionPolicy,
    /// The operator's webhook only.
    Webhook,
    /// Nothing: labelled pods are refused.
    None,
}
