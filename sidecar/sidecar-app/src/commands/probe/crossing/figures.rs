//! Figures of a train of files: delays, and the period of the mirror's rounds.
//!
//! A mirror that works in rounds delivers several files in one moment and then nothing for a period. Test to read first:
//! `rounds_show_a_period_and_a_steady_stream_does_not`.

use std::time::{Duration, Instant};

use super::super::ground::ms;
use super::super::parcel::Parcel;

/// Arrivals closer than this are of one round.
const ROUND: Duration = Duration::from_millis(40);
/// Rounds that show a period.
const ROUNDS_MIN: usize = 3;

/// The shortest, the median and the longest time on the way, in milliseconds.
pub(super) fn delays(parcels: &[Parcel]) -> (Option<u64>, Option<u64>, Option<u64>) {
    let mut delays: Vec<Duration> = parcels.iter().filter_map(|parcel| parcel.whole).collect();
    delays.sort_unstable();
    let at = |place: usize| delays.get(place).copied().map(ms);
    (at(0), at(delays.len() / 2), delays.last().copied().map(ms))
}

/// How much later files are listed than they can be opened: the median, in milliseconds.
pub(super) fn list_lag(parcels: &[Parcel]) -> Option<i64> {
    let lag = |parcel: &Parcel| {
        let (listed, opened) = (parcel.listed?, parcel.opened?);
        i64::try_from(ms(listed)).ok()?.checked_sub(i64::try_from(ms(opened)).ok()?)
    };
    let mut lags: Vec<i64> = parcels.iter().filter(|parcel| parcel.renamed.is_none()).filter_map(lag).collect();
    lags.sort_unstable();
    lags.get(lags.len() / 2).copied()
}

/// The moments at which files arrived: the first of each round, and how many came in it.
pub(super) fn rounds(parcels: &[Parcel], gap: Duration) -> Vec<(Instant, usize)> {
    let arrival = |parcel: &Parcel| parcel.whole.map(|after| parcel.sent + after);
    rounds_of(parcels.iter().filter_map(arrival).collect(), gap)
}

fn rounds_of(mut arrivals: Vec<Instant>, gap: Duration) -> Vec<(Instant, usize)> {
    arrivals.sort_unstable();
    let mut rounds: Vec<(Instant, usize)> = Vec::new();
    let mut last = None;
    for arrival in arrivals {
        let near = last.is_some_and(|last| arrival.saturating_duration_since(last) < ROUND.max(gap / 2));
        match rounds.last_mut() {
            Some((_, count)) if near => *count += 1,
            Some(_) | None => rounds.push((arrival, 1)),
        }
        last = Some(arrival);
    }
    rounds
}

/// The time between two rounds, if files come in rounds.
pub(super) fn period(parcels: &[Parcel], gap: Duration) -> Option<Duration> {
    period_of(&rounds(parcels, gap), gap)
}

fn period_of(rounds: &[(Instant, usize)], gap: Duration) -> Option<Duration> {
    let mut steps: Vec<Duration> = rounds
        .iter()
        .zip(rounds.iter().skip(1))
        .map(|((one, _), (next, _))| next.saturating_duration_since(*one))
        .collect();
    steps.sort_unstable();
    let files: usize = rounds.iter().map(|(_, count)| count).sum();
    let step = *steps.get(steps.len() / 2)?;
    // In rounds: two files and more at once, as far apart as that many files were sent.
    (rounds.len() >= ROUNDS_MIN && files >= rounds.len() * 2 && step >= gap * 2).then_some(step)
}

#[cfg(test)]
mod tests {
    //! Arrivals made up.
    use super::*;

    const GAP: Duration = Duration::from_millis(100);

    fn arrivals(at_ms: &[u64]) -> Vec<(Instant, usize)> {
        let zero = Instant::now();
        rounds_of(at_ms.iter().map(|at| zero + Duration::from_millis(*at)).collect(), GAP)
    }

    #[test]
    fn rounds_show_a_period_and_a_steady_stream_does_not() {
        let rounds = arrivals(&[500, 501, 502, 503, 1_000, 1_001, 1_005, 1_500, 1_501, 2_000, 2_001, 2_003]);
        assert_eq!(rounds.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [4, 3, 2, 3]);
        assert_eq!(period_of(&rounds, GAP), Some(Duration::from_millis(500)));
        let steady: Vec<u64> = (0..20).map(|n| n * 100).collect();
        assert_eq!(period_of(&arrivals(&steady), GAP), None);
        assert_eq!(period_of(&arrivals(&[500, 501, 502]), GAP), None);
        assert_eq!(period_of(&arrivals(&[]), GAP), None);
    }
}
