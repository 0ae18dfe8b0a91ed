//! Crash and restart, from the log and from a checkpoint.

use super::*;

/// Both ways of starting again.
fn restarts(side: &Side, life: Incarnation, now: Timestamp) -> [Side; 2] {
    let again = |log: Vec<Entry>| {
        let mut again = Side::with_log(side.index, life, config(), log, now);
        again.payloads = side.payloads.clone();
        again
    };
    [again(side.log.clone()), again(side.peer.checkpoint())]
}

#[test]
fn a_restart_goes_on_where_it_was() {
    for way in 0..2 {
        let (mut a, mut b, now) = pair(config());
        let stream = a.peer.open_exchange();
        a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
        let now = settle(now, &mut a, &mut b);
        a.append(now, stream, kind::DATA, vec![2; 10]).unwrap();
        let lost = a.send(now);
        let [from_log, from_checkpoint] = restarts(&a, life(1, 1), now);
        let mut a = if way == 0 { from_log } else { from_checkpoint };
        let first = a.send(now);
        assert!(first[0].header.pn.get() > limits::PN_BLOCK, "numbers begin at the first that was not reserved");
        assert!(first[0].control.ping && first[0].control.limits.is_some());
        assert_eq!(
            first.iter().flat_map(|file| &file.records).map(|record| record.head.seq.get()).collect::<Vec<_>>(),
            [2],
            "small records go again at once"
        );
        b.receive(now, &first);
        b.receive(now, &lost);
        let now = settle(now, &mut a, &mut b);
        assert_eq!(b.received(), [1, 2]);
        assert_eq!(a.append(now, stream, kind::FIN, vec![3; 40]), Ok(Seq::new(3)));
        settle(now, &mut a, &mut b);
        assert_eq!(b.received(), [3]);
        assert_eq!(a.peer.open_exchange(), StreamId::request(2));
        assert_eq!(a.peer.status(now).peer_incarnation, Some(life(1, 2)));
        assert_eq!((a.peer.status(now).confirmations, a.peer.status(now).halted), (1, None));
    }
}

#[test]
fn bulk_that_may_be_on_its_way_is_not_doubled_by_a_restart() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    for _ in 0..4 {
        a.append(now, stream, kind::DATA, vec![2; 100_000]).unwrap();
    }
    let on_the_way = a.send(now);
    let [mut a, _] = restarts(&a, life(1, 1), now);
    let first = a.send(now);
    assert!(first.iter().all(|file| file.records.is_empty()));
    assert!(
        first[0].control.log.unwrap().pn_floor <= on_the_way[0].header.pn.get(),
        "the floor does not pass what is on its way"
    );
    b.receive(now, &on_the_way);
    b.receive(now, &first);
    settle(now, &mut a, &mut b);
    assert_eq!(b.received(), [1, 2, 3, 4]);
    assert_eq!((b.peer.status(now).records_duplicate, a.peer.status(now).records_sent), (0, 0));
}

#[test]
fn what_was_received_is_not_told_again_and_what_was_granted_holds() {
    for way in 0..2 {
        let (mut a, mut b, now) = pair(config());
        let stream = a.peer.open_exchange();
        for _ in 0..3 {
            a.append(now, stream, kind::DATA, vec![2; 100_000]).unwrap();
        }
        let now = settle(now, &mut a, &mut b);
        let granted = b.peer.status(now).granted_log;
        assert_eq!(b.received(), [1, 2, 3]);
        let head = RecordHeader {
            seq: Seq::new(1),
            stream,
            offset: 0,
            raw_len: 100_000,
            stored_len: 100_000,
            kind: kind::DATA,
            flags: 0,
        };
        b.peer.consume(now, stream, &head);
        b.persist(now);
        let unconsumed = b.peer.status(now).unconsumed_bytes;
        let [from_log, from_checkpoint] = restarts(&b, life(1, 2), now);
        let mut b = if way == 0 { from_log } else { from_checkpoint };
        b.persist(now);
        assert_eq!(b.received(), Vec::<u64>::new());
        assert_eq!((b.peer.status(now).granted_log, b.peer.status(now).unconsumed_bytes), (granted, unconsumed));
        b.peer.consume(now, stream, &head);
        assert_eq!(b.peer.status(now).unconsumed_bytes, unconsumed, "consuming again changes nothing");
        settle(now, &mut a, &mut b);
        assert_eq!(a.peer.status(now).halted, None);
    }
}

#[test]
fn a_checkpoint_gives_the_same_checkpoint() {
    let (mut a, mut b, now) = pair(config());
    let streams = [a.peer.open_exchange(), a.peer.open_exchange()];
    for stream in streams {
        a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
        a.append(now, stream, kind::DATA, vec![2; 70_000]).unwrap();
    }
    let now = settle(now, &mut a, &mut b);
    b.append(now, streams[0].response_of(), kind::HEAD, vec![4; 10]).unwrap();
    a.append(now, streams[1], kind::DATA, vec![5; 10]).unwrap();
    a.append(now, streams[1], kind::FIN, vec![5; 40]).unwrap();
    let mut file = a.send(now);
    file[0].records.remove(0);
    b.receive(now, &file);
    b.peer.close_stream(streams[0]);
    for side in [&mut a, &mut b] {
        side.persist(now);
        let checkpoint = side.peer.checkpoint();
        let mut again = Peer::new(ids(side.index, side.life), config(), now);
        for entry in checkpoint.clone() {
            again.replay(entry);
        }
        assert_eq!(again.checkpoint(), checkpoint);
        let mut from_log = Peer::new(ids(side.index, side.life), config(), now);
        for entry in side.log.clone() {
            from_log.replay(entry);
        }
        // The floor is kept with each block of numbers only.
        from_log.counts.floor = side.peer.counts.floor;
        assert_eq!(from_log.checkpoint(), checkpoint);
    }
}

#[test]
fn what_was_appended_before_any_association_survives_and_is_bound_later() {
    for way in 0..2 {
        let mut a = Side::new(0, life(1, 1), config());
        let stream = a.peer.open_exchange();
        a.append(at(0), stream, kind::HEAD, vec![1; 10]).unwrap();
        a.persist(at(0));
        let [from_log, from_checkpoint] = restarts(&a, life(1, 1), at(1));
        let (mut a, mut b) = (if way == 0 { from_log } else { from_checkpoint }, Side::new(1, life(1, 2), config()));
        assert_eq!(a.append(at(1), stream, kind::FIN, vec![1; 40]), Ok(Seq::new(2)));
        settle(at(1), &mut a, &mut b);
        assert_eq!((b.received(), a.peer.status(at(1)).una), (vec![1, 2], Seq::new(2)));
    }
}

#[test]
fn a_new_life_of_mine_ends_the_association() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    a.send(now);
    for mut a in restarts(&a, life(2, 7), now) {
        a.persist(now);
        let closed = PeerEvent::AssociationClosed {
            old_peer_incarnation: life(1, 2),
            una: Seq::NONE,
            sent_seqs: vec![Seq::new(1)],
        };
        assert!(a.events().contains(&closed));
        assert_eq!(a.peer.status(now).peer_incarnation, None);
        assert!(a.log.contains(&Entry::Dissociated { peer_incarnation: life(1, 2) }));
        let [mut again, _] = restarts(&a, life(2, 7), now);
        assert!(again.send(now)[0].control.hello.is_some());
    }
    let [mut a, _] = restarts(&a, life(2, 7), now);
    b.events();
    let now = settle(now, &mut a, &mut b);
    assert_eq!(
        (a.peer.status(now).peer_incarnation, b.peer.status(now).peer_incarnation),
        (Some(life(1, 2)), Some(life(2, 7)))
    );
    assert!(b.events().iter().any(|event| matches!(event, PeerEvent::AssociationClosed { .. })));
}

#[test]
fn nothing_happens_before_the_replay_is_done() {
    let mut peer = Peer::new(ids(0, life(1, 1)), config(), at(0));
    assert!(peer.poll_transmit(at(0)).is_none() && peer.poll_timeout().is_none() && peer.poll_persist().is_none());
    let header = header(1, life(1, 2), Incarnation::UNKNOWN, PacketNumber::FIRST, 0);
    assert_eq!(
        peer.handle_packet(at(0), &header, &Control { hello: Some([1; 16]), ..Control::default() }),
        Verdict::Ignore
    );
}

#[test]
fn stream_credit_survives_a_restart_of_either_side() {
    let window = Config { stream_window_bytes: 1 << 20, ..config() };
    let (mut a, mut b, now) = pair(window.clone());
    let stream = a.peer.open_exchange();
    for _ in 0..8 {
        a.append(now, stream, kind::DATA, vec![7; 1 << 17]).unwrap();
    }
    let now = settle(now, &mut a, &mut b);
    let consume = |b: &mut Side, now| {
        for event in b.events() {
            if let PeerEvent::Received(head) = event {
                b.peer.consume(now, stream, &head);
            }
        }
    };
    consume(&mut b, now);
    let now = settle(now, &mut a, &mut b);
    assert_eq!(a.peer.append_room(stream), 1 << 20);
    a.append(now, StreamId::NO_EXCHANGE, kind::EVENT, vec![1]).unwrap();
    let now = settle(now, &mut a, &mut b);
    assert!(b.peer.pair.inbound.announcement().is_empty(), "the sender is known to have seen it");
    // The sender forgets it: it asks.
    let mut a = Side::with_log(0, life(1, 1), window.clone(), a.log.clone(), now);
    assert_eq!(a.peer.append_room(stream), 0);
    let now = settle(now, &mut a, &mut b);
    assert_eq!(a.peer.append_room(stream), 1 << 20);
    // The receiver must not forget it.
    a.append(now, stream, kind::DATA, vec![7; 1 << 17]).unwrap();
    let log = b.log.clone();
    let mut b = Side::with_log(1, life(1, 2), window, log, now);
    settle(now, &mut a, &mut b);
    assert_eq!((b.received(), b.peer.status(now).dropped_credit), (vec![10], 0));
}

#[test]
fn what_was_charged_later_stays_charged() {
    let (mut a, mut b, now) = pair(Config { receive_pool_bytes: 1 << 20, ..config() });
    let stream = a.peer.open_exchange();
    for _ in 0..10 {
        a.append(now, stream, kind::DATA, vec![7; 100_000]).unwrap();
    }
    let now = settle(now, &mut a, &mut b);
    let blocked = a.peer.status(now).blocked_records;
    assert!(blocked > 0);
    for event in b.events() {
        if let PeerEvent::Received(head) = event {
            b.peer.consume(now, stream, &head);
        }
    }
    let now = settle(now, &mut a, &mut b);
    assert!(a.log.iter().any(|entry| matches!(entry, Entry::Charged { .. })));
    let charged = a.peer.status(now).credit_log.1;
    for again in restarts(&a, life(1, 1), now) {
        assert_eq!(again.peer.status(now).credit_log.1, charged);
    }
}

#[test]
fn a_receiver_that_went_back_behind_its_selective_acks_gets_the_records_again() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    let mut files = Vec::new();
    for byte in 0..3 {
        a.append(now, stream, kind::DATA, vec![byte; 10]).unwrap();
        files.push(a.send(now));
    }
    b.receive(now, &files[0]);
    let (now, acks) = b.wait(now.after(30 * SEC));
    a.receive(now, &acks);
    // Its state is copied here; then it takes 3 without 2, and says so.
    let copied = b.log.clone();
    b.receive(now, &files[2]);
    let (now, acks) = b.wait(now.after(30 * SEC));
    a.receive(now, &acks);
    assert_eq!(a.peer.status(now).backlog_records, 2);
    let mut b = Side::with_log(1, life(1, 2), config(), copied, now);
    b.payloads = a.payloads.clone();
    let end = settle(now, &mut a, &mut b);
    assert_eq!(b.received(), [2, 3]);
    assert_eq!(a.peer.status(end).backlog_records, 0);
}
