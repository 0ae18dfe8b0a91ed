//! The bugs of this room that are made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. Test to read
//! first: `tests/sim/src/mutations.rs`.

mutations::mutations! {
    /// An operation that was executed is executed again.
    DedupeOff "dedupe-off",
    /// The end of another message ends this one.
    BoundIgnored "bound-ignored",
}
