//! The frames and records of the golden packets.
//!
//! Invariant: the records of a packet are the first ones of their log, in seq order, so that it fixes the hash chain too; only packets
//! of later versions hold records that are dropped. Compressed payloads are written by hand: a compressor may change.

use bytes::Bytes;
use wire::digest::sha256;
use wire::ids::{Seq, StreamId};
use wire::record::{Record, Tombstone, batch_entry, chunk_entry, encode_batch, encode_code, kind};
use wire::table::{BATCH, FrameEntry, REPAIR};

/// A frame in the clear.
pub(super) struct Frame {
    entry: FrameEntry,
    pub(super) clear: Vec<u8>,
}

impl Frame {
    /// Its entry in a suite with tags of this length.
    pub(super) fn entry(&self, tag_len: usize) -> FrameEntry {
        let stored_len = u32::try_from(self.clear.len() + tag_len).unwrap();
        FrameEntry { stored_len, ..self.entry.clone() }
    }

    fn chunk(record: &Record) -> Self {
        Self { entry: chunk_entry(record, 0), clear: record.payload.to_vec() }
    }

    fn batch(records: &[Record]) -> Self {
        let mut clear = Vec::new();
        encode_batch(records, &mut clear).unwrap();
        Self { entry: batch_entry(records, &clear, 0), clear }
    }
}

fn record(seq: u64, stream: u64, offset: u64, kind: u8, payload: impl Into<Bytes>) -> Record {
    Record::new(Seq::new(seq), StreamId::new(stream).unwrap(), offset, kind, payload.into())
}

/// A DATA record of `raw_len` times the same letter, as one zstd frame of one block (RFC 8878): content size in one byte or two,
/// then a run-length block.
fn compressed(seq: u64, stream: u64, offset: u64, raw_len: u32) -> Record {
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd];
    match u8::try_from(raw_len) {
        Ok(len) => zstd.extend([0x20, len]),
        Err(_) => {
            zstd.push(0x60);
            zstd.extend(u16::try_from(raw_len - 256).unwrap().to_le_bytes());
        }
    }
    let block = raw_len << 3 | 1 << 1 | 1;
    zstd.extend(&block.to_le_bytes()[..3]);
    zstd.push(b'z');
    let mut made = record(seq, stream, offset, kind::DATA, zstd);
    made.head.flags = 1;
    made.head.raw_len = raw_len;
    made
}

/// The frame of the published packet.
pub(super) fn hello() -> Frame {
    Frame::chunk(&record(1, 2, 0, kind::DATA, &b"hello"[..]))
}

/// A batch with every kind that layer 1 knows and every kind that it stores, one of them compressed, one not yet named.
pub(super) fn every_kind() -> Frame {
    let stands_for = Tombstone { kind: kind::DATA, flags: 1, charged: 164, digest: sha256(&[b"given up"]) };
    let mut tombstone = record(10, 4, 70_000, kind::TOMBSTONE, stands_for.encode().to_vec());
    tombstone.head.raw_len = 100;
    Frame::batch(&[
        record(1, 2, 0, kind::HEAD, &b"envelope and head"[..]),
        record(2, 2, 17, kind::DATA, &b"content"[..]),
        compressed(3, 2, 24, 200),
        record(4, 2, 224, kind::TRAILERS, &[0][..]),
        record(5, 2, 225, kind::FIN, vec![0x40; 40]),
        record(6, 3, 0, kind::INTERIM, &b"103"[..]),
        record(7, 0, 0, kind::EVENT, &[0xa0][..]),
        record(8, 6, 1 << 40, kind::RESET_STREAM, encode_code(16_384)),
        record(9, 5, 0, kind::STOP_SENDING, encode_code(0)),
        tombstone,
        record(11, (1 << 48) - 2, 0, kind::CLAIM, &[0xa1, 1, 0x40][..]),
        record(12, 8, 0, 255, &b"stored, layer 2 judges"[..]),
    ])
}

/// A chunk, a batch, and a compressed chunk.
pub(super) fn three() -> Vec<Frame> {
    let first = record(1, 2, 0, kind::DATA, vec![0x61; 300]);
    let batch = [record(2, 4, 0, kind::HEAD, &b"head"[..]), record(3, 4, 4, kind::FIN, vec![7; 40])];
    vec![Frame::chunk(&first), Frame::batch(&batch), Frame::chunk(&compressed(4, 2, 300, 1_000))]
}

/// A batch whose middle records are of a kind and of flags that this version does not know.
pub(super) fn later_records() -> Frame {
    let mut flagged = record(3, 2, 5, kind::DATA, &b"later"[..]);
    flagged.head.flags = 2;
    Frame::batch(&[
        record(1, 2, 0, kind::DATA, &b"known"[..]),
        record(2, 2, 5, 31, &b"a layer-1 kind"[..]),
        flagged,
        record(4, 2, 10, kind::DATA, &b"known"[..]),
    ])
}

/// Padding before, between and after; kinds not yet named, with fields that mean nothing; a known kind with unknown flags.
pub(super) fn unknown_frames() -> Vec<Frame> {
    let filler = |clear: &[u8]| Frame { entry: FrameEntry::filler(clear, 0), clear: clear.to_vec() };
    let odd = |kind: u8, flags: u8| {
        let entry = FrameEntry { kind, flags, seq: u64::MAX, offset: u64::MAX, ..FrameEntry::filler(b"of later", 0) };
        Frame { entry, clear: b"of later".to_vec() }
    };
    let marked = odd(4, 0xff);
    vec![filler(b"1"), hello(), filler(&[0; 9]), odd(REPAIR, 0), odd(0, 0), odd(200, 9), odd(BATCH, 1), marked]
}
