//! Batch and chunk frames: records to clear bytes and a table entry, and back (wire format §8, §9; check 20 of §11).
//!
//! Invariants: sequence numbers in a batch ascend; the entry counts its records exactly; nothing follows the last one. Sealing and digests
//! of received frames are checked before, by whoever opens them. Test to read first: `a_batch_comes_back`.

use super::{RECORD_HEADER_LEN, Record, RecordHeader, Tombstone, decode_code, kind};
use crate::digest::sha256;
use crate::ids::{Seq, StreamId};
use crate::limits::{MAX_BATCH_RECORDS, MAX_BATCH_SPAN, MAX_FRAME_LEN, MAX_RECORD_LEN};
use crate::reject::Reject;
use crate::table::{BATCH, CHUNK, FrameEntry, FrameUse, stored_len};
use alloc::vec::Vec;
use bytes::Bytes;

/// Why records cannot travel in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There is none.
    #[error("a batch has at least one record")]
    Empty,
    /// More than 65,536.
    #[error("a batch has at most 65,536 records")]
    TooMany,
    /// The sequence numbers do not ascend, or the last is more than 65,535 above the first.
    #[error("the sequence numbers of a batch ascend, by at most 65,535 in all")]
    Sequence,
    /// A payload is not what its header says, or a field is out of bounds.
    #[error("record {seq} is malformed")]
    Malformed {
        /// Its sequence number.
        seq: Seq,
    },
    /// More than 2^24 bytes.
    #[error("a batch has at most 2^24 bytes")]
    TooLong,
}

/// Appends the clear bytes of a batch of these records. A sender also keeps the sum of their `raw_len` (a tombstone's included)
/// within the receiver's `max_frame`.
///
/// # Errors
/// If they cannot be one batch; `out` is then unchanged.
pub fn encode_batch(records: &[Record], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let first = records.first().ok_or(BatchError::Empty)?;
    if records.len() as u64 > MAX_BATCH_RECORDS {
        return Err(BatchError::TooMany);
    }
    let base = first.head.seq.get();
    let ascending = records.windows(2).all(|pair| pair[0].head.seq < pair[1].head.seq);
    let span = records.last().map_or(0, |last| last.head.seq.get().wrapping_sub(base));
    if !ascending || span > MAX_BATCH_SPAN {
        return Err(BatchError::Sequence);
    }
    let malformed = |r: &&Record| {
        let length_fits = r.head.stored_len as usize == r.payload.len();
        !length_fits || r.head.check().is_err() || check_payload(&r.head, &r.payload).is_err()
    };
    if let Some(record) = records.iter().find(malformed) {
        return Err(BatchError::Malformed { seq: record.head.seq });
    }
    let len: usize = records.iter().map(|r| RECORD_HEADER_LEN + r.payload.len()).sum();
    if len > MAX_FRAME_LEN as usize {
        return Err(BatchError::TooLong);
    }
    out.reserve(len);
    for record in records {
        let head = &record.head;
        out.extend_from_slice(&(head.stored_len | u32::from(head.kind) << 24).to_le_bytes());
        out.extend_from_slice(&(head.raw_len | u32::from(head.flags) << 24).to_le_bytes());
        out.extend_from_slice(&((head.seq.get() - base) | (head.stream.get() << 16)).to_le_bytes());
        out.extend_from_slice(&head.offset.to_le_bytes());
        out.extend_from_slice(&record.payload);
    }
    Ok(())
}

/// The table entry of a batch: `clear` is what [`encode_batch`] appended for these records.
#[must_use]
pub fn batch_entry(records: &[Record], clear: &[u8], tag_len: usize) -> FrameEntry {
    FrameEntry {
        stored_len: stored_len(clear.len(), tag_len),
        raw_len: stored_len(clear.len(), 0),
        kind: BATCH,
        flags: 0,
        stream: 0,
        seq: records.first().map_or(0, |first| first.head.seq.get()),
        offset: records.len() as u64,
        digest: sha256(&[clear]),
    }
}

/// The table entry of a DATA record that travels as a chunk; the frame's clear bytes are its payload.
///
/// # Panics
/// If it is of another kind: the receiver would take it for DATA, and the two logs would no longer agree.
#[must_use]
pub fn chunk_entry(record: &Record, tag_len: usize) -> FrameEntry {
    assert_eq!(record.head.kind, kind::DATA, "only DATA travels as a chunk");
    FrameEntry {
        stored_len: stored_len(record.payload.len(), tag_len),
        raw_len: record.head.raw_len,
        kind: CHUNK,
        flags: record.head.flags,
        stream: record.head.stream.get(),
        seq: record.head.seq.get(),
        offset: record.head.offset,
        digest: record.payload_digest(),
    }
}

/// The DATA record of a chunk frame with these clear bytes.
///
/// # Errors
/// `Records` if the entry's fields do not fit each other or the bytes.
pub fn chunk_record(entry: &FrameEntry, clear: &Bytes) -> Result<Record, Reject> {
    let head = RecordHeader {
        seq: Seq::new(entry.seq),
        stream: StreamId::new(entry.stream).ok_or(Reject::Records)?,
        offset: entry.offset,
        raw_len: entry.raw_len,
        stored_len: u32::try_from(clear.len()).map_err(|_| Reject::Records)?,
        kind: kind::DATA,
        flags: entry.flags,
    };
    head.check()?;
    Ok(Record { head, payload: clear.clone() })
}

/// The records of a batch frame with these clear bytes, unknown ones included. The sum of their `raw_len` is left to [`decode_frame`].
///
/// # Errors
/// `Records` if the entry's fields, a record, or a layer-1 payload is malformed.
pub fn decode_batch(entry: &FrameEntry, clear: &Bytes) -> Result<Vec<Record>, Reject> {
    if entry.raw_len as usize != clear.len() || !(1..=MAX_BATCH_RECORDS).contains(&entry.offset) {
        return Err(Reject::Records);
    }
    let possible = clear.len() as u64 / RECORD_HEADER_LEN as u64;
    if entry.offset > possible {
        return Err(Reject::Records);
    }
    let mut records: Vec<Record> = Vec::with_capacity(entry.offset as usize);
    let mut at = 0;
    for _ in 0..entry.offset {
        let record = record_at(entry.seq, clear, &mut at)?;
        let expected = match records.last() {
            None => record.head.seq.get() == entry.seq,
            Some(last) => record.head.seq > last.head.seq,
        };
        if !expected {
            return Err(Reject::Records);
        }
        records.push(record);
    }
    if at == clear.len() { Ok(records) } else { Err(Reject::Records) }
}

fn record_at(base: u64, clear: &Bytes, at: &mut usize) -> Result<Record, Reject> {
    let header: &[u8; RECORD_HEADER_LEN] = clear[*at..].first_chunk().ok_or(Reject::Records)?;
    let word = |i: usize| u64::from_le_bytes(core::array::from_fn(|k| header[i * 8 + k]));
    let (lengths, place) = (word(0), word(1));
    let head = RecordHeader {
        seq: Seq::new(base.checked_add(place & 0xffff).ok_or(Reject::Records)?),
        stream: StreamId::new(place >> 16).ok_or(Reject::Records)?,
        offset: word(2),
        raw_len: (lengths >> 32) as u32 & MAX_RECORD_LEN,
        stored_len: lengths as u32 & MAX_RECORD_LEN,
        kind: (lengths >> 24) as u8,
        flags: (lengths >> 56) as u8,
    };
    head.check()?;
    let from = *at + RECORD_HEADER_LEN;
    let to = from + head.stored_len as usize;
    if to > clear.len() {
        return Err(Reject::Records);
    }
    *at = to;
    let payload = clear.slice(from..to);
    check_payload(&head, &payload)?;
    Ok(Record { head, payload })
}

/// The payloads that layer 1 reads itself are well-formed.
fn check_payload(head: &RecordHeader, payload: &[u8]) -> Result<(), Reject> {
    match head.kind {
        _ if !head.is_known() => Ok(()),
        kind::TOMBSTONE => Tombstone::decode(payload).map(|_| ()),
        kind::RESET_STREAM | kind::STOP_SENDING => decode_code(payload).map(|_| ()),
        _ => Ok(()),
    }
}

/// The records of a frame with these clear bytes (checks 19, kind and LIMITS, and 20); none of padding. `max_frame` is what my LIMITS
/// announce: it bounds the clear length, and the sum of the records' `raw_len`.
///
/// # Errors
/// `FrameKind` if the frame is of unknown kind or flags or longer than `max_frame`: it is skipped, not faulty. `Records` if it is malformed.
pub fn decode_frame(entry: &FrameEntry, clear: &Bytes, max_frame: u64) -> Result<Vec<Record>, Reject> {
    let usage = entry.usage();
    if usage == FrameUse::Unknown || clear.len() as u64 > max_frame && usage != FrameUse::Filler {
        return Err(Reject::FrameKind);
    }
    let records = match usage {
        FrameUse::Chunk => Vec::from([chunk_record(entry, clear)?]),
        FrameUse::Batch => decode_batch(entry, clear)?,
        FrameUse::Filler | FrameUse::Unknown => Vec::new(),
    };
    let raw: u64 = records.iter().map(|r| u64::from(r.head.raw_len)).sum();
    if raw > max_frame { Err(Reject::Records) } else { Ok(records) }
}
