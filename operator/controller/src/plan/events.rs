//! What is worth an Event: conditions that turned since they were last written.
//!
//! Invariant: an Event tells of a turn, never of a state, so planning again from what was written tells nothing. Events of
//! keys and of stranded calls are made where those are found. Test to read first: `tests/turns.rs`.

use crd_types::{ConditionType, Reason, TunnelPeering};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::standing;
use super::verdict::clip;
use super::world::Event;

/// Most bytes of a note (events.k8s.io/v1).
const NOTE_BYTES_MAX: usize = 1_024;

pub(super) fn events(peering: &TunnelPeering, conditions: &[Condition]) -> Vec<Event> {
    let turn = |kind: ConditionType| {
        let after = conditions.iter().find(|condition| condition.type_ == kind.as_str())?;
        Some((standing(peering, kind), after))
    };
    let mut events = Vec::new();
    if let Some((before, after)) = turn(ConditionType::PeerAlive) {
        let was = |status: &str| before.is_some_and(|before| before.status == status);
        let mismatch = Reason::KeyMismatch.as_str();
        if after.reason == mismatch {
            if before.is_none_or(|before| before.reason != mismatch) {
                events.push(event(true, "KeyMismatch", "CompareKeys", after));
            }
        } else if after.status == "False" && (was("True") || (was("Unknown") && was_heard(peering))) {
            events.push(event(true, "PeerLost", "Wait", after));
        } else if after.status == "True" && was("False") {
            events.push(event(false, "PeerRecovered", "Continue", after));
        }
    }
    let stalls =
        [ConditionType::VolumeReady, ConditionType::Delivering].into_iter().filter_map(turn).find(|(before, after)| {
            let outbox = Reason::OutboxFailing.as_str();
            let failing = if after.type_ == ConditionType::VolumeReady.as_str() {
                after.reason == outbox && before.is_none_or(|before| before.reason != outbox)
            } else {
                before.is_none_or(|before| before.status != "False")
            };
            after.status == "False" && failing
        });
    if let Some((_, after)) = stalls {
        events.push(event(true, "VolumeStalled", "Wait", after));
    }
    events
}

/// Whether the far side was ever heard: an engine that starts again knows nothing of it yet.
fn was_heard(peering: &TunnelPeering) -> bool {
    peering
        .status
        .as_ref()
        .and_then(|status| status.remote.as_ref())
        .is_some_and(|remote| remote.last_seen_time.is_some())
}

fn event(warning: bool, reason: &'static str, action: &'static str, condition: &Condition) -> Event {
    Event { warning, reason, action, note: clip(&condition.message, NOTE_BYTES_MAX) }
}
