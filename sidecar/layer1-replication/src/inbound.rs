//! The peer's streams: which bytes came, which were consumed, how far each may run, and the exchanges they belong to.
//!
//! Invariants: no byte of a stream comes twice; stream credit is durable before it is announced or enforced, and never taken back; consuming is
//! idempotent; what comes for a stream that is closed or ended is taken (the log must not have holes), but consumed at once and not
//! delivered. Test to read first: `no_byte_comes_twice`.

use crate::entry::ReceivedMeta;
use crate::time::{Duration, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::limits::MAX_STREAM_CREDITS;
use wire::record::{FIRST_STORED_KIND, kind};
use wire::{RangeSet, RecordHeader, StreamId};

/// Why a record is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    Credit,
    Rules,
}

/// What happens to a record that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The application gets it, and consumes it later.
    Deliver,
    /// It acts here, or nobody wants it: it is consumed at once.
    Consume,
}

/// One stream of the peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct InboundStream {
    pub(crate) received: RangeSet,
    pub(crate) consumed: RangeSet,
    /// Credit of its own that is durable; 0: none.
    pub(crate) granted: u64,
    /// Credit of its own on its way to the disk.
    pub(crate) requested: u64,
    pub(crate) final_length: Option<u64>,
    /// Log credit that its records used, and what of it was given back.
    pub(crate) cost: u64,
    pub(crate) consumed_cost: u64,
    /// How far it may run ahead of its consumer, if that is more than what every stream may. Not durable.
    pub(crate) window: u64,
    /// When its credit was raised last, and its window.
    pub(crate) raised: Option<Timestamp>,
    pub(crate) widened: Option<Timestamp>,
}

/// How fast credit of streams comes back, for the width of their windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) now: Timestamp,
    pub(crate) round_trip: Duration,
    /// The window of every stream, and the widest.
    pub(crate) window: u64,
    pub(crate) widest: u64,
}

impl InboundStream {
    /// One window a round trip is all that a stream can carry. One that uses up a quarter of it in less than half a round trip is held back
    /// by it, not by its writer or its reader: its window doubles, once a round trip, up to the widest.
    fn widen(&mut self, pace: &Pace) {
        let within = |at: Option<Timestamp>, time: Duration| at.is_some_and(|at| pace.now.since(at) < time);
        if within(self.raised.replace(pace.now), pace.round_trip / 2) && !within(self.widened, pace.round_trip) {
            self.window = self.window.max(pace.window).saturating_mul(2).min(pace.widest.max(pace.window));
            self.widened = Some(pace.now);
        }
    }

    fn end_at(&mut self, offset: u64) {
        self.final_length = Some(self.final_length.map_or(offset, |length| length.min(offset)));
    }
}

/// All streams of the peer that are not closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct InboundStreams {
    pub(crate) open: BTreeMap<StreamId, InboundStream>,
    /// Exchanges of the peer that ended.
    pub(crate) closed: RangeSet,
    /// Stream credit that the peer may not have seen yet.
    unseen: BTreeMap<StreamId, u64>,
    turn: Option<StreamId>,
}

/// The exchanges both sides may use, for the rules of streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchanges<'a> {
    /// The next exchange that I open.
    pub(crate) next_mine: u64,
    /// Exchanges of mine that ended.
    pub(crate) closed_mine: &'a RangeSet,
    /// The highest that the peer may open.
    pub(crate) max_theirs: u64,
    /// Stream credit of a stream without its own.
    pub(crate) stream_max: u64,
}

impl InboundStreams {
    /// Whether a new record fits its stream. Nothing changes.
    pub(crate) fn check(&self, meta: &ReceivedMeta, exchanges: &Exchanges<'_>) -> Result<Delivery, StreamFault> {
        let (head, n) = (&meta.head, meta.head.stream.exchange());
        if head.stream.get() == 1 {
            return Err(StreamFault::Rules);
        }
        if head.kind == kind::STOP_SENDING {
            return Ok(Delivery::Consume);
        }
        let closed = match (head.stream.is_request(), n) {
            (true, 0) => false,
            (true, n) if n > exchanges.max_theirs => return Err(StreamFault::Credit),
            (true, n) => self.closed.contains(n),
            (false, n) if n >= exchanges.next_mine => return Err(StreamFault::Rules),
            (false, n) => exchanges.closed_mine.contains(n),
        };
        if closed {
            return Ok(Delivery::Consume);
        }
        let stream = self.open.get(&head.stream);
        let max = stream.map_or(0, |stream| stream.granted).max(exchanges.stream_max);
        if meta.occupies() && head.offset.saturating_add(u64::from(head.raw_len)) > max {
            return Err(StreamFault::Credit);
        }
        let last = last_byte(head);
        match stream {
            Some(stream) if meta.occupies() && stream.received.intersects(head.offset, last) => Err(StreamFault::Rules),
            Some(stream) if stream.final_length.is_some_and(|length| last >= length) => Ok(Delivery::Consume),
            _ if head.kind < FIRST_STORED_KIND => Ok(Delivery::Consume),
            _ => Ok(Delivery::Deliver),
        }
    }

    /// Takes a record that was checked; what of its cost is given back at once.
    pub(crate) fn take(&mut self, meta: &ReceivedMeta, delivery: Delivery, closed_mine: &RangeSet) -> u64 {
        let (head, n) = (&meta.head, meta.head.stream.exchange());
        let closed = if head.stream.is_request() { self.closed.contains(n) } else { closed_mine.contains(n) };
        if closed || head.kind == kind::STOP_SENDING {
            return meta.charged;
        }
        let stream = self.open.entry(head.stream).or_default();
        match head.kind {
            // Whichever comes first: what ended earlier does not begin again.
            kind::RESET_STREAM => stream.end_at(head.offset),
            kind::TOMBSTONE if meta.occupies() => stream.end_at(head.offset),
            _ => {}
        }
        if meta.occupies() {
            stream.received.insert_range(head.offset..=last_byte(head));
        }
        if delivery == Delivery::Consume {
            if meta.occupies() {
                stream.consumed.insert_range(head.offset..=last_byte(head));
            }
            return meta.charged;
        }
        stream.cost = stream.cost.saturating_add(meta.charged);
        0
    }

    /// The application does not need these bytes any more: the credit that comes back. Once for each byte.
    pub(crate) fn consume(&mut self, id: StreamId, offset: u64, raw_len: u32) -> u64 {
        let Some(stream) = self.open.get_mut(&id) else { return 0 };
        let Some(last) = u64::from(raw_len).checked_sub(1).map(|more| offset.saturating_add(more)) else { return 0 };
        if !stream.received.covers(offset, last) || stream.consumed.intersects(offset, last) {
            return 0;
        }
        stream.consumed.insert_range(offset..=last);
        let cost = wire::limits::RECORD_COST + u64::from(raw_len);
        stream.consumed_cost = stream.consumed_cost.saturating_add(cost);
        cost
    }

    /// The exchange of this stream ended: the credit that comes back.
    pub(crate) fn close(&mut self, id: StreamId) -> u64 {
        self.unseen.remove(&id);
        self.open.remove(&id).map_or(0, |stream| stream.cost.saturating_sub(stream.consumed_cost))
    }

    /// Credit of its own that the stream should get, if that is a worthwhile step, or the peer seems to be `blocked`.
    pub(crate) fn raise(&mut self, id: StreamId, pace: &Pace, stream_max: u64, blocked: bool) -> Option<u64> {
        let stream = self.open.get_mut(&id)?;
        let window = stream.window.max(pace.window);
        let target = stream.consumed.count().saturating_add(window);
        let have = stream.requested.max(stream.granted).max(stream_max);
        let worthwhile = target >= have.saturating_add((window / 4).max(1));
        if target <= have || !(worthwhile || blocked) {
            return None;
        }
        if worthwhile {
            stream.widen(pace);
        }
        let target = stream.consumed.count().saturating_add(stream.window.max(pace.window));
        stream.requested = target;
        Some(target)
    }

    /// A raise is durable: it is announced until the peer saw it.
    pub(crate) fn granted(&mut self, id: StreamId, max: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.granted = stream.granted.max(max);
            self.unseen.insert(id, stream.granted);
        }
    }

    /// The peer may have forgotten: all credit beyond `stream_max` is announced again.
    pub(crate) fn announce_all(&mut self, stream_max: u64) {
        let beyond = self.open.iter().filter(|(_, stream)| stream.granted > stream_max);
        self.unseen.extend(beyond.map(|(id, stream)| (*id, stream.granted)));
    }

    /// Stream credit for one control block, ascending; more than fit take turns.
    pub(crate) fn announcement(&mut self) -> Vec<(StreamId, u64)> {
        let from = self.turn.unwrap_or(StreamId::NO_EXCHANGE);
        let later = self.unseen.range(from..);
        let mut list: Vec<_> =
            later.chain(self.unseen.range(..from)).take(MAX_STREAM_CREDITS).map(|(id, max)| (*id, *max)).collect();
        self.turn = list.last().and_then(|(last, _)| StreamId::new(last.get() + 1));
        list.sort_unstable();
        list
    }

    /// The peer closed a packet with this announcement.
    pub(crate) fn seen(&mut self, announced: &[(StreamId, u64)]) {
        for (id, max) in announced {
            if self.unseen.get(id) == Some(max) {
                self.unseen.remove(id);
            }
        }
    }
}

impl ReceivedMeta {
    /// Whether it, or what its tombstone stands for, occupies bytes of its stream.
    pub(crate) const fn occupies(&self) -> bool {
        self.link_kind >= FIRST_STORED_KIND
    }
}

/// The last byte of content of a record that occupies bytes.
const fn last_byte(head: &RecordHeader) -> u64 {
    head.offset.saturating_add(head.raw_len as u64).saturating_sub(1)
}

#[cfg(test)]
mod tests;
