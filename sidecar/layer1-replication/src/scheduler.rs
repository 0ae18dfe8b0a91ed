//! What my log sends next: which records wait for credit, which are ready, and what goes into one packet.
//!
//! Invariants: a record is in at most one queue; records of a stream are charged in their order, so what the peer holds of it can be
//! consumed (or small records of many streams could use up the credit that what lies before them needs); small records (anything but DATA, or DATA below 64 KiB) go before bulk, bulk streams take
//! turns in quanta; a record that was lost again and again goes alone. It knows sizes and numbers, not contents, and decides nothing about
//! time but since when something waits. Test to read first: `small_records_go_before_bulk_and_streams_take_turns`.

use crate::limits;
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
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

/// Records ready to be sent, by sequence number, with their size in a packet.
#[derive(Clone, Debug, Default)]
struct Queue {
    records: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Queue {
    fn insert(&mut self, seq: u64, bytes: u64) {
        if self.records.insert(seq, bytes).is_none() {
            self.bytes += bytes;
        }
    }

    fn remove(&mut self, seq: u64) -> bool {
        let bytes = self.records.remove(&seq);
        self.bytes -= bytes.unwrap_or(0);
        bytes.is_some()
    }

    /// Takes records in order while they fit into `room`; with `at_least_one`, the first one whatever its size.
    fn take(&mut self, room: &mut u64, count: usize, at_least_one: bool, out: &mut Vec<u64>) {
        let mut must = at_least_one;
        while let Some((&seq, &bytes)) = self.records.first_key_value() {
            if out.len() >= count || (bytes > *room && !must) {
                break;
            }
            must = false;
            *room = room.saturating_sub(bytes);
            self.remove(seq);
            out.push(seq);
        }
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
    bulk: BTreeMap<StreamId, Queue>,
    bulk_bytes: u64,
    alone: Queue,
    small_since: Option<Timestamp>,
    bulk_since: Option<Timestamp>,
    turn: Option<StreamId>,
    /// Durable records that wait for log credit: small first, then in order.
    uncharged: BTreeSet<(bool, u64)>,
    /// Streams with records that are not charged, durable or not.
    waiting: BTreeMap<StreamId, Waiting>,
}

/// Records of one stream that are not charged.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    all: usize,
    /// Of them: those that wait with bulk.
    bulk: usize,
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
            let queue = self.bulk.entry(head.stream).or_default();
            let before = queue.bytes;
            queue.insert(seq, bytes);
            self.bulk_bytes += queue.bytes - before;
            self.bulk_since.get_or_insert(now);
        }
    }

    /// A record was appended without being charged; it is not durable yet.
    pub(crate) fn appended_uncharged(&mut self, head: &RecordHeader) {
        self.waiting.entry(head.stream).or_default().all += 1;
    }

    /// It is durable, and waits for log credit. Entries become durable in order, so what lies before it in its stream waits already.
    pub(crate) fn wait_for_credit(&mut self, head: &RecordHeader) {
        let stream = self.waiting.entry(head.stream).or_default();
        let bulk = !is_small(head) || stream.bulk > 0;
        stream.bulk += usize::from(bulk);
        self.uncharged.insert((bulk, head.seq.get()));
    }

    /// The first record that waits for log credit: whether it is bulk, and its number.
    pub(crate) fn first_uncharged(&self) -> Option<(bool, u64)> {
        self.uncharged.first().copied()
    }

    /// It is charged.
    pub(crate) fn charged(&mut self, waiting: (bool, u64), head: &RecordHeader) {
        self.uncharged.remove(&waiting);
        if let Some(stream) = self.waiting.get_mut(&head.stream) {
            stream.all = stream.all.saturating_sub(1);
            stream.bulk = stream.bulk.saturating_sub(usize::from(waiting.0));
            if stream.all == 0 {
                self.waiting.remove(&head.stream);
            }
        }
    }

    /// How many records wait for credit.
    pub(crate) fn waiting_for_credit(&self) -> usize {
        self.uncharged.len()
    }

    /// Whether others must be charged before this one: of its stream, or of its class.
    pub(crate) fn must_queue(&self, head: &RecordHeader) -> bool {
        let bulk = !is_small(head);
        self.waiting.contains_key(&head.stream) || self.uncharged.range((bulk, 0)..=(bulk, u64::MAX)).next().is_some()
    }

    /// The peer holds it: it need not go again.
    pub(crate) fn forget(&mut self, head: &RecordHeader) {
        let seq = head.seq.get();
        if self.alone.remove(seq) || self.small.remove(seq) {
            self.settle();
            return;
        }
        if let Some(queue) = self.bulk.get_mut(&head.stream) {
            let before = queue.bytes;
            queue.remove(seq);
            self.bulk_bytes -= before - queue.bytes;
            self.settle();
        }
    }

    /// Since when the oldest small record waits, and the bytes that wait.
    pub(crate) const fn small(&self) -> (Option<Timestamp>, u64) {
        (self.small_since, self.small.bytes)
    }

    /// Since when bulk waits, and the bytes that wait.
    pub(crate) const fn bulk(&self) -> (Option<Timestamp>, u64) {
        (self.bulk_since, self.bulk_bytes)
    }

    pub(crate) fn has_alone(&self) -> bool {
        !self.alone.records.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.small.records.is_empty() && self.bulk.is_empty() && self.alone.records.is_empty()
    }

    /// Takes the records of one packet, ascending.
    pub(crate) fn take(&mut self, classes: Classes, bytes_max: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let mut room = bytes_max;
        if let Some((&seq, _)) = self.alone.records.first_key_value() {
            self.alone.remove(seq);
            out.push(seq);
            return out;
        }
        if classes.small {
            self.small.take(&mut room, limits::RECORDS_PER_PACKET_MAX, true, &mut out);
        }
        let mix = out.is_empty() || self.bulk_bytes <= limits::MIXED_PACKET_BYTES_MAX.min(room);
        if classes.bulk && mix {
            self.take_bulk(&mut room, &mut out);
        }
        self.settle();
        out.sort_unstable();
        out
    }

    fn take_bulk(&mut self, room: &mut u64, out: &mut Vec<u64>) {
        loop {
            let next =
                self.turn.and_then(|turn| self.bulk.range(turn..).next()).or_else(|| self.bulk.first_key_value());
            let Some(stream) = next.map(|(stream, _)| *stream) else { break };
            let Some(queue) = self.bulk.get_mut(&stream) else { break };
            let (count, before) = (out.len(), queue.bytes);
            let mut quantum = limits::BULK_QUANTUM_BYTES.min(*room);
            // A record above the quantum goes if it fits, or if the packet is empty.
            let first = queue.records.first_key_value().map_or(0, |(_, bytes)| *bytes);
            queue.take(&mut quantum, limits::RECORDS_PER_PACKET_MAX, first <= *room || count == 0, out);
            let taken = before - queue.bytes;
            *room = room.saturating_sub(taken);
            self.bulk_bytes -= taken;
            if queue.records.is_empty() {
                self.bulk.remove(&stream);
            }
            if out.len() == count {
                break;
            }
            self.turn = StreamId::new(stream.get() + 1);
        }
    }

    fn settle(&mut self) {
        self.bulk.retain(|_, queue| !queue.records.is_empty());
        if self.small.records.is_empty() {
            self.small_since = None;
        }
        if self.bulk.is_empty() {
            self.bulk_since = None;
        }
    }
}

#[cfg(test)]
mod tests;
