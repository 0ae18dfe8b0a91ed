//! Pressure: how full each side is, and what that means for bulk (the idea of ECN, RFC 3168, for disks instead of queues).
//!
//! Levels: 1 above 70 %, 2 above 85 % (the peer halves its bulk), 3 above 95 % (the peer begins no bulk). What is charged may always go:
//! the peer has room for it, and what was lost may be what it waits for. Of the send log only level 1 is told: two sides that fill their
//! logs by sending to each other would otherwise forbid each other what empties them.
//! Invariants: an unknown level of the peer is none; a level falls only by the peer's word. Test to read first: `a_full_pool_stops_bulk`
//! in `peer::tests::pressure`.

use crate::limits;

/// Used parts of a whole from which on a level holds, in percent.
const LEVELS: [(u64, u8); 3] = [(95, 3), (85, 2), (70, 1)];

/// The highest level.
pub(crate) const MOST: u8 = 3;

/// How full something is, as a level: 0 to 3.
#[must_use]
pub fn level_of(used: u64, total: u64) -> u8 {
    let is_above = |percent: u64| u128::from(used) * 100 > u128::from(total) * u128::from(percent);
    LEVELS.into_iter().find(|(percent, _)| is_above(*percent)).map_or(0, |(_, level)| level)
}

/// What both sides are under.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pressure {
    /// Of the disk, as the driver says.
    disk: u8,
    /// Mine, of everything.
    mine: u8,
    /// It was told to this peer: from then on it is told always, or the peer might miss its end.
    told: bool,
    /// The peer's.
    theirs: u8,
    /// Bytes on their way beyond which the peer wants no bulk, at level 2.
    half: u64,
}

impl Pressure {
    pub(crate) fn set_disk(&mut self, level: u8) {
        self.disk = level.min(MOST);
    }

    /// How full the parts are; whether the peer should know soon.
    pub(crate) fn update(&mut self, receive_pool: u8, send_log: u8) -> bool {
        let before = core::mem::replace(&mut self.mine, self.disk.max(receive_pool).max(send_log.min(1)));
        before != self.mine && before.max(self.mine) >= 2
    }

    pub(crate) const fn mine(&self) -> u8 {
        self.mine
    }

    pub(crate) const fn theirs(&self) -> u8 {
        self.theirs
    }

    /// For the control block; `always` even if there never was any, as after a restart.
    pub(crate) fn tell(&mut self, always: bool) -> Option<u64> {
        self.told |= self.mine > 0;
        (self.told || always).then_some(self.mine.into())
    }

    /// The peer says; so much is on its way to it now.
    pub(crate) fn heard(&mut self, value: u64, in_flight: u64) {
        // Bit 2 is reserved.
        let level = (value & 3) as u8;
        if self.theirs < 2 && level >= 2 {
            self.half = (in_flight / 2).max(limits::PROBE_BYTES_MAX);
        }
        self.theirs = level;
    }

    /// Whether bulk of this cost may be begun, with so much ahead of it or on its way.
    pub(crate) const fn admits_bulk(&self, before: u64, cost: u64) -> bool {
        match self.theirs {
            0 | 1 => true,
            2 => before == 0 || before.saturating_add(cost) <= self.half,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_above_their_parts() {
        for (used, level) in [(0, 0), (70, 0), (71, 1), (85, 1), (86, 2), (95, 2), (96, 3), (1_000, 3)] {
            assert_eq!(level_of(used, 100), level, "{used}");
        }
        assert_eq!((level_of(0, 0), level_of(1, 0), level_of(u64::MAX, u64::MAX)), (0, 3, 3));
    }

    #[test]
    fn the_most_counts_but_of_the_send_log_only_that_it_fills() {
        let mut pressure = Pressure::default();
        assert!(!pressure.update(1, 0) && !pressure.update(0, 3), "below 2 nobody hurries");
        assert_eq!(pressure.mine(), 1);
        pressure.set_disk(9);
        assert!(pressure.update(2, 0));
        assert_eq!(pressure.mine(), 3);
        assert!(!pressure.update(2, 0));
        pressure.set_disk(0);
        assert!(pressure.update(0, 0));
    }

    #[test]
    fn it_is_told_from_the_first_time_on() {
        let mut pressure = Pressure::default();
        assert_eq!((pressure.tell(false), pressure.tell(true)), (None, Some(0)));
        pressure.update(2, 0);
        assert_eq!(pressure.tell(false), Some(2));
        pressure.update(0, 0);
        assert_eq!((pressure.tell(false), pressure.tell(false)), (Some(0), Some(0)), "its end too");
    }

    #[test]
    fn bulk_is_halved_and_then_ends() {
        let mut pressure = Pressure::default();
        assert!(pressure.admits_bulk(1 << 40, 1));
        pressure.heard(4 | 2, 10_000_000);
        assert!(pressure.admits_bulk(4_000_000, 1_000_000) && !pressure.admits_bulk(4_000_001, 1_000_000));
        assert!(pressure.admits_bulk(0, 1 << 24), "one record always");
        pressure.heard(2, 100);
        assert!(
            !pressure.admits_bulk(4_000_001, 1_000_000) && pressure.admits_bulk(4_000_000, 1_000_000),
            "halved once"
        );
        pressure.heard(3, 0);
        assert!(!pressure.admits_bulk(0, 1));
        pressure.heard(1, 0);
        assert!(pressure.admits_bulk(1 << 40, 1));
    }
}
