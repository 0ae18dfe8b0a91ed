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
