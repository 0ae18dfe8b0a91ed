//! The bugs of this room that are made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. Test to read
//! first: `tests/sim/src/mutations.rs`.

mutations::mutations! {
    /// What a crash left at the end of the log stays there.
    TornTailKept "torn-tail-kept",
    /// A start overlooks the last entry of the log.
    RecoverySkipsEntry "recovery-skips-entry",
    /// A segment goes although records in it are needed.
    UnlinkEarly "unlink-early",
    /// A commit writes and does not make durable.
    SyncForgotten "sync-forgotten",
}
