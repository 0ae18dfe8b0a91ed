//! Whose turn it is: records of many streams, by urgency and then in turns (RFC 9218; deficit round robin, Shreedhar and Varghese 1995).
//!
//! Invariants: records of a stream keep their order; a more urgent class goes first, but every class with records gets a twentieth of
//! the bytes that pass it by; inside a class every stream gets the same share, an incremental one in smaller pieces.
//! [`Turns::front`] names a record and gives the same answer until something changes. It knows sizes and numbers only.
//! Test to read first: `tests::every_class_gets_its_twentieth_and_the_most_urgent_the_rest`.

use super::Queue;
use crate::limits;
use alloc::collections::{BTreeMap, BTreeSet};
use wire::StreamId;

/// Urgencies of RFC 9218: 0 to 7, smaller is more urgent.
pub(crate) const URGENCIES: usize = 8;

/// How urgent a stream is, and whether parts of it are of use by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priority {
    urgency: u8,
    incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

impl Priority {
    /// An urgency above the least urgent counts as that.
    pub(crate) fn new(urgency: u8, incremental: bool) -> Self {
        Self { urgency: urgency.min(URGENCIES as u8 - 1), incremental }
    }

    pub(crate) fn urgency(self) -> usize {
        usize::from(self.urgency)
    }

    /// A turn begins when a stream has saved up so much.
    const fn least(self) -> u64 {
        if self.incremental { 0 } else { limits::BULK_QUANTUM_BYTES }
    }
}

#[derive(Clone, Debug, Default)]
struct Lane {
    priority: Priority,
    records: Queue,
    deficit: u64,
    /// In the middle of its turn.
    serving: bool,
}

impl Lane {
    fn head(&self) -> Option<(u64, u64)> {
        self.records.first()
    }
}

#[derive(Clone, Debug, Default)]
struct Class {
    streams: BTreeSet<StreamId>,
    turn: Option<StreamId>,
    /// Bytes that it may send before more urgent classes; below 0: that it got too early.
    owed: i64,
}

impl Class {
    /// The stream whose turn it may be.
    fn current(&self) -> Option<StreamId> {
        let later = self.turn.and_then(|turn| self.streams.range(turn..).next());
        later.or_else(|| self.streams.first()).copied()
    }
}

/// Records that wait for their turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    lanes: BTreeMap<StreamId, Lane>,
    classes: [Class; URGENCIES],
    bytes: u64,
}

impl Turns {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(crate) fn insert(&mut self, stream: StreamId, priority: Priority, seq: u64, bytes: u64) {
        let lane = self.lanes.entry(stream).or_insert_with(|| Lane { priority, ..Lane::default() });
        self.classes[lane.priority.urgency()].streams.insert(stream);
        self.bytes += lane.records.insert(seq, bytes);
    }

    /// It need not wait any more; whether it did.
    pub(crate) fn remove(&mut self, stream: StreamId, seq: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(&stream) else { return false };
        let Some(bytes) = lane.records.remove(seq) else { return false };
        self.bytes -= bytes;
        if lane.records.is_empty() {
            self.end(stream);
        }
        true
    }

    fn end(&mut self, stream: StreamId) {
        let Some(lane) = self.lanes.remove(&stream) else { return };
        let class = &mut self.classes[lane.priority.urgency()];
        class.streams.remove(&stream);
        if class.streams.is_empty() {
            class.owed = class.owed.min(0);
        }
    }

    /// A stream has another priority from here on.
    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: Priority) {
        let Some(mut lane) = self.lanes.get(&stream).cloned() else { return };
        if lane.priority != priority {
            self.end(stream);
            (lane.priority, lane.serving) = (priority, false);
            self.classes[priority.urgency()].streams.insert(stream);
            self.lanes.insert(stream, lane);
        }
    }

    /// Whether a class waits for what it was passed by.
    pub(crate) fn is_owed(&self) -> bool {
        self.classes.iter().any(|class| class.owed > 0 && !class.streams.is_empty())
    }

    /// The class to be served: the one that was passed by most, else the most urgent.
    fn class(&self) -> Option<usize> {
        let waiting = || self.classes.iter().enumerate().filter(|(_, class)| !class.streams.is_empty());
        let owed = waiting().rev().filter(|(_, class)| class.owed > 0).max_by_key(|(_, class)| class.owed);
        owed.or_else(|| waiting().next()).map(|(urgency, _)| urgency)
    }

    /// The record whose turn it is: its stream, its number, its bytes.
    pub(crate) fn front(&mut self) -> Option<(StreamId, u64, u64)> {
        let class = &mut self.classes[self.class()?];
        loop {
            let stream = class.current()?;
            let lane = self.lanes.get_mut(&stream)?;
            let (seq, bytes) = lane.head()?;
            if lane.deficit >= bytes && (lane.serving || lane.deficit >= lane.priority.least()) {
                lane.serving = true;
                class.turn = Some(stream);
                return Some((stream, seq, bytes));
            }
            lane.serving = false;
            lane.deficit += limits::BULK_PIECE_BYTES;
            class.turn = StreamId::new(stream.get() + 1);
        }
    }

    /// Takes the record that [`Self::front`] names.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let (stream, seq, bytes) = self.front()?;
        let urgency = self.lanes.get_mut(&stream).map_or(0, |lane| {
            lane.deficit -= bytes;
            lane.priority.urgency()
        });
        let early = self.classes[..urgency].iter().any(|class| !class.streams.is_empty());
        if early || self.classes[urgency].owed > 0 {
            self.classes[urgency].owed -= signed(bytes);
        }
        self.pass_by(bytes, Some(urgency));
        self.remove(stream, seq);
        Some(seq)
    }

    /// Bytes of another class were sent: of `urgency`, or of what is more urgent than all here.
    pub(crate) fn pass_by(&mut self, bytes: u64, urgency: Option<usize>) {
        let share = signed(bytes.div_ceil(limits::STARVATION_DIVISOR - 1));
        let served = urgency.unwrap_or(URGENCIES);
        // The most urgent class that waits needs no help, unless what passed is more urgent still.
        let top = self.classes.iter().position(|class| !class.streams.is_empty()).filter(|_| urgency.is_some());
        for (index, class) in self.classes.iter_mut().enumerate() {
            if index != served && Some(index) != top {
                let most = if class.streams.is_empty() { class.owed.max(0) } else { i64::MAX };
                class.owed = class.owed.saturating_add(share).min(most);
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
