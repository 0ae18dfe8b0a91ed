//! Whether what the spec asks for is made and runs: the condition Programmed, and why no engine answers.
//!
//! Invariant: an engine that says why it does not run is quoted. Test to read first: `tests/programmed.rs`.

use crd_types::{ConditionStatus, Reason, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::container::Engine;
use super::health::{self, Health};
use super::verdict::{Verdict, clip};
use super::world::{Role, World};
use super::{gateway, injection};

/// Most bytes of the API server's words.
const WORDS_BYTES_MAX: usize = 1_000;

/// What was planned, as far as this condition looks at it.
pub(super) struct Planned<'a> {
    /// What of spec and keys is missing yet.
    pub(super) before: Option<&'a Verdict>,
    /// What engines are made from, unless something is missing.
    pub(super) engine: Option<&'a Engine<'a>>,
    pub(super) stateful_set: Option<&'a StatefulSet>,
}

pub(super) fn verdict(world: &World<'_>, health: &Health<'_>, planned: &Planned<'_>) -> Verdict {
    let spec = &world.peering.spec;
    if world.peering.metadata.deletion_timestamp.is_some() {
        return Verdict::unknown(Reason::Pending, "The peering is being deleted.");
    }
    if spec.paused {
        let message = "spec.paused is true: nothing is changed or made, and what runs goes on. Set it to false to carry out the spec.";
        return Verdict::unknown(Reason::Paused, message);
    }
    if let Some(failure) = world.apply_failure {
        let message = format!("The API server refused an object of this peering: {}", clip(failure, WORDS_BYTES_MAX));
        return Verdict::fails(Reason::ApplyFailed, message);
    }
    if let Some(before) = planned.before {
        let message = format!("Nothing new is made before the rest is settled: {}.", before.reason.as_str());
        return Verdict::unknown(Reason::Pending, message);
    }
    let gateway = spec.gateway.as_ref().and_then(|_| gateway_verdict(world, health, planned));
    let sidecars = spec.injection.as_ref().and_then(|asked| {
        injection::mechanism_problem(asked.mechanism, world.settings)
            .map(|problem| Verdict::fails(Reason::Pending, format!("{problem}.")))
            .or_else(|| all_sidecars_fail(health))
    });
    // What failed comes before what is only not done yet.
    let failed =
        |verdict: &Option<Verdict>| verdict.as_ref().is_some_and(|verdict| verdict.status == ConditionStatus::False);
    let found = if failed(&sidecars) && !failed(&gateway) { sidecars } else { gateway.or(sidecars) };
    found.unwrap_or_else(|| Verdict::holds(Reason::Programmed, "What the spec asks for is made."))
}

fn gateway_verdict(world: &World<'_>, health: &Health<'_>, planned: &Planned<'_>) -> Option<Verdict> {
    let name = names::gateway(&world.peering.name_any());
    if gateway::foreign(world).is_some() {
        let message = format!(
            "A StatefulSet {name} is there that was not made for this peering: delete it, or make the peering anew under another \
             name. One of a deleted peering of this name goes by itself."
        );
        return Some(Verdict::fails(Reason::ApplyFailed, message));
    }
    let failing = health.engines.iter().filter(|engine| engine.instance.role == Role::Gateway);
    if let Some(verdict) = failing.filter_map(quoted).next() {
        return Some(verdict);
    }
    let (engine, wanted) = (planned.engine?, planned.stateful_set?);
    let Some(standing) = world.stateful_set else {
        return Some(Verdict::unknown(Reason::Pending, format!("StatefulSet {name} is being made.")));
    };
    if let Some(by_hand) = gateway::to_be_grown(engine, standing) {
        return Some(Verdict::fails(Reason::ApplyFailed, by_hand));
    }
    if gateway::ready(wanted, standing) {
        return None;
    }
    let ready = standing.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let message = format!(
        "{ready} of {replicas} engines of StatefulSet {name} are ready, or not all are of this generation yet: see `kubectl describe \
         statefulset {name}` and its pods."
    );
    Some(Verdict::fails(Reason::GatewayNotReady, message))
}

fn quoted(engine: &health::Engine<'_>) -> Option<Verdict> {
    let failure = health::failure(engine.container)?;
    Some(Verdict::fails(
        Reason::EngineFailing,
        format!("The engine in pod {} does not run: {failure}", engine.instance.pod),
    ))
}

/// One app's pod may have troubles of its own; all of them have ours.
fn all_sidecars_fail(health: &Health<'_>) -> Option<Verdict> {
    let sidecars: Vec<_> = health.engines.iter().filter(|engine| engine.instance.role == Role::Sidecar).collect();
    let verdicts: Vec<Verdict> = sidecars.iter().filter_map(|engine| quoted(engine)).collect();
    if verdicts.len() == sidecars.len() { verdicts.into_iter().next() } else { None }
}

/// Why no engine says anything.
pub(super) fn absence(world: &World<'_>, health: &Health<'_>) -> String {
    let spec = &world.peering.spec;
    if let Some(engine) = health.engines.first() {
        if let Some(failure) = health::failure(engine.container) {
            return format!("The engine in pod {} does not run: {failure}", engine.instance.pod);
        }
        let silent = health.engines.iter().find_map(|engine| {
            Some(format!(
                "No engine answers; pod {}: {}",
                engine.instance.pod,
                clip(engine.instance.unreachable.as_ref()?, WORDS_BYTES_MAX)
            ))
        });
        return silent.unwrap_or_else(|| format!("The engine in pod {} has not answered yet.", engine.instance.pod));
    }
    match (&spec.gateway, &spec.injection) {
        (Some(gateway), _) if gateway.replicas == 0 => "spec.gateway.replicas is 0: no engine runs.".to_owned(),
        (Some(_), _) => "No engine of the gateway runs yet; Programmed says more.".to_owned(),
        (None, _) => {
            format!("No pod labelled {}={} runs yet.", names::LABEL_INJECT, world.peering.name_any())
        }
    }
}
