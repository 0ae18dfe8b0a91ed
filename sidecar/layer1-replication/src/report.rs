//! The peer's packets: which are being read, which are closed and how, and what to say about them (RFC 9000 §13.2, without NACKs).
//!
//! Invariants: a packet is reported closed only when everything its records caused is durable; complete never becomes less; numbers below
//! the peer's floor are closed and forgotten; packets that elicit no ack never cause one. It does not know records.
//! Test to read first: `a_packet_is_reported_only_when_its_records_are_durable`.

mod untold;

use crate::event::{Closure, PersistToken};
use crate::limits;
use crate::mutation::{Mutation, mutated};
use crate::time::{Timestamp, micros};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use untold::Untold;
use wire::RangeSet;
use wire::control::PacketReport;
use wire::limits::MAX_PN_RANGES_HELD;

/// A packet that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct OpenPacket {
    eliciting: bool,
    /// It leaves a gap, or fills one: the peer should know at once.
    prompt: bool,
}

/// A packet whose closing waits for durability.
#[derive(Clone, Copy, Debug)]
struct Closing {
    needs: PersistToken,
    pn: u64,
    closure: Closure,
}

/// A packet that is closed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) pn: u64,
    pub(crate) eliciting: bool,
    /// The ack must not be delayed.
    pub(crate) prompt: bool,
}

/// The list a closed packet stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Complete,
    Partial,
    Unopenable,
}

/// What is known of the peer's packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    largest: u64,
    echo: Option<(u64, Timestamp)>,
    open: BTreeMap<u64, OpenPacket>,
    closing: VecDeque<Closing>,
    complete: RangeSet,
    partial: RangeSet,
    unopenable: RangeSet,
    /// What of that is still to be said.
    untold: Untold,
    floor: u64,
}

impl Report {
    fn is_closed(&self, pn: u64) -> bool {
        pn < self.floor || self.complete.contains(pn) || self.partial.contains(pn) || self.unopenable.contains(pn)
    }

    /// Whether a packet was received before.
    pub(crate) fn knows(&self, pn: u64) -> bool {
        self.is_closed(pn) || self.open.contains_key(&pn)
    }

    pub(crate) const fn floor(&self) -> u64 {
        self.floor
    }

    /// A packet's prefix was verified; whether that is the first time.
    pub(crate) fn received(&mut self, now: Timestamp, pn: u64, eliciting: bool) -> bool {
        if self.knows(pn) {
            return false;
        }
        let prompt = pn != self.largest + 1 && self.largest > 0;
        self.open.insert(pn, OpenPacket { eliciting, prompt });
        if self.open.len() > limits::OPEN_PACKETS_MAX {
            self.open.pop_first();
        }
        self.largest = if mutated(Mutation::LargestOverwritten) { pn } else { self.largest.max(pn) };
        self.echo = Some((pn, now));
        true
    }

    /// The driver closed a packet; it is settled once `needs` is durable.
    pub(crate) fn closed(&mut self, pn: u64, closure: Closure, needs: PersistToken) {
        self.largest = self.largest.max(pn);
        self.closing.push_back(Closing { needs, pn, closure });
    }

    /// Packets that are settled because everything up to some point is durable.
    pub(crate) fn settle(&mut self, is_durable: impl Fn(PersistToken) -> bool) -> Vec<Settled> {
        let count = self.closing.iter().take_while(|closing| is_durable(closing.needs)).count();
        let closing: Vec<Closing> = self.closing.drain(..count).collect();
        closing.into_iter().map(|closing| self.settle_one(closing)).collect()
    }

    fn settle_one(&mut self, closing: Closing) -> Settled {
        let pn = closing.pn;
        let open = self.open.remove(&pn);
        let news = pn >= self.floor && !self.complete.contains(pn) && self.note(pn, closing.closure);
        // One that was closed before and is closed again has grown: the peer waits for that.
        let open = open.unwrap_or(OpenPacket { eliciting: news, prompt: news });
        let failed = news && closing.closure != Closure::Complete;
        Settled { pn, eliciting: open.eliciting || failed, prompt: open.prompt || failed }
    }

    /// Notes how a packet ended that was not complete so far; whether that is new.
    fn note(&mut self, pn: u64, closure: Closure) -> bool {
        let (news, kind) = match closure {
            Closure::Complete => {
                self.partial.remove(pn);
                self.unopenable.remove(pn);
                (self.complete.insert(pn), Kind::Complete)
            }
            Closure::Partial => (self.partial.insert(pn), Kind::Partial),
            Closure::Unopenable => (self.unopenable.insert(pn), Kind::Unopenable),
        };
        if news {
            self.untold.note(kind, pn);
        }
        for set in [&mut self.complete, &mut self.partial, &mut self.unopenable] {
            set.drop_oldest_ranges(MAX_PN_RANGES_HELD);
        }
        news
    }

    /// Closed packets that wait for durability.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.closing.iter().map(|closing| closing.pn)
    }

    /// The peer closes everything below; whether that is new.
    pub(crate) fn raise_floor(&mut self, floor: u64) -> bool {
        if floor <= self.floor {
            return false;
        }
        self.floor = floor;
        self.open = self.open.split_off(&floor);
        for set in [&mut self.complete, &mut self.partial, &mut self.unopenable] {
            set.remove_below(floor);
        }
        self.untold.remove_below(floor);
        true
    }

    /// The peer read my packet `mine`, and with it what that said.
    pub(crate) fn heard(&mut self, mine: u64) {
        self.untold.heard(mine);
    }

    /// For the control block of my packet `mine`: what the peer may not know.
    pub(crate) fn write(&mut self, now: Timestamp, mine: u64) -> PacketReport {
        let [complete, partial, unopenable] = self.untold.write(mine);
        PacketReport {
            largest: self.largest,
            echo_pn: self.echo.map_or(0, |(pn, _)| pn),
            hold_us: self.echo.map_or(0, |(_, at)| micros(now.since(at))),
            complete,
            partial,
            unopenable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn sets(report: &mut Report) -> (Vec<u64>, Vec<u64>) {
        let written = report.write(Timestamp::ZERO, 1);
        (written.complete.values().collect(), written.partial.values().collect())
    }

    #[test]
    fn a_packet_is_reported_only_when_its_records_are_durable() {
        let mut report = Report::default();
        assert!(report.received(Timestamp::ZERO, 1, true));
        assert!(!report.received(Timestamp::ZERO, 1, true));
        report.closed(1, Closure::Complete, PersistToken(5));
        assert!(report.settle(|token| token < PersistToken(5)).is_empty());
        assert_eq!(sets(&mut report), (alloc::vec![], alloc::vec![]));
        assert_eq!(
            report.settle(|token| token <= PersistToken(5)),
            [Settled { pn: 1, eliciting: true, prompt: false }]
        );
        assert_eq!(sets(&mut report), (alloc::vec![1], alloc::vec![]));
    }

    #[test]
    fn partial_may_become_complete_but_never_back() {
        let mut report = Report::default();
        report.received(Timestamp::ZERO, 1, true);
        for (closure, tells, expected) in [
            (Closure::Partial, true, (alloc::vec![], alloc::vec![1])),
            (Closure::Partial, false, (alloc::vec![], alloc::vec![1])),
            (Closure::Complete, true, (alloc::vec![1], alloc::vec![])),
            (Closure::Partial, false, (alloc::vec![1], alloc::vec![])),
            (Closure::Complete, false, (alloc::vec![1], alloc::vec![])),
        ] {
            report.closed(1, closure, PersistToken(0));
            assert_eq!(report.settle(|_| true)[0].eliciting, tells, "what says nothing new elicits nothing");
            assert_eq!(sets(&mut report), expected);
        }
    }

    #[test]
    fn a_gap_is_told_at_once_and_an_ack_only_packet_is_not_told() {
        let mut report = Report::default();
        for (pn, eliciting, prompt) in
            [(1, false, false), (2, true, false), (4, true, true), (3, true, true), (5, true, false)]
        {
            report.received(Timestamp::ZERO, pn, eliciting);
            report.closed(pn, Closure::Complete, PersistToken(0));
            assert_eq!(report.settle(|_| true), [Settled { pn, eliciting, prompt }]);
        }
        assert_eq!(report.write(Timestamp::ZERO, 1).complete.len_ranges(), 1);
    }

    #[test]
    fn the_echo_is_the_packet_most_recently_first_received() {
        let mut report = Report::default();
        report.received(Timestamp::from_micros(10), 9, true);
        report.received(Timestamp::from_micros(20), 4, true);
        report.received(Timestamp::from_micros(30), 9, true);
        let written = report.write(Timestamp::ZERO.after(Duration::from_micros(50)), 1);
        assert_eq!((written.largest, written.echo_pn, written.hold_us), (9, 4, 30));
    }

    #[test]
    fn below_the_floor_everything_is_closed_and_forgotten() {
        let mut report = Report::default();
        report.received(Timestamp::ZERO, 7, true);
        report.closed(7, Closure::Complete, PersistToken(0));
        report.settle(|_| true);
        assert!(report.raise_floor(8));
        assert!(!report.raise_floor(8) && !report.raise_floor(3));
        assert!(!report.received(Timestamp::ZERO, 7, true));
        assert_eq!(sets(&mut report), (alloc::vec![], alloc::vec![]));
        report.received(Timestamp::ZERO, 8, true);
        report.received(Timestamp::ZERO, 9, true);
        assert!(report.raise_floor(9));
        assert_eq!(report.open.keys().copied().collect::<Vec<_>>(), [9], "what was never closed is forgotten too");
        for pn in 0..3 * OPEN {
            report.received(Timestamp::ZERO, 100 + pn, true);
        }
        assert_eq!(report.open.len() as u64, OPEN);
    }

    #[test]
    fn only_the_newest_ranges_are_remembered() {
        let mut report = Report::default();
        let count = MAX_PN_RANGES_HELD as u64 + 10;
        for n in 1..=count {
            report.closed(2 * n, Closure::Partial, PersistToken(0));
        }
        report.settle(|_| true);
        assert_eq!(report.partial.len_ranges(), MAX_PN_RANGES_HELD);
        assert!(!report.is_closed(2) && report.is_closed(2 * count));
    }

    const OPEN: u64 = limits::OPEN_PACKETS_MAX as u64;
}
