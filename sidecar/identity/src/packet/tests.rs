//! Round trips, misuse and hedging in every suite; damage and forgery are in `damage`.

use proptest::prelude::*;
use wire::digest::sha256;
use wire::header::{Header, checksum, set_crc};
use wire::ids::{EndpointId, Incarnation, PacketNumber};
use wire::limits::{MAX_FRAME_LEN, STREAM_END};
use wire::reject::Reject;
use wire::suite::Suite;
use wire::table::{CHUNK, FrameEntry};

use super::{BuiltPrefix, PrefixInput, SealError, build_prefix, build_prefix_with};
use super::{open_prefix, verify_prefix};
use crate::{Identity, PeerKeys};

mod damage;

// One PAD TLV each: valid blocks of 8 bytes.
const EXT: [u8; 8] = [1, 6, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 16] = [1, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const FRAMES: [&[u8]; 2] = [b"the first frame", b"the other one"];

fn side(name: &str, seed: u8) -> Identity {
    Identity::from_seeds(name, &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).unwrap()
}

fn north() -> Identity {
    side("north", 10)
}

fn south() -> Identity {
    side("south", 20)
}

fn pinned(identity: &Identity) -> PeerKeys {
    let token = identity.bundle(1, 0, 0).to_token().unwrap();
    PeerKeys::from_tokens(&[&token], identity.side(), &Suite::ALL, 0).unwrap()
}

fn entries(suite: Suite, frames: &[&[u8]]) -> Vec<FrameEntry> {
    let entry = |(frame, seq): (&&[u8], u64)| FrameEntry {
        stored_len: u32::try_from(frame.len() + suite.tag_len()).unwrap(),
        raw_len: u32::try_from(frame.len()).unwrap(),
        kind: CHUNK,
        flags: 0,
        stream: 2,
        seq,
        offset: 0,
        digest: sha256(&[frame]),
    };
    frames.iter().zip(1..).map(entry).collect()
}

fn input(suite: Suite, entries: &[FrameEntry]) -> PrefixInput<'_> {
    PrefixInput {
        suite,
        sender: EndpointId::from_bytes([1; 16]),
        recipient: EndpointId::from_bytes([2; 16]),
        sender_incarnation: Incarnation { generation: 1, random: [3; 8] },
        recipient_incarnation: Incarnation { generation: 2, random: [4; 8] },
        pn: PacketNumber::FIRST,
        sent_at_ms: 1,
        ext: &EXT,
        control: &CONTROL,
        entries,
    }
}

struct Packet {
    built: BuiltPrefix,
    header: Header,
    frames: Vec<Vec<u8>>,
}

fn packet(suite: Suite) -> Packet {
    let entries = entries(suite, &FRAMES);
    let built = build_prefix(Some(&north()), &pinned(&south()), &input(suite, &entries)).unwrap();
    let header = Header::parse(&built.bytes).unwrap();
    let seal = |(index, frame): (u64, &&[u8])| {
        let mut frame = frame.to_vec();
        built.frames.seal(index, &entries[usize::try_from(index).unwrap()], &mut frame).unwrap();
        frame
    };
    let frames = (0..).zip(&FRAMES).map(seal).collect();
    Packet { built, header, frames }
}

/// Rows 12 to 15 over a prefix whose header is read from its own bytes.
fn read(bytes: &[u8], identity: &Identity, peer: &PeerKeys) -> Result<(), Reject> {
    let header = Header::parse(bytes)?;
    verify_prefix(&header, bytes, peer)?;
    open_prefix(Some(identity), &header, bytes).map(drop)
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    set_crc(bytes.first_chunk_mut().unwrap());
    bytes
}

#[test]
fn a_packet_comes_back_in_every_suite() {
    for suite in Suite::ALL {
        let Packet { built, header, frames } = packet(suite);
        assert_eq!(built.bytes.len(), built.bytes.len().next_multiple_of(8));
        assert_eq!(header.salt, built.salt);
        verify_prefix(&header, &built.bytes, &pinned(&north())).unwrap();
        let opened = open_prefix(Some(&south()), &header, &built.bytes).unwrap();
        assert_eq!((&opened.ext[..], &opened.control[..]), (&EXT[..], &CONTROL[..]));
        assert_eq!(opened.entries, entries(suite, &FRAMES));
        for (index, stored) in (0..).zip(frames) {
            let at = usize::try_from(index).unwrap();
            let mut frame = stored.clone();
            opened.frames.open(index, &opened.entries[at], &mut frame).unwrap();
            assert_eq!(frame, FRAMES[at]);
            assert_eq!(stored == FRAMES[at], !suite.sealed());
        }
    }
}

#[test]
fn a_frame_is_sealed_only_as_the_table_says() {
    for suite in Suite::ALL {
        let entries = entries(suite, &FRAMES);
        let Packet { built, frames, .. } = packet(suite);
        let seal = |index, entry: &FrameEntry, clear: &[u8]| {
            let mut bytes = clear.to_vec();
            let result = built.frames.seal(index, entry, &mut bytes);
            assert!(result.is_ok() || bytes == clear, "unchanged after an error");
            result.map(|()| bytes)
        };
        assert_eq!(seal(0, &entries[0], FRAMES[0]).unwrap(), frames[0], "sealing twice is the same");
        for (index, entry, clear) in [
            (1, &entries[0], FRAMES[0]),
            (2, &entries[1], FRAMES[1]),
            (u64::MAX, &entries[0], FRAMES[0]),
            (0, &entries[0], b"the worst frame"),
            (0, &entries[0], &FRAMES[0][1..]),
            (0, &entries[0], b""),
        ] {
            assert!(matches!(seal(index, entry, clear), Err(SealError::Frame { .. })));
        }
    }
}

#[test]
fn a_retired_key_still_opens_but_is_not_announced_first() {
    let Packet { built, header, .. } = packet(Suite::Sealed);
    let renewed = side("south", 40).with_retired(south()).unwrap();
    assert_eq!(renewed.kem_ids(), [side("south", 40).kem_id(), south().kem_id()]);
    assert!(open_prefix(Some(&renewed), &header, &built.bytes).is_ok());
}

#[test]
fn a_broken_random_source_does_not_repeat_a_key_for_other_content() {
    let (north, peer) = (north(), pinned(&south()));
    let (first, second) = (entries(Suite::Sealed, &FRAMES), entries(Suite::Sealed, &FRAMES[..1]));
    let build = |entries| build_prefix_with(Some(&north), &peer, &input(Suite::Sealed, entries), &[0; 32]).unwrap();
    let (a, b, again) = (build(&first), build(&second), build(&first));
    let layout = |built: &BuiltPrefix| Header::parse(&built.bytes).unwrap().layout();
    assert_ne!(a.salt, b.salt);
    assert_ne!(a.bytes[layout(&a).ct()], b.bytes[layout(&b).ct()]);
    let sig_at = layout(&a).sig_at;
    assert_eq!(a.bytes[..sig_at], again.bytes[..sig_at], "equal content repeats itself");
    assert_ne!(a.bytes[sig_at..], again.bytes[sig_at..], "but for the hedged signature");
}

#[test]
fn the_salt_is_not_the_seed_of_the_encapsulation() {
    let Packet { built, header, .. } = packet(Suite::Sealed);
    let public = south().bundle(1, 0, 0).keys[2].bytes.clone();
    let public = crate::kem::KemPublic::from_bytes(&public).unwrap();
    let twice = [built.salt, built.salt].concat().try_into().unwrap();
    let (ct, _) = public.encapsulate(zeroize::Zeroizing::new(twice)).unwrap();
    assert_ne!(ct, built.bytes[header.layout().ct()]);
}

#[test]
fn fresh_packets_never_share_a_salt() {
    for suite in Suite::ALL {
        assert_ne!(packet(suite).built.salt, packet(suite).built.salt);
    }
}

#[test]
fn checksum_packets_need_no_keys() {
    let input = input(Suite::Checksum, &[]);
    let built = build_prefix(None, &PeerKeys::default(), &input).unwrap();
    let header = Header::parse(&built.bytes).unwrap();
    assert_eq!(verify_prefix(&header, &built.bytes, &PeerKeys::default()), Ok(()));
    assert!(open_prefix(None, &header, &built.bytes).is_ok());
    assert_eq!((header.signing_key, header.kem_key), ([0; 8], [0; 8]));
}

#[test]
fn reserved_bytes_advisory_flags_and_pads_of_a_later_minor_version_are_accepted() {
    let Packet { mut built, header, .. } = packet(Suite::Checksum);
    let layout = header.layout();
    built.bytes[10] = 9;
    built.bytes[15] = 0xff;
    built.bytes[200..252].fill(0xaa);
    let mut bytes = with_crc(built.bytes);
    let sum = checksum(&[&bytes[..layout.sig_at]]);
    bytes[layout.signature()].copy_from_slice(&sum);
    bytes[layout.sig_end..].fill(0xbb);
    assert_eq!(read(&bytes, &south(), &PeerKeys::default()), Ok(()));
}

#[test]
fn what_no_reader_would_take_is_not_built() {
    let (north, peer) = (north(), pinned(&south()));
    let refused =
        |input: &PrefixInput<'_>| matches!(build_prefix(Some(&north), &peer, input), Err(SealError::Shape(_)));
    let good = entries(Suite::Sealed, &FRAMES);
    let base = input(Suite::Sealed, &good);
    assert!(!refused(&base));
    assert!(refused(&PrefixInput { sender_incarnation: Incarnation::UNKNOWN, ..base }));
    assert!(refused(&PrefixInput { ext: &[0; 7], ..base }));
    assert!(refused(&PrefixInput { ext: &vec![0; 65_544], ..base }));
    assert!(refused(&PrefixInput { control: &[], ..base }));
    assert!(refused(&PrefixInput { control: &[1; 12], ..base }));
    assert!(refused(&PrefixInput { control: &vec![0; (1 << 20) + 8], ..base }));
    let entry = &good[0];
    for bad in [
        FrameEntry { stored_len: 16, ..entry.clone() },
        FrameEntry { stored_len: 3, ..entry.clone() },
        FrameEntry { stored_len: MAX_FRAME_LEN + 17, ..entry.clone() },
        FrameEntry { stream: STREAM_END, ..entry.clone() },
    ] {
        assert!(refused(&PrefixInput { entries: &[bad], ..base }));
    }
    assert!(refused(&PrefixInput { entries: &vec![entry.clone(); 65_537], ..base }));
    let huge = FrameEntry { stored_len: MAX_FRAME_LEN + 16, ..entry.clone() };
    assert!(refused(&PrefixInput { entries: &vec![huge; 65_536], ..base }));
}

#[test]
fn missing_keys_are_named() {
    let sealed = input(Suite::Sealed, &[]);
    let no_identity = build_prefix(None, &pinned(&south()), &sealed).unwrap_err();
    assert_eq!(no_identity, SealError::NoIdentity(Suite::Sealed));
    let no_peer = build_prefix(Some(&north()), &PeerKeys::default(), &sealed).unwrap_err();
    assert_eq!(no_peer, SealError::NoKemKey);
    let revoked = pinned(&south()).with_revoked(&[south().signing_id()]);
    assert_eq!(build_prefix(Some(&north()), &revoked, &sealed).unwrap_err(), SealError::NoKemKey);
    let expired = south().bundle(1, 0, 5).to_token().unwrap();
    let expired = PeerKeys::from_tokens(&[&expired], "south", &[Suite::Sealed], 5).unwrap();
    let later = PrefixInput { sent_at_ms: 6, ..sealed };
    assert_eq!(build_prefix(Some(&north()), &expired, &later).unwrap_err(), SealError::NoKemKey);
    assert!(build_prefix(Some(&north()), &expired, &sealed).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_of_any_content_come_back(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
        number in 1u16..=3,
    ) {
        let suite = Suite::from_number(number).unwrap();
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let table = entries(suite, &slices);
        let built = build_prefix(Some(&north()), &pinned(&south()), &input(suite, &table)).unwrap();
        let header = Header::parse(&built.bytes).unwrap();
        verify_prefix(&header, &built.bytes, &pinned(&north())).unwrap();
        let opened = open_prefix(Some(&south()), &header, &built.bytes).unwrap();
        for ((index, entry), clear) in (0..).zip(&table).zip(&frames) {
            let mut bytes = clear.clone();
            built.frames.seal(index, entry, &mut bytes).unwrap();
            opened.frames.open(index, &opened.entries[usize::try_from(index).unwrap()], &mut bytes).unwrap();
            prop_assert_eq!(&bytes, clear);
        }
    }
}
