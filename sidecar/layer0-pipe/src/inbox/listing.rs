//! Listing one page of a folder, and comparing it with the files tracked in it.
//!
//! Invariants: a name that vanishes from a listing is believed gone only for files nothing is outstanding of, and only when
//! a whole round through its folder did not show it. Files that nothing vouches for are kept in mind as far as there is room
//! for them; the rest is found again by a later listing. Lengths are asked for only where they can matter.
//! What this file does not do: decide which folders are listed (`discovery`), or open files.
//! Specification: protocol §6, wire format §13. Read first: `a_name_that_lies_still_works`.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use disk::dir::{EntryKind, Page, PageEntry};
use wire::name::{considered, parse_file_name};
use wire::{EndpointId, Reject};

use super::Inbox;
use super::arrival::FileId;
use super::known::shard_number;
use super::tracked::{Folder, State, Tracked};
use crate::limits::{
    COLD_FOLDER_PERIOD, COLD_NAMES_PER_S, EMPTY_FOLDER_AGE, FOLDER_DEPTH, FOLDERS_KEPT_MAX, LARGE_FOLDER_PERIOD_MAX,
    PAGES_PER_ROUND, SMALL_FOLDER_NAMES, WARM_NAMES_PER_S,
};

/// Characters of a file name of the flat layout.
const FLAT_NAME_LEN: usize = 56;

/// How long a folder in which something came up counts as busy, and how long as warm.
const BUSY: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_secs(60);

/// What one page gave.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Names of folders, hidden ones left out.
    pub(crate) folders: Vec<String>,
    /// Where the next page begins.
    pub(crate) next: Option<u64>,
    /// Names of all kinds.
    pub(crate) names: usize,
}

/// Whether a folder is among those that are likely to have something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Listed in every scan while it is small.
    Likely,
    /// Listed seldom while nothing happens in it.
    Ordinary,
    /// One page at a time, without rounds.
    Old,
}

impl Folder {
    /// How long after its last round it is listed again.
    fn period(&self, interest: Interest, now: Duration) -> Duration {
        let idle = now.saturating_sub(self.active_at);
        if idle < BUSY || self.round.is_some() {
            return Duration::ZERO;
        }
        let cold = idle >= WARM;
        let least = if interest == Interest::Ordinary && cold { COLD_FOLDER_PERIOD } else { Duration::ZERO };
        if self.names <= SMALL_FOLDER_NAMES {
            return least;
        }
        let per_s = if cold { COLD_NAMES_PER_S } else { WARM_NAMES_PER_S };
        let by_size = Duration::from_millis(self.names as u64 * 1_000 / per_s).min(LARGE_FOLDER_PERIOD_MAX);
        by_size.max(least)
    }
}

impl Inbox {
    pub(crate) fn is_due(&self, path: &str, interest: Interest, now: Duration) -> bool {
        let folder = self.files.folders.get(path);
        folder.is_none_or(|folder| now >= folder.listed_at.saturating_add(folder.period(interest, now)))
    }

    /// Lists one page of a folder and notes what is in it. A folder that is not there is an empty one.
    pub(crate) fn list(
        &mut self,
        path: &str,
        from: u64,
        max: usize,
        interest: Interest,
        now: Duration,
    ) -> io::Result<Listed> {
        let dir = Arc::clone(&self.dir);
        self.cost.folders_listed += 1;
        let page = match dir.list_page(path, from, max, &|name| self.measures(path, name)) {
            Ok(page) => page,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => Page::default(),
            Err(error) => {
                tracing::debug!(path, %error, "an inbox folder cannot be listed");
                self.counters.io_errors += 1;
                return Err(error);
            }
        };
        self.discovery.debt += page.entries.len();
        self.cost.names_listed += page.entries.len() as u64;
        if interest != Interest::Old && self.keeps(path) {
            let folder = self.files.folders.entry(path.to_owned()).or_insert_with(|| new_folder(now));
            if from == 0 {
                folder.listed_at = now;
            }
        }
        let seen = self.note_page(path, &page.entries, interest, now);
        let folders: Vec<String> = page
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Dir && !entry.name.starts_with('.'))
            .map(|entry| entry.name.clone())
            .collect();
        let mut next = page.next;
        if interest != Interest::Old {
            next = self.end_of_page(path, from, &page, seen, now);
            if from == 0 && next.is_none() {
                self.compare_folders(path, &folders, now);
            }
        }
        if from == 0 && next.is_none() {
            self.drop_if_empty(path, page.entries.is_empty(), interest, now);
        }
        Ok(Listed { folders, next, names: page.entries.len() })
    }

    /// Whether a folder is remembered. Others are too while there is room; one that is not is always due.
    fn keeps(&self, path: &str) -> bool {
        let life = super::tracked::split(path).0;
        let likely = |known: &super::known::KnownLife| known.likely().iter().any(|folder| folder == path);
        self.files.folders.contains_key(path)
            || self.files.folders.len() < FOLDERS_KEPT_MAX
            || !path.contains('/')
            || self.discovery.lives.contains_key(path)
            || self.discovery.lives.get(life).is_some_and(likely)
    }

    /// Whether the length of a file is worth a call.
    fn measures(&self, path: &str, name: &str) -> bool {
        let folder = self.files.folders.get(path);
        let Some(id) = folder.and_then(|folder| folder.files.get(name)) else {
            return self.spent.measures(&join(path, name)).unwrap_or(false);
        };
        let many = folder.is_some_and(|folder| folder.files.len() > SMALL_FOLDER_NAMES);
        match self.files.get(*id).map(|tracked| &tracked.state) {
            Some(State::Quarantined { .. }) => !many || self.spent.is_turn(id.0),
            Some(State::Fresh | State::Waiting(_) | State::Open(_) | State::Closed { recoverable: true, .. }) => true,
            Some(State::Closed { .. } | State::Shown(_) | State::Leaving) | None => false,
        }
    }

    /// Notes the files of a page; gives those that are tracked.
    fn note_page(&mut self, path: &str, entries: &[PageEntry], interest: Interest, now: Duration) -> BTreeSet<FileId> {
        let mut seen = BTreeSet::new();
        for entry in entries.iter().filter(|entry| considered(&entry.name)) {
            if path.is_empty() && self.is_for_others(&entry.name) {
                continue;
            }
            if interest == Interest::Old && self.is_left_to_its_sender(path, &entry.name) {
                continue;
            }
            let id = self.files.folders.get(path).and_then(|folder| folder.files.get(&entry.name)).copied();
            let id = match id {
                Some(id) => {
                    self.note_again(id, entry, now);
                    Some(id)
                }
                None => self.note_new(path, entry, now),
            };
            seen.extend(id);
        }
        seen
    }

    /// Ends a page of a round, and at its end the round: files that it did not show are gone. Gives where to go on.
    fn end_of_page(
        &mut self,
        path: &str,
        from: u64,
        page: &Page,
        seen: BTreeSet<FileId>,
        now: Duration,
    ) -> Option<u64> {
        let Some(folder) = self.files.folders.get_mut(path) else { return page.next };
        let mut round = folder.round.take().filter(|_| from > 0).unwrap_or_default();
        round.seen.extend(seen);
        round.names += page.entries.len();
        round.pages += 1;
        folder.names = folder.names.max(round.names);
        if let Some(next) = page.next.filter(|_| round.pages < PAGES_PER_ROUND) {
            round.from = next;
            folder.round = Some(round);
            return Some(next);
        }
        folder.names = round.names;
        if page.next.is_some() {
            return None; // what is not shown may be there
        }
        let gone: Vec<FileId> = folder.files.values().filter(|id| !round.seen.contains(id)).copied().collect();
        self.note_gone(&gone, now);
        None
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

    /// Whether a file in a shard that is over is not even opened this time: its name says what its folder does, and only
    /// its sender may remove it. Some of them are opened all the same, others each time.
    fn is_left_to_its_sender(&self, path: &str, name: &str) -> bool {
        let pn = parse_file_name(name).map(|(pn, _)| pn.get());
        let agrees = pn.is_some_and(|pn| shard_number(path) == Some(pn >> 12));
        agrees && !self.options.profile.receiver_deletes() && !pn.is_some_and(|pn| self.spent.is_turn(pn))
    }

    fn note_new(&mut self, path: &str, entry: &PageEntry, now: Duration) -> Option<FileId> {
        let full = join(path, &entry.name);
        if self.spent.holds(&full, entry.len) {
            return None;
        }
        let standing = self.discovery.standing(&full);
        if !self.files.admits(standing, &full) {
            return None;
        }
        self.counters.files_seen += 1;
        // Below one of my folders junk is mine to remove one day; a folder with a packet's name never is.
        let mine = entry.kind != EntryKind::Dir && self.is_below_mine(path);
        let id = self.files.add(Tracked { listed_len: entry.len, ..Tracked::new(full, standing, mine, now) });
        if let Some(folder) = self.files.folders.get_mut(path) {
            folder.active_at = now;
        }
        if entry.kind != EntryKind::File
            && let Some(tracked) = self.files.take(id)
        {
            self.quarantine(id, tracked, Reject::NotRegular, now);
        }
        Some(id)
    }

    fn is_below_mine(&self, path: &str) -> bool {
        let top = path.split('/').next().unwrap_or_default();
        self.own_folders().iter().any(|mine| mine.eq_ignore_ascii_case(top))
    }

    fn note_again(&mut self, id: FileId, entry: &PageEntry, now: Duration) {
        let Some(tracked) = self.files.get(id) else { return };
        let regular = entry.kind == EntryKind::File;
        let became_regular = regular && matches!(tracked.state, State::Quarantined { reject: Reject::NotRegular, .. });
        let before = tracked.listed_len.or(tracked.len);
        let changed = entry.len.is_some() && before.is_some() && before != entry.len;
        let counts = became_regular || (changed && regular);
        if !counts {
            if tracked.listed_len.is_none() && entry.len.is_some() {
                self.files.update(id, |tracked| tracked.listed_len = entry.len);
            }
            return;
        }
        self.progress += 1;
        let standing = self.discovery.standing(&tracked.path);
        self.files.update(id, |tracked| {
            tracked.listed_len = entry.len;
            match tracked.state {
                State::Quarantined { recoverable: false, .. } => {
                    tracked.state = State::Fresh;
                    tracked.standing = standing;
                    tracked.changed_at = now;
                    tracked.next_try = Some(now);
                }
                State::Fresh
                | State::Waiting(_)
                | State::Open(_)
                | State::Closed { recoverable: true, .. }
                | State::Quarantined { .. } => tracked.next_try = Some(now),
                State::Closed { .. } | State::Shown(_) | State::Leaving => {}
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
                State::Shown(_) | State::Leaving | State::Quarantined { .. } => {
                    self.files.forget(*id, &tracked);
                }
            }
        }
    }

    /// Forgets folders that are no longer in their parent; looked at now and then only, because it costs as the folders
    /// that are remembered.
    fn compare_folders(&mut self, path: &str, present: &[String], now: Duration) {
        match self.files.folders.get_mut(path) {
            Some(folder) if now >= folder.compared_at.saturating_add(COLD_FOLDER_PERIOD) => folder.compared_at = now,
            _ => return,
        }
        let present: BTreeSet<&str> = present.iter().map(String::as_str).collect();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let gone: VecDeque<String> = self
            .files
            .folders
            .range(prefix.clone()..)
            .map(|(folder, _)| folder)
            .take_while(|folder| folder.starts_with(&prefix))
            .filter(|folder| {
                let child = folder.get(prefix.len()..).and_then(|rest| rest.split('/').next());
                child.is_some_and(|child| !child.is_empty() && !present.contains(child))
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
    fn drop_if_empty(&mut self, path: &str, empty: bool, interest: Interest, now: Duration) {
        let depth = path.split('/').count();
        let old = interest == Interest::Old;
        if !empty || depth < 2 {
            if let Some(folder) = self.files.folders.get_mut(path).filter(|_| !empty) {
                folder.empty_since = None;
            }
            return;
        }
        let (mut closed, mut hour) = (old, false);
        if let Some(folder) = self.files.folders.get_mut(path) {
            let since = *folder.empty_since.get_or_insert(now);
            let warm = now < folder.active_at.saturating_add(WARM);
            closed |= depth == FOLDER_DEPTH && interest == Interest::Ordinary && !warm;
            hour = now >= since.saturating_add(EMPTY_FOLDER_AGE);
        }
        if self.options.profile.receiver_deletes() && (closed || hour) {
            self.drop_folder(path);
        }
    }

    /// Removes a folder that nothing is in.
    pub(crate) fn drop_folder(&mut self, path: &str) {
        if let Err(error) = self.dir.remove_empty_dirs(path) {
            tracing::debug!(path, %error, "an empty inbox folder could not be removed");
        }
        if self.files.folders.get(path).is_some_and(|folder| folder.files.is_empty()) {
            self.files.folders.remove(path);
        }
    }
}

fn new_folder(now: Duration) -> Folder {
    Folder { active_at: now, compared_at: now, ..Folder::default() }
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Folders in the order of their numbers, those without one first.
pub(crate) fn by_number(names: &mut [String]) {
    names.sort_unstable_by(|a, b| (shard_number(a), a).cmp(&(shard_number(b), b)));
}

#[cfg(test)]
mod tests {
    use super::super::tracked::Standing;
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn period(names: usize, idle: Duration, interest: Interest) -> Duration {
        let folder = Folder { names, active_at: S, ..Folder::default() };
        folder.period(interest, S + idle)
    }

    #[test]
    fn a_folder_is_listed_the_more_seldom_the_larger_and_the_quieter_it_is() {
        assert_eq!(period(64, WARM, Interest::Likely), Duration::ZERO);
        assert_eq!(period(64, WARM, Interest::Ordinary), COLD_FOLDER_PERIOD);
        assert_eq!(period(100_000, S, Interest::Ordinary), Duration::ZERO, "something just came up");
        assert_eq!(period(4_096, S * 3, Interest::Likely), S * 16);
        assert_eq!(period(576, WARM, Interest::Likely), S * 36);
        assert_eq!(period(4_096, WARM, Interest::Likely), LARGE_FOLDER_PERIOD_MAX);
    }

    #[test]
    fn shards_are_ordered_as_numbers() {
        let mut names = ["10", "9", "x", "a"].map(str::to_owned);
        by_number(&mut names);
        assert_eq!(names, ["x", "9", "a", "10"]);
    }

    #[test]
    fn what_nothing_promises_is_of_unknown_standing() {
        let inbox = Inbox::new(Arc::new(disk::dir::MemDir::new()), vec![], crate::InboxOptions::default());
        assert_eq!(inbox.discovery.standing("a/b/c/0/x.hft"), Standing::Unknown);
    }
}
