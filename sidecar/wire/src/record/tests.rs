//! Tests of records, batches and chunks.

use super::*;
use crate::digest::hex;
use crate::ids::Incarnation;
use crate::table::{BATCH, CHUNK, FILLER, FrameEntry};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const MAX_FRAME: u64 = 1 << 21;

fn data(seq: u64, offset: u64, payload: &'static [u8]) -> Record {
    Record::new(Seq::new(seq), StreamId::request(1), offset, kind::DATA, Bytes::from_static(payload))
}

fn batch(records: &[Record]) -> (FrameEntry, Bytes) {
    let mut clear = Vec::new();
    encode_batch(records, &mut clear).unwrap();
    (batch_entry(records, &clear, 0), clear.into())
}

/// A frame of one record with these raw header words, and a payload of zeros.
fn raw_frame(lengths: (u32, u32), place: u64, offset: u64, payload: usize) -> (FrameEntry, Bytes) {
    let mut clear = Vec::new();
    clear.extend_from_slice(&lengths.0.to_le_bytes());
    clear.extend_from_slice(&lengths.1.to_le_bytes());
    clear.extend_from_slice(&place.to_le_bytes());
    clear.extend_from_slice(&offset.to_le_bytes());
    clear.resize(RECORD_HEADER_LEN + payload, 0);
    let (mut entry, _) = batch(&[data(5, 0, b"x")]);
    entry.raw_len = clear.len() as u32;
    entry.stored_len = clear.len() as u32;
    (entry, clear.into())
}

fn raw(kind: u8, flags: u8, len: u32, raw_len: u32) -> Result<Vec<Record>, Reject> {
    let lengths = (len | u32::from(kind) << 24, raw_len | u32::from(flags) << 24);
    let (entry, clear) = raw_frame(lengths, 2 << 16, 0, len as usize);
    decode_batch(&entry, &clear)
}

#[test]
fn a_batch_comes_back() {
    let reset = Record::new(Seq::new(900), StreamId::request(1), 5, kind::RESET_STREAM, encode_code(300));
    let records = [
        data(5, 0, b"hello"),
        Record::new(Seq::new(6), StreamId::response(9), 0, kind::HEAD, Bytes::from_static(b"head")),
        Record::compressed(Seq::new(7), StreamId::response(9), 4, kind::DATA, 100, Bytes::from_static(b"zip")),
        reset,
        Record::tombstone(&data(65_540, 7, b"lost").head, &[8; 32], 68),
    ];
    let (entry, clear) = batch(&records);
    assert_eq!((entry.kind, entry.seq, entry.offset, entry.raw_len as usize), (BATCH, 5, 5, clear.len()));
    assert_eq!(entry.digest, sha256(&[&clear]));
    assert_eq!(decode_batch(&entry, &clear), Ok(records.to_vec()));
}

#[test]
fn a_record_is_laid_out_as_drawn() {
    let record = Record::compressed(
        Seq::new(0x1234),
        StreamId::new(0x0605_0403_0201).unwrap(),
        7,
        kind::DATA,
        0x30,
        Bytes::from_static(b"zz"),
    );
    let (_, clear) = batch(&[data(0x1230, 0, b"x"), record]);
    let expected = [2, 0, 0, 33, 0x30, 0, 0, 1, 4, 0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, b'z', b'z'];
    assert_eq!(clear[25..], expected);
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let (entry, clear) = batch(&[data(1, 0, b"hello")]);
    let records = decode_batch(&entry, &clear).unwrap();
    assert_eq!(records[0].payload.as_ptr(), clear[RECORD_HEADER_LEN..].as_ptr());
}

#[test]
fn a_record_travels_as_a_chunk_or_in_a_batch_alike() {
    let record = data(7, 3, b"content");
    let entry = chunk_entry(&record, 16);
    assert_eq!((entry.kind, entry.stored_len, entry.raw_len), (CHUNK, 23, 7));
    assert_eq!(entry.digest, record.payload_digest());
    assert_eq!(chunk_record(&entry, &record.payload), Ok(record.clone()));
    let (entry, clear) = batch(core::slice::from_ref(&record));
    assert_eq!(decode_batch(&entry, &clear), Ok(vec![record]));
}

#[test]
fn malformed_chunks_are_refused() {
    let record = data(7, 3, b"content");
    let refused = |change: &dyn Fn(&mut FrameEntry)| {
        let mut entry = chunk_entry(&record, 0);
        change(&mut entry);
        chunk_record(&entry, &record.payload).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|e| e.raw_len = 6));
    assert!(refused(&|e| e.raw_len = 8));
    assert!(refused(&|e| e.raw_len = 0));
    assert!(refused(&|e| e.seq = 0));
    assert!(refused(&|e| e.seq = 1 << 62));
    assert!(refused(&|e| e.offset = (1 << 62) - 7));
    assert!(!refused(&|e| e.offset = (1 << 62) - 8));
    assert!(refused(&|e| e.offset = u64::MAX));
    assert!(refused(&|e| e.stream = 1 << 48));
    // Compressed: raw_len is larger than what is stored, and below 2^24.
    assert!(refused(&|e| e.flags = FLAG_ZSTD));
    assert!(!refused(&|e| (e.flags, e.raw_len) = (FLAG_ZSTD, (1 << 24) - 1)));
    assert!(refused(&|e| (e.flags, e.raw_len) = (FLAG_ZSTD, 1 << 24)));
}

#[test]
fn batches_that_break_a_rule_are_refused() {
    let (entry, clear) = batch(&[data(5, 0, b"ab"), data(9, 2, b"cd")]);
    let refused = |change: &dyn Fn(&mut FrameEntry, &mut Vec<u8>)| {
        let (mut entry, mut clear) = (entry.clone(), clear.to_vec());
        change(&mut entry, &mut clear);
        decode_batch(&entry, &clear.into()) == Err(Reject::Records)
    };
    assert!(!refused(&|_, _| {}));
    assert!(refused(&|e, _| e.offset = 0), "no record");
    assert!(refused(&|e, _| e.offset = 1), "a rest");
    assert!(refused(&|e, _| e.offset = 3), "one too many");
    assert!(refused(&|e, _| e.offset = 65_537), "over the bound");
    assert!(refused(&|e, _| e.offset = u64::MAX), "absurd count");
    assert!(refused(&|e, _| e.raw_len += 1), "raw_len is not the length");
    assert!(refused(&|e, _| e.seq = 0), "seq 0");
    assert!(refused(&|e, _| e.seq = u64::MAX), "overflow");
    assert!(refused(&|e, _| e.seq = (1 << 62) - 4), "seq from 2^62 on");
    assert!(refused(&|_, c| c[8] = 1), "first distance is not 0");
    assert!(refused(&|_, c| c[26 + 8] = 0), "not ascending");
    assert!(refused(&|_, c| c[0] = 200), "payload past the end");
    assert!(refused(&|_, c| c[4] = 3), "raw_len differs");
    assert!(refused(&|_, c| c[3] = 0), "kind 0");
    assert!(
        refused(&|e, c| {
            c.pop();
            e.raw_len -= 1;
        }),
        "cut"
    );
}

#[test]
fn unused_fields_of_a_batch_entry_are_not_checked() {
    let (mut entry, clear) = batch(&[data(5, 0, b"ab")]);
    entry.stream = 77;
    assert!(decode_batch(&entry, &clear).is_ok());
}

#[test]
fn lengths_follow_from_kind_and_flags() {
    let good = |kind, flags, len, raw_len| raw(kind, flags, len, raw_len).is_ok();
    assert!(good(kind::DATA, 0, 5, 5) && !good(kind::DATA, 0, 5, 6) && !good(kind::DATA, 0, 0, 0));
    assert!(good(kind::DATA, 1, 5, 6) && !good(kind::DATA, 1, 5, 5) && !good(kind::DATA, 1, 5, 4));
    for never_compressed in [kind::HEAD, kind::TRAILERS, kind::INTERIM] {
        assert!(good(never_compressed, 0, 5, 5) && !good(never_compressed, 1, 5, 6));
    }
    for opaque in [kind::FIN, kind::EVENT, kind::CLAIM, 39, 255] {
        assert!(good(opaque, 0, 5, 5) && good(opaque, 1, 5, 6) && !good(opaque, 0, 0, 0));
    }
    assert!(good(kind::TOMBSTONE, 0, 40, 9) && good(kind::TOMBSTONE, 0, 40, 0));
    assert!(!good(kind::TOMBSTONE, 0, 39, 9) && !good(kind::TOMBSTONE, 0, 41, 9) && !good(kind::TOMBSTONE, 1, 40, 99));
    for coded in [kind::RESET_STREAM, kind::STOP_SENDING] {
        assert!(good(coded, 0, 1, 1) && !good(coded, 0, 0, 0) && !good(coded, 0, 2, 2) && !good(coded, 1, 1, 2));
    }
    assert!(!good(0, 0, 5, 5));
}

#[test]
fn records_of_unknown_kind_or_flags_are_handed_on() {
    for (kind, flags) in [(4, 0), (31, 0), (4, 1), (kind::DATA, 2), (kind::DATA, 3), (kind::TOMBSTONE, 0x80)] {
        let records = raw(kind, flags, 5, 99).unwrap();
        assert!(!records[0].head.is_known(), "kind {kind} flags {flags}");
    }
    for known in [1, 2, 3, 32, 38, 39, 255] {
        let record = Record::new(Seq::FIRST, StreamId::request(1), 0, known, Bytes::from_static(b"x"));
        assert!(record.head.is_known());
    }
}

#[test]
fn offsets_that_end_at_2_pow_62_are_refused() {
    let at = |offset| {
        let (entry, clear) = raw_frame((5 | 33 << 24, 5), 2 << 16, offset, 5);
        decode_batch(&entry, &clear).is_ok()
    };
    assert!(at((1 << 62) - 6) && !at((1 << 62) - 5) && !at(1 << 62) && !at(u64::MAX));
}

#[test]
fn batches_that_cannot_be_written_say_why() {
    let write = |records: &[Record]| encode_batch(records, &mut Vec::new());
    assert_eq!(write(&[]), Err(BatchError::Empty));
    assert_eq!(write(&[data(2, 0, b"a"), data(1, 0, b"a")]), Err(BatchError::Sequence));
    assert_eq!(write(&[data(1, 0, b"a"), data(65_537, 0, b"a")]), Err(BatchError::Sequence));
    assert_eq!(write(&[data(1, 0, b"a"), data(65_536, 0, b"a")]), Ok(()));
    assert_eq!(write(&[data(3, 0, b"")]), Err(BatchError::Malformed { seq: Seq::new(3) }));
    let no_code = Record::new(Seq::new(3), StreamId::request(1), 0, kind::RESET_STREAM, Bytes::from_static(&[1, 1]));
    assert_eq!(write(&[no_code]), Err(BatchError::Malformed { seq: Seq::new(3) }));
    let many: Vec<Record> = (1..=65_537).map(|seq| data(seq, 0, b"a")).collect();
    assert_eq!(write(&many), Err(BatchError::TooMany));
    let (entry, clear) = batch(&many[..65_536]);
    assert_eq!(decode_batch(&entry, &clear).map(|records| records.len()), Ok(65_536));
    let half = Bytes::from(vec![0; 1 << 23]);
    let big = |seq| Record::new(Seq::new(seq), StreamId::request(1), 0, kind::DATA, half.clone());
    assert_eq!(write(&[big(1), big(2)]), Err(BatchError::TooLong));
    let too_big = Record::new(Seq::FIRST, StreamId::request(1), 0, kind::DATA, vec![0; 1 << 24].into());
    assert_eq!(write(&[too_big]), Err(BatchError::Malformed { seq: Seq::FIRST }));
}

#[test]
fn frames_beyond_my_limits_are_skipped_or_refused() {
    let record = data(1, 0, b"hello");
    let entry = chunk_entry(&record, 0);
    assert_eq!(decode_frame(&entry, &record.payload, 5), Ok(vec![record.clone()]));
    assert_eq!(decode_frame(&entry, &record.payload, 4), Err(Reject::FrameKind));
    // Short as stored, but inflating beyond the limit.
    let bomb =
        Record::compressed(Seq::FIRST, StreamId::request(1), 0, kind::DATA, 1 << 22, Bytes::from_static(b"bomb"));
    assert_eq!(decode_frame(&chunk_entry(&bomb, 0), &bomb.payload, MAX_FRAME), Err(Reject::Records));
    let bombs: Vec<Record> = (1..=3)
        .map(|seq| Record { head: RecordHeader { seq: Seq::new(seq), raw_len: 1 << 20, ..bomb.head }, ..bomb.clone() })
        .collect();
    let (entry, clear) = batch(&bombs);
    assert_eq!(decode_frame(&entry, &clear, MAX_FRAME), Err(Reject::Records));
    assert_eq!(decode_frame(&entry, &clear, 3 << 20).map(|records| records.len()), Ok(3));
}

#[test]
fn frames_of_unknown_kind_are_skipped_and_filler_is_empty() {
    let (entry, clear) = batch(&[data(1, 0, b"hello")]);
    for (kind, flags) in [(0, 0), (3, 0), (5, 0), (CHUNK, 2), (BATCH, 1)] {
        let unknown = FrameEntry { kind, flags, ..entry.clone() };
        assert_eq!(decode_frame(&unknown, &clear, MAX_FRAME), Err(Reject::FrameKind));
    }
    let filler = FrameEntry { kind: FILLER, flags: 99, stream: 1 << 47, seq: 0, offset: 0, raw_len: 9, ..entry };
    assert_eq!(decode_frame(&filler, &clear, MAX_FRAME), Ok(vec![]));
    assert_eq!(FrameEntry::filler(b"noise", 16).stored_len, 21);
}

#[test]
fn a_tombstone_links_as_the_record_it_stands_for() {
    let lives = [Incarnation { generation: 1, random: [1; 8] }; 2];
    let ids = [crate::ids::EndpointId::from_bytes([1; 16]), crate::ids::EndpointId::from_bytes([2; 16])];
    let start = crate::chain::chain_start(&ids[0], &lives[0], &ids[1], &lives[1]);
    let record = Record::compressed(Seq::new(4), StreamId::request(2), 10, kind::DATA, 9, Bytes::from_static(b"zip"));
    let tombstone = Record::tombstone(&record.head, &record.payload_digest(), 73);
    assert_eq!(tombstone.link(&start), record.link(&start));
    assert_ne!(tombstone.link(&start), data(4, 10, b"zip").link(&start));
    assert_eq!(
        (tombstone.head.kind, tombstone.head.flags, tombstone.head.raw_len, tombstone.head.stored_len),
        (1, 0, 9, 40)
    );
    let (entry, clear) = batch(core::slice::from_ref(&tombstone));
    assert_eq!(decode_batch(&entry, &clear), Ok(vec![tombstone]));
}

#[test]
fn costs_are_64_and_the_raw_length_or_what_was_charged() {
    let record = data(1, 0, b"hello");
    assert_eq!((record.cost(), record.head.cost()), (69, 69));
    assert_eq!(Record::tombstone(&record.head, &[0; 32], 0).cost(), 64);
    assert_eq!(Record::tombstone(&record.head, &[0; 32], 69).cost(), 69);
    assert!(record.head.occupies() && record.head.end() == 5);
    let reset = Record::new(Seq::FIRST, StreamId::request(1), 9, kind::RESET_STREAM, encode_code(1));
    assert!(!reset.head.occupies() && reset.head.end() == 9);
}

#[test]
fn packets_of_the_specification_have_these_sizes() {
    let chunk = Record::new(Seq::FIRST, StreamId::request(1), 0, kind::DATA, vec![0; 262_144].into());
    assert_eq!(64 + chunk_entry(&chunk, 16).stored_len + 4_880, 267_104);
    let kilobyte = Bytes::from(vec![0; 1_024]);
    let records: Vec<Record> = (1..=250)
        .map(|seq| Record::new(Seq::new(seq), StreamId::request(seq), 0, kind::DATA, kilobyte.clone()))
        .collect();
    let (entry, _) = batch(&records);
    assert_eq!(entry.stored_len, 262_000);
    assert_eq!(4_880 + 4 * (64 + entry.stored_len + 16), 1_053_200);
}

fn record() -> impl Strategy<Value = (u64, Record)> {
    let kinds = prop_oneof![Just(kind::HEAD), Just(kind::DATA), Just(kind::FIN), Just(200_u8)];
    let payload = proptest::collection::vec(any::<u8>(), 1..60);
    (1..300_u64, 0..1_u64 << 48, 0..1_u64 << 61, kinds, payload, 0..40_u32, 0..6_u8).prop_map(
        |(step, stream, offset, kind, payload, more, shape)| {
            let stream = StreamId::new(stream).unwrap();
            let len = payload.len() as u32;
            let payload = Bytes::from(payload);
            let record = match (shape, kind) {
                (0, kind::DATA | 200) => Record::compressed(Seq::FIRST, stream, offset, kind, len + more + 1, payload),
                (1, _) => {
                    Record::tombstone(&Record::new(Seq::FIRST, stream, offset, kind, payload).head, &[7; 32], more)
                }
                (2, _) => Record::new(Seq::FIRST, stream, offset, kind::RESET_STREAM, encode_code(step)),
                _ => Record::new(Seq::FIRST, stream, offset, kind, payload),
            };
            (step, record)
        },
    )
}

proptest! {
    #[test]
    fn every_batch_comes_back(records in proptest::collection::vec(record(), 1..30), base in 0..1_u64 << 61) {
        let mut seq = base;
        let records: Vec<Record> = records
            .into_iter()
            .map(|(step, record)| {
                seq += step;
                Record { head: RecordHeader { seq: Seq::new(seq), ..record.head }, payload: record.payload }
            })
            .collect();
        let (entry, clear) = batch(&records);
        prop_assert_eq!(decode_frame(&entry, &clear, 1 << 24), Ok(records));
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        records in proptest::collection::vec(record(), 1..4), at in 0..400_usize, byte: u8, count in 1..5_u64,
    ) {
        let mut seq = 0;
        let records: Vec<Record> = records
            .into_iter()
            .map(|(step, record)| {
                seq += step;
                Record { head: RecordHeader { seq: Seq::new(seq), ..record.head }, payload: record.payload }
            })
            .collect();
        let (mut entry, clear) = batch(&records);
        let mut clear = clear.to_vec();
        let at = at % clear.len();
        clear[at] = byte;
        entry.offset = count;
        if let Ok(read) = decode_batch(&entry, &clear.clone().into()) {
            let mut again = Vec::new();
            prop_assert_eq!(encode_batch(&read, &mut again), Ok(()));
            prop_assert_eq!(hex(&again), hex(&clear));
        }
    }
}
