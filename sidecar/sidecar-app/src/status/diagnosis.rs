//! What is probably wrong with a pair, said in a sentence: from liveness, echoes and the other peers on the same folders.
//!
//! Invariants: a certain cause comes before a guess; silence is called silence, never "down", because silence in both
//! directions has no provable cause. Nothing acts on a diagnosis. Test to read first: `each_observation_has_its_diagnosis`.

use serde::Serialize;

use super::peer::{Liveness, PeerView};

/// Probe timeouts in a row that mean more than one slow packet.
const PROBE_TIMEOUTS_SUSPECT: u32 = 2;

/// The pressure of a peer from which on no bulk is begun.
const BULK_REFUSED: u8 = 3;

/// The state of a pair, most certain cause first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Diagnosis {
    /// An alarm stopped the pair.
    Halted,
    /// Packets cannot be written into the outbox folder.
    OutboxFailing,
    /// Files arrive, and none verifies.
    KeyMismatch,
    /// No packet arrived since this engine started.
    #[default]
    NeverSeen,
    /// This peer is silent while others are heard through the same folders.
    PeerSilent,
    /// Nobody is heard: the incoming direction, or everything, is interrupted.
    InboundSilent,
    /// The peer is heard and no association is open yet.
    Associating,
    /// The peer is heard, and does not hear of my packets.
    OutboundSilent,
    /// A record never passes while others do.
    ContentDropped,
    /// The peer's programs do not take what was sent.
    WaitingForCredit,
    /// Packets pass in both directions.
    Healthy,
}

impl Diagnosis {
    /// Every diagnosis, most certain cause first.
    pub const ALL: [Self; 11] = [
        Self::Halted,
        Self::OutboxFailing,
        Self::KeyMismatch,
        Self::NeverSeen,
        Self::PeerSilent,
        Self::InboundSilent,
        Self::Associating,
        Self::OutboundSilent,
        Self::ContentDropped,
        Self::WaitingForCredit,
        Self::Healthy,
    ];

    /// The word of the JSON and of the metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::OutboxFailing => "outbox_failing",
            Self::KeyMismatch => "key_mismatch",
            Self::NeverSeen => "never_seen",
            Self::PeerSilent => "peer_silent",
            Self::InboundSilent => "inbound_silent",
            Self::Associating => "associating",
            Self::OutboundSilent => "outbound_silent",
            Self::ContentDropped => "content_dropped",
            Self::WaitingForCredit => "waiting_for_credit",
            Self::Healthy => "healthy",
        }
    }
}

/// What is known besides the peer itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Why packets cannot be published, if they cannot.
    pub(super) outbox_failure: Option<String>,
    /// Why the inbox folder cannot be used, if it cannot.
    pub(super) inbox_failure: Option<String>,
    /// Some peer is alive.
    pub(super) others_alive: bool,
    /// There is more than one peer.
    pub(super) others: bool,
    /// Files that failed a signature or came with an unknown key; 0 once any packet verified.
    pub(super) unverified_files: u64,
}

/// The diagnosis of a peer.
pub(super) fn of(peer: &PeerView, around: &Surroundings) -> Diagnosis {
    if peer.halted.is_some() {
        return Diagnosis::Halted;
    }
    if around.outbox_failure.is_some() {
        return Diagnosis::OutboxFailing;
    }
    match peer.alive {
        Liveness::NeverSeen | Liveness::Silent if around.unverified_files > 0 => Diagnosis::KeyMismatch,
        Liveness::NeverSeen => Diagnosis::NeverSeen,
        Liveness::Silent if around.others_alive => Diagnosis::PeerSilent,
        Liveness::Silent => Diagnosis::InboundSilent,
        Liveness::Alive => of_alive(peer),
    }
}

fn of_alive(peer: &PeerView) -> Diagnosis {
    if peer.suspended || peer.probe_timeouts >= PROBE_TIMEOUTS_SUSPECT {
        Diagnosis::OutboundSilent
    } else if peer.incarnation.is_none() {
        Diagnosis::Associating
    } else if is_unreported(peer) {
        Diagnosis::OutboundSilent
    } else if peer.backlog_records > 0 && peer.alarms.iter().any(|alarm| alarm.name == "poisoned") {
        Diagnosis::ContentDropped
    } else if peer.blocked_records > 0 {
        Diagnosis::WaitingForCredit
    } else {
        Diagnosis::Healthy
    }
}

/// Does the peer, which is heard, go on without news of my packets? Nobody acknowledges heartbeats, but every packet of the
/// peer says which of mine was the latest to arrive, so an idle pair knows too: after a round trip and the time after which
/// the peer would call me silent.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a silence stay far below 2^53")]
fn is_unreported(peer: &PeerView) -> bool {
    let round_trip_ms = peer.srtt_ms.map_or(0.0, |srtt_ms| srtt_ms + 4.0 * peer.rttvar_ms);
    peer.unreported_ms.is_some_and(|ms| ms as f64 > peer.loss_timeout_ms as f64 + round_trip_ms)
}

/// A diagnosis for people.
pub(super) fn sentence(diagnosis: Diagnosis, peer: &PeerView, around: &Surroundings) -> String {
    let heard = peer.last_heard_ms_ago.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", span(ms)));
    match diagnosis {
        Diagnosis::Halted => peer.halted.as_ref().map_or_else(String::new, |alarm| {
            format!("Halted: {}. Nothing is sent or delivered until this is settled: {}.", alarm.text, alarm.remedy)
        }),
        Diagnosis::OutboxFailing => format!(
            "Packets cannot be written into the outbox folder; it is tried again: {}. Last heard: {heard}.",
            around.outbox_failure.as_deref().unwrap_or("unknown cause")
        ),
        Diagnosis::KeyMismatch => format!(
            "Files arrive ({} so far) and none verifies: a key or token mismatch, or somebody else's files, not an outage. \
             Compare the fingerprints and suites of both sides.",
            around.unverified_files
        ),
        Diagnosis::NeverSeen | Diagnosis::InboundSilent if around.inbox_failure.is_some() => format!(
            "Nothing can be heard, because the inbox folder here cannot be used; it is tried again: {}. Last heard: {heard}.",
            around.inbox_failure.as_deref().unwrap_or_default()
        ),
        Diagnosis::NeverSeen if around.others_alive => {
            "No packet of this peer arrived since this engine started, while others are heard through the same folders: it does \
             not run, or not any more. That harms nobody but who calls it."
                .to_owned()
        }
        Diagnosis::NeverSeen => format!(
            "No packet of this peer arrived since this engine started{}. Check that the peer runs, and that the mirror fills the inbox folder.",
            if peer.confirmations > 0 { ", though it was heard before" } else { "" }
        ),
        Diagnosis::InboundSilent if peer.suspended => format!(
            "Unknown since {heard}: silence in both directions, which has no provable cause. {} heard, and nothing is heard of my packets: \
             check the age of the newest file in both folders.",
            if around.others { "No peer is" } else { "The only peer is not" }
        ),
        Diagnosis::PeerSilent => format!(
            "Unknown since {heard}: others are heard through the same folders, so it is this peer or its outgoing mirror."
        ),
        Diagnosis::InboundSilent => format!(
            "Unknown since {heard}: {} heard, so the incoming mirror is interrupted, or the far side is. \
             Check the age of the newest file in the inbox folder.",
            if around.others { "no peer is" } else { "the only peer is not" }
        ),
        Diagnosis::Associating => {
            "The peer is heard; the association opens when each side has heard the other's answer.".to_owned()
        }
        Diagnosis::OutboundSilent => format!(
            "The peer lives (heard {heard}), but reports none of my packets: my outgoing mirror is interrupted, or its incoming one."
        ),
        Diagnosis::ContentDropped => {
            "One record never passes while others do: something on the way removes files by their content.".to_owned()
        }
        Diagnosis::WaitingForCredit if peer.peer_pressure >= BULK_REFUSED => format!(
            "The peer is nearly full and takes no more bulk for now: {} records wait until its programs take what arrived, or its disk \
             has room.",
            peer.blocked_records
        ),
        Diagnosis::WaitingForCredit => format!(
            "Healthy, but {} records wait because the peer's programs have not taken what arrived before.",
            peer.blocked_records
        ),
        Diagnosis::Healthy => format!("Healthy: packets pass in both directions (last heard {heard})."),
    }
}

/// A duration as people say it.
fn span(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
