//! Calls begun here, over the bench.

use disk::log::MemStorage;

use layer2_http::{Envelope, Fields};
use wire::control::ResetReason;

use super::*;
use crate::command::ReadReply;
use crate::driver::DriverError;
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, settings};
use crate::pipe::InboxEvent;

/// A call whose result is kept within a quota, answered with this content.
fn answered(results_bytes_max: u64, content: &[u8]) -> Bench {
    let mut bench = Bench::start_with(&MemStorage::new(), crate::driver::Settings { results_bytes_max, ..settings() });
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let caller = bench.call(1, "GET", None, true);
    bench.driver.handle_command(crate::command::Command::ReaderDropped { lane: caller.response, ended: false });
    bench.talk(&mut far);
    for asked in far.asked() {
        far.answer(asked.stream, content);
    }
    bench.talk(&mut far);
    bench.take_commands();
    bench
}

#[test]
fn a_result_that_only_its_end_brings_over_the_quota_is_kept_and_one_that_gets_there_before_is_given_up() {
    let content = [7; 900];
    let whole = answered(1 << 20, &content).driver.results_bytes();
    for (results_bytes_max, kept) in [(whole, true), (whole - 1, true), (whole - 41, false)] {
        let mut bench = answered(results_bytes_max, &content);
        let view = bench.view(operation(1));
        let expected = if kept { (State::Done, None) } else { (State::Failed, Some("response-incomplete")) };
        assert_eq!((view.state, view.problem.as_deref()), expected, "{results_bytes_max} of {whole}");
        assert_eq!(bench.result(operation(1)), kept.then(|| content.to_vec()));
    }
}

/// The head of a response that says which operation it answers.
fn head_of_answer(n: u8) -> Bytes {
    let envelope = Envelope { operation: Some(operation(n)), ..Envelope::default() };
    ResponseHead { envelope, status: 200, fields: Fields::default() }.encode().unwrap()
}

#[test]
fn an_answer_to_another_call_is_given_to_nobody_and_begins_a_new_life() {
    for answered in [1, 9] {
        let storage = MemStorage::new();
        let mut bench = Bench::start(&storage);
        let mut far = Far::new(DEFAULT, 3, 1);
        bench.talk(&mut far);
        let (post, kept) = (bench.call(1, "POST", None, false), bench.call(2, "POST", None, true));
        bench.talk(&mut far);
        let mut waiting = bench.ask(post.response, 0, false);
        let asked = far.asked().into_iter().find(|asked| asked.operation == operation(1)).unwrap();
        far.append(asked.stream.response_of(), kind::HEAD, head_of_answer(answered));
        far.append(asked.stream.response_of(), kind::DATA, Bytes::from_static(b"for somebody"));
        let talked = bench.try_talk(&mut far);
        if answered == 1 {
            assert!(talked.is_ok() && matches!(waiting.try_recv(), Ok(ReadReply::Records(_))));
            continue;
        }
        assert!(matches!(talked, Err(DriverError::NewLife)));
        assert!(!matches!(waiting.try_recv(), Ok(ReadReply::Records(_))));
        let life = bench.driver.life.incarnation;
        drop((post, kept, bench));
        let bench = Bench::start(&storage);
        assert_ne!(bench.driver.life.incarnation, life);
        for n in [1, 2] {
            assert_eq!(bench.view(operation(n)).state, State::Unknown, "{n}");
        }
    }
}

#[test]
fn who_sends_two_packets_under_one_number_is_told_so() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let alarm = "two packets".to_owned();
    let forked = InboxEvent::Forked { sender: DEFAULT, incarnation: far.life, alarm: alarm.clone() };
    bench.driver.handle_inbox(forked).unwrap();
    let resets: Vec<_> = bench.send().iter().filter_map(|file| file.control.reset).collect();
    assert_eq!(resets, [ResetReason::Forked]);
    assert_eq!(bench.driver.inbox_alarm, Some(alarm));
}
