//! What a poll costs over very many files: each is read once, and nothing grows with the square of their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use disk::dir::MemDir;
use wire::Suite;

use crate::testkit::*;
use crate::{InboxOptions, Profile};

/// What reading in `count` files cost, and an idle minute after it: names listed and files opened.
fn cost(count: u64, profile: Profile) -> [u64; 4] {
    let (out, target) = (MemDir::new(), MemDir::new());
    let folder = FakeDir::over(target.clone());
    let (listed, opened) = (Arc::clone(&folder.listed), Arc::clone(&folder.opened));
    let options = InboxOptions { profile, ..InboxOptions::default() };
    let mut world = World::over(FakeDir::over(out.clone()), folder, Suite::Checksum, options);
    for number in 1..=count {
        let path = world.outbox.publish(&plan(number, vec![]), &Generated).unwrap().path;
        target.put(&path, &out.contents(&path).unwrap()).unwrap();
    }
    let asked = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
    let began = Instant::now();
    let mut closed = 0;
    while closed < count {
        let mut got = Got::default();
        let report = world.scan_into(&mut got);
        closed += got.closed.len() as u64;
        for (file, pn, _) in got.closed {
            world.inbox.done(file);
            // As a sender does that hears of each.
            world.inbox.set_floor(north(), NORTH_LIFE, pn);
        }
        world.now += report.next_after;
        assert!(report.progressed || closed == count, "{closed} of {count} were read, and nothing more happens");
    }
    let reading = began.elapsed();
    let [in_listed, in_opened] = [asked(&listed), asked(&opened)];
    let began = Instant::now();
    assert!(world.run(S * 60).is_empty());
    let costs = [in_listed, in_opened, asked(&listed), asked(&opened)];
    println!("{count} files, {profile:?}: {costs:?}, read in {reading:?}, an idle minute {:?}", began.elapsed());
    costs
}

#[test]
fn old_files_are_not_read_again_and_the_work_grows_as_their_number() {
    for profile in [Profile::Copy, Profile::Sync] {
        let counts = [2_500, 5_000, 10_000];
        for (count, [listed, opened, _, idle_opened]) in counts.map(|count| (count, cost(count, profile))) {
            assert_eq!(opened, count, "{profile:?}: each is opened once");
            assert!(idle_opened <= 40, "{profile:?}: only names that may come next are tried: {idle_opened}");
            assert!(listed <= count * 24, "{profile:?}: {listed} names for {count} files");
        }
    }
}

/// Names listed and files opened by idle polls over a folder with `count` old files: in a minute of polls every 50 ms, and in
/// ten minutes of polls every 10 s; each for one poll, times 100.
fn idle_cost(count: u64, profile: Profile) -> [[u64; 2]; 2] {
    let target = MemDir::new();
    let folder = FakeDir::over(target.clone());
    let (listed, opened) = (Arc::clone(&folder.listed), Arc::clone(&folder.opened));
    let options = InboxOptions { profile, ..InboxOptions::default() };
    let mut world = World::over(FakeDir::over(MemDir::new()), folder, Suite::Checksum, options);
    let old = World::new(Suite::Checksum);
    let (path, bytes) = old.publish(&plan(1, vec![]));
    let tag = path.rsplit_once('-').unwrap().1.to_owned();
    for number in 1..=count {
        let shard = wire::name::shard(pn(number));
        let life = wire::name::dir_of_incarnation(&south(), &north(), &NORTH_LIFE);
        target.put(&format!("{life}/{shard}/{number:016x}-{tag}"), &bytes).unwrap();
    }
    let (path, bytes) = old.publish(&plan(count + 1, vec![]));
    target.put(&path, &bytes).unwrap();
    world.inbox.set_floor(north(), NORTH_LIFE, count + 1);
    let got = world.run(S * 70);
    assert_eq!(got.closures(), [(count + 1, crate::Closure::Complete)]);
    let taken = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
    let (_, _) = (taken(&listed), taken(&opened));
    [(S / 20, 1_200), (S * 10, 60)].map(|(period, polls)| {
        for _ in 0..polls {
            world.now += period;
            assert!(world.scan().is_empty());
        }
        [taken(&listed) * 100 / polls, taken(&opened) * 100 / polls]
    })
}

#[test]
fn an_idle_poll_costs_the_same_over_any_number_of_old_files() {
    let few = idle_cost(10, Profile::Sync);
    for count in [10_000, 300_000] {
        let many = idle_cost(count, Profile::Sync);
        println!("names and files of 100 idle polls, 10 and {count} old files: {few:?}, {many:?}");
        let [[often, opened], [seldom, opened_seldom]] = many;
        // A folder of more than 64 names has its turn the more seldom the larger it is, but once a minute: one poll of six
        // then, with a poll every 10 s, lists the newest shard, which has up to 4,096 names.
        assert!(often <= few[0][0] + 100 * 64, "{often} names");
        assert!(seldom <= few[1][0] + 100 * (4_096 + 64 + 64) / 6, "{seldom} names");
        // The names that may come next, and a few of an old shard twice a minute.
        assert!(opened <= 100 * 2 + 100 * 16 / 1_200 + 1, "{opened} files");
        assert!(opened_seldom <= 100 * 2 + 100 * 16 / 6, "{opened_seldom} files");
    }
}
