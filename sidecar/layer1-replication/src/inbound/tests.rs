//! Tests of `inbound`: each name says what holds.

use super::*;
use crate::receiver::meta_of;
use bytes::Bytes;
use wire::{Record, Seq};

const NONE: RangeSet = RangeSet::new();
const RULES: Exchanges<'_> = Exchanges { next_mine: 3, closed_mine: &NONE, max_theirs: 4, stream_max: 1_000 };

fn meta(stream: StreamId, offset: u64, kind: u8, len: usize) -> ReceivedMeta {
    let payload = if kind < FIRST_STORED_KIND { Bytes::from_static(&[9]) } else { Bytes::from(alloc::vec![0; len]) };
    meta_of(&Record::new(Seq::new(1), stream, offset, kind, payload)).unwrap()
}

fn take(streams: &mut InboundStreams, meta: &ReceivedMeta) -> Result<(Delivery, u64), StreamFault> {
    let delivery = streams.check(meta, &RULES)?;
    Ok((delivery, streams.take(meta, delivery, &NONE)))
}

#[test]
fn no_byte_comes_twice() {
    let mut streams = InboundStreams::default();
    let id = StreamId::request(1);
    assert_eq!(take(&mut streams, &meta(id, 100, kind::DATA, 50)), Ok((Delivery::Deliver, 0)));
    for (offset, len) in [(100, 50), (149, 1), (149, 9), (90, 11), (0, 1_000)] {
        assert_eq!(take(&mut streams, &meta(id, offset, kind::DATA, len)), Err(StreamFault::Rules), "{offset} {len}");
    }
    assert!(take(&mut streams, &meta(id, 0, kind::HEAD, 100)).is_ok());
    assert!(take(&mut streams, &meta(id, 150, kind::FIN, 850)).is_ok());
    assert_eq!(streams.open[&id].received.len_ranges(), 1);
}

#[test]
fn streams_and_exchanges_are_bounded_by_credit_and_by_who_opened_them() {
    let mut streams = InboundStreams::default();
    assert_eq!(take(&mut streams, &meta(StreamId::request(5), 0, kind::HEAD, 1)), Err(StreamFault::Credit));
    assert_eq!(take(&mut streams, &meta(StreamId::request(4), 999, kind::DATA, 2)), Err(StreamFault::Credit));
    assert_eq!(
        take(&mut streams, &meta(StreamId::response(3), 0, kind::HEAD, 1)),
        Err(StreamFault::Rules),
        "I have not opened exchange 3"
    );
    assert_eq!(
        take(&mut streams, &meta(StreamId::response(0), 0, kind::HEAD, 1)),
        Err(StreamFault::Rules),
        "stream 1 is unused"
    );
    assert!(take(&mut streams, &meta(StreamId::response(2), 0, kind::HEAD, 1)).is_ok());
    assert!(take(&mut streams, &meta(StreamId::NO_EXCHANGE, 0, kind::EVENT, 1)).is_ok());
}

#[test]
fn consuming_gives_credit_back_once() {
    let mut streams = InboundStreams::default();
    let id = StreamId::request(1);
    take(&mut streams, &meta(id, 0, kind::DATA, 100)).unwrap();
    take(&mut streams, &meta(id, 200, kind::DATA, 100)).unwrap();
    assert_eq!(streams.consume(id, 100, 100), 0, "not here yet");
    assert_eq!(streams.consume(id, 0, 100), 164);
    assert_eq!(streams.consume(id, 0, 100), 0);
    assert_eq!(streams.close(id), 164, "what was not consumed");
    assert_eq!((streams.close(id), streams.consume(id, 200, 100)), (0, 0));
}

#[test]
fn what_comes_for_an_ended_stream_is_taken_and_consumed() {
    let mut streams = InboundStreams::default();
    streams.closed.insert(1);
    assert_eq!(take(&mut streams, &meta(StreamId::request(1), 0, kind::DATA, 10)), Ok((Delivery::Consume, 74)));
    assert!(streams.open.is_empty());
    let id = StreamId::request(2);
    assert_eq!(take(&mut streams, &meta(id, 40, kind::RESET_STREAM, 1)).unwrap().0, Delivery::Consume);
    assert_eq!(take(&mut streams, &meta(id, 30, kind::DATA, 10)), Ok((Delivery::Deliver, 0)));
    assert_eq!(take(&mut streams, &meta(id, 40, kind::DATA, 10)), Ok((Delivery::Consume, 74)));
}

#[test]
fn stream_credit_is_announced_until_it_is_seen_and_takes_turns() {
    let mut streams = InboundStreams::default();
    let id = StreamId::request(1);
    take(&mut streams, &meta(id, 0, kind::DATA, 900)).unwrap();
    assert_eq!(streams.raise(id, &pace(0), 1_000, true), None);
    streams.consume(id, 0, 900);
    assert_eq!(streams.raise(id, &pace(0), 1_000, false), Some(1_900));
    assert_eq!(streams.raise(id, &pace(0), 1_000, true), None, "it is on its way to the disk");
    assert!(streams.announcement().is_empty(), "not before it is durable");
    streams.granted(id, 1_900);
    let first = streams.announcement();
    assert_eq!(first, [(id, 1_900)]);
    assert_eq!(streams.announcement(), first);
    streams.seen(&[(id, 1_800)]);
    assert_eq!(streams.announcement(), first, "an older announcement was seen");
    streams.seen(&first);
    assert!(streams.announcement().is_empty());
    streams.announce_all(1_000);
    assert_eq!(streams.announcement(), first);

    for n in 10..10 + MAX_STREAM_CREDITS as u64 {
        streams.open.insert(StreamId::request(n), InboundStream::default());
        streams.granted(StreamId::request(n), 2_000);
    }
    let (a, b) = (streams.announcement(), streams.announcement());
    assert_eq!((a.len(), b.len()), (MAX_STREAM_CREDITS, MAX_STREAM_CREDITS));
    assert_ne!(a, b);
    assert!(a.is_sorted() && b.is_sorted());
}

fn pace(at_ms: u32) -> Pace {
    let now = Timestamp::ZERO.after(Duration::from_millis(1) * at_ms);
    Pace { now, round_trip: Duration::from_secs(1), window: 1_000, widest: 5_000 }
}

/// Everything that may come comes and is consumed at once.
fn use_up(streams: &mut InboundStreams, id: StreamId, at_ms: u32) -> u64 {
    let (from, to) = (streams.open[&id].consumed.count(), streams.open[&id].granted);
    streams.open.get_mut(&id).unwrap().received.insert_range(from..=to - 1);
    streams.consume(id, from, (to - from) as u32);
    let max = streams.raise(id, &pace(at_ms), 1_000, false).unwrap();
    streams.granted(id, max);
    max - to
}

#[test]
fn a_stream_that_its_window_holds_back_gets_a_wider_one_up_to_a_bound() {
    let (mut streams, id) = (InboundStreams::default(), StreamId::request(1));
    streams.open.insert(id, InboundStream { granted: 1_000, ..InboundStream::default() });
    assert_eq!(use_up(&mut streams, id, 0), 1_000);
    assert_eq!(use_up(&mut streams, id, 400), 2_000, "within half a round trip");
    assert_eq!(use_up(&mut streams, id, 500), 2_000, "once a round trip");
    assert_eq!(use_up(&mut streams, id, 1_600), 2_000, "not when it takes longer than that");
    assert_eq!(use_up(&mut streams, id, 1_900), 4_000);
    assert_eq!(use_up(&mut streams, id, 2_300), 4_000);
    for at_ms in [2_700, 3_100, 3_500, 3_900, 4_300] {
        use_up(&mut streams, id, at_ms);
    }
    assert_eq!(streams.open[&id].window, 5_000, "the widest");
}
