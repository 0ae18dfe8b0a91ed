//! The bytes of a segment file, as fixed in the document "The log on disk". Little-endian, everything aligned to 8.
//!
//! ```text
//! header, 64 bytes              entry, 20 bytes + payload + zeros to a multiple of 8
//!  0  8 magic "hoft log"         0 4 payload length
//!  8  2 major                    4 1 kind
//! 10  2 minor                    5 3 zero
//! 12  4 zero                     8 4 durable: the file was durable up to this offset when this was written
//! 16 16 owner                   12 4 CRC-32C of payload and padding
//! 32  8 segment number          16 4 CRC-32C of salt (8), own offset (4) and bytes 0 to 16
//! 40  8 created, Unix ms        20   payload
//! 48  8 salt
//! 56  4 zero
//! 60  4 CRC-32C of bytes 0 to 60
//! ```
//! Invariants: every byte is covered by a checksum; an entry verifies only at its own offset in its own
//! segment, so that a copy of it inside a payload, or left over from an earlier file, is never taken for it.
//! It does no input or output. Test: `bytes_are_those_of_the_document`.

use super::error::LogError;

/// Kind of the entry that begins a checkpoint.
pub const KIND_CHECKPOINT_BEGIN: u8 = 1;
/// Kind of the entry that ends a checkpoint.
pub const KIND_CHECKPOINT_END: u8 = 2;
/// The lowest kind that users of the log may append.
pub const KIND_USER_MIN: u8 = 16;
/// The longest payload of an entry, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 24) + 1024;

pub(super) const MAJOR: u16 = 1;
const MINOR: u16 = 0;
const MAGIC: &[u8; 8] = b"hoft log";
pub(super) const HEADER_LEN: u32 = 64;
pub(super) const ENTRY_HEADER_LEN: u32 = 20;

/// The head of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) owner: [u8; 16],
    pub(super) number: u64,
    pub(super) created_ms: u64,
    pub(super) salt: u64,
}

/// Why the head of a file is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    NotASegment,
    Checksum,
    Later(u16),
    Earlier,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&MAJOR.to_le_bytes());
        bytes[10..12].copy_from_slice(&MINOR.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.owner);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    // The checksum comes before the version: it is at the same place in every major, so that a flipped bit is
    // never taken for a later program's file.
    pub(super) fn decode(bytes: &[u8; HEADER_LEN as usize]) -> Result<Self, HeaderFault> {
        if &bytes[..8] != MAGIC {
            return Err(HeaderFault::NotASegment);
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderFault::Checksum);
        }
        match u16::from_le_bytes([bytes[8], bytes[9]]) {
            MAJOR => {}
            0 => return Err(HeaderFault::Earlier),
            later => return Err(HeaderFault::Later(later)),
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&bytes[16..32]);
        let [number, created_ms, salt] = [32, 40, 48].map(|at| u64_at(bytes, at));
        Ok(Self { owner, number, created_ms, salt })
    }
}

/// The head of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryHeader {
    pub(super) len: u32,
    pub(super) kind: u8,
    pub(super) durable: u32,
    pub(super) payload_crc: u32,
}

impl EntryHeader {
    pub(super) fn encode(&self, salt: u64, offset: u32) -> [u8; ENTRY_HEADER_LEN as usize] {
        let mut bytes = [0; ENTRY_HEADER_LEN as usize];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.durable.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(salt, offset, &bytes);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The head of the entry at this offset, if there is one.
    pub(super) fn decode(salt: u64, offset: u32, bytes: &[u8; ENTRY_HEADER_LEN as usize]) -> Option<Self> {
        let header =
            Self { len: u32_at(bytes, 0), kind: bytes[4], durable: u32_at(bytes, 8), payload_crc: u32_at(bytes, 12) };
        let plausible = header.kind != 0
            && bytes[5..8] == [0; 3]
            && header.len as usize <= PAYLOAD_BYTES_MAX
            && header.durable <= offset;
        (plausible && u32_at(bytes, 16) == header_crc(salt, offset, bytes)).then_some(header)
    }

    /// Bytes from the start of this entry to the start of the next.
    pub(super) fn extent(&self) -> u32 {
        (ENTRY_HEADER_LEN + self.len).next_multiple_of(8)
    }

    /// Bytes of payload and padding.
    pub(super) fn padded_len(&self) -> u32 {
        self.extent() - ENTRY_HEADER_LEN
    }
}

fn header_crc(salt: u64, offset: u32, bytes: &[u8; ENTRY_HEADER_LEN as usize]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, &bytes[..16])
}

/// The payload of CHECKPOINT_END: number of entries in the checkpoint, and the CRC-32C of the heads of
/// CHECKPOINT_BEGIN and of these entries, in order.
pub(super) fn checkpoint_end(count: u64, heads_crc: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    bytes[8..].copy_from_slice(&heads_crc.to_le_bytes());
    bytes
}

pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

pub(super) fn prepared_name(number: u64) -> String {
    format!("{number:016x}.new")
}

/// The number of a segment file of this name, if it is one.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// True for the name of a segment that was being prepared.
pub(super) fn is_prepared_name(name: &str) -> bool {
    name.strip_suffix(".new")
        .is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok_and(|number| prepared_name(number) == name))
}

pub(super) fn check_user_entry(kind: u8, parts: &[&[u8]]) -> Result<(), LogError> {
    let len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if kind < KIND_USER_MIN {
        return Err(LogError::ReservedKind { kind });
    }
    if len > PAYLOAD_BYTES_MAX {
        return Err(LogError::TooLarge { len });
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
