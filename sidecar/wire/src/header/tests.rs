//! Tests of the header and the layout.

use super::*;
use crate::digest::sha256;
use alloc::vec::Vec;
use proptest::prelude::*;

fn header() -> Header {
    Header {
        minor: 0,
        suite_number: 3,
        flags: 0,
        header_len: 256,
        control_len: 96,
        frame_count: 0,
        frames_at: 4_864,
        sender: EndpointId::from_bytes([1; 16]),
        recipient: EndpointId::from_bytes([2; 16]),
        sender_incarnation: Incarnation { generation: 1, random: [3; 8] },
        recipient_incarnation: Incarnation::UNKNOWN,
        pn: PacketNumber::new(7).unwrap(),
        sent_at_ms: -1,
        total_len: 4_880,
        signing_key: [4; 8],
        kem_key: [5; 8],
        salt: [6; 32],
        commitment: [7; 32],
    }
}

fn refused(change: impl FnOnce(&mut Header)) -> Option<Reject> {
    let mut changed = header();
    change(&mut changed);
    Header::parse(&changed.encode()).err()
}

/// The reject after writing raw bytes into a good header, with the CRC made good again.
fn raw(at: usize, bytes: &[u8]) -> Option<Reject> {
    let mut encoded = header().encode();
    encoded[at..at + bytes.len()].copy_from_slice(bytes);
    set_crc(&mut encoded);
    Header::parse(&encoded).err()
}

#[test]
fn a_header_comes_back() {
    let bytes = header().encode();
    assert_eq!(Header::parse(&bytes), Ok(header()));
    let mut longer = bytes.to_vec();
    longer.extend_from_slice(b"rest of the file");
    assert_eq!(Header::parse(&longer), Ok(header()));
}

#[test]
fn fields_lie_where_the_table_says() {
    let bytes = header().encode();
    assert_eq!(bytes[..16], [0x89, 0x48, 0x46, 0x54, 0x0d, 0x0a, 0x1a, 0x0a, 1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(bytes[16..32], [0, 1, 0, 0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0x13, 0, 0]);
    assert_eq!((&bytes[32..48], &bytes[48..64]), (&[1; 16][..], &[2; 16][..]));
    assert_eq!(bytes[64..80], header().sender_incarnation.to_bytes());
    assert_eq!(bytes[80..96], [0; 16]);
    assert_eq!(bytes[96..104], [7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[104..112], [0xff; 8]);
    assert_eq!(bytes[112..120], [0x10, 0x13, 0, 0, 0, 0, 0, 0]);
    assert_eq!((&bytes[120..128], &bytes[128..136]), (&[4; 8][..], &[5; 8][..]));
    assert_eq!((&bytes[SALT_AT], &bytes[COMMITMENT_AT]), (&[6; 32][..], &[7; 32][..]));
    assert_eq!(bytes[200..252], [0; 52]);
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(bytes[CRC_AT], crc32c::crc32c(&bytes[..252]).to_le_bytes());
}

#[test]
fn control_only_packets_have_the_sizes_of_the_specification() {
    let total = |suite| Layout::new(suite, 256, 96, 0).frames_at + END_MARKER_LEN;
    assert_eq!(Suite::ALL.map(total), [400, 3_744, 4_880]);
    assert_eq!(header().layout(), Layout::new(Suite::Sealed, 256, 96, 0));
}

#[test]
fn parts_follow_each_other() {
    let layout = Layout::new(Suite::Sealed, 264, 16, 2);
    assert_eq!(layout.ext(), 256..264);
    assert_eq!(layout.ct(), 264..1_384);
    assert_eq!(layout.control(), 1_384..1_400);
    assert_eq!(layout.table(), 1_400..1_528);
    assert_eq!(layout.sealed(), 1_384..1_544);
    assert_eq!(layout.signature(), 1_544..4_917);
    assert_eq!(layout.frames_at, 4_920);
}

#[test]
fn a_short_file_waits_and_so_does_one_that_was_not_filled_yet() {
    let bytes = header().encode();
    for len in [0, 1, 8, 255] {
        assert_eq!(Header::parse(&bytes[..len]), Err(Reject::Short));
    }
    assert_eq!(Header::parse(&[0; 256]), Err(Reject::Magic));
    let mut half = bytes;
    half[128..].fill(0);
    assert_eq!(Header::parse(&half), Err(Reject::Crc));
    assert!([Reject::Short, Reject::Magic, Reject::Crc].iter().all(|reject| reject.waits()));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let bytes = header().encode();
    for at in 0..256 * 8 {
        let mut flipped = bytes;
        flipped[at / 8] ^= 1 << (at % 8);
        let expected = if at < 64 { Reject::Magic } else { Reject::Crc };
        assert_eq!(Header::parse(&flipped), Err(expected), "bit {at}");
    }
}

#[test]
fn versions_suites_and_flags_are_judged_in_order() {
    assert_eq!(raw(8, &[2, 0]), Some(Reject::Major));
    assert_eq!(raw(8, &[0, 0]), Some(Reject::Major));
    assert_eq!(refused(|h| h.minor = 77), None);
    for suite in [0, 4, 5, 6, 7, 32_768] {
        assert_eq!(refused(|h| h.suite_number = suite), Some(Reject::SuiteUnknown));
    }
    for bit in 0..8 {
        assert_eq!(refused(|h| h.flags = 1 << bit), Some(Reject::Flags));
    }
    assert_eq!(refused(|h| h.flags = 0xff00), None);
    // The first check that fails names the reject.
    assert_eq!(raw(8, &[2, 0, 0, 0, 9, 0, 1, 0]), Some(Reject::Major));
    assert_eq!(raw(12, &[9, 0, 1, 0]), Some(Reject::SuiteUnknown));
    assert_eq!(raw(14, &[1, 0, 0, 0]), Some(Reject::Flags));
}

#[test]
fn a_refused_suite_comes_before_flags_and_after_unknown_suites() {
    let mut bad = header();
    bad.flags = 1;
    assert_eq!(Header::parse_accepting(&bad.encode(), |_| false), Err(Reject::SuiteRefused));
    assert_eq!(Header::parse_accepting(&bad.encode(), |h| h.recipient == bad.recipient), Err(Reject::Flags));
    bad.suite_number = 9;
    assert_eq!(Header::parse_accepting(&bad.encode(), |_| false), Err(Reject::SuiteUnknown));
}

/// The lengths of a header, consistent with each other: (header_len, control_len, frame_count).
fn sized(header_len: u32, control_len: u32, frame_count: u32) -> Option<Reject> {
    refused(|h| {
        (h.header_len, h.control_len, h.frame_count) = (header_len, control_len, frame_count);
        h.frames_at = h.layout().frames_at as u32;
        h.total_len = u64::from(h.frames_at) + 16;
    })
}

#[test]
fn lengths_are_kept_within_their_bounds() {
    assert_eq!(sized(256, 8, 0), None);
    assert_eq!(sized(65_792, 1_048_576, 65_536), None);
    for (header_len, control_len, frame_count) in [
        (248, 8, 0),
        (260, 8, 0),
        (65_800, 8, 0),
        (256, 0, 0),
        (256, 12, 0),
        (256, 1_048_584, 0),
        (256, 8, 65_537),
        (0, 8, 0),
        (256, 8, u32::MAX),
        (u32::MAX, 8, 0),
        (!7, !7, u32::MAX),
    ] {
        assert_eq!(
            sized(header_len, control_len, frame_count),
            Some(Reject::Length),
            "{header_len} {control_len} {frame_count}"
        );
    }
}

#[test]
fn offsets_numbers_and_totals_are_judged() {
    assert_eq!(refused(|h| h.frames_at += 8), Some(Reject::Length));
    assert_eq!(refused(|h| h.frames_at -= 8), Some(Reject::Length));
    assert_eq!(refused(|h| h.sender_incarnation = Incarnation::UNKNOWN), Some(Reject::Length));
    assert_eq!(refused(|h| h.sender_incarnation.generation = 0), None);
    assert_eq!(raw(96, &[0; 8]), Some(Reject::Length));
    assert_eq!(raw(96, &(1_u64 << 40).to_le_bytes()), Some(Reject::Length));
    assert_eq!(raw(96, &((1_u64 << 40) - 1).to_le_bytes()), None);
    for total in [0, 4_872, 4_881, (1 << 40) + 8, u64::MAX, !7] {
        assert_eq!(refused(|h| h.total_len = total), Some(Reject::Length), "{total}");
    }
    for total in [4_880, 4_888, 1 << 40] {
        assert_eq!(refused(|h| h.total_len = total), None, "{total}");
    }
}

#[test]
fn reserved_bytes_are_accepted() {
    assert_eq!(raw(200, &[0xab; 52]), None);
}

#[test]
fn end_marker_and_signed_message_are_prefix_and_bytes() {
    let mut salt = [0; 32];
    salt[..8].copy_from_slice(b"saltsalt");
    assert_eq!(end_marker(&salt), *b"HFTEND\r\nsaltsalt");
    assert_eq!(signed_message(&[9; 32]).to_vec(), [&b"hoft1 packet signature"[..], &[9; 32]].concat());
    assert_eq!(checksum(&[b"a", b"b"]), sha256(&[b"hoft1 packet checksum", b"ab"]));
}

#[test]
fn alignment_is_to_the_next_multiple_of_8() {
    assert_eq!([0, 1, 7, 8, 9].map(align8), [0, 8, 8, 8, 16]);
    assert_eq!(align8(u64::MAX), !7);
    assert_eq!([0, 1, 8, 9].map(align8_usize), [0, 8, 8, 16]);
}

proptest! {
    #[test]
    fn any_256_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 256), front: bool) {
        let mut encoded: [u8; 256] = bytes.try_into().unwrap();
        encoded[..8].copy_from_slice(&MAGIC);
        if front {
            encoded[8..16].copy_from_slice(&header().encode()[8..16]);
        }
        set_crc(&mut encoded);
        if let Ok(parsed) = Header::parse(&encoded) {
            prop_assert_eq!(Header::parse(&parsed.encode()), Ok(parsed));
        }
    }

    #[test]
    fn every_good_header_comes_back(
        ids: [[u8; 16]; 4], keys: [[u8; 8]; 2], salts: [[u8; 32]; 2], pn in 1..1_u64 << 40, sent_at_ms: i64,
        suite in 1..4_u16, ext in 0..100_u32, control in 1..100_u32, frame_count in 0..100_u32, body in 0..1000_u64,
        minor: u16, advisory: u8,
    ) {
        let mut h = Header {
            minor,
            suite_number: suite,
            flags: u16::from(advisory) << 8,
            header_len: 256 + 8 * ext,
            control_len: 8 * control,
            frame_count,
            frames_at: 0,
            sender: EndpointId::from_bytes(ids[0]),
            recipient: EndpointId::from_bytes(ids[1]),
            sender_incarnation: Incarnation::from_bytes(&ids[2]),
            recipient_incarnation: Incarnation::from_bytes(&ids[3]),
            pn: PacketNumber::new(pn).unwrap(),
            sent_at_ms,
            total_len: 0,
            signing_key: keys[0],
            kem_key: keys[1],
            salt: salts[0],
            commitment: salts[1],
        };
        prop_assume!(!h.sender_incarnation.is_unknown());
        h.frames_at = h.layout().frames_at as u32;
        h.total_len = u64::from(h.frames_at) + 16 + 8 * body;
        let bytes: Vec<u8> = h.encode().to_vec();
        prop_assert_eq!(Header::parse(&bytes), Ok(h));
    }
}
