//! Bugs made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. At most one
//! bug is on at a time, in the whole process. Test to read first: `tests/sim/src/mutations.rs`.

#[cfg(feature = "mutations")]
use core::sync::atomic::{AtomicU32, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// What was appended counts as durable before it is.
    AckBeforeDurable,
    /// A call is made before its dispatch mark is durable.
    DispatchNotDurable,
    /// The dispatch mark is written after the call.
    DispatchAfterCall,
    /// A call that must not be repeated is repeated after a crash.
    RetryNonIdempotent,
    /// A checkpoint leaves out records that nobody read yet.
    CheckpointForgetsSpool,
    /// A checkpoint leaves out what was executed.
    CheckpointForgetsExecutions,
    /// A checkpoint leaves out where records lie that were not acknowledged.
    CheckpointForgetsPlaces,
    /// Who read a stream of an association that ended reads on in the next one.
    StaleLaneAccepted,
    /// A response that was cut off gets no end.
    AbortUntold,
    /// A response that a crash cut off counts as whole.
    CutOffAsDone,
    /// A result that is to be kept goes when its caller has it.
    ResultDropped,
}

/// The bugs by their names.
#[cfg(feature = "mutations")]
const ALL: [(&str, Mutation); 11] = [
    ("ack-before-durable", Mutation::AckBeforeDurable),
    ("dispatch-not-durable", Mutation::DispatchNotDurable),
    ("dispatch-after-call", Mutation::DispatchAfterCall),
    ("retry-non-idempotent", Mutation::RetryNonIdempotent),
    ("checkpoint-forgets-spool", Mutation::CheckpointForgetsSpool),
    ("checkpoint-forgets-executions", Mutation::CheckpointForgetsExecutions),
    ("checkpoint-forgets-places", Mutation::CheckpointForgetsPlaces),
    ("stale-lane-accepted", Mutation::StaleLaneAccepted),
    ("abort-untold", Mutation::AbortUntold),
    ("cut-off-as-done", Mutation::CutOffAsDone),
    ("result-dropped", Mutation::ResultDropped),
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
