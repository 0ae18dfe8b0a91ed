//! The published check values of wire format §16 that need keys.

use wire::digest::{hex, sha256};
use wire::header::{Header, align8_usize, end_marker};
use wire::ids::{Incarnation, PacketNumber, endpoint_id, side_id};
use wire::suite::Suite;
use wire::table::{CHUNK, FrameEntry};
use zeroize::Zeroizing;

use super::{BuiltPrefix, PrefixInput, build_prefix_with, open_prefix, verify_prefix};
use crate::kem::{KemPublic, KemSecret};
use crate::{Identity, PeerKeys};

const HELLO: &[u8] = b"hello";
const CONTROL: [u8; 8] = [0x14, 0, 0, 0, 0, 0, 0, 0];

fn north() -> Identity {
    Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
}

fn south() -> Identity {
    Identity::from_seeds("south", &[4; 32], &[5; 32], &[6; 32]).unwrap()
}

fn pinned(identity: &Identity) -> PeerKeys {
    let token = identity.bundle(1, 0, 0).to_token().unwrap();
    PeerKeys::from_tokens(&[&token], identity.side(), &Suite::ALL, 0).unwrap()
}

/// The packet of wire format §16 in another suite: prefix and the one frame, as stored.
fn published(suite: Suite) -> (BuiltPrefix, Vec<u8>) {
    let entry = FrameEntry {
        stored_len: u32::try_from(HELLO.len() + suite.tag_len()).unwrap(),
        raw_len: 5,
        kind: CHUNK,
        flags: 0,
        stream: 2,
        seq: 1,
        offset: 0,
        digest: sha256(&[HELLO]),
    };
    let input = PrefixInput {
        suite,
        sender: endpoint_id(&side_id("", "north", "south"), "gateway", "0"),
        recipient: endpoint_id(&side_id("", "south", "north"), "gateway", "0"),
        sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
        recipient_incarnation: Incarnation { generation: 2, random: [0x22; 8] },
        pn: PacketNumber::new(7).unwrap(),
        sent_at_ms: 0,
        ext: &[],
        control: &CONTROL,
        entries: std::slice::from_ref(&entry),
    };
    let built = build_prefix_with(Some(&north()), &pinned(&south()), &input, &[7; 32]).unwrap();
    let mut frame = HELLO.to_vec();
    built.frames.seal(0, &entry, &mut frame).unwrap();
    (built, frame)
}

#[test]
fn key_ids_and_token_match_the_published_values() {
    let north = north();
    assert_eq!(hex(&north.signing_id()), "7032bfb1bcac6795");
    assert_eq!(hex(&north.kem_id()), "fbbd8c066080b9a6");
    assert_eq!(north.fingerprint(), "3chw-jkf3-senx-h73w-q8a6-jd03");
    let token = north.bundle(1, 0, 0).to_token().unwrap();
    assert_eq!(token.len(), 4352);
    assert_eq!(hex(&sha256(&[token.as_bytes()])), "241afc8ca62c6dcd096c9e8c08c712458e3a1335995ca27954e85c2b461bf512");
    assert_eq!(hex(&south().kem_id()), "753ac7c1fea45f9a");
}

#[test]
fn encapsulation_with_fixed_randomness_gives_the_published_secret() {
    let secret = KemSecret::from_seed(&[6; 32]).unwrap();
    let public = KemPublic::from_bytes(&secret.public_bytes()).unwrap();
    let (ct, ss) = public.encapsulate(Zeroizing::new([8; 64])).unwrap();
    assert_eq!(hex(&*ss), "aa49633f2bbcbd4d7223c8b0dabdb23019a29b6032f4a072979d12e486895d96");
    assert_eq!(*secret.decapsulate(&ct).unwrap(), *ss);
}

#[test]
fn the_sealed_packet_of_the_specification_is_reproduced() {
    let (built, frame) = published(Suite::Sealed);
    let sig_at = Header::parse(&built.bytes).unwrap().layout().sig_at;
    assert_eq!(hex(&built.salt), "2aaf17da83066fb4ba45736f3f83262beaf2ec5a664df7c0b423b17b5c80fcb3");
    assert_eq!(hex(&frame), "1a31be1cbcab0c1d2c8c97a3a1f63efc6c4b43bc5c");
    assert_eq!(
        hex(&sha256(&[&built.bytes[..sig_at]])),
        "75f1938697c6e048a86fdcbf1742bce24666b0432bdc65698f95bf81b6e521ee"
    );
}

#[test]
fn the_checksum_packet_of_the_specification_is_reproduced() {
    let (built, mut frame) = published(Suite::Checksum);
    frame.resize(align8_usize(frame.len()), 0);
    let file = [&built.bytes[..], &frame, &end_marker(&built.salt)].concat();
    assert_eq!(built.salt, [7; 32]);
    assert_eq!(file.len(), 384);
    assert_eq!(built.total_len, 384);
    assert_eq!(hex(&sha256(&[&file])), "26d7f1a524987799359ee06e66d993a2dd6d5ab8fa86e35e6004c15371ab8bd1");
}

#[test]
fn the_receiver_reads_the_published_packet_in_every_suite() {
    for suite in Suite::ALL {
        let (built, mut frame) = published(suite);
        let header = Header::parse(&built.bytes).unwrap();
        verify_prefix(&header, &built.bytes, &pinned(&north())).unwrap();
        let opened = open_prefix(Some(&south()), &header, &built.bytes).unwrap();
        assert_eq!(opened.control, CONTROL);
        opened.frames.open(0, &opened.entries[0], &mut frame).unwrap();
        assert_eq!(frame, HELLO);
    }
}

#[test]
fn packet_sizes_are_those_of_the_table() {
    for (suite, expected) in [(Suite::Checksum, 400), (Suite::Signed, 3744), (Suite::Sealed, 4880)] {
        let input = PrefixInput {
            suite,
            sender: endpoint_id(&side_id("", "north", "south"), "gateway", "0"),
            recipient: endpoint_id(&side_id("", "south", "north"), "gateway", "0"),
            sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
            recipient_incarnation: Incarnation::UNKNOWN,
            pn: PacketNumber::FIRST,
            sent_at_ms: 0,
            ext: &[],
            control: &[0x01; 96],
            entries: &[],
        };
        let built = super::build_prefix(Some(&north()), &pinned(&south()), &input).unwrap();
        assert_eq!(built.total_len, expected, "{suite}");
    }
}
