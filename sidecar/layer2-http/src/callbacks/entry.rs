//! The durable entries of `callbacks`: kinds 84 to 87 of the log.
//!
//! Invariant: what is written reads back the same; unknown keys are skipped. What an entry does to the table is
//! `Callbacks::replay`. Test to read first: `callbacks::tests::entries_read_back_as_written`.

use minicbor::{Decode, Encode};

use super::Line;
use crate::entry::{self, EntryError};
use crate::operation::OperationId;

/// Who wants to hear of an operation. Kind 84.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Wanted {
    /// The operation.
    #[n(0)]
    pub id: OperationId,
    /// Where its result goes.
    #[n(1)]
    pub callback: Option<String>,
    /// Where its events go.
    #[n(2)]
    pub events: Option<String>,
}

/// Deliveries arrived. Kind 85.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Delivered {
    /// The operation.
    #[n(0)]
    pub id: OperationId,
    /// By which line.
    #[n(1)]
    pub line: Line,
    /// Up to this event.
    #[n(2)]
    pub number: u64,
    /// Nothing more is to come.
    #[n(3)]
    pub last: bool,
}

/// A line was given up. Kind 86.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Dead {
    /// The operation.
    #[n(0)]
    pub id: OperationId,
    /// Which line.
    #[n(1)]
    pub line: Line,
    /// The event that was not delivered.
    #[n(2)]
    pub number: u64,
    /// When: Unix ms.
    #[n(3)]
    pub at_ms: i64,
    /// Why the last attempt failed.
    #[n(4)]
    pub reason: String,
    /// Attempts made.
    #[n(5)]
    pub attempts: u32,
}

/// A line is to be tried again. Kind 87.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revived {
    /// The operation.
    #[n(0)]
    pub id: OperationId,
    /// Which line.
    #[n(1)]
    pub line: Line,
    /// When that was asked for: Unix ms.
    #[n(2)]
    pub at_ms: i64,
}

/// What must be durable of callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackEntry {
    /// Kind 84.
    Wanted(Wanted),
    /// Kind 85.
    Delivered(Delivered),
    /// Kind 86.
    Dead(Dead),
    /// Kind 87.
    Revived(Revived),
}

impl CallbackEntry {
    /// Is this the kind of such an entry?
    #[must_use]
    pub const fn has_kind(kind: u8) -> bool {
        matches!(kind, 84..=87)
    }

    /// Its kind in the log.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Wanted(_) => 84,
            Self::Delivered(_) => 85,
            Self::Dead(_) => 86,
            Self::Revived(_) => 87,
        }
    }

    /// The operation it is about.
    #[must_use]
    pub const fn id(&self) -> OperationId {
        match self {
            Self::Wanted(Wanted { id, .. })
            | Self::Delivered(Delivered { id, .. })
            | Self::Dead(Dead { id, .. })
            | Self::Revived(Revived { id, .. }) => *id,
        }
    }

    /// Its payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Wanted(wanted) => entry::write(wanted, &mut out),
            Self::Delivered(delivered) => entry::write(delivered, &mut out),
            Self::Dead(dead) => entry::write(dead, &mut out),
            Self::Revived(revived) => entry::write(revived, &mut out),
        }
        out
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// If the kind is not one of these, or the payload does not fit it.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, EntryError> {
        match kind {
            84 => entry::read(kind, payload).map(Self::Wanted),
            85 => entry::read(kind, payload).map(Self::Delivered),
            86 => entry::read(kind, payload).map(Self::Dead),
            87 => entry::read(kind, payload).map(Self::Revived),
            _ => Err(EntryError::Kind { kind }),
        }
    }
}
