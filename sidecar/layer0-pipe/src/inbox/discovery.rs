//! Finding files: listing the folders addressed to me, and guessing the names that come next.
//!
//! Invariants: names of files and folders only tell where to look. Only folders of my own addresses are entered, to
//! a fixed depth; files directly in the root (flat layout) are taken as they are. Folders of senders that once
//! were verified come first, others take turns within a budget; quiet folders are listed seldom, the newest always.
//! A name that vanishes from a listing is believed gone only for files nothing is outstanding of. While more is due than one
//! scan can do, folders are listed only as often as the work keeps up with the names, so reading many files in costs as their number.
//! What this file does not do: open files, except to try a predicted name. Specification: protocol §6, wire format §13.
//! Read first: `a_name_that_lies_still_works`.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use disk::dir::{DirEntry, EntryKind};
use wire::name::{considered, parse_file_name};
use wire::{EndpointId, Reject};

use super::Inbox;
use super::arrival::FileId;
use super::tracked::{Folder, State, Tracked};
use crate::limits::{
    COLD_FOLDER_PERIOD, EMPTY_FOLDER_AGE, FOLDER_DEPTH, FOLDER_NAMES_MAX, HOT_CHILDREN, NAMES_PER_FILE,
    TRACKED_FILES_MAX,
};

/// Characters of a file name of the flat layout.
const FLAT_NAME_LEN: usize = 56;

/// How long a folder in which something came up is listed in every scan.
const WARM: Duration = Duration::from_secs(60);

impl Inbox {
    /// Lists what is due to be listed.
    pub(crate) fn discover(&mut self, now: Duration) -> io::Result<()> {
        let files = self.options.files_per_scan as usize;
        if self.discovery.debt > 0 && self.files.are_more_due(now, files) {
            self.discovery.debt = self.discovery.debt.saturating_sub(files.saturating_mul(NAMES_PER_FILE));
            return Ok(());
        }
        self.discovery.debt = 0;
        let entries = match self.dir.list_limited("", FOLDER_NAMES_MAX) {
            Ok(entries) => entries,
            Err(error) => {
                self.counters.io_errors += 1;
                return Err(error);
            }
        };
        self.discovery.debt += entries.len();
        self.note_files("", &entries, now);
        let mine: BTreeSet<String> = self
            .locals
            .iter()
            .flat_map(|local| [local.endpoint.to_hex32(), local.side.as_address().to_hex32()])
            .collect();
        let mut budget = self.options.folders_per_scan.max(4);
        for name in folder_names(&entries) {
            if mine.contains(&name.to_ascii_lowercase()) && !self.walk_recipient(name, now, &mut budget) {
                self.progress += 1; // the rest is for the next scan
                break;
            }
        }
        Ok(())
    }

    /// Walks the senders of one recipient: known ones first, then the others in turns. False if the budget ended.
    fn walk_recipient(&mut self, path: &str, now: Duration, budget: &mut u32) -> bool {
        let Some(entries) = self.list_folder(path, false, now) else { return true };
        let senders: Vec<String> = folder_names(&entries).map(|name| format!("{path}/{name}")).collect();
        let (known, mut others): (Vec<String>, Vec<String>) =
            senders.into_iter().partition(|sender| self.discovery.known.contains_key(sender));
        others.sort_unstable();
        let start = others.partition_point(|sender| *sender <= self.discovery.rotor);
        others.rotate_left(start);
        for sender in known {
            if !self.walk(&sender, 2, false, now, budget) {
                return false;
            }
        }
        for sender in others {
            if !self.walk(&sender, 2, false, now, budget) {
                return false;
            }
            self.discovery.rotor = sender;
        }
        true
    }

    fn walk(&mut self, path: &str, depth: usize, newest: bool, now: Duration, budget: &mut u32) -> bool {
        if !newest && !self.is_due(path, now) {
            return true;
        }
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        let Some(entries) = self.list_folder(path, newest, now) else { return true };
        if depth >= FOLDER_DEPTH {
            return true;
        }
        let mut children: Vec<&str> = folder_names(&entries).collect();
        // Shards are numbers in hex without leading zeros.
        children.sort_unstable_by_key(|name| (name.len(), *name));
        let newest_from = children.len().saturating_sub(HOT_CHILDREN);
        for (index, name) in children.into_iter().enumerate() {
            let newest = depth + 1 == FOLDER_DEPTH && index >= newest_from;
            if !self.walk(&format!("{path}/{name}"), depth + 1, newest, now, budget) {
                return false;
            }
        }
        true
    }

    fn is_due(&self, path: &str, now: Duration) -> bool {
        self.discovery.known.contains_key(path)
            || self
                .files
                .folders
                .get(path)
                .is_none_or(|folder| folder.next_list <= now || now < folder.active_at + WARM)
    }

    /// Lists one folder below the root and notes what is in it. `None` if it cannot be listed.
    fn list_folder(&mut self, path: &str, newest: bool, now: Duration) -> Option<Vec<DirEntry>> {
        let entries = match self.dir.list_limited(path, FOLDER_NAMES_MAX) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::debug!(path, %error, "an inbox folder cannot be listed");
                self.counters.io_errors += 1;
                return None;
            }
        };
        self.discovery.debt += entries.len();
        let new = !self.files.folders.contains_key(path);
        let folder = self.files.folders.entry(path.to_owned()).or_default();
        folder.next_list = now + COLD_FOLDER_PERIOD;
        if new {
            folder.active_at = now;
        }
        self.note_files(path, &entries, now);
        if entries.len() < FOLDER_NAMES_MAX {
            self.forget_folders(path, &entries, now);
        }
        self.drop_if_empty(path, entries.is_empty(), newest, now);
        Some(entries)
    }

    /// Compares a listing with the files tracked in that folder.
    fn note_files(&mut self, path: &str, entries: &[DirEntry], now: Duration) {
        let mut present: BTreeSet<&str> = BTreeSet::new();
        for entry in entries.iter().filter(|entry| considered(&entry.name)) {
            present.insert(&entry.name);
            if path.is_empty() && self.is_for_others(&entry.name) {
                continue;
            }
            let id = self.files.folders.get(path).and_then(|folder| folder.files.get(&entry.name)).copied();
            match id {
                Some(id) => self.note_again(id, entry, now),
                None => self.note_new(path, entry, now),
            }
        }
        if entries.len() >= FOLDER_NAMES_MAX {
            return; // what is not shown may be there
        }
        let gone: Vec<FileId> = match self.files.folders.get(path) {
            None => return,
            Some(folder) => {
                let gone = folder.files.iter().filter(|(name, _)| !present.contains(name.as_str()));
                gone.map(|(_, id)| *id).collect()
            }
        };
        self.note_gone(&gone, now);
    }

    /// Whether a file in the root is named, by the flat grammar, for another recipient: as little mine to open as a
    /// file in another recipient's folder.
    fn is_for_others(&self, name: &str) -> bool {
        let folded = name.to_ascii_lowercase();
        let mut parts = folded.split('-');
        let flat = folded.len() == FLAT_NAME_LEN && parse_file_name(&folded).is_some();
        let recipient = parts.next().unwrap_or_default();
        let mine = |id: &EndpointId| id.to_hex32().starts_with(recipient);
        flat && !self.locals.iter().any(|local| mine(&local.endpoint) || mine(&local.side.as_address()))
    }

    fn note_new(&mut self, path: &str, entry: &DirEntry, now: Duration) {
        if self.files.count() >= TRACKED_FILES_MAX {
            self.counters.overflowed += 1;
            return;
        }
        let full = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
        self.counters.files_seen += 1;
        // Below one of my folders junk is mine to remove one day; a folder with a packet's name never is.
        let mine = !path.is_empty() && entry.kind != EntryKind::Dir;
        let id = self.files.add(Tracked::new(full, entry.len, mine, now));
        if let Some(folder) = self.files.folders.get_mut(path) {
            folder.active_at = now;
        }
        if entry.kind != EntryKind::File
            && let Some(tracked) = self.files.take(id)
        {
            self.quarantine(id, tracked, Reject::NotRegular, now);
        }
    }

    fn note_again(&mut self, id: FileId, entry: &DirEntry, now: Duration) {
        let Some(tracked) = self.files.get(id) else { return };
        let regular = entry.kind == EntryKind::File;
        let became_regular = regular && matches!(tracked.state, State::Quarantined { reject: Reject::NotRegular, .. });
        if !became_regular && (tracked.listed_len == entry.len || !regular) {
            return;
        }
        self.progress += 1;
        self.files.update(id, |tracked| {
            tracked.listed_len = entry.len;
            match tracked.state {
                State::Quarantined { recoverable: false, .. } => {
                    tracked.state = State::Fresh;
                    tracked.changed_at = now;
                    tracked.next_try = Some(now);
                }
                State::Fresh
                | State::Waiting(_)
                | State::Open(_)
                | State::Closed { recoverable: true, .. }
                | State::Quarantined { .. } => tracked.next_try = Some(now),
                State::Closed { .. } | State::Shown(_) | State::Leaving | State::Left => {}
            }
        });
    }

    fn note_gone(&mut self, gone: &[FileId], now: Duration) {
        for id in gone {
            let Some(tracked) = self.files.take(*id) else { continue };
            match tracked.state {
                // Listings may be stale: opening decides.
                State::Fresh | State::Waiting(_) | State::Open(_) | State::Closed { .. } => {
                    let mut tracked = tracked;
                    if !matches!(tracked.state, State::Closed { recoverable: false, .. }) {
                        tracked.next_try = Some(tracked.next_try.map_or(now, |at| at.min(now)));
                    }
                    self.files.put(*id, tracked);
                }
                State::Shown(_) | State::Leaving | State::Left | State::Quarantined { .. } => {
                    self.files.forget(*id, &tracked);
                }
            }
        }
    }

    /// Forgets folders that are no longer in their parent.
    fn forget_folders(&mut self, path: &str, entries: &[DirEntry], now: Duration) {
        let present: BTreeSet<&str> = folder_names(entries).collect();
        let prefix = format!("{path}/");
        let gone: Vec<String> = self
            .files
            .folders
            .range(prefix.clone()..)
            .map(|(folder, _)| folder)
            .take_while(|folder| folder.starts_with(&prefix))
            .filter(|folder| {
                let child = folder.get(prefix.len()..).and_then(|rest| rest.split('/').next());
                child.is_some_and(|child| !present.contains(child))
            })
            .cloned()
            .collect();
        for folder in gone {
            let ids: Vec<FileId> = self
                .files
                .folders
                .get(&folder)
                .map(|folder| folder.files.values().copied().collect())
                .unwrap_or_default();
            self.note_gone(&ids, now);
            if self.files.folders.get(&folder).is_some_and(|folder| folder.files.is_empty()) {
                self.files.folders.remove(&folder);
            }
        }
    }

    /// A closed shard goes as soon as it is empty, any other folder below my own after an hour: the mirror may be
    /// about to put a file into it.
    fn drop_if_empty(&mut self, path: &str, empty: bool, newest: bool, now: Duration) {
        let depth = path.split('/').count();
        let removes = self.options.profile.receiver_deletes();
        let Some(folder) = self.files.folders.get_mut(path) else { return };
        if !empty {
            folder.empty_since = None;
            return;
        }
        let since = *folder.empty_since.get_or_insert(now);
        let closed = depth == FOLDER_DEPTH && !newest && !is_warm(folder, now);
        if depth >= 2 && removes && (closed || now >= since + EMPTY_FOLDER_AGE) {
            if let Err(error) = self.dir.remove_empty_dirs(path) {
                tracing::debug!(path, %error, "an empty inbox folder could not be removed");
            }
            if self.files.folders.get(path).is_some_and(|folder| folder.files.is_empty()) {
                self.files.folders.remove(path);
            }
            self.discovery.known.remove(path);
        }
    }
}

fn is_warm(folder: &Folder, now: Duration) -> bool {
    now < folder.active_at + WARM
}

/// Names of the folders in a listing that are not hidden.
fn folder_names(entries: &[DirEntry]) -> impl Iterator<Item = &str> {
    entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Dir && !entry.name.starts_with('.'))
        .map(|entry| entry.name.as_str())
}
