//! How long to wait until the folder is looked at again.
//!
//! Invariants: short after progress, growing by half while nothing happens, never above the bound that
//! follows from the mirror's latency, never past the next moment something is due.
//! What this file does not do: sleep, or listen to inotify (a hint from there just means: scan now).
//! Specification: protocol §6, "poll with adaptive period". Read first: `idle_scans_slow_down_and_progress_speeds_up`.

use std::time::Duration;

/// Shortest poll period.
pub const POLL_MIN: Duration = Duration::from_millis(5);

/// The longest poll period that suits a mirror of this expected latency: an eighth of it, in 50 ms … 10 s.
#[must_use]
pub fn poll_bound(expected_latency: Duration) -> Duration {
    (expected_latency / 8).clamp(Duration::from_millis(50), Duration::from_secs(10))
}

/// The adaptive period between two scans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    period: Duration,
    min: Duration,
    max: Duration,
}

impl Pace {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { period: min, min, max: max.max(min) }
    }

    /// The wait after a scan; `due` is how long until something tracked has to be looked at.
    pub(crate) fn after_scan(&mut self, progressed: bool, due: Option<Duration>) -> Duration {
        self.period = if progressed { self.min } else { (self.period.saturating_mul(3) / 2).min(self.max) };
        match due {
            Some(due) => self.period.min(due.max(Duration::from_millis(1))),
            None => self.period,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_scans_slow_down_and_progress_speeds_up() {
        let mut pace = Pace::new(POLL_MIN, Duration::from_millis(60));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let wait = pace.after_scan(false, None);
            assert!(wait >= last);
            last = wait;
        }
        assert_eq!(last, Duration::from_millis(60));
        assert_eq!(pace.after_scan(true, None), POLL_MIN);
    }

    #[test]
    fn what_is_due_shortens_the_wait() {
        let mut pace = Pace::new(POLL_MIN, Duration::from_secs(10));
        for _ in 0..40 {
            let _ = pace.after_scan(false, None);
        }
        assert_eq!(pace.after_scan(false, Some(Duration::from_millis(7))), Duration::from_millis(7));
        assert_eq!(pace.after_scan(false, Some(Duration::ZERO)), Duration::from_millis(1));
    }

    #[test]
    fn the_bound_follows_the_latency_within_limits() {
        assert_eq!(poll_bound(Duration::from_millis(1)), Duration::from_millis(50));
        assert_eq!(poll_bound(Duration::from_secs(16)), Duration::from_secs(2));
        assert_eq!(poll_bound(Duration::from_secs(86_400)), Duration::from_secs(10));
    }
}
