//! Bugs made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. At most one
//! bug is on at a time, in the whole process. Test to read first: `tests/sim/src/mutations.rs`.

#[cfg(feature = "mutations")]
use core::sync::atomic::{AtomicU32, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A selective acknowledgement releases what lies below it.
    SackReleases,
    /// An acknowledgement releases without its chain being compared.
    ChainIgnored,
    /// A start begins with the first packet number.
    PnReused,
    /// An older acknowledgement takes a newer one back.
    AckOverwritten,
    /// The largest packet number is the last one, not the highest.
    LargestOverwritten,
    /// A life of the peer that is over may come back, whatever it echoes.
    ClosedLifeAccepted,
    /// A packet for an earlier life of mine counts.
    RecipientUnchecked,
    /// A RESET is not read.
    ResetIgnored,
    /// Records are sent beyond credit.
    CreditIgnored,
    /// Nothing is probed for.
    PtoNever,
    /// Every packet is acknowledged, heartbeats and acknowledgements too.
    HeartbeatAcked,
    /// What was lost is not sent again.
    LossForgotten,
    /// A packet file goes as soon as it was published.
    OutboxRemovedEarly,
    /// A start forgets what was acknowledged to it.
    AckedNotReplayed,
    /// A start forgets what it received.
    ReceivedNotReplayed,
    /// Credit is given once and never raised.
    GrantNeverRaised,
    /// A second record of the same number counts as a copy of the first.
    ForkIgnored,
    /// A checkpoint leaves out records that wait for earlier ones.
    CheckpointForgetsHeld,
}

/// The bugs by their names.
#[cfg(feature = "mutations")]
const ALL: [(&str, Mutation); 18] = [
    ("sack-releases", Mutation::SackReleases),
    ("chain-ignored", Mutation::ChainIgnored),
    ("pn-reused", Mutation::PnReused),
    ("ack-overwritten", Mutation::AckOverwritten),
    ("largest-overwritten", Mutation::LargestOverwritten),
    ("closed-life-accepted", Mutation::ClosedLifeAccepted),
    ("recipient-incarnation-unchecked", Mutation::RecipientUnchecked),
    ("reset-ignored", Mutation::ResetIgnored),
    ("credit-ignored", Mutation::CreditIgnored),
    ("pto-never", Mutation::PtoNever),
    ("heartbeat-acked", Mutation::HeartbeatAcked),
    ("loss-forgotten", Mutation::LossForgotten),
    ("outbox-removed-early", Mutation::OutboxRemovedEarly),
    ("acked-not-replayed", Mutation::AckedNotReplayed),
    ("received-not-replayed", Mutation::ReceivedNotReplayed),
    ("grant-never-raised", Mutation::GrantNeverRaised),
    ("fork-ignored", Mutation::ForkIgnored),
    ("checkpoint-forgets-held", Mutation::CheckpointForgetsHeld),
];

/// The bug that is on, counted from 1.
#[cfg(feature = "mutations")]
static SELECTED: AtomicU32 = AtomicU32::new(0);

/// The names of the bugs of this crate.
#[cfg(feature = "mutations")]
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Switches this crate's bug of this name on; none if it has none.
#[cfg(feature = "mutations")]
pub fn select(name: &str) {
    let found = ALL.iter().find(|(of, _)| *of == name);
    SELECTED.store(found.map_or(0, |(_, which)| *which as u32 + 1), Ordering::SeqCst);
}

/// Is this bug on?
#[cfg(feature = "mutations")]
#[inline]
pub(crate) fn mutated(which: Mutation) -> bool {
    SELECTED.load(Ordering::Relaxed) == which as u32 + 1
}

/// Without the feature: never.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}
