//! The conditions that every engine's pod shows: is the far side heard and does it hear us, and is the log healthy.
//!
//! Invariants: they say what this engine sees, not what the others do; a pod that ends is left alone. Test to read first:
//! `tests/pods.rs`.

use crd_types::{ConditionStatus, names};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;

use super::conditions::in_seconds;
use super::health::{self, Engine, Health};
use super::verdict::clip;
use super::world::{PodStatus, World};

/// Reasons of conditions of pods only.
const ENGINE_UNREACHABLE: &str = "EngineUnreachable";
const LOG_HEALTHY: &str = "LogHealthy";
const LOG_FULL: &str = "LogFull";
const LOG_FAILING: &str = "LogFailing";
/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 1_024;

struct Said {
    kind: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

pub(super) fn statuses(world: &World<'_>, health: &Health<'_>) -> Vec<PodStatus> {
    health
        .engines
        .iter()
        .map(|engine| {
            let carried = &engine.instance.conditions;
            let standing =
                [names::POD_PEER_CONNECTED, names::POD_LOG_HEALTHY].map(|kind| carried_one(carried, kind).cloned());
            if engine.unasked()
                && let [Some(connected), Some(log)] = standing
            {
                return kept(engine, vec![connected, log]);
            }
            let said = [connected(health, engine), log_healthy(engine)];
            let changed = said.iter().any(|said| {
                carried_one(carried, said.kind).is_none_or(|standing| {
                    standing.status != said.status.as_str()
                        || standing.reason.as_deref() != Some(said.reason)
                        || standing.message.as_deref().unwrap_or_default() != said.message
                })
            });
            PodStatus {
                pod: engine.instance.pod.clone(),
                uid: engine.instance.uid.clone(),
                conditions: said.into_iter().map(|said| written(said, carried, world.now)).collect(),
                changed,
            }
        })
        .collect()
}

fn kept(engine: &Engine<'_>, conditions: Vec<PodCondition>) -> PodStatus {
    PodStatus { pod: engine.instance.pod.clone(), uid: engine.instance.uid.clone(), conditions, changed: false }
}

fn carried_one<'a>(carried: &'a [PodCondition], kind: &str) -> Option<&'a PodCondition> {
    carried.iter().find(|condition| condition.type_ == kind)
}

fn written(said: Said, carried: &[PodCondition], now: Timestamp) -> PodCondition {
    let kept = carried_one(carried, said.kind).filter(|standing| standing.status == said.status.as_str());
    PodCondition {
        type_: said.kind.to_owned(),
        status: said.status.as_str().to_owned(),
        reason: Some(said.reason.to_owned()),
        message: Some(said.message),
        last_transition_time: kept.and_then(|kept| kept.last_transition_time.clone()).or_else(|| Some(in_seconds(now))),
        ..PodCondition::default()
    }
}

fn silent(engine: &Engine<'_>) -> Option<String> {
    if engine.report.is_some() {
        return None;
    }
    let cause = health::failure(engine.container).or_else(|| engine.instance.unreachable.clone());
    Some(cause.map_or_else(|| "The engine has not answered yet.".to_owned(), |cause| clip(&cause, MESSAGE_BYTES_MAX)))
}

fn connected(health: &Health<'_>, engine: &Engine<'_>) -> Said {
    let kind = names::POD_PEER_CONNECTED;
    if let Some(message) = silent(engine) {
        return Said { kind, status: ConditionStatus::Unknown, reason: ENGINE_UNREACHABLE, message };
    }
    let alone = health.alone(*engine);
    let absence = "The engine does not answer.";
    let verdict = health::connected(&alone.peer_alive(absence), &alone.delivering(absence));
    let message = clip(&verdict.message, MESSAGE_BYTES_MAX);
    Said { kind, status: verdict.status, reason: verdict.reason.as_str(), message }
}

fn log_healthy(engine: &Engine<'_>) -> Said {
    let kind = names::POD_LOG_HEALTHY;
    if let Some(message) = silent(engine) {
        return Said { kind, status: ConditionStatus::Unknown, reason: ENGINE_UNREACHABLE, message };
    }
    let report = engine.report.map(|(_, report)| report);
    if let Some(cause) = report.and_then(|report| report.log_failure.as_deref()) {
        let message = clip(&format!("The engine's log cannot be written: {cause}"), MESSAGE_BYTES_MAX);
        return Said { kind, status: ConditionStatus::False, reason: LOG_FAILING, message };
    }
    if report.is_some_and(|report| report.log_full) {
        let message = "The engine's log is full: new calls are refused until the far side takes what waits, or \
                       spec.limits.maxBacklog is raised."
            .to_owned();
        return Said { kind, status: ConditionStatus::False, reason: LOG_FULL, message };
    }
    let message = "The engine's log can be written and has room.".to_owned();
    Said { kind, status: ConditionStatus::True, reason: LOG_HEALTHY, message }
}
