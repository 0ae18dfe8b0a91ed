//! What the charts are drawn of: a bounded ring of samples, one each five seconds, the last half hour.
//!
//! Invariants: at most [`SAMPLES_MAX`] are kept; a rate is the difference of two looks at a counter over the time between
//! them, and a counter that fell is no rate. It reads no clock. Test to read first: `rates_are_differences_over_time`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::status::{EngineStatus, Liveness, PeerView};

/// How often a sample is taken.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// Samples kept: half an hour.
pub(super) const SAMPLES_MAX: usize = 360;

/// One moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// When, on the clock of the sampler.
    pub(super) at: Duration,
    /// The smoothed round trip; `None` before the first measurement.
    pub(super) round_trip_ms: Option<f64>,
    /// Bytes of packets published per second since the sample before.
    pub(super) sent_per_second: f64,
    /// Bytes of verified frames per second since the sample before.
    pub(super) received_per_second: f64,
}

/// The ring.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<Sample>,
    before: Option<(Duration, u64, u64)>,
}

impl Samples {
    /// Takes a sample of a snapshot.
    pub(super) fn take(&mut self, at: Duration, status: &EngineStatus) {
        let (sent, received) = (status.published_bytes, status.inbox.frame_bytes);
        if let Some((then, sent_then, received_then)) = self.before.replace((at, sent, received)) {
            let over = at.saturating_sub(then);
            if self.kept.len() >= SAMPLES_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(Sample {
                at,
                round_trip_ms: principal(status).and_then(|peer| peer.srtt_ms),
                sent_per_second: per_second(sent_then, sent, over),
                received_per_second: per_second(received_then, received, over),
            });
        }
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Sample> + Clone {
        self.kept.iter()
    }

    /// How long ago the oldest one was, from the newest.
    pub(super) fn length(&self) -> Duration {
        match (self.kept.front(), self.kept.back()) {
            (Some(first), Some(last)) => last.at.saturating_sub(first.at),
            _ => Duration::ZERO,
        }
    }
}

/// The peer that stands for the far side: one that is heard before one that is not, and of those the one with a name.
pub(super) fn principal(status: &EngineStatus) -> Option<&PeerView> {
    status.peers.iter().min_by_key(|peer| {
        let standing = match peer.alive {
            Liveness::Alive => 0,
            Liveness::Silent => 1,
            Liveness::NeverSeen => 2,
        };
        (standing, peer.name.is_none(), peer.last_heard_ms_ago)
    })
}

#[allow(clippy::cast_precision_loss, reason = "a chart has fewer than 2^53 points")]
fn per_second(before: u64, now: u64, over: Duration) -> f64 {
    let seconds = over.as_secs_f64();
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sent: u64, received: u64, round_trip_ms: Option<f64>) -> EngineStatus {
        let peer = PeerView { srtt_ms: round_trip_ms, ..PeerView::default() };
        let mut status = EngineStatus { published_bytes: sent, peers: vec![peer], ..EngineStatus::default() };
        status.inbox.frame_bytes = received;
        status
    }

    #[test]
    fn rates_are_differences_over_time() {
        let mut samples = Samples::default();
        samples.take(Duration::from_secs(5), &status(1_000, 10, None));
        assert_eq!(samples.iter().count(), 0, "one look at a counter is no rate");
        samples.take(Duration::from_secs(10), &status(6_000, 10, Some(80.0)));
        samples.take(Duration::from_secs(10), &status(9_000, 10, Some(80.0)));
        samples.take(Duration::from_secs(20), &status(0, 1_010, Some(90.0)));
        let rates: Vec<_> = samples.iter().map(|sample| (sample.sent_per_second, sample.received_per_second)).collect();
        assert_eq!(rates, [(1_000.0, 0.0), (0.0, 0.0), (0.0, 100.0)]);
        assert_eq!(samples.length(), Duration::from_secs(10));
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut samples = Samples::default();
        for second in 0..2_000 {
            samples.take(Duration::from_secs(second), &status(second, 0, None));
        }
        assert_eq!(samples.iter().count(), SAMPLES_MAX);
        assert_eq!(samples.iter().next_back().map(|sample| sample.at), Some(Duration::from_secs(1_999)));
    }
}
