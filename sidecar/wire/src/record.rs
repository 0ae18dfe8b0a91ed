//! Records: the unit of acknowledgement, in batches and chunks (wire format §9; check 20 of §11).
//!
//! Header of a record in a batch (24 bytes, little-endian words), followed by its payload:
//!
//! | off | word | bits |
//! |---|---|---|
//! | 0 | u32 | 0–23 stored length, 24–31 kind |
//! | 4 | u32 | 0–23 raw_len, 24–31 flags |
//! | 8 | u64 | 0–15 seq − base, 16–63 stream |
//! | 16 | u64 | offset |
//!
//! Invariants: a payload is a slice of the frame it came in, never copied; a decoded frame is well-formed as a whole or refused as a whole.
//! Records of unknown kind or flags are handed on unjudged, for check 21 to drop. Nothing is inflated here, and layer-2 payloads are opaque.
//! Test to read first: `a_batch_comes_back`.

mod batch;
mod payload;

pub use batch::{BatchError, batch_entry, chunk_entry, chunk_record, decode_batch, decode_frame, encode_batch};
pub use payload::{Bound, Fin, Tombstone, decode_code, encode_code};

use crate::chain::chain_link;
use crate::digest::{Digest, sha256};
use crate::ids::{Seq, StreamId};
use crate::limits::{COUNTER_END, MAX_RECORD_LEN, RECORD_COST};
use crate::reject::Reject;
use bytes::Bytes;

/// Kinds of records. Below 32 they belong to layer 1 and act when received; from 32 on layer 1 only stores them.
pub mod kind {
    /// Stands in the log for a record that is given up.
    pub const TOMBSTONE: u8 = 1;
    /// The sender of a stream ends it early.
    pub const RESET_STREAM: u8 = 2;
    /// The receiver of a stream wants no more of it.
    pub const STOP_SENDING: u8 = 3;
    /// Envelope and header section of a message.
    pub const HEAD: u8 = 32;
    /// Content of a message.
    pub const DATA: u8 = 33;
    /// Trailer section of a message.
    pub const TRAILERS: u8 = 34;
    /// The end of a message, with length and digest of its content.
    pub const FIN: u8 = 35;
    /// A 1xx response.
    pub const INTERIM: u8 = 36;
    /// An event of an operation.
    pub const EVENT: u8 = 37;
    /// Asks for the stored result of an operation.
    pub const CLAIM: u8 = 38;
}

/// The first kind that layer 1 only stores.
pub const FIRST_STORED_KIND: u8 = 32;
/// Flag: the payload is one zstd frame.
pub const FLAG_ZSTD: u8 = 1;
/// Bytes of a record's header in a batch.
pub const RECORD_HEADER_LEN: usize = 24;

/// What a log knows of a record besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Place in the log.
    pub seq: Seq,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Byte offset of its content in the stream (before compression).
    pub offset: u64,
    /// Bytes of its payload after decompression; of a tombstone: of what it stands for.
    pub raw_len: u32,
    /// Bytes of its payload as stored.
    pub stored_len: u32,
    /// See [`kind`].
    pub kind: u8,
    /// See [`FLAG_ZSTD`].
    pub flags: u8,
}

impl RecordHeader {
    /// What it costs of the log credit, in bytes. Of a tombstone only [`Record::cost`] knows.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        RECORD_COST + self.raw_len as u64
    }

    /// Whether it occupies `raw_len` bytes of its stream.
    #[must_use]
    pub const fn occupies(&self) -> bool {
        self.kind >= FIRST_STORED_KIND
    }

    /// The stream offset after it, in bytes.
    #[must_use]
    pub const fn end(&self) -> u64 {
        if self.occupies() { self.offset.saturating_add(self.raw_len as u64) } else { self.offset }
    }

    /// Whether the payload is compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.flags & FLAG_ZSTD != 0
    }

    /// Whether this room knows its kind and flags; check 21 drops it as `record_kind` otherwise.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        let kind = matches!(self.kind, kind::TOMBSTONE | kind::RESET_STREAM | kind::STOP_SENDING | FIRST_STORED_KIND..);
        kind && self.flags & !FLAG_ZSTD == 0
    }

    /// Whether records of this kind may be compressed.
    #[must_use]
    pub const fn may_be_compressed(&self) -> bool {
        !matches!(self.kind, 0..FIRST_STORED_KIND | kind::HEAD | kind::TRAILERS | kind::INTERIM)
    }

    /// Whether the fields fit each other (check 20). Lengths of records that are not known are not judged: what they mean is not known either.
    ///
    /// # Errors
    /// `Records` if not.
    pub fn check(&self) -> Result<(), Reject> {
        let in_bounds = self.kind != 0
            && (1..COUNTER_END).contains(&self.seq.get())
            && self.offset < COUNTER_END
            && self.offset + u64::from(self.raw_len) < COUNTER_END
            && self.raw_len <= MAX_RECORD_LEN
            && self.stored_len <= MAX_RECORD_LEN
            && (self.raw_len > 0 || !self.occupies());
        let lengths_fit = match (self.kind, self.is_compressed()) {
            (kind::TOMBSTONE, false) => true,
            (_, false) => self.raw_len == self.stored_len,
            (_, true) => self.may_be_compressed() && self.raw_len > self.stored_len,
        };
        if in_bounds && (lengths_fit || !self.is_known()) { Ok(()) } else { Err(Reject::Records) }
    }
}

/// A record with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Everything but the payload.
    pub head: RecordHeader,
    /// The payload as stored: compressed if the header says so.
    pub payload: Bytes,
}

impl Record {
    /// An uncompressed record; `raw_len` is the payload's length, which must be within 2^24 − 1 bytes.
    #[must_use]
    pub fn new(seq: Seq, stream: StreamId, offset: u64, kind: u8, payload: Bytes) -> Self {
        let len = payload_len(&payload);
        let head = RecordHeader { seq, stream, offset, raw_len: len, stored_len: len, kind, flags: 0 };
        Self { head, payload }
    }

    /// A record whose payload is one zstd frame of `raw_len` bytes of content.
    #[must_use]
    pub fn compressed(seq: Seq, stream: StreamId, offset: u64, kind: u8, raw_len: u32, payload: Bytes) -> Self {
        let stored_len = payload_len(&payload);
        Self { head: RecordHeader { seq, stream, offset, raw_len, stored_len, kind, flags: FLAG_ZSTD }, payload }
    }

    /// The tombstone of a record with this header and payload digest. `charged` is what was already counted for the record,
    /// in bytes of credit; 0 if it was never sent.
    #[must_use]
    pub fn tombstone(of: &RecordHeader, payload_digest: &Digest, charged: u32) -> Self {
        let tombstone = Tombstone { kind: of.kind, flags: of.flags, charged, digest: *payload_digest };
        let payload = Bytes::copy_from_slice(&tombstone.encode());
        let head = RecordHeader { stored_len: payload_len(&payload), kind: kind::TOMBSTONE, flags: 0, ..*of };
        Self { head, payload }
    }

    /// SHA-256 of the payload as stored.
    #[must_use]
    pub fn payload_digest(&self) -> Digest {
        sha256(&[&self.payload])
    }

    /// What it stands for, if it is a (well-formed) tombstone.
    #[must_use]
    pub fn as_tombstone(&self) -> Option<Tombstone> {
        if self.head.kind == kind::TOMBSTONE { Tombstone::decode(&self.payload).ok() } else { None }
    }

    /// What it costs of the log credit, in bytes: a tombstone what was charged for its record, or 64.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self.as_tombstone() {
            Some(Tombstone { charged: 0, .. }) => RECORD_COST,
            Some(tombstone) => tombstone.charged.into(),
            None => self.head.cost(),
        }
    }

    /// Header and payload digest as the chain links them: of a tombstone, those of the record it stands for (its stored length is not
    /// known, and not linked).
    #[must_use]
    pub fn chain_input(&self) -> (RecordHeader, Digest) {
        match self.as_tombstone() {
            Some(t) => (RecordHeader { kind: t.kind, flags: t.flags, ..self.head }, t.digest),
            None => (self.head, self.payload_digest()),
        }
    }

    /// The chain after this record.
    #[must_use]
    pub fn link(&self, previous: &Digest) -> Digest {
        let (head, payload_digest) = self.chain_input();
        chain_link(previous, &head, &payload_digest)
    }
}

/// Length of a payload; one beyond 32 bits saturates and fails every check.
fn payload_len(payload: &Bytes) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
