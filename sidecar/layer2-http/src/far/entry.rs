//! The durable entries of `far`: kinds 96 to 101 of the log.
//!
//! Invariant: what is written reads back the same. What an entry does to the journal is `Executions::replay`. Test to
//! read first: `far::tests::entries_read_back_as_written`.

use crate::entry::{self, EntryError};
use crate::operation::OperationId;
use minicbor::{Decode, Encode};
use wire::{EndpointId, StreamId};

/// What must be durable of the far side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarEntry {
    /// The call is about to be made. Kind 96.
    Dispatched(Dispatched),
    /// The response is about to be appended. Kind 97.
    ResponseBegun {
        /// The operation.
        operation: OperationId,
    },
    /// The whole response is in the log. Kind 98.
    Done {
        /// The operation.
        operation: OperationId,
    },
    /// The near side holds the whole response durably. Kind 99.
    Acked {
        /// The operation.
        operation: OperationId,
    },
    /// The operation is no longer recognised. Kind 100.
    Forgotten {
        /// The operation.
        operation: OperationId,
    },
    /// The association with that endpoint was closed: its stream numbers begin anew. Kind 101.
    PeerClosed {
        /// The endpoint.
        peer: EndpointId,
        /// When: Unix ms. 0 in logs of before it was written down.
        at_ms: i64,
    },
}

/// A call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Dispatched {
    /// Who asked for it.
    #[cbor(n(0), with = "entry::endpoint")]
    pub peer: EndpointId,
    /// Its request stream.
    #[cbor(n(1), with = "entry::stream")]
    pub stream: StreamId,
    /// The operation.
    #[n(2)]
    pub operation: OperationId,
    /// Number of the attempt, from 1.
    #[n(3)]
    pub attempt: u32,
    /// Unix ms.
    #[n(4)]
    pub at_ms: i64,
}

#[derive(Encode, Decode)]
struct About {
    #[n(0)]
    operation: OperationId,
}

#[derive(Encode, Decode)]
struct Closed {
    #[cbor(n(0), with = "entry::endpoint")]
    peer: EndpointId,
    #[n(1)]
    at_ms: Option<i64>,
}

impl FarEntry {
    /// Its kind in the log.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Dispatched(_) => 96,
            Self::ResponseBegun { .. } => 97,
            Self::Done { .. } => 98,
            Self::Acked { .. } => 99,
            Self::Forgotten { .. } => 100,
            Self::PeerClosed { .. } => 101,
        }
    }

    /// Must it be durable before what it announces is done? Other entries may wait for the next commit.
    #[must_use]
    pub const fn urgent(&self) -> bool {
        matches!(self, Self::Dispatched(_) | Self::ResponseBegun { .. } | Self::PeerClosed { .. })
    }

    /// Appends its payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Dispatched(dispatched) => entry::write(dispatched, out),
            Self::ResponseBegun { operation }
            | Self::Done { operation }
            | Self::Acked { operation }
            | Self::Forgotten { operation } => entry::write(&About { operation: *operation }, out),
            Self::PeerClosed { peer, at_ms } => entry::write(&Closed { peer: *peer, at_ms: Some(*at_ms) }, out),
        }
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// If the kind is not one of these, or the payload does not fit it.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, EntryError> {
        let about = || entry::read::<About>(kind, payload).map(|about| about.operation);
        match kind {
            96 => entry::read(kind, payload).map(Self::Dispatched),
            97 => about().map(|operation| Self::ResponseBegun { operation }),
            98 => about().map(|operation| Self::Done { operation }),
            99 => about().map(|operation| Self::Acked { operation }),
            100 => about().map(|operation| Self::Forgotten { operation }),
            101 => entry::read(kind, payload)
                .map(|Closed { peer, at_ms }| Self::PeerClosed { peer, at_ms: at_ms.unwrap_or_default() }),
            _ => Err(EntryError::Kind { kind }),
        }
    }
}
