//! What may go when: outbox files, packet history, histories after everything is drained.

use super::*;

#[test]
fn a_sweep_leaves_packets_without_records_that_nobody_heard_of() {
    let (mut a, mut b, mut now) = pair(config());
    let before = a.peer.outbox_floor();
    let mut unheard = Vec::new();
    for _ in 0..3 {
        let (at, files) = a.wait(now.after(90 * SEC));
        now = at;
        unheard.extend(files);
    }
    let (first, last) = (unheard[0].header.pn.get(), unheard[2].header.pn.get());
    assert!(unheard.len() == 3 && unheard.iter().all(|file| file.records.is_empty()));
    assert_eq!(a.peer.status(now).pn_floor, last, "the floor that the peer is told passes them");
    assert_eq!(a.peer.outbox_floor(), before);
    assert!(before <= first, "a slow mirror has not read them yet");
    b.receive(now, &unheard[2..]);
    let (now, answer) = b.wait(now.after(90 * SEC));
    a.receive(now, &answer);
    assert_eq!(a.peer.outbox_floor(), last, "a later one was echoed");
    assert!(a.retired.contains(&first));
}

#[test]
fn a_restart_leaves_the_files_of_the_start_before_until_they_are_passed() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let old = a.send(now);
    let first = old[0].header.pn.get();
    let mut again = Side::with_log(0, life(1, 1), config(), a.log.clone(), now);
    again.payloads.clone_from(&a.payloads);
    assert!(again.peer.outbox_floor() <= first, "nothing was heard of since");
    let files = again.send(now);
    assert!(again.peer.outbox_floor() <= first && !files.is_empty());
    b.receive(now, &files);
    let now = settle(now, &mut again, &mut b);
    let (now, heartbeat) = again.wait(now.after(90 * SEC));
    assert!(!heartbeat.is_empty());
    assert!(
        again.peer.status(now).pn_floor > first && again.peer.outbox_floor() > first,
        "passed, and later ones reported"
    );
}

#[test]
fn a_life_is_over_when_another_was_confirmed_in_its_place_and_not_when_mine_changed() {
    let (mut a, b, now) = pair(config());
    assert!(!a.peer.is_over(&life(1, 2)));
    let mut b2 = Side::new(1, life(2, 3), config());
    settle(now, &mut a, &mut b2);
    assert!(a.peer.is_over(&life(1, 2)) && !a.peer.is_over(&life(2, 3)));
    drop(b);
    let mine_changed = Side::with_log(0, life(9, 9), config(), a.log.clone(), now);
    assert!(!mine_changed.peer.is_over(&life(2, 3)), "it may be confirmed again");
}

#[test]
fn after_a_drain_nothing_is_remembered_but_the_newest_packets() {
    let (mut a, mut b, mut now) = pair(config());
    for round in 0..50u8 {
        let request = a.peer.open_exchange();
        a.append(now, request, kind::HEAD, vec![round; 10]).unwrap();
        now = settle(now, &mut a, &mut b);
        b.append(now, request.response_of(), kind::HEAD, vec![round; 70_000]).unwrap();
        now = settle(now, &mut a, &mut b);
        b.peer.close_stream(request);
        a.peer.close_stream(request.response_of());
    }
    now = settle(now, &mut a, &mut b);
    for side in [&a, &b] {
        let (pair, status) = (&side.peer.pair, side.peer.status(now));
        assert_eq!((pair.log.len(), pair.log.bytes(), status.backlog_records), (0, 0, 0));
        assert_eq!((pair.streams.open.len(), pair.inbound.open.len()), (0, 0));
        assert!(pair.received.selective().is_empty() && pair.received.above().count() == 0);
        assert_eq!((status.unconsumed_bytes, status.in_flight_packets, status.blocked_records), (0, 0, 0));
        assert!(pair.packets.len() <= 2, "{}", pair.packets.len());
        assert!(pair.streams.closed.len_ranges() + pair.inbound.closed.len_ranges() <= 1);
        let report = pair.report.clone().write(now, status.next_pn);
        assert!(report.complete.count() <= 2 && report.partial.is_empty(), "{report:?}");
        assert!(side.peer.checkpoint().len() <= 8, "{:?}", side.peer.checkpoint());
    }
}
