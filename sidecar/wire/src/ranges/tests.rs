//! Tests of the range sets against a set of numbers.

use super::*;
use alloc::collections::BTreeSet;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Insert(u64),
    InsertRange(u64, u64),
    Remove(u64),
    RemoveRange(u64, u64),
    RemoveBelow(u64),
    DropOldest(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        (0..60_u64).prop_map(Insert),
        (0..60_u64, 0..60_u64).prop_map(|(a, b)| InsertRange(a, b)),
        (0..60_u64).prop_map(Remove),
        (0..60_u64, 0..60_u64).prop_map(|(a, b)| RemoveRange(a, b)),
        (0..20_u64).prop_map(RemoveBelow),
        (3..10_usize).prop_map(DropOldest),
    ]
}

fn apply(operation: Operation, set: &mut RangeSet, model: &mut BTreeSet<u64>) {
    match operation {
        Operation::Insert(value) => assert_eq!(set.insert(value), model.insert(value)),
        Operation::InsertRange(a, b) => {
            set.insert_range(a..=b);
            model.extend(a..=b);
        }
        Operation::Remove(value) => assert_eq!(set.remove(value), model.remove(&value)),
        Operation::RemoveRange(a, b) => {
            set.remove_range(a..=b);
            model.retain(|v| !(a..=b).contains(v));
        }
        Operation::RemoveBelow(bound) => {
            set.remove_below(bound);
            model.retain(|v| *v >= bound);
        }
        Operation::DropOldest(max) => {
            set.drop_oldest_ranges(max);
            assert!(set.len_ranges() <= max);
            let kept = set.min();
            model.retain(|v| kept.is_some_and(|kept| *v >= kept));
        }
    }
}

fn agree(set: &RangeSet, model: &BTreeSet<u64>) {
    assert_eq!(set.values().collect::<BTreeSet<_>>(), *model);
    assert_eq!(set.count(), model.len() as u64);
    assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
    assert_eq!(set.is_empty(), model.is_empty());
    let ranges: Vec<_> = set.iter().collect();
    assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0), "ranges touch: {set:?}");
    assert_eq!(set.iter_desc().collect::<Vec<_>>(), ranges.iter().rev().copied().collect::<Vec<_>>());
}

fn encoded(set: &RangeSet, max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    set.encode(max, &mut out);
    out
}

proptest! {
    #[test]
    fn a_set_behaves_like_a_set_of_its_numbers(operations in vec(operation(), 0..40), low in 0..60_u64, high in 0..60_u64) {
        let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
        for operation in operations {
            apply(operation, &mut set, &mut model);
            agree(&set, &model);
        }
        prop_assert_eq!(set.contains(low), model.contains(&low));
        prop_assert_eq!(set.covers(low, high), (low..=high).all(|v| model.contains(&v)));
        prop_assert_eq!(set.intersects(low, high), (low..=high).any(|v| model.contains(&v)));
        let missing: Vec<u64> = set.missing(low, high).into_iter().flat_map(|(l, h)| l..=h).collect();
        let expected: Vec<u64> = (low..=high).filter(|v| !model.contains(v)).collect();
        prop_assert_eq!(missing, expected);
    }

    #[test]
    fn a_set_comes_back_and_keeps_its_newest_ranges(values in vec(0..200_u64, 0..80), max in 0..30_usize) {
        let mut set: RangeSet = values.into_iter().collect();
        let bytes = encoded(&set, max);
        let mut input = &bytes[..];
        let back = RangeSet::decode(&mut input, max).unwrap();
        prop_assert!(input.is_empty());
        set.drop_oldest_ranges(max);
        prop_assert_eq!(back, set);
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(bytes in vec(0..70_u8, 0..30)) {
        let mut input = &bytes[..];
        if let Ok(set) = RangeSet::decode(&mut input, 256) {
            prop_assert_eq!(&encoded(&set, 256)[..], &bytes[..bytes.len() - input.len()]);
        }
    }
}

#[test]
fn the_newest_range_comes_first() {
    let set: RangeSet = [1, 2, 3, 7, 9, 10].into_iter().collect();
    // 9–10, then 7 directly below one missing number, then 1–3 below three.
    assert_eq!(encoded(&set, 256), [3, 10, 1, 0, 0, 2, 2]);
    assert_eq!(encoded(&set, 1), [1, 10, 1]);
    assert_eq!(encoded(&RangeSet::new(), 1), [0]);
}

#[test]
fn a_range_below_zero_is_malformed() {
    for bytes in [&[1, 3, 4][..], &[2, 5, 5, 0, 0], &[2, 5, 3, 1, 0], &[2, 5, 2, 1, 1]] {
        assert_eq!(RangeSet::decode(&mut &*bytes, 256), Err(RangesMalformed), "{bytes:?}");
    }
    let lowest = RangeSet::decode(&mut &[2, 5, 2, 1, 0][..], 256).unwrap();
    assert_eq!(lowest.iter().collect::<Vec<_>>(), [(0, 0), (3, 5)]);
}

#[test]
fn a_cut_list_or_one_over_its_bound_is_malformed() {
    let set: RangeSet = (0..10).map(|i| i * 3).collect();
    let bytes = encoded(&set, 10);
    for len in 0..bytes.len() {
        assert_eq!(RangeSet::decode(&mut &bytes[..len], 10), Err(RangesMalformed));
    }
    assert_eq!(RangeSet::decode(&mut &bytes[..], 9), Err(RangesMalformed));
}

#[test]
fn the_ends_of_u64_are_in_reach() {
    let mut set = RangeSet::new();
    set.insert(u64::MAX);
    set.insert(0);
    set.insert(u64::MAX - 1);
    assert_eq!(set.iter().collect::<Vec<_>>(), [(0, 0), (u64::MAX - 1, u64::MAX)]);
    set.insert_range(0..=u64::MAX);
    assert_eq!((set.len_ranges(), set.count()), (1, u64::MAX));
    set.remove(u64::MAX);
    assert_eq!(set.missing(0, u64::MAX), [(u64::MAX, u64::MAX)]);
}

#[test]
fn an_ack_of_256_ranges_is_about_900_bytes() {
    let set: RangeSet = (0..256).map(|i| 4_000_000 + i * 200).collect();
    let len = encoded(&set, 256).len();
    assert!((700..1000).contains(&len), "{len}");
}
