//! How files are found, kept and removed: layouts, lying names, profiles, budgets, stale listings, links.

use std::sync::Arc;
use std::time::Duration;

use disk::dir::{Dir, StdDir};
use wire::{PacketName, Reject, Suite};

use crate::testkit::*;
use crate::{Closure, Inbox, InboxOptions, Layout, Outbox, OutboxOptions, Profile, Verdict};

fn with_profile(profile: Profile) -> World {
    World::with(Suite::Checksum, InboxOptions { profile, ..InboxOptions::default() })
}

#[test]
fn a_name_that_lies_still_works() {
    let me = south().to_hex32();
    let places = [
        "x (1).hft".to_owned(),
        "UPPER.HFT".to_owned(),
        format!("{me}/x.hft"),
        format!("{}/SOMEBODY/x.hft", me.to_uppercase()),
        format!("{me}/a/b/c/0000000000000009-00000000.hft"),
    ];
    for place in places {
        let mut world = World::new(Suite::Checksum);
        let (_, bytes) = world.publish(&plan(1, three_frames()));
        world.put(&place, &bytes);
        assert_eq!(world.settle().closures(), [(1, Closure::Complete)], "{place}");
        assert!(world.folder.files().is_empty(), "{place}");
    }
}

#[test]
fn other_names_and_folders_are_left_alone() {
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let stranger = path.replace(&south().to_hex32(), &"a".repeat(32));
    for place in [".x.hft", "~x.hft", ".x.hft.part", "x.hft.tmp", "notes.txt", &stranger] {
        world.put(place, &bytes);
    }
    assert!(world.run(S * 5).is_empty());
    assert_eq!(world.inbox.counters().files_seen, 0);
    assert_eq!(world.folder.files().len(), 6);
}

#[test]
fn the_flat_layout_goes_round_and_leaves_others_files() {
    let mut world = World::new(Suite::Signed);
    let options = OutboxOptions { suite: Suite::Signed, layout: Layout::Flat, ..OutboxOptions::default() };
    world.outbox =
        Outbox::new(Arc::new(world.out.clone()), north(), Some(KEYS.north.clone()), pin(&KEYS.south), options).unwrap();
    let path = world.deliver(&plan(1, three_frames()));
    assert_eq!(path.len(), 56);
    let mut others = plan(2, vec![]);
    others.recipient = wire::EndpointId::from_bytes([9; 16]);
    let other = world.deliver(&others);
    assert_eq!(world.settle().closures(), [(1, Closure::Complete)]);
    assert_eq!(world.inbox.counters().files_seen, 1, "the other name is for another endpoint");
    let renamed = world.folder.contents(&other).unwrap();
    world.put("renamed.hft", &renamed);
    world.run(S * 86_400 * 8);
    assert_eq!(world.inbox.counters().reject(Reject::Recipient), 1);
    assert_eq!(world.folder.files(), [other, "renamed.hft".to_owned()], "not mine to remove");
    assert!(world.outbox.remove(south(), NORTH_LIFE, pn(1)).unwrap());
}

#[test]
fn under_profile_sync_only_the_sender_deletes() {
    let mut world = with_profile(Profile::Sync);
    let path = world.deliver(&plan(1, three_frames()));
    assert_eq!(world.settle().closures(), [(1, Closure::Complete)]);
    let read = world.inbox.counters().bytes_read;
    world.inbox.set_floor(north(), NORTH_LIFE, 100);
    assert!(world.run(S * 3_600).is_empty());
    assert_eq!(world.folder.files(), std::slice::from_ref(&path));
    assert_eq!(world.inbox.counters().bytes_read, read, "it is not read again");
    world.folder.remove_file(&path).unwrap();
    world.scan();
    assert_eq!(world.inbox.tracked(), (0, 0));
}

#[test]
fn a_file_that_comes_back_twice_is_left_to_its_sender() {
    for profile in [Profile::Move, Profile::Copy] {
        let mut world = with_profile(profile);
        let (path, bytes) = world.publish(&plan(1, three_frames()));
        for times in 0..4 {
            world.put(&path, &bytes);
            let got = world.settle();
            assert_eq!(got.closed.len(), usize::from(times == 0));
            assert_eq!(world.folder.contents(&path).is_some(), times >= 2, "{times}");
        }
    }
}

#[test]
fn what_a_mirror_copied_again_and_again_does_not_stay_for_ever() {
    for profile in [Profile::Move, Profile::Copy] {
        let mut world = with_profile(profile);
        let (path, bytes) = world.publish(&plan(1, three_frames()));
        for _ in 0..3 {
            world.put(&path, &bytes);
            world.settle();
        }
        assert!(world.folder.contents(&path).is_some(), "{profile:?}: left to its sender");
        world.run(S * 60);
        assert!(
            world.folder.contents(&path).is_none(),
            "{profile:?}: its sender's is gone, and nobody else removes it"
        );
        // A mirror that undoes every deletion gets fewer and fewer to undo.
        let removed = world.inbox.counters().removed;
        for _ in 0..360 {
            if world.folder.contents(&path).is_none() {
                world.put(&path, &bytes);
            }
            world.run(S * 10);
        }
        let removals = world.inbox.counters().removed - removed;
        assert!((4..=12).contains(&removals), "{profile:?}: {removals} in an hour");
        assert!(world.inbox.tracked().0 <= 1);
    }
}

#[test]
fn a_partial_file_goes_when_its_number_is_below_the_floor() {
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(5, three_frames()));
    world.put(&path, &bytes[..1_500]);
    assert_eq!(world.settle().closures(), [(5, Closure::Partial)]);
    world.inbox.set_floor(north(), NORTH_LIFE, 5);
    assert!(world.folder.contents(&path).is_some());
    world.inbox.set_floor(north(), NORTH_LIFE, 6);
    assert!(world.folder.contents(&path).is_none());
}

#[test]
fn files_of_a_sender_that_is_gone_go_and_new_ones_are_shown() {
    let mut world = World::new(Suite::Checksum);
    let (partial, bytes) = world.publish(&plan(5, three_frames()));
    world.put(&partial, &bytes[..1_500]);
    assert_eq!(world.settle().closures(), [(5, Closure::Partial)]);
    world.verdict = Verdict::Wait;
    let waiting = world.deliver(&plan(6, three_frames()));
    world.run(S);
    world.inbox.forget_sender(south());
    assert!(world.folder.contents(&partial).is_some() && world.folder.contents(&waiting).is_some());
    world.inbox.forget_sender(north());
    assert!(world.folder.contents(&partial).is_none() && world.folder.contents(&waiting).is_none());
    world.verdict = Verdict::Use;
    world.deliver(&plan(7, three_frames()));
    assert_eq!(world.settle().closures(), [(7, Closure::Complete)]);
}

#[test]
fn what_nobody_uses_goes_after_the_largest_packet_lifetime() {
    let options = InboxOptions { mpl: S * 100, ..InboxOptions::default() };
    let mut world = World::with(Suite::Checksum, options);
    world.verdict = Verdict::Wait;
    let path = world.deliver(&plan(1, three_frames()));
    let me = south().to_hex32();
    world.put(&format!("{me}/junk.hft"), b"junk");
    world.put("junk in the root.hft", b"junk");
    world.run(S * 90);
    assert!(world.folder.contents(&path).is_some());
    world.run(S * 2_000);
    assert_eq!(world.folder.files(), ["junk in the root.hft"], "that may be somebody else's");
}

#[test]
fn after_a_restart_files_that_are_still_there_come_again() {
    let mut world = World::new(Suite::Checksum);
    world.deliver(&plan(1, three_frames()));
    assert_eq!(world.scan().closures(), [(1, Closure::Complete)]);
    world.restart(InboxOptions::default());
    assert_eq!(world.scan().seqs(), [1, 2, 3, 4]);
}

#[test]
fn unknown_and_open_files_survive_done() {
    let mut world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    world.put(&path, &bytes[..1_500]);
    let got = world.scan();
    world.inbox.done(got.packets[0].0);
    world.inbox.done(crate::FileId(99));
    assert!(world.folder.contents(&path).is_some());
}

#[test]
fn names_that_no_listing_shows_are_predicted() {
    let (out, target) = (disk::dir::MemDir::new(), disk::dir::MemDir::new());
    let folder = FakeDir { network: true, ..FakeDir::over(target.clone()) };
    let hidden = Arc::clone(&folder.hidden);
    let mut world = World::over(FakeDir::over(out.clone()), folder, Suite::Checksum, InboxOptions::default());
    for number in 4_094..=4_097 {
        let path = world.outbox.publish(&plan(number, three_frames()), &Generated).unwrap().path;
        target.put(&path, &out.contents(&path).unwrap()).unwrap();
        if number > 4_094 {
            hidden.lock().unwrap().push(path.rsplit_once('/').unwrap().1.to_owned());
        }
    }
    let got = world.settle();
    assert_eq!(got.closures(), (4_094..=4_097).map(|pn| (pn, Closure::Complete)).collect::<Vec<_>>());
    assert!(target.files().is_empty());
}

#[test]
fn links_pipes_and_folders_with_packet_names_are_never_opened() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, bytes) = World::new(Suite::Checksum).publish(&plan(1, three_frames()));
    std::fs::write(outside.path().join("real.hft"), &bytes).unwrap();
    let me = root.path().join(south().to_hex32());
    std::fs::create_dir(&me).unwrap();
    std::os::unix::fs::symlink(outside.path().join("real.hft"), me.join("link.hft")).unwrap();
    std::os::unix::fs::symlink(outside.path(), me.join("linked folder")).unwrap();
    std::fs::create_dir(me.join("folder.hft")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(me.join("pipe.hft")).status();
    let pipes = usize::from(made.is_ok_and(|status| status.success()));
    let dir = Arc::new(StdDir::open(root.path()).unwrap());
    let mut inbox = Inbox::new(dir, vec![local(&[Suite::Checksum])], InboxOptions::default());
    for second in 0..10 {
        let _ = inbox.scan(S * second, &mut |_| panic!("nothing may arrive"));
    }
    assert_eq!(inbox.counters().reject(Reject::NotRegular), 2 + pipes as u64);
    assert_eq!(inbox.counters().bytes_read, 0);
}

#[test]
fn closed_shards_are_removed_and_the_newest_stays() {
    let mut world = World::new(Suite::Checksum);
    let mut folders = Vec::new();
    for number in [1, 5_000, 9_000, 13_000] {
        let path = world.deliver(&plan(number, vec![]));
        folders.push(path.rsplit_once('/').unwrap().0.to_owned());
        world.settle();
    }
    world.run(S * 120);
    let there: Vec<bool> = folders.iter().map(|folder| world.folder.list(folder).is_ok()).collect();
    assert_eq!(there, [false, false, true, true]);
    world.run(S * 8_000);
    assert!(world.folder.list(&folders[3]).is_err(), "an hour without a file");
    world.deliver(&plan(13_001, vec![]));
    assert_eq!(world.settle().closures(), [(13_001, Closure::Complete)]);
}

#[test]
fn a_scan_keeps_to_its_budget_of_folders_and_files() {
    let options = InboxOptions { files_per_scan: 10, folders_per_scan: 8, ..InboxOptions::default() };
    let mut world = World::with(Suite::Checksum, options);
    for sender in 0..40u8 {
        let folder = format!("{}/{:032x}/{:016x}/0", south().to_hex32(), sender, 1);
        world.put(&format!("{folder}/x.hft"), &[sender; 300]);
    }
    world.deliver(&plan(1, three_frames()));
    let mut got = Got::default();
    let mut scans = 0;
    while got.closed.is_empty() {
        let report = world.scan_into(&mut got);
        assert!(report.progressed);
        assert!(report.next_after <= Duration::from_millis(5));
        scans += 1;
        assert!(scans < 40);
    }
    for _ in 0..40 {
        world.scan_into(&mut got);
    }
    assert_eq!(world.inbox.counters().files_seen, 41);
}

#[test]
fn an_idle_inbox_slows_down_and_a_missing_root_is_told() {
    let root = tempfile::tempdir().unwrap();
    let dir = Arc::new(StdDir::open(root.path()).unwrap());
    let options = InboxOptions { poll_max: S, ..InboxOptions::default() };
    let mut inbox = Inbox::new(dir, vec![local(&[Suite::Checksum])], options);
    let mut wait = Duration::ZERO;
    for second in 0..30 {
        wait = inbox.scan(S * second, &mut |_| Verdict::Use).next_after;
    }
    assert_eq!(wait, S);
    std::fs::remove_dir(root.path()).unwrap();
    assert!(inbox.scan(S * 31, &mut |_| Verdict::Use).error.is_some());
}

#[test]
fn the_path_of_a_packet_is_that_of_the_format() {
    let world = World::new(Suite::Checksum);
    let (path, _) = world.publish(&plan(7, vec![]));
    let tag = path.rsplit_once('-').unwrap().1.strip_suffix(".hft").unwrap();
    let name = PacketName {
        recipient: south(),
        sender: north(),
        incarnation_random: NORTH_LIFE.random,
        pn: pn(7),
        tag: u32::from_str_radix(tag, 16).unwrap(),
    };
    assert_eq!(path, name.path());
}

#[test]
fn more_growing_files_than_may_be_open_all_get_their_turn() {
    let mut world = World::new(Suite::Checksum);
    let mut whole = Vec::new();
    for number in 1..=300 {
        let records = vec![planned(number, wire::record::kind::HEAD, 100)];
        let (path, bytes) = world.publish(&plan(number, records));
        world.put(&path, &bytes[..bytes.len() - 60]);
        whole.push((path, bytes));
    }
    let got = world.run(S / 2);
    let most = crate::limits::OPEN_FILES_MAX - crate::limits::OPEN_FILES_EACH.1;
    assert_eq!((got.packets.len(), got.closed.len()), (most, 0), "the rest is for senders that use less");
    for (path, bytes) in whole {
        world.put(&path, &bytes);
    }
    assert_eq!(world.run(S * 2).closed.len(), 300);
}

#[test]
fn a_file_that_a_scanner_holds_is_tried_ever_more_seldom_and_taken_when_it_lets_go() {
    let target = disk::dir::MemDir::new();
    let folder = FakeDir::over(target.clone());
    let (held, opened) = (Arc::clone(&folder.held), Arc::clone(&folder.opened));
    let out = disk::dir::MemDir::new();
    let mut world = World::over(FakeDir::over(out.clone()), folder, Suite::Checksum, InboxOptions::default());
    let path = world.outbox.publish(&plan(1, three_frames()), &Generated).unwrap().path;
    target.put(&path, &out.contents(&path).unwrap()).unwrap();
    held.lock().unwrap().push(path.clone());
    assert!(world.run(S * 3_600).is_empty());
    let tries = opened.load(std::sync::atomic::Ordering::Relaxed);
    assert!((10..40).contains(&tries), "{tries} in an hour");
    held.lock().unwrap().clear();
    let got = world.run(S * 1_000);
    assert_eq!(got.closures(), [(1, Closure::Complete)]);
    // Held again when it is to go, and gone by another hand.
    held.lock().unwrap().push(path.clone());
    world.inbox.done(got.closed[0].0);
    assert!(target.contents(&path).is_some());
    target.remove_file(&path).unwrap();
    held.lock().unwrap().clear();
    world.run(S * 100);
    assert_eq!(world.inbox.tracked(), (0, 0));
}
