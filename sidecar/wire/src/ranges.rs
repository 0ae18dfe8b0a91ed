//! Sets of numbers as inclusive ranges, and their form on the wire: newest first (wire format §6).
//!
//! Invariant: ranges are disjoint and never touch, so a set has one form. Memory is bounded by the number of ranges, which the caller
//! bounds with `drop_oldest_ranges`. Test to read first: `a_set_behaves_like_a_set_of_its_numbers`.

use crate::varint;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// A set of `u64` kept as ranges.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RangeSet {
    /// low → high, both inclusive.
    ranges: BTreeMap<u64, u64>,
}

/// Bytes that are no list of ranges: cut, over the bound, or a range below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed list of ranges")]
pub struct RangesMalformed;

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: BTreeMap::new() }
    }

    /// Adds one number; whether it is new.
    pub fn insert(&mut self, value: u64) -> bool {
        if self.contains(value) {
            return false;
        }
        self.insert_range(value..=value);
        true
    }

    /// Adds every number of `range`; an empty range adds none.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut low, mut high) = (*range.start(), *range.end());
        if low > high {
            return;
        }
        // Everything that overlaps or touches [low, high] melts into it, from the top down.
        while let Some((&l, &h)) = self.ranges.range(..=high.saturating_add(1)).next_back() {
            if h.saturating_add(1) < low {
                break;
            }
            low = low.min(l);
            high = high.max(h);
            self.ranges.remove(&l);
        }
        self.ranges.insert(low, high);
    }

    /// Adds every number of `other`.
    pub fn union(&mut self, other: &Self) {
        for (low, high) in other.iter() {
            self.insert_range(low..=high);
        }
    }

    /// Takes one number out; whether it was in.
    pub fn remove(&mut self, value: u64) -> bool {
        let was_in = self.contains(value);
        self.remove_range(value..=value);
        was_in
    }

    /// Takes every number of `range` out.
    pub fn remove_range(&mut self, range: RangeInclusive<u64>) {
        let (low, high) = (*range.start(), *range.end());
        if low > high {
            return;
        }
        while let Some((&l, &h)) = self.ranges.range(..=high).next_back() {
            if h < low {
                break;
            }
            self.ranges.remove(&l);
            if h > high {
                self.ranges.insert(high + 1, h);
            }
            if l < low {
                self.ranges.insert(l, low - 1);
            }
        }
    }

    /// Takes every number below `bound` out.
    pub fn remove_below(&mut self, bound: u64) {
        if let Some(last) = bound.checked_sub(1) {
            self.remove_range(0..=last);
        }
    }

    /// Forgets the lowest ranges until at most `max_ranges` are left.
    pub fn drop_oldest_ranges(&mut self, max_ranges: usize) {
        while self.ranges.len() > max_ranges {
            self.ranges.pop_first();
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.covers(value, value)
    }

    /// Whether every number from `low` to `high` is in the set; true where there is none.
    #[must_use]
    pub fn covers(&self, low: u64, high: u64) -> bool {
        low > high || self.ranges.range(..=low).next_back().is_some_and(|(_, &h)| h >= high)
    }

    /// Whether any number from `low` to `high` is in the set.
    #[must_use]
    pub fn intersects(&self, low: u64, high: u64) -> bool {
        low <= high && self.ranges.range(..=high).next_back().is_some_and(|(_, &h)| h >= low)
    }

    /// The number of ranges.
    #[must_use]
    pub fn len_ranges(&self) -> usize {
        self.ranges.len()
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (low, high)| (high - low).saturating_add(1).saturating_add(sum))
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges (low, high), ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(&low, &high)| (low, high))
    }

    /// The ranges (low, high), descending.
    pub fn iter_desc(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.iter().rev()
    }

    /// The numbers, ascending. As many as the ranges span: never walk a peer's set with it.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.iter().flat_map(|(low, high)| low..=high)
    }

    /// The ranges missing between `low` and `high`, ascending.
    #[must_use]
    pub fn missing(&self, low: u64, high: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = Some(low);
        let first = self.ranges.range(..=low).next_back().map_or(low, |(&l, _)| l);
        for (&l, &h) in self.ranges.range(first..) {
            let Some(start) = from.filter(|start| *start <= high && l <= high) else { break };
            if l > start {
                gaps.push((start, l - 1));
            }
            from = if h >= start { h.checked_add(1) } else { from };
        }
        gaps.extend(from.filter(|start| *start <= high).map(|start| (start, high)));
        gaps
    }

    /// The largest number.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, &high)| high)
    }

    /// The smallest number.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(&low, _)| low)
    }

    /// Appends the newest (highest) `max_ranges` ranges: count, then each range, newest first. Every number must be below 2^62.
    pub fn encode(&self, max_ranges: usize, out: &mut Vec<u8>) {
        let count = self.ranges.len().min(max_ranges);
        varint::encode(count as u64, out);
        let mut above: Option<u64> = None;
        for (low, high) in self.iter_desc().take(count) {
            varint::encode(above.map_or(high, |above| above - high - 2), out);
            varint::encode(high - low, out);
            above = Some(low);
        }
    }

    /// Takes a list of at most `max_ranges` ranges off the front of `input`.
    ///
    /// # Errors
    /// If it is cut, longer than `max_ranges`, or a range lies below 0.
    pub fn decode(input: &mut &[u8], max_ranges: usize) -> Result<Self, RangesMalformed> {
        let mut number = || varint::decode(input).map_err(|_| RangesMalformed);
        let count = number()?;
        if count > max_ranges as u64 {
            return Err(RangesMalformed);
        }
        let mut set = Self::new();
        let mut above: Option<u64> = None;
        for _ in 0..count {
            let first = number()?;
            let high = match above {
                None => first,
                Some(above) => above.checked_sub(first).and_then(|n| n.checked_sub(2)).ok_or(RangesMalformed)?,
            };
            let low = high.checked_sub(number()?).ok_or(RangesMalformed)?;
            set.ranges.insert(low, high);
            above = Some(low);
        }
        Ok(set)
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(low, high)| low..=high)).finish()
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut set = Self::new();
        set.extend(values);
        set
    }
}

impl Extend<u64> for RangeSet {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, values: I) {
        for value in values {
            self.insert(value);
        }
    }
}

#[cfg(test)]
mod tests;
