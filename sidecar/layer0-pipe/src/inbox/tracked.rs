//! The files an inbox keeps in mind, and when each is looked at next.
//!
//! Invariants: every tracked file is listed under its folder, if something is due in its group's index of due times, and if
//! its packet is known in the index of packets; all change only here. Identity of a file is its path; its name is never believed.
//! What this file does not do: read files. Specification: protocol §1 "Completeness".
//! Read first: `a_file_is_due_at_its_time`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::{EndpointId, Header, Incarnation, Reject};

use super::arrival::FileId;
use super::numbers::{Life, PacketKey};
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

impl State {
    /// The packet that a floor may close.
    fn packet(&self) -> Option<&PacketKey> {
        match self {
            Self::Waiting(key) | Self::Closed { key, .. } => Some(key),
            Self::Open(open) => Some(&open.key),
            Self::Fresh | Self::Shown(_) | Self::Leaving | Self::Left | Self::Quarantined { .. } => None,
        }
    }
}

fn indexed(key: &PacketKey, id: FileId) -> (EndpointId, Incarnation, u64, FileId) {
    (key.life.sender, key.life.incarnation, key.pn.get(), id)
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
    /// By group; none is empty.
    due: BTreeMap<String, BTreeSet<(Duration, FileId)>>,
    /// Files of verified packets that wait, are open or closed.
    packets: BTreeSet<(EndpointId, Incarnation, u64, FileId)>,
    /// Presence packets that were shown.
    shown: BTreeSet<(Life, FileId)>,
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
        if let Some(at) = tracked.next_try
            && let Some(group) = self.due.get_mut(tracked.group())
        {
            group.remove(&(at, id));
            if group.is_empty() {
                self.due.remove(tracked.group());
            }
        }
        match &tracked.state {
            State::Shown(key) => drop(self.shown.remove(&(key.life, id))),
            state => drop(state.packet().map(|key| self.packets.remove(&indexed(key, id)))),
        }
        self.quarantined.remove(&id);
        self.open -= usize::from(matches!(tracked.state, State::Open(_)));
        Some(tracked)
    }

    pub(crate) fn put(&mut self, id: FileId, tracked: Tracked) {
        if let Some(at) = tracked.next_try {
            match self.due.get_mut(tracked.group()) {
                Some(group) => drop(group.insert((at, id))),
                None => drop(self.due.insert(tracked.group().to_owned(), BTreeSet::from([(at, id)]))),
            }
        }
        match &tracked.state {
            State::Shown(key) => drop(self.shown.insert((key.life, id))),
            state => drop(state.packet().map(|key| self.packets.insert(indexed(key, id)))),
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

    /// Files of packets of this life of a sender, with numbers below `floor`.
    pub(crate) fn below(&self, sender: EndpointId, incarnation: Incarnation, floor: u64) -> Vec<FileId> {
        let first = FileId(0);
        let range = self.packets.range((sender, incarnation, 0, first)..(sender, incarnation, floor, first));
        range.map(|(.., id)| *id).collect()
    }

    /// Files of packets of this sender.
    pub(crate) fn of_sender(&self, sender: EndpointId) -> Vec<FileId> {
        let from = (sender, Incarnation::UNKNOWN, 0, FileId(0));
        self.packets.range(from..).take_while(|(of, ..)| *of == sender).map(|(.., id)| *id).collect()
    }

    /// Presence packets of this life that were shown.
    pub(crate) fn shown(&self, life: Life) -> Vec<FileId> {
        self.shown.range((life, FileId(0))..).take_while(|(of, _)| *of == life).map(|(_, id)| *id).collect()
    }

    /// Files that are due, at most `max` of each group, the longest due first.
    pub(crate) fn due(&self, now: Duration, max: usize) -> Vec<VecDeque<FileId>> {
        let of_group = |group: &BTreeSet<(Duration, FileId)>| -> VecDeque<FileId> {
            group.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, id)| *id).collect()
        };
        self.due.values().map(of_group).filter(|queue| !queue.is_empty()).collect()
    }

    /// Whether more than `count` files are due.
    pub(crate) fn are_more_due(&self, now: Duration, count: usize) -> bool {
        self.due.values().flat_map(|group| group.iter().take_while(|(at, _)| *at <= now)).nth(count).is_some()
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.values().filter_map(|group| group.first()).map(|(at, _)| *at).min()
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
    use crate::testkit::header;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_file_is_due_at_its_time() {
        let mut files = Files::default();
        let id = files.add(Tracked::new("a/b/c.hft".into(), 1, true, MS));
        assert!(files.due(Duration::ZERO, 9).is_empty() && !files.are_more_due(Duration::ZERO, 0));
        assert_eq!(files.due(MS, 9), [VecDeque::from([id])]);
        assert!(files.are_more_due(MS, 0) && !files.are_more_due(MS, 1));
        files.update(id, |tracked| tracked.next_try = Some(MS * 9));
        assert!(files.due(MS * 8, 9).is_empty());
        assert_eq!(files.next_due(), Some(MS * 9));
        let tracked = files.take(id).unwrap();
        files.forget(id, &tracked);
        assert_eq!((files.next_due(), files.count()), (None, 0));
        assert!(files.folders["a/b"].files.is_empty());
    }

    #[test]
    fn files_of_packets_are_found_by_their_numbers_whatever_became_of_them() {
        let key = |pn| PacketKey::of(&header(pn));
        let mut files = Files::default();
        let mut add = |pn, closed| {
            let state = match closed {
                true => State::Closed { key: key(pn), recoverable: true },
                false => State::Waiting(key(pn)),
            };
            files.add(Tracked { state, ..Tracked::new(format!("a/b/{pn}.hft"), 1, true, MS) })
        };
        let (five, six, seven) = (add(5, true), add(6, false), add(7, true));
        let life = key(5).life;
        let below = |files: &Files, floor| files.below(life.sender, life.incarnation, floor);
        assert!(below(&files, 5).is_empty());
        assert_eq!(below(&files, 7), [five, six]);
        assert_eq!(below(&files, u64::MAX), [five, six, seven]);
        assert_eq!((files.of_sender(life.sender).len(), files.of_sender(life.recipient).len()), (3, 0));
        files.update(six, |tracked| tracked.state = State::Left);
        files.update(seven, |tracked| tracked.state = State::Shown(key(7)));
        assert_eq!((below(&files, u64::MAX), files.shown(life)), (vec![five], vec![seven]));
        let tracked = files.take(seven).unwrap();
        files.forget(seven, &tracked);
        assert!(files.shown(life).is_empty());
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
