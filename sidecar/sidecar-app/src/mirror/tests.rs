//! The whole mirror over real folders: what arrives, what does not, and what the journal says.
//! What a fate is drawn like is tested in `fate.rs`, how files are found in `scan.rs`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::*;

/// Two folders and a place for a journal.
struct Rig {
    root: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("from")).unwrap();
        fs::create_dir(root.path().join("to")).unwrap();
        Self { root }
    }

    fn from(&self) -> PathBuf {
        self.root.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.root.path().join("to")
    }

    fn options(&self, faults: Faults) -> MirrorOptions {
        let journal = Some(self.root.path().join("journal.jsonl"));
        MirrorOptions { faults, seed: 7, poll_ms: 2, journal, ..MirrorOptions::new(self.from(), self.to()) }
    }

    /// Publishes as engines do: write elsewhere, then rename.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.from().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = self.root.path().join("new");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, path).unwrap();
    }

    fn journal(&self) -> Vec<JournalLine> {
        // The mirror creates it when it starts, which may be a little later.
        let text = fs::read_to_string(self.root.path().join("journal.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until `seen` files were taken up and nothing is under way any more, second copies included.
    fn wait_until_settled(&self, seen: u64) {
        wait_until("nothing is under way", || {
            let text = fs::read(summary_path(&self.root.path().join("journal.jsonl"))).unwrap_or_default();
            serde_json::from_slice::<Summary>(&text)
                .is_ok_and(|summary| (summary.counts.seen, summary.pending) == (seen, 0))
        });
    }
}

/// Runs a mirror while `body` runs; then stops it.
fn mirror_while(options: MirrorOptions, body: impl FnOnce()) -> Summary {
    struct StopAtEnd<'a>(&'a AtomicBool);
    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mirror = scope.spawn(|| run(options, &stop).unwrap());
        {
            let _stop_at_end = StopAtEnd(&stop);
            body();
        }
        mirror.join().unwrap()
    })
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// All files below a folder with their contents, hidden ones too.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(content) = fs::read(entry.path()) {
                let name = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, content);
            }
        }
    }
    found
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + seed * 7 + i / 251) % 255 + 1) as u8).collect()
}

#[test]
fn no_faults_delivers_every_file_whole() {
    let rig = Rig::new();
    rig.put("early.hft", b"was there before the mirror");
    let summary = mirror_while(rig.options(Faults::none()), || {
        for (i, len) in [0, 1, 4096, 300_000, 9 << 20].into_iter().enumerate() {
            rig.put(&format!("a/b{i}/{i}.hft"), &content(i, len));
        }
        rig.put(".new.hft.part", b"half");
        rig.put("other.part", b"half");
        rig.wait_until_settled(6);
    });
    let mut expected = tree(&rig.from());
    expected.retain(|name, _| !name.ends_with(".part"));
    assert_eq!(tree(&rig.to()), expected);
    let Counts { seen, delivered, whole, lost, .. } = summary.counts;
    assert_eq!((seen, delivered, whole, lost, summary.pending), (6, 6, 6, 0, 0));
    assert_eq!(summary.counts.bytes_delivered, expected.values().map(|content| content.len() as u64).sum::<u64>());
}

#[test]
fn lost_files_never_arrive_and_a_moving_mirror_still_takes_them() {
    for profile in [Profile::Move, Profile::Copy, Profile::Sync] {
        let rig = Rig::new();
        let faults = Faults { loss: 1.0, duplicate: 1.0, slow: 1.0, ..Faults::none() };
        let summary = mirror_while(MirrorOptions { profile, ..rig.options(faults) }, || {
            (0..20).for_each(|i| rig.put(&format!("{i}.hft"), b"content"));
            wait_until("all are lost", || rig.journal().len() == 20);
            wait_until("moved", || tree(&rig.from()).len() == if profile == Profile::Move { 0 } else { 20 });
            thread::sleep(Duration::from_millis(50));
        });
        assert!(tree(&rig.to()).is_empty());
        assert_eq!((summary.counts.lost, summary.counts.delivered), (20, 0));
        assert!(rig.journal().iter().all(|line| line.fate == Outcome::Lost && line.kept == 0 && line.len == 7));
    }
}

#[test]
fn same_seed_treats_the_same_files_the_same() {
    let fates = |seed, pause| {
        let rig = Rig::new();
        let faults = Faults { delay_ms: (0, 5), slow_ms: (1, 20), ..Faults::harsh() };
        mirror_while(MirrorOptions { seed, ..rig.options(faults) }, || {
            for i in 0..60 {
                rig.put(&format!("{i}.hft"), &content(i, 10_000));
                thread::sleep(pause);
            }
            rig.wait_until_settled(60);
        });
        let mut lines = rig.journal();
        lines.iter_mut().for_each(|line| line.t_ms = 0);
        lines.sort_by(|a, b| (&a.file, a.fate).cmp(&(&b.file, b.fate)));
        lines
    };
    let first = fates(7, Duration::ZERO);
    assert_eq!(first, fates(7, Duration::from_millis(2)));
    assert_ne!(first, fates(8, Duration::ZERO));
}

#[test]
fn the_journal_tells_every_fate() {
    let rig = Rig::new();
    let faults = Faults { delay_ms: (0, 5), slow_ms: (1, 20), zero_tail: 0.2, rename: 0.2, ..Faults::harsh() };
    let summary = mirror_while(MirrorOptions { profile: Profile::Move, ..rig.options(faults) }, || {
        (0..80).for_each(|i| rig.put(&format!("{i}.hft"), &content(i, 9_000)));
        rig.wait_until_settled(80);
        assert!(tree(&rig.from()).is_empty());
    });
    let journal = rig.journal();
    let count =
        |outcome| journal.iter().filter(|line| line.fate == outcome || line.also.contains(&outcome)).count() as u64;
    let counts = summary.counts;
    assert_eq!((counts.seen, counts.delivered + counts.lost, summary.pending), (80, 80, 0));
    let counted = [counts.lost, counts.cut, counts.zero_tail, counts.slow, counts.duplicated, counts.reordered];
    let told = [Outcome::Lost, Outcome::Cut, Outcome::ZeroTail, Outcome::Slow, Outcome::Duplicated, Outcome::Reordered]
        .map(count);
    assert_eq!(counted, told);
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
    let arrived = tree(&rig.to());
    // The last line about a name tells what is there, as a second copy may replace the first.
    let mut last = BTreeMap::new();
    for line in journal.iter().filter(|line| line.fate != Outcome::Lost) {
        last.insert(line.arrived_as.clone().unwrap_or_else(|| line.file.clone()), line);
    }
    assert_eq!(arrived.keys().collect::<Vec<_>>(), last.keys().collect::<Vec<_>>());
    for (name, line) in last {
        let source = content(line.file.trim_end_matches(".hft").parse().unwrap(), 9_000);
        let kept = usize::try_from(line.kept).unwrap();
        assert_eq!(arrived[&name][..kept], source[..kept], "{name}");
        assert!(arrived[&name][kept..].iter().all(|byte| *byte == 0), "{name}");
        let is_cut = line.fate == Outcome::Cut || line.also.contains(&Outcome::Cut);
        assert_eq!(arrived[&name].len() < 9_000, is_cut, "{name}");
    }
    let written = fs::read_to_string(summary_path(&rig.root.path().join("journal.jsonl"))).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&written).unwrap().counts, counts);
}

#[test]
fn slow_files_grow_and_end_whole() {
    let rig = Rig::new();
    let faults = Faults { slow: 1.0, slow_ms: (800, 800), ..Faults::none() };
    let mut partial = 0;
    let mut preallocated = 0;
    let summary = mirror_while(rig.options(faults), || {
        (0..12).for_each(|i| rig.put(&format!("{i}.hft"), &content(i, 100_000)));
        wait_until("all are whole", || {
            let arrived = tree(&rig.to());
            partial += arrived.values().filter(|content| (1..100_000).contains(&content.len())).count();
            preallocated += arrived.values().filter(|content| content.len() == 100_000 && content[99_999] == 0).count();
            arrived == tree(&rig.from())
        });
        wait_until("all are noted", || rig.journal().len() == 12);
    });
    assert!(partial > 0 && preallocated > 0, "{partial} partial, {preallocated} preallocated");
    assert_eq!((summary.counts.slow, summary.counts.whole), (12, 12));
}

#[test]
fn more_slow_and_repeated_files_than_may_be_open_still_all_arrive() {
    let rig = Rig::new();
    let faults = Faults { slow: 1.0, slow_ms: (200, 200), duplicate: 1.0, ..Faults::none() };
    let summary = mirror_while(MirrorOptions { profile: Profile::Move, ..rig.options(faults) }, || {
        (0..600).for_each(|i| rig.put(&format!("{i}.hft"), &content(i, 100)));
        rig.wait_until_settled(600);
    });
    assert_eq!((summary.counts.whole, summary.counts.slow, summary.counts.duplicated), (600, 600, 600));
}

#[test]
fn a_second_copy_follows_even_if_the_source_is_gone() {
    for profile in [Profile::Move, Profile::Copy] {
        let rig = Rig::new();
        let faults = Faults { duplicate: 1.0, delay_ms: (400, 400), ..Faults::none() };
        let summary = mirror_while(MirrorOptions { profile, ..rig.options(faults) }, || {
            (0..10).for_each(|i| rig.put(&format!("{i}.hft"), &content(i, 5_000)));
            wait_until("first copies arrived", || (0..10).all(|i| rig.to().join(format!("{i}.hft")).exists()));
            for i in 0..10 {
                let _ = fs::remove_file(rig.from().join(format!("{i}.hft")));
                fs::remove_file(rig.to().join(format!("{i}.hft"))).unwrap();
            }
            wait_until("second copies arrived", || tree(&rig.to()).len() == 10);
            wait_until("all are noted", || rig.journal().len() == 20);
        });
        assert_eq!((summary.counts.delivered, summary.counts.duplicated), (10, 10));
        let arrived = tree(&rig.to());
        let renamed = arrived.keys().filter(|name| name.contains(" (1).hft")).count();
        assert!(renamed > 0 && renamed < 10, "{renamed}");
        for (name, found) in arrived {
            let number = name.trim_end_matches(".hft").trim_end_matches(" (1)").parse().unwrap();
            assert_eq!(found, content(number, 5_000));
        }
    }
}

#[test]
fn what_the_reader_deleted_is_not_delivered_again() {
    for profile in [Profile::Copy, Profile::Sync] {
        let rig = Rig::new();
        let summary = mirror_while(MirrorOptions { profile, ..rig.options(Faults::none()) }, || {
            rig.put("1.hft", b"1");
            wait_until("it arrived", || rig.to().join("1.hft").exists());
            fs::remove_file(rig.to().join("1.hft")).unwrap();
            // Long enough for the look that lists every folder.
            thread::sleep(Duration::from_millis(2300));
            rig.put("2.hft", b"2");
            wait_until("the next arrived", || rig.to().join("2.hft").exists());
        });
        assert_eq!(tree(&rig.to()).len(), 1);
        assert_eq!(tree(&rig.from()).len(), 2);
        assert_eq!(summary.counts.delivered, 2);
    }
}

#[test]
fn only_sync_deletes_the_far_copies_when_the_source_is_deleted() {
    for profile in [Profile::Copy, Profile::Sync] {
        let rig = Rig::new();
        let faults = Faults { duplicate: 0.5, rename: 0.5, delay_ms: (0, 5), ..Faults::none() };
        let names: Vec<_> = (0..10).map(|i| format!("a/b/{i}.hft")).collect();
        let summary = mirror_while(MirrorOptions { profile, ..rig.options(faults) }, || {
            rig.put("stays.hft", b"");
            names.iter().for_each(|name| rig.put(name, name.as_bytes()));
            wait_until("all arrived", || {
                rig.journal().iter().filter(|line| line.fate != Outcome::Duplicated).count() == 11
            });
            fs::remove_dir_all(rig.from().join("a")).unwrap();
            if profile == Profile::Sync {
                wait_until("all are deleted", || tree(&rig.to()).keys().all(|name| name.contains("stays")));
                wait_until("the folders are gone", || !rig.to().join("a").exists());
            }
            rig.wait_until_settled(11);
        });
        let left = tree(&rig.to()).keys().filter(|name| !name.contains("stays")).count();
        if profile == Profile::Sync {
            assert_eq!(left, 0);
            assert!(summary.counts.deletes_propagated >= 10);
        } else {
            assert!(left >= 10);
            assert_eq!(summary.counts.deletes_propagated, 0);
        }
    }
}

#[test]
fn move_removes_the_source_and_takes_a_reused_name_again() {
    let rig = Rig::new();
    let summary = mirror_while(MirrorOptions { profile: Profile::Move, ..rig.options(Faults::none()) }, || {
        for i in 0..50_u8 {
            rig.put("same.hft", &[i]);
            wait_until("it was moved", || !rig.from().join("same.hft").exists());
            assert_eq!(fs::read(rig.to().join("same.hft")).unwrap(), [i]);
        }
    });
    assert_eq!(summary.counts.delivered, 50);
}

#[test]
fn during_an_outage_nothing_arrives() {
    let rig = Rig::new();
    let faults = Faults { outage_every_ms: Some(1000), outage_ms: 900, ..Faults::none() };
    let summary = mirror_while(rig.options(faults), || {
        wait_until("the outage begins", || rig.journal().iter().any(|line| line.fate == Outcome::Outage));
        rig.put("1.hft", b"1");
        thread::sleep(Duration::from_millis(120));
        assert!(tree(&rig.to()).is_empty());
        wait_until("it arrived", || rig.to().join("1.hft").exists());
    });
    assert!(summary.counts.outages >= 1);
    assert_eq!(summary.counts.delivered, 1);
}

#[test]
fn held_back_files_are_overtaken() {
    let rig = Rig::new();
    mirror_while(rig.options(Faults { reorder: 0.5, ..Faults::none() }), || {
        (0..30).for_each(|i| rig.put(&format!("{i:02}.hft"), b""));
        wait_until("all arrived", || rig.journal().len() == 30);
    });
    let journal = rig.journal();
    let held = journal.iter().filter(|line| line.fate == Outcome::Reordered).count();
    assert!((5..=25).contains(&held), "{held}");
    assert!(!journal.is_sorted_by(|a, b| a.file < b.file));
}

#[test]
fn a_dropped_content_never_passes_under_any_name() {
    let rig = Rig::new();
    let faults = Faults { content_drop: 0.5, ..Faults::none() };
    mirror_while(rig.options(faults), || {
        for i in 0..20 {
            rig.put(&format!("{i}.hft"), &content(i, 1_000));
            rig.put(&format!("resent {i}.hft"), &content(i, 1_000));
        }
        wait_until("each has its fate", || rig.journal().len() == 40);
    });
    let arrived = tree(&rig.to());
    assert!(!arrived.is_empty() && arrived.len() < 40);
    for i in 0..20 {
        assert_eq!(arrived.contains_key(&format!("{i}.hft")), arrived.contains_key(&format!("resent {i}.hft")));
    }
}

#[test]
fn a_source_gone_before_it_is_read_is_counted() {
    let rig = Rig::new();
    let summary = mirror_while(rig.options(Faults { delay_ms: (2000, 2000), ..Faults::none() }), || {
        rig.put("1.hft", b"1");
        thread::sleep(Duration::from_millis(500));
        fs::remove_file(rig.from().join("1.hft")).unwrap();
        wait_until("it is noted", || rig.journal().iter().any(|line| line.fate == Outcome::Vanished));
    });
    assert_eq!((summary.counts.vanished, summary.counts.delivered), (1, 0));
}

#[test]
fn a_folder_that_goes_away_is_waited_for_and_deletes_nothing() {
    for which in ["from", "to"] {
        let rig = Rig::new();
        let folder = rig.root.path().join(which);
        let away = rig.root.path().join("away");
        let summary = mirror_while(MirrorOptions { profile: Profile::Sync, ..rig.options(Faults::none()) }, || {
            rig.put("1.hft", b"1");
            wait_until("it arrived", || rig.to().join("1.hft").exists());
            fs::rename(&folder, &away).unwrap();
            if which == "to" {
                rig.put("2.hft", b"2");
            }
            thread::sleep(Duration::from_millis(100));
            assert!(!folder.exists(), "the mirror must not create it");
            fs::rename(&away, &folder).unwrap();
            if which == "from" {
                rig.put("2.hft", b"2");
            }
            wait_until("the next arrived", || rig.to().join("2.hft").exists());
        });
        assert_eq!(tree(&rig.to()).len(), 2, "{which}");
        assert_eq!((summary.counts.deletes_propagated, summary.counts.vanished), (0, 0), "{which}");
    }
}

/// Sources were kept open while their folder was away, so that a failed file system could not be unmounted and repaired.
#[test]
fn nothing_of_a_folder_that_is_away_is_kept_open() {
    let rig = Rig::new();
    let away = rig.root.path().join("away");
    let open = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|link| fs::read_link(link.path()).ok());
        links.filter(|file| file.starts_with(rig.root.path()) && file.ends_with("1.hft")).count()
    };
    let faults = Faults { duplicate: 1.0, delay_ms: (3_000, 3_000), ..Faults::none() };
    let summary = mirror_while(rig.options(faults), || {
        rig.put("1.hft", b"1");
        wait_until("the second copy waits", || tree(&rig.to()).len() == 1 && open() == 1);
        fs::rename(rig.from(), &away).unwrap();
        wait_until("it is let go of", || open() == 0);
        fs::rename(&away, rig.from()).unwrap();
        rig.wait_until_settled(1);
    });
    assert_eq!((summary.counts.delivered, summary.pending), (1, 0));
}

#[test]
fn an_obstacle_in_the_far_folder_is_waited_out() {
    let rig = Rig::new();
    fs::create_dir_all(rig.to().join("1.hft/in the way")).unwrap();
    let summary = mirror_while(rig.options(Faults::none()), || {
        rig.put("1.hft", b"1");
        thread::sleep(Duration::from_millis(100));
        assert!(tree(&rig.to()).is_empty(), "no temporary is left behind");
        fs::remove_dir_all(rig.to().join("1.hft")).unwrap();
        wait_until("it arrived", || rig.to().join("1.hft").is_file());
    });
    assert_eq!((summary.counts.delivered, summary.counts.failed), (1, 0));
    assert!(summary.counts.retried >= 1);
}

#[test]
fn temporary_files_are_picked_up_only_on_demand() {
    let rig = Rig::new();
    rig.put(".1.hft.part", b"half");
    rig.put(".mirror-1-1.part", b"another mirror's");
    mirror_while(MirrorOptions { pick_up_temporary: true, ..rig.options(Faults::none()) }, || {
        wait_until("it arrived", || rig.to().join(".1.hft.part").exists());
    });
    assert_eq!(tree(&rig.to()).len(), 1);
}

#[test]
fn temporaries_of_a_killed_mirror_are_swept() {
    let rig = Rig::new();
    let (old, young) = (rig.to().join("a/.mirror-1-1.part"), rig.to().join("a/.mirror-1-2.part"));
    fs::create_dir(rig.to().join("a")).unwrap();
    for (path, age) in [(&old, 3600), (&young, 0)] {
        File::create(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    mirror_while(rig.options(Faults::none()), || wait_until("the old one is gone", || !old.exists()));
    assert!(young.exists());
}

#[test]
fn what_is_still_under_way_at_the_end_is_pending() {
    let rig = Rig::new();
    let summary = mirror_while(rig.options(Faults { delay_ms: (60_000, 60_000), ..Faults::none() }), || {
        rig.put("1.hft", b"1");
        thread::sleep(Duration::from_millis(500));
    });
    assert_eq!((summary.counts.seen, summary.counts.delivered, summary.pending), (1, 0, 1));
}

#[test]
fn wrong_folders_are_refused_with_a_remedy() {
    let rig = Rig::new();
    let stop = AtomicBool::new(true);
    let refused = |from: PathBuf, to: PathBuf, journal: Option<PathBuf>| {
        let options = MirrorOptions { journal, ..MirrorOptions::new(from, to) };
        format!("{:#}", run(options, &stop).unwrap_err())
    };
    let text = refused(rig.root.path().join("nowhere"), rig.to(), None);
    assert!(text.contains("nowhere") && text.contains("mkdir -p") && text.contains("--from"), "{text}");
    fs::write(rig.root.path().join("file"), "").unwrap();
    let text = refused(rig.from(), rig.root.path().join("file"), None);
    assert!(text.contains("not a folder") && text.contains("--to"), "{text}");
    let text = refused(rig.from(), rig.root.path().to_path_buf(), None);
    assert!(text.contains("inside one another"), "{text}");
    let text = refused(rig.from(), rig.to(), Some(rig.to().join("journal")));
    assert!(text.contains("choose a place outside"), "{text}");
    let text = refused(rig.from(), rig.to(), Some(rig.root.path().join("no/journal")));
    assert!(text.contains("--journal"), "{text}");
}
