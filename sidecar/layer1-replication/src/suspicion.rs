//! How much the peer's silence says (φ-accrual: Hayashibara, Défago, Yared and Katayama 2004).
//!
//! φ = −log10 of the chance that the next packet comes later than now, if intervals between packets are normally distributed: 1 is one
//! wrong suspicion in ten, 8 one in a hundred million. A peer promises a packet each heartbeat only: intervals that are shorter say
//! nothing about silence and are not kept, so the pause after a burst is not suspicious.
//! Invariants: φ is 0 before the first packet, never falls while nothing is heard, and is finite. It decides nothing.
//! Test to read first: `suspicion_grows_with_silence_and_with_regularity`.

use crate::limits;
use crate::time::{Duration, Timestamp, micros};
use alloc::collections::VecDeque;

/// ln 10.
const LN_10: f64 = core::f64::consts::LN_10;

/// Intervals between packets of the peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspicion {
    /// The newest intervals that were not shorter than half a heartbeat, in µs.
    intervals: VecDeque<u64>,
    heard: Option<Timestamp>,
}

impl Suspicion {
    /// A packet of the peer came, which promised a packet each `heartbeat`.
    pub(crate) fn heard(&mut self, now: Timestamp, heartbeat: Duration) {
        if let Some(before) = self.heard.replace(now) {
            let interval = now.since(before);
            if interval >= heartbeat / 2 {
                if self.intervals.len() >= limits::SUSPICION_WINDOW {
                    self.intervals.pop_front();
                }
                self.intervals.push_back(micros(interval));
            }
        }
    }

    /// How suspicious the silence is.
    pub(crate) fn phi(&self, now: Timestamp, heartbeat: Duration) -> f64 {
        let Some(heard) = self.heard else { return 0.0 };
        let (mean, deviation) = self.expected(heartbeat);
        phi_of((float(micros(now.since(heard))) - mean) / deviation)
    }

    /// Mean and deviation of the intervals: a heartbeat counts as one more, and neither is less than it says.
    fn expected(&self, heartbeat: Duration) -> (f64, f64) {
        let heartbeat = micros(heartbeat.max(limits::GRANULARITY));
        let count = self.intervals.len() as u128 + 1;
        let all = || self.intervals.iter().copied().chain([heartbeat]).map(u128::from);
        let mean = all().sum::<u128>() / count;
        let variance = all().map(|interval| interval.abs_diff(mean).pow(2)).sum::<u128>() / count;
        let deviation = u64::try_from(variance.isqrt()).unwrap_or(u64::MAX);
        let mean = u64::try_from(mean).unwrap_or(u64::MAX);
        (float(mean.max(heartbeat)), float(deviation.max(heartbeat / 4).max(1)))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a silence in µs stays far below 2^53")]
const fn float(micros: u64) -> f64 {
    micros as f64
}

/// φ, `y` deviations after the mean. The normal distribution by the logistic approximation of Bowling et al. (2009): its tail is
/// 1 / (1 + e^a), so φ = ln(1 + e^a) / ln 10.
fn phi_of(y: f64) -> f64 {
    let y = y.clamp(-8.0, 1e6);
    softplus(y * (1.5976 + 0.070_566 * y * y)) / LN_10
}

/// ln(1 + e^a), to about a hundredth of itself where it matters.
fn softplus(a: f64) -> f64 {
    if a > 0.0 { a + ln_1p(exp(-a)) } else { ln_1p(exp(a)) }
}

/// e^x for x ≤ 0: (1 + x/2^n)^(2^n), with n such that the base is near 1.
fn exp(x: f64) -> f64 {
    if x < -60.0 {
        return 0.0;
    }
    let mut power = 1.0 + x / 16_384.0;
    for _ in 0..14 {
        power *= power;
    }
    power
}

/// ln(1 + x) for 0 ≤ x ≤ 1, by the series of the inverse hyperbolic tangent.
fn ln_1p(x: f64) -> f64 {
    let z = x / (2.0 + x);
    let z2 = z * z;
    2.0 * z * (1.0 + z2 * (1.0 / 3.0 + z2 * (1.0 / 5.0 + z2 * (1.0 / 7.0 + z2 / 9.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    const SEC: Duration = Duration::from_secs(1);
    const BEAT: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO.after(SEC * seconds as u32)
    }

    /// Packets at these intervals; the time of the last.
    fn after(intervals: impl IntoIterator<Item = u64>) -> (Suspicion, u64) {
        let (mut suspicion, mut now) = (Suspicion::default(), 0);
        suspicion.heard(at(0), BEAT);
        for interval in intervals {
            now += interval;
            suspicion.heard(at(now), BEAT);
        }
        (suspicion, now)
    }

    #[test]
    fn suspicion_grows_with_silence_and_with_regularity() {
        assert_eq!(Suspicion::default().phi(at(1_000), BEAT), 0.0, "nobody was heard");
        let (regular, heard) = after([10; 100]);
        let (irregular, late) = after((0..100).map(|n| if n % 4 == 0 { 40 } else { 10 }));
        let mut before = (0.0, 0.0);
        for silence in 0..200 {
            let phi = (regular.phi(at(heard + silence), BEAT), irregular.phi(at(late + silence), BEAT));
            assert!(phi.0 >= before.0 && phi.1 >= before.1 && phi.0.is_finite());
            before = phi;
        }
        let phi = |silence| (regular.phi(at(heard + silence), BEAT), irregular.phi(at(late + silence), BEAT));
        assert!(phi(10).0 < 0.4 && phi(20).0 < 8.0, "a heartbeat that is due or lost: {:?}", phi(20));
        assert!(phi(30).0 > 8.0 && phi(30).1 < 2.0, "two of them: {:?}", phi(30));
        assert!(phi(120).1 > 8.0);
    }

    #[test]
    fn the_announced_heartbeat_counts_before_there_are_intervals() {
        let (suspicion, _) = after([]);
        assert!(suspicion.phi(at(10), BEAT) < 0.4 && suspicion.phi(at(30), BEAT) > 8.0);
        assert!(suspicion.phi(at(30), 10 * BEAT) < 0.1, "a peer that promised little is not suspected early");
    }

    #[test]
    fn a_burst_says_nothing_about_silence() {
        let (quiet, heard) = after([10; 50]);
        let (busy, last) = after([10; 50].into_iter().chain([1; 1_000]));
        for silence in [5, 15, 25] {
            assert_eq!(busy.phi(at(last + silence), BEAT), quiet.phi(at(heard + silence), BEAT));
        }
        assert_eq!(busy.intervals.len(), 50);
        assert_eq!(after([10; 500]).0.intervals.len(), limits::SUSPICION_WINDOW);
    }

    #[test]
    fn the_approximation_is_near_the_normal_distribution() {
        // −log10 of the upper tail of the standard normal distribution.
        for (y, phi) in [(-3.0, 0.000_59), (0.0, 0.301), (1.0, 0.7995), (2.0, 1.643), (3.0, 2.870), (5.0, 6.543)] {
            let (y, phi): (f64, f64) = (y, phi);
            assert!((phi_of(y) - phi).abs() < 0.25 + 0.1 * phi, "{y}: {} and not {phi}", phi_of(y));
        }
        assert!((softplus(0.0) - core::f64::consts::LN_2).abs() < 1e-4 && (softplus(1.0) - 1.313_26).abs() < 1e-3);
        assert!(phi_of(1e300).is_finite() && phi_of(-1e300) >= 0.0);
    }
}
