//! What may go when, under each of the three habits of mirrors: the table of the specification, row by row.
//!
//! The mirror here is whole and prompt; its damage is tested in `mirror`. Each row has what must happen and what must not
//! happen before.

use std::collections::BTreeSet;
use std::time::Duration;

use disk::dir::Dir;
use wire::{Incarnation, Suite};

use crate::testkit::*;
use crate::{Closure, InboxOptions, PacketFloor, PacketPlan, Profile, Verdict};

const PROFILES: [Profile; 3] = [Profile::Move, Profile::Copy, Profile::Sync];
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Largest packet lifetime of these inboxes.
const MPL: Duration = Duration::from_secs(1_000);

/// Two folders and what carries files from one to the other.
struct Mirrored {
    world: World,
    profile: Profile,
    /// Delivered before: a mirror that copies does it once.
    carried: BTreeSet<String>,
}

impl Mirrored {
    fn new(profile: Profile) -> Self {
        let options = InboxOptions { profile, mpl: MPL, ..InboxOptions::default() };
        Self { world: World::with(Suite::Checksum, options), profile, carried: BTreeSet::new() }
    }

    /// One round of the mirror.
    fn carry(&mut self) {
        let (out, folder) = (&self.world.out, &self.world.folder);
        let sources: Vec<String> = out.files().into_iter().filter(|path| wire::name::considered(path)).collect();
        if self.profile == Profile::Sync {
            for path in self.carried.iter().filter(|path| !sources.contains(path)) {
                let _ = folder.remove_file(path);
            }
            self.carried.retain(|path| sources.contains(path));
        }
        for path in sources {
            // A sync mirror undoes what is deleted at the far end.
            let again = self.profile == Profile::Sync && folder.contents(&path).is_none();
            if self.carried.insert(path.clone()) || again {
                folder.put(&path, &out.contents(&path).unwrap()).unwrap();
            }
            if self.profile == Profile::Move {
                out.remove_file(&path).unwrap();
            }
        }
    }

    fn publish(&mut self, number: u64) -> String {
        self.world.publish(&plan(number, three_frames())).0
    }

    fn here(&self, path: &str) -> bool {
        self.world.out.contents(path).is_some()
    }

    fn there(&self, path: &str) -> bool {
        self.world.folder.contents(path).is_some()
    }

    /// What was read is durable.
    fn done(&mut self, got: &Got) {
        for (file, ..) in &got.closed {
            self.world.inbox.done(*file);
        }
    }
}

fn floor(floor: u64) -> PacketFloor {
    PacketFloor { recipient: south(), incarnation: NORTH_LIFE, floor }
}

#[test]
fn an_inbox_file_goes_when_it_is_closed_and_durable_and_under_sync_when_its_sender_removes_it() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let path = m.publish(1);
        m.carry();
        let got = m.world.run(S * 10);
        assert_eq!(got.closures(), [(1, Closure::Complete)]);
        m.carry();
        assert!(m.there(&path), "{profile:?}: closed is not durable");
        m.done(&got);
        assert_eq!(m.there(&path), profile == Profile::Sync, "{profile:?}");
        for _ in 0..3 {
            m.carry();
            assert!(m.world.run(S * 10).is_empty(), "{profile:?}: it is not read again");
            assert_eq!(m.there(&path), profile == Profile::Sync, "{profile:?}: nobody undoes or repeats it");
        }
        assert_eq!(m.world.outbox.remove(south(), NORTH_LIFE, pn(1)).unwrap(), profile != Profile::Move);
        m.carry();
        m.world.run(S * 10);
        assert!(!m.here(&path) && !m.there(&path), "{profile:?}");
        assert_eq!(m.world.inbox.tracked(), (0, 0));
    }
}

#[test]
fn an_open_inbox_file_stays_and_goes_below_the_floor() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let (path, bytes) = m.world.publish(&plan(5, three_frames()));
        m.world.put(&path, &bytes[..1_500]);
        let got = m.world.scan();
        m.world.inbox.done(got.packets[0].0);
        m.world.inbox.set_floor(north(), NORTH_LIFE, 5);
        m.world.inbox.set_floor(north(), Incarnation { generation: 9, random: [9; 8] }, u64::MAX);
        m.world.scan();
        assert!(m.there(&path), "{profile:?}: more of it may come");
        m.world.inbox.set_floor(north(), NORTH_LIFE, 6);
        assert_eq!(m.there(&path), profile == Profile::Sync, "{profile:?}");
        assert!(m.world.run(S * 100).is_empty(), "{profile:?}");
    }
}

#[test]
fn a_closed_partial_file_stays_though_durable_and_goes_below_the_floor() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let (path, bytes) = m.world.publish(&plan(5, three_frames()));
        m.world.put(&path, &bytes[..1_500]);
        assert_eq!(m.world.settle().closures(), [(5, Closure::Partial)]);
        m.world.run(MPL / 4);
        assert!(m.there(&path), "{profile:?}: what is missing may still come");
        m.world.put(&path, &bytes);
        let got = m.world.run(MPL / 4);
        assert_eq!(got.closures(), [(5, Closure::Complete)], "{profile:?}: and it did");
        let (late, bytes) = m.world.publish(&plan(6, three_frames()));
        m.world.put(&late, &bytes[..1_500]);
        m.world.settle();
        m.world.inbox.set_floor(north(), NORTH_LIFE, 7);
        assert_eq!(
            (m.there(&path), m.there(&late)),
            [(false, false), (true, true)][usize::from(profile == Profile::Sync)]
        );
    }
}

#[test]
fn a_file_of_a_life_that_is_over_goes_and_those_of_the_next_stay() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let (old, bytes) = m.world.publish(&plan(5, three_frames()));
        m.world.put(&old, &bytes[..1_500]);
        let next_life = Incarnation { generation: 2, random: [2; 8] };
        let (new, bytes) = m.world.publish(&PacketPlan { sender_incarnation: next_life, ..plan(6, three_frames()) });
        m.world.put(&new, &bytes[..1_500]);
        m.world.settle();
        m.world.inbox.set_floor(north(), NORTH_LIFE, u64::MAX);
        assert_eq!(m.there(&old), profile == Profile::Sync, "{profile:?}");
        assert!(m.there(&new));
    }
}

#[test]
fn a_presence_file_stays_until_two_newer_ones_are_there_or_the_packet_lifetime_is_over() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let paths: Vec<String> = (1..=4)
            .map(|number| {
                let path = m.world.deliver(&presence(number));
                m.world.run(S);
                path
            })
            .collect();
        m.world.run(MPL / 2);
        let sync = profile == Profile::Sync;
        assert_eq!(paths.iter().map(|path| m.there(path)).collect::<Vec<_>>(), [sync, sync, true, true], "{profile:?}");
        m.world.run(MPL / 2 - S * 10);
        assert!(m.there(&paths[2]));
        m.world.run(S * 20);
        assert_eq!((m.there(&paths[2]), m.there(&paths[3])), (sync, sync), "{profile:?}");
    }
}

/// Two engines read the folder and found two copies in different orders: each removed the one that the other kept.
#[test]
fn of_the_copies_of_a_presence_file_every_reader_keeps_the_first_by_name() {
    let mut m = Mirrored::new(Profile::Copy);
    let (path, bytes) = m.world.publish(&presence(1));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let [earlier, later] = ["0 copy", "zz copy"].map(|name| format!("{folder}/{name}.hft"));
    m.world.put(&path, &bytes);
    m.world.run(S);
    m.world.put(&later, &bytes);
    m.world.run(S);
    assert_eq!((m.there(&path), m.there(&later)), (true, false));
    m.world.put(&earlier, &bytes);
    m.world.run(S);
    assert!(m.there(&earlier), "another engine may have removed all but this one");
    for number in [2, 3] {
        m.world.deliver(&presence(number));
        m.world.run(S);
    }
    m.world.run(MPL);
    assert_eq!((m.there(&earlier), m.there(&path)), (false, false));
}

/// Whoever may write files put a copy where one engine alone reads, and the genuine file went.
#[test]
fn a_presence_file_does_not_go_for_a_copy_that_others_do_not_read() {
    let mut m = Mirrored::new(Profile::Copy);
    let (path, bytes) = m.world.publish(&presence(1));
    m.world.put("0 copy.hft", &bytes);
    m.world.run(S);
    m.world.put(&path, &bytes);
    m.world.run(S);
    assert!(m.there(&path));
}

#[test]
fn what_the_driver_does_not_want_goes_and_what_waits_stays_for_the_packet_lifetime() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        m.world.verdict = Verdict::Ignore;
        let ignored = m.world.deliver(&plan(1, three_frames()));
        m.world.run(S);
        m.world.verdict = Verdict::Wait;
        let waiting = m.world.deliver(&plan(2, three_frames()));
        m.world.run(MPL - S * 10);
        let sync = profile == Profile::Sync;
        assert_eq!((m.there(&ignored), m.there(&waiting)), (sync, true), "{profile:?}");
        m.world.run(S * 20);
        assert_eq!(m.there(&waiting), sync, "{profile:?}");
    }
}

#[test]
fn a_restarted_inbox_cleans_what_the_start_before_had_read() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let path = m.publish(1);
        m.carry();
        m.world.run(S);
        m.world.restart(InboxOptions { profile, ..InboxOptions::default() });
        let got = m.world.run(S * 10);
        assert_eq!(got.closures(), [(1, Closure::Complete)], "the driver knows its records as duplicates");
        assert!(m.there(&path));
        m.done(&got);
        assert_eq!(m.there(&path), profile == Profile::Sync, "{profile:?}");
    }
}

#[test]
fn a_file_that_a_moving_mirror_took_is_neither_missed_nor_delivered() {
    let mut m = Mirrored::new(Profile::Move);
    let path = m.publish(1);
    m.carry();
    assert!(!m.here(&path));
    let swept = m.world.outbox.sweep(HOUR, &[floor(1)]).unwrap();
    assert_eq!((swept.removed, swept.failed), (0, 0));
    // It is lost on the way, and the records go again as another packet; the name is not used again.
    m.world.folder.remove_file(&path).unwrap();
    let again = m.publish(2);
    m.carry();
    assert_ne!(again, path);
    assert_eq!(m.world.settle().closures(), [(2, Closure::Complete)]);
    assert!(!m.world.outbox.remove(south(), NORTH_LIFE, pn(1)).unwrap(), "there was nothing to remove");
}

#[test]
fn an_outbox_file_is_swept_below_the_floor_or_when_old_and_never_between() {
    for profile in [Profile::Copy, Profile::Sync] {
        let mut m = Mirrored::new(profile);
        let paths: Vec<String> = (1..=3).map(|number| m.publish(number)).collect();
        m.carry();
        let sweep = |m: &Mirrored, at: Duration| m.world.outbox.sweep(at, &[floor(2)]).unwrap().removed;
        assert_eq!(sweep(&m, S), 1);
        assert_eq!(paths.iter().map(|path| m.here(path)).collect::<Vec<_>>(), [false, true, true], "{profile:?}");
        assert_eq!(sweep(&m, DAY * 7), 0);
        assert_eq!(sweep(&m, DAY * 7 + S), 2, "no floor ever passed them");
        m.carry();
        assert_eq!(m.world.folder.files().is_empty(), profile == Profile::Sync, "{profile:?}");
    }
}

#[test]
fn what_a_crash_left_half_written_goes_after_a_day_and_never_leaves_the_folder() {
    for profile in PROFILES {
        let mut m = Mirrored::new(profile);
        let folder = m.publish(1).rsplit_once('/').unwrap().0.to_owned();
        let part = format!("{folder}/.0000000000000002-00000001.hft.part");
        m.world.out.put(&part, b"half").unwrap();
        m.carry();
        assert!(!m.there(&part));
        assert_eq!(m.world.outbox.sweep(S, &[floor(100)]).unwrap().leftovers, 0, "the floor says nothing of it");
        assert_eq!(m.world.outbox.sweep(DAY, &[floor(100)]).unwrap().leftovers, 0);
        assert_eq!(m.world.outbox.sweep(DAY + S, &[floor(100)]).unwrap().leftovers, 1);
        assert!(!m.here(&part));
    }
}

#[test]
fn folders_that_a_moving_mirror_emptied_are_removed_and_the_one_in_use_stays() {
    let mut m = Mirrored::new(Profile::Move);
    let earlier = Incarnation { generation: 0, random: [7; 8] };
    let old = m.world.publish(&PacketPlan { sender_incarnation: earlier, ..plan(1, vec![]) }).0;
    let closed = m.publish(1);
    let newest = m.publish(9_000);
    m.carry();
    let shard_of = |path: &str| path.rsplit_once('/').unwrap().0.to_owned();
    let life_of = |path: &str| shard_of(&shard_of(path));
    m.world.outbox.sweep(S, &[floor(1)]).unwrap();
    let there = |folder: String| m.world.out.list(&folder).is_ok();
    assert!(there(shard_of(&newest)));
    assert!(!there(shard_of(&closed)), "a closed shard goes whole");
    assert!(there(shard_of(&old)), "the last that this start wrote to in that life");
    // The next start finds folders of lives that are over: without files, and one without even a shard.
    let bare = format!("{}/{}", life_of(&old).rsplit_once('/').unwrap().0, "00000000000000bb");
    m.world.out.create_dirs(&bare).unwrap();
    m.world.outbox = outbox(m.world.out.clone(), Suite::Checksum);
    let again = m.publish(9_001);
    assert_eq!(shard_of(&again), shard_of(&newest));
    m.carry();
    m.world.outbox.sweep(S, &[floor(9_001)]).unwrap();
    let there = |folder: String| m.world.out.list(&folder).is_ok();
    assert!(!there(life_of(&old)) && !there(bare));
    assert!(there(shard_of(&newest)), "packets go to it");
    m.publish(9_002);
}
