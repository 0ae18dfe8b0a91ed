//! Calls that end early, over the bench.

use disk::log::MemStorage;
use layer2_http::OperationView;

use super::*;
use crate::command::{Command, ReadReply};
use crate::driver::testbench::{Bench, DEFAULT, Far, SEC, operation};

fn ended(bench: &Bench, n: u8) -> (State, Option<Executed>) {
    let OperationView { state, executed, .. } = bench.view(operation(n));
    (state, executed)
}

fn talking(storage: &MemStorage) -> (Bench, Far) {
    let mut bench = Bench::start(storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    (bench, far)
}

fn cancel(bench: &mut Bench, n: u8) -> Cancelled {
    let cancelled = bench.driver.cancel(operation(n));
    bench.driver.settle().unwrap();
    cancelled
}

#[test]
fn a_call_of_which_nothing_left_is_taken_back() {
    let (mut bench, mut far) = talking(&MemStorage::new());
    // The outbox is busy: no packet is planned.
    bench.driver.publishing = true;
    let caller = bench.call(1, "POST", None, true);
    let mut waits = bench.ask(caller.response, 0, true);
    assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)));
    assert!(matches!(waits.try_recv(), Ok(ReadReply::Reset { code: code::CANCELLED })));
    bench.driver.publishing = false;
    bench.talk(&mut far);
    let request = caller.request.stream;
    assert!(far.received.get(&request).is_none_or(|records| records.is_empty()), "{:?}", far.received);
    assert!(far.resets.contains_key(&request));
    far.peer.reset_stream(far.now, request.response_of(), code::REFUSED);
    bench.talk(&mut far);
    assert_eq!(ended(&bench, 1), (State::Cancelled, Some(Executed::No)));
    assert!(matches!(cancel(&mut bench, 1), Cancelled::Done(_)), "again");
    assert!(matches!(cancel(&mut bench, 9), Cancelled::Unknown));
}

#[test]
fn the_far_side_says_whether_a_cancelled_call_was_made() {
    for (answer, executed) in
        [(Some(code::REFUSED), Executed::No), (Some(code::CANCELLED), Executed::Maybe), (None, Executed::Yes)]
    {
        let (mut bench, mut far) = talking(&MemStorage::new());
        let caller = bench.call(1, "POST", None, true);
        bench.talk(&mut far);
        let mut waits = bench.ask(caller.response, 0, true);
        assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)));
        assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)), "again");
        assert!(waits.try_recv().is_ok(), "whoever waits is told");
        // So he goes away, which says nothing of the call.
        bench.driver.handle_command(Command::ReaderDropped { lane: caller.response, ended: false });
        assert!(bench.driver.near.report(operation(1)).unwrap().cancelling);
        let request = far.asked()[0].stream;
        match answer {
            Some(code) => far.peer.reset_stream(far.now, request.response_of(), code),
            // It had answered before it was told.
            None => far.answer(request, &[1; 500]),
        }
        bench.talk(&mut far);
        assert_eq!(ended(&bench, 1), (State::Cancelled, Some(executed)), "{answer:?}");
        assert_eq!(bench.result(operation(1)), None);
        bench.take_commands();
        bench.driver.slots[&DEFAULT].assert_empty("after a cancelled call");
        drop(caller);
    }
}

#[test]
fn what_has_ended_is_not_cancelled() {
    let (mut bench, mut far) = talking(&MemStorage::new());
    let caller = bench.call(1, "GET", None, true);
    bench.talk(&mut far);
    far.answer(far.asked()[0].stream, b"x");
    bench.talk(&mut far);
    assert!(matches!(cancel(&mut bench, 1), Cancelled::Ended(view) if view.state == State::Done));
    assert_eq!(bench.result(operation(1)).as_deref(), Some(&b"x"[..]));
    drop(caller);
}

#[test]
fn a_wish_to_cancel_survives_a_restart() {
    let storage = MemStorage::new();
    let (mut bench, mut far) = talking(&storage);
    let caller = bench.call(1, "POST", None, true);
    bench.talk(&mut far);
    assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)));
    drop((caller, bench));
    for checkpoint in [true, false] {
        let mut bench = Bench::start(&storage);
        assert!(bench.driver.near.is_cancel_asked(operation(1)));
        if checkpoint {
            bench.driver.checkpoint().unwrap();
            continue;
        }
        let request = far.asked()[0].stream;
        far.peer.reset_stream(far.now, request.response_of(), code::REFUSED);
        bench.talk(&mut far);
        assert_eq!(ended(&bench, 1), (State::Cancelled, Some(Executed::No)));
    }
}

#[test]
fn a_far_side_that_lost_its_state_cannot_say_whether_a_cancelled_call_was_made() {
    let (mut bench, mut far) = talking(&MemStorage::new());
    let caller = bench.call(1, "GET", None, true);
    bench.talk(&mut far);
    assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)));
    let mut next = Far::with_life(DEFAULT, 8, 4, 1);
    bench.talk(&mut next);
    assert_eq!(ended(&bench, 1), (State::Cancelled, Some(Executed::Maybe)));
    assert_eq!(next.asked(), [], "it was sent again");
    drop(caller);
}

#[test]
fn a_call_whose_time_is_over_ends_and_its_caller_is_told() {
    for left in [false, true] {
        let (mut bench, mut far) = talking(&MemStorage::new());
        bench.driver.publishing = !left;
        let caller = bench.call(1, "POST", None, true);
        let mut waits = bench.ask(caller.response, 0, true);
        let deadline_ms = bench.driver.host.unix_ms_signed() + 60_000;
        bench.driver.watch_deadline(operation(1), deadline_ms);
        if left {
            bench.talk(&mut far);
        }
        bench.driver.handle_timeouts().unwrap();
        assert!(!ended(&bench, 1).0.is_terminal());
        assert!(bench.driver.wait() <= 60 * SEC);
        bench.host.pass(60 * SEC);
        bench.driver.handle_timeouts().unwrap();
        bench.driver.settle().unwrap();
        assert_eq!(ended(&bench, 1), (State::Expired, Some(Executed::Maybe)));
        assert!(matches!(waits.try_recv(), Ok(ReadReply::Reset { code: code::EXPIRED })));
        assert_eq!(bench.driver.deadlines.next(), None);
        drop(caller);
    }
}

#[test]
fn a_call_that_is_answered_in_time_is_not_ended_by_its_deadline() {
    let (mut bench, mut far) = talking(&MemStorage::new());
    let callers = [bench.call(1, "GET", None, true), bench.call(2, "GET", None, true)];
    for n in [1, 2] {
        bench.driver.watch_deadline(operation(n), bench.driver.host.unix_ms_signed() + 600_000);
    }
    bench.talk(&mut far);
    let stream = |n| far.asked().into_iter().find(|asked| asked.operation == operation(n)).unwrap().stream;
    let (first, second) = (stream(1), stream(2));
    far.answer(first, b"x");
    far.begin_answer(second, 200);
    bench.talk(&mut far);
    assert_eq!(bench.driver.deadlines.of.len(), 1, "what has ended is not watched any more");
    bench.host.pass(600 * SEC);
    bench.driver.handle_timeouts().unwrap();
    assert_eq!(ended(&bench, 1).0, State::Done);
    assert_eq!(ended(&bench, 2).0, State::ResponseStarted, "its response had begun in time");
    drop(callers);
}

#[test]
fn a_refusal_that_began_in_time_and_does_not_end_is_ended_by_the_deadline() {
    let (mut bench, mut far) = talking(&MemStorage::new());
    let caller = bench.call(1, "POST", None, true);
    bench.driver.watch_deadline(operation(1), bench.driver.host.unix_ms_signed() + 600_000);
    bench.talk(&mut far);
    far.begin_refusal(far.asked()[0].stream);
    bench.talk(&mut far);
    bench.host.pass(600 * SEC);
    bench.driver.handle_timeouts().unwrap();
    assert_eq!(ended(&bench, 1), (State::Expired, Some(Executed::No)));
    drop(caller);
}

#[test]
fn a_reset_does_not_take_back_what_the_head_said() {
    for cancelled in [false, true] {
        let (mut bench, mut far) = talking(&MemStorage::new());
        let caller = bench.call(1, "POST", None, true);
        bench.talk(&mut far);
        let request = far.asked()[0].stream;
        far.begin_answer(request, 200);
        bench.talk(&mut far);
        if cancelled {
            assert!(matches!(cancel(&mut bench, 1), Cancelled::Asked(_)));
        }
        far.peer.reset_stream(far.now, request.response_of(), code::REFUSED);
        bench.talk(&mut far);
        let state = if cancelled { State::Cancelled } else { State::Failed };
        assert_eq!(ended(&bench, 1), (state, Some(Executed::Yes)));
        drop(caller);
    }
}

#[test]
fn a_deadline_is_watched_after_a_restart_too() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let deadline_ms = bench.driver.host.unix_ms_signed() + 60_000;
    let caller = bench.call_until(1, "POST", Some(deadline_ms));
    assert!(bench.driver.deadlines.next().is_some());
    drop((caller, bench));
    let mut bench = Bench::start(&storage);
    assert!(bench.driver.deadlines.next().is_some());
    bench.host.pass(120 * SEC);
    bench.driver.handle_timeouts().unwrap();
    assert_eq!(ended(&bench, 1).0, State::Expired);
}
