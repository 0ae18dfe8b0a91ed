//! Chance from a seed: the SplitMix64 generator of Steele, Lea and Flood.
//!
//! Invariant: the same seed gives the same draws on every machine. It is no source of secrets.

/// A stream of draws.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// True once in `in_how_many`.
    pub(crate) fn once_in(&mut self, in_how_many: usize) -> bool {
        self.below(in_how_many) == 0
    }

    /// One of them. `from` is never empty.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// What `draw` gives, or nothing.
    pub(crate) fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.once_in(2) { Some(draw(self)) } else { None }
    }

    /// As many as `least` to `most`: mostly few, seldom all.
    pub(crate) fn many<T>(&mut self, least: usize, most: usize, mut draw: impl FnMut(&mut Self, usize) -> T) -> Vec<T> {
        let few = least + self.below(3.min(most - least + 1));
        let count = if self.once_in(40) { most } else { few };
        (0..count).map(|index| draw(self, index)).collect()
    }
}
