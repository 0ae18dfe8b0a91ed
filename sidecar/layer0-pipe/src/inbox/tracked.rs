//! The files an inbox keeps in mind, and when each is looked at next.
//!
//! Invariants: every tracked file is listed under its folder, if something is due in the index of due times, and if
//! its packet is known in the index of packets; all change only here. Identity of a file is its path; its name is never believed.
//! Files that nothing vouches for have bounds of their own, in all and for each sender folder, so that they never take the
//! room of verified ones.
//! What this file does not do: read files, or order them (`due`). Specification: protocol §1 "Completeness".
//! Read first: `a_file_is_due_at_its_time`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::{EndpointId, Header, Incarnation, Reject};

use super::arrival::FileId;
use super::due::{Due, group_of};
use super::numbers::{Life, PacketKey};
use super::prefix::Table;
use crate::limits::{
    COPIES_MAX, FOLDERS_KEPT_MAX, LEAVING_MAX, OPEN_FILES_EACH, OPEN_FILES_MAX, RECHECK_MAX, RETRY_MIN,
    TABLE_ENTRIES_MAX, TRACKED_FILES_MAX, UNPROVEN_OF_KNOWN_MAX, UNPROVEN_OF_UNKNOWN_MAX,
};

/// How much a file's place promises. Names prove nothing: this only says who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Its packet verified, or it has a name that a verified sender is about to use.
    Good,
    /// It is in a folder of a verified sender.
    Known,
    /// Anything else.
    Unknown,
}

impl Standing {
    /// All, best first.
    pub(crate) const ALL: [Self; 3] = [Self::Good, Self::Known, Self::Unknown];
}

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
            Self::Fresh | Self::Shown(_) | Self::Leaving | Self::Quarantined { .. } => None,
        }
    }

    /// Whether it is this presence packet, or says that it is.
    pub(crate) fn shows(&self, key: &PacketKey) -> bool {
        matches!(self, Self::Shown(shown) if shown == key)
    }

    /// Whether nothing about the file ever verified, and it is not put aside.
    const fn unproven(&self) -> bool {
        matches!(self, Self::Fresh | Self::Leaving)
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
    /// How much its place promises.
    pub(crate) standing: Standing,
    /// Length in the newest listing that told it.
    pub(crate) listed_len: Option<u64>,
    /// Length when it was last opened.
    pub(crate) len: Option<u64>,
    /// When it last grew or gave a frame.
    pub(crate) changed_at: Duration,
    /// When it is looked at next.
    pub(crate) next_try: Option<Duration>,
    /// The pause before that, for backing off.
    pub(crate) pause: Duration,
    /// The longest pause in its growth since something of it last verified.
    pub(crate) gap: Duration,
    /// Whether it was given up before it verified.
    pub(crate) gave_up: bool,
    /// Whether it is known to be addressed to me, so that junk may be removed one day.
    pub(crate) mine: bool,
    pub(crate) state: State,
}

impl Tracked {
    pub(crate) fn new(path: String, standing: Standing, mine: bool, now: Duration) -> Self {
        Self {
            path,
            first_seen: now,
            standing,
            listed_len: None,
            len: None,
            changed_at: now,
            next_try: Some(now),
            pause: RETRY_MIN,
            gap: Duration::ZERO,
            gave_up: false,
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

    /// Whose file this seems to be: those share what a scan may read.
    pub(crate) fn group(&self) -> &str {
        group_of(&self.path)
    }
}

/// A folder that was listed.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) files: BTreeMap<String, FileId>,
    /// When the last round through it began.
    pub(crate) listed_at: Duration,
    /// When something last came up in it.
    pub(crate) active_at: Duration,
    pub(crate) empty_since: Option<Duration>,
    /// Names in it at the end of the last round.
    pub(crate) names: usize,
    /// The round in which it is listed page by page, if it is too large for one.
    pub(crate) round: Option<Round>,
    /// When the folders in it were last compared with those remembered.
    pub(crate) compared_at: Duration,
}

/// How far a round through a large folder came.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Where the next page begins.
    pub(crate) from: u64,
    pub(crate) pages: u32,
    pub(crate) names: usize,
    /// Tracked files that were shown.
    pub(crate) seen: BTreeSet<FileId>,
}

/// How many files a sender folder has in mind.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    /// Nothing of them verified: by standing.
    unproven: [usize; 3],
    open: usize,
}

/// All tracked files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    map: BTreeMap<FileId, Tracked>,
    due: Due,
    /// Files of verified packets that wait, are open or closed.
    packets: BTreeSet<(EndpointId, Incarnation, u64, FileId)>,
    /// Presence packets that were shown.
    shown: BTreeSet<(Life, FileId)>,
    pub(crate) folders: BTreeMap<String, Folder>,
    quarantined: BTreeSet<FileId>,
    /// By group; none is zero.
    loads: BTreeMap<String, Load>,
    unproven: [usize; 3],
    leaving: usize,
    open: usize,
    table_entries: usize,
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
            self.due.remove(tracked.standing, tracked.group(), at, id);
        }
        match &tracked.state {
            State::Shown(key) => drop(self.shown.remove(&(key.life, id))),
            state => drop(state.packet().map(|key| self.packets.remove(&indexed(key, id)))),
        }
        self.quarantined.remove(&id);
        self.count(&tracked, usize::wrapping_sub);
        Some(tracked)
    }

    pub(crate) fn put(&mut self, id: FileId, tracked: Tracked) {
        if let Some(at) = tracked.next_try {
            self.due.insert(tracked.standing, tracked.group(), at, id);
        }
        match &tracked.state {
            State::Shown(key) => drop(self.shown.insert((key.life, id))),
            state => drop(state.packet().map(|key| self.packets.insert(indexed(key, id)))),
        }
        if matches!(tracked.state, State::Quarantined { .. }) {
            self.quarantined.insert(id);
        }
        self.count(&tracked, usize::wrapping_add);
        self.map.insert(id, tracked);
    }

    /// Adds a file to all counts it is in, or takes it out of them.
    fn count(&mut self, tracked: &Tracked, step: fn(usize, usize) -> usize) {
        let standing = tracked.standing as usize;
        let unproven = usize::from(tracked.state.unproven());
        let (open, entries) = match &tracked.state {
            State::Open(open) => (1, open.table.entries.len()),
            _ => (0, 0),
        };
        self.leaving = step(self.leaving, usize::from(matches!(tracked.state, State::Leaving)));
        self.open = step(self.open, open);
        self.table_entries = step(self.table_entries, entries);
        if let Some(all) = self.unproven.get_mut(standing) {
            *all = step(*all, unproven);
        }
        if unproven + open == 0 {
            return;
        }
        let group = tracked.group();
        let mut load = self.loads.remove(group).unwrap_or_default();
        load.open = step(load.open, open);
        if let Some(of) = load.unproven.get_mut(standing) {
            *of = step(*of, unproven);
        }
        if load.open + load.unproven.iter().sum::<usize>() > 0 {
            self.loads.insert(group.to_owned(), load);
        }
    }

    /// Whether one more file of this standing and path is kept in mind. Each kind has its own room, and each sender folder
    /// a share of it.
    pub(crate) fn admits(&self, standing: Standing, path: &str) -> bool {
        let (all_max, each_max) = match standing {
            Standing::Good => return self.good() < TRACKED_FILES_MAX,
            Standing::Known => UNPROVEN_OF_KNOWN_MAX,
            Standing::Unknown => UNPROVEN_OF_UNKNOWN_MAX,
        };
        let of = |counts: &[usize; 3]| counts.get(standing as usize).copied().unwrap_or(0);
        let each = self.loads.get(group_of(path)).map_or(0, |load| of(&load.unproven));
        of(&self.unproven) < all_max && each < each_max
    }

    /// Files of verified packets and expected ones.
    pub(crate) fn good(&self) -> usize {
        self.count_in_work() - self.unproven(Standing::Known) - self.unproven(Standing::Unknown)
    }

    /// Files of this standing of which nothing verified.
    pub(crate) fn unproven(&self, standing: Standing) -> usize {
        self.unproven.get(standing as usize).copied().unwrap_or(0)
    }

    /// Whether one more file that cannot be removed is kept in mind.
    pub(crate) const fn may_leave(&self) -> bool {
        self.leaving < LEAVING_MAX
    }

    /// Whether one more file of this sender may have its table in memory: some room is kept for senders that use little.
    pub(crate) fn may_open(&self, path: &str) -> bool {
        let (each, kept) = OPEN_FILES_EACH;
        let open = self.loads.get(group_of(path)).map_or(0, |load| load.open);
        let max = if open < each { OPEN_FILES_MAX } else { OPEN_FILES_MAX - kept };
        self.open < max && self.table_entries < TABLE_ENTRIES_MAX
    }

    /// Whether another file of this packet has to do before one more is of use.
    pub(crate) fn enough_copies(&self, key: &PacketKey) -> bool {
        let (first, last) = (indexed(key, FileId(0)), indexed(key, FileId(u64::MAX)));
        let mut copies = 0;
        for (.., id) in self.packets.range(first..=last) {
            copies += 1;
            let waits = self.map.get(id).is_some_and(|tracked| matches!(tracked.state, State::Waiting(_)));
            if waits || copies >= COPIES_MAX {
                return true;
            }
        }
        false
    }

    /// Ends the tracking of a file that was taken out.
    pub(crate) fn forget(&mut self, id: FileId, tracked: &Tracked) {
        let (folder, name) = split(&tracked.path);
        if let Some(folder) = self.folders.get_mut(folder)
            && folder.files.get(name) == Some(&id)
        {
            folder.files.remove(name);
        }
        if self.folders.len() > 2 * FOLDERS_KEPT_MAX {
            let (folder, _) = split(&tracked.path);
            if self.folders.get(folder).is_some_and(|folder| folder.files.is_empty()) {
                self.folders.remove(folder);
            }
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

    /// Files of this standing that are due, at most `max`, those of one sender in one queue, the longest due first.
    pub(crate) fn due(&self, standing: Standing, now: Duration, max: usize) -> Vec<VecDeque<FileId>> {
        self.due.turns(standing, now, max)
    }

    /// Whether any file of this standing is due.
    pub(crate) fn is_due(&self, standing: Standing, now: Duration) -> bool {
        self.due.next(standing).is_some_and(|at| at <= now)
    }

    /// Whether more than `count` files are due.
    pub(crate) fn are_more_due(&self, now: Duration, count: usize) -> bool {
        self.due.are_more(now, count)
    }

    /// When the next file of this standing is due.
    pub(crate) fn next_due(&self, standing: Standing) -> Option<Duration> {
        self.due.next(standing)
    }

    /// Files in mind, quarantined ones not counted.
    pub(crate) fn count_in_work(&self) -> usize {
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

    fn new(path: &str) -> Tracked {
        Tracked::new(path.to_owned(), Standing::Known, true, MS)
    }

    #[test]
    fn a_file_is_due_at_its_time() {
        let mut files = Files::default();
        let id = files.add(new("a/b/c.hft"));
        let due = |files: &Files, now| files.due(Standing::Known, now, 9);
        assert!(due(&files, Duration::ZERO).is_empty() && !files.are_more_due(Duration::ZERO, 0));
        assert_eq!(due(&files, MS), [VecDeque::from([id])]);
        assert!(files.are_more_due(MS, 0) && !files.are_more_due(MS, 1));
        files.update(id, |tracked| tracked.next_try = Some(MS * 9));
        assert!(due(&files, MS * 8).is_empty() && !files.is_due(Standing::Known, MS * 8));
        assert_eq!(files.next_due(Standing::Known), Some(MS * 9));
        let tracked = files.take(id).unwrap();
        files.forget(id, &tracked);
        assert_eq!((files.next_due(Standing::Known), files.count_in_work()), (None, 0));
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
            files.add(Tracked { state, ..new(&format!("a/b/{pn}.hft")) })
        };
        let (five, six, seven) = (add(5, true), add(6, false), add(7, true));
        let life = key(5).life;
        let below = |files: &Files, floor| files.below(life.sender, life.incarnation, floor);
        assert!(below(&files, 5).is_empty());
        assert_eq!(below(&files, 7), [five, six]);
        assert_eq!(below(&files, u64::MAX), [five, six, seven]);
        assert_eq!((files.of_sender(life.sender).len(), files.of_sender(life.recipient).len()), (3, 0));
        files.update(six, |tracked| tracked.state = State::Leaving);
        files.update(seven, |tracked| tracked.state = State::Shown(key(7)));
        assert_eq!((below(&files, u64::MAX), files.shown(life)), (vec![five], vec![seven]));
        let tracked = files.take(seven).unwrap();
        files.forget(seven, &tracked);
        assert!(files.shown(life).is_empty());
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut tracked = new("a");
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
    fn what_nothing_vouches_for_has_its_own_room_and_each_sender_a_share() {
        let mut files = Files::default();
        let mut ids = Vec::new();
        for n in 0..UNPROVEN_OF_UNKNOWN_MAX.1 {
            assert!(files.admits(Standing::Unknown, "a/b/x.hft"));
            ids.push(files.add(Tracked { standing: Standing::Unknown, ..new(&format!("a/b/{n}.hft")) }));
        }
        assert!(!files.admits(Standing::Unknown, "a/b/x.hft") && files.admits(Standing::Unknown, "a/c/x.hft"));
        for n in 0..UNPROVEN_OF_UNKNOWN_MAX.0 - UNPROVEN_OF_UNKNOWN_MAX.1 {
            ids.push(files.add(Tracked { standing: Standing::Unknown, ..new(&format!("a/{n}/x.hft")) }));
        }
        assert!(!files.admits(Standing::Unknown, "a/c/x.hft"), "all together have a bound too");
        assert!(files.admits(Standing::Known, "a/b/x.hft") && files.admits(Standing::Good, "a/b/x.hft"));
        assert_eq!(files.good(), 0);
        for id in ids {
            files.take(id).unwrap();
        }
        assert!(files.loads.is_empty() && files.admits(Standing::Unknown, "a/b/x.hft"));
    }
}
