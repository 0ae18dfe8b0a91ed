//! HELLO, ECHO, RESET: who counts.

use super::*;
use wire::control::ResetReason;

#[test]
fn one_side_may_start_alone() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let hello = a.send(at(0));
    assert_eq!(hello.len(), 1);
    assert!(hello[0].control.hello.is_some() && hello[0].control.log.is_none());
    assert_eq!(hello[0].header.recipient_incarnation, Incarnation::UNKNOWN);
    assert_eq!(b.read(at(1), &hello[0], 0), Verdict::Ignore);
    let answer = b.send(at(1));
    assert_eq!(answer[0].control.echo, hello[0].control.hello);
    assert_eq!(answer[0].header.recipient_incarnation, life(1, 1));
    assert_eq!(
        a.read(at(2), &answer[0], 0),
        Verdict::Use,
        "an echo of my nonce for my life proves that the peer lives"
    );
    let echo = a.send(at(2));
    assert_eq!(echo[0].control.echo, answer[0].control.hello);
    assert!(echo[0].control.hello.is_none() && echo[0].control.log.is_some());
    assert_eq!(b.read(at(3), &echo[0], 0), Verdict::Use);
    assert_eq!(b.peer.status(at(3)).peer_incarnation, Some(life(1, 1)));
}

#[test]
fn nothing_of_the_association_is_sent_before_it_is_durable() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let hello = a.send(at(0));
    b.receive(at(0), &hello);
    let answer = b.send(at(0));
    a.read(at(0), &answer[0], 0);
    let token = a.write().unwrap();
    assert!(a.transmit(at(0)).is_none());
    a.peer.handle_persisted(at(0), token);
    assert!(a.transmit(at(0)).is_some());
}

#[test]
fn hello_is_retried_ever_more_slowly() {
    let mut a = Side::new(0, life(1, 1), config());
    let mut times = vec![];
    let mut now = at(0);
    a.send(now);
    while times.len() < 12 {
        let (next, files) = a.wait(at(100_000));
        assert_eq!(files.len(), 1);
        times.push(next.since(now).as_millis());
        now = next;
    }
    assert_eq!(times[..5], [7_500, 15_000, 30_000, 60_000, 120_000]);
    assert_eq!(times[11], 900_000);
}

#[test]
fn a_peer_that_lost_its_state_closes_the_association() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    settle(now, &mut a, &mut b);
    a.append(now, stream, kind::DATA, vec![2; 10]).unwrap();
    let lost = a.send(now);
    assert_eq!(lost.len(), 1);
    a.append(now, stream, kind::DATA, vec![3; 10]).unwrap();
    a.persist(now);
    a.events();

    let mut b2 = Side::new(1, life(2, 3), config());
    settle(now, &mut a, &mut b2);
    let events = a.events();
    let closed = PeerEvent::AssociationClosed {
        old_peer_incarnation: life(1, 2),
        una: Seq::new(1),
        sent_seqs: vec![Seq::new(2)],
    };
    assert!(events.contains(&closed), "1 is acknowledged, 3 never left: {events:?}");
    assert!(events.contains(&PeerEvent::Confirmed { peer_incarnation: life(2, 3) }));
    assert_eq!(
        a.append(now, stream, kind::DATA, vec![0; 4]),
        Err(AppendError::UnknownStream(stream)),
        "streams begin anew"
    );
    let again = a.peer.open_exchange();
    assert_eq!((again, a.append(now, again, kind::HEAD, vec![4; 10])), (StreamId::request(1), Ok(Seq::new(1))));
    settle(now, &mut a, &mut b2);
    assert_eq!(b2.received(), [1]);
}

#[test]
fn a_packet_of_an_old_life_changes_nothing() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let old = b.send(at(0));
    let now = settle(at(0), &mut a, &mut b);
    let mut b2 = Side::new(1, life(2, 3), config());
    let now = settle(now, &mut a, &mut b2);
    let before = alloc::format!("{:?}", a.peer.checkpoint());
    a.send(now);
    let refused = {
        assert_eq!(a.read(now, &old[0], 0), Verdict::Ignore);
        a.send(now)
    };
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].control.reset, refused[0].control.hello), (Some(ResetReason::Superseded), None));
    assert_eq!(refused[0].header.recipient_incarnation, life(1, 2));
    assert_eq!(a.read(now, &old[0], 0), Verdict::Ignore);
    assert_eq!(a.send(now).len(), 0, "once a minute");
    assert_eq!(alloc::format!("{:?}", a.peer.checkpoint()), before);

    assert_eq!(b.read(now, &refused[0], 0), Verdict::Ignore);
    b.persist(now);
    assert_eq!(b.peer.status(now).halted, Some(Alarm::Superseded));
    assert_eq!(b.send(now).len(), 0);
}

#[test]
fn a_stranger_without_an_echo_gets_an_answer_a_second_and_disturbs_nobody() {
    let (mut a, mut b, now) = pair(config());
    let mut stranger = Side::new(1, life(0, 9), config());
    let hello = stranger.send(now);
    for _ in 0..5 {
        a.receive(now, &hello);
    }
    let answers = a.send(now);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].header.recipient_incarnation, life(0, 9));
    assert!(answers[0].control.log.is_none());
    assert_eq!(a.peer.status(now).peer_incarnation, Some(life(1, 2)));
    // The answer reaches the confirmed life too: it is not for it.
    assert_eq!(b.read(now, &answers[0], 0), Verdict::Ignore);
    b.persist(now);
    assert_eq!(b.peer.status(now).halted, None);
    assert_eq!(b.send(now).len(), 0);
}

#[test]
fn data_that_comes_before_the_echo_waits_for_it() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let stream = a.peer.open_exchange();
    a.append(at(0), stream, kind::HEAD, vec![1; 10]).unwrap();
    let hello = a.send(at(0));
    b.receive(at(0), &hello);
    let answer = b.send(at(0));
    a.receive(at(0), &answer);
    let mut first = a.send(at(0));
    assert_eq!(first[0].records.len(), 1, "data rides in the packet that echoes");
    let echo = first[0].control.echo.take();
    assert_eq!(b.read(at(1), &first[0], 1), Verdict::Wait);
    first[0].control.echo = echo;
    assert_eq!(b.read(at(1), &first[0], 1), Verdict::Use);
    b.persist(at(1));
    assert_eq!(b.received(), [1]);
}

#[test]
fn a_hello_after_taking_part_says_that_the_peer_forgot() {
    let (mut a, mut b, now) = pair(config());
    let stream = b.peer.open_exchange();
    b.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let now = settle(now, &mut a, &mut b);
    let mut amnesiac = Side::new(1, life(1, 2), config());
    let mut hello = amnesiac.send(now);
    assert_eq!(a.read(now, &hello[0], 0), Verdict::Ignore, "a low number: a late packet of before");
    assert_eq!(a.peer.status(now).halted, None);
    hello[0].header.pn = PacketNumber::new(9_000).unwrap();
    assert_eq!(a.read(now, &hello[0], 0), Verdict::Ignore);
    a.persist(now);
    assert_eq!(a.peer.status(now).halted, Some(Alarm::PeerForgot));
    assert!(a.events().contains(&PeerEvent::Alarm(Alarm::PeerForgot)));
}

#[test]
fn contradictions_halt_the_pair_and_release_nothing() {
    for (name, spoil) in [
        ("chain_mismatch", (|control: &mut Control| control.ack.as_mut().unwrap().chain[0] ^= 1) as fn(&mut Control)),
        ("log_rolled_back", |control| control.ack.as_mut().unwrap().cum = 2),
        ("inbox_rolled_back", |control| control.ack.as_mut().unwrap().una_seen = 1),
        ("inbox_rolled_back", |control| {
            (control.log.as_mut().unwrap().next, control.log.as_mut().unwrap().oldest) = (9, 2)
        }),
        ("log_rolled_back", |control| control.sack = Some([7].into_iter().collect())),
    ] {
        let (mut a, mut b, now) = pair(config());
        let stream = a.peer.open_exchange();
        a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
        let data = a.send(now);
        b.receive(now, &data);
        let (now, mut ack) = b.wait(now.after(10 * SEC));
        spoil(&mut ack[0].control);
        a.events();
        assert_eq!(a.read(now, &ack[0], 0), Verdict::Ignore, "{name}");
        a.persist(now);
        let halted = a.peer.status(now).halted.unwrap();
        assert_eq!((halted.name(), a.peer.status(now).una), (name, Seq::NONE));
        assert!(!halted.remedy().is_empty());
        let events = a.events();
        assert!(events.contains(&PeerEvent::Alarm(halted)));
        assert!(!events.iter().any(|event| matches!(event, PeerEvent::Released { .. } | PeerEvent::Received(_))));
        assert_eq!(a.append(now, stream, kind::DATA, vec![0; 9]), Err(AppendError::Halted));
        assert!(a.send(now).is_empty() && a.peer.poll_timeout().is_none());
    }
}

#[test]
fn a_new_life_of_the_peer_settles_its_fork() {
    settle_a_fork(|_, _| {});
}

#[test]
fn a_new_life_of_the_peer_settles_its_fork_though_the_outbox_was_full_when_it_was_seen() {
    settle_a_fork(|a, now| {
        let stream = a.peer.open_exchange();
        a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
        a.persist(now);
        let transmit = a.peer.poll_transmit(now.after(SEC)).unwrap();
        a.peer.handle_publish_failed(now.after(SEC), transmit.pn);
    });
}

/// A twin of the peer writes too; before that is seen, something else happens.
fn settle_a_fork(before: impl FnOnce(&mut Side, Timestamp)) {
    let (mut a, mut b, now) = pair(config());
    before(&mut a, now);
    let stream = b.peer.open_exchange();
    b.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let first = b.send(now);
    let mut twin = first[0].clone();
    twin.records[0] = Record::new(Seq::new(2), stream, 10, kind::DATA, Bytes::from_static(b"one"));
    a.read(now, &twin, 1);
    twin.records[0] = Record::new(Seq::new(2), stream, 10, kind::DATA, Bytes::from_static(b"two"));
    a.read(now, &twin, 1);
    a.persist(now);
    assert_eq!(a.peer.status(now).halted, Some(Alarm::Forked { seq: Seq::new(2) }));
    assert_eq!(a.received(), Vec::<u64>::new(), "a halted pair delivers nothing");
    let mut b2 = Side::new(1, life(2, 3), config());
    let mut now = now;
    for _ in 0..4 {
        let (next, hello) = b2.wait(now.after(60 * SEC));
        a.receive(next, &hello);
        a.peer.handle_timeout(next);
        let answer = a.send(next);
        b2.receive(next, &answer);
        now = next;
    }
    assert_eq!((a.peer.status(now).halted, a.peer.status(now).peer_incarnation), (None, Some(life(2, 3))));
}

#[test]
fn a_nonce_serves_one_confirmation() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(0, 2), config()));
    let mut twin = Side::new(1, life(0, 3), config());
    let hello = a.send(at(0));
    let (from_b, from_twin) = (b.send(at(0)), twin.send(at(0)));
    b.receive(at(0), &hello);
    twin.receive(at(0), &hello);
    let (echo_b, echo_twin) = (b.send(at(0)), twin.send(at(0)));
    assert_eq!(echo_b[0].control.echo, echo_twin[0].control.echo, "both know the nonce");
    a.receive(at(1), &from_b);
    a.receive(at(1), &from_twin);
    assert_eq!(a.read(at(1), &echo_b[0], 0), Verdict::Use);
    assert_eq!(a.read(at(1), &echo_twin[0], 0), Verdict::Wait);
    assert_eq!(a.peer.status(at(1)).peer_incarnation, Some(life(0, 2)));
    assert_eq!(a.peer.status(at(1)).confirmations, 1);
}

#[test]
fn a_restored_sender_is_found_out_before_anything_is_released() {
    let (mut a, mut b, now) = pair(config());
    let image = a.log.clone();
    let stream = a.peer.open_exchange();
    for n in 0..3 {
        a.append(now, stream, kind::DATA, vec![n; 10]).unwrap();
    }
    let now = settle(now, &mut a, &mut b);
    assert_eq!(a.peer.status(now).una, Seq::new(3));
    for count in [1, 5] {
        let mut a = Side::with_log(0, life(1, 1), config(), image.clone(), now);
        let stream = a.peer.open_exchange();
        for n in 0..count {
            a.append(now, stream, kind::DATA, vec![100 + n; 10]).unwrap();
        }
        let files = a.send(now);
        b.receive(now, &files);
        let (now, ack) = b.wait(now.after(100 * SEC));
        a.receive(now, &ack);
        let status = a.peer.status(now);
        let expected = if count == 1 { "log_rolled_back" } else { "chain_mismatch" };
        assert_eq!((status.halted.map(|alarm| alarm.name()), status.una), (Some(expected), Seq::NONE));
        assert!(!a.events().iter().any(|event| matches!(event, PeerEvent::Released { .. })));
    }
}

#[test]
fn a_restored_receiver_finds_itself_out() {
    let (mut a, mut b, now) = pair(config());
    let image = b.log.clone();
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    let now = settle(now, &mut a, &mut b);
    let mut b = Side::with_log(1, life(1, 2), config(), image, now);
    a.append(now, stream, kind::FIN, vec![1; 40]).unwrap();
    let files = a.send(now);
    b.receive(now, &files);
    assert_eq!(b.peer.status(now).halted, Some(Alarm::InboxRolledBack { claimed: Seq::new(1), cum: Seq::NONE }));
    assert_eq!(b.received(), Vec::<u64>::new());
}

/// A packet of `b` to this life of mine that says RESET.
fn reset(mine: Incarnation, pn: u64, reason: ResetReason) -> File {
    let control = Control { reset: Some(reason), ..Control::default() };
    File { header: header(1, life(1, 2), mine, PacketNumber::new(pn).unwrap(), 0), control, records: vec![] }
}

#[test]
fn a_reset_counts_only_about_this_life_and_only_for_what_it_means() {
    for (mine, reason, halted) in [
        (life(1, 1), ResetReason::Superseded, Some(Alarm::Superseded)),
        (life(1, 1), ResetReason::Forked, Some(Alarm::Cloned)),
        (life(1, 1), ResetReason::NoRoom, None),
        (life(1, 1), ResetReason::Refused, None),
        (life(1, 1), ResetReason::Other(9), None),
        (life(1, 8), ResetReason::Superseded, None),
        (life(1, 8), ResetReason::Forked, None),
        (Incarnation::UNKNOWN, ResetReason::Forked, None),
    ] {
        let (mut a, _, now) = pair(config());
        for pn in [700, 701] {
            a.receive(now, &[reset(mine, pn, reason)]);
        }
        let status = a.peer.status(now);
        let ignored = if halted.is_some() || mine != life(1, 1) { 0 } else { 2 };
        assert_eq!((status.halted, status.resets_ignored), (halted, ignored), "{reason:?}");
        assert_eq!(status.alarms.len(), usize::from(halted.is_some()), "the first word counts");
        assert_eq!(a.send(now).is_empty() && a.peer.poll_timeout().is_none(), halted.is_some());
        assert_eq!(halted.is_some_and(|alarm| alarm.asks_for_new_incarnation()), halted == Some(Alarm::Cloned));
    }
}

#[test]
fn a_peer_without_room_is_asked_again_at_growing_intervals() {
    let mut a = Side::new(0, life(1, 1), config());
    a.send(at(0));
    let (mut now, mut times) = (at(0), vec![]);
    for pn in 1..=4 {
        a.receive(now, &[reset(life(1, 1), pn, ResetReason::NoRoom)]);
        a.send(now);
        let (next, hello) = a.wait(at(10_000));
        assert!(hello[0].control.hello.is_some());
        times.push(next.since(now).as_millis());
        now = next;
    }
    assert_eq!((times, a.peer.status(now).halted), (vec![7_500, 15_000, 30_000, 60_000], None));
}

#[test]
fn a_twin_that_layer_0_saw_is_told_once_a_minute() {
    let (mut a, mut b, now) = pair(config());
    a.peer.report_fork(now, life(9, 9));
    assert!(a.send(now).is_empty(), "another life is nobody's twin");
    for _ in 0..3 {
        a.peer.report_fork(now, life(1, 2));
    }
    let told = a.send(now);
    assert_eq!((told.len(), told[0].control.reset), (1, Some(ResetReason::Forked)));
    assert_eq!(b.read(now, &told[0], 0), Verdict::Ignore);
    b.persist(now);
    assert_eq!(b.peer.status(now).halted, Some(Alarm::Cloned));
    a.peer.report_fork(now.after(61 * SEC), life(1, 2));
    assert_eq!(a.send(now.after(61 * SEC))[0].control.reset, Some(ResetReason::Forked));
}

#[test]
fn sixteen_lives_that_are_over_are_remembered_also_over_a_restart() {
    let mut a = Side::new(0, life(1, 1), config());
    let mut now = at(0);
    for n in 1..=20 {
        let mut b = Side::new(1, life(0, n), config());
        now = settle(now, &mut a, &mut b).after(2 * SEC);
        assert_eq!(a.peer.status(now).peer_incarnation, Some(life(0, n)));
    }
    let closed: Vec<Incarnation> = (4..=19).map(|n| life(0, n)).collect();
    assert_eq!(a.peer.association.closed(), closed);
    let again = Side::with_log(0, life(1, 1), config(), a.log.clone(), now);
    assert_eq!(again.peer.association.closed(), closed);
    let mut old = Side::new(1, life(0, 4), config());
    let hello = old.send(now.after(61 * SEC));
    a.receive(now.after(61 * SEC), &hello);
    assert_eq!(a.send(now.after(61 * SEC))[0].control.reset, Some(ResetReason::Superseded));
}

#[test]
fn strangers_cost_bounded_memory_and_one_answer_each() {
    let (mut a, _, now) = pair(config());
    for n in 20..60 {
        let mut stranger = Side::new(1, life(0, n), config());
        let hello = stranger.send(now);
        a.receive(now, &hello);
    }
    let answers = a.send(now);
    let to: Vec<_> = answers.iter().map(|file| file.header.recipient_incarnation).collect();
    assert_eq!(to, (56..60).map(|n| life(0, n)).collect::<Vec<_>>(), "the last {} of them", limits::CANDIDATES_MAX);
}

#[test]
fn a_file_that_waits_or_comes_twice_is_a_sign_of_life_once() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let hello = a.send(at(0));
    b.receive(at(0), &hello);
    let answer = b.send(at(0));
    a.receive(at(0), &answer);
    let mut first = a.send(at(0)).remove(0);
    let echo = first.control.echo.take();
    let ago = |b: &Side, now: Timestamp| b.peer.status(now).last_heard_us_ago;
    for second in [1, 50, 100] {
        assert_eq!(b.read(at(second), &first, 0), Verdict::Wait);
    }
    assert_eq!(ago(&b, at(100)), Some(99_000_000));
    first.control.echo = echo;
    assert_eq!(b.read(at(101), &first, 0), Verdict::Use);
    assert_eq!(ago(&b, at(101)), Some(0));
    b.read(at(200), &first, 0);
    assert_eq!(ago(&b, at(200)), Some(99_000_000));
}
