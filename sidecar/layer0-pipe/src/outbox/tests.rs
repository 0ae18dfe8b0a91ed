//! Tests of publishing, removing and sweeping. Reading back is tested in `inbox/tests/round_trip.rs`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::dir::{Dir, MemDir};
use wire::record::kind;
use wire::{EndpointId, RecordHeader, Suite};

use super::*;
use crate::testkit::*;

struct Failing(io::ErrorKind);

impl Payloads for Failing {
    fn payload(&self, _: EndpointId, head: &RecordHeader) -> io::Result<Bytes> {
        match self.0 {
            io::ErrorKind::InvalidData => Ok(payload(head.seq.get() + 1, head.stored_len as usize)),
            io::ErrorKind::UnexpectedEof => Ok(payload(head.seq.get(), head.stored_len as usize - 1)),
            kind => Err(kind.into()),
        }
    }
}

#[test]
fn an_existing_name_is_a_fork_alarm_and_is_not_replaced() {
    let world = World::new(Suite::Checksum);
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    let error = world.outbox.publish(&plan(1, vec![]), &Generated).unwrap_err();
    assert!(matches!(error, PublishError::Exists { path: at } if at == path));
    assert_eq!(world.out.contents(&path).unwrap(), bytes);
    assert_eq!(world.out.files(), [path]);
}

#[test]
fn a_payload_that_cannot_be_read_leaves_nothing_behind() {
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData] {
        for records in [three_frames(), vec![planned(1, kind::DATA, 70_000)]] {
            let world = World::new(Suite::Sealed);
            let error = world.outbox.publish(&plan(1, records.clone()), &Failing(kind)).unwrap_err();
            assert!(matches!(error, PublishError::Payload { seq: 1 | 4, .. }), "{error}");
            assert!(world.out.files().is_empty());
        }
    }
}

#[test]
fn a_full_folder_is_told_apart() {
    let world = World::new(Suite::Checksum);
    world.out.set_free_space(100_000);
    let error = world.outbox.publish(&plan(1, three_frames()), &Generated).unwrap_err();
    assert!(matches!(error, PublishError::Full(_)), "{error}");
    assert!(world.out.files().is_empty());
    world.out.set_free_space(1 << 30);
    world.publish(&plan(2, three_frames()));
}

#[test]
fn a_plan_of_another_sender_is_refused() {
    let world = World::new(Suite::Checksum);
    let plan = PacketPlan { sender: south(), ..plan(1, vec![]) };
    assert!(matches!(world.outbox.publish(&plan, &Generated), Err(PublishError::Plan(_))));
}

#[test]
fn batches_too_many_to_keep_are_built_again() {
    let mut world = World::new(Suite::Sealed);
    let records: Vec<_> = (1..=110).map(|seq| planned(seq, kind::DATA, 60_000)).collect();
    world.deliver(&plan(1, records));
    assert_eq!(world.run(S).seqs(), (1..=110).collect::<Vec<_>>());
}

#[test]
fn a_packet_of_this_start_is_removed_without_listing() {
    let world = World::new(Suite::Checksum);
    let (path, _) = world.publish(&plan(3, vec![]));
    assert!(world.outbox.remove(south(), NORTH_LIFE, pn(3)).unwrap());
    assert!(!world.outbox.remove(south(), NORTH_LIFE, pn(3)).unwrap(), "the mirror may have taken it");
    assert!(world.out.contents(&path).is_none());
}

#[test]
fn a_packet_of_an_earlier_start_is_found_by_its_number() {
    for layout in [Layout::Tree, Layout::Flat] {
        let out = MemDir::new();
        let start = || {
            let options = OutboxOptions { suite: Suite::Checksum, layout, ..OutboxOptions::default() };
            Outbox::new(Arc::new(out.clone()), north(), None, Arc::default(), options).unwrap()
        };
        let first = start();
        first.publish(&plan(3, vec![]), &Generated).unwrap();
        first.publish(&plan(4, vec![]), &Generated).unwrap();
        let second = start();
        let published = second.publish(&plan(5, vec![]), &Generated).unwrap().path;
        assert!(second.remove(south(), NORTH_LIFE, pn(3)).unwrap());
        assert!(!second.remove(south(), NORTH_LIFE, pn(3)).unwrap());
        assert!(second.remove(south(), NORTH_LIFE, pn(4)).unwrap());
        assert_eq!(out.files(), [published]);
    }
}

#[test]
fn a_sweep_removes_what_is_below_the_floor() {
    for layout in [Layout::Tree, Layout::Flat] {
        let out = MemDir::new();
        let options = OutboxOptions { suite: Suite::Checksum, layout, ..OutboxOptions::default() };
        let outbox = Outbox::new(Arc::new(out.clone()), north(), None, Arc::default(), options).unwrap();
        let paths: Vec<String> =
            [3, 4, 5, 5_000].map(|n| outbox.publish(&plan(n, vec![]), &Generated).unwrap().path).to_vec();
        out.put("somebody-elses.hft", b"x").unwrap();
        let floor = PacketFloor { recipient: south(), incarnation: NORTH_LIFE, floor: 5 };
        let report = outbox.sweep(S, &[floor]).unwrap();
        assert_eq!((report.packets, report.removed, report.failed), (2, 2, 0), "{layout:?}");
        assert!(out.contents(&paths[0]).is_none() && out.contents(&paths[1]).is_none());
        assert!(out.contents(&paths[2]).is_some() && out.contents(&paths[3]).is_some());
        assert!(out.contents("somebody-elses.hft").is_some());
    }
}

#[test]
fn a_sweep_removes_leftovers_after_a_day_and_unknown_lives_after_the_packet_lifetime() {
    let world = World::new(Suite::Checksum);
    let (path, _) = world.publish(&plan(3, vec![]));
    let folder = path.rsplit_once('/').unwrap().0.to_owned();
    let part = format!("{folder}/.0000000000000009-00000000.hft.part");
    world.out.put(&part, b"half").unwrap();
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    assert_eq!(world.outbox.sweep(hours(0), &[]).unwrap().removed, 0);
    assert_eq!(world.outbox.sweep(hours(23), &[]).unwrap().leftovers, 0);
    assert_eq!(world.outbox.sweep(hours(24), &[]).unwrap().leftovers, 1);
    assert_eq!(world.outbox.sweep(hours(7 * 24 - 1), &[]).unwrap().removed, 0);
    assert_eq!(world.outbox.sweep(hours(7 * 24), &[]).unwrap().removed, 1);
    assert!(world.out.files().is_empty());
    assert!(world.out.list(&folder).is_ok(), "the folder packets go to stays");
}

#[test]
fn everything_for_a_recipient_that_is_gone_is_removed_and_nothing_else() {
    for layout in [Layout::Tree, Layout::Flat] {
        let out = MemDir::new();
        let start = || {
            let options = OutboxOptions { suite: Suite::Checksum, layout, ..OutboxOptions::default() };
            Outbox::new(Arc::new(out.clone()), north(), None, Arc::default(), options).unwrap()
        };
        start().publish(&plan(3, vec![]), &Generated).unwrap();
        let outbox = start();
        let other_life = Incarnation { generation: 9, random: [9; 8] };
        outbox.publish(&plan(5_000, vec![]), &Generated).unwrap();
        outbox.publish(&PacketPlan { sender_incarnation: other_life, ..plan(1, vec![]) }, &Generated).unwrap();
        let stays = EndpointId::from_bytes([0x77; 16]);
        let kept = outbox.publish(&PacketPlan { recipient: stays, ..plan(1, vec![]) }, &Generated).unwrap().path;
        let report = outbox.forget(south()).unwrap();
        assert_eq!((report.removed, report.failed), (3, 0));
        assert_eq!(out.files(), [kept]);
        assert_eq!(outbox.forget(south()).unwrap(), SweepReport::default());
        outbox.publish(&plan(6_000, vec![]), &Generated).unwrap();
    }
}

#[test]
fn a_folder_that_vanished_is_made_again() {
    let world = World::new(Suite::Checksum);
    let (path, _) = world.publish(&plan(1, vec![]));
    world.out.remove_file(&path).unwrap();
    world.out.remove_empty_dirs(path.rsplit_once('/').unwrap().0).unwrap();
    world.publish(&plan(2, vec![]));
}

#[test]
fn suite_signed_and_sealed_need_keys() {
    for suite in [Suite::Signed, Suite::Sealed] {
        let options = OutboxOptions { suite, ..OutboxOptions::default() };
        let outbox = Outbox::new(Arc::new(MemDir::new()), north(), None, Arc::default(), options).unwrap();
        assert!(matches!(outbox.publish(&plan(1, vec![]), &Generated), Err(PublishError::Seal(_))));
    }
}

#[test]
fn a_folder_that_cannot_rename_gets_files_under_their_final_names() {
    for network in [false, true] {
        let out = MemDir::new();
        let dir = FakeDir { renames: false, network, ..FakeDir::over(out.clone()) };
        let outbox = outbox(dir, Suite::Signed);
        for number in 1..=2 {
            let published = outbox.publish(&plan(number, three_frames()), &Generated).unwrap();
            assert_eq!(out.contents(&published.path).unwrap().len() as u64, published.bytes);
        }
        assert_eq!(out.files().len(), 2);
    }
}

#[test]
fn both_ends_may_move_between_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<crate::Inbox>();
    send::<Outbox>();
    sync::<Outbox>();
}

#[test]
fn what_lies_in_the_folder_is_known_and_counted_anew() {
    for layout in [Layout::Tree, Layout::Flat] {
        let mut world = World::new(Suite::Checksum);
        world.outbox.options.layout = layout;
        let lengths: Vec<u64> = (1..=3).map(|n| world.publish(&plan(n, three_frames())).1.len() as u64).collect();
        let all = Held { files: 3, bytes: lengths.iter().sum() };
        assert_eq!((world.outbox.held(), world.outbox.recount().unwrap()), (all, all));
        world.outbox.remove(south(), NORTH_LIFE, pn(1)).unwrap();
        assert_eq!(world.outbox.held().files, 2);
        // The mirror took one; nobody said so.
        let taken = world.out.files().pop().unwrap();
        world.out.remove_file(&taken).unwrap();
        assert_eq!(world.outbox.held().files, 2);
        assert_eq!(world.outbox.recount().unwrap().files, 1);
        assert_eq!(world.outbox.sweep(S, &[]).unwrap().packets, 1);
        assert_eq!(world.outbox.held(), world.outbox.recount().unwrap());
    }
}

#[test]
fn failures_of_the_folder_are_told_from_those_of_a_packet() {
    let world = World::new(Suite::Checksum);
    world.out.set_free_space(0);
    assert!(world.outbox.publish(&plan(1, three_frames()), &Generated).unwrap_err().is_of_the_folder());
    world.out.set_free_space(1 << 30);
    let failing = Failing(io::ErrorKind::NotFound);
    assert!(!world.outbox.publish(&plan(2, three_frames()), &failing).unwrap_err().is_of_the_folder());
}

#[test]
fn what_starts_left_that_crashed_goes_though_no_process_lives_for_a_day() {
    let root = tempfile::tempdir().unwrap();
    let outbox = outbox(disk::dir::StdDir::open(root.path()).unwrap(), Suite::Checksum);
    let path = outbox.publish(&plan(1, vec![]), &Generated).unwrap().path;
    let (folder, name) = path.rsplit_once('/').unwrap();
    let folder = root.path().join(folder);
    let (stem, _) = name.rsplit_once('-').unwrap();
    let leave = |name: &str, hours: u64| {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - S * 3_600 * u32::try_from(hours).unwrap()).unwrap();
    };
    leave(&format!(".{stem}-00000001.hft.part"), 26);
    leave(&format!(".{stem}-00000002.hft.part"), 20);
    leave(&format!(".{name}.part"), 26);
    leave(&format!("{stem}-00000001.hft"), 26 * 24);
    let report = outbox.sweep(S, &[]).unwrap();
    assert_eq!(
        (report.leftovers, report.removed),
        (1, 0),
        "of another start, older than a day; no packet goes by that"
    );
    let mut left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left.len(), 4);
    assert!(!left.contains(&format!(".{stem}-00000001.hft.part").into()));
}
