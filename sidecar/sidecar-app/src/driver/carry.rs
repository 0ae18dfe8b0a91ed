//! What is left in old segments is carried on: a few live records must not keep a whole segment on the disk.
//!
//! After every checkpoint the segments are looked through, except the newest and the one before it, whose records will mostly be gone by
//! themselves: where live records are less than a quarter of the bytes, they are written once more at the end of the log, a
//! piece in every turn. So each byte written again frees at least three.
//!
//! Invariants: a record's old place is given up only when its new one is durable, and the old segment is unlinked only after
//! that: a crash in between finds the old place whole, or the new one. Whoever holds an old position (a packet that is being
//! built, a body that is being read) is sent on by the log. It knows no layer but the indexes. Test to read first:
//! `one_stored_result_does_not_keep_its_segment`.

use std::collections::BTreeMap;

use disk::log::{LogError, Position};
use wire::{EndpointId, Seq, StreamId};

use super::{Driver, DriverError};
use crate::command::Found;
use crate::entry;

/// Bytes carried in one turn.
const TURN_BYTES: u64 = 1 << 20;
/// A segment is left alone until so many were begun after it.
const YOUNG: u64 = 2;
/// A segment is emptied if less than this part of it is live.
const PART: u64 = 4;
/// Records looked at for one plan; what is beyond waits for the next.
const LOOKS_MAX: usize = 16_384;

/// Records to be carried, the last first.
#[derive(Debug, Default)]
pub(super) struct Carry {
    todo: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    peer: EndpointId,
    which: Which,
    from: Position,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Sent(Seq),
    Received(StreamId, u64),
    /// Of a request of mine that may be needed again although it is acknowledged.
    Kept(StreamId, Seq),
}

impl Carry {
    pub(super) fn is_under_way(&self) -> bool {
        !self.todo.is_empty()
    }
}

impl Driver {
    /// Looks which segments are worth emptying.
    pub(super) fn plan_to_carry(&mut self) -> Result<(), DriverError> {
        let mut segments = self.journal.segments();
        let newest = segments.keys().next_back().copied().unwrap_or_default();
        segments.retain(|number, _| number + YOUNG <= newest);
        let mut live: BTreeMap<u64, (u64, Vec<Item>)> = BTreeMap::new();
        let reader = self.journal.reader();
        let mut looks = 0;
        for item in self.items() {
            let Some(bytes) = segments.get(&item.from.segment) else { continue };
            looks += 1;
            if looks > LOOKS_MAX {
                // What was not counted may be live.
                segments.remove(&item.from.segment);
                live.remove(&item.from.segment);
                continue;
            }
            let (_, len) = reader.look(item.from).map_err(|error| match error {
                LogError::Gone { .. } => reader.missing(item.from),
                other => other,
            })?;
            let (sum, items) = live.entry(item.from.segment).or_default();
            *sum += u64::from(len);
            items.push(item);
            if *sum >= bytes / PART {
                segments.remove(&item.from.segment);
                live.remove(&item.from.segment);
            }
        }
        // From the end: the oldest segment first.
        self.carry.todo = live.into_values().rev().flat_map(|(_, items)| items).collect();
        if self.carry.is_under_way() {
            tracing::debug!(records = self.carry.todo.len(), "records are carried out of nearly empty segments");
        }
        Ok(())
    }

    fn items(&self) -> impl Iterator<Item = Item> + '_ {
        self.slots.iter().flat_map(|(peer, slot)| {
            let sent = slot.sent.values().map(|place| (Which::Sent(place.seq), place.position));
            let received = slot.spool.records();
            let received =
                received.map(|found| (Which::Received(found.head.stream, found.head.offset), found.position));
            let kept = slot.near_calls.iter().flat_map(|(stream, call)| {
                let released = |found: &&Found| !slot.sent.contains_key(&found.head.seq);
                let appended = call.request.records().filter(|(_, to_copy)| !to_copy).map(|(found, _)| found);
                appended.filter(released).map(|found| (Which::Kept(*stream, found.head.seq), found.position))
            });
            sent.chain(received).chain(kept).map(|(which, from)| Item { peer: *peer, which, from })
        })
    }

    /// Carries the next piece.
    pub(super) fn carry_on(&mut self) -> Result<(), DriverError> {
        let mut bytes = 0;
        while bytes < TURN_BYTES
            && let Some(item) = self.carry.todo.pop()
        {
            bytes += self.carry_one(item)?;
        }
        Ok(())
    }

    /// Carries a record, if it is still where it was; gives the bytes that were written.
    fn carry_one(&mut self, item: Item) -> Result<u64, DriverError> {
        let Some(slot) = self.slots.get_mut(&item.peer) else { return Ok(0) };
        let here = match item.which {
            Which::Sent(seq) => slot.sent.get(&seq).map(|place| place.position),
            Which::Received(stream, offset) => slot.spool.place(stream, offset),
            Which::Kept(stream, seq) => slot.near_calls.get(&stream).and_then(|call| call.request.place(seq)),
        };
        if here != Some(item.from) {
            return Ok(0);
        }
        let (kind, body) = self.journal.reader().read(item.from)?;
        let placed = entry::placed_record(kind, &body).filter(|placed| placed.peer == item.peer);
        let placed = placed.ok_or_else(|| self.journal.reader().not_a_record(item.from))?;
        let Some(to) = self.journal.carry(item.from, &placed)? else {
            // The disk is full. The next checkpoint makes a new plan.
            self.carry.todo.clear();
            return Ok(0);
        };
        slot.move_record(placed.sent, &placed.head, to);
        let kept = slot.near_calls.get_mut(&placed.head.stream).filter(|_| placed.sent);
        if kept.and_then(|call| call.request.move_to(&placed.head, to)) == Some(item.from)
            && matches!(item.which, Which::Sent(_))
        {
            // It is held a second time.
            self.journal.pin(to);
            self.journal.unpin(item.from);
        }
        Ok(body.len() as u64)
    }
}

#[cfg(test)]
pub(super) mod tests;
