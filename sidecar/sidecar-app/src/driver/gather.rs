//! A head waits a moment for what follows it, so that a short message is one packet and not two.
//!
//! Layer 1 sends at once when nothing is on its way. A head that is alone in the log would go alone, and the end of its
//! message, there a commit later, would wait for company in a packet of its own.
//!
//! Invariants: packets are held back only for a head that came from here and was not seen to end, and no longer than the
//! configured time; then everything that is ready leaves before anything is held again. It changes when packets leave, never
//! what is durable or in which order. Pure: the time is an argument. Test to read first:
//! `tests::a_head_waits_for_its_end_and_not_for_long`.

use std::collections::BTreeSet;
use std::time::Duration;

use layer1_replication::Timestamp;

use crate::command::Lane;

/// Heads whose messages go on.
#[derive(Debug)]
pub(super) struct Gather {
    time_max: Duration,
    open: BTreeSet<Lane>,
    /// Until when they hold; `None` before the first packet that they held back.
    until: Option<Timestamp>,
    /// Packets were held for as long as they may be, and not all of them have left.
    spent: bool,
}

impl Gather {
    /// Heads hold packets back for `time_max` at most.
    pub(super) const fn new(time_max: Duration) -> Self {
        Self { time_max, open: BTreeSet::new(), until: None, spent: false }
    }

    /// The head of a stream of mine was appended.
    pub(super) fn begins(&mut self, lane: Lane) {
        if !self.time_max.is_zero() {
            self.open.insert(lane);
        }
    }

    /// The stream got to its end, or is given up.
    pub(super) fn ends(&mut self, lane: Lane) {
        self.open.remove(&lane);
    }

    /// Whether a packet that could be built now waits. Heads that come while others hold are held for the rest of their time.
    pub(super) fn holds(&mut self, now: Timestamp) -> bool {
        let waits = !self.open.is_empty() && !self.spent;
        if waits && now < *self.until.get_or_insert(now.after(self.time_max)) {
            return true;
        }
        self.spent |= waits;
        self.open.clear();
        self.until = None;
        false
    }

    /// Nothing is left that could go.
    pub(super) fn all_left(&mut self) {
        self.spent = false;
    }

    /// When what is held back goes in any case.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.until.filter(|_| !self.open.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use wire::{EndpointId, StreamId};

    use super::*;

    const MAX: Duration = Duration::from_millis(1);

    fn lane(n: u64) -> Lane {
        Lane { peer: EndpointId::from_bytes([2; 16]), stream: StreamId::request(n), epoch: 0 }
    }

    fn at(us: u64) -> Timestamp {
        Timestamp::ZERO.after(Duration::from_micros(us))
    }

    #[test]
    fn a_head_waits_for_its_end_and_not_for_long() {
        let mut gather = Gather::new(MAX);
        assert!(!gather.holds(at(0)) && gather.due().is_none(), "nothing began");
        gather.begins(lane(1));
        // The time runs from when it could go, not from when the log began to take it.
        assert!(gather.holds(at(5_000)));
        assert_eq!(gather.due(), Some(at(6_000)));
        gather.ends(lane(1));
        assert!(!gather.holds(at(5_100)) && gather.due().is_none(), "with its end it goes at once");

        gather.begins(lane(1));
        assert!(gather.holds(at(7_000)));
        assert!(!gather.holds(at(8_000)) && gather.due().is_none(), "a long message is not waited for");
        assert!(!gather.holds(at(8_001)), "and not twice");
        // As long as packets leave one after another, records gather meanwhile.
        gather.begins(lane(2));
        assert!(!gather.holds(at(8_002)) && gather.due().is_none());
        gather.all_left();
        gather.begins(lane(3));
        assert!(gather.holds(at(8_003)));
    }

    #[test]
    fn heads_that_keep_coming_prolong_nothing() {
        let mut gather = Gather::new(MAX);
        let mut longest = 0;
        let mut held = 0;
        for n in 0..100 {
            gather.begins(lane(n));
            held = if gather.holds(at(n * 100)) { held + 100 } else { 0 };
            longest = longest.max(held);
        }
        assert_eq!((longest, held), (1_000, 0), "held once, then not until all have left");
    }

    #[test]
    fn without_a_time_nothing_is_held() {
        let mut gather = Gather::new(Duration::ZERO);
        gather.begins(lane(1));
        assert!(!gather.holds(at(0)));
    }
}
