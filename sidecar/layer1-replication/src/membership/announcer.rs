//! My own presence: when to say that I am there, with which packet numbers, and which of those files may go (wire format §7; protocol §6).
//!
//! Invariants: a number is used once, even over a crash: it comes from a durable block, like those of packets to an endpoint; the two
//! newest files stay, because engines that start later read them; a word that is published late is not repeated for that. Tickets are not
//! honoured by this version: the wire asks for one in every presence, and a later version may accept it. It is not told what an association
//! is. Test to read first: `the_two_newest_files_stay`.

use crate::entry::Entry;
use crate::limits::{ANNOUNCE_INTERVAL, PRESENCE_FILES_KEPT, PUBLISH_RETRY, TICKET_LIFE, VALID_INTERVALS};
use crate::numbers::Numbers;
use crate::time::{Duration, Timestamp, micros};
use alloc::collections::VecDeque;
use wire::PacketNumber;
use wire::control::Presence;

/// A presence packet to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its number, never used before.
    pub pn: PacketNumber,
    /// What it says.
    pub presence: Presence,
}

/// Says that this endpoint executes calls.
#[derive(Clone, Debug)]
pub struct Announcer {
    weight: u64,
    interval: Duration,
    draining: bool,
    numbers: Numbers,
    persisting: Option<u64>,
    due: Timestamp,
    /// The number that is being published.
    out: Option<PacketNumber>,
    kept: VecDeque<PacketNumber>,
    ticket: [u8; 16],
    ticket_until: Option<Timestamp>,
}

impl Announcer {
    /// An endpoint that was never announced, as far as is known yet. Replay what is in the log.
    #[must_use]
    pub fn new(now: Timestamp, weight: u64) -> Self {
        Self {
            weight,
            interval: ANNOUNCE_INTERVAL.0,
            draining: false,
            numbers: Numbers::default(),
            persisting: None,
            due: now,
            out: None,
            kept: VecDeque::new(),
            ticket: [0; 16],
            ticket_until: None,
        }
    }

    /// An entry of the log: numbers below may have been used.
    pub fn replay(&mut self, reserved_below: u64) {
        self.numbers.restore(reserved_below);
    }

    /// Heartbeats of this configured interval, or of one that follows from the smoothed round trip.
    pub fn set_interval(&mut self, configured: Option<Duration>, round_trip: Option<Duration>) {
        let (low, high) = ANNOUNCE_INTERVAL;
        self.interval = configured.unwrap_or_else(|| round_trip.map_or(low, |rtt| (rtt / 4).clamp(low, high)));
    }

    /// Announced in between; what is announced now counts for so long.
    #[must_use]
    pub fn valid(&self) -> Duration {
        self.interval.saturating_mul(VALID_INTERVALS)
    }

    /// No new calls are wanted: this is said at once.
    pub fn drain(&mut self, now: Timestamp) {
        if !self.draining {
            self.draining = true;
            self.due = now;
        }
    }

    /// Whether it was said that no new calls are wanted, or cannot be said any more for now.
    #[must_use]
    pub fn is_drained(&self, now: Timestamp) -> bool {
        self.draining && self.out.is_none() && self.due > now
    }

    /// The next entry to be made durable: a block of numbers.
    #[must_use]
    pub fn poll_persist(&mut self) -> Option<Entry> {
        let reserved_below = self.numbers.request()?;
        self.persisting = Some(reserved_below);
        Some(Entry::PnBlock { reserved_below, floor: self.floor() })
    }

    /// Everything that was handed out is durable.
    pub fn handle_persisted(&mut self) {
        if let Some(below) = self.persisting.take() {
            self.numbers.reserved(below);
        }
    }

    /// The next announcement, if it is time. `fresh` is randomness for a ticket.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Timestamp, fresh: impl FnOnce() -> Option<[u8; 16]>) -> Option<Announcement> {
        if now < self.due || self.out.is_some() || !self.numbers.is_available() {
            return None;
        }
        if self.ticket_until.is_none_or(|until| now >= until) {
            let Some(ticket) = fresh() else {
                self.due = now.after(PUBLISH_RETRY);
                return None;
            };
            self.ticket = ticket;
            self.ticket_until = Some(now.after(TICKET_LIFE));
        }
        let pn = self.numbers.take()?;
        self.out = Some(pn);
        self.due = now.after(self.interval);
        let draining = if self.draining { Presence::ROLE_DRAINING } else { 0 };
        let presence = Presence {
            role: Presence::ROLE_EXECUTES | draining,
            weight: self.weight,
            valid_ms: micros(self.valid()) / 1_000,
            ticket: self.ticket,
        };
        Some(Announcement { pn, presence })
    }

    /// It is in the folder: the one before the last may go.
    pub fn handle_published(&mut self, pn: PacketNumber) -> Option<PacketNumber> {
        self.out = self.out.filter(|out| *out != pn);
        self.kept.push_back(pn);
        if self.kept.len() > PRESENCE_FILES_KEPT { self.kept.pop_front() } else { None }
    }

    /// It could not be published, and its number never will be: the next one is tried after a moment.
    pub fn handle_publish_failed(&mut self, now: Timestamp, pn: PacketNumber) {
        self.out = self.out.filter(|out| *out != pn);
        self.due = now.after(PUBLISH_RETRY);
    }

    /// When the next announcement is due; `None` while one is being published or no number may be used.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        (self.out.is_none() && self.numbers.is_available()).then_some(self.due)
    }

    /// Files of lower numbers may go, those of earlier starts too.
    #[must_use]
    pub fn floor(&self) -> u64 {
        if self.kept.len() < PRESENCE_FILES_KEPT { 1 } else { self.kept.front().map_or(1, |pn| pn.get()) }
    }

    /// The entry that recreates this state.
    #[must_use]
    pub fn checkpoint(&self) -> Entry {
        Entry::PnBlock { reserved_below: self.numbers.requested_below(), floor: self.floor() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const SEC: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn reserved(announcer: &mut Announcer) -> u64 {
        let Some(Entry::PnBlock { reserved_below, .. }) = announcer.poll_persist() else { panic!("a block") };
        assert_eq!(announcer.poll_persist(), None);
        announcer.handle_persisted();
        reserved_below
    }

    fn ready(announcer: &mut Announcer, now: Timestamp) -> Announcement {
        let announcement = announcer.poll_transmit(now, || Some([7; 16])).unwrap();
        assert_eq!(announcer.poll_timeout(), None, "one at a time");
        announcement
    }

    #[test]
    fn the_two_newest_files_stay() {
        let mut announcer = Announcer::new(at(0), 3);
        assert_eq!(announcer.poll_transmit(at(0), || Some([7; 16])), None, "no number is durable");
        reserved(&mut announcer);
        announcer.set_interval(Some(SEC), None);
        let mut removed = Vec::new();
        for second in 0..5 {
            let announcement = ready(&mut announcer, at(second));
            assert_eq!((announcement.pn.get(), announcement.presence.valid_ms), (second + 1, 3_000));
            removed.extend(announcer.handle_published(announcement.pn).map(PacketNumber::get));
            assert_eq!(announcer.poll_transmit(at(second), || None), None, "not before its time");
            assert_eq!(announcer.poll_timeout(), Some(at(second + 1)));
        }
        assert_eq!((removed, announcer.floor()), (alloc::vec![1, 2, 3], 4));
    }

    #[test]
    fn no_number_is_used_twice_over_a_crash() {
        let mut announcer = Announcer::new(at(0), 1);
        let below = reserved(&mut announcer);
        let used = ready(&mut announcer, at(0)).pn.get();
        let Entry::PnBlock { reserved_below, .. } = announcer.checkpoint() else { panic!("a block") };
        assert_eq!(reserved_below, below);
        let mut again = Announcer::new(at(0), 1);
        again.replay(reserved_below);
        reserved(&mut again);
        assert!(ready(&mut again, at(0)).pn.get() >= below && used < below);
    }

    #[test]
    fn draining_is_said_at_once_and_a_failure_is_tried_again() {
        let mut announcer = Announcer::new(at(0), 1);
        reserved(&mut announcer);
        let first = ready(&mut announcer, at(0));
        assert_eq!(first.presence.role, Presence::ROLE_EXECUTES);
        announcer.drain(at(1));
        assert_eq!(announcer.poll_transmit(at(1), || Some([7; 16])), None, "the one before is being written");
        announcer.handle_publish_failed(at(1), first.pn);
        assert!(!announcer.is_drained(at(1).after(PUBLISH_RETRY)));
        let second = ready(&mut announcer, at(1).after(PUBLISH_RETRY));
        assert!(second.pn > first.pn);
        assert_eq!(second.presence.role, Presence::ROLE_EXECUTES | Presence::ROLE_DRAINING);
        announcer.handle_published(second.pn);
        assert!(announcer.is_drained(at(2)));
    }

    #[test]
    fn a_day_of_presence_is_below_14_mb_and_a_ticket_lasts_a_day() {
        let mut announcer = Announcer::new(at(0), 1);
        reserved(&mut announcer);
        announcer.set_interval(None, Some(SEC));
        let (mut now, mut files, mut tickets) = (at(0), 0, 0);
        while now < at(86_400) {
            let announcement = announcer.poll_transmit(now, || {
                tickets += 1;
                Some([tickets; 16])
            });
            announcer.handle_published(announcement.unwrap().pn);
            files += 1;
            now = announcer.poll_timeout().unwrap();
        }
        // A sealed packet without records has 4,880 bytes, and up to 200 more of control.
        assert!(files * 5_080 < 14_000_000, "{files} files");
        assert_eq!(tickets, 1);
        assert!(announcer.poll_transmit(now, || None).is_none(), "without randomness there is no new ticket");
    }
}
