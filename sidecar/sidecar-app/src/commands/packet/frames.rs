//! The frames of a packet that is looked at: which are there, which verify, what they carry.
//!
//! Invariants: one frame is in memory at a time; a frame that is not whole in the file is not read; nothing is inflated;
//! a reader's own limits are not asked, only the format's. Specification: wire format §8, §9, §11 checks 19 and 20.
//! Test to read first: `../tests/cuts.rs`.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use identity::FrameOpener;
use serde::Serialize;
use wire::header::align8;
use wire::record::{Record, decode_frame, kind};
use wire::table::{BATCH, CHUNK, FILLER, FrameUse, REPAIR};
use wire::{FrameEntry, Reject};

use super::source::PacketFile;

/// How a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FrameState {
    /// Its bytes are those of the table.
    Verified,
    /// Its bytes are those of the table; its kind or flags are of a later version.
    Unknown,
    /// The file ends in it.
    Cut,
    /// The file ends before it.
    Missing,
    /// Nothing but zeros where it belongs: not filled by whoever copied the file.
    Unfilled,
    /// Its bytes are not those of the table.
    Bad,
    /// Its bytes are those of the table, which is wrong about what they are.
    Malformed,
}

/// One frame.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Frame {
    pub(super) index: u32,
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Bytes in the file, with the seal's tag, without padding.
    pub(super) stored_bytes: u32,
    /// Bytes after decompression; of a batch: its clear bytes.
    pub(super) raw_bytes: u32,
    pub(super) kind: &'static str,
    pub(super) state: FrameState,
    pub(super) reject: Option<&'static str>,
    /// Of its first record.
    pub(super) seq: Option<u64>,
    /// Of its last record.
    pub(super) seq_last: Option<u64>,
    /// Records, as the table says.
    pub(super) records: u64,
    /// Of a chunk.
    pub(super) stream: Option<u64>,
    /// Of a chunk: where it begins in its stream.
    pub(super) offset: Option<u64>,
    pub(super) compressed: bool,
    /// Records by kind, of a frame that verified.
    pub(super) kinds: BTreeMap<&'static str, u64>,
}

/// Where the frames are and how they open.
pub(super) struct Table {
    pub(super) entries: Vec<FrameEntry>,
    pub(super) offsets: Vec<u64>,
    pub(super) opener: FrameOpener,
}

impl Table {
    /// Reads frame `index` and its padding: its state, its records if it verifies, and how many bytes of padding are not zero.
    pub(super) fn read(&self, file: &PacketFile, index: usize) -> io::Result<Option<(Frame, Vec<Record>, u64)>> {
        let (Some(entry), Some(at)) = (self.entries.get(index), self.offsets.get(index)) else { return Ok(None) };
        let mut frame = describe(index, *at, entry);
        let stored = entry.stored_len as usize;
        let padded = usize::try_from(align8(entry.stored_len.into())).unwrap_or(stored);
        if at + u64::from(entry.stored_len) > file.len() {
            frame.state = if *at >= file.len() { FrameState::Missing } else { FrameState::Cut };
            frame.reject = Some(Reject::FrameCut.name());
            return Ok(Some((frame, Vec::new(), 0)));
        }
        let mut bytes = file.bytes(*at, padded)?;
        let pads = bytes.get(stored..).unwrap_or(&[]).iter().filter(|byte| **byte != 0).count() as u64;
        bytes.truncate(stored);
        let zeros = bytes.iter().all(|byte| *byte == 0);
        let records = match self.opener.open(index as u64, entry, &mut bytes) {
            Ok(()) => decode_frame(entry, &Bytes::from(bytes), u64::MAX),
            Err(reject) => Err(reject),
        };
        let records = match records {
            Ok(records) => {
                frame.state = FrameState::Verified;
                records
            }
            Err(reject) => {
                frame.reject = Some(reject.name());
                frame.state = match reject {
                    Reject::FrameKind => FrameState::Unknown,
                    Reject::Records => FrameState::Malformed,
                    Reject::FrameCut => FrameState::Cut, // it became shorter meanwhile
                    _ if zeros => FrameState::Unfilled,
                    _ => FrameState::Bad,
                };
                Vec::new()
            }
        };
        for record in &records {
            *frame.kinds.entry(kind_name(record.head.kind)).or_default() += 1;
        }
        if let Some(last) = records.last() {
            frame.seq_last = Some(last.head.seq.get());
        }
        Ok(Some((frame, records, pads)))
    }
}

/// What the table says of a frame.
fn describe(index: usize, at: u64, entry: &FrameEntry) -> Frame {
    let usage = entry.usage();
    let (chunk, batch) = (usage == FrameUse::Chunk, usage == FrameUse::Batch);
    Frame {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        at,
        stored_bytes: entry.stored_len,
        raw_bytes: entry.raw_len,
        kind: match entry.kind {
            CHUNK => "chunk",
            BATCH => "batch",
            REPAIR => "repair",
            FILLER => "filler",
            _ => "unknown",
        },
        state: FrameState::Missing,
        reject: None,
        seq: (chunk || batch).then_some(entry.seq),
        seq_last: chunk.then_some(entry.seq),
        records: if batch { entry.offset } else { u64::from(chunk) },
        stream: chunk.then_some(entry.stream),
        offset: chunk.then_some(entry.offset),
        compressed: chunk && entry.flags != 0,
        kinds: BTreeMap::new(),
    }
}

const fn kind_name(kind: u8) -> &'static str {
    match kind {
        kind::TOMBSTONE => "TOMBSTONE",
        kind::RESET_STREAM => "RESET_STREAM",
        kind::STOP_SENDING => "STOP_SENDING",
        kind::HEAD => "HEAD",
        kind::DATA => "DATA",
        kind::TRAILERS => "TRAILERS",
        kind::FIN => "FIN",
        kind::INTERIM => "INTERIM",
        kind::EVENT => "EVENT",
        kind::CLAIM => "CLAIM",
        _ => "UNKNOWN",
    }
}
