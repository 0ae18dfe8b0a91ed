//! How durable entries of `near` and `far` are written: one CBOR item each, under an entry kind of the log.
//!
//! | kind | entry | | kind | entry |
//! |---|---|---|---|---|
//! | 64 | near: begun | | 96 | far: dispatched |
//! | 65 | near: state | | 97 | far: response begun |
//! | 66 | near: forgotten | | 98 | far: done |
//! | 67 | near: moved | | 99 | far: acked |
//! | 80 | key: taken | | | |
//! | 81 | key: body | | | |
//! | 84 | callback: wanted | | | |
//! | 85 | callback: delivered | | | |
//! | 86 | callback: dead | | | |
//! | 87 | callback: revived | | | |
//! | | | | 100 | far: forgotten |
//! | | | | 101 | far: peer closed |
//!
//! Invariants: near entries use kinds 64 to 95, far entries 96 to 127; what is written reads back the same; unknown map
//! keys are skipped, so a later version may add some. The log guards the bytes; this only gives them shape.
//! Test to read first: `near::tests::entries_read_back_as_written`.

use minicbor::{Decode, Encode};

/// Why a durable entry cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A kind this program does not know.
    #[error("entry kind {kind} is unknown; it was written by a later version")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// A payload that does not fit its kind.
    #[error("entry of kind {kind}: {what}")]
    Shape {
        /// The kind.
        kind: u8,
        /// What the decoder says.
        what: String,
    },
}

/// Appends one item.
pub(crate) fn write<T: Encode<()>>(item: &T, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and the types of this room encode any value.
    let _ = minicbor::encode(item, out);
}

/// Reads one item of an entry of this kind.
pub(crate) fn read<'b, T: Decode<'b, ()>>(kind: u8, payload: &'b [u8]) -> Result<T, EntryError> {
    minicbor::decode(payload).map_err(|error| EntryError::Shape { kind, what: error.to_string() })
}

/// Endpoint ids as 16 bytes.
pub(crate) mod endpoint {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};
    use wire::EndpointId;

    pub(crate) fn encode<C, W: Write>(
        id: &EndpointId,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(id.as_bytes())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<EndpointId, DecodeError> {
        let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("an endpoint id has 16 bytes"))?;
        Ok(EndpointId::from_bytes(bytes))
    }
}

/// Stream ids as numbers.
pub(crate) mod stream {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};
    use wire::StreamId;

    pub(crate) fn encode<C, W: Write>(
        id: &StreamId,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(id.get())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<StreamId, DecodeError> {
        StreamId::new(d.u64()?).ok_or_else(|| DecodeError::message("a stream id is below 2^48"))
    }
}
