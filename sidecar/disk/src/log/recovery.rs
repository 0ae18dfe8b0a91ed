//! Opening a log: which segment counts, what is cut, and the walk through what was recovered.
//!
//! Invariants: every refusal comes before the first change; what is cut is cut durably before anything is
//! appended, so that no old tail can ever follow a new entry; the newest segment and the folder are synced
//! before anything is returned, since what a crashed process wrote may be in memory only. It does not read old
//! segments beyond their headers. Test: `log/tests.rs`, then `log/tests/crash.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint;
use super::error::LogError;
use super::format::{self, HEADER_LEN, HeaderFault, KIND_USER_MIN, MAJOR, SegmentHeader};
use super::position::Position;
use super::scan::Walk;
use super::segment::Segment;
use super::storage::{Storage, StoredFile};
use super::table::Slot;
use crate::mutation::{Mutation, mutated};

/// What an open found.
pub(super) struct Found {
    pub(super) current: Segment,
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) torn_bytes: u64,
    pub(super) fresh: bool,
}

struct OpenSegment {
    file: Arc<dyn StoredFile>,
    path: String,
    header: SegmentHeader,
    len: u64,
}

pub(super) fn recover(storage: &Arc<dyn Storage>, owner: [u8; 16]) -> Result<Found, LogError> {
    let names = storage.list().map_err(|e| LogError::io(storage.describe(""), "list this folder", e))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| format::segment_number(name)).collect();
    numbers.sort_unstable();
    let mut slots = BTreeMap::new();
    let mut newest = None;
    for number in numbers {
        let segment = open_segment(storage.as_ref(), owner, number)?;
        slots.insert(number, Slot::new(segment.header.salt, segment.len));
        newest = Some(segment);
    }
    let fresh = newest.is_none();
    let (current, torn_bytes) = match newest {
        Some(newest) => resume(storage.as_ref(), newest)?,
        None => (checkpoint::create_segment(storage.as_ref(), owner, 1, std::iter::empty())?.0, 0),
    };
    slots.insert(current.number(), Slot::new(current.salt(), u64::from(current.end())));
    for name in names.iter().filter(|name| format::is_prepared_name(name)) {
        storage.remove(name).map_err(|e| LogError::io(storage.describe(name), "remove this leftover", e))?;
    }
    Ok(Found { current, slots, torn_bytes, fresh })
}

fn resume(storage: &dyn Storage, newest: OpenSegment) -> Result<(Segment, u64), LogError> {
    let OpenSegment { file, path, header, len } = newest;
    let extents = Walk::new(file.clone(), path.clone(), header.salt, len).extents()?;
    let mut torn_bytes = len.saturating_sub(u64::from(extents.end));
    let mut end = extents.end;
    if mutated(Mutation::TornTailKept) {
        (torn_bytes, end) = (0, u32::try_from(len).unwrap_or(end));
    }
    if torn_bytes > 0 {
        tracing::info!(file = %path, offset = extents.end, torn_bytes, "cut the torn tail of the log");
        file.set_len(u64::from(extents.end)).map_err(|e| LogError::io(path.clone(), "cut", e))?;
    }
    file.sync().map_err(|e| LogError::io(path.clone(), "make durable", e))?;
    storage.sync_dir().map_err(|e| LogError::io(path.clone(), "make this name durable", e))?;
    Ok((Segment::resume(file, path, &header, extents.checkpoint_end, end), torn_bytes))
}

fn open_segment(storage: &dyn Storage, owner: [u8; 16], number: u64) -> Result<OpenSegment, LogError> {
    let name = format::segment_name(number);
    let path = storage.describe(&name);
    let failed = |action| {
        let path = path.clone();
        move |error| LogError::io(path, action, error)
    };
    let file = storage.open(&name).map_err(failed("open this file"))?;
    let len = file.len().map_err(failed("measure"))?;
    let mut head = [0; HEADER_LEN as usize];
    let got = file.read_at(0, &mut head).map_err(failed("read"))?;
    if got < head.len() {
        return Err(LogError::damaged(path, 0, "the file is shorter than its header"));
    }
    let header = match SegmentHeader::decode(&head) {
        Ok(header) => header,
        Err(HeaderFault::Later(major)) => {
            return Err(LogError::LaterVersion { file: path, major, supported: MAJOR });
        }
        Err(HeaderFault::NotASegment) => return Err(LogError::damaged(path, 0, "this is not a log segment")),
        Err(HeaderFault::Checksum | HeaderFault::Earlier) => {
            return Err(LogError::damaged(path, 0, "the header does not verify"));
        }
    };
    if header.owner != owner {
        let [found, expected] = [header.owner, owner].map(uuid_text);
        return Err(LogError::WrongOwner { file: path, found, expected });
    }
    if header.number != number {
        return Err(LogError::damaged(path, 32, "the file was renamed: its header has another number"));
    }
    Ok(OpenSegment { file, path, header, len })
}

pub(super) fn uuid_text(id: [u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// An entry found by recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// Its kind, at least [`KIND_USER_MIN`](super::KIND_USER_MIN).
    pub kind: u8,
    /// Its payload.
    pub payload: Bytes,
    /// True for an entry of the checkpoint, false for one appended after it.
    pub in_checkpoint: bool,
}

/// What a log held when it was opened: an iterator over its entries since the newest checkpoint, checkpoint
/// included, in the order they were written. They are read as the iterator advances; appending meanwhile is
/// fine, rolling is not needed before the end.
pub struct Recovered {
    /// Bytes of a torn tail that were cut: writes of a crash that nobody was promised.
    pub torn_bytes: u64,
    /// Segments on disk, the newest included.
    pub segments: usize,
    /// True if there was no log and an empty one was created.
    pub fresh: bool,
    walk: Walk,
    segment: u64,
    offset: u32,
    checkpoint_end: u32,
    end: u32,
}

impl Recovered {
    pub(super) fn new(current: &Segment, torn_bytes: u64, segments: usize, fresh: bool) -> Self {
        let (path, end) = (current.path().to_owned(), current.end());
        Self {
            torn_bytes,
            segments,
            fresh,
            walk: Walk::new(current.file().clone(), path, current.salt(), u64::from(end)),
            segment: current.number(),
            offset: HEADER_LEN,
            checkpoint_end: current.checkpoint_end(),
            end,
        }
    }
}

impl Iterator for Recovered {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.offset < self.end {
            let position = Position { segment: self.segment, offset: self.offset };
            let (header, payload) = match self.walk.entry(self.offset) {
                Ok(found) => found,
                Err(error) => {
                    self.offset = self.end;
                    return Some(Err(error));
                }
            };
            self.offset = self.offset.saturating_add(header.extent());
            let last = self.offset >= self.end && position.offset >= self.checkpoint_end;
            if mutated(Mutation::RecoverySkipsEntry) && last {
                break;
            }
            if header.kind >= KIND_USER_MIN {
                let in_checkpoint = position.offset < self.checkpoint_end;
                return Some(Ok(Entry { position, kind: header.kind, payload: payload.into(), in_checkpoint }));
            }
        }
        None
    }
}
