//! Tests of `scheduler`: each name says what holds.

use super::*;
use alloc::vec;
use wire::Seq;

fn head(seq: u64, stream: u64, kind: u8, len: u32) -> RecordHeader {
    RecordHeader {
        seq: Seq::new(seq),
        stream: StreamId::new(stream).unwrap(),
        offset: 0,
        raw_len: len,
        stored_len: len,
        kind,
        flags: 0,
    }
}

fn scheduler(records: &[RecordHeader]) -> Scheduler {
    let mut scheduler = Scheduler::default();
    for record in records {
        scheduler.ready(Timestamp::from_micros(record.seq.get()), record, 0);
    }
    scheduler
}

const ALL: Classes = Classes { small: true, bulk: true };

#[test]
fn small_records_go_before_bulk_and_streams_take_turns() {
    let mut records = vec![head(20, 2, kind::FIN, 40), head(21, 4, kind::DATA, 100)];
    records.extend((1..=8).map(|seq| head(seq, 2, kind::DATA, (1 << 19) - 80)));
    records.extend((11..=18).map(|seq| head(seq, 4, kind::DATA, (1 << 19) - 80)));
    let mut scheduler = scheduler(&records);
    assert_eq!(scheduler.take(ALL, 4 << 20), vec![20, 21], "small does not wait for a lot of bulk");
    let first = scheduler.take(ALL, 2 << 20);
    assert_eq!(first, vec![1, 2, 11, 12], "a quantum of each");
    assert_eq!(scheduler.bulk().1, 12 << 19);
    let mut rest = Vec::new();
    while !scheduler.is_empty() {
        rest.extend(scheduler.take(ALL, 2 << 20));
    }
    rest.sort_unstable();
    assert_eq!(rest, (3..=8).chain(13..=18).collect::<Vec<_>>());
    assert_eq!((scheduler.small(), scheduler.bulk()), ((None, 0), (None, 0)));
}

#[test]
fn a_little_bulk_travels_with_small_records() {
    let mut scheduler =
        scheduler(&[head(1, 2, kind::HEAD, 300), head(2, 2, kind::DATA, 100_000), head(3, 2, kind::FIN, 40)]);
    assert_eq!(scheduler.take(ALL, 64_000_000), vec![1, 2, 3]);
}

#[test]
fn a_record_larger_than_a_packet_still_goes() {
    let mut scheduler = scheduler(&[
        head(1, 2, kind::DATA, 9_000_000),
        head(2, 2, kind::DATA, 9_000_000),
        head(3, 2, kind::HEAD, 900_000),
    ]);
    assert_eq!(scheduler.take(Classes { small: false, bulk: true }, 1_000_000), vec![1]);
    assert_eq!(scheduler.take(Classes { small: true, bulk: false }, 1_000), vec![3]);
    assert_eq!(scheduler.take(ALL, 1_000), vec![2]);
}

#[test]
fn what_is_lost_again_and_again_goes_alone() {
    let mut scheduler = scheduler(&[head(1, 2, kind::HEAD, 10)]);
    scheduler.ready(Timestamp::ZERO, &head(2, 2, kind::DATA, 10), limits::LOSSES_ALONE);
    assert_eq!(scheduler.take(ALL, 1_000), vec![2]);
    assert_eq!(scheduler.take(ALL, 1_000), vec![1]);
}

#[test]
fn what_the_peer_holds_is_forgotten_in_every_queue() {
    let records = [head(1, 2, kind::HEAD, 10), head(2, 2, kind::DATA, 100_000), head(3, 4, kind::DATA, 100_000)];
    let mut scheduler = scheduler(&records);
    for record in &records {
        scheduler.forget(record);
        scheduler.forget(record);
    }
    assert!(scheduler.is_empty());
    assert_eq!((scheduler.small(), scheduler.bulk()), ((None, 0), (None, 0)));
}

#[test]
fn credit_is_waited_for_small_first_but_in_the_order_of_the_stream() {
    let mut scheduler = Scheduler::default();
    let records = [
        head(1, 2, kind::DATA, 100_000),
        head(2, 2, kind::FIN, 40),
        head(3, 4, kind::HEAD, 40),
        head(4, 4, kind::DATA, 100_000),
    ];
    for record in &records {
        scheduler.appended_uncharged(record);
    }
    assert!(scheduler.must_queue(&head(5, 2, kind::DATA, 1)), "its stream waits, durable or not");
    assert!(!scheduler.must_queue(&head(5, 6, kind::DATA, 1)));
    for record in &records {
        scheduler.wait_for_credit(record);
    }
    assert!(scheduler.must_queue(&head(5, 6, kind::DATA, 1)), "small ones wait");
    let mut order = Vec::new();
    while let (Some(which), None) = scheduler.first_uncharged() {
        order.push(which.seq);
        scheduler.charged(which, &records[which.seq as usize - 1]);
    }
    assert_eq!(order, [3, 1, 2, 4], "the small record of stream 2 does not overtake what lies before it");
    assert!(!scheduler.must_queue(&head(5, 2, kind::DATA, 1)));
}

#[test]
fn bulk_that_is_owed_does_not_overtake_a_small_record_of_its_stream_on_the_way_to_credit() {
    let mut scheduler = Scheduler::default();
    let records = [
        head(1, 2, kind::DATA, 100_000),
        head(2, 4, kind::DATA, 40),
        head(3, 6, kind::HEAD, 40),
        head(4, 6, kind::DATA, 100_000),
    ];
    scheduler.set_priority(records[3].stream, Priority::new(0, false));
    for record in &records {
        scheduler.appended_uncharged(record);
        scheduler.wait_for_credit(record);
    }
    let mut order = Vec::new();
    while let (Some(which), instead) = scheduler.first_uncharged() {
        assert!(instead.is_none_or(|small| which.bulk && !small.bulk));
        order.push(which.seq);
        scheduler.charged(which, &records[which.seq as usize - 1]);
    }
    assert_eq!(order, [2, 3, 4, 1], "4 is owed something when 2 passed, and waits for 3");
}

#[test]
fn urgent_bulk_goes_first_and_does_not_wait_for_credit_behind_other_bulk() {
    let mut scheduler = Scheduler::default();
    let slow: Vec<_> = (1..=4).map(|seq| head(seq, 2, kind::DATA, 100_000)).collect();
    let urgent = head(5, 4, kind::DATA, 100_000);
    scheduler.set_priority(urgent.stream, Priority::new(0, false));
    for record in &slow {
        scheduler.run_ahead(record);
    }
    assert_eq!((scheduler.ahead_of(slow[0].stream), scheduler.ahead_of(urgent.stream)), (4 * 100_064, 0));
    for record in slow.iter().chain([&urgent]) {
        scheduler.appended_uncharged(record);
        scheduler.wait_for_credit(record);
    }
    assert_eq!(scheduler.first_uncharged(), (Some(Uncharged { seq: 5, bulk: true }), None));
    for record in slow.iter().chain([&urgent]) {
        scheduler.ready(Timestamp::ZERO, record, 0);
    }
    assert_eq!(scheduler.take(ALL, 210_000), vec![1, 5]);
    scheduler.caught_up(&slow[0]);
    assert_eq!(scheduler.ahead_of(slow[0].stream), 3 * 100_064);
}

#[test]
fn small_records_that_never_end_leave_bulk_its_twentieth() {
    let mut scheduler = Scheduler::default();
    let (mut seq, mut bulk, mut total) = (1_000_000, 0_u64, 0);
    for n in 0..400 {
        scheduler.ready(Timestamp::ZERO, &head(n, 2, kind::DATA, 100_000), 0);
    }
    for _ in 0..400 {
        while scheduler.small().1 <= 2_000_000 {
            seq += 1;
            scheduler.ready(Timestamp::ZERO, &head(seq, 4, kind::DATA, 50_000), 0);
        }
        for seq in scheduler.take(ALL, 1_000_000) {
            let bytes = if seq < 1_000_000 { 100_080 } else { 50_024 };
            bulk += if seq < 1_000_000 { bytes } else { 0 };
            total += bytes;
        }
    }
    assert!((bulk * 1_000 / total).abs_diff(50) <= 2, "{bulk} of {total}");
}
