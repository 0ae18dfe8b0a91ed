//! Payloads whose bytes this room knows: TOMBSTONE, the codes of RESET_STREAM and STOP_SENDING, FIN (wire format §9).
//!
//! Invariant: each has exactly one length (a code: exactly one varint; a FIN: one of three), and nothing after it. All other
//! payloads belong to layer 2.
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

/// The payload of a FIN: what the content of the message was, and what stood around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fin {
    /// Bytes of the content.
    pub content_length: u64,
    /// See [`crate::digest::BodyDigest`].
    pub digest: Digest,
    /// The other records of the message. `None` in logs of an earlier version, whose FIN is 40 bytes.
    pub bound: Option<Bound>,
}

/// The records beside the content that belong to one message. Without this, the head of one message and the content and FIN of
/// another would pass for a whole one, where a log went back in time or has a twin and both wrote under the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Payload digest of the HEAD.
    pub head: Digest,
    /// Payload digest of the TRAILERS, if the message has any.
    pub trailers: Option<Digest>,
}

const DIGEST_LEN: usize = 32;

impl Fin {
    /// The payload: 40 bytes, then 32 of the head's digest, then 32 of the trailers' digest.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN + 2 * DIGEST_LEN);
        bytes.extend_from_slice(&self.content_length.to_le_bytes());
        bytes.extend_from_slice(&self.digest);
        if let Some(bound) = &self.bound {
            bytes.extend_from_slice(&bound.head);
            bytes.extend_from_slice(bound.trailers.as_ref().map_or(&[][..], |digest| &digest[..]));
        }
        bytes
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `Records` if it is not 40, 72 or 104 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (fixed, rest) = payload.split_at_checked(LEN).ok_or(Reject::Records)?;
        let digest = |bytes: &[u8]| Digest::try_from(bytes).map_err(|_| Reject::Records);
        let bound = match rest.len() {
            0 => None,
            DIGEST_LEN => Some(Bound { head: digest(rest)?, trailers: None }),
            _ => {
                let (head, trailers) = rest.split_at_checked(DIGEST_LEN).ok_or(Reject::Records)?;
                Some(Bound { head: digest(head)?, trailers: Some(digest(trailers)?) })
            }
        };
        let content_length = u64::from_le_bytes(core::array::from_fn(|i| fixed[i]));
        Ok(Self { content_length, digest: digest(&fixed[8..])?, bound })
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
        let head = Bound { head: [7; 32], trailers: None };
        let both = Bound { trailers: Some([5; 32]), ..head };
        for (bound, len) in [(None, 40), (Some(head), 72), (Some(both), 104)] {
            let fin = Fin { content_length: 0x0102, digest: [9; 32], bound };
            let bytes = fin.encode();
            assert_eq!((bytes.len(), &bytes[..9]), (len, &[2, 1, 0, 0, 0, 0, 0, 0, 9][..]));
            assert_eq!((bytes.get(40), bytes.get(72)), (bound.map(|_| &7), bound.and(bytes.get(72))));
            assert_eq!(Fin::decode(&bytes), Ok(fin));
        }
        for len in [0, 39, 41, 71, 73, 103, 105, 136] {
            assert_eq!(Fin::decode(&[0; 136][..len]), Err(Reject::Records), "{len}");
        }
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
