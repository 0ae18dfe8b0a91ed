//! The bugs of this room that are made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. Test to read
//! first: `tests/sim/src/mutations.rs`.

mutations::mutations! {
    /// What was appended counts as durable before it is.
    AckBeforeDurable "ack-before-durable",
    /// A call is made before its dispatch mark is durable.
    DispatchNotDurable "dispatch-not-durable",
    /// The dispatch mark is written after the call.
    DispatchAfterCall "dispatch-after-call",
    /// A call that must not be repeated is repeated after a crash.
    RetryNonIdempotent "retry-non-idempotent",
    /// A checkpoint leaves out records that nobody read yet.
    CheckpointForgetsSpool "checkpoint-forgets-spool",
    /// A checkpoint leaves out what was executed.
    CheckpointForgetsExecutions "checkpoint-forgets-executions",
    /// A checkpoint leaves out where records lie that were not acknowledged.
    CheckpointForgetsPlaces "checkpoint-forgets-places",
    /// Who read a stream of an association that ended reads on in the next one.
    StaleLaneAccepted "stale-lane-accepted",
    /// A response that was cut off gets no end.
    AbortUntold "abort-untold",
    /// A response that a crash cut off counts as whole.
    CutOffAsDone "cut-off-as-done",
    /// Length and digest of a stream's end are not compared.
    FinDigest "fin-digest",
    /// A result that is to be kept goes when its caller has it.
    ResultDropped "result-dropped",
}
