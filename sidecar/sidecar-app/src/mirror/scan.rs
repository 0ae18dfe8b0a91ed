//! What appeared in the watched folder and what is gone from it, found by polling.
//!
//! Invariants: each file is reported once as new until it is gone (or released) and found again;
//! new files of one folder come in the order of their names. Only folders whose modification time
//! moved are listed, and all of them every [`FULL_LOOK`], because some file systems lie about it.
//! Single files are looked at only while they settle. Memory grows with the number of files in the
//! source and shrinks with it. It changes nothing on disk. Read first: the tests at the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::fate::hash;

/// How often every folder is listed, whatever its modification time says.
const FULL_LOOK: Duration = Duration::from_secs(2);

/// A folder that changed so shortly before it was listed may change again within the same tick of
/// the file system's clock.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// Of how many gone paths the occurrence is remembered.
const GONE_MAX: usize = 16_384;

/// The beginning of the names the mirror gives its own temporary files.
pub(super) const OWN_TEMPORARY: &str = ".mirror-";

/// One thing that happened in the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A file to take, and how often its path was seen before.
    New(Arc<Path>, u32),
    /// A file that was taken is gone.
    Gone(Arc<Path>, u32),
}

/// The memory of what was seen.
pub(super) struct Scanner {
    root: PathBuf,
    pick_up_temporary: bool,
    settle: Duration,
    folders: BTreeMap<PathBuf, Folder>,
    gone: GoneOccurrences,
    full_look_at: Option<Instant>,
}

#[derive(Default)]
struct Folder {
    files: BTreeMap<OsString, Sighting>,
    listed: Option<Listed>,
    /// Something in it still waits, so it must be listed again.
    restless: bool,
}

#[derive(Clone, Copy)]
struct Listed {
    at: SystemTime,
    modified: SystemTime,
}

enum Sighting {
    Settling { len: u64, modified: Option<SystemTime>, since: Instant },
    Taken { occurrence: u32 },
}

impl Scanner {
    pub(super) fn new(root: &Path, pick_up_temporary: bool, settle: Duration) -> Self {
        Self {
            root: root.to_path_buf(),
            pick_up_temporary,
            settle,
            folders: BTreeMap::from([(PathBuf::new(), Folder::default())]),
            gone: GoneOccurrences::default(),
            full_look_at: None,
        }
    }

    /// Looks once. Takes at most `room` new files; the others are found again the next time.
    pub(super) fn look(&mut self, now: Instant, mut room: usize) -> io::Result<Vec<Event>> {
        let full = self.full_look_at.is_none_or(|at| now.duration_since(at) >= FULL_LOOK);
        if full {
            self.full_look_at = Some(now);
        }
        let mut events = Vec::new();
        let mut ahead: BTreeSet<PathBuf> = self.folders.keys().cloned().collect();
        while let Some(relative) = ahead.pop_first() {
            let mut folder = self.folders.remove(&relative).unwrap_or_default();
            match self.look_into(&relative, &mut folder, now, full, &mut room, &mut events) {
                Ok(subfolders) => {
                    ahead.extend(subfolders.into_iter().filter(|sub| !self.folders.contains_key(sub)));
                    self.folders.insert(relative, folder);
                }
                Err(error) if relative.as_os_str().is_empty() => {
                    self.folders.insert(relative, folder);
                    return Err(error);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    for (name, sighting) in folder.files {
                        self.forget(&relative, &name, &sighting, &mut events);
                    }
                }
                Err(error) => {
                    tracing::debug!(folder = %relative.display(), %error, "a folder cannot be listed; it is tried again");
                    self.folders.insert(relative, folder);
                }
            }
        }
        Ok(events)
    }

    /// The mirror itself removed this source, so the name may be used anew at once.
    pub(super) fn release(&mut self, path: &Path, occurrence: u32) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(folder) = self.folders.get_mut(parent) else { return };
        if matches!(folder.files.get(name), Some(Sighting::Taken { occurrence: taken }) if *taken == occurrence) {
            folder.files.remove(name);
            folder.restless = true;
            self.gone.insert(path, occurrence);
        }
    }

    fn look_into(
        &mut self,
        relative: &Path,
        folder: &mut Folder,
        now: Instant,
        full: bool,
        room: &mut usize,
        events: &mut Vec<Event>,
    ) -> io::Result<Vec<PathBuf>> {
        let path = self.root.join(relative);
        let modified = fs::metadata(&path)?.modified().ok();
        if !full && !folder.restless && folder.is_as_listed(modified) {
            return Ok(Vec::new());
        }
        let at = SystemTime::now();
        let (files, subfolders) = self.list(&path)?;
        let gone: Vec<OsString> = folder.files.keys().filter(|name| !files.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(sighting) = folder.files.remove(&name) {
                self.forget(relative, &name, &sighting, events);
            }
        }
        folder.restless = false;
        for name in files {
            if matches!(folder.files.get(&name), Some(Sighting::Taken { .. })) {
                continue;
            }
            if *room == 0 || !self.has_settled(&path, &name, folder, now) {
                folder.restless = true;
                continue;
            }
            *room -= 1;
            let file: Arc<Path> = Arc::from(relative.join(&name));
            let occurrence = self.gone.remove(&file);
            folder.files.insert(name, Sighting::Taken { occurrence });
            events.push(Event::New(file, occurrence));
        }
        folder.listed = modified.map(|modified| Listed { at, modified });
        Ok(subfolders.into_iter().map(|name| relative.join(name)).collect())
    }

    /// Names of the files and subfolders that are to be mirrored.
    fn list(&self, path: &Path) -> io::Result<(BTreeSet<OsString>, Vec<OsString>)> {
        let mut files = BTreeSet::new();
        let mut subfolders = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            if self.ignores(&name) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => subfolders.push(name),
                Ok(kind) if kind.is_file() => drop(files.insert(name)),
                // Symbolic links, sockets and the like; or an entry that is gone already.
                Ok(_) | Err(_) => {}
            }
        }
        Ok((files, subfolders))
    }

    fn ignores(&self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        name.starts_with(OWN_TEMPORARY.as_bytes())
            || (!self.pick_up_temporary && (name.starts_with(b".") || name.ends_with(b".part")))
    }

    /// Whether the file kept its length and time for long enough.
    fn has_settled(&self, path: &Path, name: &OsStr, folder: &mut Folder, now: Instant) -> bool {
        if self.settle.is_zero() {
            return true;
        }
        let Ok(found) = fs::symlink_metadata(path.join(name)) else { return false };
        let (len, modified) = (found.len(), found.modified().ok());
        if let Some(Sighting::Settling { len: was, modified: then, since }) = folder.files.get(name)
            && (*was, *then) == (len, modified)
        {
            return now.duration_since(*since) >= self.settle;
        }
        folder.files.insert(name.to_owned(), Sighting::Settling { len, modified, since: now });
        false
    }

    fn forget(&mut self, relative: &Path, name: &OsStr, sighting: &Sighting, events: &mut Vec<Event>) {
        if let Sighting::Taken { occurrence } = sighting {
            let file: Arc<Path> = Arc::from(relative.join(name));
            self.gone.insert(&file, *occurrence);
            events.push(Event::Gone(file, *occurrence));
        }
    }
}

impl Folder {
    fn is_as_listed(&self, modified: Option<SystemTime>) -> bool {
        match (self.listed, modified) {
            (Some(listed), Some(modified)) => {
                listed.modified == modified && listed.at.duration_since(modified).is_ok_and(|age| age >= CLOCK_TICK)
            }
            (None, _) | (_, None) => false,
        }
    }
}

/// How often recently gone paths were seen; the oldest are forgotten.
#[derive(Default)]
struct GoneOccurrences {
    next: BTreeMap<u64, (u32, u64)>,
    order: VecDeque<(u64, u64)>,
    stamp: u64,
}

impl GoneOccurrences {
    fn insert(&mut self, path: &Path, occurrence: u32) {
        let key = hash(path.as_os_str().as_encoded_bytes());
        self.stamp += 1;
        self.next.insert(key, (occurrence.wrapping_add(1), self.stamp));
        self.order.push_back((key, self.stamp));
        while self.order.len() > GONE_MAX {
            if let Some((key, stamp)) = self.order.pop_front()
                && self.next.get(&key).is_some_and(|(_, newest)| *newest == stamp)
            {
                self.next.remove(&key);
            }
        }
    }

    /// The occurrence a file found under this path has.
    fn remove(&mut self, path: &Path) -> u32 {
        self.next.remove(&hash(path.as_os_str().as_encoded_bytes())).map_or(0, |(occurrence, _)| occurrence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(events: &[Event]) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::New(path, occurrence) => format!("+{}#{occurrence}", path.display()),
            Event::Gone(path, occurrence) => format!("-{}#{occurrence}", path.display()),
        };
        events.iter().map(name).collect()
    }

    fn look(scanner: &mut Scanner, room: usize) -> Vec<String> {
        names(&scanner.look(Instant::now(), room).unwrap())
    }

    #[test]
    fn files_of_all_folders_are_reported_once_and_again_when_they_come_back() {
        let root = tempfile::tempdir().unwrap();
        let mut scanner = Scanner::new(root.path(), false, Duration::ZERO);
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for name in ["2", "1", "a/b/3", ".hidden", "x.part"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        assert_eq!(look(&mut scanner, 9), ["+1#0", "+2#0", "+a/b/3#0"]);
        assert!(look(&mut scanner, 9).is_empty());
        fs::remove_file(root.path().join("1")).unwrap();
        assert_eq!(look(&mut scanner, 9), ["-1#0"]);
        fs::write(root.path().join("1"), "again").unwrap();
        assert_eq!(look(&mut scanner, 9), ["+1#1"]);
        fs::remove_dir_all(root.path().join("a")).unwrap();
        assert_eq!(look(&mut scanner, 9), ["-a/b/3#0"]);
    }

    #[test]
    fn a_folder_that_rests_is_not_listed_but_a_change_is_still_seen() {
        let root = tempfile::tempdir().unwrap();
        let mut scanner = Scanner::new(root.path(), false, Duration::ZERO);
        fs::write(root.path().join("1"), "").unwrap();
        std::thread::sleep(CLOCK_TICK * 2);
        assert_eq!(look(&mut scanner, 9), ["+1#0"]);
        let modified = fs::metadata(root.path()).unwrap().modified().ok();
        assert!(scanner.folders[Path::new("")].is_as_listed(modified));
        fs::write(root.path().join("2"), "").unwrap();
        assert_eq!(look(&mut scanner, 9), ["+2#0"]);
    }

    #[test]
    fn without_room_the_rest_is_taken_later() {
        let root = tempfile::tempdir().unwrap();
        let mut scanner = Scanner::new(root.path(), false, Duration::ZERO);
        for name in ["1", "2", "3"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(look(&mut scanner, 2), ["+1#0", "+2#0"]);
        assert!(look(&mut scanner, 0).is_empty());
        assert_eq!(look(&mut scanner, 2), ["+3#0"]);
    }

    #[test]
    fn a_file_that_grows_is_not_taken_until_it_settles() {
        let root = tempfile::tempdir().unwrap();
        let mut scanner = Scanner::new(root.path(), true, Duration::from_secs(1));
        let start = Instant::now();
        let mut at = |seconds| names(&scanner.look(start + Duration::from_secs(seconds), 9).unwrap());
        fs::write(root.path().join("x.part"), "1").unwrap();
        assert!(at(0).is_empty());
        fs::write(root.path().join("x.part"), "12").unwrap();
        assert!(at(2).is_empty());
        assert_eq!(at(3), ["+x.part#0"]);
    }

    #[test]
    fn a_released_name_is_new_at_once() {
        let root = tempfile::tempdir().unwrap();
        let mut scanner = Scanner::new(root.path(), false, Duration::ZERO);
        fs::write(root.path().join("1"), "").unwrap();
        assert_eq!(look(&mut scanner, 9), ["+1#0"]);
        scanner.release(Path::new("1"), 7);
        assert!(look(&mut scanner, 9).is_empty());
        scanner.release(Path::new("1"), 0);
        assert_eq!(look(&mut scanner, 9), ["+1#1"]);
    }

    #[test]
    fn memory_of_gone_paths_is_bounded() {
        let mut gone = GoneOccurrences::default();
        for n in 0..GONE_MAX + 10 {
            gone.insert(Path::new(&n.to_string()), 4);
        }
        assert_eq!((gone.next.len(), gone.order.len()), (GONE_MAX, GONE_MAX));
        assert_eq!(gone.remove(Path::new("0")), 0);
        assert_eq!(gone.remove(Path::new("20")), 5);
    }

    #[test]
    fn a_missing_root_is_an_error_and_no_deletion() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("in");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("1"), "").unwrap();
        let mut scanner = Scanner::new(&inside, false, Duration::ZERO);
        assert_eq!(look(&mut scanner, 9), ["+1#0"]);
        fs::rename(&inside, root.path().join("away")).unwrap();
        assert!(scanner.look(Instant::now(), 9).is_err());
        fs::rename(root.path().join("away"), &inside).unwrap();
        assert!(look(&mut scanner, 9).is_empty());
    }
}
