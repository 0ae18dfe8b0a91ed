//! What the pipe and the doors say reaches layer 1: what the wall clocks say, and what is urgent.

use bytes::Bytes;
use disk::log::MemStorage;
use layer1_replication::Config;
use layer2_http::envelope::Priority;
use tokio::sync::oneshot;
use wire::StreamId;
use wire::record::{Record, kind};

use crate::command::{Command, Lane, Outgoing};
use crate::driver::testbench::{Bench, DEFAULT, Far, File, SEC};

/// With a far side that takes one mebibyte at a time.
fn talking() -> (Bench, Far) {
    let small = Config { receive_pool_bytes: 1 << 20, ..Config::default() };
    let (mut bench, mut far) = (Bench::start(&MemStorage::new()), Far::with_config(DEFAULT, 9, 1, 1, small));
    let first = bench.meet(&mut far);
    bench.receive(&first);
    bench.talk(&mut far);
    assert!(bench.associated(&far));
    (bench, far)
}

/// The status never showed a clock offset: nobody told layer 1 the time.
#[test]
fn the_status_shows_how_far_the_clocks_are_apart() {
    let (mut bench, mut far) = (Bench::start(&MemStorage::new()), Far::new(DEFAULT, 1, 1));
    // The clock here is five seconds ahead of the far one; a file takes two seconds.
    for _ in 0..6 {
        let mut files = far.send();
        bench.host.pass(2 * SEC);
        let sent_at_ms = bench.driver.host.unix_ms_signed() - 5_000;
        bench.host.pass(2 * SEC);
        far.now = far.now.after(2 * SEC);
        files.iter_mut().for_each(|file| file.header.sent_at_ms = sent_at_ms);
        bench.receive(&files);
        far.receive(&bench.send());
    }
    let now = bench.driver.host.now();
    let (least, most) = bench.driver.slots[&DEFAULT].peer.status(now).clock_offset_ms.unwrap();
    assert!(least <= 5_000 && (5_000..=7_000).contains(&most), "{least}..{most}");
}

/// Layer 1 knew urgent streams, and nobody told it of one.
#[test]
fn of_two_streams_that_wait_for_credit_the_more_urgent_goes_first() {
    for urgent in [false, true] {
        let (mut bench, mut far) = talking();
        let [before, first, second] = [1, 2, 3].map(|n| bench.begin(n, "POST", None, false));
        append(&mut bench, before.request);
        let files = sent(&mut bench);
        far.receive(&files);
        if urgent {
            let priority = Priority { urgency: 0, incremental: false };
            bench.driver.handle_command(Command::Prioritize { lane: second.request, priority });
            // Of a stream that is not open it says nothing.
            let unknown = Lane { stream: StreamId::request(77), ..first.request };
            bench.driver.handle_command(Command::Prioritize { lane: unknown, priority });
        }
        append(&mut bench, first.request);
        append(&mut bench, second.request);
        bench.driver.settle().unwrap();
        let data = files.iter().flat_map(|file| &file.records).find(|record| record.head.kind == kind::DATA).unwrap();
        far.peer.consume(far.now, before.request.stream, &data.head);
        bench.receive(&far.send());
        let expected = if urgent { &second } else { &first };
        let waited = streams(&sent(&mut bench)).into_iter().find(|stream| *stream != before.request.stream);
        assert_eq!(waited, Some(expected.request.stream));
    }
}

/// Content of which the far side has room for one record at a time.
fn append(bench: &mut Bench, lane: Lane) {
    let outgoing = Outgoing::plain(kind::DATA, Bytes::from_static(&[7; 600 << 10]));
    bench.driver.handle_command(Command::Append { lane, outgoing, reply: oneshot::channel().0 });
}

/// What is sent within a second: content waits a little for more.
fn sent(bench: &mut Bench) -> Vec<File> {
    let mut files = bench.send();
    bench.host.pass(SEC);
    bench.driver.handle_timeouts().unwrap();
    files.extend(bench.send());
    files
}

/// The streams whose content is sent.
fn streams(files: &[File]) -> Vec<StreamId> {
    let data = |record: &Record| (record.head.kind == kind::DATA).then_some(record.head.stream);
    files.iter().flat_map(|file| &file.records).filter_map(data).collect()
}
