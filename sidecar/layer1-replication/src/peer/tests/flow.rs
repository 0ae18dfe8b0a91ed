//! Credit, streams, room.

use super::*;
use wire::limits::{CONTROL_CREDIT_RESERVE, INITIAL_LOG_CREDIT};

#[test]
fn a_sender_never_exceeds_credit_and_asks_when_it_is_blocked() {
    let small = Config { receive_pool_bytes: 1 << 20, ..config() };
    let (mut a, mut b, now) = pair(small);
    let streams = [a.peer.open_exchange(), a.peer.open_exchange()];
    for stream in streams {
        for _ in 0..9 {
            a.append(now, stream, kind::DATA, vec![7; 100_000]).unwrap();
        }
    }
    let mut sent = 0;
    let data = a.send(now);
    for file in &data {
        sent += file.records.iter().map(|record| record.head.cost()).sum::<u64>();
    }
    assert!(sent <= INITIAL_LOG_CREDIT - CONTROL_CREDIT_RESERVE && sent > 800_000, "{sent}");
    assert!(a.peer.status(now).blocked_records > 0);
    b.receive(now, &data);
    let now = settle(now, &mut a, &mut b);
    assert_eq!((b.peer.status(now).dropped_credit, a.peer.status(now).in_flight_packets), (0, 0));
    let (asked, files) = a.wait(now.after(100 * SEC));
    assert!(files[0].control.ping && files[0].records.is_empty(), "a blocked sender asks");

    let heads: Vec<RecordHeader> = data.iter().flat_map(|file| &file.records).map(|record| record.head).collect();
    for head in &heads {
        b.peer.consume(asked, head.stream, head);
    }
    let now = settle(asked, &mut a, &mut b);
    assert_eq!(b.received().len(), 18);
    assert_eq!(a.peer.status(now).blocked_records, 0);
}

#[test]
fn a_stream_waits_for_its_own_credit_and_consuming_gives_it() {
    let (mut a, mut b, now) = pair(Config { stream_window_bytes: 2 << 20, ..config() });
    let stream = a.peer.open_exchange();
    assert_eq!(a.peer.append_room(stream), 2 << 20);
    for _ in 0..2 {
        a.append(now, stream, kind::DATA, vec![7; 1 << 20]).unwrap();
    }
    assert_eq!(
        (a.peer.append_room(stream), a.append(now, stream, kind::FIN, vec![7; 40])),
        (0, Err(AppendError::Credit(stream)))
    );
    let now = settle(now, &mut a, &mut b);
    let heads: Vec<_> = b
        .events()
        .into_iter()
        .filter_map(|event| if let PeerEvent::Received(head) = event { Some(head) } else { None })
        .collect();
    assert_eq!(heads.len(), 2);
    a.events();
    b.peer.consume(now, stream, &heads[0]);
    let now = settle(now, &mut a, &mut b);
    assert!(a.events().contains(&PeerEvent::Writable));
    assert_eq!(a.peer.append_room(stream), 1 << 20);
    assert!(a.append(now, stream, kind::FIN, vec![7; 40]).is_ok());
}

#[test]
fn exchanges_are_bounded_and_closing_one_allows_another() {
    let (mut a, mut b, now) = pair(Config { exchanges_max: 16, ..config() });
    let streams: Vec<StreamId> = (0..18).map(|_| a.peer.open_exchange()).collect();
    for stream in &streams[..16] {
        a.append(now, *stream, kind::HEAD, vec![1; 10]).unwrap();
    }
    assert_eq!(a.append(now, streams[16], kind::HEAD, vec![1; 10]), Err(AppendError::Credit(streams[16])));
    assert_eq!(a.peer.append_room(streams[16]), 0);
    // One that is given up unused is given out again.
    a.peer.reset_stream(now, streams[16], 1);
    assert_eq!(a.peer.open_exchange(), streams[16]);
    let now = settle(now, &mut a, &mut b);
    for stream in &streams[..4] {
        b.peer.close_stream(*stream);
        b.peer.close_stream(*stream);
    }
    let now = settle(now, &mut a, &mut b);
    assert_eq!(b.peer.status(now).granted_exchanges, (20, 16));
    assert_eq!(b.peer.status(now).unconsumed_bytes, 12 * 74);
    assert!(a.append(now, streams[16], kind::HEAD, vec![1; 10]).is_ok());
    settle(now, &mut a, &mut b);
    assert_eq!(b.received().len(), 17);
}

#[test]
fn the_quota_of_the_send_log_is_enforced_and_comes_back() {
    let (mut a, mut b, now) = pair(Config { send_log_bytes_max: 10_000, ..config() });
    let stream = a.peer.open_exchange();
    let room = a.peer.append_room(stream);
    assert_eq!(a.append(now, stream, kind::DATA, vec![7; room as usize + 1]), Err(AppendError::Full));
    a.append(now, stream, kind::DATA, vec![7; room as usize]).unwrap();
    assert_eq!(a.append(now, stream, kind::FIN, vec![7; 1]), Err(AppendError::Full));
    a.peer.reset_stream(now, stream, 5);
    a.events();
    let now = settle(now, &mut a, &mut b);
    assert!(a.events().contains(&PeerEvent::Writable));
    assert_eq!(a.append(now, stream, kind::FIN, vec![7; 1]), Err(AppendError::StreamReset(stream)));
    assert!(b.events().contains(&PeerEvent::StreamReset { stream, code: 5, final_length: room }));
}

#[test]
fn records_that_cannot_be_sent_are_refused() {
    let (mut a, _, now) = pair(config());
    let stream = a.peer.open_exchange();
    assert_eq!(a.append(now, stream, kind::RESET_STREAM, vec![1]), Err(AppendError::Kind(kind::RESET_STREAM)));
    assert!(matches!(a.append(now, stream, kind::DATA, vec![]), Err(AppendError::Length { .. })));
    assert_eq!(
        a.append(now, StreamId::request(77), kind::DATA, vec![1]).unwrap_err().to_string(),
        "stream 154 is not one that this endpoint may write"
    );
    assert_eq!(
        a.append(now, StreamId::response(1), kind::DATA, vec![1]),
        Err(AppendError::UnknownStream(StreamId::response(1)))
    );
    let lie = a.peer.append(now, stream, kind::DATA, 0, 9, [0; 32], Bytes::from_static(b"x"));
    assert!(matches!(lie, Err(AppendError::Length { .. })));
    assert!(a.append(now, StreamId::NO_EXCHANGE, kind::EVENT, vec![1]).is_ok());
}

use alloc::string::ToString;

#[test]
fn stop_sending_reaches_the_writer() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let now = settle(now, &mut a, &mut b);
    b.peer.stop_sending(now, stream, 7);
    settle(now, &mut a, &mut b);
    assert!(a.events().contains(&PeerEvent::StopSending { stream, code: 7 }));
}

#[test]
fn what_is_beyond_credit_or_against_the_rules_is_dropped_and_counted() {
    let (_, mut b, now) = pair(Config { stream_window_bytes: 16 << 20, ..config() });
    let record = |seq: u64, stream: u64, offset: u64, kind: u8| {
        Record::new(Seq::new(seq), StreamId::new(stream).unwrap(), offset, kind, Bytes::from_static(b"payload"))
    };
    let bad = vec![
        record(1, 2 * 300, 0, kind::HEAD),
        record(1, 2, 17 << 20, kind::DATA),
        record(1, 1, 0, kind::HEAD),
        record(1, 3, 0, kind::HEAD),
        record(1, 2, 0, 9),
        record(1 + wire::limits::SEQ_WINDOW, 2, 0, kind::HEAD),
        record(1, 2, 0, kind::TOMBSTONE),
    ];
    let pn = PacketNumber::new(500).unwrap();
    b.peer.handle_records(now, life(1, 1), pn, bad);
    let status = b.peer.status(now);
    assert_eq!((status.dropped_credit, status.dropped_other, status.records_received), (2, 5, 0));
    assert!(b.peer.poll_persist().is_none());
    b.peer.handle_records(now, life(9, 9), pn, vec![record(1, 2, 0, kind::HEAD)]);
    assert_eq!(b.peer.status(now).records_received, 0, "another life's records do not count");
}

#[test]
fn a_tombstone_is_taken_in_place_of_its_record() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let mut data = a.send(now);
    let original = data[0].records[0].clone();
    data[0].records[0] = Record::tombstone(&original.head, &original.payload_digest(), 74);
    b.receive(now, &data);
    assert_eq!(
        b.events()
            .iter()
            .filter(|event| matches!(event, PeerEvent::StreamReset { code: crate::TOMBSTONED, final_length: 0, .. }))
            .count(),
        1
    );
    let (now, ack) = b.wait(now.after(10 * SEC));
    assert_eq!(ack[0].control.tombs_taken.as_ref().unwrap().values().collect::<Vec<_>>(), [1]);
    a.receive(now, &ack);
    assert_eq!((a.peer.status(now).una, a.peer.status(now).halted), (Seq::new(1), None), "the chain is the same");
    data[0].records[0] = original;
    b.receive(now, &data);
    assert_eq!(b.peer.status(now).records_duplicate, 1);
}

#[test]
fn credit_is_announced_only_when_it_is_durable() {
    let (mut a, mut b, now) = pair(Config { receive_pool_bytes: 2 << 20, ..config() });
    let stream = a.peer.open_exchange();
    for _ in 0..10 {
        a.append(now, stream, kind::DATA, vec![7; 100_000]).unwrap();
    }
    let now = settle(now, &mut a, &mut b);
    let heads: Vec<_> = b
        .events()
        .into_iter()
        .filter_map(|event| if let PeerEvent::Received(head) = event { Some(head) } else { None })
        .collect();
    for head in &heads {
        b.peer.consume(now, stream, head);
    }
    let token = b.write().unwrap();
    b.peer.ping();
    let before = b.transmit(now).unwrap().control.credit.unwrap();
    b.peer.handle_persisted(now, token);
    b.peer.ping();
    let after = b.transmit(now).unwrap().control.credit.unwrap();
    assert_eq!(before.max_log_bytes, 2 << 20);
    assert!(after.max_log_bytes > before.max_log_bytes);
}

#[test]
fn the_offset_of_the_clocks_is_bounded_by_both_directions() {
    let (mut a, mut b, now) = pair(config());
    assert_eq!(a.peer.status(now).clock_offset_ms, None, "nobody told a wall clock");
    // The clock of b is a minute behind; 2 s there, 3 s to think, 1 s back.
    let wall = |now: Timestamp| 1_700_000_000_000 + (now.as_micros() / 1_000) as i64;
    a.peer.ping();
    let mut ping = a.send(now);
    ping[0].header.sent_at_ms = wall(now);
    let there = now.after(2 * SEC);
    b.peer.set_wall_clock(there, wall(there) - 60_000);
    b.receive(there, &ping);
    let thought = there.after(3 * SEC);
    b.peer.ping();
    let mut pong = b.send(thought);
    pong[0].header.sent_at_ms = wall(thought) - 60_000;
    let back = thought.after(SEC);
    a.peer.set_wall_clock(back, wall(back));
    a.receive(back, &pong);
    assert_eq!(a.peer.status(back).clock_offset_ms, Some((58_000, 61_000)));
    a.receive(back.after(100 * SEC), &pong);
    assert_eq!(a.peer.status(back).clock_offset_ms, Some((58_000, 61_000)), "a second copy says nothing");
}
