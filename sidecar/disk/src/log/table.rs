//! The segments on disk, shared between the log and its readers: lengths, salts, and a bounded set of open
//! files, and where entries were carried to.
//!
//! Invariants: at most [`OPEN_FILES_MAX`] files are kept open here; a segment leaves the table only after it
//! was unlinked, and a reader that holds its file keeps reading. It does not decide what is unlinked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::LogError;
use super::format::segment_name;
use super::position::Position;
use super::segment::Segment;
use super::storage::{Storage, StoredFile};

/// Segment files kept open for readers.
const OPEN_FILES_MAX: usize = 32;
/// Entries remembered as verified whole, for reads in pieces.
const VERIFIED_MAX: usize = 256;

pub(super) struct Slot {
    pub(super) salt: u64,
    pub(super) len: u64,
    file: Option<Arc<dyn StoredFile>>,
    used: u64,
}

impl Slot {
    pub(super) fn new(salt: u64, len: u64) -> Self {
        Self { salt, len, file: None, used: 0 }
    }
}

struct Inner {
    slots: BTreeMap<u64, Slot>,
    /// Where entries were carried to. Used for positions whose segment is gone.
    forwards: BTreeMap<Position, Position>,
    uses: u64,
    verified: BTreeSet<Position>,
}

pub(super) struct Table {
    storage: Arc<dyn Storage>,
    inner: Mutex<Inner>,
}

/// A segment's file as a reader needs it.
pub(super) struct Opened {
    pub(super) file: Arc<dyn StoredFile>,
    pub(super) salt: u64,
    /// Where the entry is: another place than was asked for, if it was carried there.
    pub(super) at: Position,
}

impl Table {
    pub(super) fn new(storage: Arc<dyn Storage>, slots: BTreeMap<u64, Slot>) -> Self {
        Self {
            storage,
            inner: Mutex::new(Inner { slots, forwards: BTreeMap::new(), uses: 0, verified: BTreeSet::new() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a position's segment, opened if need be; of an entry that was carried on, that of its new place.
    pub(super) fn file(&self, position: Position) -> Result<Opened, LogError> {
        let mut inner = self.lock();
        inner.uses += 1;
        let uses = inner.uses;
        let mut at = position;
        loop {
            let Some(slot) = inner.slots.get_mut(&at.segment) else {
                at = *inner.forwards.get(&at).ok_or(LogError::Gone { position })?;
                continue;
            };
            slot.used = uses;
            let salt = slot.salt;
            if let Some(file) = &slot.file {
                return Ok(Opened { file: file.clone(), salt, at });
            }
            match self.storage.open(&segment_name(at.segment)) {
                Ok(file) => {
                    slot.file = Some(file.clone());
                    inner.close_surplus();
                    return Ok(Opened { file, salt, at });
                }
                // It was unlinked a moment ago.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    at = *inner.forwards.get(&at).ok_or(LogError::Gone { position })?;
                }
                Err(error) => return Err(LogError::io(self.describe(at.segment), "open this file", error)),
            }
        }
    }

    /// The entry at `from` lies at `to` as well.
    pub(super) fn forward(&self, from: Position, to: Position) {
        self.lock().forwards.insert(from, to);
    }

    pub(super) fn describe(&self, number: u64) -> String {
        self.storage.describe(&segment_name(number))
    }

    pub(super) fn insert(&self, segment: &Segment) {
        let mut slot = Slot::new(segment.salt(), u64::from(segment.end()));
        slot.file = Some(segment.file().clone());
        let mut inner = self.lock();
        inner.uses += 1;
        slot.used = inner.uses;
        inner.slots.insert(segment.number(), slot);
        inner.close_surplus();
    }

    pub(super) fn set_len(&self, number: u64, len: u32) {
        if let Some(slot) = self.lock().slots.get_mut(&number) {
            slot.len = u64::from(len);
        }
    }

    pub(super) fn remove(&self, number: u64) {
        let mut inner = self.lock();
        inner.slots.remove(&number);
        inner.drop_dead_forwards();
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        self.lock().slots.contains_key(&number)
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lock().slots.keys().copied().collect()
    }

    pub(super) fn lengths(&self) -> BTreeMap<u64, u64> {
        self.lock().slots.iter().map(|(number, slot)| (*number, slot.len)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().slots.values().map(|slot| slot.len).sum()
    }

    pub(super) fn is_verified(&self, position: Position) -> bool {
        self.lock().verified.contains(&position)
    }

    pub(super) fn set_verified(&self, position: Position) {
        let mut inner = self.lock();
        if inner.verified.len() >= VERIFIED_MAX {
            inner.verified.clear();
        }
        inner.verified.insert(position);
    }
}

impl Inner {
    // A chain of them ends in a segment that is here, or is of no use.
    fn drop_dead_forwards(&mut self) {
        loop {
            let before = self.forwards.len();
            let sources: BTreeSet<Position> = self.forwards.keys().copied().collect();
            let slots = &self.slots;
            self.forwards.retain(|_, to| slots.contains_key(&to.segment) || sources.contains(to));
            if self.forwards.len() == before {
                return;
            }
        }
    }

    fn close_surplus(&mut self) {
        let open = self.slots.values().filter(|slot| slot.file.is_some());
        if open.count() > OPEN_FILES_MAX {
            let oldest = self.slots.values_mut().filter(|slot| slot.file.is_some()).min_by_key(|slot| slot.used);
            if let Some(slot) = oldest {
                slot.file = None;
            }
        }
    }
}
