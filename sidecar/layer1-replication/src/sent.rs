//! My packets: which are on their way, reported, lost, and when their outbox files may go (RFC 9002 §6, protocol: garbage collection).
//!
//! Invariants: a packet number is used once; in flight begins when the file is published; a packet with records is remembered until the
//! peer's cumulative ack passed all of them, so the floor told to the peer never passes a packet that still matters. It does not know
//! records beyond their numbers. Test to read first: `an_overtaken_packet_is_lost_by_its_own_age`.

use crate::mutation::{Mutation, mutated};
use crate::time::{Duration, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::{RangeSet, StreamId};

/// How far a packet of mine got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Handed out to be published.
    HandedOut,
    /// In the outbox since then.
    InFlight(Timestamp),
    /// Not reported for too long; it was in the outbox since then.
    Lost(Timestamp),
    /// Closed by the peer.
    Reported,
}

/// A packet of mine.
#[derive(Clone, Debug)]
pub(crate) struct SentPacket {
    pub(crate) progress: Progress,
    pub(crate) created: Timestamp,
    pub(crate) eliciting: bool,
    /// Sequence numbers of its records, as (first, last), ascending.
    pub(crate) runs: Vec<(u64, u64)>,
    /// Stored bytes of its records.
    pub(crate) bytes: u64,
    /// No round trip may be taken from it (any more).
    pub(crate) timed: bool,
    /// Its file may go, and the driver knows.
    pub(crate) retired: bool,
    /// It carried a PING.
    pub(crate) ping: bool,
    /// Stream credit that it announced.
    pub(crate) stream_credit: Vec<(StreamId, u64)>,
}

impl SentPacket {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self {
            progress: Progress::HandedOut,
            created: now,
            eliciting: false,
            runs: Vec::new(),
            bytes: 0,
            timed: false,
            retired: false,
            ping: false,
            stream_credit: Vec::new(),
        }
    }

    pub(crate) fn seqs(&self) -> impl Iterator<Item = u64> + use<> {
        self.runs.clone().into_iter().flat_map(|(first, last)| first..=last)
    }

    /// Adds the next record; sequence numbers ascend.
    pub(crate) fn carry(&mut self, seq: u64, bytes: u64) {
        self.bytes += bytes;
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.runs.push((seq, seq)),
        }
    }

    fn last_seq(&self) -> u64 {
        self.runs.last().map_or(0, |(_, last)| *last)
    }

    /// Whether a cumulative ack covers all its records; there may be none.
    fn is_passed(&self, una: u64) -> bool {
        self.last_seq() <= una
    }

    fn is_older(&self, now: Timestamp, age: Duration) -> bool {
        now.since(self.created) >= age
    }

    const fn is_open(&self) -> bool {
        matches!(self.progress, Progress::HandedOut | Progress::InFlight(_))
    }
}

/// Sums over the ack-eliciting packets that are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenSums {
    /// Handed out or in flight.
    pub(crate) packets: u64,
    /// Of them: in flight.
    pub(crate) in_flight: u64,
    /// Stored bytes of their records.
    pub(crate) bytes: u64,
}

impl OpenSums {
    const fn of(packet: &SentPacket) -> Self {
        if !packet.eliciting || !packet.is_open() {
            return Self { packets: 0, in_flight: 0, bytes: 0 };
        }
        Self { packets: 1, in_flight: matches!(packet.progress, Progress::InFlight(_)) as u64, bytes: packet.bytes }
    }

    const fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.in_flight += other.in_flight;
        self.bytes += other.bytes;
    }

    const fn subtract(&mut self, other: Self) {
        self.packets = self.packets.saturating_sub(other.packets);
        self.in_flight = self.in_flight.saturating_sub(other.in_flight);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// All packets of mine that are remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentPackets {
    packets: BTreeMap<u64, SentPacket>,
    /// The highest number that the peer listed or echoed.
    largest_reported: u64,
    /// The highest number that was published.
    largest_published: u64,
    /// Since when packets are out without news of any.
    unreported_since: Option<Timestamp>,
    open: OpenSums,
}

impl SentPackets {
    pub(crate) fn insert(&mut self, pn: u64, packet: SentPacket) {
        self.open.add(OpenSums::of(&packet));
        self.packets.insert(pn, packet);
    }

    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn get(&self, pn: u64) -> Option<&SentPacket> {
        self.packets.get(&pn)
    }

    /// All numbers that are remembered, ascending.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.packets.keys().copied()
    }

    pub(crate) const fn open(&self) -> OpenSums {
        self.open
    }

    fn advance(&mut self, pn: u64, progress: Progress) {
        if let Some(packet) = self.packets.get_mut(&pn) {
            self.open.subtract(OpenSums::of(packet));
            packet.progress = progress;
            self.open.add(OpenSums::of(packet));
        }
    }

    /// Its file is in the outbox.
    pub(crate) fn published(&mut self, now: Timestamp, pn: u64) {
        if self.get(pn).is_some_and(|packet| packet.progress == Progress::HandedOut) {
            self.advance(pn, Progress::InFlight(now));
            self.largest_published = self.largest_published.max(pn);
            self.unreported_since.get_or_insert(now);
        }
    }

    /// Since when packets of mine are out and the peer reported none of them: heartbeats too, which nobody acknowledges.
    pub(crate) const fn unreported_since(&self) -> Option<Timestamp> {
        self.unreported_since
    }

    /// What went out before could not be reported: silence begins now.
    pub(crate) fn begin_listening(&mut self, now: Timestamp) {
        self.unreported_since = self.unreported_since.map(|_| now);
    }

    /// It is forgotten.
    pub(crate) fn remove(&mut self, pn: u64) -> Option<SentPacket> {
        let packet = self.packets.remove(&pn)?;
        self.open.subtract(OpenSums::of(&packet));
        Some(packet)
    }

    /// The peer listed or echoed this number; whether it is the highest so far.
    pub(crate) fn heard_of(&mut self, now: Timestamp, pn: u64) -> bool {
        let news = pn > self.largest_reported;
        self.largest_reported = self.largest_reported.max(pn);
        if news {
            self.unreported_since = (self.largest_published > pn).then_some(now);
        }
        news
    }

    /// The peer first received `pn` `hold` before it said so: the round trip, once for each packet.
    pub(crate) fn round_trip(&mut self, now: Timestamp, pn: u64, hold: Duration) -> Option<Duration> {
        let packet = self.packets.get_mut(&pn)?;
        // That it was called lost in between says that the round trip is longer than was believed.
        let (Progress::InFlight(published) | Progress::Lost(published)) = packet.progress else { return None };
        if packet.timed {
            return None;
        }
        packet.timed = true;
        now.since(published).checked_sub(hold)
    }

    /// Packets in `closed` that were not reported before, ascending.
    pub(crate) fn newly_closed(&self, closed: &RangeSet) -> Vec<u64> {
        let mut pns = Vec::new();
        for (low, high) in closed.iter() {
            let range = self.packets.range(low..=high).filter(|(_, packet)| packet.progress != Progress::Reported);
            pns.extend(range.map(|(pn, _)| *pn));
        }
        pns
    }

    /// The peer closed it.
    pub(crate) fn closed(&mut self, pn: u64) {
        self.advance(pn, Progress::Reported);
    }

    /// Packets in flight that a reported one overtook longer than `delay` ago, ascending; they are lost from here on.
    pub(crate) fn overdue(&mut self, now: Timestamp, delay: Duration) -> Vec<u64> {
        let due = |packet: &SentPacket| overdue_at(packet, delay).is_some_and(|at| at <= now);
        let pns: Vec<u64> =
            self.packets.range(..self.largest_reported).filter(|(_, packet)| due(packet)).map(|(pn, _)| *pn).collect();
        for pn in &pns {
            if let Some(Progress::InFlight(published)) = self.get(*pn).map(|packet| packet.progress) {
                self.advance(*pn, Progress::Lost(published));
            }
        }
        pns
    }

    /// When the next packet will be [`Self::overdue`].
    pub(crate) fn next_overdue(&self, delay: Duration) -> Option<Timestamp> {
        self.packets.range(..self.largest_reported).filter_map(|(_, packet)| overdue_at(packet, delay)).min()
    }

    /// Packets whose files may go: by the peer's cumulative ack, its reports, or age. Each is told once.
    pub(crate) fn retire(&mut self, now: Timestamp, una: u64, mpl: Duration) -> Vec<u64> {
        let largest = self.largest_reported;
        let mut retired = Vec::new();
        let open = &mut self.open;
        self.packets.retain(|pn, packet| {
            let (old, control_only, passed) =
                (packet.is_older(now, mpl), packet.runs.is_empty(), packet.is_passed(una));
            let done = packet.progress == Progress::Reported || if control_only { *pn < largest } else { passed };
            let done = done || mutated(Mutation::OutboxRemovedEarly);
            let go = packet.progress != Progress::HandedOut && (done || old);
            if go && !packet.retired {
                packet.retired = true;
                retired.push(*pn);
            }
            // What the peer closed but could not use in full still holds the floor.
            let keep = !go || !(control_only || passed || old);
            if !keep {
                open.subtract(OpenSums::of(packet));
            }
            keep
        });
        retired
    }

    /// Control-only packets that nobody needs: superseded by `newer` others, and older than `age`. They are forgotten.
    pub(crate) fn retire_superseded(&mut self, now: Timestamp, newer: usize, age: Duration) -> Vec<u64> {
        let controls = self.packets.iter().rev().filter(|(_, packet)| packet.runs.is_empty());
        let pns: Vec<u64> =
            controls.skip(newer).filter(|(_, packet)| packet.is_older(now, age)).map(|(pn, _)| *pn).collect();
        for pn in &pns {
            self.remove(*pn);
        }
        pns
    }

    /// Packets of mine below are done with; `next` is the number of the packet being written.
    pub(crate) fn floor(&self, una: u64, next: u64) -> u64 {
        let holding = self.packets.iter().find(|(_, packet)| !packet.is_passed(una));
        holding.map_or(next, |(pn, _)| (*pn).min(next))
    }

    /// The highest number that the peer listed or echoed.
    pub(crate) const fn largest_reported(&self) -> u64 {
        self.largest_reported
    }

    /// Open packets with records that are older than `mpl`.
    pub(crate) fn expired(&self, now: Timestamp, mpl: Duration) -> Vec<u64> {
        let old = self.packets.iter().filter(|(_, packet)| packet.is_open() && packet.is_older(now, mpl));
        old.map(|(pn, _)| *pn).collect()
    }
}

fn overdue_at(packet: &SentPacket, delay: Duration) -> Option<Timestamp> {
    match packet.progress {
        Progress::InFlight(at) if packet.eliciting => Some(at.after(delay)),
        Progress::InFlight(_) | Progress::HandedOut | Progress::Lost(_) | Progress::Reported => None,
    }
}

#[cfg(test)]
mod tests;
