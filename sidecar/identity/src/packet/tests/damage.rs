//! Damage and forgery: what each changed byte of a packet does, in every suite.

use proptest::prelude::*;
use wire::header::Header;
use wire::reject::Reject;
use wire::suite::Suite;
use wire::table::FrameEntry;

use super::super::{PrefixInput, build_prefix, open_prefix, verify_prefix};
use super::{Packet, input, north, packet, pinned, read, side, south, with_crc};
use crate::PeerKeys;

#[test]
fn a_flipped_bit_anywhere_has_its_own_reject() {
    for suite in Suite::ALL {
        let (peer, receiver) = (pinned(&north()), south());
        let Packet { built, header, .. } = packet(suite);
        let layout = header.layout();
        for at in 0..built.bytes.len() {
            let mut bytes = built.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let found = read(&bytes, &receiver, &peer);
            let expected = match (at, suite) {
                (0..8, _) => Err(Reject::Magic),
                (8..256, _) => Err(Reject::Crc),
                (_, _) if at >= layout.sig_end => Ok(()),
                (_, Suite::Checksum) => Err(Reject::Checksum),
                (_, Suite::Signed | Suite::Sealed) if at >= layout.sig_at + 64 => Err(Reject::SignatureMldsa),
                (_, Suite::Signed | Suite::Sealed) => Err(Reject::SignatureEd25519),
            };
            assert_eq!(found, expected, "{suite}, byte {at}");
        }
    }
}

#[test]
fn a_changed_header_with_a_mended_crc_is_never_accepted() {
    for suite in Suite::ALL {
        let (peer, receiver) = (pinned(&north()), south());
        let Packet { built, .. } = packet(suite);
        for at in 8..252 {
            let mut bytes = built.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let found = read(&with_crc(bytes), &receiver, &peer).unwrap_err();
            let expected = match (at, suite) {
                (8..10, _) => vec![Reject::Major],
                (12..14, _) => vec![Reject::SuiteUnknown, Reject::Length, Reject::Checksum, Reject::SignatureEd25519],
                (14, _) => vec![Reject::Flags],
                (16..32, _) | (96..104, _) | (112..120, _) => {
                    vec![Reject::Length, Reject::Checksum, Reject::SignatureEd25519]
                }
                (_, Suite::Checksum) => vec![Reject::Checksum],
                (120..128, Suite::Signed | Suite::Sealed) => vec![Reject::KeyUnknown],
                (_, Suite::Signed | Suite::Sealed) => vec![Reject::SignatureEd25519],
            };
            assert!(expected.contains(&found), "{suite}, byte {at}: {found}");
        }
    }
}

/// What a thief of nothing but the signature check would meet: row 15 stands on its own.
#[test]
fn row_15_refuses_every_change_without_the_signature() {
    let Packet { built, header, .. } = packet(Suite::Sealed);
    let layout = header.layout();
    let receiver = south();
    for at in (32..96).chain(104..112).chain(120..252).chain(layout.ct_at..layout.sig_at) {
        let mut bytes = built.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let bytes = with_crc(bytes);
        let header = Header::parse(&bytes).unwrap();
        let expected = match at {
            128..136 => Reject::KemKey,
            _ if at >= layout.control_at => Reject::ControlSeal,
            _ => Reject::Commitment,
        };
        let found = open_prefix(Some(&receiver), &header, &bytes).unwrap_err();
        assert_eq!(found, expected, "byte {at}");
    }
}

#[test]
fn a_damaged_moved_or_cut_frame_is_refused() {
    for suite in Suite::ALL {
        let Packet { built, header, frames } = packet(suite);
        let opened = open_prefix(Some(&south()), &header, &built.bytes).unwrap();
        let entry = &opened.entries[0];
        let damaged = if suite.sealed() { Reject::FrameSeal } else { Reject::FrameDigest };
        for at in 0..frames[0].len() {
            let mut frame = frames[0].clone();
            frame[at] ^= 0x40;
            assert_eq!(opened.frames.open(0, entry, &mut frame), Err(damaged), "{suite} {at}");
        }
        let open = |index, entry, frame: &[u8]| opened.frames.open(index, entry, &mut frame.to_vec());
        assert_eq!(open(0, entry, &frames[0][1..]), Err(Reject::FrameCut));
        assert_eq!(open(0, entry, &[]), Err(Reject::FrameCut));
        assert_eq!(open(0, &opened.entries[1], &frames[0]), Err(Reject::FrameCut));
        if suite.sealed() {
            assert_eq!(open(1, entry, &frames[0]), Err(Reject::FrameSeal));
            let lying = FrameEntry { seq: 9, ..entry.clone() };
            assert_eq!(open(0, &lying, &frames[0]), Err(Reject::FrameSeal));
            let short = FrameEntry { stored_len: 15, ..entry.clone() };
            assert_eq!(open(0, &short, &frames[0][..15]), Err(Reject::FrameSeal));
        }
    }
}

#[test]
fn a_file_that_changes_between_two_reads_is_not_trusted() {
    let (first, second) = (packet(Suite::Sealed), packet(Suite::Sealed));
    let (peer, receiver) = (pinned(&north()), south());
    let bytes = &second.built.bytes;
    assert_eq!(verify_prefix(&first.header, bytes, &peer), Err(Reject::PrefixCut));
    let opened = open_prefix(Some(&receiver), &first.header, bytes);
    assert_eq!(opened.unwrap_err(), Reject::PrefixCut);
    let cut = &bytes[..bytes.len() - 1];
    assert_eq!(verify_prefix(&second.header, cut, &peer), Err(Reject::PrefixCut));
    assert_eq!(open_prefix(Some(&receiver), &second.header, b"").unwrap_err(), Reject::PrefixCut);
}

#[test]
fn packets_of_others_and_for_others_are_refused() {
    for suite in [Suite::Signed, Suite::Sealed] {
        let Packet { built, header, .. } = packet(suite);
        let stranger = side("north", 90);
        let found = verify_prefix(&header, &built.bytes, &pinned(&stranger));
        assert_eq!(found, Err(Reject::KeyUnknown));
        let found = verify_prefix(&header, &built.bytes, &PeerKeys::default());
        assert_eq!(found, Err(Reject::KeyUnknown));
        let revoked = pinned(&north()).with_revoked(&[north().signing_id()]);
        assert_eq!(verify_prefix(&header, &built.bytes, &revoked), Err(Reject::KeyRevoked));
        if suite.sealed() {
            for identity in [None, Some(&stranger)] {
                let found = open_prefix(identity, &header, &built.bytes).unwrap_err();
                assert_eq!(found, Reject::KemKey);
            }
        }
    }
}

#[test]
fn a_bad_ext_block_is_refused_before_any_key_is_used() {
    for (ext, reject) in
        [([2, 1, 0, 0, 0, 0, 0, 0], Reject::ExtCritical), ([1, 40, 0, 0, 0, 0, 0, 0], Reject::ExtMalformed)]
    {
        let input = PrefixInput { ext: &ext, ..input(Suite::Sealed, &[]) };
        let built = build_prefix(Some(&north()), &pinned(&south()), &input).unwrap();
        let header = Header::parse(&built.bytes).unwrap();
        assert_eq!(open_prefix(None, &header, &built.bytes).unwrap_err(), reject);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_behind_a_good_header_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..6000),
        keep in 256usize..6000,
    ) {
        let Packet { built, header, .. } = packet(Suite::Sealed);
        let mut bytes = built.bytes;
        let keep = keep.min(bytes.len());
        for (byte, noise) in bytes[keep..].iter_mut().zip(noise) {
            *byte = noise;
        }
        let (peer, receiver) = (pinned(&north()), south());
        let _ = verify_prefix(&header, &bytes, &peer);
        let _ = open_prefix(Some(&receiver), &header, &bytes);
    }
}
