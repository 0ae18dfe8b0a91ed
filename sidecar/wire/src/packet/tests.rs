//! Tests of whole packets of suite 1, and of what a later version may change in them.

use super::*;
use crate::control::Control;
use crate::digest::{hex, sha256};
use crate::ids::{Incarnation, PacketNumber, Seq, StreamId, endpoint_id, side_id};
use crate::record::{Record, batch_entry, chunk_entry, decode_frame, encode_batch, kind};
use crate::suite::Suite;
use crate::table::{FrameUse, check_table, decode_table};
use crate::tlv::{TlvWriter, check_ext};
use alloc::vec;
use bytes::Bytes;
use proptest::prelude::*;

fn hello() -> Record {
    Record::new(Seq::FIRST, StreamId::request(1), 0, kind::DATA, Bytes::from_static(b"hello"))
}

fn parts(control: Vec<u8>, table: Vec<FrameEntry>) -> PacketParts {
    let header = Header {
        minor: 0,
        suite_number: Suite::Checksum.number(),
        flags: 0,
        header_len: 0,
        control_len: 0,
        frame_count: 0,
        frames_at: 0,
        sender: endpoint_id(&side_id("", "north", "south"), "gateway", "0"),
        recipient: endpoint_id(&side_id("", "south", "north"), "gateway", "0"),
        sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
        recipient_incarnation: Incarnation { generation: 2, random: [0x22; 8] },
        pn: PacketNumber::new(7).unwrap(),
        sent_at_ms: 0,
        total_len: 0,
        signing_key: [0; 8],
        kem_key: [0; 8],
        salt: [7; 32],
        commitment: [0; 32],
    };
    let mut parts = PacketParts { header, ext: Vec::new(), control, table };
    parts.set_lengths();
    parts
}

fn ping() -> Vec<u8> {
    Control { ping: true, ..Control::default() }.encode()
}

/// The records of each frame, or why it is not used.
type Frames = Vec<Result<Vec<Record>, Reject>>;

/// Reads a packet of suite 1 as a receiver does: checks 1–4, 11, 12, 14, 16, 17, 19, 20.
fn open(file: &[u8]) -> Result<(Control, Frames), Reject> {
    let header = Header::parse(file)?;
    let layout = header.layout();
    verify_checksum(file, &layout)?;
    check_ext(&file[layout.ext()])?;
    let control = Control::decode(&file[layout.control()], false)?;
    let entries = decode_table(&file[layout.table()]);
    let offsets = check_table(&entries, header.frames_at, header.total_len, 0)?;
    let frame = |(entry, at): (&FrameEntry, &u64)| {
        let from = *at as usize;
        let clear = file.get(from..from + entry.stored_len as usize).ok_or(Reject::FrameCut)?;
        if sha256(&[clear]) != entry.digest {
            return Err(Reject::FrameDigest);
        }
        decode_frame(entry, &Bytes::copy_from_slice(clear), 1 << 21)
    };
    Ok((control, entries.iter().zip(&offsets).map(frame).collect()))
}

#[test]
fn checksum_packet_of_the_specification() {
    let control = ping();
    assert_eq!(control, [0x14, 0, 0, 0, 0, 0, 0, 0]);
    let parts = parts(control, vec![chunk_entry(&hello(), 0)]);
    let file = checksum_packet(&parts, &[b"hello"]);
    assert_eq!(file.len(), 384);
    assert_eq!(hex(&sha256(&[&file])), "26d7f1a524987799359ee06e66d993a2dd6d5ab8fa86e35e6004c15371ab8bd1");
}

#[test]
fn a_packet_comes_back() {
    let record = hello();
    let file = checksum_packet(&parts(ping(), vec![chunk_entry(&record, 0)]), &[b"hello"]);
    let (control, frames) = open(&file).unwrap();
    assert!(control.ping);
    assert_eq!(frames, [Ok(vec![record])]);
    // Bytes after the end are not read.
    assert!(open(&[&file[..], b"more"].concat()).is_ok());
}

#[test]
fn a_cut_file_loses_only_the_frames_after_the_cut() {
    let records: Vec<Record> = (1..=3)
        .map(|seq| Record { head: crate::RecordHeader { seq: Seq::new(seq), ..hello().head }, ..hello() })
        .collect();
    let table = records.iter().map(|record| chunk_entry(record, 0)).collect();
    let parts = parts(ping(), table);
    let file = checksum_packet(&parts, &[&b"hello"[..]; 3]);
    let frames_at = parts.header.frames_at as usize;
    for len in 0..file.len() {
        let opened = open(&file[..len]);
        if len < frames_at {
            assert!(opened.is_err_and(Reject::waits), "{len}");
            continue;
        }
        let whole = opened.unwrap().1.iter().filter(|frame| frame.is_ok()).count();
        let expected = (0..3).filter(|i| frames_at + i * 8 + 5 <= len).count();
        assert_eq!(whole, expected, "{len}");
    }
}

#[test]
fn damage_in_the_prefix_is_found_and_in_a_frame_costs_that_frame() {
    let parts = parts(ping(), vec![chunk_entry(&hello(), 0)]);
    let file = checksum_packet(&parts, &[b"hello"]);
    let frames_at = parts.header.frames_at as usize;
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x40;
        match open(&damaged) {
            Err(reject) => assert!(at < frames_at && reject.waits(), "byte {at}: {reject}"),
            Ok((_, frames)) => {
                assert!(at >= frames_at, "byte {at}");
                let in_frame = (frames_at..frames_at + 5).contains(&at);
                assert_eq!(frames[0].is_err(), in_frame, "byte {at}");
            }
        }
    }
}

#[test]
fn what_a_later_minor_version_may_send_is_accepted() {
    let mut ext = TlvWriter::new();
    ext.put_grease(3, b"grease");
    let filler = FrameEntry { flags: 9, raw_len: 77, ..FrameEntry::filler(b"noise", 0) };
    let unknown = FrameEntry { kind: 77, ..chunk_entry(&hello(), 0) };
    let control = Control { ping: true, ..Control::default() }.encode_with_grease(0, &[5; 16]);
    let mut parts = parts(control, vec![filler, unknown, chunk_entry(&hello(), 0)]);
    parts.ext = ext.finish();
    parts.header.minor = 9;
    parts.header.flags = 0xff00;
    parts.set_lengths();
    // Reserved header bytes are not zero; CRC and checksum are made over what stands in the file.
    let mut header = parts.header.encode();
    header[200..252].fill(0xab);
    crate::header::set_crc(&mut header);
    let covered = parts.covered(&header, &[], &parts.clear_message());
    let signature = checksum_signature(&covered);
    let mut file = finish_prefix(covered, &signature);
    for frame in [&b"noise"[..], b"hello", b"hello"] {
        push_frame(&mut file, frame);
    }
    push_end(&mut file, &parts.header.salt);
    let (control, frames) = open(&file).unwrap();
    assert!(control.ping);
    assert_eq!(frames, [Ok(vec![]), Err(Reject::FrameKind), Ok(vec![hello()])]);
}

#[test]
fn the_end_marker_and_the_pads_are_not_needed() {
    let mut file = checksum_packet(&parts(ping(), vec![chunk_entry(&hello(), 0)]), &[b"hello"]);
    let len = file.len();
    file[len - 19..].fill(0xee);
    assert!(open(&file).unwrap().1[0].is_ok());
}

#[test]
fn lengths_of_sealed_packets_include_their_tags() {
    let mut sealed = parts(ping(), vec![chunk_entry(&hello(), 16)]);
    sealed.header.suite_number = Suite::Sealed.number();
    sealed.set_lengths();
    let layout = sealed.header.layout();
    assert_eq!(layout.sig_at, 256 + 1_120 + 8 + 64 + 16);
    assert_eq!(sealed.header.total_len, (layout.sig_at + 3_376 + 24 + 16) as u64);
    assert_eq!(sealed.clear_message().len(), 72);
    let covered = sealed.covered(&sealed.header.encode(), &[1; 1_120], &[2; 88]);
    assert_eq!(covered.len(), layout.sig_at);
    assert_eq!(finish_prefix(covered, &[3; 3_373]).len(), layout.frames_at);
}

#[test]
fn many_chunks_cost_little_over_their_payload() {
    let entry = FrameEntry { stored_len: 262_160, raw_len: 262_144, ..chunk_entry(&hello(), 16) };
    let mut sealed = parts(vec![0; 96], vec![entry; 244]);
    sealed.header.suite_number = Suite::Sealed.number();
    sealed.set_lengths();
    assert_eq!(sealed.header.total_len, 63_987_536);
}

proptest! {
    #[test]
    fn any_packet_comes_back(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10), batched: bool) {
        let records: Vec<Record> = payloads
            .into_iter()
            .enumerate()
            .map(|(i, payload)| Record::new(Seq::new(1 + i as u64), StreamId::request(1), 0, kind::DATA, payload.into()))
            .collect();
        let mut clear = Vec::new();
        let (table, frames, expected) = if batched && !records.is_empty() {
            encode_batch(&records, &mut clear).unwrap();
            (vec![batch_entry(&records, &clear, 0)], vec![&clear[..]], vec![Ok(records.clone())])
        } else {
            let table: Vec<_> = records.iter().map(|r| chunk_entry(r, 0)).collect();
            let frames: Vec<&[u8]> = records.iter().map(|r| &r.payload[..]).collect();
            (table, frames, records.iter().map(|r| Ok(vec![r.clone()])).collect())
        };
        prop_assert!(table.iter().all(|entry| entry.usage() != FrameUse::Unknown));
        let file = checksum_packet(&parts(ping(), table), &frames);
        prop_assert_eq!(open(&file).unwrap().1, expected);
    }
}
