//! A world to plan for, written as a difference to a good one: the README's two peerings, claims bound, keys swapped.
//!
//! `Scene::sidecar()` is the calling side, `Scene::gateway()` the called one. Each step returns the scene, so a test reads
//! as a sentence; `plan()` plans, `settle()` also writes the status back as the API server would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crd_types::{ConditionType, IdentityStatus, TunnelPeering, TunnelPeeringStatus};
use identity::Identity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::observe::{EngineStatus, Peer};
use crate::plan::{Container, Instance, Plan, Role, Settings, World, plan};

const SIDECAR: &str = "
apiVersion: hoft.dev/v1alpha1
kind: TunnelPeering
metadata: {name: south, namespace: shop, uid: uid-south, generation: 3, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  local: {name: north}
  remote: {name: south}
  volume:
    group: 2000
    outbox: {claimName: mirror, subPath: out}
    inbox: {claimName: mirror, subPath: in}
    mirror: {expectedLatency: 2s}
  heartbeat: {interval: 2s, lossTimeout: 20s}
  injection: {}
  outbound:
    allow:
      - name: erp
        destinations: [{host: erp.south.example, port: 80, schemes: [http], methods: [GET, POST], paths: [/]}]
";

const GATEWAY: &str = "
apiVersion: hoft.dev/v1alpha1
kind: TunnelPeering
metadata: {name: north, namespace: back, uid: uid-north, generation: 3, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  local: {name: south}
  remote: {name: north}
  volume:
    group: 2000
    outbox: {claimName: mirror, subPath: out}
    inbox: {claimName: mirror, subPath: in}
    mirror: {expectedLatency: 2s}
  heartbeat: {interval: 2s, lossTimeout: 20s}
  gateway: {}
  inbound:
    allow:
      - name: erp
        from: [{peer: north}]
        destinations: [{host: erp.south.example, port: 80, schemes: [http], methods: [GET, POST], paths: [/]}]
        target: {serviceRef: {name: erp, port: 80}}
";

/// A world under construction.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) peering: TunnelPeering,
    pub(super) siblings: Vec<Arc<TunnelPeering>>,
    pub(super) claims: BTreeMap<String, PersistentVolumeClaim>,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) stateful_set: Option<StatefulSet>,
    pub(super) instances: Vec<Instance>,
    pub(super) apply_failure: Option<String>,
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
}

/// An object written as YAML.
pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_yaml::from_str(text).unwrap()
}

/// The keys of a side, the same each time.
pub(super) fn identity_of(side: &str) -> Identity {
    let seed = side.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    Identity::from_seeds(side, &[seed; 32], &[seed ^ 0x55; 32], &[seed ^ 0xaa; 32]).unwrap()
}

/// The public key token of a side.
pub(super) fn token_of(side: &str) -> String {
    known(side).1
}

/// Fingerprint and token of a side, worked out once: hundreds of worlds need them.
fn known(side: &str) -> (String, String) {
    static KNOWN: Mutex<BTreeMap<String, (String, String)>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let made = || {
        let identity = identity_of(side);
        (identity.fingerprint(), identity.bundle(1, 0, 0).to_token().unwrap())
    };
    known.entry(side.to_owned()).or_insert_with(made).clone()
}

impl Scene {
    /// The calling side: engines beside apps.
    pub(super) fn sidecar() -> Self {
        Self::of(yaml(SIDECAR))
    }

    /// The called side: an engine of its own.
    pub(super) fn gateway() -> Self {
        Self::of(yaml(GATEWAY))
    }

    fn of(mut peering: TunnelPeering) -> Self {
        let local = peering.spec.local.name.clone();
        let key = serde_json::json!({"id": "k1", "key": token_of(&peering.spec.remote.name)});
        peering.spec.remote.public_keys = vec![serde_json::from_value(key).unwrap()];
        let identity = IdentityStatus {
            key_id: "0011223344556677".to_owned(),
            public_key: token_of(&local),
            fingerprint: known(&local).0,
            secret_name: format!("{}-identity-00112233", peering.metadata.name.clone().unwrap()),
            not_after: None,
        };
        peering.status = Some(TunnelPeeringStatus { identity: Some(identity), ..TunnelPeeringStatus::default() });
        let claim = yaml("{metadata: {name: mirror}, spec: {accessModes: [ReadWriteMany]}, status: {phase: Bound}}");
        let erp = yaml(
            "{metadata: {name: erp}, spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7, 'fd00::7'], ports: [{port: 80}]}}",
        );
        Self {
            peering,
            siblings: Vec::new(),
            claims: BTreeMap::from([("mirror".to_owned(), claim)]),
            services: BTreeMap::from([("erp".to_owned(), erp)]),
            stateful_set: None,
            instances: Vec::new(),
            apply_failure: None,
            settings: Settings {
                sidecar_image: "registry.example/hoft-sidecar:0.1.0".to_owned(),
                image_pull_policy: "IfNotPresent".to_owned(),
                image_pull_secrets: Vec::new(),
                log_level: "info".to_owned(),
                policy_installed: false,
                webhook_installed: true,
            },
            now: "2026-02-03T04:05:06.789Z".parse().unwrap(),
        }
    }

    /// Changes the spec by a merge patch; `null` removes.
    pub(super) fn spec(mut self, patch: &str) -> Self {
        let mut value = serde_json::to_value(&self.peering).unwrap();
        json_patch::merge(&mut value["spec"], &yaml::<Value>(patch));
        self.peering = serde_json::from_value(value).unwrap();
        self
    }

    /// A peering of the same namespace with another name, and this one's spec with a change.
    pub(super) fn sibling(mut self, name: &str, made: &str, patch: &str) -> Self {
        let mut other = self.clone().spec(patch).peering;
        other.metadata.name = Some(name.to_owned());
        other.metadata.creation_timestamp = yaml(made);
        self.siblings.push(Arc::new(other));
        self
    }

    pub(super) fn claim(mut self, name: &str, text: &str) -> Self {
        self.claims.insert(name.to_owned(), yaml(text));
        self
    }

    /// Before keys were generated.
    pub(super) fn without_identity(mut self) -> Self {
        self.peering.status = None;
        self
    }

    /// A pod whose engine runs and has not answered yet.
    pub(super) fn pod(mut self, name: &str) -> Self {
        let role = if self.peering.spec.gateway.is_some() { Role::Gateway } else { Role::Sidecar };
        let status = self.peering.status.as_ref();
        self.instances.push(Instance {
            pod: name.to_owned(),
            uid: format!("uid-{name}"),
            role,
            address: Some("10.1.2.3".to_owned()),
            terminating: false,
            ended: false,
            container: Some(Container { started: true, ready: true, ..Container::default() }),
            injected_version: status.and_then(|status| status.injection.as_ref()).map(|injection| injection.revision),
            report: None,
            unreachable: None,
            conditions: Vec::new(),
        });
        self
    }

    /// The last pod's engine answered just now.
    pub(super) fn says(mut self, change: impl FnOnce(&mut EngineStatus)) -> Self {
        let mut report = EngineStatus { started: true, version: "0.1.0".to_owned(), ..EngineStatus::default() };
        change(&mut report);
        let now = self.now;
        self.last().report = Some((now, report));
        self
    }

    /// The last pod's engine answered, and sees one far engine so.
    pub(super) fn sees(self, alive: &str, diagnosis: &str) -> Self {
        let far = peer(alive, diagnosis);
        self.says(|report| report.peers = vec![far])
    }

    pub(super) fn last(&mut self) -> &mut Instance {
        self.instances.last_mut().unwrap()
    }

    /// A change to the last pod.
    pub(super) fn but(mut self, change: impl FnOnce(&mut Instance)) -> Self {
        change(self.last());
        self
    }

    pub(super) fn container(self, change: impl FnOnce(&mut Container)) -> Self {
        self.but(|pod| change(pod.container.as_mut().unwrap()))
    }

    pub(super) fn later(mut self, seconds: i64) -> Self {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self
    }

    pub(super) fn world(&self) -> World<'_> {
        World {
            peering: &self.peering,
            siblings: &self.siblings,
            claims: &self.claims,
            services: &self.services,
            stateful_set: self.stateful_set.as_ref(),
            instances: &self.instances,
            apply_failure: self.apply_failure.as_deref(),
            settings: &self.settings,
            now: self.now,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.world())
    }

    /// What was planned is made: the status is written, objects are there, pods carry their conditions.
    pub(super) fn settle(mut self) -> Self {
        let plan = self.plan();
        let text = serde_json::to_string(&plan.status).unwrap();
        self.peering.status = Some(serde_json::from_str(&text).unwrap());
        for pod in &plan.pods {
            if let Some(instance) = self.instances.iter_mut().find(|instance| instance.pod == pod.pod) {
                let text = serde_json::to_string(&pod.conditions).unwrap();
                instance.conditions = serde_json::from_str(&text).unwrap();
            }
        }
        if let Some(made) = plan.stateful_set {
            self.stateful_set = Some(as_kept(made));
        }
        self
    }
}

/// A StatefulSet as the API server keeps it, with all engines ready.
pub(super) fn as_kept(made: StatefulSet) -> StatefulSet {
    let mut kept: StatefulSet = serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap();
    kept.metadata.generation = Some(1);
    let spec = kept.spec.as_mut().unwrap();
    spec.revision_history_limit = Some(10);
    spec.template.spec.as_mut().unwrap().dns_policy = Some("ClusterFirst".to_owned());
    let replicas = spec.replicas.unwrap();
    kept.status = Some(StatefulSetStatus {
        observed_generation: Some(1),
        replicas,
        ready_replicas: Some(replicas),
        updated_replicas: Some(replicas),
        ..StatefulSetStatus::default()
    });
    kept
}

/// A far engine.
pub(super) fn peer(alive: &str, diagnosis: &str) -> Peer {
    Peer {
        endpoint: "7f9d2b1e-0000-4000-8000-000000000001".to_owned(),
        alive: alive.to_owned(),
        last_heard_ms_ago: (alive != "never_seen").then_some(1_500),
        diagnosis_name: diagnosis.to_owned(),
        diagnosis: format!("The engine says: {diagnosis}."),
        software: "hoft/0.1.0".to_owned(),
        my_incarnation: "0199c5d2-0001".to_owned(),
        ..Peer::default()
    }
}

impl Plan {
    /// `Status/Reason` of a condition.
    pub(super) fn says(&self, kind: ConditionType) -> String {
        let condition = self.status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap();
        format!("{}/{}", condition.status, condition.reason)
    }

    /// The message of a condition.
    pub(super) fn message(&self, kind: ConditionType) -> &str {
        &self.status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap().message
    }
}
