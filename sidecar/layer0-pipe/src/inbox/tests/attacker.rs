//! An attacker who can write into both folders, over a real file system: nothing he writes changes anything, every scan
//! keeps to its budget, and packets that are sent meanwhile arrive.
//!
//! Read first: `junk_in_every_place_delays_good_packets_by_few_scans`.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::dir::StdDir;
use tempfile::TempDir;
use wire::header::set_crc;
use wire::{Reject, Suite};

use crate::testkit::*;
use crate::{Closure, InboxOptions, Profile, ScanReport};

/// Two folders of the operating system and what lies between them.
struct Site {
    outbox: TempDir,
    inbox: TempDir,
    world: World<StdDir>,
    options: InboxOptions,
}

impl Site {
    fn new(suite: Suite, options: InboxOptions) -> Self {
        let (outbox, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &TempDir| StdDir::open(dir.path()).unwrap();
        let world = World::over(open(&outbox), open(&inbox), suite, options.clone());
        Self { outbox, inbox, world, options }
    }

    fn publish(&self, number: u64) -> (String, Vec<u8>) {
        let path = self.world.outbox.publish(&plan(number, three_frames()), &Generated).unwrap().path;
        let bytes = fs::read(self.outbox.path().join(&path)).unwrap();
        (path, bytes)
    }

    /// Carries a packet over as a mirror does.
    fn deliver(&self, number: u64) {
        let (path, bytes) = self.publish(number);
        self.put(&path, &bytes);
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let to = self.inbox.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }

    fn folder(&self, path: &str) -> PathBuf {
        let folder = self.inbox.path().join(path);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Scans once and checks the budgets.
    fn scan(&mut self, got: &mut Got) -> ScanReport {
        let report = self.world.scan_into(got);
        let (options, cost) = (&self.options, report.cost);
        assert!(cost.files_opened <= u64::from(options.files_per_scan), "{cost:?}");
        let largest = 70_000;
        assert!(cost.bytes_read <= options.bytes_per_scan + 3 * largest, "{cost:?}");
        assert!(cost.folders_listed <= u64::from(options.folders_per_scan) + 8, "{cost:?}");
        assert!(cost.names_listed <= options.names_per_scan as u64 + 3 * 4_096, "{cost:?}");
        self.world.now += report.next_after;
        report
    }

    /// Scans until this packet is closed as complete; gives after how many scans.
    fn scans_until_complete(&mut self, number: u64, max: usize) -> usize {
        for scans in 1..=max {
            let mut got = Got::default();
            self.scan(&mut got);
            let closures = got.closures();
            assert!(closures.iter().all(|closed| *closed == (number, Closure::Complete)), "{closures:?}");
            got.closed.iter().for_each(|(file, _, _)| self.world.inbox.done(*file));
            if !closures.is_empty() {
                return scans;
            }
        }
        panic!("packet {number} did not arrive within {max} scans: {:?}", self.world.inbox.counters());
    }

    /// Scans for a while; nothing may come of it.
    fn nothing_happens(&mut self, scans: usize) {
        let mut got = Got::default();
        for _ in 0..scans {
            self.scan(&mut got);
        }
        assert!(got.is_empty(), "{got:?}");
    }
}

fn me() -> String {
    south().to_hex32()
}

/// The folder of the true sender's life.
fn life() -> String {
    wire::name::dir_of_incarnation(&south(), &north(), &NORTH_LIFE)
}

fn many_files(folder: &Path, count: u64, name: impl Fn(u64) -> String) {
    // Hard links are quick to make, and a reader cannot tell.
    let first = folder.join(name(0));
    fs::write(&first, [0x5A; 300]).unwrap();
    let mut source = first;
    for n in 1..count {
        let to = folder.join(name(n));
        if n % 30_000 == 0 {
            fs::write(&to, [0x5A; 300]).unwrap();
            source = to;
        } else {
            fs::hard_link(&source, to).unwrap();
        }
    }
}

/// Small budgets: what holds for these holds for larger ones in fewer scans.
fn tight() -> InboxOptions {
    InboxOptions { files_per_scan: 64, folders_per_scan: 64, names_per_scan: 4_096, ..InboxOptions::default() }
}

#[test]
fn packets_that_somebody_else_made_or_changed_change_nothing() {
    for suite in [Suite::Signed, Suite::Sealed] {
        let mut site = Site::new(suite, InboxOptions::default());
        let (path, bytes) = site.publish(1);
        let edited = |change: &dyn Fn(&mut [u8; 256])| {
            let mut bytes = bytes.clone();
            let head: &mut [u8; 256] = bytes.first_chunk_mut().unwrap();
            change(head);
            set_crc(head);
            bytes
        };
        let mine: &[(&str, Vec<u8>)] = &[
            ("another number", edited(&|head| head[104] ^= 2)),
            ("re-addressed to another peering", edited(&|head| head[48] ^= 1)),
            (
                "re-addressed to my side",
                edited(&|head| head[48..64].copy_from_slice(south_side().as_address().as_bytes())),
            ),
            ("reflected", edited(&|head| head[32..48].copy_from_slice(south().as_bytes()))),
            ("as from another endpoint", edited(&|head| head[32..48].copy_from_slice(&[7; 16]))),
            ("of another life", edited(&|head| head[64] ^= 1)),
            ("naming a key nobody pinned", edited(&|head| head[120] ^= 1)),
        ];
        for (n, (_, bytes)) in (0..).zip(mine) {
            site.put(&format!("{}/{:032x}/x/{n}.hft", me(), 7), bytes);
            site.put(&format!("{}/{n:016x}-00000000.hft", path.rsplit_once('/').unwrap().0), bytes);
        }
        let east = crate::Outbox::new(
            std::sync::Arc::new(StdDir::open(site.outbox.path()).unwrap()),
            north(),
            Some(KEYS.east.clone()),
            pin(&KEYS.south),
            crate::OutboxOptions { suite, ..Default::default() },
        );
        let signed_again = east.unwrap().publish(&plan(2, three_frames()), &Generated).unwrap().path;
        site.put(&signed_again, &fs::read(site.outbox.path().join(&signed_again)).unwrap());
        site.nothing_happens(30);
        assert_eq!(
            site.world.inbox.counters().rejects().map(|(_, count)| count).sum::<u64>(),
            2 * mine.len() as u64 + 1
        );
        site.deliver(3);
        assert!(site.scans_until_complete(3, 3) <= 3, "{suite}");
    }
}

#[test]
fn replayed_packets_change_nothing_wherever_they_are_put() {
    for profile in [Profile::Copy, Profile::Sync] {
        let mut site = Site::new(Suite::Signed, InboxOptions { profile, ..InboxOptions::default() });
        let (path, bytes) = site.publish(1);
        site.put(&path, &bytes);
        site.scans_until_complete(1, 2);
        for n in 0..300 {
            site.put(&format!("{}/{n:032x}/x/0/{n}.hft", me()), &bytes);
            site.put(&format!("{}/0/{n:016x}-00000000.hft", life()), &bytes);
            site.put(&format!("{n}.hft"), &bytes);
        }
        site.nothing_happens(60);
        assert_eq!(site.world.inbox.counters().duplicates, 900);
        // A copy in a stranger's folder vouches for nothing there.
        assert_eq!(site.world.inbox.discovery.lives.len(), 1);
        site.world.inbox.set_floor(north(), NORTH_LIFE, 2);
        site.deliver(3);
        site.scans_until_complete(3, 3);
    }
}

#[test]
fn a_packet_in_a_strangers_folder_does_not_make_that_folder_known() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    let (_, bytes) = site.publish(1);
    site.put(&format!("{}/{:032x}/x/0/copy.hft", me(), 7), &bytes);
    site.scans_until_complete(1, 3);
    assert!(site.world.inbox.discovery.lives.is_empty());
}

#[test]
fn a_packet_that_is_cut_and_made_whole_again_arrives_once() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    let (path, bytes) = site.publish(1);
    let mut got = Got::default();
    for cut in [bytes.len() - 100, 5_000, 300, 0, bytes.len() / 2, 260, bytes.len()] {
        site.put(&path, &bytes[..cut]);
        for _ in 0..8 {
            site.scan(&mut got);
        }
    }
    while got.closed.is_empty() {
        site.scan(&mut got);
    }
    assert_eq!((got.closures(), got.seqs(), got.packets.len()), (vec![(1, Closure::Complete)], vec![1, 2, 3, 4], 1));
}

#[test]
fn what_is_no_file_is_never_opened() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    let outside = tempfile::tempdir().unwrap();
    let (path, bytes) = site.publish(9);
    fs::write(outside.path().join("real.hft"), &bytes).unwrap();
    let (shard, next) = path.rsplit_once('/').unwrap();
    site.deliver(1);
    site.scans_until_complete(1, 2);
    let mut made = 0;
    for folder in ["", &me(), &format!("{}/{}", me(), "5".repeat(32)), &life(), shard] {
        let folder = site.folder(folder);
        symlink(outside.path().join("real.hft"), folder.join("link.hft")).unwrap();
        symlink(outside.path(), folder.join("7".repeat(32))).unwrap();
        symlink(".", folder.join("loop")).unwrap();
        fs::create_dir(folder.join("folder.hft")).unwrap();
        drop(UnixListener::bind(folder.join("s.hft")).unwrap());
        made += 3;
        let pipe = Command::new("mkfifo").arg(folder.join("pipe.hft")).status();
        made += u64::from(pipe.is_ok_and(|status| status.success()));
        // Only root can: elsewhere the other kinds have to do.
        let device = Command::new("mknod").arg(folder.join("null.hft")).args(["c", "1", "3"]).output();
        made += u64::from(device.is_ok_and(|output| output.status.success()));
    }
    // The name that is expected next leads out of the folder.
    symlink(outside.path().join("real.hft"), site.inbox.path().join(shard).join(next)).unwrap();
    made += 1;
    site.nothing_happens(40);
    assert_eq!(site.world.inbox.counters().reject(Reject::NotRegular), made);
    site.deliver(2);
    site.scans_until_complete(2, 4);
}

#[test]
fn hard_links_to_a_packet_are_one_packet() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    site.deliver(1);
    let (path, _) = site.publish(1_000);
    let first = fs::read_dir(site.inbox.path().join(path.rsplit_once('/').unwrap().0)).unwrap();
    let first = first.map(|entry| entry.unwrap().path()).next().unwrap();
    for n in 0..50 {
        fs::hard_link(&first, site.inbox.path().join(format!("{n}.hft"))).unwrap();
    }
    let mut got = Got::default();
    for _ in 0..20 {
        site.scan(&mut got);
        got.closed.iter().for_each(|(file, _, _)| site.world.inbox.done(*file));
    }
    assert_eq!((got.closures(), got.seqs().len()), (vec![(1, Closure::Complete)], 4));
    assert_eq!(fs::read_dir(site.inbox.path()).unwrap().count(), 1, "the links went as copies do");
}

/// 100,000 files and 40,000 folders, most of them where they sort before the sender's, or look like his.
#[test]
fn junk_in_every_place_delays_good_packets_by_few_scans() {
    let mut site = Site::new(Suite::Signed, tight());
    site.deliver(1);
    site.scans_until_complete(1, 3);
    let (path, _) = site.publish(5_000);
    let tag = path.rsplit_once('-').unwrap().1.to_owned();
    many_files(&site.folder(""), 25_000, |n| format!("{n:05}.hft"));
    many_files(&site.folder(&me()), 10_000, |n| format!("{n:05}.hft"));
    many_files(&site.folder(&format!("{}/{:032x}/x/0", me(), 0)), 15_000, |n| format!("{n:016x}-00000000.hft"));
    many_files(&site.folder(&life()), 10_000, |n| format!("{n}.hft"));
    // In the sender's own shard, and named as his next ones but for the very next.
    many_files(&site.folder(&format!("{}/0", life())), 36_000, |n| format!("{:016x}-{tag}", n + 400));
    many_files(&site.folder(&format!("{}/1", life())), 4_000, |n| format!("{:016x}-{tag}", n + 4_100));
    for n in 0..20_000 {
        fs::create_dir(site.inbox.path().join(format!("{n:032x}"))).unwrap();
    }
    let mine = site.folder(&me());
    for n in 1..15_001 {
        fs::create_dir(mine.join(format!("{n:032x}"))).unwrap();
    }
    let lives = site.folder(&life());
    for n in 0..5_000 {
        fs::create_dir(lives.join(format!("f{n:06x}"))).unwrap();
    }
    let mut most = 0;
    for number in 2..60 {
        site.deliver(number);
        most = most.max(site.scans_until_complete(number, 12));
    }
    // One that nothing announces: after a gap, and under a name that the mirror changed.
    let (_, bytes) = site.publish(300);
    site.put(&format!("{}/0/x (1).hft", life()), &bytes);
    let renamed = site.scans_until_complete(300, 8_000);
    println!("named as expected: after {most} scans at most; renamed: after {renamed}");
}

#[test]
fn a_new_senders_first_packet_is_found_behind_junk() {
    let mut site = Site::new(Suite::Signed, tight());
    many_files(&site.folder(""), 20_000, |n| format!("{n:05}.hft"));
    let mine = site.folder(&me());
    for n in 0..5_000 {
        fs::create_dir(mine.join(format!("{n:032x}"))).unwrap();
        fs::write(mine.join(format!("{n:032x}/0.hft")), []).unwrap();
    }
    site.deliver(1);
    let scans = site.scans_until_complete(1, 2_000);
    println!("found after {scans} scans");
}

#[test]
fn junk_is_read_once_even_if_there_is_more_than_the_quarantine_holds() {
    let options = InboxOptions { quarantine_max: 100, ..tight() };
    let mut site = Site::new(Suite::Signed, options);
    many_files(&site.folder(&me()), 2_000, |n| format!("{n}.hft"));
    site.nothing_happens(400);
    let read = site.world.inbox.counters().files_seen;
    assert_eq!(read, 2_000);
    let bytes = site.world.inbox.counters().bytes_read;
    site.nothing_happens(200);
    assert_eq!(site.world.inbox.counters().files_seen, read);
    // Those in the quarantine are looked at again, ever more seldom.
    assert!(site.world.inbox.counters().bytes_read - bytes <= 100 * 300 * 12);
}

#[test]
fn only_what_verified_teaches_the_quiet_time() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    let before = site.world.inbox.quiet_time();
    let mut junk = Vec::new();
    for second in 0..200 {
        junk.resize(junk.len() + 100, 0x5A);
        site.put(&format!("{}/junk.hft", me()), &junk);
        site.world.now = S * 10 + S * 7 * second / 10;
        site.scan(&mut Got::default());
    }
    assert_eq!(site.world.inbox.quiet_time(), before);
    // A packet that grows as slowly does teach, once a frame of it verified.
    let (path, bytes) = site.publish(1);
    let started = site.world.now;
    for part in 0..=10 {
        site.put(&path, &bytes[..bytes.len() * part / 10]);
        site.world.now = started + S * 7 * u32::try_from(part).unwrap() / 10;
        site.scan(&mut Got::default());
    }
    assert!(site.world.inbox.quiet_time() > before * 2, "{:?}", site.world.inbox.quiet_time());
}

#[test]
fn copies_of_a_packet_that_waits_take_no_room() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    site.world.verdict = crate::Verdict::Wait;
    let (path, bytes) = site.publish(1);
    site.put(&path, &bytes);
    for n in 0..500 {
        site.put(&format!("{}/0/{n}.hft", life()), &bytes);
    }
    let mut got = Got::default();
    for _ in 0..30 {
        site.scan(&mut got);
    }
    assert_eq!(site.world.inbox.files.good(), 1);
    site.world.verdict = crate::Verdict::Use;
    site.world.inbox.retry_waiting();
    let mut got = Got::default();
    for _ in 0..200 {
        site.scan(&mut got);
        got.closed.iter().for_each(|(file, _, _)| site.world.inbox.done(*file));
        site.world.now += S / 10;
    }
    assert_eq!((got.closures(), got.seqs().len()), (vec![(1, Closure::Complete)], 4));
}

#[test]
fn short_names_of_folders_and_files_hide_nothing() {
    let mut site = Site::new(Suite::Signed, InboxOptions::default());
    let (_, bytes) = site.publish(1);
    site.put(&format!("{}~1/8B1D~1/1111~1/0/000000~1.HFT", me()[..6].to_uppercase()), &bytes);
    site.scans_until_complete(1, 3);
}
