//! Bugs made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. At most one
//! bug is on at a time, in the whole process. Test to read first: `tests/sim/src/mutations.rs`.

#[cfg(feature = "mutations")]
use core::sync::atomic::{AtomicU32, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// An operation that was executed is executed again.
    DedupeOff,
}

/// The bugs by their names.
#[cfg(feature = "mutations")]
const ALL: [(&str, Mutation); 1] = [("dedupe-off", Mutation::DedupeOff)];

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
