//! The bugs of this room that are made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. Test to read
//! first: `tests/sim/src/mutations.rs`.

mutations::mutations! {
    /// A cut packet is closed as complete, and removed.
    TruncationInverted "truncation-inverted",
    /// A frame counts whatever its digest says.
    FrameDigestUnchecked "frame-digest-unchecked",
}
