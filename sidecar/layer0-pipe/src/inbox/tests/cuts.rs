//! Packets that arrive cut, growing, zero-filled, damaged or twice.

use wire::header::Header;
use wire::{Reject, Suite};

use crate::testkit::*;
use crate::{CUT_POSITIONS, Closure, InboxOptions};

/// Frame ends, for every suite: sealed packets differ only by their tags.
fn frame_ends(bytes: &[u8], suite: Suite) -> Vec<usize> {
    if !suite.sealed() {
        return frame_places(bytes).into_iter().map(|(_, end)| end).collect();
    }
    let header = Header::parse(bytes).unwrap();
    let mut at = header.frames_at as usize;
    let lens = [24 + 33 + 24 + 501, 24 + 262_100, 65_537];
    lens.map(|len| {
        let end = at + len + suite.tag_len();
        at = end.next_multiple_of(8);
        end
    })
    .to_vec()
}

#[test]
fn a_cut_at_every_boundary_yields_the_whole_frames_before_it() {
    for suite in Suite::ALL {
        let made = World::new(suite);
        let (path, bytes) = made.publish(&plan(1, three_frames()));
        let header = Header::parse(&bytes).unwrap();
        let layout = header.layout();
        let ends = frame_ends(&bytes, suite);
        let mut cuts = vec![0, 8, 256, layout.ct_at, layout.control_at, layout.table_at, layout.table_end];
        cuts.extend([layout.sig_at, layout.sig_end, layout.frames_at, bytes.len() - 16, bytes.len() - 8, bytes.len()]);
        for end in &ends {
            cuts.extend([*end, end.next_multiple_of(8)]);
        }
        for cut in cuts.into_iter().flat_map(|cut| [cut.saturating_sub(1), cut, cut + 1]) {
            let cut = cut.min(bytes.len());
            let mut world = World::new(suite);
            world.put(&path, &bytes[..cut]);
            let got = world.settle();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            if cut < layout.frames_at {
                assert!(got.is_empty(), "{suite} cut at {cut}");
                assert_eq!(world.inbox.tracked(), (0, 1), "{suite} cut at {cut}");
                let reject = if cut < 256 { Reject::Short } else { Reject::PrefixCut };
                assert_eq!(world.inbox.counters().reject(reject), 1);
                continue;
            }
            assert_eq!(got.indexes(), (0..whole as u32).collect::<Vec<_>>(), "{suite} cut at {cut}");
            let closure = if whole == 3 { Closure::Complete } else { Closure::Partial };
            assert_eq!(got.closures(), [(1, closure)], "{suite} cut at {cut}");
            assert_eq!(world.folder.contents(&path).is_none(), whole == 3, "partial files stay");
            let mut places = [0; CUT_POSITIONS];
            if whole < 3 {
                places[cut * CUT_POSITIONS / bytes.len()] = 1;
            }
            assert_eq!(world.inbox.counters().cut_positions, places, "{suite} cut at {cut}");

            world.put(&path, &bytes); // late growth
            let got = world.run(S * 2);
            if whole < 3 {
                assert_eq!(got.indexes(), (whole as u32..3).collect::<Vec<_>>(), "{suite} cut at {cut}");
                assert_eq!(got.closures(), [(1, Closure::Complete)]);
                assert!(got.packets.is_empty(), "it is not asked for twice");
                assert_eq!(world.inbox.counters().reopened, 1);
            } else {
                assert!(got.is_empty());
            }
        }
    }
}

#[test]
fn a_file_that_grows_gives_each_frame_at_once() {
    let mut world = World::new(Suite::Signed);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let frames = frame_places(&bytes);
    world.put(&path, &bytes[..100]);
    assert!(world.run(S / 2).is_empty());
    world.put(&path, &bytes[..frames[0].1 - 1]);
    let got = world.run(S / 2);
    assert_eq!((got.packets.len(), got.frames.len()), (1, 0));
    for (index, (_, end)) in (0..).zip(frames) {
        world.put(&path, &bytes[..end]);
        let got = world.run(S / 2);
        assert_eq!(got.indexes(), [index]);
        assert_eq!(got.closed.len(), usize::from(index == 2));
    }
}

#[test]
fn a_whole_file_is_closed_without_any_wait() {
    let mut world = World::new(Suite::Sealed);
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.scan().closures(), [(1, Closure::Complete)]);
}

#[test]
fn a_zero_filled_tail_closes_after_the_quiet_time_and_is_taken_when_it_fills() {
    let mut world = World::new(Suite::Sealed);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let ends = frame_ends(&bytes, Suite::Sealed);
    let mut zeros = bytes.clone();
    zeros[ends[0] + 100..].fill(0);
    world.put(&path, &zeros);
    let got = world.scan();
    assert_eq!((got.indexes(), got.closed.len()), (vec![0], 0), "not yet final");
    let got = world.settle();
    assert_eq!(got.closures(), [(1, Closure::Partial)]);
    assert!(world.run(S * 60).is_empty());
    world.put(&path, &bytes); // same length
    let got = world.run(S * 150);
    assert_eq!(got.indexes(), [1, 2]);
    assert_eq!(got.closures(), [(1, Closure::Complete)]);
}

#[test]
fn a_preallocated_file_is_taken_as_it_fills_in_any_order() {
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let places = frame_places(&bytes);
    let prefix = Header::parse(&bytes).unwrap().frames_at as usize;
    let mut file = vec![0; bytes.len()];
    world.put(&path, &file);
    assert!(world.run(S * 20).is_empty(), "all zeros: given up for now");
    assert_eq!(world.inbox.counters().reject(Reject::Magic), 1);
    file[..prefix].copy_from_slice(&bytes[..prefix]);
    world.put(&path, &file);
    assert_eq!(world.run(S * 40).packets.len(), 1);
    for index in [2usize, 0, 1] {
        let (from, to) = places[index];
        file[from..to].copy_from_slice(&bytes[from..to]);
        world.put(&path, &file);
        let got = world.run(S * 1_800); // twice the longest pause
        match index {
            2 => assert!(got.frames.is_empty(), "behind a gap in a closed file"),
            0 => assert_eq!(got.indexes(), [0, 2]),
            _ => assert_eq!((got.indexes(), got.closures()), (vec![1], vec![(1, Closure::Complete)])),
        }
    }
}

#[test]
fn a_flipped_bit_in_one_frame_costs_that_frame() {
    for suite in Suite::ALL {
        for index in 0..3 {
            let mut world = World::new(suite);
            let (path, mut bytes) = world.publish(&plan(1, three_frames()));
            let end = frame_ends(&bytes, suite)[index];
            bytes[end - 20] ^= 0x10;
            world.put(&path, &bytes);
            let got = world.settle();
            let others: Vec<u32> = (0..3).filter(|i| *i != index as u32).collect();
            assert_eq!(got.indexes(), others);
            assert_eq!(got.closures(), [(1, Closure::Partial)]);
            let reject = if suite.sealed() { Reject::FrameSeal } else { Reject::FrameDigest };
            assert_eq!(world.inbox.counters().reject(reject), 1);
            assert_eq!(world.inbox.counters().bad_frames, 1);
        }
    }
}

#[test]
fn pads_and_end_marker_may_be_anything() {
    for suite in Suite::ALL {
        let mut world = World::new(suite);
        let (path, mut bytes) = world.publish(&plan(1, three_frames()));
        for end in frame_ends(&bytes, suite) {
            bytes[end..end.next_multiple_of(8)].fill(0xEE);
        }
        let sig_end = Header::parse(&bytes).unwrap().layout().sig_end;
        let frames_at = sig_end.next_multiple_of(8);
        bytes[sig_end..frames_at].fill(0xEE);
        let marker = bytes.len() - 16;
        bytes[marker..].fill(0xEE);
        bytes.extend_from_slice(b"bytes after the packet");
        world.put(&path, &bytes);
        assert_eq!(world.scan().closures(), [(1, Closure::Complete)], "{suite}");
    }
}

#[test]
fn a_second_copy_fills_the_gaps_of_the_first() {
    let mut world = World::new(Suite::Signed);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let places = frame_places(&bytes);
    world.put(&path, &bytes[..places[1].0 + 10]);
    assert_eq!(world.settle().closures(), [(1, Closure::Partial)]);
    world.put("second (1).hft", &bytes);
    let got = world.settle();
    assert_eq!((got.packets.len(), got.indexes()), (0, vec![1, 2]));
    assert_eq!(got.closures(), [(1, Closure::Complete)]);
    world.run(S * 200);
    assert!(world.folder.files().is_empty(), "both are gone: {:?}", world.folder.files());
}

#[test]
fn a_copy_that_is_not_longer_than_the_cut_one_is_removed_unread() {
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let cut = frame_places(&bytes)[1].0 + 10;
    world.put(&path, &bytes[..cut]);
    assert_eq!(world.settle().closures(), [(1, Closure::Partial)]);
    let read = world.inbox.counters().bytes_read;
    world.put("second.hft", &bytes[..cut]);
    assert!(world.scan().is_empty());
    assert_eq!(world.folder.files().len(), 2, "it may still grow");
    assert!(world.settle().is_empty());
    assert_eq!(world.folder.files(), [path]);
    let headers = (world.inbox.counters().bytes_read - read) / 256;
    assert!(headers <= 16, "{headers}");
    assert_eq!(world.inbox.counters().duplicates, 1);
}

#[test]
fn slow_growth_lengthens_the_quiet_time() {
    let options = InboxOptions { quiet_min: S, ..InboxOptions::default() };
    let mut world = World::with(Suite::Checksum, options);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let mut len = 1_000;
    while len < bytes.len() {
        world.put(&path, &bytes[..len]);
        world.run(S * 9 / 10);
        len += 50_000;
    }
    assert!(world.inbox.quiet_time() >= S * 3, "{:?}", world.inbox.quiet_time());
    world.put(&path, &bytes);
    assert_eq!(world.run(S).closures(), [(1, Closure::Complete)]);
}

#[test]
fn a_packet_that_vanishes_while_it_is_read_closes_as_partial() {
    use disk::dir::Dir;
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    world.put(&path, &bytes[..frame_places(&bytes)[0].1]);
    assert_eq!(world.scan().indexes(), [0]);
    world.folder.remove_file(&path).unwrap();
    assert_eq!(world.run(S / 2).closures(), []);
    assert_eq!(world.settle().closures(), [(1, Closure::Partial)]);
    assert_eq!(world.inbox.tracked(), (0, 0));
    world.put(&path, &bytes);
    let got = world.settle();
    assert_eq!((got.packets.len(), got.indexes(), got.closures()), (0, vec![1, 2], vec![(1, Closure::Complete)]));
}

#[test]
fn random_cuts_of_a_large_packet_cost_only_the_frame_they_are_in() {
    const CHUNK: u64 = 262_144;
    let records: Vec<_> = (1..=244).map(|seq| planned(seq, wire::record::kind::DATA, 262_144)).collect();
    let (path, bytes) = World::new(Suite::Sealed).publish(&plan(1, records));
    let frames_at = u64::from(Header::parse(&bytes).unwrap().frames_at);
    let (mut recovered, mut before, mut random) = (0, 0, 0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..12 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let cut = (random >> 16) % bytes.len() as u64;
        let mut world = World::new(Suite::Sealed);
        world.put(&path, &bytes[..cut as usize]);
        let got = world.run(S * 4);
        let (whole, rest) =
            (cut.saturating_sub(frames_at) / (CHUNK + 16), cut.saturating_sub(frames_at) % (CHUNK + 16));
        assert_eq!(got.seqs(), (1..=whole).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(got.closures(), [(1, Closure::Partial)], "cut at {cut}");
        recovered += whole * CHUNK;
        before += whole * CHUNK + rest.min(CHUNK);
    }
    assert!(recovered * 100 >= before * 99, "{recovered} of {before}");
}
