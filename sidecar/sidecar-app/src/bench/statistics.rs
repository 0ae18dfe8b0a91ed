//! Numbers from numbers: least, median, most, and percentiles.
//!
//! Invariant: an empty sample has no statistics, rather than zeros. A percentile is a value of the sample (nearest rank);
//! the median of an even number of values is the mean of the middle two.
//! Test to read first: `the_median_of_an_even_number_lies_between_the_middle_two`.

use serde::Serialize;

/// A sample in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The least.
    pub(super) min: f64,
    /// Half lie below.
    pub(super) median: f64,
    /// The most.
    pub(super) max: f64,
}

impl Spread {
    /// Of a sample; `None` if it is empty.
    pub(super) fn of(sample: &[f64]) -> Option<Self> {
        let sorted = sorted(sample);
        Some(Self { min: *sorted.first()?, median: median(sample)?, max: *sorted.last()? })
    }
}

/// The median; `None` of an empty sample.
pub(super) fn median(sample: &[f64]) -> Option<f64> {
    let sorted = sorted(sample);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The least value that at least `percent` of a hundred values do not exceed; `None` of an empty sample.
pub(super) fn percentile(sample: &[f64], percent: u32) -> Option<f64> {
    let sorted = sorted(sample);
    let rank = (sorted.len() as u64 * u64::from(percent.min(100))).div_ceil(100);
    let place = usize::try_from(rank.saturating_sub(1)).ok()?;
    sorted.get(place).copied()
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 30.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn an_empty_sample_has_no_statistics() {
        assert_eq!(median(&[]), None);
        assert_eq!(percentile(&[], 99), None);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_percentile_is_a_value_of_the_sample() {
        let sample: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&sample, 99), Some(198.0));
        assert_eq!(percentile(&sample, 100), Some(200.0));
        assert_eq!(percentile(&sample, 0), Some(1.0));
        assert_eq!(percentile(&[3.0, 1.0], 99), Some(3.0));
    }

    #[test]
    fn a_spread_has_the_ends_and_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
    }
}
