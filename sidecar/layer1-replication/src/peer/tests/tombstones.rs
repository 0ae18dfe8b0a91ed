//! Tombstones in place of what was cancelled: which of the two is taken, the chain, credit.

use super::*;
use wire::RangeSet;
use wire::control::feature;

/// A pair, the first of which has a stream with `sizes` bytes of DATA appended.
fn appended(sizes: &[usize]) -> (Side, Side, Timestamp, StreamId) {
    let (mut a, b, now) = pair(Config { receive_pool_bytes: 1 << 20, ..config() });
    let stream = a.peer.open_exchange();
    for size in sizes {
        a.append(now, stream, kind::DATA, vec![7; *size]).unwrap();
    }
    a.persist(now);
    (a, b, now, stream)
}

fn taken(events: Vec<PeerEvent>) -> Vec<u64> {
    let of = |event| match event {
        PeerEvent::TombstonesTaken { seqs } => seqs.values().collect(),
        _ => vec![],
    };
    events.into_iter().flat_map(of).collect()
}

fn seqs(file: &File, kind: u8) -> Vec<u64> {
    file.records.iter().filter(|record| record.head.kind == kind).map(|record| record.head.seq.get()).collect()
}

/// Both sides agree on what was charged, and nothing of it is left to be consumed.
fn assert_credit(a: &Side, b: &Side, now: Timestamp) {
    let (mine, theirs) = (a.peer.status(now), b.peer.status(now));
    assert_eq!(mine.credit_log.1, theirs.granted_log.1, "both count the same");
    assert_eq!((Some(mine.una), mine.halted, theirs.halted), (mine.next.previous(), None, None), "the chain holds");
}

#[test]
fn what_was_cancelled_before_it_was_sent_goes_as_tombstones() {
    let (mut a, mut b, now, stream) = appended(&[100, 200_000, 200_000]);
    a.peer.cancel_stream(now, stream, 7);
    let files = a.send(now);
    assert_eq!(seqs(&files[0], kind::TOMBSTONE), [1, 2, 3]);
    assert_eq!(seqs(&files[0], kind::RESET_STREAM), [4]);
    assert!(files.len() == 1 && files[0].records.iter().all(|record| record.payload.len() <= 40));
    b.receive(now, &files);
    let reset = PeerEvent::StreamReset { stream, code: crate::TOMBSTONED, final_length: 0 };
    let events = b.events();
    assert!(events.contains(&reset) && !events.iter().any(|event| matches!(event, PeerEvent::Received(_))));
    let now = settle(now, &mut a, &mut b);
    let events = a.events();
    let place = |wanted: fn(&PeerEvent) -> bool| events.iter().position(wanted).unwrap();
    assert!(
        place(|event| matches!(event, PeerEvent::TombstonesTaken { .. }))
            < place(|event| matches!(event, PeerEvent::Released { .. })),
        "told before the record is gone"
    );
    assert_eq!(taken(events), [1, 2, 3]);
    assert_credit(&a, &b, now);
    assert_eq!(b.peer.status(now).unconsumed_bytes, 0, "its credit came back at once");
    assert_eq!((a.peer.status(now).tombstones_sent, a.peer.status(now).tombstones_taken), (3, 3));
    a.peer.cancel_stream(now, stream, 8);
    assert!(a.send(now).iter().all(|file| file.records.is_empty()), "cancelling again changes nothing");
}

#[test]
fn whichever_of_record_and_tombstone_comes_first_counts() {
    for record_first in [true, false] {
        let (mut a, mut b, now, stream) = appended(&[10, 20, 30]);
        let late = a.send(now);
        assert_eq!(seqs(&late[0], kind::DATA), [1, 2, 3]);
        a.peer.cancel_stream(now, stream, 7);
        let (now, probe) = a.wait(now.after(600 * SEC));
        assert_eq!(seqs(&probe[0], kind::TOMBSTONE), [1, 2, 3]);
        let order = if record_first { [&late[0], &probe[0]] } else { [&probe[0], &late[0]] };
        for file in order {
            b.receive(now, core::slice::from_ref(file));
        }
        assert_eq!(b.received(), if record_first { vec![1, 2, 3] } else { vec![] });
        assert_eq!(b.peer.status(now).records_duplicate, 3, "the other one is a duplicate");
        let now = settle(now, &mut a, &mut b);
        assert_eq!(taken(a.events()), if record_first { vec![] } else { vec![1, 2, 3] });
        assert_credit(&a, &b, now);
        let unconsumed = if record_first { 10 + 20 + 30 + 3 * 64 } else { 0 };
        assert_eq!(b.peer.status(now).unconsumed_bytes, unconsumed);
    }
}

#[test]
fn only_what_was_lost_of_a_cancelled_stream_goes_as_tombstones() {
    let (mut a, mut b, now, stream) = appended(&[10, 20, 30, 40]);
    let data = a.send(now);
    a.peer.cancel_stream(now, stream, 7);
    b.read(now, &data[0], 2);
    let report = b.send(now);
    a.receive(now, &report);
    let again = a.send(now);
    assert_eq!(seqs(&again[0], kind::TOMBSTONE), [3, 4]);
    b.receive(now, &again);
    let now = settle(now, &mut a, &mut b);
    assert_eq!((b.received(), taken(a.events())), (vec![1, 2], vec![3, 4]));
    assert_credit(&a, &b, now);
}

#[test]
fn what_waits_for_credit_when_it_is_cancelled_is_charged_in_full_and_given_back() {
    let (mut a, mut b, now, stream) = appended(&[100_000; 30]);
    assert!(a.peer.status(now).blocked_records > 15);
    a.peer.cancel_stream(now, stream, 7);
    let now = settle(now, &mut a, &mut b);
    let status = a.peer.status(now);
    assert_eq!((status.blocked_records, status.backlog_records, status.tombstones_taken), (0, 0, 30));
    assert_credit(&a, &b, now);
    assert_eq!(b.peer.status(now).unconsumed_bytes, 0);
    let other = a.peer.open_exchange();
    a.append(now, other, kind::DATA, vec![7; 500_000]).unwrap();
    let now = settle(now, &mut a, &mut b);
    assert_eq!((b.received(), a.peer.status(now).una), (vec![32], Seq::new(32)));
}

#[test]
fn a_restart_forgets_what_was_cancelled_and_both_sides_still_agree() {
    let (mut a, mut b, now, stream) = appended(&[10, 100_000, 30]);
    a.peer.cancel_stream(now, stream, 7);
    let tombs = a.send(now);
    let mut part = tombs[0].clone();
    part.records.truncate(1);
    part.header.pn = PacketNumber::new(4_000).unwrap();
    b.receive(now, &[part]);
    let payloads = a.payloads.clone();
    let mut a = Side::with_log(0, life(1, 1), config(), a.log.clone(), now);
    a.payloads = payloads;
    let now = settle(now, &mut a, &mut b);
    let (mut now, mut rounds) = (now, 0);
    while a.peer.status(now).backlog_records > 0 && rounds < 20 {
        let (later, files) = a.wait(now.after(1_000 * SEC));
        b.receive(later, &files);
        now = settle(later, &mut a, &mut b);
        rounds += 1;
    }
    let events = a.events();
    assert_eq!(taken(events), [1], "told again, or for the first time");
    assert_credit(&a, &b, now);
}

#[test]
fn a_peer_without_the_feature_gets_the_records() {
    let (mut a, mut b, now, stream) = appended(&[10, 20]);
    a.peer.pair.heard.features = !feature::TOMBSTONES;
    a.peer.cancel_stream(now, stream, 7);
    let files = a.send(now);
    assert_eq!(seqs(&files[0], kind::DATA), [1, 2]);
    b.receive(now, &files);
    settle(now, &mut a, &mut b);
    assert_eq!(b.received(), [1, 2]);
}

#[test]
fn a_reset_after_a_tombstone_does_not_begin_the_stream_again() {
    let (mut a, mut b, now, stream) = appended(&[10, 20, 30]);
    let data = a.send(now);
    let tomb = |index: usize| {
        let record: &Record = &data[0].records[index];
        Record::tombstone(&record.head, &record.payload_digest(), record.head.cost() as u32)
    };
    let reset = Record::new(Seq::new(4), stream, 60, kind::RESET_STREAM, Bytes::from_static(&[7]));
    let pn = data[0].header.pn;
    b.peer.handle_packet(now, &data[0].header, &data[0].control);
    let tombed = vec![tomb(0), reset, data[0].records[1].clone(), data[0].records[2].clone()];
    b.peer.handle_records(now, life(1, 1), pn, tombed);
    b.persist(now);
    assert_eq!(b.received(), Vec::<u64>::new(), "what lies behind the tombstone is taken and not delivered");
    assert_eq!((b.peer.status(now).unconsumed_bytes, b.peer.status(now).cum), (0, Seq::new(4)));
}

#[test]
fn an_absurd_list_of_tombstones_costs_nothing() {
    let (mut a, mut b, now, _) = appended(&[10, 20]);
    a.send(now);
    b.peer.ping();
    let mut file = b.send(now).remove(0);
    let mut all = RangeSet::new();
    all.insert_range(1..=(1 << 61));
    file.control.tombs_taken = Some(all);
    a.receive(now, &[file.clone(), file]);
    assert_eq!(taken(a.events()), [1, 2], "once, and only what is in the log");
    assert_eq!(a.peer.status(now).una, Seq::NONE, "it releases nothing");
}

#[test]
fn no_tombstone_goes_before_the_reset_of_its_stream_is_durable() {
    let (mut a, mut b, now, stream) = appended(&[10, 20]);
    a.peer.cancel_stream(now, stream, 7);
    let token = a.write().unwrap();
    let first = a.transmit(now).unwrap();
    assert_eq!((first.records.len(), first.tombstones.len()), (2, 0), "a crash now would go on with the stream");
    a.peer.handle_persisted(now, token);
    assert_eq!(a.send(now.after(SEC)).len(), 0, "they are on their way");
    a.peer.pair.packets.closed(first.pn.get());
    a.peer.record_lost(1, first.pn.get());
    a.peer.record_lost(2, first.pn.get());
    a.peer.settle();
    let again = a.send(now.after(SEC));
    assert_eq!(seqs(&again[0], kind::TOMBSTONE), [1, 2]);
    // An exchange may be closed right after it was cancelled.
    let other = a.peer.open_exchange();
    a.append(now, other, kind::DATA, vec![7; 30]).unwrap();
    a.peer.cancel_stream(now, other, 7);
    a.peer.close_stream(other.response_of());
    let files = a.send(now.after(2 * SEC));
    b.receive(now, &again);
    b.receive(now, &files);
    settle(now.after(2 * SEC), &mut a, &mut b);
    assert_eq!((b.received(), taken(a.events())), (vec![], vec![1, 2, 4]));
}
