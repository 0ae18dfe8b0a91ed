//! The bugs of this room that are made on purpose, for the test of the tests: the simulator switches one on and must notice.
//!
//! Invariant: without the feature `mutations` no bug can be switched on and nothing of this is in the program. Test to read
//! first: `tests/sim/src/mutations.rs`.

mutations::mutations! {
    /// A selective acknowledgement releases what lies below it.
    SackReleases "sack-releases",
    /// An acknowledgement releases without its chain being compared.
    ChainIgnored "chain-ignored",
    /// A start begins with the first packet number.
    PnReused "pn-reused",
    /// An older acknowledgement takes a newer one back.
    AckOverwritten "ack-overwritten",
    /// The largest packet number is the last one, not the highest.
    LargestOverwritten "largest-overwritten",
    /// A life of the peer that is over may come back, whatever it echoes.
    ClosedLifeAccepted "closed-life-accepted",
    /// A packet for an earlier life of mine counts.
    RecipientUnchecked "recipient-incarnation-unchecked",
    /// A RESET is not read.
    ResetIgnored "reset-ignored",
    /// Records are sent beyond credit.
    CreditIgnored "credit-ignored",
    /// Nothing is probed for.
    PtoNever "pto-never",
    /// Every packet is acknowledged, heartbeats and acknowledgements too.
    HeartbeatAcked "heartbeat-acked",
    /// What was lost is not sent again.
    LossForgotten "loss-forgotten",
    /// A packet file goes as soon as it was published.
    OutboxRemovedEarly "outbox-removed-early",
    /// A start forgets what was acknowledged to it.
    AckedNotReplayed "acked-not-replayed",
    /// A start forgets what it received.
    ReceivedNotReplayed "received-not-replayed",
    /// Credit is given once and never raised.
    GrantNeverRaised "grant-never-raised",
    /// A second record of the same number counts as a copy of the first.
    ForkIgnored "fork-ignored",
    /// A record that was delivered is delivered again.
    DuplicateDelivered "duplicate-delivered",
    /// A checkpoint leaves out records that wait for earlier ones.
    CheckpointForgetsHeld "checkpoint-forgets-held",
}
