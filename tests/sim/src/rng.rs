//! The only source of chance: SplitMix64. The same seed gives the same numbers on every machine.
//!
//! Invariant: whoever draws has a generator of its own, split off by name, so that one more draw here does not change what
//! happens there. Test to read first: `a_split_generator_does_not_disturb_the_other`.

/// A generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for what `name` stands for.
    #[must_use]
    pub fn split(&self, name: u64) -> Self {
        let mut other = Self(self.0 ^ name.wrapping_mul(0xd6e8_feb8_6659_fd93));
        other.next();
        Self(other.next())
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "an endless source is no iterator here")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 if `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Of log-normal shape around `median`: a sum of twelve uniform numbers stands for the normal one, and the power of two
    /// is taken in whole steps and their linear rest, so that no floating point is needed.
    pub fn log_normal(&mut self, median: u64, spread_percent: u64) -> u64 {
        let sum: u64 = (0..12).map(|_| self.below(1_000)).sum();
        // Thousandths of standard deviations, times the spread: thousandths of doublings.
        let doublings = (i64::try_from(sum).unwrap_or(0) - 5_994) * i64::try_from(spread_percent).unwrap_or(0) / 100;
        let (whole, rest) = (doublings.div_euclid(1_000), doublings.rem_euclid(1_000));
        let base = median + median * u64::try_from(rest).unwrap_or(0) / 1_000;
        if whole >= 0 { base << whole.min(8) } else { base >> (-whole).min(30) }
    }

    /// Fills the buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_generator_does_not_disturb_the_other() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let mut split = a.split(1);
        split.next();
        assert_eq!(a.next(), b.next());
        assert_ne!(Rng::new(7).split(1).next(), Rng::new(7).split(2).next());
    }

    #[test]
    fn the_median_is_where_it_should_be() {
        let mut rng = Rng::new(1);
        let below = (0..10_000).filter(|_| rng.log_normal(1_000_000, 100) < 1_000_000).count();
        assert!((4_500..5_500).contains(&below), "{below}");
    }
}
