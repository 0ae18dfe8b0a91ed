//! The quiet time: how long a file must not change before it counts as final.
//!
//! Invariants: quiet = clamp(4 × p99 of the gaps seen between two changes of a growing file, lower bound,
//! upper bound); only the newest gaps count; one growth after a file was already given up at most doubles it. Only what
//! led to something verified teaches: whoever can write files of any kind cannot lengthen the wait for good ones.
//! What this file does not do: read a clock or a modification time.
//! Specification: protocol §1, "Completeness". Read first: `quiet_time_is_four_times_the_p99_gap`.

use std::collections::VecDeque;
use std::time::Duration;

/// Gaps remembered.
const GAPS_MAX: usize = 256;

/// Learns the pauses of a mirror.
#[derive(Debug)]
pub(crate) struct Quiet {
    gaps: VecDeque<Duration>,
    min: Duration,
    max: Duration,
    time: Duration,
}

impl Quiet {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { gaps: VecDeque::new(), min, max: max.max(min), time: min }
    }

    /// The quiet time.
    pub(crate) const fn time(&self) -> Duration {
        self.time
    }

    /// A file that was still open changed after `gap` without change.
    pub(crate) fn changed_after(&mut self, gap: Duration) {
        if gap.is_zero() {
            return; // two changes seen by one scan say nothing about the mirror
        }
        if self.gaps.len() == GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
        let mut sorted: Vec<Duration> = self.gaps.iter().copied().collect();
        sorted.sort_unstable();
        let p99 = sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default();
        self.time = p99.saturating_mul(4).clamp(self.min, self.max);
    }

    /// A file changed that had already been closed as partial or given up: the quiet time was too short.
    /// How much too short is not known (it may have lain there for days), so the time only doubles.
    pub(crate) fn changed_after_close(&mut self) {
        self.changed_after(self.time / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn quiet_time_is_four_times_the_p99_gap() {
        let mut quiet = Quiet::new(S, S * 3_600);
        assert_eq!(quiet.time(), S);
        for _ in 0..200 {
            quiet.changed_after(S);
        }
        assert_eq!(quiet.time(), S * 4);
        quiet.changed_after(S * 100); // one in 201 lies above the 99th percentile
        assert_eq!(quiet.time(), S * 4);
    }

    #[test]
    fn quiet_time_stays_within_its_bounds() {
        let mut quiet = Quiet::new(S, S * 10);
        quiet.changed_after(Duration::from_millis(1));
        assert_eq!(quiet.time(), S);
        quiet.changed_after(S * 1_000);
        assert_eq!(quiet.time(), S * 10);
    }

    #[test]
    fn a_growth_after_close_doubles_the_quiet_time() {
        let mut quiet = Quiet::new(S, S * 3_600);
        quiet.changed_after_close();
        assert_eq!(quiet.time(), S * 2);
        quiet.changed_after_close();
        assert_eq!(quiet.time(), S * 4);
    }

    #[test]
    fn old_gaps_are_forgotten() {
        let mut quiet = Quiet::new(S, S * 3_600);
        quiet.changed_after(S * 50);
        for _ in 0..GAPS_MAX {
            quiet.changed_after(S / 10);
        }
        assert_eq!(quiet.time(), S);
    }
}
