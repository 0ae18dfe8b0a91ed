//! Tests of `turns`: each name says what holds.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

const KIB: u64 = 1 << 10;

fn stream(n: u64) -> StreamId {
    StreamId::request(n)
}

/// Takes `rounds` records of streams that always have one waiting: bytes by stream.
fn saturate(streams: &[(u64, Priority, u64)], rounds: usize) -> (Turns, BTreeMap<u64, u64>) {
    let (mut turns, mut seq) = (Turns::default(), 0);
    for (n, priority, bytes) in streams {
        seq += 1;
        turns.insert(stream(*n), *priority, seq, *bytes);
        seq += 1;
        turns.insert(stream(*n), *priority, seq, *bytes);
    }
    let mut sent = BTreeMap::new();
    for _ in 0..rounds {
        let (id, front, bytes) = turns.front().unwrap();
        assert_eq!(turns.front(), Some((id, front, bytes)), "the same until something changes");
        assert_eq!(turns.pop(), Some(front));
        *sent.entry(id.exchange()).or_default() += bytes;
        let (_, priority, bytes) = streams.iter().find(|(n, _, _)| *n == id.exchange()).unwrap();
        seq += 1;
        turns.insert(id, *priority, seq, *bytes);
    }
    (turns, sent)
}

#[test]
fn every_class_gets_its_twentieth_and_the_most_urgent_the_rest() {
    let streams: Vec<_> = (0..8).map(|n| (n + 1, Priority::new(n as u8, false), 256 * KIB)).collect();
    let (_, sent) = saturate(&streams, 20_000);
    let total: u64 = sent.values().sum();
    for n in 2..=8 {
        assert!((sent[&n] * 1_000 / total).abs_diff(50) <= 1, "{n}: {sent:?}");
    }
    assert!(sent[&1] * 100 / total == 65 || sent[&1] * 100 / total == 64, "{sent:?}");
}

#[test]
fn streams_of_a_class_share_alike_whether_incremental_or_not() {
    let streams = [
        (1, Priority::new(3, false), 256 * KIB),
        (2, Priority::new(3, true), 64 * KIB),
        (3, Priority::new(3, false), 3 << 20),
    ];
    let (_, sent) = saturate(&streams, 20_000);
    let total: u64 = sent.values().sum();
    assert!(sent.values().all(|bytes| (bytes * 1_000 / total).abs_diff(333) <= 10), "{sent:?}");
}

#[test]
fn an_incremental_stream_takes_short_turns_and_another_long_ones() {
    for (incremental, longest) in [(true, 4), (false, 16)] {
        let mut turns = Turns::default();
        for n in 0..200 {
            turns.insert(stream(1 + n % 2), Priority::new(3, incremental), n, 64 * KIB);
        }
        let order: Vec<u64> = core::iter::from_fn(|| turns.pop()).map(|seq| seq % 2).collect();
        let runs: Vec<usize> = order.chunk_by(|a, b| a == b).map(<[u64]>::len).collect();
        assert_eq!((runs[0], runs[1]), (longest, longest), "{runs:?}");
    }
}

#[test]
fn a_class_that_comes_and_goes_gets_no_more_than_its_share() {
    let mut turns = Turns::default();
    let (mut low, mut seq) = (0, 0);
    for _ in 0..2_000 {
        seq += 2;
        turns.insert(stream(1), Priority::new(0, false), seq, 64 * KIB);
        if !turns.lanes.contains_key(&stream(2)) {
            turns.insert(stream(2), Priority::new(7, false), seq + 1, 64 * KIB);
        }
        low += turns.pop().unwrap() % 2;
    }
    assert!((95..=105).contains(&low), "{low}");
    assert!(turns.classes[7].owed <= 64 * KIB as i64);
}

#[test]
fn another_priority_moves_what_waits() {
    let mut turns = Turns::default();
    turns.insert(stream(1), Priority::default(), 1, 100);
    turns.insert(stream(2), Priority::default(), 2, 100);
    turns.set_priority(stream(2), Priority::new(0, false));
    turns.set_priority(stream(9), Priority::new(0, false));
    assert_eq!((turns.pop(), turns.bytes()), (Some(2), 100));
    assert!(turns.remove(stream(1), 1) && !turns.remove(stream(1), 1));
    assert!(turns.is_empty() && turns.front().is_none() && !turns.is_owed());
    assert_eq!(Priority::new(99, true).urgency(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_class_starves_whatever_the_sizes(
        sizes in proptest::collection::vec((1_u64..8, 0_u8..8, any::<bool>(), 1_000_u64..1_000_000), 2..12),
    ) {
        let streams: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(n, (_, urgency, incremental, bytes))| (n as u64 + 1, Priority::new(*urgency, *incremental), *bytes))
            .collect();
        let (_, sent) = saturate(&streams, 3_000);
        let mut classes = BTreeMap::<usize, u64>::new();
        for (n, priority, _) in &streams {
            *classes.entry(priority.urgency()).or_default() += sent.get(n).copied().unwrap_or(0);
        }
        let total: u64 = classes.values().sum();
        // A record or two of each class may be on its way to its share.
        let slack = 2_000_000 * classes.len() as u64;
        for bytes in classes.values() {
            prop_assert!(bytes * 20 + 20 * slack >= total, "{:?} of {}", classes, total);
        }
        prop_assert!(total < 40 * slack || classes.values().all(|bytes| *bytes > 0));
    }

    #[test]
    fn every_record_goes_once_and_in_the_order_of_its_stream(
        records in proptest::collection::vec((1_u64..6, 0_u8..8, any::<bool>(), 1_u64..3_000_000, any::<bool>()), 1..80),
    ) {
        let mut turns = Turns::default();
        let mut expected = BTreeMap::<u64, Vec<u64>>::new();
        for (seq, (n, urgency, incremental, bytes, remove)) in records.iter().enumerate() {
            let seq = seq as u64;
            turns.insert(stream(*n), Priority::new(*urgency, *incremental), seq, *bytes);
            if *remove {
                prop_assert!(turns.remove(stream(*n), seq));
            } else {
                expected.entry(*n).or_default().push(seq);
            }
        }
        let mut got = BTreeMap::<u64, Vec<u64>>::new();
        while let Some((id, seq, _)) = turns.front() {
            got.entry(id.exchange()).or_default().push(seq);
            prop_assert_eq!(turns.pop(), Some(seq));
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(turns.bytes(), 0);
    }
}
