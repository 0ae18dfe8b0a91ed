//! Where an entry is: segment number and offset in its file.
//!
//! Invariant: positions order as their entries were written, and one is never given twice for different
//! entries that were committed. It does not say whether the entry still exists.

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Offset of the entry in the segment's file, in bytes.
    pub offset: u32,
}

impl Position {
    /// The position in twelve bytes: segment, then offset, both little-endian.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// The position of these twelve bytes; whether anything is there is not looked at.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, offset @ ..] = bytes;
        Self { segment: u64::from_le_bytes([a, b, c, d, e, f, g, h]), offset: u32::from_le_bytes(offset) }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
