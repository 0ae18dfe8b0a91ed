//! The status of a peering besides its conditions: engines, pods, the far side.
//!
//! Invariant: what changes with every heartbeat is written once a minute at most, or every look would write to the API
//! server. Test to read first: `tests/status.rs`.

use std::time::Duration;

use crd_types::{
    Injected, InjectionStatus, InstanceStatus, RemoteStatus, TunnelPeeringSpec, TunnelPeeringStatus, WorkloadStatus,
    names,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use super::conditions::in_seconds;
use super::health::{Engine, Health};
use super::keys::{self, Keys};
use super::verdict::clip;
use super::world::{Role, World};

/// Most engines that are listed.
const INSTANCES_MAX: usize = 32;
/// How often the time that the far side was last heard is written.
const LAST_SEEN_PERIOD: Duration = Duration::from_secs(60);
/// Bounds of the schema.
const VERSION_BYTES_MAX: usize = 100;
const INCARNATION_BYTES_MAX: usize = 64;
const IMAGE_BYTES_MAX: usize = 500;

pub(super) fn status(
    world: &World<'_>,
    health: &Health<'_>,
    keys: &Keys,
    injection: Option<InjectionStatus>,
    conditions: Vec<Condition>,
) -> TunnelPeeringStatus {
    let spec = &world.peering.spec;
    let instances: Vec<InstanceStatus> = health.engines.iter().map(|engine| instance(world, engine)).collect();
    let ready = instances.iter().filter(|instance| instance.ready).count();
    TunnelPeeringStatus {
        observed_generation: world.peering.metadata.generation,
        identity: keys::identity_status(world),
        remote: remote(world, health, keys, &conditions),
        instances_ready: Some(format!("{ready}/{}", instances.len())),
        instances: instances.into_iter().take(INSTANCES_MAX).collect(),
        topology: topology(spec),
        injected: injected(world, injection.as_ref()),
        workload: spec.gateway.as_ref().map(|_| WorkloadStatus {
            image: clip(&world.settings.sidecar_image, IMAGE_BYTES_MAX),
            stateful_set: Some(names::gateway(&world.peering.name_any())),
        }),
        injection,
        conditions,
    }
}

fn topology(spec: &TunnelPeeringSpec) -> Option<String> {
    let words = [spec.gateway.as_ref().map(|_| "Gateway"), spec.injection.as_ref().map(|_| "Sidecar")];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join("+"))
}

fn instance(world: &World<'_>, engine: &Engine<'_>) -> InstanceStatus {
    let listed = world.peering.status.iter().flat_map(|status| &status.instances);
    if engine.unasked()
        && let Some(standing) = listed.into_iter().find(|standing| standing.name == engine.instance.pod)
    {
        return standing.clone();
    }
    let answered = engine.instance.report.as_ref();
    let peers = answered.iter().flat_map(|(_, report)| &report.peers);
    let incarnation = peers
        .filter(|peer| !peer.my_incarnation.is_empty())
        .min_by(|one, other| one.endpoint.cmp(&other.endpoint))
        .map(|peer| clip(&peer.my_incarnation, INCARNATION_BYTES_MAX));
    let silent = engine.report.is_none() || engine.instance.unreachable.is_some();
    InstanceStatus {
        name: engine.instance.pod.clone(),
        ready: engine.ready(),
        incarnation,
        // The time of its last answer stands still while it does not answer.
        last_seen: answered.filter(|_| silent).map(|(at, _)| in_seconds(*at)),
    }
}

fn injected(world: &World<'_>, injection: Option<&InjectionStatus>) -> Option<Injected> {
    let asking = world
        .instances
        .iter()
        .filter(|instance| instance.role == Role::Sidecar && !instance.ended && !instance.terminating);
    let mut counts = Injected::default();
    for pod in asking {
        counts.matched = counts.matched.saturating_add(1);
        if pod.container.is_some() {
            counts.injected = counts.injected.saturating_add(1);
            if pod.injected_version != injection.map(|injection| injection.revision) {
                counts.outdated = counts.outdated.saturating_add(1);
            }
        }
    }
    (world.peering.spec.injection.is_some() || counts.matched > 0).then_some(counts)
}

fn remote(world: &World<'_>, health: &Health<'_>, keys: &Keys, conditions: &[Condition]) -> Option<RemoteStatus> {
    let standing = world.peering.status.as_ref().and_then(|status| status.remote.clone()).unwrap_or_default();
    let heard = health.last_heard();
    let version = heard.map(|(_, peer)| clip(&peer.software, VERSION_BYTES_MAX)).filter(|version| !version.is_empty());
    let last_seen_time = last_seen(world, standing.last_seen_time, heard.map(|(moment, _)| moment), conditions);
    // With one key there is no doubt; which of several was used the engines do not say.
    let key_id_in_use = match keys.usable.as_slice() {
        [(id, _)] if last_seen_time.is_some() => Some(id.clone()),
        _ => None,
    };
    let remote = RemoteStatus { key_id_in_use, version: version.or(standing.version), last_seen_time };
    (remote != RemoteStatus::default()).then_some(remote)
}

fn last_seen(
    world: &World<'_>,
    standing: Option<Time>,
    heard: Option<Timestamp>,
    conditions: &[Condition],
) -> Option<Time> {
    // A clock that ran ahead is not kept: tools print such a time as invalid.
    let standing = standing.filter(|standing| standing.0 <= world.now);
    let Some(heard) = heard.map(in_seconds) else { return standing };
    let Some(standing) = standing else { return Some(heard) };
    let since = Duration::try_from(heard.0.duration_since(standing.0)).unwrap_or_default();
    let renewed = since >= LAST_SEEN_PERIOD || (!since.is_zero() && peer_alive_changes(world, conditions));
    Some(if renewed { heard } else { standing })
}

fn peer_alive_changes(world: &World<'_>, conditions: &[Condition]) -> bool {
    let kind = crd_types::ConditionType::PeerAlive;
    let before = super::conditions::standing(world.peering, kind).map(|condition| condition.status.as_str());
    let after =
        conditions.iter().find(|condition| condition.type_ == kind.as_str()).map(|condition| condition.status.as_str());
    before != after
}
