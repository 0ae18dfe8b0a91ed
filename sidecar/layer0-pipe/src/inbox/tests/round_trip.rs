//! Packets that arrive whole: every suite and shape, verdicts, presence, GREASE, and bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use disk::dir::StdDir;
use wire::record::kind;
use wire::{EndpointId, RecordHeader, Suite};

use crate::testkit::*;
use crate::{Closure, InboxOptions, Payloads, Verdict};

#[test]
fn every_suite_and_shape_goes_round() {
    for suite in Suite::ALL {
        for (number, records) in (1..).zip(shapes()) {
            let mut world = World::new(suite);
            let plan = plan(number, records);
            let path = world.deliver(&plan);
            let got = world.scan();
            let [(file, header, control)] = got.packets.as_slice() else { panic!("{suite} {number}") };
            assert_eq!((header.pn, header.suite_number), (plan.pn, suite.number()));
            assert_eq!(*control, plan.control);
            let seqs: Vec<u64> = plan.records.iter().map(|record| record.head.seq.get()).collect();
            assert_eq!(got.seqs(), seqs, "{suite}");
            let mut heads: Vec<RecordHeader> =
                got.frames.iter().flat_map(|(_, _, records)| records.iter().map(|r| r.head)).collect();
            heads.sort_by_key(|head| head.seq);
            assert_eq!(heads, plan.records.iter().map(|r| r.head).collect::<Vec<_>>());
            assert_eq!(got.closed, [(*file, number, Closure::Complete)]);
            assert!(world.folder.contents(&path).is_some(), "not before it is durable");
            world.inbox.done(*file);
            assert_eq!(world.folder.contents(&path), None);
        }
    }
}

#[test]
fn real_files_go_round_too() {
    for suite in Suite::ALL {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &tempfile::TempDir| FakeDir::over(StdDir::open(dir.path()).unwrap());
        let mut world = World::over(open(&from), open(&to), suite, InboxOptions::default());
        let published = world.outbox.publish(&plan(4_100, three_frames()), &Generated).unwrap();
        assert!(published.path.contains("/1/0000000000001004-"), "{}", published.path);
        assert!(published.path.len() <= 120);
        let target = to.path().join(&published.path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.path().join(&published.path), &target).unwrap();
        let got = world.scan();
        assert_eq!(got.seqs(), [1, 2, 3, 4]);
        world.inbox.done(got.closed[0].0);
        assert!(!target.exists());
        assert!(world.outbox.remove(south(), NORTH_LIFE, pn(4_100)).unwrap());
        assert!(!from.path().join(&published.path).exists());
    }
}

/// Payloads that count how many of them are alive.
struct Counting {
    alive: Arc<AtomicUsize>,
    most: AtomicUsize,
}

struct Alive(Bytes, Arc<AtomicUsize>);

impl AsRef<[u8]> for Alive {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Payloads for Counting {
    fn payload(&self, _: EndpointId, head: &RecordHeader) -> std::io::Result<Bytes> {
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(alive, Ordering::SeqCst);
        let bytes = payload(head.seq.get(), head.stored_len as usize);
        Ok(Bytes::from_owner(Alive(bytes, self.alive.clone())))
    }
}

#[test]
fn a_packet_of_60_mb_needs_memory_for_one_frame() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| FakeDir::over(StdDir::open(dir.path()).unwrap());
    let mut world = World::over(open(&from), open(&to), Suite::Sealed, InboxOptions::default());
    let records: Vec<_> = (1..=240).map(|seq| planned(seq, kind::DATA, 262_144)).collect();
    let payloads = Counting { alive: Arc::default(), most: AtomicUsize::new(0) };
    let published = world.outbox.publish(&plan(1, records), &payloads).unwrap();
    let overhead = published.bytes - 240 * 262_144;
    assert!(overhead < 4_880 + 240 * (64 + 16), "{overhead}");
    assert_eq!(payloads.most.load(Ordering::SeqCst), 1);
    let target = to.path().join(&published.path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::rename(from.path().join(&published.path), &target).unwrap();
    let (mut frames, mut scans) = (0, 0);
    while frames < 240 {
        let before = world.inbox.counters().bytes_read;
        frames += world.scan().frames.len();
        scans += 1;
        assert!(world.inbox.counters().bytes_read - before <= (64 << 20) + (9 << 20));
        assert!(scans < 5);
    }
}

#[test]
fn some_control_blocks_carry_grease_and_all_are_read() {
    let mut world = World::new(Suite::Checksum);
    let mut lengths = std::collections::BTreeSet::new();
    for number in 1..=200 {
        let (path, bytes) = world.publish(&plan(number, vec![]));
        lengths.insert(bytes.len());
        world.put(&path, &bytes);
    }
    assert!(lengths.len() > 1, "no GREASE in 200 packets");
    let got = world.run(S);
    assert_eq!(got.closed.len(), 200);
    assert!(got.packets.iter().all(|(_, _, control)| *control == plan(1, vec![]).control));
}

#[test]
fn a_packet_that_has_to_wait_is_shown_again_until_it_is_wanted() {
    let mut world = World::new(Suite::Checksum);
    world.verdict = Verdict::Wait;
    let path = world.deliver(&plan(1, three_frames()));
    let got = world.run(S * 30);
    assert!(got.packets.len() >= 5, "{}", got.packets.len());
    assert!(got.packets.len() <= 12, "{}", got.packets.len());
    assert!(got.frames.is_empty() && got.closed.is_empty());
    assert!(world.folder.contents(&path).is_some());
    world.verdict = Verdict::Use;
    world.inbox.retry_waiting();
    let got = world.scan();
    assert_eq!((got.packets.len(), got.seqs()), (1, vec![1, 2, 3, 4]));
    assert_eq!(got.closures(), [(1, Closure::Complete)]);
}

#[test]
fn an_ignored_packet_is_removed_with_its_copies() {
    let mut world = World::new(Suite::Checksum);
    world.verdict = Verdict::Ignore;
    let (path, bytes) = world.publish(&plan(1, three_frames()));
    world.put(&path, &bytes);
    let got = world.scan();
    assert_eq!((got.packets.len(), got.frames.len(), got.closed.len()), (1, 0, 0));
    assert!(world.folder.files().is_empty());
    world.put("copy (1).hft", &bytes);
    assert!(world.run(S).is_empty());
    assert!(world.folder.files().is_empty());
}

#[test]
fn presence_is_shown_once_and_the_two_newest_stay() {
    let mut world = World::new(Suite::Sealed);
    let mut paths = Vec::new();
    for number in [1, 5, 6, 9] {
        paths.push(world.deliver(&presence(number)));
        let got = world.run(S);
        assert_eq!((got.packets.len(), got.closed.len()), (1, 0));
        assert_eq!(got.packets[0].1.recipient, south_side().as_address());
    }
    assert!(world.run(S * 5).is_empty());
    let left = world.folder.files();
    // Each is kept until two newer ones are there.
    assert_eq!(left, paths[2..]);
}

#[test]
fn presence_with_frames_is_refused() {
    let mut world = World::new(Suite::Checksum);
    let mut plan = presence(1);
    plan.records = vec![planned(1, kind::HEAD, 10)];
    world.deliver(&plan);
    assert!(world.run(S).is_empty());
    assert_eq!(world.inbox.counters().reject(wire::Reject::ControlScope), 1);
}

#[test]
fn the_format_costs_little_beside_the_payload() {
    let world = World::new(Suite::Sealed);
    let (_, smallest) = world.publish(&plan(1, vec![]));
    let (_, large) = world.publish(&plan(2, (1..=244).map(|seq| planned(seq, kind::DATA, 262_144)).collect()));
    let payload = 244 * 262_144;
    let overhead = large.len() - payload;
    assert!(overhead * 10_000 <= payload * 6, "64 MB: {overhead} bytes are more than 0.06 %");
    for count in [100u64, 1_000, 10_000] {
        let (_, batched) =
            world.publish(&plan(2 + count, (1..=count).map(|seq| planned(seq, kind::DATA, 1_024)).collect()));
        let payload = count as usize * 1_024;
        let overhead = batched.len() - payload - smallest.len();
        assert!(overhead * 100 <= payload * 3, "{count} records of 1 kB: {overhead} bytes are more than 3 %");
    }
}
