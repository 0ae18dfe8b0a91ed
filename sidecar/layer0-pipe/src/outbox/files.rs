//! Files the outbox may remove: retired packets, packets below a floor, leftovers of an interrupted start, and all that
//! is for a recipient that is gone.
//!
//! Invariants: only files in folders of this outbox's own endpoint are touched, and only when their packet is
//! named, below the floor given, for nobody, or too old for anyone to use. Age is counted from when this process first saw
//! the file, so that a process that ends earlier removes nothing by age: modification times are not trusted. Only for a
//! temporary file of another start, which nobody needs, they are compared with that of a file this start wrote; a process
//! that crashes again and again would leave ever more of them. A folder that new packets go to is never removed.
//! What this file does not do: decide which packets are retired. Specification: protocol §3 "Garbage collection", §6.
//! Read first: `a_sweep_removes_what_is_below_the_floor`.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use disk::dir::{DirEntry, EntryKind};
use wire::name::{considered, dir_of_incarnation, parse_file_name, shard};
use wire::{EndpointId, Incarnation, PacketNumber};

use super::{Held, Layout, Outbox};
use crate::limits::{FOLDER_NAMES_MAX, PART_LEFTOVER_AGE, PUBLISHED_KEPT, SENDER_LIVES_MAX};

/// One packet in this many is asked for its modification time.
const ASKED_ONE_IN: u64 = 256;

/// The numbers a sweep may rely on for one pair: own packets below `floor` are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketFloor {
    /// The recipient of the packets.
    pub recipient: EndpointId,
    /// My incarnation.
    pub incarnation: Incarnation,
    /// Packets of lower numbers may go.
    pub floor: u64,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Packet files that were left.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Packet files that were removed.
    pub removed: u64,
    /// Leftover temporary files that were removed.
    pub leftovers: u64,
    /// Files that could not be removed; the next sweep tries again.
    pub failed: u64,
}

/// What this start of the outbox did and saw.
#[derive(Debug, Default)]
pub(super) struct Bookkeeping {
    /// First and newest number published by this start.
    published: BTreeMap<(EndpointId, Incarnation), (PacketNumber, PacketNumber)>,
    /// When a file was first seen by a sweep, for those that only go by age.
    first_seen: BTreeMap<String, Duration>,
    /// What lies in the folder: exact after each listing, an estimate in between.
    held: Held,
    /// Packets published by this start.
    count: u64,
    /// The newest modification time of those that were asked, in seconds since 1970 by the file system's clock.
    modified_s: Option<i64>,
}

impl Bookkeeping {
    pub(super) fn published(&mut self, recipient: EndpointId, incarnation: Incarnation, pn: PacketNumber) {
        let range = self.published.entry((recipient, incarnation)).or_insert((pn, pn));
        *range = (range.0.min(pn), range.1.max(pn));
        if self.published.len() > SENDER_LIVES_MAX {
            self.published.pop_first(); // costs a listing if that pair is still alive
        }
    }

    /// A packet came into the folder.
    pub(super) const fn came(&mut self, bytes: u64) {
        self.held.files = self.held.files.saturating_add(1);
        self.held.bytes = self.held.bytes.saturating_add(bytes);
    }

    /// A packet was removed; its length is taken for the average.
    const fn went(&mut self) {
        if let Some(average) = self.held.bytes.checked_div(self.held.files) {
            self.held.files -= 1;
            self.held.bytes = self.held.bytes.saturating_sub(average);
        }
    }

    /// Counts a packet; true if it is one of those whose modification time is asked: the first, and some of the others.
    pub(super) fn asks(&mut self) -> bool {
        self.count += 1;
        self.count % ASKED_ONE_IN == 1
    }

    pub(super) fn modified(&mut self, at_s: i64) {
        self.modified_s = self.modified_s.max(Some(at_s));
    }

    /// How long ago a sweep first saw this path; zero the first time.
    fn age(&mut self, path: &str, now: Duration) -> Duration {
        if let Some(seen) = self.first_seen.get(path) {
            return now.saturating_sub(*seen);
        }
        if self.first_seen.len() < PUBLISHED_KEPT {
            self.first_seen.insert(path.to_owned(), now);
        }
        Duration::ZERO
    }
}

impl Outbox {
    /// Removes the file of a packet that is closed at the peer. Returns whether a file was removed: it may have
    /// been taken by the mirror.
    ///
    /// # Errors
    /// Whatever the file system reports; asking again later is safe.
    pub fn remove(&self, recipient: EndpointId, incarnation: Incarnation, pn: PacketNumber) -> io::Result<bool> {
        let range = self.books().published.get(&(recipient, incarnation)).copied();
        let path = self.path(&self.name(recipient, &incarnation, pn));
        let mut removed = self.unlink(&path)?;
        if range.is_none_or(|(first, _)| pn < first) {
            removed |= self.remove_of_an_earlier_start(recipient, incarnation, pn)?;
        }
        let old_shard = range.is_none_or(|(_, newest)| shard(pn) != shard(newest));
        if let Some((folder, _)) = path.rsplit_once('/')
            && old_shard
        {
            self.drop_empty(folder);
        }
        Ok(removed)
    }

    /// An earlier start wrote other tags into the names: look for the number.
    fn remove_of_an_earlier_start(
        &self,
        recipient: EndpointId,
        incarnation: Incarnation,
        pn: PacketNumber,
    ) -> io::Result<bool> {
        let name = self.name(recipient, &incarnation, pn);
        let (folder, mine) = match self.options.layout {
            Layout::Tree => (name.dir(), name.file_name()),
            Layout::Flat => (String::new(), name.flat()),
        };
        let tag_len = ".hft".len() + 8;
        let stem = mine.get(..mine.len().saturating_sub(tag_len)).unwrap_or(&mine);
        let mut removed = false;
        for entry in self.entries(&folder)? {
            let folded = entry.name.to_ascii_lowercase();
            if folded.starts_with(stem) && parse_file_name(&folded).is_some_and(|(found, _)| found == pn) {
                removed |= self.unlink(&join(&folder, &entry.name))?;
            }
        }
        Ok(removed)
    }

    /// Looks through all own files: removes packets below their floor, packets older than the largest packet lifetime,
    /// and temporary files older than a day; and folders that nothing is in. `now` is the monotonic time since the start
    /// of the process; to be called every few minutes.
    ///
    /// # Errors
    /// If the root cannot be listed.
    pub fn sweep(&self, now: Duration, floors: &[PacketFloor]) -> io::Result<SweepReport> {
        let mut report = SweepReport::default();
        let mut seen: BTreeMap<String, Duration> = BTreeMap::new();
        match self.options.layout {
            Layout::Flat => {
                let files = self.entries("")?;
                self.sweep_folder(now, "", &files, floors, &mut report, &mut seen);
            }
            Layout::Tree => {
                for folder in self.own_folders()? {
                    let Ok(files) = self.entries(&folder) else { continue };
                    self.sweep_folder(now, &folder, &files, floors, &mut report, &mut seen);
                    self.drop_if_empty(&folder);
                }
            }
        }
        let mut books = self.books();
        books.first_seen = seen;
        books.held = Held { files: report.packets, bytes: report.bytes };
        drop(books);
        Ok(report)
    }

    /// What lies in the folder of own packets, as far as is known without looking: mirrors take files away unasked.
    pub fn held(&self) -> Held {
        self.books().held
    }

    /// Counts the own packets that lie in the folder.
    ///
    /// # Errors
    /// If the root cannot be listed.
    pub fn recount(&self) -> io::Result<Held> {
        let folders = match self.options.layout {
            Layout::Flat => vec![String::new()],
            Layout::Tree => self.own_folders()?,
        };
        let mut held = Held::default();
        for folder in folders {
            for file in self.entries(&folder)?.iter().filter(|file| file.kind == EntryKind::File) {
                if considered(&file.name) && self.is_own(&folder, &file.name) {
                    held.files += 1;
                    held.bytes += file.len;
                }
            }
        }
        self.books().held = held;
        Ok(held)
    }

    /// Removes every own file for this recipient, of every life and start, with its folders: nobody is expected to read
    /// them. What cannot be removed now goes by age.
    ///
    /// # Errors
    /// If the folder of the recipient cannot be listed.
    pub fn forget(&self, recipient: EndpointId) -> io::Result<SweepReport> {
        self.books().published.retain(|(of, _), _| *of != recipient);
        let mut report = SweepReport::default();
        match self.options.layout {
            Layout::Flat => {
                let files = self.entries("")?;
                let hex = recipient.to_hex32();
                let stem = hex.get(..10).unwrap_or(&hex);
                let theirs = |name: &str| name.trim_start_matches('.').to_ascii_lowercase().starts_with(stem);
                self.remove_own("", files.iter().filter(|file| theirs(&file.name)), &mut report);
            }
            Layout::Tree => {
                for folder in self.shards_for(&recipient.to_hex32())? {
                    let Ok(files) = self.entries(&folder) else { continue };
                    self.remove_own(&folder, files.iter(), &mut report);
                    self.drop_empty(&folder);
                }
            }
        }
        Ok(report)
    }

    fn remove_own<'a>(&self, folder: &str, files: impl Iterator<Item = &'a DirEntry>, report: &mut SweepReport) {
        for file in files.filter(|file| file.kind == EntryKind::File) {
            let leftover = is_part(&file.name);
            if !leftover && !considered(&file.name) || !self.is_own(folder, &file.name) {
                continue;
            }
            match self.unlink(&join(folder, &file.name)) {
                Ok(_) if leftover => report.leftovers += 1,
                Ok(_) => report.removed += 1,
                Err(error) => {
                    tracing::debug!(folder, name = file.name, %error, "an outbox file could not be removed");
                    report.failed += 1;
                }
            }
        }
    }

    /// Every folder of this endpoint that has no folder in it: shards, but for those that are empty.
    fn own_folders(&self) -> io::Result<Vec<String>> {
        let mut folders = Vec::new();
        for recipient in self.folders("")? {
            folders.extend(self.shards_for(&recipient).unwrap_or_default());
        }
        Ok(folders)
    }

    /// The shard folders of this endpoint in the folder of one recipient, and its folders without any: a mirror that moves
    /// may have taken what was in them.
    fn shards_for(&self, recipient: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mine = join(recipient, &self.sender.to_hex32());
        let lives = self.folders(&mine)?;
        if lives.is_empty() && self.folders(recipient)?.contains(&mine) {
            found.push(mine);
        }
        for life in lives {
            let shards = self.folders(&life).unwrap_or_default();
            if shards.is_empty() { found.push(life) } else { found.extend(shards) }
        }
        Ok(found)
    }

    fn sweep_folder(
        &self,
        now: Duration,
        folder: &str,
        files: &[DirEntry],
        floors: &[PacketFloor],
        report: &mut SweepReport,
        seen: &mut BTreeMap<String, Duration>,
    ) {
        for file in files.iter().filter(|file| file.kind == EntryKind::File) {
            let path = join(folder, &file.name);
            let leftover = is_part(&file.name);
            if !leftover && !considered(&file.name) || !self.is_own(folder, &file.name) {
                continue;
            }
            let age = self.books().age(&path, now);
            let goes = if leftover {
                age >= PART_LEFTOVER_AGE || self.is_of_an_earlier_start(&path, &file.name)
            } else {
                let floor = self.floor_of(folder, &file.name, floors);
                age >= self.options.mpl || floor.is_some_and(|(pn, floor)| pn.get() < floor)
            };
            match goes.then(|| self.unlink(&path)) {
                Some(Ok(_)) if leftover => report.leftovers += 1,
                Some(Ok(_)) => report.removed += 1,
                Some(Err(error)) => {
                    tracing::debug!(path, %error, "an outbox file could not be removed");
                    report.failed += 1;
                }
                None => {
                    report.packets += u64::from(!leftover);
                    report.bytes += if leftover { 0 } else { file.len };
                }
            }
            if let Some(first) = self.books().first_seen.get(&path) {
                seen.insert(path, *first); // what vanished meanwhile is forgotten
            }
        }
    }

    /// Whether a temporary file was given up by another start: it is a day older than a file that this start wrote, by the
    /// clock of the file system that holds both.
    fn is_of_an_earlier_start(&self, path: &str, file: &str) -> bool {
        let stem = file.trim_start_matches('.').trim_end_matches(".part");
        if parse_file_name(stem).is_none_or(|(_, tag)| tag == self.tag) {
            return false;
        }
        let (Some(newest), Ok(Some(at))) = (self.books().modified_s, self.dir.modified_s(path)) else { return false };
        u64::try_from(newest.saturating_sub(at)).is_ok_and(|age| Duration::from_secs(age) >= PART_LEFTOVER_AGE)
    }

    /// Packet number and floor of a file, if its life has a floor.
    fn floor_of(&self, folder: &str, file: &str, floors: &[PacketFloor]) -> Option<(PacketNumber, u64)> {
        let (pn, _) = parse_file_name(file)?;
        let mut floors = floors.iter();
        let floor = match self.options.layout {
            Layout::Tree => {
                let (life, _) = folder.rsplit_once('/')?;
                floors.find(|f| dir_of_incarnation(&f.recipient, &self.sender, &f.incarnation) == life)
            }
            Layout::Flat => {
                let folded = file.to_ascii_lowercase();
                floors.find(|f| self.name(f.recipient, &f.incarnation, pn).flat().get(..30) == folded.get(..30))
            }
        }?;
        Some((pn, floor.floor))
    }

    /// In one flat folder the endpoints' files lie side by side; elsewhere the folder tells.
    fn is_own(&self, folder: &str, file: &str) -> bool {
        if !folder.is_empty() {
            return true;
        }
        let hex = self.sender.to_hex32();
        let from = if file.starts_with('.') { 12 } else { 11 };
        let named = file.get(from..from + 10).map(str::to_ascii_lowercase);
        named.as_deref() == hex.get(..10)
    }

    /// Removes a folder that nothing is in and that no new packet goes to.
    fn drop_if_empty(&self, folder: &str) {
        let inside = format!("{folder}/");
        let in_use = self.books().published.iter().any(|((recipient, incarnation), (_, newest))| {
            let goes_to = self.name(*recipient, incarnation, *newest).dir();
            goes_to == folder || goes_to.starts_with(&inside)
        });
        if !in_use && self.entries(folder).is_ok_and(|entries| entries.is_empty()) {
            self.drop_empty(folder);
        }
    }

    fn drop_empty(&self, folder: &str) {
        if let Err(error) = self.dir.remove_empty_dirs(folder) {
            tracing::debug!(folder, %error, "an empty folder could not be removed");
        }
    }

    fn unlink(&self, path: &str) -> io::Result<bool> {
        match self.dir.remove_file(path) {
            Ok(()) => {
                self.books().went();
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, folder: &str) -> io::Result<Vec<DirEntry>> {
        match self.dir.list_limited(folder, FOLDER_NAMES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => Ok(Vec::new()),
            result => result,
        }
    }

    fn folders(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = self.entries(folder)?;
        let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Dir && !entry.name.starts_with('.'));
        Ok(folders.map(|entry| join(folder, &entry.name)).collect())
    }
}

fn is_part(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".hft.part")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
