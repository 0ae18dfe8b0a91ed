//! How fast packets may follow each other: budgets of files and bytes, a bound on what waits for the mirror, and a pause that
//! grows while the folder fails.
//!
//! Invariants: it only says how long to rest after a packet, so whoever plans packets plans the next one late and fresh; at a
//! bound packets go on singly, as what lies in the folder may only go when the peer hears of newer ones. Off unless configured,
//! but for the pause after failures. It does no I/O and reads no clock. Test to read first:
//! `a_budget_holds_over_a_while_and_lets_a_burst_through`.

use std::time::Duration;

/// What a budget saves up while nothing is sent.
const BURST: Duration = Duration::from_secs(1);
/// The first rest after a failure, and at a bound.
const REST_MIN: Duration = Duration::from_secs(1);
/// The longest of those rests.
const REST_MAX: Duration = Duration::from_secs(30);

/// Bounds on what is written; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PaceOptions {
    /// Packets a second, on average.
    pub files_per_second: Option<u32>,
    /// Bytes a second, on average.
    pub bytes_per_second: Option<u64>,
    /// Own packets that lie in the folder.
    pub files_max: Option<u64>,
    /// Bytes of those.
    pub bytes_max: Option<u64>,
}

/// Own packets that lie in the folder, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Their number.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Says how long to rest before the next packet. Times are monotonic, since any moment.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    options: PaceOptions,
    /// When the budgets are even again.
    files_even: Duration,
    bytes_even: Duration,
    failures: u32,
    crowded: u32,
}

impl Pace {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(options: PaceOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Is so much at a bound?
    #[must_use]
    pub fn is_crowded(&self, held: Held) -> bool {
        let beyond = |max: Option<u64>, value: u64| max.is_some_and(|max| value >= max);
        beyond(self.options.files_max, held.files) || beyond(self.options.bytes_max, held.bytes)
    }

    /// A packet of so many bytes was published, and so much lies in the folder: how long to rest.
    #[must_use]
    pub fn published(&mut self, now: Duration, bytes: u64, held: Held) -> Duration {
        self.failures = 0;
        let owed = |even: &mut Duration, cost: Option<Duration>| {
            let Some(cost) = cost else { return Duration::ZERO };
            *even = (*even).max(now.saturating_sub(BURST)).saturating_add(cost);
            even.saturating_sub(now)
        };
        let per = |rate: f64, amount: f64| Duration::try_from_secs_f64(amount / rate).unwrap_or(Duration::MAX);
        #[allow(clippy::cast_precision_loss, reason = "a budget is no exact number")]
        let of_bytes = self.options.bytes_per_second.map(|rate| per(rate.max(1) as f64, bytes as f64));
        let of_files = self.options.files_per_second.map(|rate| per(f64::from(rate.max(1)), 1.0));
        let budget = owed(&mut self.files_even, of_files).max(owed(&mut self.bytes_even, of_bytes));
        if !self.is_crowded(held) {
            self.crowded = 0;
            return budget;
        }
        self.crowded = self.crowded.saturating_add(1);
        budget.max(growing(self.crowded))
    }

    /// A packet could not be written into the folder: how long to rest.
    #[must_use]
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        growing(self.failures)
    }
}

fn growing(times: u32) -> Duration {
    REST_MIN.saturating_mul(1 << times.saturating_sub(1).min(16)).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    //! A clock that jumps to the end of every rest.
    use super::*;

    const NOTHING: Held = Held { files: 0, bytes: 0 };

    fn send(pace: &mut Pace, packets: u32, bytes: u64) -> Duration {
        let mut now = Duration::from_secs(100);
        let began = now;
        for _ in 0..packets {
            now += pace.published(now, bytes, NOTHING);
        }
        now - began
    }

    #[test]
    fn a_budget_holds_over_a_while_and_lets_a_burst_through() {
        let mut files = Pace::new(PaceOptions { files_per_second: Some(10), ..PaceOptions::default() });
        assert_eq!(send(&mut files.clone(), 10, 1), Duration::ZERO);
        assert_eq!(send(&mut files, 110, 1), Duration::from_secs(10));
        let mut bytes = Pace::new(PaceOptions { bytes_per_second: Some(1_000), ..PaceOptions::default() });
        assert_eq!(send(&mut bytes, 21, 500).as_millis(), 9_500);
    }

    #[test]
    fn the_tighter_budget_counts() {
        let options =
            PaceOptions { files_per_second: Some(100), bytes_per_second: Some(1_000), ..PaceOptions::default() };
        let took = send(&mut Pace::new(options), 11, 1_000);
        assert_eq!(took.as_millis(), 10_000);
    }

    #[test]
    fn without_budgets_nothing_rests() {
        assert_eq!(send(&mut Pace::default(), 10_000, 1 << 30), Duration::ZERO);
    }

    #[test]
    fn a_full_outbox_slows_to_single_packets_and_never_stops() {
        let mut pace = Pace::new(PaceOptions { files_max: Some(5), bytes_max: Some(1_000), ..PaceOptions::default() });
        let now = Duration::from_secs(9);
        assert_eq!(pace.published(now, 1, Held { files: 4, bytes: 999 }), Duration::ZERO);
        let crowded = [Held { files: 5, bytes: 0 }, Held { files: 1, bytes: 1_000 }, Held { files: 9, bytes: 9_000 }];
        let rests: Vec<_> = crowded.iter().map(|held| pace.published(now, 1, *held).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4]);
        for _ in 0..40 {
            assert!(pace.published(now, 1, crowded[0]) <= REST_MAX);
        }
        assert_eq!(pace.published(now, 1, NOTHING), Duration::ZERO);
        assert_eq!(pace.published(now, 1, crowded[0]), REST_MIN);
    }

    #[test]
    fn failures_rest_longer_and_longer_until_one_packet_passes() {
        let mut pace = Pace::default();
        let rests: Vec<u64> = (0..7).map(|_| pace.failed().as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.published(Duration::ZERO, 1, NOTHING), Duration::ZERO);
        assert_eq!(pace.failed(), REST_MIN);
    }
}
