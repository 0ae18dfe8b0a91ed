//! Pressure: what a full side says, and what the other does.

use super::*;
use crate::limits::PROBE_BYTES_MAX;

const BULK: usize = 200_000;

/// Appends bulk and says how much of it leaves at once.
fn bulk(a: &mut Side, now: Timestamp, stream: StreamId, count: usize) -> usize {
    for _ in 0..count {
        a.append(now, stream, kind::DATA, vec![7; BULK]).unwrap();
    }
    a.persist(now);
    a.peer.handle_timeout(now.after(6 * SEC));
    a.send(now.after(6 * SEC)).iter().map(|file| file.records.len()).sum()
}

/// The peer says how full it is.
fn tell(a: &mut Side, b: &mut Side, now: Timestamp, level: u8) {
    b.peer.set_pressure(now, level);
    b.peer.ping();
    let files = b.send(now);
    assert_eq!(files[0].control.pressure, Some(level.into()));
    a.receive(now, &files);
    assert_eq!((a.peer.status(now).peer_pressure, b.peer.status(now).pressure), (level, level));
}

#[test]
fn a_full_pool_stops_bulk() {
    let (mut a, mut b, now) = pair(Config { receive_pool_bytes: 4 << 20, ..config() });
    let stream = a.peer.open_exchange();
    let mut now = now;
    while b.peer.status(now).pressure < 3 {
        if a.peer.status(now).blocked_records == 0 {
            a.append(now, stream, kind::DATA, vec![7; BULK]).unwrap();
        }
        now = settle(now, &mut a, &mut b).after(SEC);
        assert!(now < at(1_000), "the pool fills: {:?}", b.peer.status(now));
    }
    assert_eq!(a.peer.status(now).peer_pressure, 3);
    let heads: Vec<RecordHeader> = b
        .events()
        .into_iter()
        .filter_map(|event| if let PeerEvent::Received(head) = event { Some(head) } else { None })
        .collect();
    a.append(now, stream, kind::DATA, vec![7; BULK]).unwrap();
    a.append(now, stream, kind::DATA, vec![7; 10]).unwrap();
    let other = a.peer.open_exchange();
    a.append(now, other, kind::HEAD, vec![7; 10]).unwrap();
    let now = settle(now, &mut a, &mut b);
    assert_eq!(b.received().len(), 1, "only what is small and not behind bulk");
    for head in &heads {
        b.peer.consume(now, stream, head);
    }
    let now = settle(now, &mut a, &mut b);
    assert_eq!((b.received().len(), a.peer.status(now).peer_pressure), (2, 0), "it is told without being asked");
}

#[test]
fn bulk_is_halved_and_what_was_charged_still_goes() {
    let (mut a, mut b, now) = pair(Config { receive_pool_bytes: 1 << 30, ..config() });
    let stream = a.peer.open_exchange();
    assert_eq!(bulk(&mut a, now, stream, 20), 20);
    let in_flight = a.peer.status(now).in_flight_bytes;
    tell(&mut a, &mut b, now, 2);
    assert_eq!(bulk(&mut a, now, stream, 20), 0, "twice of what may be is on its way");
    assert!(in_flight / 2 > PROBE_BYTES_MAX);
    // What is on its way arrives.
    for pn in a.peer.pair.packets.numbers().collect::<Vec<_>>() {
        a.peer.pair.packets.closed(pn);
    }
    a.peer.handle_timeout(now.after(7 * SEC));
    a.persist(now.after(7 * SEC));
    a.peer.handle_timeout(now.after(14 * SEC));
    let sent: usize = a.send(now.after(14 * SEC)).iter().map(|file| file.records.len()).sum();
    assert!((1..=10).contains(&sent), "half: {sent}");
    tell(&mut a, &mut b, now.after(15 * SEC), 0);
    a.persist(now.after(15 * SEC));
    a.peer.handle_timeout(now.after(22 * SEC));
    let rest: usize = a.send(now.after(22 * SEC)).iter().map(|file| file.records.len()).sum();
    assert_eq!(sent + rest, 20);
}

#[test]
fn a_lost_record_goes_again_whatever_the_pressure() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::DATA, vec![7; BULK]).unwrap();
    let data = a.send(now);
    tell(&mut a, &mut b, now, 3);
    b.read(now, &data[0], 0);
    let report = b.send(now);
    a.receive(now, &report);
    let again = a.send(now);
    assert_eq!(again[0].records, data[0].records);
}

#[test]
fn logs_that_fill_in_both_directions_do_not_stop_each_other() {
    let small = Config { send_log_bytes_max: 700_000, receive_pool_bytes: 4 << 20, ..config() };
    let (mut a, mut b, now) = pair(small);
    let request = a.peer.open_exchange();
    a.append(now, request, kind::HEAD, vec![1; 10]).unwrap();
    let mut now = settle(now, &mut a, &mut b);
    let streams = [request, request.response_of()];
    let (mut written, mut consumed) = ([0; 2], 0);
    for _ in 0..200 {
        for (index, side) in [&mut a, &mut b].into_iter().enumerate() {
            while written[index] < 40 && side.append(now, streams[index], kind::DATA, vec![7; BULK]).is_ok() {
                written[index] += 1;
            }
        }
        now = settle(now, &mut a, &mut b).after(SEC);
        for side in [&mut a, &mut b] {
            for event in side.events() {
                if let PeerEvent::Received(head) = event {
                    side.peer.consume(now, head.stream, &head);
                    consumed += 1;
                }
            }
        }
    }
    assert_eq!((written, consumed), ([40, 40], 81), "{:?}", a.peer.status(now));
}

#[test]
fn after_a_restart_the_end_of_pressure_is_told() {
    let (mut a, mut b, now) = pair(config());
    tell(&mut a, &mut b, now, 3);
    let mut b = Side::with_log(1, life(1, 2), config(), b.log.clone(), now);
    settle(now, &mut a, &mut b);
    assert_eq!(a.peer.status(now).peer_pressure, 0);
}
