//! What is put into labelled pods: rendered once into the status, copied from there by the policy and the webhook.
//!
//! Invariants: nothing is rendered before the spec is accepted and keys are there; the revision rises with every change of
//! content and never returns to a number that a running pod carries. Test to read first: `tests/injection.rs`, and
//! `golden/injection.yaml`.

use crd_types::{InjectionStatus, Mechanism};
use serde::Serialize;
use serde_json::{Map, Value};

use super::container::Engine;
use super::world::{Role, Settings, World};

/// No count of ours ever comes so far: an annotation with more was written by somebody else.
const REVISION_FOREIGN: i64 = 1 << 40;

/// The engine as it is put into pods, under the revision that stands or the next one.
pub(super) fn rendered(world: &World<'_>, engine: &Engine<'_>) -> Option<InjectionStatus> {
    let container = object(&engine.container(Role::Sidecar))?;
    let volumes = engine.volumes(Role::Sidecar).iter().map(object).collect::<Option<Vec<_>>>()?;
    let standing = standing(world);
    if let Some(standing) = standing
        && standing.container == container
        && standing.volumes == volumes
    {
        return Some(standing.clone());
    }
    let carried = world.instances.iter().filter_map(|instance| instance.injected_version);
    let carried = carried.filter(|revision| *revision < REVISION_FOREIGN);
    let newest = carried.chain(standing.map(|standing| standing.revision)).max().unwrap_or(0);
    Some(InjectionStatus { revision: newest.max(0).saturating_add(1), container, volumes })
}

/// What was rendered last.
pub(super) fn standing<'a>(world: &World<'a>) -> Option<&'a InjectionStatus> {
    world.peering.status.as_ref()?.injection.as_ref()
}

fn object(of: &impl Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(of) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// Why nothing would put the engine into a pod, with the remedy.
pub(super) fn mechanism_problem(mechanism: Mechanism, settings: &Settings) -> Option<&'static str> {
    let (policy, webhook) = (settings.policy_installed, settings.webhook_installed);
    match mechanism {
        Mechanism::None => Some(
            "spec.injection.mechanism None: nothing puts engines into pods, and labelled ones are refused. Write Auto, or remove \
             spec.injection",
        ),
        Mechanism::Auto if !policy && !webhook => Some(
            "Neither the MutatingAdmissionPolicy nor the webhook of hoft is installed, so labelled pods get no engine: install \
             the chart with one of them",
        ),
        Mechanism::AdmissionPolicy if !policy => Some(
            "spec.injection.mechanism AdmissionPolicy: the MutatingAdmissionPolicy of hoft is not installed (it needs Kubernetes \
             1.36). Write Auto, or install the chart with it",
        ),
        Mechanism::Webhook if !webhook => Some(
            "spec.injection.mechanism Webhook: the webhook of hoft is not installed. Write Auto, or install the chart with it",
        ),
        Mechanism::Auto | Mechanism::AdmissionPolicy | Mechanism::Webhook => None,
    }
}
