//! What a person should look at, each with a remedy. An alarm that halts stops the pair: nothing is released, delivered or sent any more.
//!
//! Invariant: the core never guesses its way out of a contradiction; it stops and names it (RFC 9000 would close the connection).

use wire::Seq;

/// A contradiction with the peer, or a fault that repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// The peer acknowledged a record that was never written: my log was rolled back.
    #[error("the peer acknowledged record {claimed}, but the next one to be written is {next}")]
    LogRolledBack {
        /// What the peer acknowledged.
        claimed: Seq,
        /// The next sequence number of my log.
        next: Seq,
    },
    /// The peer's chain differs from mine: it holds other records under the same numbers.
    #[error("the peer's log chain up to record {cum} differs from mine")]
    ChainMismatch {
        /// The cumulative ack whose chain differs.
        cum: Seq,
    },
    /// The peer knows of an acknowledgement of mine that I do not know of: my received records were rolled back.
    #[error("the peer holds an acknowledgement of record {claimed}, but only {cum} is here")]
    InboxRolledBack {
        /// What the peer was told once.
        claimed: Seq,
        /// My cumulative ack.
        cum: Seq,
    },
    /// The peer answered under the number of an exchange of mine what I did not ask there: the number was used twice.
    #[error("the peer answered exchange {exchange} as another one than was asked: its number was used before")]
    AnswersAnother {
        /// The number of the exchange.
        exchange: u64,
    },
    /// The peer asks for a first contact though it took part in this association: it forgot me.
    #[error("the peer lost what it knew of this endpoint but kept its incarnation")]
    PeerForgot,
    /// Another life of this endpoint is alive.
    #[error("the peer says that a newer life of this endpoint is alive")]
    Superseded,
    /// The peer saw two different packets of mine under one number: a copy of this endpoint is alive, or its state was restored.
    #[error("the peer saw two different packets of this endpoint under one number: a copy of it is alive, or was")]
    Cloned,
    /// Two different records of the peer under one number: two copies of the peer are writing.
    #[error("two different records of the peer have the number {seq}")]
    Forked {
        /// The number.
        seq: Seq,
    },
    /// A record was lost many times while later ones passed: something removes files by content.
    #[error("record {seq} was lost {losses} times while later ones passed")]
    Poisoned {
        /// The record.
        seq: Seq,
        /// How often.
        losses: u8,
    },
}

impl Alarm {
    /// Whether the pair stops.
    #[must_use]
    pub const fn halts(&self) -> bool {
        !matches!(self, Self::Poisoned { .. })
    }

    /// Whether a new incarnation of this endpoint settles it. On one peer's word one is taken at most once a day: who lies must not make
    /// this endpoint forget the others. (That another life is alive already is not settled by a third.)
    #[must_use]
    pub const fn asks_for_new_incarnation(&self) -> bool {
        matches!(
            self,
            Self::LogRolledBack { .. }
                | Self::ChainMismatch { .. }
                | Self::InboxRolledBack { .. }
                | Self::AnswersAnother { .. }
                | Self::PeerForgot
                | Self::Cloned
        )
    }

    /// Whether a new association with another life of the peer settles it. What says that this side went back in time does not.
    #[must_use]
    pub const fn ends_with_association(&self) -> bool {
        matches!(self, Self::ChainMismatch { .. } | Self::Forked { .. } | Self::Poisoned { .. })
    }

    /// The metric label.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LogRolledBack { .. } => "log_rolled_back",
            Self::ChainMismatch { .. } => "chain_mismatch",
            Self::InboxRolledBack { .. } => "inbox_rolled_back",
            Self::AnswersAnother { .. } => "answers_another",
            Self::PeerForgot => "peer_forgot",
            Self::Superseded => "superseded",
            Self::Cloned => "cloned",
            Self::Forked { .. } => "forked",
            Self::Poisoned { .. } => "poisoned",
        }
    }

    /// What to do about it, as a sentence for a person.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::LogRolledBack { .. }
            | Self::ChainMismatch { .. }
            | Self::InboxRolledBack { .. }
            | Self::AnswersAnother { .. }
            | Self::PeerForgot => {
                "this endpoint takes a new incarnation by itself, once a day on one peer's word. If the pair stays halted: find out which of the two state folders was restored or copied again, then stop the engine of that one, remove its state folder and start it; calls in flight end as outcome unknown"
            }
            Self::Superseded | Self::Cloned => {
                "stop one of the two engines that run this endpoint; if this is the right one, start it with a new incarnation"
            }
            Self::Forked { .. } => {
                "stop one of the two engines that run the peer's endpoint, and start the other with a new incarnation"
            }
            Self::Poisoned { .. } => "ask who runs the mirror or a scanner on the way whether it removes this content",
        }
    }
}
