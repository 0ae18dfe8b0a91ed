//! Files that need no more work but stay in the folder: those finished with, and useless ones that the quarantine has no
//! room for.
//!
//! Invariants: a file is remembered by a number of eight bytes (a keyed hash of its path, so that nobody can choose one
//! that hides another file), so that hundreds of thousands cost little; what was noted longest ago is forgotten first, and
//! everything after some hours: it is then looked at once more.
//! What this file does not do: list or open anything. Specification: protocol §3 "Garbage collection".
//! Read first: `a_spent_file_counts_again_when_its_length_changes`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::limits::{MEASURED_ONE_IN, SPENT_AGE, SPENT_MAX};

/// How long after an overflow the memory counts as too small.
const OVERFLOW_LASTS: Duration = Duration::from_secs(60);

/// What is remembered of one file.
#[derive(Debug, Clone, Copy)]
struct Mark {
    since: Duration,
    /// Length of a useless file; none of one that is finished with, whatever happens to it.
    len: Option<u64>,
}

/// The memory of spent files. Only ever asked for single paths, so the order of its map shows nowhere.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    hasher: RandomState,
    marks: HashMap<u64, Mark>,
    order: VecDeque<(Duration, u64)>,
    overflowed_at: Option<Duration>,
    /// Counts listings, so that others are measured each time.
    round: u64,
}

impl Spent {
    /// A file that is finished with and stays.
    pub(crate) fn note_left(&mut self, path: &str, now: Duration) {
        self.note(path, None, now);
    }

    /// A file of this length that is useless.
    pub(crate) fn note_useless(&mut self, path: &str, len: u64, now: Duration) {
        self.note(path, Some(len), now);
    }

    fn note(&mut self, path: &str, len: Option<u64>, now: Duration) {
        let key = self.hasher.hash_one(path);
        self.marks.insert(key, Mark { since: now, len });
        self.order.push_back((now, key));
        while self.marks.len() > SPENT_MAX || self.order.len() > 2 * SPENT_MAX {
            self.overflowed_at = Some(now);
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((since, key)) = self.order.pop_front()
            && self.marks.get(&key).is_some_and(|mark| mark.since == since)
        {
            self.marks.remove(&key);
        }
    }

    /// Forgets what is too old; to be called in each scan.
    pub(crate) fn age(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(since, _)| now >= since.saturating_add(SPENT_AGE)) {
            self.forget_oldest();
        }
        self.round = self.round.wrapping_add(1);
    }

    /// Whether this file needs no work. A length that is not the one remembered ends that.
    pub(crate) fn holds(&mut self, path: &str, len: Option<u64>) -> bool {
        let key = self.hasher.hash_one(path);
        let Some(mark) = self.marks.get(&key) else { return false };
        let changed = mark.len.zip(len).is_some_and(|(before, now)| before != now);
        if changed {
            self.marks.remove(&key);
        }
        !changed
    }

    /// Whether a listing should ask for this file's length; none if the file is not spent.
    pub(crate) fn measures(&self, path: &str) -> Option<bool> {
        let key = self.hasher.hash_one(path);
        let mark = self.marks.get(&key)?;
        Some(mark.len.is_some() && self.is_turn(key))
    }

    /// Whether it is this one's turn to be measured, among many.
    pub(crate) const fn is_turn(&self, key: u64) -> bool {
        key.wrapping_add(self.round).is_multiple_of(MEASURED_ONE_IN)
    }

    /// Whether more files were spent lately than are remembered: some are then looked at again and again.
    pub(crate) fn overflows(&self, now: Duration) -> bool {
        self.overflowed_at.is_some_and(|at| now < at.saturating_add(OVERFLOW_LASTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_spent_file_counts_again_when_its_length_changes() {
        let mut spent = Spent::default();
        spent.note_useless("a", 5, S);
        spent.note_left("b", S);
        assert!(!spent.holds("c", None) && spent.measures("c").is_none());
        assert!(spent.holds("a", None) && spent.holds("a", Some(5)));
        assert!(!spent.holds("a", Some(6)) && !spent.holds("a", Some(5)));
        assert!(spent.holds("b", Some(1)) && spent.holds("b", Some(2)), "finished is finished");
        assert_eq!(spent.measures("b"), Some(false));
        spent.note_useless("a", 6, S);
        let asked = (0..MEASURED_ONE_IN).filter(|_| {
            spent.age(S);
            spent.measures("a").unwrap()
        });
        assert_eq!(asked.count(), 1, "each is measured now and then");
    }

    #[test]
    fn spent_files_are_forgotten_after_hours_or_when_there_are_too_many() {
        let mut spent = Spent::default();
        spent.note_left("a", S);
        spent.note_left("a", S * 9);
        spent.age(S + SPENT_AGE);
        assert!(spent.holds("a", None), "it was noted again meanwhile");
        spent.age(S * 9 + SPENT_AGE);
        assert!(!spent.holds("a", None) && !spent.overflows(S * 9));
        for n in 0..=SPENT_MAX {
            spent.note_useless(&n.to_string(), 1, S * 10);
        }
        assert!(!spent.holds("0", None) && spent.holds("1", None));
        assert!(spent.overflows(S * 11) && !spent.overflows(S * 100));
        assert!(spent.marks.len() <= SPENT_MAX && spent.order.len() <= 2 * SPENT_MAX);
    }
}
