//! Files that nobody sent to me: spoofed, replayed, reflected, re-addressed, damaged, lying, or no packets at all.

use std::sync::Arc;
use std::time::Duration;

use disk::dir::MemDir;
use proptest::prelude::*;
use wire::header::{Header, set_crc};
use wire::{Reject, Suite};

use crate::testkit::*;
use crate::{Closure, Inbox, InboxOptions, Outbox, OutboxOptions, Verdict};

/// Changes the header in place and makes its CRC good again.
fn edit(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let head: &mut [u8; 256] = bytes.first_chunk_mut().unwrap();
    change(head);
    set_crc(head);
}

/// Puts one file into a fresh inbox; nothing may come of it but this reject.
fn refused(suite: Suite, bytes: &[u8], reject: Reject) {
    let mut world = World::new(suite);
    world.put("x.hft", bytes);
    let got = world.settle();
    assert!(got.is_empty(), "{suite}: expected {reject}, got {got:?}");
    assert_eq!(world.inbox.counters().reject(reject), 1, "{suite}: {:?}", world.inbox.counters());
    assert_eq!(world.inbox.counters().rejects().count(), 1, "{:?}", world.inbox.counters());
}

fn packet(suite: Suite) -> Vec<u8> {
    World::new(suite).publish(&plan(1, three_frames())).1
}

#[test]
fn a_flipped_bit_anywhere_before_the_frames_changes_nothing() {
    for suite in Suite::ALL {
        let bytes = packet(suite);
        let layout = Header::parse(&bytes).unwrap().layout();
        let signature = match suite {
            Suite::Checksum => Reject::Checksum,
            Suite::Signed | Suite::Sealed => Reject::SignatureEd25519,
        };
        let mut flips = vec![(0, Reject::Magic), (100, Reject::Crc), (255, Reject::Crc)];
        flips.push((layout.control_at + 3, signature));
        flips.push((layout.table_at + 40, signature));
        flips.push((layout.sig_at, signature));
        if suite.signed() {
            flips.push((layout.sig_end - 1, Reject::SignatureMldsa));
        }
        if suite.sealed() {
            flips.push((layout.ct_at + 7, signature));
            flips.push((layout.sig_at - 1, signature));
        }
        for (at, reject) in flips {
            let mut bad = bytes.clone();
            bad[at] ^= 0x04;
            refused(suite, &bad, reject);
        }
    }
}

#[test]
fn a_spoofed_packet_is_refused() {
    for suite in [Suite::Signed, Suite::Sealed] {
        let folder = MemDir::new();
        let options = OutboxOptions { suite, ..OutboxOptions::default() };
        let outbox =
            Outbox::new(Arc::new(folder.clone()), north(), Some(KEYS.east.clone()), pin(&KEYS.south), options).unwrap();
        let path = outbox.publish(&plan(1, three_frames()), &Generated).unwrap().path;
        let bytes = folder.contents(&path).unwrap();
        refused(suite, &bytes, Reject::KeyUnknown);
        // With the id of a key that is pinned the signature is looked at, and fails.
        let mut forged = bytes;
        edit(&mut forged, |head| head[120..128].copy_from_slice(&KEYS.north.signing_id()));
        refused(suite, &forged, Reject::SignatureEd25519);
    }
}

#[test]
fn re_addressed_packets_are_refused() {
    for suite in Suite::ALL {
        let bytes = packet(suite);
        let mut other = bytes.clone();
        edit(&mut other, |head| head[48] ^= 1);
        refused(suite, &other, Reject::Recipient);
        // To my side instead of my endpoint: the checksum or signature covers the address.
        let mut side = bytes;
        edit(&mut side, |head| head[48..64].copy_from_slice(south_side().as_address().as_bytes()));
        refused(suite, &side, if suite.signed() { Reject::SignatureEd25519 } else { Reject::Checksum });
    }
}

#[test]
fn reflected_packets_are_refused() {
    for suite in Suite::ALL {
        for sender in [south(), south_side().as_address()] {
            let mut bytes = packet(suite);
            edit(&mut bytes, |head| head[32..48].copy_from_slice(sender.as_bytes()));
            refused(suite, &bytes, Reject::Reflected);
        }
    }
}

#[test]
fn a_suite_that_is_not_accepted_is_refused() {
    for suite in Suite::ALL {
        for accepted in Suite::ALL.into_iter().filter(|accepted| *accepted != suite) {
            refused(accepted, &packet(suite), Reject::SuiteRefused);
        }
    }
}

#[test]
fn versions_suites_flags_and_lengths_are_judged_before_the_address() {
    type Edit = fn(&mut [u8]);
    let edits: [(Reject, Edit); 8] = [
        (Reject::Major, |head| head[8] = 2),
        (Reject::SuiteUnknown, |head| head[12] = 4),
        (Reject::Flags, |head| head[14] = 4),
        (Reject::Length, |head| head[16..20].copy_from_slice(&264u32.to_le_bytes())),
        (Reject::Length, |head| head[20..24].copy_from_slice(&(2u32 << 20).to_le_bytes())),
        (Reject::Length, |head| head[24..28].copy_from_slice(&u32::MAX.to_le_bytes())),
        (Reject::Length, |head| head[64..80].fill(0)),
        (Reject::Length, |head| head[112..120].copy_from_slice(&(1u64 << 41).to_le_bytes())),
    ];
    for (reject, change) in edits {
        let mut bytes = packet(Suite::Checksum);
        edit(&mut bytes, |head| {
            head[48] ^= 1;
            change(head);
        });
        refused(Suite::Checksum, &bytes, reject);
    }
}

#[test]
fn a_header_that_claims_2_pow_40_bytes_only_waits() {
    let mut bytes = packet(Suite::Checksum);
    edit(&mut bytes, |head| head[112..120].copy_from_slice(&(1u64 << 40).to_le_bytes()));
    refused(Suite::Checksum, &bytes, Reject::Checksum);
    refused(Suite::Checksum, &bytes[..300], Reject::PrefixCut);
}

#[test]
fn a_replayed_packet_changes_nothing() {
    let mut world = World::new(Suite::Sealed);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    world.put(&path, &bytes);
    assert_eq!(world.settle().closures(), [(1, Closure::Complete)]);
    for name in ["a.hft", "B.HFT", "c (1).hft"] {
        let read = world.inbox.counters().bytes_read;
        world.put(name, &bytes);
        assert!(world.settle().is_empty());
        assert_eq!(world.inbox.counters().bytes_read - read, 256, "not opened beyond its header");
    }
    assert_eq!(world.inbox.counters().duplicates, 3);
    assert!(world.folder.files().is_empty());
}

#[test]
fn below_the_floor_nothing_is_opened() {
    let mut world = World::new(Suite::Sealed);
    let (path, bytes) = world.publish(&plan(7, three_frames()));
    world.inbox.set_floor(north(), NORTH_LIFE, 8);
    world.put(&path, &bytes);
    assert!(world.settle().is_empty());
    assert_eq!(world.inbox.counters().reject(Reject::PnFloor), 1);
    assert!(world.folder.files().is_empty());
}

#[test]
fn somebody_who_lives_a_life_that_is_over_is_heard_once_a_minute() {
    let mut world = World::new(Suite::Signed);
    world.inbox.set_floor(north(), NORTH_LIFE, u64::MAX);
    world.verdict = Verdict::Ignore;
    let mut shown = 0;
    for minute in 0..3 {
        for number in 1..=5 {
            world.deliver(&plan(minute * 10 + number, three_frames()));
        }
        let got = world.run(Duration::from_secs(59));
        shown += got.packets.len();
        assert!(got.frames.is_empty() && got.closed.is_empty());
        // How soon a file is found differs by some seconds.
        world.run(Duration::from_secs(6));
    }
    assert_eq!(shown, 3);
    assert_eq!(world.inbox.counters().reject(Reject::IncarnationStale), 12);
    assert!(world.folder.files().is_empty());
}

/// Seed 5373 of the simulator: an endpoint that went back to a life before the present one was never told, because its presence
/// counted as what had been shown of it.
#[test]
fn presence_does_not_keep_somebody_who_lives_a_life_that_is_over_from_being_heard() {
    for verdict in [Verdict::Ignore, Verdict::Use] {
        let mut world = World::new(Suite::Signed);
        world.inbox.set_floor(north(), NORTH_LIFE, u64::MAX);
        world.verdict = Verdict::Ignore;
        let mut shown = 0;
        for number in 0..26 {
            world.verdict = verdict;
            world.deliver(&presence(1 + 2 * number));
            world.run(Duration::from_secs(5));
            world.verdict = Verdict::Ignore;
            world.deliver(&plan(2 + 2 * number, vec![]));
            let got = world.run(Duration::from_secs(5));
            shown += got.packets.iter().filter(|(_, header, ..)| header.recipient == south()).count();
        }
        assert!(
            (3..=5).contains(&shown),
            "once a minute in 260 s, whatever is said of presence ({verdict:?}): {shown}"
        );
    }
}

#[test]
fn a_life_that_the_driver_wants_after_all_is_read_again() {
    let mut world = World::new(Suite::Signed);
    world.inbox.set_floor(north(), NORTH_LIFE, u64::MAX);
    for number in 1..=3 {
        world.deliver(&plan(number, three_frames()));
        assert_eq!(world.settle().closures(), [(number, Closure::Complete)]);
    }
}

#[test]
fn a_second_packet_of_the_same_number_is_a_fork_alarm() {
    let mut world = World::new(Suite::Signed);
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.settle().closures(), [(1, Closure::Complete)]);
    let twin = World::new(Suite::Signed);
    let (_, bytes) = twin.publish(&plan(1, vec![]));
    let mut damaged = bytes.clone();
    damaged[140] ^= 1; // another salt, but nobody signed it
    edit(&mut damaged, |_| {});
    world.put("damaged.hft", &damaged);
    assert!(world.settle().is_empty());
    world.put("twin.hft", &bytes);
    let got = world.settle();
    assert_eq!((got.forked, got.packets.len()), (1, 0));
    assert_eq!(world.run(S * 100).forked, 0, "told once");
    assert_eq!(world.inbox.counters().reject(Reject::Forked), 1);
}

#[test]
fn a_genuine_packet_with_a_bad_control_block_is_reported_as_unopenable() {
    let mut world = World::new(Suite::Signed);
    let mut bad = plan(1, vec![]);
    bad.control.endpoint = Some(wire::control::EndpointName { kind: "gateway".into(), name: "1".into() });
    let path = world.deliver(&bad);
    let got = world.scan();
    assert!(got.packets.is_empty());
    assert_eq!(got.closures(), [(1, Closure::Unopenable)]);
    assert_eq!(world.inbox.counters().reject(Reject::Endpoint), 1);
    world.inbox.done(got.closed[0].0);
    assert_eq!(world.folder.contents(&path), None);
}

#[test]
fn a_packet_sealed_to_another_key_is_reported_as_unopenable() {
    let mut world = World::new(Suite::Sealed);
    world.outbox.set_peer_keys(pin(&KEYS.east));
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.scan().closures(), [(1, Closure::Unopenable)]);
    assert_eq!(world.inbox.counters().reject(Reject::KemKey), 1);
}

#[test]
fn frames_longer_than_announced_are_skipped_and_the_packet_is_complete() {
    let options = InboxOptions { max_frame: 100_000, ..InboxOptions::default() };
    let mut world = World::with(Suite::Checksum, options);
    world.deliver(&plan(1, three_frames()));
    let got = world.scan();
    assert_eq!((got.indexes(), got.closures()), (vec![0, 2], vec![(1, Closure::Complete)]));
    assert_eq!(world.inbox.counters().reject(Reject::FrameKind), 1);
}

#[test]
fn keys_that_are_pinned_later_let_a_file_in() {
    let mut world = World::new(Suite::Signed);
    let stranger = crate::Local { peer_keys: pin(&KEYS.east), ..local(&[Suite::Signed]) };
    world.inbox.set_locals(vec![stranger]);
    world.deliver(&plan(1, three_frames()));
    assert!(world.settle().is_empty());
    world.inbox.set_locals(vec![local(&[Suite::Signed])]);
    assert_eq!(world.scan().closures(), [(1, Closure::Complete)]);
}

#[test]
fn a_key_whose_time_comes_lets_its_packets_in() {
    let mut world = World::new(Suite::Signed);
    let older = identity::Identity::from_seeds("north", &[31; 32], &[32; 32], &[33; 32]).unwrap();
    let tokens = [older.bundle(1, 0, 0), KEYS.north.bundle(2, 30_000, 0)].map(|bundle| bundle.to_token().unwrap());
    let keys = identity::PeerKeys::from_tokens(&[&tokens[0], &tokens[1]], "north", &Suite::ALL, 0).unwrap();
    world.inbox.set_locals(vec![crate::Local { peer_keys: Arc::new(keys), ..local(&[Suite::Signed]) }]);
    world.deliver(&plan(1, three_frames()));
    assert!(world.run(S * 20).is_empty());
    assert_eq!(world.inbox.counters().reject(Reject::KeyUnknown), 1);
    assert_eq!(world.run(S * 60).closures(), [(1, Closure::Complete)]);
}

#[test]
fn a_revoked_key_is_refused() {
    let mut world = World::new(Suite::Signed);
    let token = KEYS.north.bundle(1, 0, 0).to_token().unwrap();
    let keys = identity::PeerKeys::from_tokens(&[&token], "north", &Suite::ALL, 0).unwrap();
    let revoked = keys.with_revoked(&[KEYS.north.signing_id()]);
    world.inbox.set_locals(vec![crate::Local { peer_keys: Arc::new(revoked), ..local(&[Suite::Signed]) }]);
    world.deliver(&plan(1, three_frames()));
    assert!(world.settle().is_empty());
    assert_eq!(world.inbox.counters().reject(Reject::KeyRevoked), 1);
}

#[test]
fn junk_is_counted_once_and_not_read_each_scan() {
    let mut world = World::new(Suite::Sealed);
    world.put("empty.hft", b"");
    world.put("short.hft", b"short");
    world.put("junk.hft", &[0xA5; 5_000]);
    world.settle();
    let counters = world.inbox.counters();
    assert_eq!((counters.reject(Reject::Short), counters.reject(Reject::Magic)), (2, 1));
    assert_eq!(world.inbox.tracked(), (0, 3));
    let read = counters.bytes_read;
    let seen = counters.files_seen;
    world.run(S * 3_600);
    let counters = world.inbox.counters();
    assert_eq!((counters.files_seen, counters.quarantined, counters.rejects().count()), (seen, 3, 2));
    assert!(counters.bytes_read - read < 20 * 256, "{}", counters.bytes_read - read);
}

#[test]
fn the_quarantine_is_bounded() {
    let options = InboxOptions { quarantine_max: 10, ..InboxOptions::default() };
    let mut world = World::with(Suite::Sealed, options);
    for n in 0..50 {
        world.put(&format!("junk{n}.hft"), &[0xA5; 500]);
    }
    world.settle();
    assert!(world.inbox.tracked().1 <= 10);
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.settle().closures(), [(1, Closure::Complete)], "junk does not stop a packet");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..1_200), plausible: bool) {
        if plausible && bytes.len() >= 256 {
            bytes[..8].copy_from_slice(&wire::header::MAGIC);
            bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
            edit(&mut bytes, |_| {});
        }
        let mut world = World::new(Suite::Checksum);
        world.put("x.hft", &bytes);
        prop_assert!(world.settle().is_empty());
    }

    /// Suite checksum signs with no secret, so anybody can make the signature good: all later checks are exposed.
    #[test]
    fn forged_checksums_never_panic(at in 0usize..2_000, value: u8, cut in 0usize..2_000) {
        let mut world = World::new(Suite::Checksum);
        let records = vec![planned(1, wire::record::kind::HEAD, 33), planned(2, wire::record::kind::DATA, 70_000)];
        let (_, mut bytes) = world.publish(&plan(1, records));
        let layout = Header::parse(&bytes).unwrap().layout();
        let at = 256 + at % (layout.sig_at - 256);
        bytes[at] = value;
        let sum = wire::header::checksum(&[&bytes[..layout.sig_at]]);
        bytes[layout.signature()].copy_from_slice(&sum);
        bytes.truncate(bytes.len() - cut);
        world.put("x.hft", &bytes);
        world.checks_payloads = false;
        let got = world.run(S * 10);
        prop_assert_eq!(got.closed.len(), 1);
        prop_assert!(got.frames.len() <= 2);
    }
}

#[test]
fn a_flood_of_one_sender_does_not_stop_another() {
    let options = InboxOptions { files_per_scan: 20, ..InboxOptions::default() };
    let mut world = World::with(Suite::Checksum, options);
    let flood = format!("{}/{}", south().to_hex32(), "f".repeat(32));
    for n in 0..500 {
        world.put(&format!("{flood}/{:016x}/0/{n:016x}-00000000.hft", 1), &[0x5A; 300]);
    }
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.scan().closures(), [(1, Closure::Complete)]);
}

#[test]
fn an_inbox_without_keys_refuses_signed_packets() {
    let (_, bytes) = World::new(Suite::Signed).publish(&plan(1, vec![]));
    let folder = MemDir::new();
    folder.put("x.hft", &bytes).unwrap();
    let empty = crate::Local { peer_keys: Arc::default(), identity: None, ..local(&[Suite::Signed]) };
    let mut inbox = Inbox::new(Arc::new(folder), vec![empty], InboxOptions::default());
    let _ = inbox.scan(S, &mut |_| panic!("nothing may arrive"));
    assert_eq!(inbox.counters().reject(Reject::KeyUnknown), 1);
}
