//! Identifiers: endpoints, sides, incarnations, packet numbers, sequence numbers, streams (wire format §1, §3, §9, §13).
//!
//! Invariants: the fields are private, so a number of one sort is never used as another; ids of sides and endpoints
//! are derived from names, never chosen. UUIDs are in RFC 9562 byte order. Nothing here is secret or checked against a peering.
//! Test to read first: `ids_of_north_and_south`.

use crate::digest::{from_hex, hex, sha256};
use crate::limits::{MAX_NAME, MAX_PACKET_NUMBER, STREAM_END};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// A text that is not a UUID (RFC 9562 text form, or its 32 hex digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: 32 hex digits are expected, with or without the four dashes")]
pub struct NotUuid;

fn parse_uuid(text: &str) -> Result<[u8; 16], NotUuid> {
    if text.len() == 36 {
        let dashed = text.bytes().enumerate().all(|(i, byte)| (byte == b'-') == matches!(i, 8 | 13 | 18 | 23));
        if !dashed {
            return Err(NotUuid);
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        return from_hex(&digits).ok_or(NotUuid);
    }
    from_hex(text).ok_or(NotUuid)
}

fn fmt_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = hex(bytes);
    write!(f, "{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From its 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// 32 lower-case hex digits, as in paths.
            #[must_use]
            pub fn to_hex32(&self) -> String {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt_uuid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt_uuid(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NotUuid;

            fn from_str(text: &str) -> Result<Self, NotUuid> {
                parse_uuid(text).map(Self)
            }
        }
    };
}

uuid_type! {
    /// The id of an endpoint: one log owner of a side.
    EndpointId
}

uuid_type! {
    /// The id of a side as one peering knows it.
    SideId
}

impl SideId {
    /// The side as the recipient of a presence packet.
    #[must_use]
    pub const fn as_address(&self) -> EndpointId {
        EndpointId(self.0)
    }
}

/// One life of an endpoint's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Counts lives where a fence outside the volume keeps it; else 0.
    pub generation: u64,
    /// Chosen at random for each life.
    pub random: [u8; 8],
}

impl Incarnation {
    /// All zero: none seen yet.
    pub const UNKNOWN: Self = Self { generation: 0, random: [0; 8] };

    /// The 16 bytes of the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..].copy_from_slice(&self.random);
        bytes
    }

    /// From the 16 bytes of the wire.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        let mut halves = [[0; 8]; 2];
        halves[0].copy_from_slice(&bytes[..8]);
        halves[1].copy_from_slice(&bytes[8..]);
        Self { generation: u64::from_le_bytes(halves[0]), random: halves[1] }
    }

    /// Whether it is all zero.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// 16 lower-case hex digits of the random half, as in paths.
    #[must_use]
    pub fn random_hex(&self) -> String {
        hex(&self.random)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.random_hex())
    }
}

/// The number of a packet: 1 … 2^40 − 1, never reused, not even for a resend or after a crash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketNumber(u64);

impl PacketNumber {
    /// The first packet number.
    pub const FIRST: Self = Self(1);
    /// The last packet number.
    pub const MAX: Self = Self(MAX_PACKET_NUMBER);

    /// `None` outside 1 … 2^40 − 1.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        match value {
            1..=MAX_PACKET_NUMBER => Some(Self(value)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The following one; `None` after the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

/// The sequence number of a record in its log: from 1 on. 0 stands for "none yet" in a cumulative ack.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// No record yet.
    pub const NONE: Self = Self(0);
    /// The first record.
    pub const FIRST: Self = Self(1);

    /// From a number; on the wire it is below 2^62.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The following one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before; `None` before [`Self::NONE`].
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0 {
            0 => None,
            value => Some(Self(value - 1)),
        }
    }
}

/// The id of a stream: below 2^48. 2n is the request of exchange n, 2n + 1 its response, 0 is outside any exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// Messages outside any exchange.
    pub const NO_EXCHANGE: Self = Self(0);
    /// The largest exchange number: its response is the last stream.
    pub const MAX_EXCHANGE: u64 = STREAM_END / 2 - 1;

    /// `None` from 2^48 on.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value < STREAM_END { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The request stream of exchange `n`, in the opener's log.
    ///
    /// # Panics
    /// If `n` is above [`Self::MAX_EXCHANGE`]: exchanges are counted by their opener, from 1.
    #[must_use]
    pub const fn request(n: u64) -> Self {
        assert!(n <= Self::MAX_EXCHANGE, "exchange numbers end at 2^47 - 1");
        Self(2 * n)
    }

    /// The response stream of exchange `n`, in the other log.
    ///
    /// # Panics
    /// As [`Self::request`].
    #[must_use]
    pub const fn response(n: u64) -> Self {
        assert!(n <= Self::MAX_EXCHANGE, "exchange numbers end at 2^47 - 1");
        Self(2 * n + 1)
    }

    /// Whether it is a request stream; stream 0 counts as one, of exchange 0.
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// The number of its exchange; 0 for streams 0 and 1.
    #[must_use]
    pub const fn exchange(self) -> u64 {
        self.0 / 2
    }

    /// The response stream of the same exchange.
    #[must_use]
    pub const fn response_of(self) -> Self {
        Self(self.0 | 1)
    }
}

macro_rules! number_text {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}

number_text!(PacketNumber, Seq, StreamId);

/// Whether `name` is lower-case `[a-z0-9-]`, 1–63 characters.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// u16 length and bytes; what cannot be counted in 16 bits is cut there, which no valid name reaches.
pub(crate) fn push_lp(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

fn uuid8(input: &[u8]) -> [u8; 16] {
    let digest = sha256(&[input]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// The id of side `own` in its peering with `other`; both sides compute the same. `realm` is "" by default.
#[must_use]
pub fn side_id(realm: &str, own: &str, other: &str) -> SideId {
    let mut input = b"hoft1 side".to_vec();
    for name in [realm, own, other] {
        push_lp(&mut input, name);
    }
    SideId(uuid8(&input))
}

/// The id of the endpoint of `side` with this kind ("gateway", "pod", "canary") and name.
#[must_use]
pub fn endpoint_id(side: &SideId, kind: &str, name: &str) -> EndpointId {
    let mut input = b"hoft1 endpoint".to_vec();
    input.extend_from_slice(&side.0);
    for text in [kind, name] {
        push_lp(&mut input, text);
    }
    EndpointId(uuid8(&input))
}

#[cfg(test)]
mod tests;
