//! What of the closed packets the peer may not have been told: only that is repeated in every control block (wire format §7).
//!
//! An item rests once the peer read a packet of mine that carried it. Items gather in two generations: those that were carried since some
//! packet, and those that came later; when the peer read that packet or a later one, the first generation rests.
//! Invariant: an item that no block carried — a list holds 256 ranges — never rests. Test to read first: `an_item_rests_when_a_block_with_it_was_read`.

use super::Kind;
use wire::RangeSet;
use wire::limits::{MAX_PN_RANGES_HELD, MAX_RANGES};

/// One list of packets of the peer.
#[derive(Clone, Debug, Default)]
struct List {
    told: RangeSet,
    later: RangeSet,
    /// Some block since the generation began left out what lies below.
    cut: u64,
}

/// The three lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Untold {
    lists: [List; 3],
    /// The first packet of mine that carried the first generation; 0: there is none.
    since: u64,
}

impl Untold {
    /// A packet of the peer ended like this.
    pub(super) fn note(&mut self, kind: Kind, pn: u64) {
        for (index, list) in self.lists.iter_mut().enumerate() {
            if index == kind as usize {
                list.later.insert(pn);
                list.later.drop_oldest_ranges(MAX_PN_RANGES_HELD);
            } else if kind == Kind::Complete {
                list.told.remove(pn);
                list.later.remove(pn);
            }
        }
    }

    /// The peer closes everything below by itself.
    pub(super) fn remove_below(&mut self, floor: u64) {
        for list in &mut self.lists {
            list.told.remove_below(floor);
            list.later.remove_below(floor);
        }
    }

    /// For the control block of my packet `mine`.
    pub(super) fn write(&mut self, mine: u64) -> [RangeSet; 3] {
        if self.since == 0 {
            self.since = mine;
            for list in &mut self.lists {
                list.told = core::mem::take(&mut list.later);
                list.cut = 0;
            }
        }
        self.lists.each_mut().map(|list| {
            let mut all = list.told.clone();
            all.union(&list.later);
            if all.len_ranges() > MAX_RANGES {
                all.drop_oldest_ranges(MAX_RANGES);
                list.cut = list.cut.max(all.min().unwrap_or(0));
            }
            all
        })
    }

    /// The peer read my packet `mine`.
    pub(super) fn heard(&mut self, mine: u64) {
        if self.since == 0 || mine < self.since {
            return;
        }
        self.since = 0;
        for list in &mut self.lists {
            list.told.remove_range(list.cut..=u64::MAX);
            list.later.union(&core::mem::take(&mut list.told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn complete(untold: &mut Untold, mine: u64) -> Vec<u64> {
        untold.write(mine)[Kind::Complete as usize].values().collect()
    }

    #[test]
    fn an_item_rests_when_a_block_with_it_was_read() {
        let mut untold = Untold::default();
        untold.note(Kind::Complete, 1);
        assert_eq!(complete(&mut untold, 10), [1]);
        untold.note(Kind::Complete, 2);
        assert_eq!(complete(&mut untold, 11), [1, 2]);
        untold.heard(9);
        assert_eq!(complete(&mut untold, 12), [1, 2], "9 did not carry it");
        untold.heard(10);
        assert_eq!(complete(&mut untold, 13), [2], "1 rests, 2 is carried from here on");
        untold.heard(12);
        assert_eq!(complete(&mut untold, 14), [2], "12 carried 2 too, but not since it was marked");
        untold.heard(20);
        assert_eq!(complete(&mut untold, 21), Vec::<u64>::new());
    }

    #[test]
    fn what_no_block_carried_never_rests() {
        let mut untold = Untold::default();
        let ranges = 3 * MAX_RANGES as u64;
        for n in 1..=ranges {
            untold.note(Kind::Partial, 2 * n);
        }
        let mut seen = RangeSet::new();
        for mine in 1..=3 {
            let list = untold.write(mine)[Kind::Partial as usize].clone();
            assert_eq!(list.len_ranges(), MAX_RANGES);
            seen.union(&list);
            untold.heard(mine);
        }
        assert_eq!(seen.count(), ranges);
        assert!(untold.write(4)[Kind::Partial as usize].is_empty());
    }

    #[test]
    fn what_became_complete_is_not_told_as_partial() {
        let mut untold = Untold::default();
        untold.note(Kind::Partial, 5);
        untold.write(1);
        untold.note(Kind::Complete, 5);
        let [complete, partial, unopenable] = untold.write(2);
        assert!(complete.contains(5) && partial.is_empty() && unopenable.is_empty());
        untold.remove_below(6);
        assert!(untold.write(3).iter().all(RangeSet::is_empty));
    }
}
