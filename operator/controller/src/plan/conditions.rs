//! The eight conditions of a peering: put together, and compared with those that stand.
//!
//! Invariants: all eight are always there; a transition time changes with the status and with nothing else; times are
//! whole seconds, as the API server keeps them, so what was written compares equal to what is planned. Test to read first:
//! `tests/turns.rs`.

use crd_types::{ConditionType, Reason, TunnelPeering};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::health;
use super::verdict::{Verdict, clip};

/// Most bytes of the message of another condition that Ready repeats.
const REPEATED_BYTES_MAX: usize = 400;

/// The verdicts that the two summaries are made from.
pub(super) struct Verdicts {
    pub(super) accepted: Verdict,
    pub(super) volume_ready: Verdict,
    pub(super) keys_ready: Verdict,
    pub(super) programmed: Verdict,
    pub(super) peer_alive: Verdict,
    pub(super) delivering: Verdict,
}

impl Verdicts {
    /// This side is done.
    fn ready(&self) -> Verdict {
        let four = [
            (ConditionType::Accepted, &self.accepted),
            (ConditionType::VolumeReady, &self.volume_ready),
            (ConditionType::KeysReady, &self.keys_ready),
            (ConditionType::Programmed, &self.programmed),
        ];
        match four.into_iter().find(|(_, verdict)| !verdict.is_true()) {
            None => Verdict::holds(Reason::Ready, "This side is done."),
            Some((kind, verdict)) => Verdict {
                message: format!("{kind}: {}", clip(&verdict.message, REPEATED_BYTES_MAX)),
                ..verdict.clone()
            },
        }
    }

    /// As they are written into the status of `peering`.
    pub(super) fn written(self, peering: &TunnelPeering, now: Timestamp) -> Vec<Condition> {
        let ready = self.ready();
        let connected = health::connected(&self.peer_alive, &self.delivering);
        let all = [
            (ConditionType::Accepted, self.accepted),
            (ConditionType::VolumeReady, self.volume_ready),
            (ConditionType::KeysReady, self.keys_ready),
            (ConditionType::Programmed, self.programmed),
            (ConditionType::Ready, ready),
            (ConditionType::PeerAlive, self.peer_alive),
            (ConditionType::Delivering, self.delivering),
            (ConditionType::Connected, connected),
        ];
        all.map(|(kind, verdict)| {
            let standing = standing(peering, kind).filter(|standing| standing.status == verdict.status.as_str());
            Condition {
                type_: kind.as_str().to_owned(),
                status: verdict.status.as_str().to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: verdict.message,
                observed_generation: peering.metadata.generation,
                last_transition_time: standing
                    .map_or_else(|| in_seconds(now), |standing| standing.last_transition_time.clone()),
            }
        })
        .into()
    }
}

/// A condition as it was written last.
pub(super) fn standing(peering: &TunnelPeering, kind: ConditionType) -> Option<&Condition> {
    let conditions = &peering.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// A time as the API server keeps it.
pub(super) fn in_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
