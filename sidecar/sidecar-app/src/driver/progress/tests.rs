//! How far calls have come, over the bench.

use disk::log::MemStorage;
use layer2_http::body::BodyCheck;
use layer2_http::event::OperationEvent;

use super::*;
use crate::command::Outgoing;
use crate::driver::testbench::{Bench, DEFAULT, Far, operation};

fn told(bench: &Bench, n: u8) -> Vec<OperationEvent> {
    bench.driver.near.events_since(operation(n), 0).unwrap()
}

fn states(bench: &Bench, n: u8) -> Vec<State> {
    told(bench, n).into_iter().map(|event| event.state).collect()
}

#[test]
fn a_call_goes_through_every_state_in_order() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let mut news = bench.driver.outlets.handle.subscribe_events();
    let caller = bench.call(1, "POST", None, true);
    assert_eq!(states(&bench, 1), [State::Accepted, State::Queued]);
    bench.talk(&mut far);
    assert_eq!(states(&bench, 1), [State::Accepted, State::Queued, State::Sent, State::Acked]);
    let event = Envelope { attempt: Some(2), ..Envelope::event(operation(1), State::Executing, 5) };
    far.append(StreamId::NO_EXCHANGE, kind::EVENT, event.encode().unwrap().into());
    bench.talk(&mut far);
    far.answer(far.asked()[0].stream, &[7; 30]);
    bench.talk(&mut far);
    let way = told(&bench, 1);
    let names: Vec<_> = way.iter().map(|event| event.state.name()).collect();
    assert_eq!(
        names,
        ["accepted", "queued", "sent", "acked", "executing", "response_started", "response_ready", "delivered", "done"]
    );
    assert!(way[2].packet.is_some_and(|pn| pn > 0));
    assert_eq!((way[3].octets, way[4].attempt, way[6].octets), (Some(100), Some(2), Some(30)));
    // Whoever listens was told the same, once.
    bench.driver.journal.make_urgent();
    bench.driver.settle().unwrap();
    let heard: Vec<_> = std::iter::from_fn(|| news.try_recv().ok()).map(|event| event.number).collect();
    assert_eq!(heard, way.iter().map(|event| event.number).collect::<Vec<_>>());
    drop(caller);
}

#[test]
fn the_far_side_may_hold_a_part() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let caller = bench.begin(1, "POST", None, true);
    bench.talk(&mut far);
    assert_eq!(bench.view(operation(1)).state, State::PartiallyAcked, "its head");
    drop(caller);
    bench.take_commands();
    let caller = bench.begin(1 + 1, "POST", None, true);
    let mut body = BodyCheck::new();
    bench.write(&caller, &[1; 700], &mut body);
    bench.talk(&mut far);
    let way = told(&bench, 2);
    assert_eq!(states(&bench, 2), [State::Accepted, State::Queued, State::Sent, State::PartiallyAcked]);
    assert_eq!(way[3].octets, Some(700));
    bench.write(&caller, &[2; 300], &mut body);
    bench.append(caller.request, Outgoing::fin(&body));
    bench.talk(&mut far);
    let way = told(&bench, 2);
    assert_eq!((way[4].state, way[4].octets), (State::Acked, Some(1_000)));
}

#[test]
fn what_was_told_is_the_same_after_a_restart_and_numbers_go_on() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let caller = bench.call(1, "POST", None, true);
    bench.talk(&mut far);
    bench.driver.journal.make_urgent();
    bench.driver.settle().unwrap();
    let before = told(&bench, 1);
    drop((caller, bench));
    let mut bench = Bench::start(&storage);
    assert_eq!(told(&bench, 1), before);
    bench.driver.checkpoint().unwrap();
    drop(bench);
    let mut bench = Bench::start(&storage);
    assert_eq!(told(&bench, 1), before, "from a checkpoint");
    far.answer(far.asked()[0].stream, b"x");
    bench.talk(&mut far);
    let after = bench.driver.near.events_since(operation(1), before.last().unwrap().number).unwrap();
    assert_eq!(after[0].state, State::ResponseStarted);
    assert_eq!(after.last().unwrap().state, State::Done);
}

#[test]
fn an_event_of_an_endpoint_that_does_not_execute_the_call_is_passed_over() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let _caller = bench.call(1, "POST", None, true);
    bench.talk(&mut far);
    let messages: [Vec<u8>; 3] = [
        Envelope::event(operation(9), State::Executing, 5).encode().unwrap(),
        Envelope::event(operation(1), State::Done, 5).encode().unwrap(),
        b"no envelope".to_vec(),
    ];
    for payload in messages {
        far.append(StreamId::NO_EXCHANGE, kind::EVENT, payload.into());
    }
    bench.talk(&mut far);
    assert_eq!(bench.view(operation(1)).state, State::Acked);
    let slot = &bench.driver.slots[&DEFAULT];
    assert_eq!(slot.peer.status(bench.driver.host.now()).unconsumed_bytes, 0, "its credit came back");
    assert!(!slot.spool.knows(StreamId::NO_EXCHANGE));
}
