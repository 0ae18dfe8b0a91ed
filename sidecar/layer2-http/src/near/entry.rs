//! The durable entries of `near`: kinds 64 to 68 of the log.
//!
//! Invariant: what is written reads back the same. What an entry does to the table is `Operations::replay`. Test to
//! read first: `near::tests::entries_read_back_as_written`.

use crate::entry::{self, EntryError};
use crate::event::Mark;
use crate::operation::{Executed, OperationId, State};
use minicbor::{Decode, Encode};
use wire::{EndpointId, StreamId};

/// A new operation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Begun {
    /// Its id.
    #[n(0)]
    pub id: OperationId,
    /// The endpoint it goes to.
    #[cbor(n(1), with = "entry::endpoint")]
    pub peer: EndpointId,
    /// Its request stream.
    #[cbor(n(2), with = "entry::stream")]
    pub stream: StreamId,
    /// Is its response to be stored as a result?
    #[n(3)]
    pub retain: bool,
    /// Request method.
    #[n(4)]
    pub method: String,
    /// Target URI.
    #[n(5)]
    pub target: String,
    /// The allow rule it was admitted by.
    #[n(6)]
    pub route: Option<String>,
    /// Unix ms.
    #[n(7)]
    pub begun_ms: i64,
    /// Number of the event; given by `Operations::begin`. `None` in logs of before there were any.
    #[n(8)]
    pub number: Option<u64>,
    /// When its time is over: Unix ms, by this side's clock.
    #[n(9)]
    pub deadline_ms: Option<i64>,
}

/// An operation reached a state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reached {
    /// Its id.
    #[n(0)]
    pub id: OperationId,
    /// The state.
    #[n(1)]
    pub state: State,
    /// When: Unix ms.
    #[n(2)]
    pub at_ms: i64,
    /// Status of the response, once known.
    #[n(3)]
    pub status: Option<u16>,
    /// Was the call made?
    #[n(4)]
    pub executed: Option<Executed>,
    /// Slug of the problem it ended with.
    #[n(5)]
    pub problem: Option<String>,
    /// Number of the event; given by the table. `None` in logs of before there were any.
    #[n(6)]
    pub number: Option<u64>,
    /// The figure that belongs to the state (`event::Mark`).
    #[n(7)]
    pub figure: Option<u64>,
    /// In checkpoints: every state it reached so far, this one included.
    #[n(8)]
    pub way: Option<Vec<Mark>>,
}

impl Reached {
    /// A state without anything else.
    #[must_use]
    pub const fn new(id: OperationId, state: State, at_ms: i64) -> Self {
        Self { id, state, at_ms, status: None, executed: None, problem: None, number: None, figure: None, way: None }
    }
}

/// What must be durable of the near side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NearEntry {
    /// A new operation. Kind 64.
    Begun(Begun),
    /// A state was reached. Kind 65.
    State(Reached),
    /// The operation, and its result, are no longer kept. Kind 66.
    Forgotten {
        /// Its id.
        id: OperationId,
    },
    /// It goes by another stream, as the association was opened anew. Kind 67.
    Moved {
        /// Its id.
        id: OperationId,
        /// The endpoint it goes to.
        peer: EndpointId,
        /// Its request stream.
        stream: StreamId,
    },
    /// Its caller wants it no more, and the far side is asked how far it came. Kind 68.
    CancelAsked {
        /// Its id.
        id: OperationId,
    },
}

#[derive(Encode, Decode)]
struct Forgotten {
    #[n(0)]
    id: OperationId,
}

#[derive(Encode, Decode)]
struct Moved {
    #[n(0)]
    id: OperationId,
    #[cbor(n(1), with = "entry::endpoint")]
    peer: EndpointId,
    #[cbor(n(2), with = "entry::stream")]
    stream: StreamId,
}

impl NearEntry {
    /// Its kind in the log.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Begun(_) => 64,
            Self::State(_) => 65,
            Self::Forgotten { .. } => 66,
            Self::Moved { .. } => 67,
            Self::CancelAsked { .. } => 68,
        }
    }

    /// The operation it is about.
    #[must_use]
    pub const fn id(&self) -> OperationId {
        match self {
            Self::Begun(Begun { id, .. }) | Self::State(Reached { id, .. }) => *id,
            Self::Forgotten { id } | Self::Moved { id, .. } | Self::CancelAsked { id } => *id,
        }
    }

    /// Must it be durable before anything it says is told or done? Other entries may wait for the next commit.
    #[must_use]
    pub const fn urgent(&self) -> bool {
        match self {
            Self::Begun(_) | Self::Moved { .. } | Self::CancelAsked { .. } => true,
            Self::State(reached) => reached.state.is_terminal() || matches!(reached.state, State::ResponseReady),
            Self::Forgotten { .. } => false,
        }
    }

    /// Appends its payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Begun(begun) => entry::write(begun, out),
            Self::State(reached) => entry::write(reached, out),
            Self::Forgotten { id } | Self::CancelAsked { id } => entry::write(&Forgotten { id: *id }, out),
            Self::Moved { id, peer, stream } => entry::write(&Moved { id: *id, peer: *peer, stream: *stream }, out),
        }
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// If the kind is not one of these, or the payload does not fit it.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, EntryError> {
        match kind {
            64 => entry::read(kind, payload).map(Self::Begun),
            65 => entry::read(kind, payload).map(Self::State),
            66 => entry::read(kind, payload).map(|Forgotten { id }| Self::Forgotten { id }),
            67 => entry::read(kind, payload).map(|Moved { id, peer, stream }| Self::Moved { id, peer, stream }),
            68 => entry::read(kind, payload).map(|Forgotten { id }| Self::CancelAsked { id }),
            _ => Err(EntryError::Kind { kind }),
        }
    }
}
