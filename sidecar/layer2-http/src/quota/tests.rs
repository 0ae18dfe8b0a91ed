//! Tests of `quota`, against counting by hand.

use super::*;
use proptest::prelude::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const NOON: u64 = 20_000 * DAY_S + 12 * 3_600;

fn at(ms: u64) -> Moment {
    Moment { mono_us: 1_000_000 + ms * 1_000, unix_s: NOON + ms / 1_000 }
}

fn book(whole: Bounds, each: Bounds) -> Book {
    let mut book = Book::default();
    book.add("erp", whole, each);
    book
}

fn begin(book: &mut Book, caller: IpAddr, ms: u64) -> Result<IpAddr, Over> {
    book.begin("erp", caller, at(ms), 0)
}

#[test]
fn each_bound_refuses_and_says_when_to_come_back() {
    let mut calls = book(Bounds { requests_per_minute: Some(3), ..Bounds::default() }, Bounds::default());
    for _ in 0..3 {
        begin(&mut calls, A, 0).unwrap();
    }
    let over = begin(&mut calls, A, 0).unwrap_err();
    assert_eq!(over, Over { bound: Bound::RequestsPerMinute, limit: 3, retry_after_s: 20, of_caller: false });
    assert!(begin(&mut calls, A, 19_999).is_err());
    begin(&mut calls, A, 20_001).unwrap();
    assert!(begin(&mut calls, A, 20_002).is_err());

    let mut places = book(Bounds { max_in_flight: Some(2), ..Bounds::default() }, Bounds::default());
    begin(&mut places, A, 0).unwrap();
    begin(&mut places, B, 0).unwrap();
    assert_eq!(begin(&mut places, A, 0).unwrap_err().bound, Bound::MaxInFlight);
    places.end("erp", THE_REST);
    begin(&mut places, A, 0).unwrap();

    let mut day = book(Bounds { bytes_per_day: Some(1_000), ..Bounds::default() }, Bounds::default());
    begin(&mut day, A, 0).unwrap();
    assert_eq!(day.took("erp", A, at(0), 999), 0);
    begin(&mut day, A, 1).unwrap();
    day.took("erp", A, at(0), 1);
    let over = begin(&mut day, A, 0).unwrap_err();
    assert_eq!((over.bound, over.retry_after_s), (Bound::BytesPerDay, 12 * 3_600));
    begin(&mut day, A, 12 * 3_600_000).unwrap();

    let mut rate = book(Bounds { bytes_per_second: Some(1_000), ..Bounds::default() }, Bounds::default());
    begin(&mut rate, A, 0).unwrap();
    assert_eq!(rate.took("erp", A, at(0), 1_000), 0, "a second's worth is saved up");
    assert_eq!(rate.took("erp", A, at(0), 500), 500_000);
    rate.took("erp", A, at(0), 9_500);
    let over = begin(&mut rate, A, 0).unwrap_err();
    assert_eq!((over.bound, over.retry_after_s), (Bound::BytesPerSecond, 1));
    begin(&mut rate, A, 1_000).unwrap();
}

#[test]
fn a_declared_length_that_does_not_fit_waits_for_tomorrow_but_a_day_is_enough_for_any() {
    let mut day = book(Bounds { bytes_per_day: Some(1_000), ..Bounds::default() }, Bounds::default());
    day.begin("erp", A, at(0), 5_000).expect("else it could never be made");
    day.took("erp", A, at(0), 400);
    assert!(day.begin("erp", A, at(0), 601).is_err());
    day.begin("erp", A, at(0), 600).unwrap();
}

#[test]
fn callers_are_counted_apart_and_together() {
    let whole = Bounds { requests_per_minute: Some(5), ..Bounds::default() };
    let each = Bounds { requests_per_minute: Some(3), ..Bounds::default() };
    let mut book = book(whole, each);
    for _ in 0..3 {
        begin(&mut book, A, 0).unwrap();
    }
    assert!(begin(&mut book, A, 0).unwrap_err().of_caller);
    begin(&mut book, B, 0).unwrap();
    begin(&mut book, "::ffff:10.0.0.2".parse().unwrap(), 0).expect("the same caller, and it has one left");
    assert!(!begin(&mut book, B, 0).unwrap_err().of_caller, "the rule as a whole");
}

#[test]
fn a_refused_call_counts_for_nothing() {
    let each = Bounds { max_in_flight: Some(1), ..Bounds::default() };
    let mut book = book(Bounds { requests_per_minute: Some(2), ..Bounds::default() }, each);
    let a = begin(&mut book, A, 0).unwrap();
    for _ in 0..10 {
        assert!(begin(&mut book, A, 0).unwrap_err().of_caller);
    }
    book.end("erp", a);
    begin(&mut book, A, 0).expect("ten refusals used nothing of the rule");
}

#[test]
fn callers_beyond_the_bound_share_and_resting_ones_are_forgotten() {
    let each = Bounds { max_in_flight: Some(1), ..Bounds::default() };
    let mut book = book(Bounds::default(), each);
    let nth = |n: usize| IpAddr::V4(Ipv4Addr::from(u32::try_from(n).unwrap() + 1_000));
    for n in 0..MAX_CALLERS {
        begin(&mut book, nth(n), 0).unwrap();
    }
    assert_eq!(begin(&mut book, nth(MAX_CALLERS), 0), Ok(THE_REST));
    assert!(begin(&mut book, nth(MAX_CALLERS + 1), 0).is_err(), "those beyond share one place");
    assert!(begin(&mut book, nth(5), 0).is_err(), "whoever is known stays apart");
    book.end("erp", nth(5));
    assert_eq!(begin(&mut book, nth(MAX_CALLERS + 1), 0).map(|name| name == THE_REST), Ok(false));
}

#[test]
fn a_rule_without_quotas_is_not_counted() {
    let mut book = book(Bounds::default(), Bounds::default());
    assert!(!book.counts("erp"));
    assert_eq!(begin(&mut book, A, 0), Ok(A));
    assert_eq!(book.took("erp", A, at(0), u64::MAX), 0);
    assert_eq!(book.piece("erp"), None);
    book.end("erp", A);
}

proptest! {
    #[test]
    fn in_any_span_no_more_calls_pass_than_were_saved_and_earned(
        calls in 1_u32..2_000,
        gaps in prop::collection::vec(0_u64..5_000, 1..400),
    ) {
        let mut book = book(Bounds { requests_per_minute: Some(calls), ..Bounds::default() }, Bounds::default());
        let (mut now, mut passed) = (0, 0_u64);
        for gap in gaps {
            now += gap;
            if begin(&mut book, A, now).is_ok() {
                passed += 1;
            }
            // A minute's worth at once, and what the time since gave.
            prop_assert!(passed <= u64::from(calls) + now * u64::from(calls) / 60_000 + 1);
        }
    }

    #[test]
    fn whoever_waits_as_told_never_sends_faster(rate in 1_024_u64..1 << 30, pieces in prop::collection::vec(1_u64..1 << 20, 1..100)) {
        let mut book = book(Bounds { bytes_per_second: Some(rate), ..Bounds::default() }, Bounds::default());
        let (mut now, mut sent) = (Moment::default(), 0_u128);
        for piece in pieces {
            prop_assert!(sent * 1_000_000 <= u128::from(rate) * u128::from(now.mono_us + BURST_US) + 100 * u128::from(rate));
            sent += u128::from(piece);
            now.mono_us += book.took("erp", A, now, piece);
        }
    }

    #[test]
    fn bytes_of_a_day_are_a_plain_sum(most in 1_u64..10_000, pieces in prop::collection::vec((0_u64..100_000_000, 0_u64..500), 1..100)) {
        let mut book = book(Bounds { bytes_per_day: Some(most), ..Bounds::default() }, Bounds::default());
        let (mut now, mut sums) = (at(0), BTreeMap::<u64, u64>::new());
        for (gap_ms, bytes) in pieces {
            now.unix_s += gap_ms / 1_000;
            let used = sums.entry(now.unix_s / DAY_S).or_default();
            prop_assert_eq!(book.begin("erp", A, now, 0).is_ok(), *used < most);
            book.took("erp", A, now, bytes);
            *used += bytes;
        }
    }
}
