//! The frame table: one 64-byte entry per frame (wire format §8; check 17 of §11).
//!
//! | off | size | field | chunk (one DATA record) | batch |
//! |---|---|---|---|---|
//! | 0 | 4 | stored_len | bytes in the file, with tag | same |
//! | 4 | 4 | raw_len | after decompression | stored_len − tag |
//! | 8 | 1 | kind | 1 | 2 |
//! | 9 | 1 | flags | record flags | 0 |
//! | 10 | 6 | stream | stream | 0 |
//! | 16 | 8 | seq | of the record | of the first record |
//! | 24 | 8 | offset | stream offset | number of records |
//! | 32 | 32 | digest | SHA-256 of the clear bytes | same |
//!
//! Invariant: after `check_table` every frame lies inside the file, and frames fill it up to the end marker. What is in a frame is judged by
//! [`crate::record`]. Test to read first: `an_entry_is_laid_out_as_drawn`.

use crate::digest::{Digest, sha256};
use crate::header::{END_MARKER_LEN, align8};
use crate::limits::{MAX_FRAME_LEN, STREAM_END};
use crate::record::FLAG_ZSTD;
use crate::reject::Reject;
use crate::suite::ENTRY_LEN;
use alloc::vec::Vec;

/// One DATA record.
pub const CHUNK: u8 = 1;
/// Records one after another.
pub const BATCH: u8 = 2;
/// Reserved for forward error correction.
pub const REPAIR: u8 = 3;
/// Padding: only its length and digest are read.
pub const FILLER: u8 = 4;

/// What a reader does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUse {
    /// One DATA record.
    Chunk,
    /// A batch of records.
    Batch,
    /// Padding: skipped, not counted.
    Filler,
    /// A kind or flags of a later version: skipped and counted as `frame_kind`.
    Unknown,
}

/// An entry of the frame table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Bytes of the frame in the file, with its tag, without padding.
    pub stored_len: u32,
    /// Bytes after decompression (of a batch: its clear bytes).
    pub raw_len: u32,
    /// Kind of frame; see [`Self::usage`].
    pub kind: u8,
    /// Flags of the chunk's record; 0 in a batch.
    pub flags: u8,
    /// Stream of the chunk's record, below 2^48.
    pub stream: u64,
    /// Sequence number of the record, or of the first one of a batch.
    pub seq: u64,
    /// Stream offset of the chunk's record, or the number of records of a batch.
    pub offset: u64,
    /// SHA-256 of the frame's clear bytes (compressed if the record is).
    pub digest: Digest,
}

impl FrameEntry {
    /// Padding of these clear bytes; `tag_len` as [`crate::suite::Suite::tag_len`].
    #[must_use]
    pub fn filler(clear: &[u8], tag_len: usize) -> Self {
        let stored_len = stored_len(clear.len(), tag_len);
        Self { stored_len, raw_len: 0, kind: FILLER, flags: 0, stream: 0, seq: 0, offset: 0, digest: sha256(&[clear]) }
    }

    /// The 64 bytes of the entry. Only the low 48 bits of `stream` are written.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..4].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[8] = self.kind;
        bytes[9] = self.flags;
        bytes[10..16].copy_from_slice(&self.stream.to_le_bytes()[..6]);
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads an entry; its fields are judged later.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Self {
            stored_len: word(0) as u32,
            raw_len: (word(0) >> 32) as u32,
            kind: bytes[8],
            flags: bytes[9],
            stream: word(8) >> 16,
            seq: word(16),
            offset: word(24),
            digest: core::array::from_fn(|i| bytes[32 + i]),
        }
    }

    /// Clear bytes of the frame: `stored_len` without a tag of `tag_len` bytes; `None` if it is shorter than the tag.
    #[must_use]
    pub fn clear_len(&self, tag_len: usize) -> Option<u32> {
        self.stored_len.checked_sub(u32::try_from(tag_len).ok()?)
    }

    /// What to do with the frame, once its digest was found good.
    #[must_use]
    pub const fn usage(&self) -> FrameUse {
        match (self.kind, self.flags) {
            (CHUNK, 0 | FLAG_ZSTD) => FrameUse::Chunk,
            (BATCH, 0) => FrameUse::Batch,
            (FILLER, _) => FrameUse::Filler,
            _ => FrameUse::Unknown,
        }
    }
}

/// `stored_len` of a frame of `clear_len` bytes. Frames are far shorter than 4 GiB; a longer one saturates and fails [`check_table`].
pub(crate) fn stored_len(clear_len: usize, tag_len: usize) -> u32 {
    u32::try_from(clear_len.saturating_add(tag_len)).unwrap_or(u32::MAX)
}

/// The bytes of a table.
#[must_use]
pub fn encode_table(entries: &[FrameEntry]) -> Vec<u8> {
    debug_assert!(entries.iter().all(|entry| entry.stream < STREAM_END));
    entries.iter().flat_map(FrameEntry::encode).collect()
}

/// Reads a table; bytes after the last whole entry are left out, so the caller gives exactly the table's bytes.
#[must_use]
pub fn decode_table(bytes: &[u8]) -> Vec<FrameEntry> {
    let (entries, _) = bytes.as_chunks::<ENTRY_LEN>();
    entries.iter().map(FrameEntry::decode).collect()
}

/// `total_len` of a packet with these frames.
#[must_use]
pub fn total_len(entries: &[FrameEntry], frames_at: u32) -> u64 {
    let frames = entries.iter().map(|entry| align8(entry.stored_len.into()));
    frames.fold(u64::from(frames_at), u64::saturating_add).saturating_add(END_MARKER_LEN as u64)
}

/// Where each frame begins in the file.
///
/// # Errors
/// `Table` if a frame's clear length is not 1 … 2^24 bytes, or the frames do not end where `total_len` says.
pub fn check_table(entries: &[FrameEntry], frames_at: u32, total_len: u64, tag_len: usize) -> Result<Vec<u64>, Reject> {
    let mut offsets = Vec::with_capacity(entries.len());
    let mut at = u64::from(frames_at);
    for entry in entries {
        match entry.clear_len(tag_len) {
            Some(1..=MAX_FRAME_LEN) => {}
            _ => return Err(Reject::Table),
        }
        offsets.push(at);
        at += align8(entry.stored_len.into());
    }
    if at + END_MARKER_LEN as u64 != total_len {
        return Err(Reject::Table);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(stored_len: u32) -> FrameEntry {
        FrameEntry { stored_len, raw_len: 1, kind: CHUNK, flags: 0, stream: 2, seq: 1, offset: 0, digest: [7; 32] }
    }

    #[test]
    fn an_entry_is_laid_out_as_drawn() {
        let entry = FrameEntry {
            stored_len: 0x0403_0201,
            raw_len: 0x0807_0605,
            kind: 9,
            flags: 10,
            stream: 0x100f_0e0d_0c0b,
            seq: 0x1817_1615_1413_1211,
            offset: 0x201f_1e1d_1c1b_1a19,
            digest: core::array::from_fn(|i| 33 + i as u8),
        };
        let bytes: [u8; 64] = core::array::from_fn(|i| 1 + i as u8);
        assert_eq!(entry.encode(), bytes);
        assert_eq!(FrameEntry::decode(&bytes), entry);
    }

    #[test]
    fn frames_are_found_one_after_another() {
        let entries = [entry(5), entry(16), entry(17)];
        assert_eq!(total_len(&entries, 104), 104 + 8 + 16 + 24 + 16);
        assert_eq!(check_table(&entries, 104, 168, 0), Ok(alloc::vec![104, 112, 128]));
        assert_eq!(check_table(&[], 104, 120, 0), Ok(Vec::new()));
    }

    #[test]
    fn a_table_that_does_not_fill_the_file_is_refused() {
        for total in [160, 167, 176] {
            assert_eq!(check_table(&[entry(5), entry(16), entry(17)], 104, total, 0), Err(Reject::Table));
        }
    }

    #[test]
    fn clear_lengths_are_1_to_2_pow_24() {
        for (stored, tag, good) in [
            (0, 0, false),
            (1, 0, true),
            (15, 16, false),
            (16, 16, false),
            (17, 16, true),
            (1 << 24, 0, true),
            ((1 << 24) + 1, 0, false),
            ((1 << 24) + 16, 16, true),
            (u32::MAX, 16, false),
        ] {
            let entries = [entry(stored)];
            let result = check_table(&entries, 104, total_len(&entries, 104), tag);
            assert_eq!(result.is_ok(), good, "{stored} with tag {tag}");
        }
    }

    #[test]
    fn unknown_kinds_and_flags_are_told_from_known_ones() {
        let usage = |kind, flags| FrameEntry { kind, flags, ..entry(1) }.usage();
        assert_eq!((usage(1, 0), usage(1, 1), usage(1, 2)), (FrameUse::Chunk, FrameUse::Chunk, FrameUse::Unknown));
        assert_eq!((usage(2, 0), usage(2, 1)), (FrameUse::Batch, FrameUse::Unknown));
        assert_eq!((usage(4, 0), usage(4, 255)), (FrameUse::Filler, FrameUse::Filler));
        assert_eq!((usage(0, 0), usage(3, 0), usage(5, 0)), (FrameUse::Unknown, FrameUse::Unknown, FrameUse::Unknown));
    }

    proptest! {
        #[test]
        fn every_64_bytes_are_an_entry_that_comes_back(bytes: [[u8; 32]; 2]) {
            let bytes: Vec<u8> = bytes.concat();
            prop_assert_eq!(encode_table(&decode_table(&bytes)), bytes);
        }
    }
}
