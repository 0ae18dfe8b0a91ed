//! Tests of `sent`: each name says what holds.

use super::*;
use alloc::vec;

const SEC: Duration = Duration::from_secs(1);
const MPL: Duration = Duration::from_secs(1_000);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn packet(now: Timestamp, seqs: &[u64]) -> SentPacket {
    let mut packet = SentPacket { eliciting: !seqs.is_empty(), ..SentPacket::new(now) };
    for seq in seqs {
        packet.carry(*seq, 10);
    }
    packet
}

fn sent(all: &[(u64, &[u64])]) -> SentPackets {
    let mut packets = SentPackets::default();
    for (pn, seqs) in all {
        packets.insert(*pn, packet(at(*pn), seqs));
        packets.published(at(*pn), *pn);
    }
    packets
}

#[test]
fn an_overtaken_packet_is_lost_by_its_own_age() {
    let mut packets = sent(&[(1, &[1]), (2, &[2]), (3, &[]), (4, &[3])]);
    assert_eq!(packets.next_overdue(5 * SEC), None, "nothing overtook them");
    assert!(packets.heard_of(at(4), 4));
    assert_eq!(packets.next_overdue(5 * SEC), Some(at(6)));
    assert_eq!(packets.overdue(at(6), 5 * SEC), vec![1]);
    assert_eq!(
        packets.overdue(at(9), 5 * SEC),
        vec![2],
        "an ack-only packet cannot be lost, the newest is not overtaken"
    );
    assert_eq!(packets.open(), OpenSums { packets: 1, in_flight: 1, bytes: 10 });
}

#[test]
fn in_flight_begins_at_publishing() {
    let mut packets = SentPackets::default();
    packets.insert(1, packet(at(1), &[1, 2, 5]));
    assert_eq!(packets.open(), OpenSums { packets: 1, in_flight: 0, bytes: 30 });
    assert_eq!(packets.round_trip(at(9), 1, SEC), None);
    packets.published(at(3), 1);
    assert_eq!(packets.open(), OpenSums { packets: 1, in_flight: 1, bytes: 30 });
    assert_eq!(packets.round_trip(at(9), 1, SEC), Some(5 * SEC));
    assert_eq!(packets.round_trip(at(9), 1, SEC), None, "one sample for each packet");
    assert_eq!(packets.get(1).unwrap().runs, vec![(1, 2), (5, 5)]);
    packets.remove(1);
    assert_eq!(packets.open(), OpenSums::default());
}

#[test]
fn a_file_goes_when_its_records_are_passed_or_it_was_closed_and_the_floor_waits_for_the_records() {
    let mut packets = sent(&[(1, &[1]), (2, &[2, 3]), (3, &[]), (4, &[4])]);
    assert_eq!(packets.retire(at(5), 0, MPL), Vec::<u64>::new());
    assert_eq!(packets.floor(0, 5), 1);
    assert_eq!(packets.retire(at(5), 1, MPL), vec![1]);
    packets.heard_of(at(4), 4);
    assert_eq!(packets.newly_closed(&RangeSet::from_iter([2, 4])), vec![2, 4]);
    packets.closed(2);
    assert_eq!(packets.newly_closed(&RangeSet::from_iter([2, 4])), vec![4]);
    assert_eq!(packets.retire(at(5), 1, MPL), vec![2, 3], "3 has no records and a later one was heard of");
    assert_eq!(packets.floor(1, 5), 2, "record 2 or 3 is missing");
    assert_eq!(packets.retire(at(5), 4, MPL), vec![4]);
    assert_eq!((packets.floor(4, 5), packets.len()), (5, 0));
    assert_eq!(packets.open(), OpenSums::default());
}

#[test]
fn age_ends_everything() {
    let mut packets = sent(&[(1, &[1]), (2, &[])]);
    assert_eq!(packets.expired(at(1_001), MPL), vec![1]);
    assert_eq!(packets.retire(at(1_001), 0, MPL), vec![1]);
    assert_eq!(packets.retire(at(1_002), 0, MPL), vec![2]);
    assert_eq!(packets.len(), 0);
    let mut controls = sent(&[(1, &[]), (2, &[]), (3, &[])]);
    assert_eq!(controls.retire_superseded(at(62), 1, 60 * SEC), vec![2, 1]);
}

#[test]
fn silence_about_packets_counts_from_the_last_news_of_any() {
    let mut packets = SentPackets::default();
    packets.begin_listening(at(1));
    assert_eq!(packets.unreported_since(), None, "nothing is out");
    for pn in 2..=4 {
        packets.insert(pn, packet(at(pn), &[]));
    }
    packets.published(at(2), 2);
    packets.published(at(3), 3);
    assert_eq!(packets.unreported_since(), Some(at(2)));
    assert!(packets.heard_of(at(5), 2));
    assert_eq!(packets.unreported_since(), Some(at(5)), "3 is out");
    assert!(!packets.heard_of(at(6), 2), "an old report is no news");
    assert_eq!(packets.unreported_since(), Some(at(5)));
    assert!(packets.heard_of(at(7), 3));
    assert_eq!(packets.unreported_since(), None);
    packets.published(at(8), 4);
    packets.begin_listening(at(9));
    assert_eq!(packets.unreported_since(), Some(at(9)));
}

#[test]
fn a_file_stays_while_its_records_were_only_sent_again_elsewhere() {
    // 1 is lost, and record 1 goes again in 2, which is closed.
    let mut packets = sent(&[(1, &[1]), (2, &[1, 2])]);
    packets.heard_of(at(3), 2);
    packets.closed(2);
    assert_eq!(packets.overdue(at(100), SEC), vec![1]);
    assert_eq!(packets.retire(at(100), 0, MPL), vec![2], "closed; but a slow mirror may not have read 1 yet");
    assert_eq!(packets.retire(at(101), 1, MPL), vec![1], "cum passed it");
}

#[test]
fn a_lost_packet_is_no_reason_to_remove_its_file_until_it_is_closed_or_passed_or_old() {
    let mut packets = sent(&[(1, &[1]), (2, &[2]), (3, &[3]), (4, &[])]);
    packets.heard_of(at(5), 4);
    assert_eq!(packets.overdue(at(50), SEC), vec![1, 2, 3]);
    assert_eq!(packets.retire(at(50), 0, MPL), Vec::<u64>::new());
    packets.closed(2);
    assert_eq!(packets.retire(at(50), 0, MPL), vec![2]);
    assert_eq!(packets.retire(at(50), 1, MPL), vec![1]);
    assert_eq!(packets.retire(at(1_002), 1, MPL), Vec::<u64>::new());
    assert_eq!(packets.retire(at(1_003), 1, MPL), vec![3]);
}

#[test]
fn a_file_without_records_goes_when_a_later_packet_was_reported_and_not_for_its_own_echo() {
    let mut packets = sent(&[(1, &[]), (2, &[]), (3, &[])]);
    assert_eq!(packets.retire(at(4), 1_000, MPL), Vec::<u64>::new(), "that all its records are passed says nothing");
    packets.heard_of(at(4), 2);
    assert_eq!(packets.retire(at(4), 0, MPL), vec![1], "2 was echoed, not closed");
    packets.heard_of(at(5), 3);
    assert_eq!(packets.retire(at(5), 0, MPL), vec![2]);
    packets.closed(3);
    assert_eq!(packets.retire(at(6), 0, MPL), vec![3]);
}

#[test]
fn superseded_controls_go_after_an_hour_with_eight_newer_ones_and_packets_with_records_never() {
    let hour = 3_600 * SEC;
    let all: Vec<(u64, &[u64])> = (1..=10).map(|pn| (pn, if pn == 2 { &[1][..] } else { &[][..] })).collect();
    let mut packets = sent(&all);
    assert_eq!(packets.retire_superseded(at(3_600), 8, hour), Vec::<u64>::new(), "1 is not an hour old");
    assert_eq!(packets.retire_superseded(at(3_601), 8, hour), vec![1]);
    assert_eq!(packets.retire_superseded(at(99_999), 8, hour), Vec::<u64>::new(), "only eight controls are left");
    packets.insert(11, packet(at(11), &[]));
    assert_eq!(packets.retire_superseded(at(99_999), 8, hour), vec![3], "2 has records");
    assert!(packets.get(2).is_some());
}

#[test]
fn a_packet_that_is_being_published_keeps_its_place() {
    let mut packets = SentPackets::default();
    packets.insert(1, packet(at(1), &[1]));
    assert_eq!(packets.retire(at(9_999), 1, MPL), Vec::<u64>::new(), "there is no file yet that could go");
    packets.published(at(9_999), 1);
    assert_eq!(packets.retire(at(9_999), 1, MPL), vec![1]);
    assert_eq!(packets.len(), 0);
}

#[test]
fn a_packet_that_was_called_lost_still_tells_the_round_trip() {
    let mut packets = sent(&[(1, &[1]), (2, &[2])]);
    packets.heard_of(at(3), 2);
    assert_eq!(packets.overdue(at(6), 5 * SEC), vec![1]);
    assert_eq!(packets.round_trip(at(10), 1, SEC), Some(8 * SEC));
    assert_eq!(packets.round_trip(at(10), 1, SEC), None);
}
