//! What verified packets and floors taught about folders and names: which senders are real, where their newest packets
//! lie, which of their shards are over, and which name comes next.
//!
//! Invariants: only packets whose signature verified, and floors that the driver gave, teach anything, and only about the
//! place where the header says that the packet belongs: a copy elsewhere vouches for nothing. The memory is bounded, what
//! was seen longest ago is forgotten first. Numbers in names of folders and files say where to look and who comes
//! first; a predicted name is only tried, never believed.
//! What this file does not do: list folders. Specification: protocol §6, wire format §13.
//! Read first: `names_that_no_listing_shows_are_predicted`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wire::name::{dir_of_incarnation, parse_file_name};
use wire::{EndpointId, Header, Incarnation, PacketName, PacketNumber};

use super::Inbox;
use super::crawl::Crawl;
use super::due::group_of;
use super::numbers::{Life, PacketKey};
use super::tracked::{Standing, State, Tracked, split};
use crate::limits::{EXPECTED_SPAN, KNOWN_LIVES_MAX, PREDICTED_LIVES, PREDICTED_MISSES, PREDICTED_ONE_IN};

/// Characters of a flat name that tell recipient, sender and incarnation.
const FLAT_LIFE: usize = 30;

/// What discovery remembers between scans.
#[derive(Debug)]
pub(crate) struct Discovery {
    predict: bool,
    /// Lives that are real, by their folder (flat layout: by the start of their names).
    pub(crate) lives: BTreeMap<String, KnownLife>,
    /// The last life whose folders were listed because they are likely to have something new.
    pub(crate) rotor: String,
    predicted: String,
    /// The ways through the folders of known senders, and through all others.
    pub(crate) crawls: [Crawl; 2],
    /// Closed shards in which no tracked file is left.
    pub(crate) emptied: VecDeque<String>,
    /// Names that the last look gave, less what was worked on since.
    pub(crate) debt: usize,
}

/// A life of a sender that is real.
#[derive(Debug)]
pub(crate) struct KnownLife {
    pub(crate) life: Life,
    seen: Duration,
    /// The newest name that follows the grammar.
    head: Option<PacketName>,
    flat: bool,
    /// The shard of the newest packet, as it is in the folder.
    pub(crate) hot: Option<String>,
    /// Whether no listing in this scan shows everything in the newest shard.
    pub(crate) blind: bool,
    /// Shards whose numbers are all closed, to look into now and then.
    pub(crate) old: VecDeque<String>,
    /// The last of those that was looked into, and where its next page begins.
    pub(crate) old_rotor: Option<u64>,
    pub(crate) old_from: u64,
    pub(crate) old_next: Duration,
}

impl KnownLife {
    const fn new(life: Life, flat: bool, seen: Duration) -> Self {
        Self {
            life,
            seen,
            head: None,
            flat,
            hot: None,
            blind: false,
            old: VecDeque::new(),
            old_rotor: None,
            old_from: 0,
            old_next: Duration::ZERO,
        }
    }

    fn path(&self, name: &PacketName) -> String {
        if self.flat { name.flat() } else { name.path() }
    }

    /// Folders in which something new is likely: the newest packet's, and the next one close to its end.
    pub(crate) fn likely(&self) -> Vec<String> {
        let mut folders: Vec<String> = self.hot.iter().cloned().collect();
        if let Some(head) = self.head.filter(|_| !self.flat) {
            let ahead = PacketNumber::new(head.pn.get().saturating_add(EXPECTED_SPAN));
            let next = ahead.map(|pn| PacketName { pn, ..head }.dir());
            folders.extend(next.filter(|next| self.hot.as_ref() != Some(next)));
        }
        folders
    }
}

/// What a verified packet taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lesson {
    Nothing,
    /// The life is real.
    NewLife,
    /// Its newest name is a newer one.
    NewerName,
}

/// The number of a shard folder, if its name is one.
pub(crate) fn shard_number(path: &str) -> Option<u64> {
    u64::from_str_radix(split(path).1, 16).ok()
}

impl Discovery {
    pub(crate) fn new(predict: bool) -> Self {
        Self {
            predict,
            lives: BTreeMap::new(),
            rotor: String::new(),
            predicted: String::new(),
            crawls: Crawl::both(),
            emptied: VecDeque::new(),
            debt: 0,
        }
    }

    /// Learns from a packet whose signature verified.
    fn verified(&mut self, header: &Header, path: &str, now: Duration) -> Lesson {
        let (folder, file) = split(path);
        let named = parse_file_name(file);
        let name = PacketName {
            recipient: header.recipient,
            sender: header.sender,
            incarnation_random: header.sender_incarnation.random,
            pn: header.pn,
            tag: named.map_or(0, |(_, tag)| tag),
        };
        let flat = folder.is_empty() && named.is_some() && path.eq_ignore_ascii_case(&name.flat());
        let place = if flat {
            path.get(..FLAT_LIFE).unwrap_or_default()
        } else if folder.eq_ignore_ascii_case(&name.dir()) {
            split(folder).0
        } else {
            return Lesson::Nothing;
        };
        let life = PacketKey::of(header).life;
        let new = !self.lives.contains_key(place);
        let known = self.lives.entry(place.to_owned()).or_insert_with(|| KnownLife::new(life, flat, now));
        known.seen = now;
        let newest = known.head.is_none_or(|head| head.pn <= header.pn);
        if newest && !flat {
            known.hot = Some(folder.to_owned());
        }
        let newer = newest && path == known.path(&name);
        if newer {
            known.head = Some(name);
        }
        self.forget_oldest();
        match (new, newer) {
            (true, _) => Lesson::NewLife,
            (false, true) => Lesson::NewerName,
            (false, false) => Lesson::Nothing,
        }
    }

    /// Learns that a life is real from a floor that the driver gave.
    pub(crate) fn floor(&mut self, recipient: EndpointId, sender: EndpointId, incarnation: Incarnation) {
        let place = dir_of_incarnation(&recipient, &sender, &incarnation);
        let life = Life { recipient, sender, incarnation };
        self.lives.entry(place).or_insert_with(|| KnownLife::new(life, false, Duration::ZERO));
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.lives.len() > KNOWN_LIVES_MAX {
            let oldest = self.lives.iter().min_by_key(|(_, life)| life.seen).map(|(path, _)| path.clone());
            if let Some(oldest) = oldest {
                self.lives.remove(&oldest);
            }
        }
    }

    /// Whether a path is the folder of a known sender.
    pub(crate) fn is_sender(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.lives.range(prefix.clone()..).next().is_some_and(|(life, _)| life.starts_with(&prefix))
    }

    /// The folders of known senders.
    pub(crate) fn senders(&self) -> Vec<String> {
        let mut senders: Vec<String> =
            self.lives.iter().filter(|(_, life)| !life.flat).map(|(path, _)| split(path).0.to_owned()).collect();
        senders.dedup();
        senders
    }

    /// How much a path promises.
    pub(crate) fn standing(&self, path: &str) -> Standing {
        let (folder, file) = split(path);
        let place = if folder.is_empty() { file.get(..FLAT_LIFE).unwrap_or_default() } else { split(folder).0 };
        let Some(known) = self.lives.get(place) else {
            let mut parts = path.match_indices('/').map(|(at, _)| at);
            let sender = parts.nth(1).and_then(|at| path.get(..at));
            return if sender.is_some_and(|sender| self.is_sender(sender)) {
                Standing::Known
            } else {
                Standing::Unknown
            };
        };
        let expected = |head: PacketName| {
            let (pn, tag) = parse_file_name(file)?;
            let near = pn.get().abs_diff(head.pn.get()) <= EXPECTED_SPAN;
            (near && tag == head.tag && path == known.path(&PacketName { pn, ..head })).then_some(())
        };
        if known.head.and_then(expected).is_some() { Standing::Good } else { Standing::Known }
    }
}

impl Inbox {
    /// The number of the first shard of a life that is not over.
    pub(crate) fn low_shard(&self, known: &KnownLife) -> u64 {
        if self.locals.iter().any(|local| local.is_presence(&known.life.recipient)) {
            // Presence has no floor, but only the newest counts.
            return known.head.map_or(0, |head| (head.pn.get() >> 12).saturating_sub(1));
        }
        self.memory.floor(known.life.sender, known.life.incarnation) >> 12
    }

    /// Whether a folder is a shard whose numbers are all closed. Its name is only a hint: it is still looked into, seldom.
    pub(crate) fn is_old_shard(&self, path: &str) -> bool {
        let Some(known) = self.discovery.lives.get(split(path).0) else { return false };
        known.hot.as_deref() != Some(path) && shard_number(path).is_some_and(|shard| shard < self.low_shard(known))
    }

    /// Learns from a packet that verified, and lets the files come first that are expected after it.
    pub(crate) fn learn(&mut self, header: &Header, path: &str, now: Duration) {
        match self.discovery.verified(header, path, now) {
            Lesson::NewLife => return self.stand_anew(path),
            Lesson::NewerName if self.files.unproven(Standing::Known) > 0 => {}
            Lesson::NewerName | Lesson::Nothing => return,
        }
        let Some((pn, tag)) = parse_file_name(split(path).1) else { return };
        let name = PacketName {
            recipient: header.recipient,
            sender: header.sender,
            incarnation_random: header.sender_incarnation.random,
            pn,
            tag,
        };
        let flat = !path.contains('/');
        for ahead in 1..=EXPECTED_SPAN {
            let Some(pn) = PacketNumber::new(pn.get() + ahead) else { return };
            let next = PacketName { pn, ..name };
            let (folder, file) = if flat { (String::new(), next.flat()) } else { (next.dir(), next.file_name()) };
            let id = self.files.folders.get(&folder).and_then(|folder| folder.files.get(&file)).copied();
            if let Some(id) = id.filter(|id| self.files.get(*id).is_some_and(|t| matches!(t.state, State::Fresh))) {
                self.files.update(id, |tracked| tracked.standing = Standing::Good);
            }
        }
    }

    /// Lets the files of a sender that turned out to be real no longer wait behind those of strangers.
    fn stand_anew(&mut self, path: &str) {
        let group = group_of(path).to_owned();
        let folders = self.files.folders.range(group.clone()..).take_while(|(folder, _)| folder.starts_with(&group));
        let root = self.files.folders.get("").filter(|_| !path.contains('/'));
        let files = folders.map(|(_, folder)| folder).chain(root).flat_map(|folder| folder.files.values());
        for id in files.copied().collect::<Vec<_>>() {
            let Some(tracked) = self.files.get(id).filter(|t| matches!(t.state, State::Fresh)) else { continue };
            let standing = self.discovery.standing(&tracked.path);
            self.files.update(id, |tracked| tracked.standing = tracked.standing.min(standing));
        }
    }

    /// Tries the names that come next, where listings may be stale or do not show everything.
    pub(crate) fn predict(&mut self, now: Duration) {
        let predict = self.discovery.predict;
        let wants = |known: &KnownLife| (predict || known.blind) && known.head.is_some();
        let start = self.discovery.predicted.clone();
        let lives = self.discovery.lives.range(start.clone()..).chain(self.discovery.lives.range(..start));
        let turn: Vec<String> = lives
            .filter(|(place, known)| wants(known) && **place != self.discovery.predicted)
            .map(|(place, _)| place.clone())
            .take(PREDICTED_LIVES)
            .collect();
        let last = self.discovery.predicted.clone();
        let again = turn.len() < PREDICTED_LIVES && self.discovery.lives.get(&last).is_some_and(wants);
        for place in turn.into_iter().chain(again.then_some(last)) {
            self.predict_of(&place, now);
            self.discovery.predicted = place;
        }
    }

    fn predict_of(&mut self, place: &str, now: Duration) {
        let Some(known) = self.discovery.lives.get(place) else { return };
        let (Some(head), flat) = (known.head, known.flat) else { return };
        let (mut pn, mut misses) = (head.pn, 0);
        for _ in 0..EXPECTED_SPAN {
            let Some(next) = pn.next().filter(|_| misses < PREDICTED_MISSES) else { return };
            pn = next;
            let name = PacketName { pn, ..head };
            let path = if flat { name.flat() } else { name.path() };
            let (folder, file) = split(&path);
            if self.files.folders.get(folder).is_some_and(|folder| folder.files.contains_key(file)) {
                continue;
            }
            if self.cost.files_opened >= u64::from(self.options.files_per_scan / PREDICTED_ONE_IN) {
                return;
            }
            self.cost.files_opened += 1;
            if !self.dir.open_read(&path).is_ok_and(|file| !self.spent.holds(&path, Some(file.len()))) {
                misses += 1;
                continue;
            }
            if !self.files.admits(Standing::Good, &path) {
                return;
            }
            self.counters.files_seen += 1;
            self.progress += 1;
            self.files.add(Tracked::new(path, Standing::Good, true, now));
        }
    }
}
