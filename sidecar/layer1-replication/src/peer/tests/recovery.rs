//! Acks, loss, probes, silence.

use super::*;

fn appended(a: &mut Side, now: Timestamp, count: usize, len: usize) -> StreamId {
    let stream = a.peer.open_exchange();
    for _ in 0..count {
        a.append(now, stream, kind::DATA, vec![7; len]).unwrap();
    }
    a.persist(now);
    stream
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 3, 10);
    let data = a.send(now);
    b.read(now, &data[0], 3);
    let token = b.write().unwrap();
    let later = now.after(30 * SEC);
    b.peer.handle_timeout(later);
    let early = b.transmit(later).unwrap();
    let packets = early.control.packets.unwrap();
    assert_eq!((early.control.ack.unwrap().cum, early.control.sack), (0, None));
    assert!(!packets.complete.contains(data[0].header.pn.get()), "neither is the packet");
    assert_eq!(packets.echo_pn, data[0].header.pn.get(), "but that it came");
    assert!(
        core::iter::from_fn(|| b.peer.poll_event())
            .all(|event| !matches!(event, PeerEvent::Received(_) | PeerEvent::PacketDurable { .. }))
    );
    b.peer.handle_persisted(later, token);
    b.peer.handle_timeout(later.after(30 * SEC));
    let control = b.transmit(later.after(30 * SEC)).unwrap().control;
    assert_eq!(control.ack.unwrap().cum, 3);
    assert!(control.packets.unwrap().complete.contains(data[0].header.pn.get()));
}

#[test]
fn an_ack_only_packet_is_never_acknowledged() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 1, 10);
    let data = a.send(now);
    b.receive(now, &data);
    let (now, ack) = b.wait(now.after(10 * SEC));
    assert_eq!(ack.len(), 1);
    a.receive(now, &ack);
    let (end, files) = a.wait(now.after(59 * SEC));
    assert_eq!(files.len(), 0, "not until the heartbeat");
    let (_, files) = a.wait(end.after(2 * SEC));
    assert_eq!(files.len(), 1);
    assert!(files[0].records.is_empty() && !files[0].control.ping);
    b.receive(end.after(2 * SEC), &files);
    assert_eq!(b.peer.status(end).in_flight_packets, 0);
    assert!(a.retired.contains(&data[0].header.pn.get()), "and its outbox file is gone");
}

#[test]
fn a_cut_packet_costs_only_what_was_cut() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 10, 10);
    let data = a.send(now);
    assert_eq!(data[0].records.len(), 10);
    b.read(now, &data[0], 6);
    let report = b.send(now);
    assert_eq!(report.len(), 1, "a cut is told at once");
    assert!(report[0].control.packets.as_ref().unwrap().partial.contains(data[0].header.pn.get()));
    a.receive(now, &report);
    let again = a.send(now);
    assert_eq!(again[0].records.iter().map(|record| record.head.seq.get()).collect::<Vec<_>>(), [7, 8, 9, 10]);
    assert!(again[0].header.pn > data[0].header.pn);
    a.receive(now, &report);
    assert!(a.send(now).is_empty(), "the same report is acted on once");
    b.receive(now, &again);
    assert_eq!(b.received(), (1..=10).collect::<Vec<_>>());
    assert_eq!(b.peer.status(now).records_duplicate, 0);
}

#[test]
fn a_late_report_of_an_older_packet_does_not_resend_what_a_newer_one_carries() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 2, 10);
    let first = a.send(now);
    let (later, probe) = a.wait(now.after(600 * SEC));
    assert_eq!(probe[0].records.len(), 2, "the probe carries them again");
    b.read(later, &first[0], 0);
    let report = b.send(later);
    a.receive(later, &report);
    assert!(a.send(later).is_empty());
    let (_, files) = a.wait(later.after(SEC / 2));
    assert!(files.iter().all(|file| file.records.is_empty()), "nothing is lost while the probe is on its way");
    b.receive(later, &probe);
    assert_eq!(b.received(), [1, 2]);
}

#[test]
fn an_overtaken_packet_is_sent_again_without_a_probe() {
    let (mut a, mut b, mut now) = pair(config());
    for _ in 0..10 {
        appended(&mut a, now, 1, 10);
        now = settle(now, &mut a, &mut b).after(SEC);
    }
    appended(&mut a, now, 1, 10);
    let lost = a.send(now);
    appended(&mut a, now, 1, 10);
    let (now, passes) = a.wait(now.after(SEC));
    assert_eq!(passes[0].records.len(), 1);
    b.receive(now, &passes);
    let ack = b.send(now);
    assert_eq!(ack.len(), 1, "a gap is told at once");
    assert_eq!(ack[0].control.sack.as_ref().unwrap().values().collect::<Vec<_>>(), [12]);
    a.receive(now, &ack);
    let (_, again) = a.wait(now.after(SEC));
    assert_eq!(again[0].records, lost[0].records);
    assert_eq!((a.peer.status(now).packets_lost, a.peer.status(now).pto_count), (1, 0));
}

#[test]
fn probes_back_off_and_bulk_waits_for_news() {
    let (mut a, mut b, start) = pair(config());
    appended(&mut a, start, 1, 10);
    a.send(start);
    let (mut times, mut now) = (vec![], start);
    let mut last = Vec::new();
    for _ in 0..14 {
        let (next, files) = a.wait(now.after(2_000 * SEC));
        let probes: Vec<File> = files.into_iter().filter(|file| !file.records.is_empty()).collect();
        if !probes.is_empty() {
            assert_eq!(probes[0].records.len(), 1);
            times.push(next.since(now));
            last = probes;
        }
        now = next;
    }
    let status = a.peer.status(now);
    assert!(status.suspended && status.pto_count >= 3);
    appended(&mut a, now, 8, 200_000);
    let stream = a.peer.open_exchange();
    a.append(now, stream, kind::HEAD, vec![9; 10]).unwrap();
    let (_, files) = a.wait(now.after(SEC));
    assert!(files.iter().all(|file| file.records.is_empty()), "no bulk into silence");
    b.receive(now, &last);
    let (now, ack) = b.wait(now.after(60 * SEC));
    a.receive(now, &ack);
    assert!(!a.peer.status(now).suspended);
    let resumed: usize = a.send(now).iter().map(|file| file.records.len()).sum();
    assert!(resumed > 1, "news end the silence: {resumed}");
}

#[test]
fn a_packet_that_cannot_be_published_is_written_again_later() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 2, 10);
    a.persist(now);
    let failed = a.peer.poll_transmit(now).unwrap();
    a.peer.handle_publish_failed(now, failed.pn);
    assert!(a.send(now).is_empty(), "not in a hot loop");
    let (now, again) = a.wait(now.after(2 * SEC));
    assert_eq!(again[0].records.len(), 2);
    assert!(again[0].header.pn > failed.pn);
    b.receive(now, &again);
    assert_eq!(b.received(), [1, 2]);
}

#[test]
fn small_records_gather_while_something_is_on_its_way() {
    let (mut a, _, now) = pair(config());
    appended(&mut a, now, 1, 10);
    assert_eq!(a.send(now).len(), 1, "the first goes at once");
    appended(&mut a, now, 1, 10);
    appended(&mut a, now, 1, 10);
    assert!(a.send(now).is_empty());
    let (later, files) = a.wait(now.after(SEC));
    assert_eq!((files.len(), files[0].records.len()), (1, 2));
    assert!(later.since(now) <= limits::FLUSH_SMALL.1);
}

#[test]
fn a_record_that_never_passes_goes_alone_and_is_shown() {
    let (mut a, mut b, mut now) = pair(config());
    appended(&mut a, now, 3, 10);
    for round in 0..u64::from(limits::LOSSES_POISONED) {
        let files = a.send(now);
        for file in &files {
            // Something removes record 2.
            let mut file = file.clone();
            let whole = file.records.len();
            file.records.retain(|record| record.head.seq.get() != 2);
            file.header.frame_count = 1;
            assert!(round < u64::from(limits::LOSSES_ALONE) || whole == 1);
            b.peer.handle_packet(now, &file.header, &file.control);
            b.peer.handle_records(now, life(1, 2), file.header.pn, vec![]);
            b.peer.handle_records(now, life(1, 1), file.header.pn, file.records.clone());
            b.peer.handle_closed(now, life(1, 1), file.header.pn, Closure::Partial);
        }
        let report = b.send(now);
        a.receive(now, &report);
        now = now.after(SEC);
    }
    let poisoned = PeerEvent::Alarm(Alarm::Poisoned { seq: Seq::new(2), losses: limits::LOSSES_POISONED });
    assert!(a.events().contains(&poisoned));
    assert_eq!(a.peer.status(now).halted, None);
}

#[test]
fn a_full_list_of_ranges_says_nothing_about_what_lies_below() {
    let (mut a, mut b, now) = pair(config());
    appended(&mut a, now, 700, 1);
    let data = a.send(now);
    assert_eq!(data[0].records.len(), 700);
    let mut odd = data[0].clone();
    odd.records.retain(|record| record.head.seq.get() % 2 == 0);
    b.peer.handle_packet(now, &odd.header, &odd.control);
    b.peer.handle_records(now, life(1, 1), odd.header.pn, odd.records.clone());
    b.peer.handle_closed(now, life(1, 1), odd.header.pn, Closure::Partial);
    let mut report = b.send(now);
    let control = Control::decode(&report[0].control.encode(), false).unwrap();
    assert_eq!(control.sack.as_ref().unwrap().len_ranges(), 256);
    report[0].control = control;
    a.receive(now, &report);
    assert_eq!(a.peer.status(now).in_flight_packets, 1, "it is not known yet what is lost");
    // The peer says that it ended once; when all is known, it is judged.
    a.peer.ping();
    let ping = a.send(now);
    b.receive(now, &ping);
    let mut rest = odd.clone();
    rest.header.pn = PacketNumber::new(4_000).unwrap();
    rest.records = data[0].records[..400].to_vec();
    b.receive(now, &[rest]);
    b.peer.ping();
    let report = b.send(now);
    let pn = data[0].header.pn.get();
    assert!(report.iter().all(|file| !file.control.packets.as_ref().unwrap().partial.contains(pn)), "told once");
    a.receive(now, &report);
    let resent: usize = a.send(now).iter().map(|file| file.records.len()).sum();
    assert_eq!(resent, 150, "the odd ones above 400");
}

#[test]
fn a_peer_that_is_gone_gets_a_heartbeat_an_hour_until_it_is_heard() {
    let (mut a, mut b, now) = pair(config());
    let (mut now, _) = a.wait(now.after(61 * SEC));
    a.peer.expect_nothing(now);
    // The one that is due anyway, and then one an hour.
    let mut beats = 0;
    for _ in 0..5 * 60 {
        let (later, files) = a.wait(now.after(60 * SEC));
        beats += files.len();
        now = later;
    }
    assert!((4..=6).contains(&beats), "{beats} heartbeats in five hours");
    let (_, alive) = b.wait(now);
    a.receive(now, &alive[alive.len() - 1..]);
    let (_, files) = a.wait(now.after(61 * SEC));
    assert_eq!(files.len(), 1, "it is heard again");
}

/// Two that know their round trip well.
fn practised() -> (Side, Side, Timestamp) {
    let (mut a, mut b, mut now) = pair(config());
    for _ in 0..10 {
        appended(&mut a, now, 1, 10);
        now = settle(now, &mut a, &mut b).after(SEC);
    }
    a.events();
    b.events();
    (a, b, now)
}

/// One record overtakes another so that it is called lost and sent again; the file that was overtaken, and the time.
fn overtaken(a: &mut Side, b: &mut Side, now: Timestamp) -> (Timestamp, File) {
    appended(a, now, 1, 10);
    let slow = a.send(now).remove(0);
    appended(a, now, 1, 10);
    let (now, passes) = a.wait(now.after(SEC));
    b.receive(now, &passes);
    let (now, ack) = b.wait(now.after(SEC));
    a.receive(now, &ack);
    let (now, again) = a.wait(now.after(20 * SEC));
    assert_eq!(again[0].records, slow.records);
    (now, slow)
}

#[test]
fn a_packet_that_was_called_lost_and_came_after_all_is_counted_and_gives_patience() {
    let (mut a, mut b, now) = practised();
    let (now, slow) = overtaken(&mut a, &mut b, now);
    let status = a.peer.status(now);
    assert_eq!((status.packets_lost, status.packets_spurious, status.reorder_factor), (1, 0, 1));
    b.receive(now, core::slice::from_ref(&slow));
    let report = b.send(now);
    a.receive(now, &report);
    a.receive(now, &report);
    let status = a.peer.status(now);
    assert_eq!((status.packets_lost, status.packets_spurious, status.reorder_factor), (1, 1, 2), "once");
}

#[test]
fn duplicates_that_the_peer_counts_give_patience_once_a_round_trip_and_at_most_eightfold() {
    let (mut a, mut b, mut now) = practised();
    a.peer.rtt.restore(5_000_000, 1_000);
    for round in 1..=10_u64 {
        for doubles in [3 * round - 1, 3 * round] {
            b.peer.ping();
            let mut file = b.send(now).remove(0);
            file.control.counters.as_mut().unwrap().duplicate_records = doubles;
            a.receive(now, &[file]);
        }
        assert_eq!(a.peer.status(now).reorder_factor, (1 + round as u32).min(limits::REORDER_FACTOR_MAX));
        now = now.after(60 * SEC);
    }
    assert_eq!(a.peer.status(now).records_spurious, 30);
}

#[test]
fn patience_ends_after_sixteen_recoveries_that_were_right() {
    let (mut a, mut b, mut now) = practised();
    a.peer.pair.recovery.reorder_factor = 8;
    for round in 0..=limits::REORDER_DECAY {
        assert_eq!(a.peer.status(now).reorder_factor, 8, "{round} recoveries");
        let (later, _) = overtaken(&mut a, &mut b, now);
        now = settle(later, &mut a, &mut b).after(60 * SEC);
    }
    let status = a.peer.status(now);
    assert_eq!((status.reorder_factor, status.packets_spurious), (1, 0));
}

#[test]
fn a_silent_peer_is_suspected_after_some_heartbeats_and_sooner_if_my_packets_are_not_heard_of() {
    let (mut a, mut b, mut now) = pair(config());
    for _ in 0..20 {
        let (later, beat) = b.wait(now.after(100 * SEC));
        a.receive(later, &beat);
        now = later;
    }
    assert_eq!(a.peer.status(now).peer_heartbeat_ms, 60_000);
    let suspected = |a: &Side, after: u32| a.peer.status(now.after(SEC * after)).suspected;
    assert!(!suspected(&a, 61) && !suspected(&a, 121), "a heartbeat may be lost");
    assert!(suspected(&a, 180));
    a.peer.pair.recovery.suspended = true;
    assert!(!suspected(&a, 61) && suspected(&a, 121));
    b.peer.ping();
    let alive = b.send(now.after(200 * SEC));
    a.receive(now.after(200 * SEC), &alive);
    assert!(a.peer.status(now.after(201 * SEC)).phi < 0.1 && !suspected(&a, 201));
}
