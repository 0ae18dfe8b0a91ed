//! The round trip of one peer, and every delay that follows from it (RFC 9002 §5, with bounds for hours instead of milliseconds).
//!
//! Invariant: samples come from my own clock only (publish to report, less the time the peer held it). A restart begins with the smoothed
//! values of before. Test to read first: `without_a_sample_the_expected_latency_counts`.

use crate::limits;
use crate::time::{Duration, micros};

/// Smoothed round trip and its mean deviation.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    expected: Duration,
    smoothed: Option<Duration>,
    deviation: Duration,
    /// The least of the samples lately.
    least: Least,
}

/// The least of the last one to two hundred samples.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    before: Option<Duration>,
    current: Option<Duration>,
    count: u32,
}

impl Least {
    fn sample(&mut self, rtt: Duration) {
        self.current = Some(self.current.map_or(rtt, |least| least.min(rtt)));
        self.count += 1;
        if self.count >= limits::LEAST_SAMPLES {
            *self = Self { before: self.current, ..Self::default() };
        }
    }

    fn get(&self) -> Duration {
        self.before.into_iter().chain(self.current).min().unwrap_or_default()
    }
}

impl RttEstimator {
    pub(crate) fn new(expected_latency: Duration) -> Self {
        let expected = expected_latency.saturating_mul(2).max(limits::GRANULARITY);
        Self { expected, smoothed: None, deviation: expected / 2, least: Least::default() }
    }

    /// The values of an earlier start, in µs.
    pub(crate) const fn restore(&mut self, srtt_us: u64, rttvar_us: u64) {
        if srtt_us > 0 {
            self.smoothed = Some(Duration::from_micros(srtt_us));
            self.deviation = Duration::from_micros(rttvar_us);
        }
    }

    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.least.sample(rtt);
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.deviation = rtt / 2;
            }
            Some(smoothed) => {
                self.deviation = (self.deviation.saturating_mul(3) + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed.saturating_mul(7) + rtt) / 8);
            }
        }
    }

    /// The smoothed round trip, if there was a sample; in µs with its deviation.
    pub(crate) fn measured_us(&self) -> (Option<u64>, u64) {
        (self.smoothed.map(micros), micros(self.deviation))
    }

    /// The smoothed round trip, or what is expected before the first sample.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(self.expected)
    }

    /// How long an acknowledgement may wait.
    pub(crate) fn ack_delay(&self) -> Duration {
        clamp(self.smoothed() / 8, limits::ACK_DELAY)
    }

    pub(crate) fn flush_small(&self) -> Duration {
        clamp(self.smoothed() / 16, limits::FLUSH_SMALL)
    }

    pub(crate) fn flush_bulk(&self) -> Duration {
        clamp(self.smoothed() / 4, limits::FLUSH_BULK)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        clamp(self.smoothed() / 4, limits::HEARTBEAT)
    }

    /// Probe timeout after `count` of them without news.
    pub(crate) fn probe_timeout(&self, peer_ack_delay: Duration, count: u32) -> Duration {
        let base = match self.smoothed {
            None => self.expected,
            Some(smoothed) => smoothed + self.variance() + peer_ack_delay.max(self.ack_delay()),
        };
        let backed_off = base.saturating_mul(1 << count.min(20));
        backed_off.min(limits::PROBE_INTERVAL_MAX.max(base))
    }

    /// The `n`th try of a first contact waits this long for the next.
    pub(crate) fn hello_retry(&self, n: u32) -> Duration {
        (self.expected / 4).saturating_mul(1 << n.min(20)).min(limits::PROBE_INTERVAL_MAX)
    }

    /// How long after it was published an overtaken packet counts as lost: files overtake each other by size, so the allowance is at least
    /// half a one-way time (RFC 8985 §6.2: a quarter of the least round trip).
    pub(crate) fn loss_delay(&self, reorder_factor: u32) -> Duration {
        let allowance = (self.variance() / 2).max(self.least.get() / 4);
        self.smoothed() + allowance.saturating_mul(reorder_factor)
    }

    fn variance(&self) -> Duration {
        self.deviation.saturating_mul(4).max(limits::GRANULARITY * 2)
    }
}

fn clamp(duration: Duration, (low, high): (Duration, Duration)) -> Duration {
    duration.clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_sample_the_expected_latency_counts() {
        let rtt = RttEstimator::new(15 * SEC);
        assert_eq!(rtt.probe_timeout(Duration::ZERO, 0), 30 * SEC);
        assert_eq!(rtt.probe_timeout(Duration::ZERO, 2), 120 * SEC);
        assert_eq!(rtt.probe_timeout(Duration::ZERO, 60), limits::PROBE_INTERVAL_MAX);
        assert_eq!(rtt.hello_retry(0), Duration::from_millis(7_500));
        assert_eq!(rtt.hello_retry(1), 15 * SEC);
        assert_eq!(rtt.hello_retry(99), limits::PROBE_INTERVAL_MAX);
    }

    #[test]
    fn delays_stay_in_their_bounds_from_milliseconds_to_hours() {
        let mut rtt = RttEstimator::new(SEC);
        rtt.sample(Duration::from_millis(1));
        assert_eq!((rtt.ack_delay(), rtt.flush_small()), (limits::ACK_DELAY.0, limits::FLUSH_SMALL.0));
        assert_eq!((rtt.flush_bulk(), rtt.heartbeat()), (limits::FLUSH_BULK.0, limits::HEARTBEAT.0));
        for _ in 0..100 {
            rtt.sample(3_600 * SEC);
        }
        assert_eq!((rtt.ack_delay(), rtt.flush_small()), (limits::ACK_DELAY.1, limits::FLUSH_SMALL.1));
        assert_eq!((rtt.flush_bulk(), rtt.heartbeat()), (limits::FLUSH_BULK.1, limits::HEARTBEAT.1));
        assert!(rtt.probe_timeout(SEC, 0) > 3_600 * SEC, "the cap of probes never undercuts the round trip");
    }

    #[test]
    fn the_estimate_follows_the_samples() {
        let mut rtt = RttEstimator::new(15 * SEC);
        for _ in 0..64 {
            rtt.sample(2 * SEC);
        }
        assert_eq!(rtt.smoothed(), 2 * SEC);
        assert_eq!(rtt.loss_delay(1), Duration::from_millis(2_500));
        assert_eq!(rtt.loss_delay(3), Duration::from_millis(3_500));
        let (srtt, rttvar) = rtt.measured_us();
        let mut again = RttEstimator::new(15 * SEC);
        again.restore(srtt.unwrap(), rttvar);
        assert_eq!((again.smoothed(), again.probe_timeout(SEC, 1)), (rtt.smoothed(), rtt.probe_timeout(SEC, 1)));
    }

    #[test]
    fn the_allowance_for_overtaking_follows_the_least_round_trip_lately() {
        let mut rtt = RttEstimator::new(SEC);
        for n in 0..400 {
            rtt.sample(if n == 0 { SEC } else { 4 * SEC });
            let least = if n < 2 * limits::LEAST_SAMPLES - 1 { SEC } else { 4 * SEC };
            assert_eq!(rtt.least.get(), least, "{n}");
        }
        assert!(rtt.loss_delay(1).abs_diff(5 * SEC) < Duration::from_millis(1), "{:?}", rtt.loss_delay(1));
    }
}
