//! The kept responses: found by rule, target and choice, bounded in bytes, the least used ones leave first.
//!
//! Invariants: what is on the shelf and what is being gathered for it together take no more than the bounds, a rule's
//! own and that of all; a response is put on the shelf only if nothing changed its target since it was asked for (RFC
//! 9111 §4.4). It judges no response: `freshness` does. Bytes are counted with the room that names and fields take.
//! Test to read first: `the_least_used_leaves_first`.

use crate::fields::Fields;
use crate::freshness::{self, Life};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Responses kept of one target, each for other requests.
pub const MAX_CHOICES: usize = 8;
/// Targets whose changes are remembered one by one.
pub const MAX_CHANGES: usize = 4_096;
/// What a kept response takes beside its octets.
const OVERHEAD_BYTES: u64 = 512;

/// A kept response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its status.
    pub status: u16,
    /// Its header section.
    pub fields: Fields,
    /// Its content, whole.
    pub content: Bytes,
    /// For how long it is good.
    pub life: Life,
    /// When it came, by a clock that never goes back.
    pub came: Duration,
    /// The requests it is for.
    pub choice: Vec<(String, Vec<u8>)>,
}

impl Kept {
    fn bytes(&self, key: &Key) -> u64 {
        let choice: usize = self.choice.iter().map(|(name, value)| name.len() + value.len()).sum();
        let all = self.content.len() + self.fields.size_bytes() * 2 + choice + key.target.len() + key.rule.len();
        OVERHEAD_BYTES + all as u64
    }
}

/// By what a response is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The whole target, its query included.
    pub target: String,
    /// The rule that allowed the call.
    pub rule: String,
}

/// When a question was put, among the changes of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked(u64);

/// What is there for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A response that is for it.
    Kept(Box<Kept>),
    /// Only responses for other requests.
    OtherChoice,
    /// Nothing.
    Nothing,
}

#[derive(Clone, Debug)]
struct Place {
    kept: Kept,
    bytes: u64,
    used: u64,
}

/// All kept responses.
#[derive(Debug)]
pub struct Shelf {
    bytes_max: u64,
    bytes: u64,
    gathering: u64,
    rules: BTreeMap<String, Rule>,
    places: BTreeMap<Key, Vec<Place>>,
    /// Keys by when they were used last.
    order: BTreeMap<u64, Key>,
    changes: BTreeMap<String, u64>,
    /// Changes before this are not remembered one by one.
    forgotten: u64,
    tick: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Rule {
    bytes_max: u64,
    bytes: u64,
}

impl Shelf {
    /// An empty shelf for so many bytes.
    #[must_use]
    pub const fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            gathering: 0,
            rules: BTreeMap::new(),
            places: BTreeMap::new(),
            order: BTreeMap::new(),
            changes: BTreeMap::new(),
            forgotten: 0,
            tick: 0,
            evicted: 0,
        }
    }

    /// Lets a rule use it, up to so many bytes.
    pub fn add_rule(&mut self, rule: &str, bytes_max: u64) {
        self.rules.insert(rule.to_owned(), Rule { bytes_max, bytes: 0 });
    }

    /// Bytes of kept responses.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Kept responses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }

    /// Is nothing kept?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Responses that left for want of room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A question is put now.
    pub fn ask(&mut self) -> Asked {
        self.tick += 1;
        Asked(self.tick)
    }

    /// What is there for a request.
    pub fn find(&mut self, key: &Key, asked: &Fields) -> Found {
        let Some(places) = self.places.get_mut(key) else { return Found::Nothing };
        self.tick += 1;
        let found = places.iter_mut().rev().find(|place| freshness::is_chosen(&place.kept.choice, asked));
        let Some(place) = found else { return Found::OtherChoice };
        self.order.remove(&place.used);
        place.used = self.tick;
        let kept = place.kept.clone();
        self.order.insert(self.tick, key.clone());
        Found::Kept(Box::new(kept))
    }

    /// Room for octets that are being gathered; false if there is none, even if everything else left.
    pub fn gather(&mut self, octets: u64) -> bool {
        if self.gathering.saturating_add(octets) > self.bytes_max {
            return false;
        }
        self.gathering += octets;
        while self.bytes + self.gathering > self.bytes_max && self.evict(None) {}
        true
    }

    /// Gives such room back.
    pub fn gathered(&mut self, octets: u64) {
        self.gathering = self.gathering.saturating_sub(octets);
    }

    /// Puts a response on the shelf, in the place of the one for the same requests; false if it may not be, or does
    /// not fit.
    pub fn put(&mut self, key: &Key, asked: Asked, kept: Kept) -> bool {
        let bytes = kept.bytes(key);
        let fits = self.rules.get(&key.rule).is_some_and(|rule| bytes <= rule.bytes_max) && bytes <= self.bytes_max;
        if !fits || self.changed_since(&key.target, asked) {
            return false;
        }
        self.remove(key, |place| place.kept.choice == kept.choice);
        while self.places.get(key).is_some_and(|places| places.len() >= MAX_CHOICES) {
            let oldest = self.places.get(key).and_then(|places| places.iter().map(|place| place.used).min());
            self.remove(key, |place| Some(place.used) == oldest);
        }
        self.make_room(&key.rule, bytes);
        if self.bytes + self.gathering + bytes > self.bytes_max {
            // What is being gathered cannot leave.
            return false;
        }
        self.tick += 1;
        let place = Place { kept, bytes, used: self.tick };
        self.places.entry(key.clone()).or_default().push(place);
        self.order.insert(self.tick, key.clone());
        self.bytes += bytes;
        if let Some(rule) = self.rules.get_mut(&key.rule) {
            rule.bytes += bytes;
        }
        true
    }

    /// Drops what is kept for these requests.
    pub fn forget(&mut self, key: &Key, choice: &[(String, Vec<u8>)]) {
        self.remove(key, |place| place.kept.choice == choice);
    }

    /// A call may have changed this target: whatever is kept of it leaves, by whatever rule, and what was asked for
    /// before is not kept.
    pub fn changed(&mut self, target: &str) {
        self.tick += 1;
        if self.changes.len() >= MAX_CHANGES && !self.changes.contains_key(target) {
            self.changes.clear();
            self.forgotten = self.tick;
        }
        self.changes.insert(target.to_owned(), self.tick);
        let first = Key { target: target.to_owned(), rule: String::new() };
        let keys: Vec<Key> =
            self.places.range(first..).map(|(key, _)| key).take_while(|key| key.target == target).cloned().collect();
        for key in keys {
            self.remove(&key, |_| true);
        }
    }

    fn changed_since(&self, target: &str, asked: Asked) -> bool {
        asked.0 <= self.forgotten || self.changes.get(target).is_some_and(|at| asked.0 < *at)
    }

    fn make_room(&mut self, rule: &str, bytes: u64) {
        let full =
            |shelf: &Self| shelf.rules.get(rule).is_some_and(|of_rule| of_rule.bytes + bytes > of_rule.bytes_max);
        while full(self) && self.evict(Some(rule)) {}
        while self.bytes + self.gathering + bytes > self.bytes_max && self.evict(None) {}
    }

    /// Drops the response that was used longest ago, of one rule or of all; false if there is none.
    fn evict(&mut self, rule: Option<&str>) -> bool {
        let oldest = self.order.iter().find(|(_, key)| rule.is_none_or(|rule| key.rule == rule));
        let Some((used, key)) = oldest.map(|(used, key)| (*used, key.clone())) else { return false };
        self.remove(&key, |place| place.used == used);
        self.evicted += 1;
        true
    }

    fn remove(&mut self, key: &Key, gone: impl Fn(&Place) -> bool) {
        let Some(places) = self.places.get_mut(key) else { return };
        let mut freed = 0;
        places.retain(|place| {
            let gone = gone(place);
            if gone {
                freed += place.bytes;
                self.order.remove(&place.used);
            }
            !gone
        });
        if places.is_empty() {
            self.places.remove(key);
        }
        self.bytes -= freed;
        if let Some(rule) = self.rules.get_mut(&key.rule) {
            rule.bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests;
