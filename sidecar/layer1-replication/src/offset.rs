//! How far my clock may be ahead of the peer's: an interval from one-way times in both directions (NTP's idea, RFC 5905 §8, without its
//! assumption that both ways are alike).
//!
//! What takes w1 from the peer to me and is stamped by both clocks appears to take d1 = w1 + offset; the other way d2 = w2 − offset. No way
//! takes less than nothing, so −d2 ≤ offset ≤ d1, and the least of each direction says most. Clocks drift: only the newest hour counts.
//! Invariant: display only — nothing of the protocol depends on wall time, and a wrong one cannot do harm.
//! Test to read first: `the_interval_holds_the_offset_and_narrows`.

use crate::limits;
use crate::time::{Timestamp, micros};

/// The least value of the newest hour, or at least of its second half.
#[derive(Clone, Copy, Debug, Default)]
struct LeastLately {
    before: Option<i64>,
    current: Option<i64>,
    began: Timestamp,
}

impl LeastLately {
    fn sample(&mut self, now: Timestamp, value: i64) {
        self.age(now);
        self.current = Some(self.current.map_or(value, |least| least.min(value)));
    }

    fn age(&mut self, now: Timestamp) {
        let age = now.since(self.began);
        if age >= limits::OFFSET_WINDOW {
            *self = Self { began: now, ..Self::default() };
        } else if age >= limits::OFFSET_WINDOW / 2 {
            *self = Self { before: self.current, current: None, began: now };
        }
    }

    fn least(&self) -> Option<i64> {
        self.before.into_iter().chain(self.current).min()
    }
}

/// What is known of two clocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockOffset {
    /// My wall clock: Unix ms at a time.
    wall: Option<(Timestamp, i64)>,
    /// d1, in ms.
    inbound: LeastLately,
    /// d2, in ms.
    outbound: LeastLately,
}

impl ClockOffset {
    /// What my wall clock says now.
    pub(crate) const fn set_wall(&mut self, now: Timestamp, unix_ms: i64) {
        self.wall = Some((now, unix_ms));
    }

    /// What my wall clock says, or said, at `at`.
    fn wall_ms(&self, at: Timestamp) -> Option<i64> {
        let (told, unix_ms) = self.wall?;
        let ms = |later: Timestamp, earlier: Timestamp| i64::try_from(micros(later.since(earlier)) / 1_000).ok();
        unix_ms.checked_add(ms(at, told)?)?.checked_sub(ms(told, at)?)
    }

    /// A packet of the peer that left at `sent_ms` of its clock is here.
    pub(crate) fn arrived(&mut self, now: Timestamp, sent_ms: i64) {
        if let Some(d1) = self.wall_ms(now).and_then(|here| here.checked_sub(sent_ms)) {
            self.inbound.sample(now, d1);
            self.settle(now, true);
        }
    }

    /// A packet of mine that left at `sent` was there at `there_ms` of the peer's clock.
    pub(crate) fn was_there(&mut self, now: Timestamp, sent: Timestamp, there_ms: i64) {
        if let Some(d2) = self.wall_ms(sent).and_then(|here| there_ms.checked_sub(here)) {
            self.outbound.sample(now, d2);
            self.settle(now, false);
        }
    }

    /// Both directions contradict each other if a clock was set: what was known before is void.
    fn settle(&mut self, now: Timestamp, inbound: bool) {
        if self.interval_ms().is_some_and(|(low, high)| low > high) {
            let (newest, other) =
                if inbound { (&mut self.inbound, &mut self.outbound) } else { (&mut self.outbound, &mut self.inbound) };
            *other = LeastLately { began: now, ..LeastLately::default() };
            *newest = LeastLately { current: newest.current, began: now, before: None };
        }
    }

    /// My clock is ahead of the peer's by so many ms: at least, at most.
    pub(crate) fn interval_ms(&self) -> Option<(i64, i64)> {
        Some((self.outbound.least()?.checked_neg()?, self.inbound.least()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const WALL: i64 = 1_700_000_000_000;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO.after(Duration::from_millis(ms))
    }

    /// A packet there and one back: one-way times in ms, and by how much my clock is ahead.
    fn exchange(offset: &mut ClockOffset, now: u64, there: u64, back: u64, ahead: i64) {
        offset.set_wall(at(now), WALL + now as i64);
        let theirs = |ms: u64| WALL + ms as i64 - ahead;
        offset.was_there(at(now), at(now - there - back), theirs(now - back));
        offset.arrived(at(now), theirs(now - back));
    }

    #[test]
    fn the_interval_holds_the_offset_and_narrows() {
        for ahead in [0, 7_777, -86_400_000] {
            let mut offset = ClockOffset::default();
            assert_eq!(offset.interval_ms(), None);
            exchange(&mut offset, 10_000, 900, 700, ahead);
            assert_eq!(offset.interval_ms(), Some((ahead - 900, ahead + 700)));
            exchange(&mut offset, 20_000, 50, 9_000, ahead);
            exchange(&mut offset, 30_000, 9_000, 30, ahead);
            assert_eq!(offset.interval_ms(), Some((ahead - 50, ahead + 30)), "the least of each direction");
        }
    }

    #[test]
    fn what_is_older_than_an_hour_does_not_count() {
        let mut offset = ClockOffset::default();
        let hour = u64::try_from(limits::OFFSET_WINDOW.as_millis()).unwrap();
        exchange(&mut offset, 10_000, 10, 10, 0);
        for n in 1..=6 {
            exchange(&mut offset, 10_000 + n * hour / 4, 500, 500, 0);
        }
        assert_eq!(offset.interval_ms(), Some((-500, 500)));
        exchange(&mut offset, 10_000 + 9 * hour, 800, 800, 0);
        assert_eq!(offset.interval_ms(), Some((-800, 800)), "after a long silence too");
    }

    #[test]
    fn a_clock_that_was_set_starts_anew() {
        let mut offset = ClockOffset::default();
        exchange(&mut offset, 10_000, 100, 100, 0);
        exchange(&mut offset, 20_000, 100, 100, 60_000);
        exchange(&mut offset, 30_000, 100, 100, 60_000);
        assert_eq!(offset.interval_ms(), Some((59_900, 60_100)));
        exchange(&mut offset, 40_000, 100, 100, -5_000);
        exchange(&mut offset, 50_000, 100, 100, -5_000);
        assert_eq!(offset.interval_ms(), Some((-5_100, -4_900)));
    }

    #[test]
    fn nonsense_of_a_peer_is_harmless() {
        let mut offset = ClockOffset::default();
        offset.arrived(at(1), i64::MIN);
        assert_eq!(offset.interval_ms(), None, "without a wall clock nothing is known");
        offset.set_wall(at(5), i64::MAX);
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            offset.arrived(at(9), ms);
            offset.was_there(at(9), at(1), ms);
            let _ = offset.interval_ms();
        }
    }
}
