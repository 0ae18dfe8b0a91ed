//! The fixed header of a packet and the places of its parts (wire format §2, §3, §4; checks 1–4 of §11).
//!
//! | off | size | field | | off | size | field |
//! |---|---|---|---|---|---|---|
//! | 0 | 8 | magic | | 80 | 16 | recipient incarnation |
//! | 8 | 2 | major | | 96 | 8 | packet number |
//! | 10 | 2 | minor | | 104 | 8 | sent_at, Unix ms |
//! | 12 | 2 | suite | | 112 | 8 | total_len |
//! | 14 | 2 | flags | | 120 | 8 | signing key id |
//! | 16 | 4 | header_len | | 128 | 8 | KEM key id |
//! | 20 | 4 | control_len | | 136 | 32 | salt |
//! | 24 | 4 | frame_count | | 168 | 32 | commitment |
//! | 28 | 4 | frames_at | | 200 | 52 | reserved |
//! | 32 | 16 | sender id | | 252 | 4 | CRC-32C |
//! | 48 | 16 | recipient id | | | | |
//! | 64 | 16 | sender incarnation | | | | |
//!
//! Invariant: a header that came out of `parse` has lengths that agree with each other and with its suite, so that its layout can be
//! followed without further checks. It does not judge addresses, keys or packet numbers against state, and it verifies no signature.
//! Reserved bytes are not kept: hashes and signatures are made over the bytes read, never over a header encoded again.
//! Test to read first: `a_header_comes_back`.

use crate::digest::Digest;
use crate::ids::{EndpointId, Incarnation, PacketNumber};
use crate::limits::{MAX_CONTROL_LEN, MAX_FRAMES, MAX_HEADER_LEN, MAX_PACKET_LEN, MIN_CONTROL_LEN};
use crate::reject::Reject;
use crate::suite::{CHECKSUM_LEN, Suite, UnknownSuite};
use core::ops::Range;

pub use crate::limits::{END_MARKER_LEN, HEADER_LEN};

/// The first eight bytes of every packet.
pub const MAGIC: [u8; 8] = [0x89, b'H', b'F', b'T', b'\r', b'\n', 0x1a, b'\n'];
/// The major version this room reads and writes.
pub const MAJOR: u16 = 1;
/// The minor version this room writes.
pub const MINOR: u16 = 0;
/// The flags whose meaning a reader must know.
pub const CRITICAL_FLAGS: u16 = 0x00ff;
/// Place of the salt in the header.
pub const SALT_AT: Range<usize> = 136..168;
/// Place of the commitment in the header.
pub const COMMITMENT_AT: Range<usize> = 168..200;
/// Place of the CRC in the header.
pub const CRC_AT: Range<usize> = 252..256;
/// Bytes of the message that signatures cover.
pub const SIGNED_MESSAGE_LEN: usize = SIGNED_MESSAGE_PREFIX.len() + 32;

const SIGNED_MESSAGE_PREFIX: &[u8; 22] = b"hoft1 packet signature";
const END_MARK: [u8; 8] = *b"HFTEND\r\n";

/// The next multiple of 8; saturates at the last one.
#[must_use]
pub const fn align8(n: u64) -> u64 {
    n.saturating_add(7) & !7
}

/// As [`align8`], for lengths in memory.
#[must_use]
pub const fn align8_usize(n: usize) -> usize {
    n.saturating_add(7) & !7
}

/// The header of a packet, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version; any is accepted.
    pub minor: u16,
    /// The suite's number as it stands in the file.
    pub suite_number: u16,
    /// Bits 0–7 critical, 8–15 advisory.
    pub flags: u16,
    /// 256 + the length of the ext block, in bytes.
    pub header_len: u32,
    /// Bytes of the clear control block.
    pub control_len: u32,
    /// Number of frames.
    pub frame_count: u32,
    /// Where frame 0 begins; the length of the prefix in bytes.
    pub frames_at: u32,
    /// The sending endpoint.
    pub sender: EndpointId,
    /// The endpoint, or for presence the side, it is for.
    pub recipient: EndpointId,
    /// The life of the sender; never all zero.
    pub sender_incarnation: Incarnation,
    /// The life of the recipient it is for or answers; all zero if none was seen yet.
    pub recipient_incarnation: Incarnation,
    /// The packet's number.
    pub pn: PacketNumber,
    /// Unix milliseconds of the sender's clock; for statistics only.
    pub sent_at_ms: i64,
    /// Bytes of the whole file.
    pub total_len: u64,
    /// Id of the key pair that signed; zero in suite 1.
    pub signing_key: [u8; 8],
    /// Id of the KEM key encrypted to; zero in suites 1 and 2.
    pub kem_key: [u8; 8],
    /// Identifies the packet; never repeated.
    pub salt: [u8; 32],
    /// Binds the packet to one key; zero in suites without sealing.
    pub commitment: [u8; 32],
}

/// Where the parts of a packet lie, as byte offsets in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The KEM ciphertext; also the end of the ext block.
    pub ct_at: usize,
    /// The control block.
    pub control_at: usize,
    /// The frame table.
    pub table_at: usize,
    /// The end of the frame table; in sealed suites the AEAD tag of control and table is here.
    pub table_end: usize,
    /// The signature; also how many bytes it covers.
    pub sig_at: usize,
    /// The end of the signature, before its padding.
    pub sig_end: usize,
    /// Frame 0; also the length of the prefix.
    pub frames_at: usize,
}

impl Layout {
    /// The layout that a suite and three lengths (as in the header) give.
    #[must_use]
    pub const fn new(suite: Suite, header_len: u32, control_len: u32, frame_count: u32) -> Self {
        let ct_at = header_len as usize;
        let control_at = ct_at + suite.kem_ct_len();
        let table_at = control_at + control_len as usize;
        let table_end = table_at + frame_count as usize * suite.entry_len();
        let sig_at = table_end + suite.tag_len();
        let sig_end = sig_at + suite.signature_len();
        Self { ct_at, control_at, table_at, table_end, sig_at, sig_end, frames_at: align8_usize(sig_end) }
    }

    /// The ext block.
    #[must_use]
    pub const fn ext(&self) -> Range<usize> {
        HEADER_LEN..self.ct_at
    }

    /// The KEM ciphertext.
    #[must_use]
    pub const fn ct(&self) -> Range<usize> {
        self.ct_at..self.control_at
    }

    /// Control and table with their tag, as they stand in the file: one AEAD message in sealed suites.
    #[must_use]
    pub const fn sealed(&self) -> Range<usize> {
        self.control_at..self.sig_at
    }

    /// The control block (encrypted in sealed suites).
    #[must_use]
    pub const fn control(&self) -> Range<usize> {
        self.control_at..self.table_at
    }

    /// The frame table (encrypted in sealed suites).
    #[must_use]
    pub const fn table(&self) -> Range<usize> {
        self.table_at..self.table_end
    }

    /// The signature, without its padding.
    #[must_use]
    pub const fn signature(&self) -> Range<usize> {
        self.sig_at..self.sig_end
    }
}

impl Header {
    /// The 256 bytes of the header with its CRC.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&MAJOR.to_le_bytes());
        put(&self.minor.to_le_bytes());
        put(&self.suite_number.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.header_len.to_le_bytes());
        put(&self.control_len.to_le_bytes());
        put(&self.frame_count.to_le_bytes());
        put(&self.frames_at.to_le_bytes());
        put(self.sender.as_bytes());
        put(self.recipient.as_bytes());
        put(&self.sender_incarnation.to_bytes());
        put(&self.recipient_incarnation.to_bytes());
        put(&self.pn.get().to_le_bytes());
        put(&self.sent_at_ms.to_le_bytes());
        put(&self.total_len.to_le_bytes());
        put(&self.signing_key);
        put(&self.kem_key);
        put(&self.salt);
        put(&self.commitment);
        set_crc(&mut bytes);
        bytes
    }

    /// Reads a header from the front of `file` and makes checks 1 (size) to 4 of §11.
    ///
    /// # Errors
    /// The reject of the first check that fails; `Short`, `Magic` and `Crc` may pass later, while the file still grows.
    pub fn parse(file: &[u8]) -> Result<Self, Reject> {
        Self::parse_accepting(file, |_| true)
    }

    /// As [`Self::parse`]; `accepts` tells whether the peering accepts the suite, and is asked in its place of the order:
    /// its major and suite are then known good, its flags, lengths and packet number are not.
    ///
    /// # Errors
    /// As [`Self::parse`], and `SuiteRefused` where `accepts` says no.
    pub fn parse_accepting(file: &[u8], accepts: impl FnOnce(&Self) -> bool) -> Result<Self, Reject> {
        let bytes: &[u8; HEADER_LEN] = file.first_chunk().ok_or(Reject::Short)?;
        if bytes[..8] != MAGIC {
            return Err(Reject::Magic);
        }
        if bytes[CRC_AT] != crc(bytes) {
            return Err(Reject::Crc);
        }
        let mut fields = Fields(&bytes[8..]);
        if fields.u16() != MAJOR {
            return Err(Reject::Major);
        }
        let minor = fields.u16();
        let suite_number = fields.u16();
        let suite = Suite::from_number(suite_number).map_err(|_| Reject::SuiteUnknown)?;
        let mut header = Self {
            minor,
            suite_number,
            flags: fields.u16(),
            header_len: fields.u32(),
            control_len: fields.u32(),
            frame_count: fields.u32(),
            frames_at: fields.u32(),
            sender: EndpointId::from_bytes(fields.take()),
            recipient: EndpointId::from_bytes(fields.take()),
            sender_incarnation: Incarnation::from_bytes(&fields.take()),
            recipient_incarnation: Incarnation::from_bytes(&fields.take()),
            pn: PacketNumber::FIRST,
            sent_at_ms: 0,
            total_len: 0,
            signing_key: [0; 8],
            kem_key: [0; 8],
            salt: [0; 32],
            commitment: [0; 32],
        };
        let pn = PacketNumber::new(fields.u64());
        header.pn = pn.unwrap_or(PacketNumber::MAX);
        header.sent_at_ms = i64::from_le_bytes(fields.take());
        header.total_len = fields.u64();
        header.signing_key = fields.take();
        header.kem_key = fields.take();
        header.salt = fields.take();
        header.commitment = fields.take();
        if !accepts(&header) {
            return Err(Reject::SuiteRefused);
        }
        if header.flags & CRITICAL_FLAGS != 0 {
            return Err(Reject::Flags);
        }
        if pn.is_none() || !header.lengths_agree(suite) {
            return Err(Reject::Length);
        }
        Ok(header)
    }

    fn lengths_agree(&self, suite: Suite) -> bool {
        let in_range = |value: u32, low: u32, high: u32| value.is_multiple_of(8) && (low..=high).contains(&value);
        in_range(self.header_len, HEADER_LEN as u32, MAX_HEADER_LEN)
            && in_range(self.control_len, MIN_CONTROL_LEN, MAX_CONTROL_LEN)
            && self.frame_count <= MAX_FRAMES
            && self.frames_at as usize
                == Layout::new(suite, self.header_len, self.control_len, self.frame_count).frames_at
            && !self.sender_incarnation.is_unknown()
            && self.total_len.is_multiple_of(8)
            && self.total_len <= MAX_PACKET_LEN
            && self.total_len >= u64::from(self.frames_at) + END_MARKER_LEN as u64
    }

    /// The suite of its number.
    ///
    /// # Errors
    /// If it is not implemented, which no parsed header is.
    pub const fn suite(&self) -> Result<Suite, UnknownSuite> {
        Suite::from_number(self.suite_number)
    }

    /// Where the parts of the packet lie. A suite that is not implemented (no parsed header has one) is laid out as suite 1.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let suite = self.suite().unwrap_or(Suite::Checksum);
        Layout::new(suite, self.header_len, self.control_len, self.frame_count)
    }
}

/// Little-endian fields off the front of bytes that are known to be long enough; zeros beyond their end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

fn crc(header: &[u8; HEADER_LEN]) -> [u8; 4] {
    crc32c::crc32c(&header[..CRC_AT.start]).to_le_bytes()
}

/// Writes the CRC of an encoded header into it, after another of its bytes was changed.
pub fn set_crc(header: &mut [u8; HEADER_LEN]) {
    let sum = crc(header);
    header[CRC_AT].copy_from_slice(&sum);
}

/// The last 16 bytes of a packet with this salt: a hint that the file is whole.
#[must_use]
pub fn end_marker(salt: &[u8; 32]) -> [u8; END_MARKER_LEN] {
    let mut marker = [0; END_MARKER_LEN];
    marker[..8].copy_from_slice(&END_MARK);
    marker[8..].copy_from_slice(&salt[..8]);
    marker
}

/// What the signatures of suites 2 and 3 cover; `digest` is SHA-256 of bytes [0, sig_at).
#[must_use]
pub fn signed_message(digest: &Digest) -> [u8; SIGNED_MESSAGE_LEN] {
    let mut message = [0; SIGNED_MESSAGE_LEN];
    message[..SIGNED_MESSAGE_PREFIX.len()].copy_from_slice(SIGNED_MESSAGE_PREFIX);
    message[SIGNED_MESSAGE_PREFIX.len()..].copy_from_slice(digest);
    message
}

/// The signature field of suite 1, over bytes [0, sig_at) given in parts.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_LEN] {
    let mut hash = crate::digest::Sha256Stream::new();
    hash.update(b"hoft1 packet checksum");
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

#[cfg(test)]
mod tests;
