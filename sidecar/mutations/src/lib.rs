//! The switch of bugs made on purpose, for the test of the tests: each room names its own bugs, the simulator switches one on
//! and must notice.
//!
//! Invariant: without the feature `mutations` of a room no bug of it can be switched on, and nothing of this is in the program.
//! At most one bug of a room is on at a time, in the whole process. It knows no bug itself. Test to read first:
//! `one_bug_is_on_at_a_time`.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

use core::sync::atomic::{AtomicUsize, Ordering};

/// Which of a room's bugs is on.
#[derive(Debug)]
pub struct Switch {
    names: &'static [&'static str],
    /// Counted from 1; 0 while none is.
    on: AtomicUsize,
}

impl Switch {
    /// A switch for bugs of these names; none is on.
    #[must_use]
    pub const fn new(names: &'static [&'static str]) -> Self {
        Self { names, on: AtomicUsize::new(0) }
    }

    /// The names of the bugs.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.iter().copied()
    }

    /// Switches the bug of this name on; none if there is none.
    pub fn select(&self, name: &str) {
        self.on.store(self.names.iter().position(|of| *of == name).map_or(0, |index| index + 1), Ordering::SeqCst);
    }

    /// Is the bug on that was named in this place, counted from 0?
    #[inline]
    pub fn is_on(&self, index: usize) -> bool {
        self.on.load(Ordering::Relaxed) == index + 1
    }
}

/// Defines a room's `Mutation`, and `mutated`, which asks whether one is on; with the feature `mutations` of that room also `names` and
/// `select` for the simulator. To be called once, in a module of its own.
#[macro_export]
macro_rules! mutations {
    ($($(#[$doc:meta])+ $bug:ident $name:literal,)+) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mutation {
            $($(#[$doc])+ $bug,)+
        }

        #[cfg(feature = "mutations")]
        static SWITCH: $crate::Switch = $crate::Switch::new(&[$($name),+]);

        /// The names of the bugs of this crate.
        #[cfg(feature = "mutations")]
        pub fn names() -> impl Iterator<Item = &'static str> {
            SWITCH.names()
        }

        /// Switches this crate's bug of this name on; none if it has none.
        #[cfg(feature = "mutations")]
        pub fn select(name: &str) {
            SWITCH.select(name);
        }

        /// Is this bug on?
        #[cfg(feature = "mutations")]
        #[inline]
        pub(crate) fn mutated(which: Mutation) -> bool {
            SWITCH.is_on(which as usize)
        }

        /// Without the feature: never.
        #[cfg(not(feature = "mutations"))]
        #[inline(always)]
        pub(crate) const fn mutated(_: Mutation) -> bool {
            false
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bug_is_on_at_a_time() {
        let switch = Switch::new(&["a", "b"]);
        let on = || [switch.is_on(0), switch.is_on(1)];
        assert_eq!(on(), [false, false]);
        switch.select("a");
        assert_eq!(on(), [true, false]);
        switch.select("b");
        assert_eq!(on(), [false, true]);
        switch.select("another room's");
        assert_eq!(on(), [false, false]);
        assert!(switch.names().eq(["a", "b"]));
    }
}
