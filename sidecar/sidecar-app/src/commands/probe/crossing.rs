//! The way from the near to the far folder: what the mirror does with files, how long it takes, and what it does with deletions.
//!
//! First a few files until one arrives; then a train of them, which shows delay and period; then large files, subfolders and
//! temporary files; then deletions and appends. Invariants: a thing is believed when most of the files tried say so, as single
//! files may be lost or doubled; "does not happen" is said only after waiting several times as long as a file takes. Test to
//! read first: `tests/line/probe`, `the_profile_of_a_mirror_is_found_out`.

mod figures;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use disk::dir::{Dir, StdDir};

use super::findings::{Crossing, Findings, Large};
use super::ground::ms;
use super::parcel::Parcel;
use super::scratch::Scratch;
use super::session::{Interrupted, Session};
use figures::{delays, period};

/// A small packet.
const SMALL: u64 = 4_096;
/// Files sent at once until one arrives; then they follow at intervals that double, as single ones may get lost.
const FIRST: u32 = 3;
/// The first of those intervals.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
/// Files of the train: at least, and at most.
const TRAIN: (usize, usize) = (12, 60);
/// Files on which each of the deletions and appends is tried.
const TRIED: usize = 3;
/// Shortest and longest time between two files of the train.
const GAP: (Duration, Duration) = (Duration::from_millis(80), Duration::from_secs(1));
/// Shortest and longest time between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// The shortest patience with a file.
const PATIENCE: Duration = Duration::from_secs(3);

/// Measures the way to the far folder. `large` is the length of the large files.
pub(super) fn measure(
    session: &Session,
    scratch: &Scratch,
    near: &StdDir,
    large: u64,
    findings: &mut Findings,
) -> Result<(), Interrupted> {
    let Some(far) = scratch.far.clone() else { return Ok(()) };
    let mut way = Way { session, scratch, near, far: &far, parcels: Vec::new(), number: 0, look: LOOK.0, failed: None };
    let mut found = Crossing::default();
    let result = way.measure(large, &mut found, findings);
    if let Some(error) = way.failed {
        findings.troubles.insert("sending", error);
    }
    findings.mirror = Some(found);
    result
}

struct Way<'a> {
    session: &'a Session,
    scratch: &'a Scratch,
    near: &'a StdDir,
    far: &'a Path,
    parcels: Vec<Parcel>,
    number: u64,
    look: Duration,
    failed: Option<String>,
}

impl Way<'_> {
    fn measure(&mut self, large: u64, found: &mut Crossing, findings: &mut Findings) -> Result<(), Interrupted> {
        self.first(found)?;
        if found.whole == 0 {
            return Ok(());
        }
        self.train(found)?;
        self.special(large, found)?;
        self.changes(found, findings)
    }

    /// Sends a file; its place among the parcels.
    fn send(&mut self, path: String, bytes: u64) -> Option<usize> {
        self.number += 1;
        match Parcel::send(self.near, path, self.number, bytes) {
            Ok(parcel) => {
                self.parcels.push(parcel);
                Some(self.parcels.len() - 1)
            }
            Err(error) => {
                self.failed = Some(error.to_string());
                None
            }
        }
    }

    fn send_small(&mut self, label: &str) -> Option<usize> {
        let name = self.scratch.name(&format!("{label}{:03}", self.number));
        self.send(name, SMALL)
    }

    /// Looks once at everything, then waits a little.
    fn look(&mut self) -> Result<(), Interrupted> {
        let began = Instant::now();
        let names: Vec<String> = fs::read_dir(self.far)
            .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
            .unwrap_or_default();
        for parcel in &mut self.parcels {
            parcel.look(&self.scratch.near, self.far, &names);
        }
        // On a share that is slow to look at, looking must not be most of its work.
        self.look = (began.elapsed() * 3).clamp(LOOK.0, LOOK.1);
        self.session.wait(self.look)
    }

    fn look_for(&mut self, time: Duration) -> Result<(), Interrupted> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.look()?;
        }
        Ok(())
    }

    fn first(&mut self, found: &mut Crossing) -> Result<(), Interrupted> {
        self.session.step("waiting for a first file to arrive in the far folder")?;
        let patience = self.session.left().mul_f64(0.6);
        let began = Instant::now();
        while self.parcels.iter().all(|parcel| parcel.whole.is_none()) && began.elapsed() < patience {
            if began.elapsed() >= first_due(self.parcels.len()) {
                self.send_small("a");
            }
            self.look()?;
        }
        self.count(found);
        Ok(())
    }

    /// How long a file may take before it counts as lost.
    fn patience(&self) -> Duration {
        let longest = self.parcels.iter().filter_map(|parcel| parcel.whole).max().unwrap_or_default();
        (longest * 4).max(PATIENCE).min(self.session.left() / 2)
    }

    fn train(&mut self, found: &mut Crossing) -> Result<(), Interrupted> {
        self.session.step("sending a train of files to see delay and period")?;
        let first = self.parcels.iter().filter_map(|parcel| parcel.whole).min().unwrap_or_default();
        let gap = (first / 4).clamp(GAP.0, GAP.1);
        let (began, budget) = (Instant::now(), self.session.left() / 3);
        for sent in 0..TRAIN.1 {
            let rounds = figures::rounds(&self.parcels, gap).len();
            if began.elapsed() >= budget || sent >= TRAIN.0 && rounds >= 4 {
                break;
            }
            self.send_small("t");
            self.look_for(gap)?;
        }
        self.session.step("waiting for the rest of the train")?;
        self.settle()?;
        self.count(found);
        (found.delay_ms_min, found.delay_ms_median, found.delay_ms_max) = delays(&self.parcels);
        found.period_ms = period(&self.parcels, gap).map(ms);
        found.far_list_lag_ms = figures::list_lag(&self.parcels);
        Ok(())
    }

    /// Waits until everything is whole, or nothing has changed for as long as patience goes.
    fn settle(&mut self) -> Result<(), Interrupted> {
        let (patience, began) = (self.patience(), Instant::now());
        let budget = self.session.left() * 3 / 4;
        loop {
            self.look()?;
            let is_due =
                |parcel: &Parcel| parcel.whole.is_none() && parcel.sent.elapsed() < parcel.last_change() + patience;
            if !self.parcels.iter().any(is_due) || began.elapsed() >= budget {
                return Ok(());
            }
        }
    }

    fn count(&self, found: &mut Crossing) {
        let count = |is: fn(&&Parcel) -> bool| self.parcels.iter().filter(is).count() as u64;
        found.sent = self.parcels.len() as u64;
        found.whole = count(|parcel| parcel.whole.is_some());
        found.lost = count(|parcel| !parcel.has_arrived());
        found.cut = count(|parcel| parcel.has_arrived() && parcel.whole.is_none() && parcel.length < parcel.bytes);
        found.damaged = found.sent - found.whole - found.lost - found.cut;
        found.renamed = count(|parcel| parcel.renamed.is_some());
        found.duplicated = count(|parcel| parcel.duplicated);
        found.grew = count(|parcel| parcel.grew);
        found.filled_late = count(|parcel| parcel.filled_late && parcel.whole.is_some());
        let pauses = self.parcels.iter().filter(|parcel| parcel.grew || parcel.filled_late).map(|parcel| parcel.pause);
        found.growth_pause_ms = pauses.max().map(ms);
    }

    fn special(&mut self, large: u64, found: &mut Crossing) -> Result<(), Interrupted> {
        self.session.step("sending large files, temporary files and files in subfolders")?;
        let before = self.parcels.len();
        let mark = self.scratch.mark().to_owned();
        let in_folders: Vec<usize> =
            (0..TRIED).filter_map(|n| self.send(format!("{mark}-d/one/two/three/{n}.hft"), SMALL)).collect();
        let temporary: Vec<String> = (0..TRIED).map(|n| format!(".{mark}-p{n}.hft.part")).collect();
        for name in &temporary {
            if let Err(error) = fs::write(self.scratch.near.join(name), name) {
                self.failed = Some(error.to_string());
            }
        }
        let lengths = if large > 0 { vec![large; 2] } else { Vec::new() };
        let large: Vec<usize> =
            (0..).zip(lengths).filter_map(|(n, bytes)| self.send(self.scratch.name(&format!("l{n}")), bytes)).collect();
        self.settle()?;
        self.count(found);
        let parcel = |place: &usize| self.parcels.get(*place);
        let arrived = in_folders.iter().filter_map(parcel).any(Parcel::has_arrived);
        found.subfolders = (!in_folders.is_empty()).then_some(arrived);
        found.temporary_carried = Some(temporary.iter().any(|name| self.far.join(name).exists()));
        found.large = large
            .iter()
            .filter_map(parcel)
            .map(|parcel| Large {
                bytes: parcel.bytes,
                arrived_bytes: parcel.opened.map(|_| parcel.length),
                whole: parcel.whole.is_some(),
                delay_ms: parcel.whole.map(ms),
            })
            .collect();
        for name in &temporary {
            let _ = fs::remove_file(self.scratch.near.join(name));
        }
        let of_train = self.parcels.iter().take(before).filter(|parcel| parcel.has_arrived());
        let (gone, arrived) =
            of_train.fold((0, 0), |(gone, all), parcel| (gone + usize::from(parcel.near_gone.is_some()), all + 1));
        found.moved = Some(gone * 2 > arrived);
        Ok(())
    }

    /// Deletes and appends, and watches what becomes of it.
    fn changes(&mut self, found: &mut Crossing, findings: &mut Findings) -> Result<(), Interrupted> {
        self.session.step("removing files on each side, and appending to some")?;
        let moved = found.moved == Some(true);
        let small = |parcel: &&Parcel| {
            let usable =
                parcel.whole.is_some() && parcel.renamed.is_none() && !parcel.duplicated && parcel.bytes == SMALL;
            usable && !parcel.path.contains('/') && (moved || parcel.near_gone.is_none())
        };
        let mut paths =
            self.parcels.iter().filter(small).map(|parcel| parcel.path.clone()).collect::<Vec<_>>().into_iter();
        let removed_far: Vec<String> = paths.by_ref().take(TRIED).collect();
        let removed_far: Vec<String> = removed_far
            .into_iter()
            .filter(|path| match fs::remove_file(self.far.join(path)) {
                Ok(()) => true,
                Err(error) => {
                    findings.troubles.insert("removing in the far folder", error.to_string());
                    false
                }
            })
            .collect();
        // What the mirror took away can be neither removed nor grow.
        let (mut removed_near, mut appended) = (Vec::new(), Vec::new());
        if !moved {
            removed_near.extend(paths.by_ref().take(TRIED).filter(|path| self.near.remove_file(path).is_ok()));
            appended.extend(paths.take(TRIED).filter(|path| append(&self.scratch.near.join(path)).is_ok()));
        }
        for parcel in self.parcels.iter_mut().filter(|parcel| removed_near.contains(&parcel.path)) {
            parcel.removed = true;
        }
        let (near, far) = (self.scratch.near.clone(), self.far.to_owned());
        let mut undone = Votes::new(removed_far.iter().map(|path| far.join(path)));
        let mut carried_back = Votes::new(removed_far.iter().filter(|_| !moved).map(|path| near.join(path)));
        let mut carried = Votes::new(removed_near.iter().map(|path| far.join(path)));
        let mut grown = Votes::new(appended.iter().map(|path| far.join(path)));
        let (patience, began) = (self.patience(), Instant::now());
        while began.elapsed() < patience {
            undone.ask(|path| path.exists());
            carried_back.ask(|path| !path.exists());
            carried.ask(|path| !path.exists());
            grown.ask(|path| fs::metadata(path).is_ok_and(|found| found.len() == 2 * SMALL));
            if [&undone, &carried_back, &carried, &grown].iter().all(|votes| votes.is_unanimous()) {
                break;
            }
            self.look()?;
        }
        found.far_delete_undone = undone.answer();
        found.far_delete_carried = carried_back.answer();
        found.delete_carried = carried.answer();
        found.append_carried = grown.answer();
        Ok(())
    }
}

/// When the next of the first files is sent, if so many were before.
fn first_due(sent: usize) -> Duration {
    let sent = u32::try_from(sent).unwrap_or(u32::MAX);
    match sent.checked_sub(FIRST) {
        None => GAP.0 * sent,
        Some(more) => FIRST_AGAIN * 2_u32.saturating_pow(more),
    }
}

fn append(path: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(&[b'+'; SMALL as usize])?;
    file.flush()
}

/// A question to several files: yes if most of them ever said so.
struct Votes(Vec<(std::path::PathBuf, bool)>);

impl Votes {
    fn new(paths: impl Iterator<Item = std::path::PathBuf>) -> Self {
        Self(paths.map(|path| (path, false)).collect())
    }

    fn ask(&mut self, is_so: impl Fn(&Path) -> bool) {
        for (path, said) in &mut self.0 {
            *said = *said || is_so(path);
        }
    }

    fn is_unanimous(&self) -> bool {
        self.0.iter().all(|(_, said)| *said)
    }

    fn answer(&self) -> Option<bool> {
        let yes = self.0.iter().filter(|(_, said)| *said).count();
        (!self.0.is_empty()).then_some(yes * 2 > self.0.len())
    }
}
