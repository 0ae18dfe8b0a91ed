//! The input and the output of planning.

use std::collections::BTreeMap;
use std::sync::Arc;

use crd_types::{TunnelPeering, TunnelPeeringStatus};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, LocalObjectReference, PersistentVolumeClaim, PodCondition, Service};
use kube::api::ObjectMeta;

use crate::observe::EngineStatus;

/// What the operator was started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Image of the engines.
    pub sidecar_image: String,
    /// `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: String,
    /// Secrets for the registry, for the gateway's pods. Injected pods use their own.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Level and format of the engines' logs.
    pub log_level: String,
    /// A MutatingAdmissionPolicy of ours is installed.
    pub policy_installed: bool,
    /// The webhook is installed and served.
    pub webhook_installed: bool,
}

/// Everything that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The peering, with the status that was last written.
    pub peering: &'a TunnelPeering,
    /// The other peerings of its namespace.
    pub siblings: &'a [Arc<TunnelPeering>],
    /// The claims of its namespace that it names, by name; a missing one is absent.
    pub claims: &'a BTreeMap<String, PersistentVolumeClaim>,
    /// The Services of its namespace that it names, by name; a missing one is absent.
    pub services: &'a BTreeMap<String, Service>,
    /// The gateway as it is.
    pub stateful_set: Option<&'a StatefulSet>,
    /// Its pods: the gateway's, and those with its label.
    pub instances: &'a [Instance],
    /// What the API server said when the children were last applied for this generation; `None` while all went well.
    pub apply_failure: Option<&'a str>,
    /// What the operator was started with.
    pub settings: &'a Settings,
    /// The time.
    pub now: Timestamp,
}

/// Where an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In a pod of the gateway.
    Gateway,
    /// Beside an app.
    Sidecar,
}

/// One pod of a peering, and what its engine last said.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Name of the pod.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Where the engine runs.
    pub role: Role,
    /// Its address; `None` before it has one.
    pub address: Option<String>,
    /// It is being deleted.
    pub terminating: bool,
    /// Its phase is Succeeded or Failed.
    pub ended: bool,
    /// The engine's container; `None` in a labelled pod that got none.
    pub container: Option<Container>,
    /// Its annotation `hoft.dev/injected-version`.
    pub injected_version: Option<i64>,
    /// The last answer of its engine, and when it came.
    pub report: Option<(Timestamp, EngineStatus)>,
    /// Why the last question was not answered; `None` if it was, or none was asked yet.
    pub unreachable: Option<String>,
    /// The pod conditions of ours that it carries.
    pub conditions: Vec<PodCondition>,
}

/// The container of an engine, as its pod's status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The startup probe succeeded.
    pub started: bool,
    /// It is ready.
    pub ready: bool,
    /// Times that it was restarted.
    pub restarts: i32,
    /// Why it waits or ended, in a word: `CrashLoopBackOff`, `ErrImageNeverPull`, …
    pub reason: Option<String>,
    /// What it said when it ended last.
    pub message: Option<String>,
}

/// What is to be made true.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Keys must be generated before the rest can be done: none is named by spec or status.
    pub generate_identity: bool,
    /// Configuration of the engines; its name holds the hash of its content.
    pub config_map: Option<ConfigMap>,
    /// The gateway.
    pub stateful_set: Option<StatefulSet>,
    /// The gateway's Service.
    pub service: Option<Service>,
    /// The gateway's StatefulSet and Service are there and may not be: delete them.
    pub remove_gateway: bool,
    /// The whole status.
    pub status: TunnelPeeringStatus,
    /// Conditions of pods.
    pub pods: Vec<PodStatus>,
    /// What changed, for people.
    pub events: Vec<Event>,
}

/// Conditions of one pod: both of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct PodStatus {
    /// Name of the pod.
    pub pod: String,
    /// Its UID, so that a successor of the same name is not touched.
    pub uid: String,
    /// The conditions.
    pub conditions: Vec<PodCondition>,
    /// They differ from what the pod carries.
    pub changed: bool,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Worth a look, or just news.
    pub warning: bool,
    /// A stable word: PeerLost, PeerRecovered, …
    pub reason: &'static str,
    /// What was done or seen, in a word.
    pub action: &'static str,
    /// For people; at most 1,024 bytes.
    pub note: String,
}

/// Metadata of an object made for a peering: name, namespace, labels, owner.
#[must_use]
pub fn child_metadata(peering: &TunnelPeering, name: String) -> ObjectMeta {
    use kube::{Resource, ResourceExt};
    ObjectMeta {
        name: Some(name),
        namespace: peering.namespace(),
        labels: Some(BTreeMap::from([
            ("app.kubernetes.io/managed-by".to_owned(), "hoft-operator".to_owned()),
            ("app.kubernetes.io/name".to_owned(), "hoft".to_owned()),
            (crd_types::names::LABEL_PEERING.to_owned(), peering.name_any()),
        ])),
        owner_references: peering.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Whether an object was made for the peering with this UID.
#[must_use]
pub fn is_child<K: kube::Resource>(object: &K, peering_uid: &str) -> bool {
    use kube::ResourceExt;
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == peering_uid)
}
