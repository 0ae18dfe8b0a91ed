//! The files an inbox keeps in mind, and when each is looked at next.
//!
//! Invariants: every tracked file is listed under its folder and, if something is due, in the index of due times;
//! both change only here. Identity of a file is its path; its name is never believed.
//! What this file does not do: read files. Specification: protocol §1 "Completeness".
//! Read first: `a_file_is_due_at_its_time`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::{Header, Reject};

use super::arrival::FileId;
use super::numbers::PacketKey;
use super::prefix::Table;
use crate::limits::{RECHECK_MAX, RETRY_MIN};

/// Where a file is in its life.
#[derive(Debug)]
pub(crate) enum State {
    /// Its prefix did not verify yet.
    Fresh,
    /// Verified; the driver said `Wait`.
    Waiting(PacketKey),
    /// Wanted; frames are outstanding.
    Open(Box<Open>),
    /// Closed; `recoverable` if missing frames may still turn up.
    Closed {
        /// The packet.
        key: PacketKey,
        /// Whether it is looked at again.
        recoverable: bool,
    },
    /// A presence packet that was shown; others may still want to read it.
    Shown(PacketKey),
    /// To be removed; that failed so far.
    Leaving,
    /// Finished with, but it stays in the folder.
    Left,
    /// Cannot be used.
    Quarantined {
        /// Why.
        reject: Reject,
        /// Whether it may still become usable.
        recoverable: bool,
    },
}

/// A packet whose frames are being read.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) key: PacketKey,
    pub(crate) header: Header,
    pub(crate) table: Table,
    /// Frames before this one were tried at least once.
    pub(crate) attempted: u32,
    /// Where a pass was interrupted to give others their turn.
    pub(crate) resume: Option<u32>,
    /// Whether it was closed before.
    pub(crate) reopened: bool,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) path: String,
    pub(crate) first_seen: Duration,
    /// Length in the newest listing.
    pub(crate) listed_len: u64,
    /// Length when it was last opened.
    pub(crate) len: Option<u64>,
    /// When it last grew or gave a frame.
    pub(crate) changed_at: Duration,
    /// When it is looked at next.
    pub(crate) next_try: Option<Duration>,
    /// The pause before that, for backing off.
    pub(crate) pause: Duration,
    /// Whether it is known to be addressed to me, so that junk may be removed one day.
    pub(crate) mine: bool,
    pub(crate) state: State,
}

impl Tracked {
    pub(crate) fn new(path: String, listed_len: u64, mine: bool, now: Duration) -> Self {
        Self {
            path,
            first_seen: now,
            listed_len,
            len: None,
            changed_at: now,
            next_try: Some(now),
            pause: RETRY_MIN,
            mine,
            state: State::Fresh,
        }
    }

    /// Tries again after a pause that doubles each time, up to `longest`, but not after `until`.
    pub(crate) fn back_off(&mut self, now: Duration, longest: Duration, until: Option<Duration>) {
        let at = now.saturating_add(self.pause.min(longest));
        self.next_try = Some(until.map_or(at, |until| at.min(until.max(now))));
        self.pause = self.pause.saturating_mul(2).min(longest.max(RETRY_MIN));
    }

    /// As [`Self::back_off`], for what is already given up.
    pub(crate) fn back_off_recheck(&mut self, now: Duration, first: Duration) {
        self.pause = self.pause.max(first);
        self.back_off(now, RECHECK_MAX, None);
    }

    /// Recipient and sender folder: files of one group share what a scan may read.
    pub(crate) fn group(&self) -> &str {
        let second = self.path.match_indices('/').nth(1).map_or(0, |(at, _)| at);
        self.path.get(..second).unwrap_or_default()
    }
}

/// A folder that was listed.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) files: BTreeMap<String, FileId>,
    /// When it is listed again although nothing happens in it.
    pub(crate) next_list: Duration,
    /// When something last came up in it.
    pub(crate) active_at: Duration,
    pub(crate) empty_since: Option<Duration>,
}

/// All tracked files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    map: BTreeMap<FileId, Tracked>,
    due: BTreeSet<(Duration, FileId)>,
    pub(crate) folders: BTreeMap<String, Folder>,
    quarantined: BTreeSet<FileId>,
    open: usize,
    last_id: u64,
}

/// Splits a path into its folder (empty for the root) and name.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Files {
    pub(crate) fn add(&mut self, tracked: Tracked) -> FileId {
        self.last_id += 1;
        let id = FileId(self.last_id);
        let (folder, name) = split(&tracked.path);
        let folder = self.folders.entry(folder.to_owned()).or_default();
        folder.files.insert(name.to_owned(), id);
        self.put(id, tracked);
        id
    }

    /// Takes a file out to work on it; [`Self::put`] it back or [`Self::forget`] it.
    pub(crate) fn take(&mut self, id: FileId) -> Option<Tracked> {
        let tracked = self.map.remove(&id)?;
        if let Some(at) = tracked.next_try {
            self.due.remove(&(at, id));
        }
        self.quarantined.remove(&id);
        self.open -= usize::from(matches!(tracked.state, State::Open(_)));
        Some(tracked)
    }

    pub(crate) fn put(&mut self, id: FileId, tracked: Tracked) {
        if let Some(at) = tracked.next_try {
            self.due.insert((at, id));
        }
        if matches!(tracked.state, State::Quarantined { .. }) {
            self.quarantined.insert(id);
        }
        self.open += usize::from(matches!(tracked.state, State::Open(_)));
        self.map.insert(id, tracked);
    }

    /// Ends the tracking of a file that was taken out.
    pub(crate) fn forget(&mut self, id: FileId, tracked: &Tracked) {
        let (folder, name) = split(&tracked.path);
        if let Some(folder) = self.folders.get_mut(folder)
            && folder.files.get(name) == Some(&id)
        {
            folder.files.remove(name);
        }
    }

    pub(crate) fn get(&self, id: FileId) -> Option<&Tracked> {
        self.map.get(&id)
    }

    /// Changes a file in place.
    pub(crate) fn update(&mut self, id: FileId, change: impl FnOnce(&mut Tracked)) {
        if let Some(mut tracked) = self.take(id) {
            change(&mut tracked);
            self.put(id, tracked);
        }
    }

    pub(crate) fn ids(&self) -> Vec<FileId> {
        self.map.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FileId, &Tracked)> {
        self.map.iter().map(|(id, tracked)| (*id, tracked))
    }

    /// Files that are due, the longest due first.
    pub(crate) fn due(&self, now: Duration) -> Vec<FileId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) const fn open_count(&self) -> usize {
        self.open
    }

    /// Files in mind, quarantined ones not counted.
    pub(crate) fn count(&self) -> usize {
        self.map.len() - self.quarantined.len()
    }

    pub(crate) fn quarantined(&self) -> usize {
        self.quarantined.len()
    }

    pub(crate) fn oldest_quarantined(&self) -> Option<FileId> {
        self.quarantined.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_file_is_due_at_its_time() {
        let mut files = Files::default();
        let id = files.add(Tracked::new("a/b/c.hft".into(), 1, true, MS));
        assert_eq!(files.due(Duration::ZERO), []);
        assert_eq!(files.due(MS), [id]);
        files.update(id, |tracked| tracked.next_try = Some(MS * 9));
        assert_eq!(files.due(MS * 8), []);
        assert_eq!(files.next_due(), Some(MS * 9));
        let tracked = files.take(id).unwrap();
        files.forget(id, &tracked);
        assert_eq!((files.next_due(), files.count()), (None, 0));
        assert!(files.folders["a/b"].files.is_empty());
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut tracked = Tracked::new("a".into(), 1, true, MS);
        let mut now = Duration::ZERO;
        for _ in 0..30 {
            tracked.back_off(now, MS * 500, None);
            now = tracked.next_try.unwrap();
        }
        tracked.back_off(now, MS * 500, None);
        assert_eq!(tracked.next_try, Some(now + MS * 500));
        tracked.back_off(now, MS * 500, Some(now + MS));
        assert_eq!(tracked.next_try, Some(now + MS));
    }

    #[test]
    fn files_of_one_sender_folder_are_a_group() {
        let group = |path: &str| Tracked::new(path.into(), 1, true, MS).group().to_owned();
        assert_eq!(group("me/a/i/0/x.hft"), "me/a");
        assert_eq!(group("me/a/y.hft"), "me/a");
        assert_eq!(group("me/y.hft"), "");
        assert_eq!(group("y.hft"), "");
    }
}
