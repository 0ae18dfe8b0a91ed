//! Every queue has its bound: what happens there.

use super::*;

#[test]
fn beyond_the_packets_that_are_remembered_no_records_go() {
    let (mut a, mut b, now) = pair(config());
    let stream = a.peer.open_exchange();
    let first = a.peer.numbers.next();
    for n in a.peer.pair.packets.len()..limits::SENT_PACKETS_MAX {
        let packet = crate::sent::SentPacket { eliciting: false, ..crate::sent::SentPacket::new(now) };
        a.peer.pair.packets.insert(first + 1_000_000 + n as u64, packet);
    }
    a.append(now, stream, kind::HEAD, vec![1; 10]).unwrap();
    assert!(a.send(now).is_empty());
    a.peer.pair.packets.remove(first + 1_000_000 + limits::SENT_PACKETS_MAX as u64 - 1);
    let data = a.send(now);
    assert_eq!(data[0].records.len(), 1);
    b.receive(now, &data);
    assert_eq!(b.received(), [1]);
}

#[test]
fn only_so_many_records_are_held_behind_a_gap() {
    let (_, mut b, now) = pair(Config { receive_pool_bytes: 1 << 30, ..config() });
    let record =
        |seq: u64| Record::new(Seq::new(seq), StreamId::request(1), 0, kind::STOP_SENDING, Bytes::from_static(&[1]));
    let pn = PacketNumber::new(500).unwrap();
    b.peer.pair.grant.granted(&Credit { max_log_bytes: 1 << 40, max_exchanges: 9, max_stream_bytes: 9 });
    b.peer.handle_records(now, life(1, 1), pn, (2..2 + limits::HELD_MAX as u64).map(record).collect());
    assert_eq!(b.peer.status(now).dropped_other, 0);
    b.peer.handle_records(now, life(1, 1), pn, vec![record(2 + limits::HELD_MAX as u64)]);
    assert_eq!(b.peer.status(now).dropped_other, 1);
    b.peer.handle_records(now, life(1, 1), pn, vec![record(1)]);
    b.persist(now);
    assert_eq!(b.peer.status(now).cum.get(), 1 + limits::HELD_MAX as u64, "what fills the gap is taken");
}

#[test]
fn only_the_newest_alarms_are_kept() {
    let (mut a, _, now) = pair(config());
    for n in 1..=100 {
        a.peer.alarm(Alarm::Poisoned { seq: Seq::new(n), losses: 12 });
    }
    let alarms = a.peer.status(now).alarms;
    assert_eq!((alarms.len(), alarms[0]), (limits::ALARMS_MAX, Alarm::Poisoned { seq: Seq::new(85), losses: 12 }));
}

#[test]
fn the_control_block_of_a_peer_that_lost_every_other_packet_stays_small() {
    let (_, mut b, now) = pair(config());
    for n in 0..3_000 {
        let header = header(0, life(1, 1), life(1, 2), PacketNumber::new(100 + 2 * n).unwrap(), 1);
        let closure = if n % 3 == 0 { Closure::Complete } else { Closure::Partial };
        b.peer.handle_packet(now, &header, &Control::default());
        b.peer.handle_closed(now, life(1, 1), header.pn, closure);
    }
    b.peer.ping();
    let block = b.send(now)[0].control.encode();
    assert!(block.len() < 2_000, "{} bytes", block.len());
    let packets = Control::decode(&block, false).unwrap().packets.unwrap();
    assert_eq!((packets.complete.len_ranges(), packets.partial.len_ranges()), (256, 256));
}
