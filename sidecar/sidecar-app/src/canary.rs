//! The canary: writes, reads back and removes a small hidden file in the mirrored folders, at the start and every half minute, and
//! says what is wrong with them and what helps.
//!
//! Each folder has a thread of its own, because a call of a dead share may never come back: who looks sees since when. Nothing
//! is stopped by what it finds; the outbox is only told when its folder is well again, so that it need not wait out its rest.
//! Invariants: mirrors and readers leave its file alone by its name (`.hoft-check-….part`); what a killed engine left of it is
//! removed by the next one. Test to read first: `every_refusal_has_its_condition_and_remedy`; `tests/line/shares`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use disk::dir::{CHECK_BEGIN, Dir, DirError, EntryKind, StdDir};
use sidecar_config::Profile;

use crate::driver::{Event, unix_ms};
use crate::habits::Habits;
use crate::pipe::OutboxEvent;
use crate::status::{FolderCondition, FolderView};

/// Between two looks at a folder that is well.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two looks at a folder that is not.
const PERIOD_BAD: Duration = Duration::from_secs(2);
/// A look that takes longer is not expected to come back.
const HANGS_AFTER: Duration = Duration::from_secs(15);
/// Names that are listed in one look, to find what a killed engine left.
const NAMES_MAX: usize = 4_096;

/// One mirrored folder, as its canary sees it.
#[derive(Debug)]
pub struct Folder {
    name: &'static str,
    root: PathBuf,
    /// Files may be written into it: a receiver that never deletes may have a folder to read only.
    writes: bool,
    /// It was the top of a mount when the engine started.
    was_mount: bool,
    /// What becomes of packets in it.
    habits: Option<Habits>,
    seen: Mutex<Seen>,
    call: Mutex<Option<Call>>,
    called: Condvar,
}

/// What a canary that waits is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Look,
    End,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the look began that has not ended.
    looking: Option<Instant>,
    last: Option<Look>,
    since_ms: u64,
    good: u64,
    bad: u64,
}

#[derive(Clone, Debug)]
struct Look {
    condition: FolderCondition,
    detail: String,
    took: Duration,
    at: Instant,
}

impl Folder {
    /// The folder of this name (`outbox`, `inbox`).
    #[must_use]
    pub fn new(name: &'static str, root: &Path, writes: bool) -> Self {
        Self::at(name, root, writes, is_mount(root))
    }

    /// The same without a look at it, which may never come back.
    #[must_use]
    pub fn at(name: &'static str, root: &Path, writes: bool, was_mount: bool) -> Self {
        let (seen, call, called) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { name, root: root.to_owned(), writes, was_mount, habits: None, seen, call, called }
    }

    /// The same folder, where packets lie that a mirror of this profile carries.
    #[must_use]
    pub fn carried(self, profile: Profile) -> Self {
        Self { habits: Some(Habits::new(profile)), ..self }
    }

    /// A packet in it is not needed any more: it was removed, or was not there. While the folder itself is away that says nothing.
    pub fn packet_removed(&self, stayed: bool) {
        if let Some(habits) = self.habits.as_ref().filter(|_| stayed || self.root.exists()) {
            habits.removed(stayed);
        }
    }

    /// Is it still the top of a mount, if it was one at the start?
    ///
    /// # Errors
    /// `NotFound` if its volume is gone and only the mount point is left.
    pub fn is_mounted(&self) -> io::Result<()> {
        if self.was_mount && self.root.exists() && !is_mount(&self.root) {
            let text = format!("its volume is not mounted any more: {} is an empty mount point", self.root.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(())
    }

    /// Something failed in it: the canary is to look now, not at its next turn.
    pub fn suspect(&self) {
        self.wake(Call::Look);
    }

    fn wake(&self, call: Call) {
        let mut waiting = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        if *waiting != Some(Call::End) {
            *waiting = Some(call);
        }
        self.called.notify_all();
    }

    /// Waits for a call, or for so long.
    fn wait(&self, time: Duration) -> Option<Call> {
        let waiting = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.called.wait_timeout_while(waiting, time, |call| call.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Looks once, and says whether the folder came well by that.
    pub fn look(&self) -> bool {
        let began = Instant::now();
        self.seen().looking = Some(began);
        let (condition, detail) = self.try_it();
        let mut seen = self.seen();
        seen.looking = None;
        let before = seen.last.as_ref().map(|look| look.condition);
        let look = Look { condition, detail, took: began.elapsed(), at: Instant::now() };
        if before != Some(condition) {
            seen.since_ms = unix_ms();
            self.say(before, &look);
        }
        seen.last = Some(look);
        let is_good = condition == FolderCondition::Good;
        if is_good {
            seen.good += 1
        } else {
            seen.bad += 1
        }
        is_good && before.is_some_and(|before| before != FolderCondition::Good)
    }

    fn say(&self, before: Option<FolderCondition>, look: &Look) {
        let folder = self.root.display();
        match (before, look.condition) {
            (None, FolderCondition::Good) => {}
            (_, FolderCondition::Good) => tracing::info!(%folder, "the {} is well again", self.name),
            (_, condition) => tracing::warn!(
                %folder, condition = condition.name(), detail = look.detail, remedy = condition.remedy(),
                "the {} cannot be used; it is tried again", self.name
            ),
        }
    }

    fn try_it(&self) -> (FolderCondition, String) {
        if let Err(error) = self.is_mounted() {
            return (FolderCondition::Unmounted, error.to_string());
        }
        let tried = StdDir::open(&self.root).and_then(|dir| {
            if self.writes {
                dir.check_writable()?;
            }
            Ok(dir)
        });
        match tried {
            Ok(_) => (FolderCondition::Good, String::new()),
            Err(error) => (condition(&error), error.to_string()),
        }
    }

    /// Removes what engines left that were killed in a look: files of its kind that were there at the last look too.
    fn sweep(&self, before: &mut BTreeSet<String>) {
        let Ok(dir) = StdDir::open(&self.root) else { return };
        let Ok(entries) = dir.list_limited("", NAMES_MAX) else { return };
        let left = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
        let left: BTreeSet<String> = left
            .map(|entry| entry.name)
            .filter(|name| name.starts_with(CHECK_BEGIN) && name.ends_with(".part"))
            .collect();
        for name in left.intersection(before) {
            if dir.remove_file(name).is_ok() {
                tracing::debug!(name, "what a killed engine left was removed");
            }
        }
        *before = left;
    }

    /// What is known of it.
    #[must_use]
    pub fn view(&self) -> FolderView {
        let seen = self.seen();
        let hangs = seen.looking.map(|began| began.elapsed()).filter(|time| *time > HANGS_AFTER);
        let (condition, detail) = match (&hangs, &seen.last) {
            (Some(time), _) => (FolderCondition::Hanging, format!("it has not answered for {} s", time.as_secs())),
            (None, Some(look)) => (look.condition, look.detail.clone()),
            (None, None) => (FolderCondition::Unchecked, String::new()),
        };
        FolderView {
            folder: self.name,
            condition,
            detail,
            remedy: condition.remedy(),
            since_ms: seen.since_ms,
            checked_ms_ago: seen.last.as_ref().map(|look| millis(look.at.elapsed())),
            took_ms: seen.last.as_ref().map(|look| millis_and_micros(look.took)),
            checks_good: seen.good,
            checks_bad: seen.bad,
            profile_advice: self.habits.as_ref().and_then(Habits::advice),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds with three decimals, and no digits that were never measured.
fn millis_and_micros(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Is it the top of a mount? False where that cannot be told.
pub(crate) fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
    matches!((device(path), device(&path.join(".."))), (Some(own), Some(above)) if own != above)
}

/// What a refusal means.
fn condition(error: &DirError) -> FolderCondition {
    let source = match error {
        DirError::Missing { .. } | DirError::NotADirectory { .. } => return FolderCondition::Gone,
        DirError::TempElsewhere { .. } => return FolderCondition::Failing,
        DirError::Unreadable { source, .. } | DirError::NotWritable { source, .. } => source,
    };
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FolderCondition::Gone,
        io::ErrorKind::StaleNetworkFileHandle => FolderCondition::Stale,
        io::ErrorKind::ReadOnlyFilesystem => FolderCondition::ReadOnly,
        io::ErrorKind::PermissionDenied => FolderCondition::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FolderCondition::Full,
        _ => FolderCondition::Failing,
    }
}

/// The canaries of an engine. Dropping it ends them; one that hangs is left behind.
#[derive(Debug)]
pub struct Canary {
    folders: Vec<Arc<Folder>>,
}

impl Canary {
    /// Starts a thread for each folder. When the outbox is well again, `events` hears that its rest is over.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(folders: &[Arc<Folder>], events: &Sender<Event>) -> io::Result<Self> {
        for folder in folders {
            let (folder, events) = (Arc::clone(folder), events.clone());
            thread::Builder::new().name("canary".to_owned()).spawn(move || watch(&folder, &events))?;
        }
        Ok(Self { folders: folders.to_vec() })
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        for folder in &self.folders {
            folder.wake(Call::End);
        }
    }
}

fn watch(folder: &Folder, events: &Sender<Event>) {
    let mut left = BTreeSet::new();
    loop {
        let recovered = folder.look();
        let over = || Event::Outbox(OutboxEvent::Rest(Duration::ZERO));
        if recovered && folder.name == "outbox" && events.send(over()).is_err() {
            return;
        }
        let is_good = folder.view().condition == FolderCondition::Good;
        if is_good && folder.writes {
            folder.sweep(&mut left);
        }
        if folder.wait(if is_good { PERIOD } else { PERIOD_BAD }) == Some(Call::End) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Real folders, as far as they need no mount; the others are in `tests/line/shares`.
    use super::*;

    #[test]
    fn every_refusal_has_its_condition_and_remedy() {
        let refused =
            |errno: i32| DirError::NotWritable { path: "/x".into(), source: io::Error::from_raw_os_error(errno) };
        for (errno, expected) in [
            (2, FolderCondition::Gone),
            (5, FolderCondition::Failing),
            (13, FolderCondition::Denied),
            (28, FolderCondition::Full),
            (30, FolderCondition::ReadOnly),
            (116, FolderCondition::Stale),
            (122, FolderCondition::Full),
        ] {
            assert_eq!(condition(&refused(errno)), expected, "{errno}");
            assert!(!expected.remedy().is_empty());
        }
    }

    #[test]
    fn a_folder_that_goes_and_comes_back_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("out");
        std::fs::create_dir(&root).unwrap();
        let folder = Folder::new("outbox", &root, true);
        assert_eq!(folder.view().condition, FolderCondition::Unchecked);
        assert!(!folder.look());
        assert_eq!(folder.view().condition, FolderCondition::Good);
        std::fs::rename(&root, place.path().join("away")).unwrap();
        assert!(!folder.look());
        let view = folder.view();
        assert!(view.condition == FolderCondition::Gone && view.detail.contains("does not exist"), "{view:?}");
        std::fs::rename(place.path().join("away"), &root).unwrap();
        assert!(folder.look(), "it came well by this look");
        assert!(!folder.look());
        let view = folder.view();
        assert_eq!((view.checks_good, view.checks_bad, view.remedy), (3, 1, ""));
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn a_canary_looks_at_once_when_something_failed_and_ends_when_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::new("outbox", place.path(), true));
        let (events, _heard) = std::sync::mpsc::channel();
        let canary = Canary::start(&[Arc::clone(&folder)], &events).unwrap();
        for looks in [1, 2] {
            while folder.view().checks_good < looks {
                thread::sleep(Duration::from_millis(1));
            }
            folder.suspect();
        }
        drop(canary);
        // Its thread held the other one.
        while Arc::strong_count(&folder) > 1 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_look_that_does_not_come_back_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new("inbox", place.path(), false);
        folder.look();
        folder.seen().looking = Instant::now().checked_sub(HANGS_AFTER * 2);
        let view = folder.view();
        assert!(view.condition == FolderCondition::Hanging && view.detail.contains("not answered"), "{view:?}");
    }

    #[test]
    fn what_a_killed_engine_left_is_removed_at_the_second_sight() {
        let place = tempfile::tempdir().unwrap();
        let (left, mut seen) = (place.path().join(".hoft-check-1-0.part"), BTreeSet::new());
        for path in [&left, &place.path().join("packet.hft")] {
            std::fs::write(path, "x").unwrap();
        }
        let folder = Folder::new("outbox", place.path(), true);
        folder.sweep(&mut seen);
        assert!(left.exists(), "another engine may be looking right now");
        folder.sweep(&mut seen);
        assert!(!left.exists() && place.path().join("packet.hft").exists());
    }
}
