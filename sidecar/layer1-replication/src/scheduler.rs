//! What my log sends next: which records wait for credit, which are ready, and what goes into one packet.
//!
//! Invariants: a record is in at most one queue; small records (anything but DATA, or DATA below 64 KiB) go before bulk, bulk by the urgency of
//! its stream and in turns (see `turns`), and even the least urgent gets a twentieth; a record that was lost again and again goes alone.
//! It knows sizes and numbers, not contents, and decides nothing about time but since when something waits.
//! Test to read first: `small_records_go_before_bulk_and_streams_take_turns`.

mod turns;
mod uncharged;

pub(crate) use turns::Priority;
pub(crate) use uncharged::Uncharged;

use crate::limits;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use turns::Turns;
use uncharged::CreditQueue;
use wire::record::kind;
use wire::{RecordHeader, StreamId};

/// Whether a record counts as small.
pub(crate) const fn is_small(head: &RecordHeader) -> bool {
    head.kind != kind::DATA || head.stored_len < limits::SMALL_DATA_BYTES
}

/// What a record takes of a packet, in bytes: 24 of header in a batch; table entry and tag as a chunk.
pub(crate) fn packet_bytes(head: &RecordHeader) -> u64 {
    u64::from(head.stored_len) + if is_small(head) { 24 } else { 80 }
}

/// Records by sequence number, with their bytes.
#[derive(Clone, Debug, Default)]
struct Queue {
    records: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Queue {
    /// The bytes that it adds: none if it is there.
    fn insert(&mut self, seq: u64, bytes: u64) -> u64 {
        let more = if self.records.insert(seq, bytes).is_none() { bytes } else { 0 };
        self.bytes += more;
        more
    }

    fn remove(&mut self, seq: u64) -> Option<u64> {
        let bytes = self.records.remove(&seq)?;
        self.bytes -= bytes;
        Some(bytes)
    }

    fn first(&self) -> Option<(u64, u64)> {
        self.records.first_key_value().map(|(seq, bytes)| (*seq, *bytes))
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes records in order while they fit into `room`, but at least one if `out` is empty.
    fn take(&mut self, room: &mut u64, out: &mut Vec<u64>) {
        while let Some((seq, bytes)) = self.first() {
            if out.len() >= limits::RECORDS_PER_PACKET_MAX || (bytes > *room && !out.is_empty()) {
                break;
            }
            *room = room.saturating_sub(bytes);
            self.remove(seq);
            out.push(seq);
        }
    }
}

/// Priorities of streams that have another than the default.
#[derive(Clone, Debug, Default)]
struct Priorities(BTreeMap<StreamId, Priority>);

impl Priorities {
    fn of(&self, stream: StreamId) -> Priority {
        self.0.get(&stream).copied().unwrap_or_default()
    }
}

/// Which classes a packet takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    pub(crate) small: bool,
    pub(crate) bulk: bool,
}

/// The queues of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduler {
    small: Queue,
    bulk: Turns,
    alone: Queue,
    small_since: Option<Timestamp>,
    bulk_since: Option<Timestamp>,
    uncharged: CreditQueue,
    priorities: Priorities,
}

impl Scheduler {
    /// A record may be sent now.
    pub(crate) fn ready(&mut self, now: Timestamp, head: &RecordHeader, losses: u8) {
        let (seq, bytes) = (head.seq.get(), packet_bytes(head));
        if losses >= limits::LOSSES_ALONE {
            self.alone.insert(seq, bytes);
        } else if is_small(head) {
            self.small.insert(seq, bytes);
            self.small_since.get_or_insert(now);
        } else {
            self.bulk.insert(head.stream, self.priorities.of(head.stream), seq, bytes);
            self.bulk_since.get_or_insert(now);
        }
    }

    /// How urgent a stream of mine is from here on.
    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: Priority) {
        match priority == Priority::default() {
            true => self.priorities.0.remove(&stream),
            false => self.priorities.0.insert(stream, priority),
        };
        self.bulk.set_priority(stream, priority);
        self.uncharged.set_priority(stream, priority);
    }

    /// Nothing more is appended to this stream. What waits keeps its place.
    pub(crate) fn forget_priority(&mut self, stream: StreamId) {
        self.priorities.0.remove(&stream);
    }

    /// A record was appended without being charged; it is not durable yet.
    pub(crate) fn appended_uncharged(&mut self, head: &RecordHeader) {
        self.uncharged.appended(head);
    }

    /// It is durable, and waits for log credit.
    pub(crate) fn wait_for_credit(&mut self, head: &RecordHeader) {
        self.uncharged.wait(head, self.priorities.of(head.stream));
    }

    /// The record that is to be charged next, and a small one that need not wait for it if it is bulk that finds no room.
    pub(crate) fn first_uncharged(&mut self) -> (Option<Uncharged>, Option<Uncharged>) {
        self.uncharged.first()
    }

    /// It is charged after waiting.
    pub(crate) fn charged(&mut self, which: Uncharged, head: &RecordHeader) {
        self.uncharged.charged(which, head);
    }

    /// How many records wait for credit.
    pub(crate) const fn waiting_for_credit(&self) -> usize {
        self.uncharged.count()
    }

    /// Whether others must be charged before this one: of its stream, or of its class.
    pub(crate) fn must_queue(&self, head: &RecordHeader) -> bool {
        self.uncharged.must_queue(head)
    }

    /// A record counts against credit; if it is bulk, it is ahead until it is sent.
    pub(crate) fn run_ahead(&mut self, head: &RecordHeader) {
        self.uncharged.run_ahead(head);
    }

    /// A record left for the first time.
    pub(crate) fn caught_up(&mut self, head: &RecordHeader) {
        self.uncharged.caught_up(head);
    }

    /// Cost of bulk that is charged, was not sent, and is as urgent as `stream` or more.
    pub(crate) fn ahead_of(&self, stream: StreamId) -> u64 {
        self.uncharged.ahead_of(stream, &self.priorities)
    }

    /// It need not go; whether it was about to.
    pub(crate) fn forget(&mut self, head: &RecordHeader) -> bool {
        let seq = head.seq.get();
        let waited =
            self.alone.remove(seq).is_some() || self.small.remove(seq).is_some() || self.bulk.remove(head.stream, seq);
        self.settle();
        waited
    }

    /// Since when the oldest small record waits, and the bytes that wait.
    pub(crate) const fn small(&self) -> (Option<Timestamp>, u64) {
        (self.small_since, self.small.bytes)
    }

    /// Since when bulk waits, and the bytes that wait.
    pub(crate) const fn bulk(&self) -> (Option<Timestamp>, u64) {
        (self.bulk_since, self.bulk.bytes())
    }

    pub(crate) fn has_alone(&self) -> bool {
        !self.alone.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.bulk.is_empty() && self.alone.is_empty()
    }

    /// Takes the records of one packet, ascending.
    pub(crate) fn take(&mut self, classes: Classes, bytes_max: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let mut room = bytes_max;
        if let Some((seq, _)) = self.alone.first() {
            self.alone.remove(seq);
            out.push(seq);
            return out;
        }
        // Small records that never end do not keep bulk waiting for ever.
        if classes.bulk && classes.small && self.small.bytes > bytes_max && self.bulk.is_owed() {
            self.take_bulk(&mut room, &mut out, true);
        }
        if classes.small {
            let before = self.small.bytes;
            self.small.take(&mut room, &mut out);
            self.bulk.pass_by(before - self.small.bytes, None);
        }
        let mix = out.is_empty() || self.bulk.bytes() <= limits::MIXED_PACKET_BYTES_MAX.min(room);
        if classes.bulk && mix {
            self.take_bulk(&mut room, &mut out, false);
        }
        self.settle();
        out.sort_unstable();
        out
    }

    /// Takes bulk in turns while it fits, but at least one record if there is none yet; with `owed`, only what is owed.
    fn take_bulk(&mut self, room: &mut u64, out: &mut Vec<u64>, owed: bool) {
        while let Some((_, seq, bytes)) = self.bulk.front().filter(|_| !owed || self.bulk.is_owed()) {
            if out.len() >= limits::RECORDS_PER_PACKET_MAX || (bytes > *room && !out.is_empty()) {
                break;
            }
            *room = room.saturating_sub(bytes);
            self.bulk.pop();
            out.push(seq);
        }
    }

    fn settle(&mut self) {
        if self.small.is_empty() {
            self.small_since = None;
        }
        if self.bulk.is_empty() {
            self.bulk_since = None;
        }
    }
}

#[cfg(test)]
mod tests;
