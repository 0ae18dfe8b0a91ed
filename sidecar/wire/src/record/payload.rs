//! Payloads whose bytes this room knows: TOMBSTONE, the codes of RESET_STREAM and STOP_SENDING, FIN (wire format §9).
//!
//! Invariant: each has exactly one length (a code: exactly one varint), and nothing after it. All other payloads belong to layer 2.
//! Test to read first: `a_tombstone_is_laid_out_as_drawn`.

use crate::digest::Digest;
use crate::reject::Reject;
use crate::varint;
use alloc::vec::Vec;
use bytes::Bytes;

const LEN: usize = 40;

/// The payload of a TOMBSTONE: what it stands for. Sequence number, stream, offset and raw length are in its own header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Kind of the record it stands for.
    pub kind: u8,
    /// Flags of that record.
    pub flags: u8,
    /// What the sender already counted for that record, in bytes of credit; 0 if it was never sent.
    pub charged: u32,
    /// Payload digest of that record.
    pub digest: Digest,
}

impl Tombstone {
    /// The 40 bytes of the payload.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = self.kind;
        bytes[1] = self.flags;
        bytes[4..8].copy_from_slice(&self.charged.to_le_bytes());
        bytes[8..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads a payload; the two spare bytes are not checked.
    ///
    /// # Errors
    /// `Records` if it is not 40 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let bytes: &[u8; LEN] = payload.try_into().map_err(|_| Reject::Records)?;
        Ok(Self {
            kind: bytes[0],
            flags: bytes[1],
            charged: u32::from_le_bytes(core::array::from_fn(|i| bytes[4 + i])),
            digest: core::array::from_fn(|i| bytes[8 + i]),
        })
    }
}

/// The payload of a FIN: what the content of the message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fin {
    /// Bytes of the content.
    pub content_length: u64,
    /// See [`crate::digest::BodyDigest`].
    pub digest: Digest,
}

impl Fin {
    /// The 40 bytes of the payload.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.content_length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `Records` if it is not 40 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let bytes: &[u8; LEN] = payload.try_into().map_err(|_| Reject::Records)?;
        Ok(Self {
            content_length: u64::from_le_bytes(core::array::from_fn(|i| bytes[i])),
            digest: core::array::from_fn(|i| bytes[8 + i]),
        })
    }
}

/// The payload of RESET_STREAM and STOP_SENDING.
#[must_use]
pub fn encode_code(code: u64) -> Bytes {
    let mut bytes = Vec::new();
    varint::encode(code, &mut bytes);
    bytes.into()
}

/// Reads the payload of RESET_STREAM or STOP_SENDING.
///
/// # Errors
/// `Records` if it is not exactly one varint.
pub fn decode_code(mut payload: &[u8]) -> Result<u64, Reject> {
    let code = varint::decode(&mut payload).map_err(|_| Reject::Records)?;
    if payload.is_empty() { Ok(code) } else { Err(Reject::Records) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_laid_out_as_drawn() {
        let tombstone = Tombstone { kind: 33, flags: 1, charged: 0x0403_0201, digest: [9; 32] };
        let bytes = tombstone.encode();
        assert_eq!(bytes[..9], [33, 1, 0, 0, 1, 2, 3, 4, 9]);
        assert_eq!(Tombstone::decode(&bytes), Ok(tombstone.clone()));
        let mut spare = bytes;
        spare[2] = 0xff;
        assert_eq!(Tombstone::decode(&spare), Ok(tombstone));
        for len in [0, 39, 41] {
            assert_eq!(Tombstone::decode(&[0; 41][..len]), Err(Reject::Records));
        }
    }

    #[test]
    fn a_fin_is_laid_out_as_drawn() {
        let fin = Fin { content_length: 0x0102, digest: [9; 32] };
        assert_eq!(fin.encode()[..9], [2, 1, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(Fin::decode(&fin.encode()), Ok(fin));
        assert_eq!(Fin::decode(&[0; 39]), Err(Reject::Records));
        assert_eq!(Fin::decode(&[0; 41]), Err(Reject::Records));
    }

    #[test]
    fn a_code_is_one_varint_and_nothing_after_it() {
        for code in [0, 63, 64, 1 << 40] {
            assert_eq!(decode_code(&encode_code(code)), Ok(code));
        }
        assert_eq!(decode_code(&[]), Err(Reject::Records));
        assert_eq!(decode_code(&[1, 0]), Err(Reject::Records));
        assert_eq!(decode_code(&[0x40, 1]), Err(Reject::Records));
    }
}
