//! What verified packets taught about folders and names: which senders are real, and which name comes next.
//!
//! Invariants: only packets whose signature verified teach anything; both memories are bounded, what was seen longest
//! ago is forgotten first; a predicted name is only tried, never believed.
//! What this file does not do: list folders. Specification: protocol §6, wire format §13.
//! Read first: `names_that_no_listing_shows_are_predicted`.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::name::parse_file_name;
use wire::{Header, PacketName};

use super::Inbox;
use super::numbers::{Life, PacketKey};
use super::tracked::{Tracked, split};
use crate::limits::{KNOWN_FOLDERS_MAX, PREDICTED_SENDERS, TRACKED_FILES_MAX};

/// What discovery remembers between scans.
#[derive(Debug)]
pub(crate) struct Discovery {
    predict: bool,
    /// Sender and incarnation folders that held a verified packet, and when the last one.
    pub(crate) known: BTreeMap<String, Duration>,
    /// The newest name of each life that follows the grammar.
    heads: BTreeMap<Life, Head>,
    /// The last unknown sender folder that was walked.
    pub(crate) rotor: String,
    predicted: Option<Life>,
    /// Names that the last look gave, less what was worked on since.
    pub(crate) debt: usize,
}

#[derive(Debug)]
struct Head {
    name: PacketName,
    flat: bool,
    seen: Duration,
}

impl Head {
    fn path(&self, name: &PacketName) -> String {
        if self.flat { name.flat() } else { name.path() }
    }
}

impl Discovery {
    pub(crate) const fn new(predict: bool) -> Self {
        Self { predict, known: BTreeMap::new(), heads: BTreeMap::new(), rotor: String::new(), predicted: None, debt: 0 }
    }

    /// Learns from a packet whose signature verified.
    pub(crate) fn verified(&mut self, header: &Header, path: &str, now: Duration) {
        let (shard, file) = split(path);
        let (life, _) = split(shard);
        let (sender, _) = split(life);
        for folder in [life, sender] {
            if !folder.is_empty() {
                self.known.insert(folder.to_owned(), now);
            }
        }
        while self.known.len() > 2 * KNOWN_FOLDERS_MAX {
            let Some(oldest) = self.known.iter().min_by_key(|(_, at)| **at).map(|(path, _)| path.clone()) else {
                break;
            };
            self.known.remove(&oldest);
        }
        let Some((_, tag)) = parse_file_name(file) else { return };
        let name = PacketName {
            recipient: header.recipient,
            sender: header.sender,
            incarnation_random: header.sender_incarnation.random,
            pn: header.pn,
            tag,
        };
        let flat = path == name.flat();
        if !flat && path != name.path() {
            return;
        }
        let key = PacketKey::of(header);
        if self.heads.get(&key.life).is_none_or(|head| head.name.pn <= header.pn) {
            self.heads.insert(key.life, Head { name, flat, seen: now });
        }
        if self.heads.len() > KNOWN_FOLDERS_MAX {
            let oldest = self.heads.iter().min_by_key(|(_, head)| head.seen).map(|(life, _)| *life);
            if let Some(oldest) = oldest {
                self.heads.remove(&oldest);
            }
        }
    }
}

impl Inbox {
    /// Tries the names that come next, where listings may be stale.
    pub(crate) fn predict(&mut self, now: Duration) {
        if !self.discovery.predict {
            return;
        }
        let mut lives: Vec<Life> = self.discovery.heads.keys().copied().collect();
        let start = self.discovery.predicted.map_or(0, |last| lives.partition_point(|life| *life <= last));
        lives.rotate_left(start);
        for life in lives.into_iter().take(PREDICTED_SENDERS) {
            self.discovery.predicted = Some(life);
            let Some(head) = self.discovery.heads.get(&life) else { continue };
            let Some(pn) = head.name.pn.next() else { continue };
            let path = head.path(&PacketName { pn, ..head.name });
            let (folder, name) = split(&path);
            let tracked = self.files.folders.get(folder).is_some_and(|folder| folder.files.contains_key(name));
            if tracked || self.files.count() >= TRACKED_FILES_MAX {
                continue;
            }
            if let Ok(file) = self.dir.open_read(&path) {
                let len = file.len();
                self.counters.files_seen += 1;
                self.progress += 1;
                self.files.add(Tracked::new(path, len, true, now));
            }
        }
    }
}
